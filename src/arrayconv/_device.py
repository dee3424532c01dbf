"""The device switch: where a program makes its arrays. Operations follow their arrays.

This is the only place outside of a backend that knows CuPy by name.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np

from arrayconv._arrays import Array, library_of


@dataclass(frozen=True)
class Device:
    """A place for arrays, and the namespace that makes them there.

    Attributes
    ----------
    name : str
        "cpu", or "cuda:0" and so on.
    xp : module
        The Array API namespace whose arrays live there: NumPy's, or CuPy's.

    Examples
    --------
    >>> import arrayconv as ac
    >>> device = ac.get_device("cpu")
    >>> device.xp.sum(device.asarray([1, 2, 3])).item()
    6
    """

    name: str
    xp: Any

    def asarray(self, array: Any, dtype: Any = None) -> Array:
        """Return an array of this device's library with the values of another, or of a list.

        Parameters
        ----------
        array : array, list or number
            Of any supported library. Memory on the same device is shared (by DLPack), and what
            is elsewhere is copied here.
        dtype : dtype, optional
            Of this device's library. Default: the array's own.

        Returns
        -------
        array
            On this device.
        """
        with self._selected():
            if array_api_compat.is_array_api_obj(array) and not self._holds(array):
                on_gpu = self.name != "cpu" and _on_cuda(array)
                array = self.xp.from_dlpack(array) if on_gpu else to_numpy(array)
            return self.xp.asarray(array, dtype=dtype)

    def _holds(self, array: Array) -> bool:
        """Whether the array is of this device's library already; CuPy moves between GPUs itself."""
        if self.name == "cpu":
            return bool(array_api_compat.is_numpy_array(array))
        return bool(array_api_compat.is_cupy_array(array))

    def synchronize(self) -> None:
        """Wait until all work given to the device is done; on the CPU there is none to wait for."""
        if self.name != "cpu":
            with self._selected() as selected:
                selected.synchronize()

    def _selected(self) -> Any:
        if self.name == "cpu":
            return _ThisMachine()
        return importlib.import_module("cupy").cuda.Device(int(self.name.partition(":")[2]))


class _ThisMachine:
    """The context of a device that needs no selecting."""

    def __enter__(self) -> _ThisMachine:
        return self

    def __exit__(self, *problem: object) -> None:
        return None


def _on_cuda(array: Array) -> bool:
    """Whether an array that can say so says that it is in a CUDA device's memory."""
    cuda = 2  # DLPack's kDLCUDA
    return hasattr(array, "__dlpack_device__") and int(array.__dlpack_device__()[0]) == cuda


def _why_no_cuda() -> str | None:
    """Return the one sentence that says what CUDA lacks here, or None where it is there."""
    if importlib.util.find_spec("cupy") is None:
        return (
            "CUDA needs CuPy, which is not installed: pip install 'arrayconv[cuda13]' "
            "(or 'arrayconv[cuda12]', as the NVIDIA driver asks)"
        )
    if not importlib.import_module("cupy").cuda.is_available():
        return (
            "CUDA needs an NVIDIA GPU and its driver, and CuPy, which is installed, sees none: "
            "`nvidia-smi` should list one"
        )
    return None


def _has_bfloat16() -> bool:
    return importlib.util.find_spec("ml_dtypes") is not None


def _bfloat16() -> Any:
    return importlib.import_module("ml_dtypes").bfloat16


def cuda_devices() -> list[str] | str:
    """Return a line for each GPU that CuPy sees, or the sentence that says why there is none."""
    missing = _why_no_cuda()
    if missing is not None:
        return missing
    runtime = importlib.import_module("cupy").cuda.runtime
    found = []
    for number in range(runtime.getDeviceCount()):
        properties = runtime.getDeviceProperties(number)
        capability = f"{properties['major']}.{properties['minor']}"
        memory = properties["totalGlobalMem"] >> 30
        name = properties["name"].decode()
        found.append(f"cuda:{number}  {name}, compute capability {capability}, {memory} GiB")
    return found


def get_device(name: str = "auto") -> Device:
    """Return the device that a program makes its arrays on.

    Parameters
    ----------
    name : str, optional
        "cpu"; "cuda" or "cuda:1", an NVIDIA GPU through CuPy; or "auto": what the variable
        ``ARRAYCONV_DEVICE`` says, else CUDA where CuPy sees a GPU, else the CPU.

    Returns
    -------
    Device
        Has ``.name``, ``.xp`` (an Array API namespace), ``.asarray(...)`` and
        ``.synchronize()``.

    Raises
    ------
    ValueError
        Where the name is no device, or the machine has fewer GPUs.
    TypeError
        Where the name is not a string.
    RuntimeError
        Where CUDA is asked for and is not to be had; it says what is missing.

    Examples
    --------
    >>> import arrayconv as ac
    >>> device = ac.get_device("cpu")
    >>> device.asarray([1.0, 2.0]).sum()
    np.float64(3.0)
    """
    if not isinstance(name, str):
        raise TypeError(f"device must be a string, got {name!r} of type {type(name).__name__}")
    source = ""
    if name == "auto":
        name = os.environ.get("ARRAYCONV_DEVICE") or "auto"
        source = " (from the variable ARRAYCONV_DEVICE)"
    if name == "auto":
        name = "cuda" if _why_no_cuda() is None else "cpu"
    if name == "cpu":
        return Device("cpu", importlib.import_module("array_api_compat.numpy"))
    match = re.fullmatch(r"cuda(?::(\d+))?", name)
    if match is None:
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:N', got {name!r}{source}")
    missing = _why_no_cuda()
    if missing is not None:
        raise RuntimeError(missing)
    number = int(match[1] or 0)
    count = importlib.import_module("cupy").cuda.runtime.getDeviceCount()
    if number >= count:
        raise ValueError(f"{name!r}{source} is not there: this machine has {count} GPUs")
    return Device(f"cuda:{number}", importlib.import_module("array_api_compat.cupy"))


def to_numpy(array: Array) -> np.ndarray[Any, Any]:
    """Return a NumPy array of the same values, copied from the device where that is needed.

    Parameters
    ----------
    array : array
        Of any supported library, on any device.

    Returns
    -------
    numpy.ndarray
        Shares memory with the input where both are in the host's memory.

    Raises
    ------
    TypeError
        Where the argument is not an array, or is of dtype bfloat16, which NumPy has from the
        package ml_dtypes only, and that is not installed.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.to_numpy(np.ones(2))
    array([1., 1.])
    """
    library = library_of("array", array)
    if library.dtype(array.dtype).name == "bfloat16" and not _has_bfloat16():
        raise TypeError(
            "array is of dtype bfloat16, which NumPy has from ml_dtypes only: pip install "
            "ml_dtypes, or cast it to float32 first"
        )
    if array_api_compat.is_torch_array(array):
        host = array.detach().resolve_conj().resolve_neg().cpu()
        if library.dtype(array.dtype).name != "bfloat16":
            return np.asarray(host)
        # The same two bytes, by a dtype that both libraries have.
        return np.asarray(host.view(library.xp.int16)).view(_bfloat16())
    if array_api_compat.is_jax_array(array):
        return np.asarray(array)
    if array_api_compat.is_cupy_array(array):
        return np.asarray(array.get())
    if array_api_compat.is_dask_array(array):
        return to_numpy(array.compute())
    if not array_api_compat.is_numpy_array(array):
        return np.from_dlpack(array, device="cpu")
    return np.asarray(array)
