"""The CUDA kernels on the CPU: the same source and the same launch seam, on NumPy arrays."""
