"""Implementations that know one library; each is imported when that library's first array comes."""

from arrayconv._registry import register_backend

register_backend("numpy", "arrayconv.backends.numpy")
register_backend("torch", "arrayconv.backends.torch")
register_backend("jax", "arrayconv.backends.jax")
register_backend("dask", "arrayconv.backends.dask")
register_backend("cupy", "arrayconv.backends.cupy")
