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
    """

    name: str
    xp: Any

    def asarray(self, array: Any, dtype: Any = None) -> Array:
        """Return an array of this device's library, copied from the host where that is needed."""
        with self._selected():
            return self.xp.asarray(array, dtype=dtype)

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
        Where the argument is not an array, or is of a dtype that NumPy has not (bfloat16).

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.to_numpy(np.ones(2))
    array([1., 1.])
    """
    library = library_of("array", array)
    if library.dtype(array.dtype).name == "bfloat16":
        raise TypeError("array is of dtype bfloat16, which NumPy has not: cast it to float32 first")
    if array_api_compat.is_torch_array(array):
        return np.asarray(array.detach().resolve_conj().resolve_neg().cpu())
    if array_api_compat.is_cupy_array(array):
        return np.asarray(array.get())
    if not array_api_compat.is_numpy_array(array):
        return np.from_dlpack(array, device="cpu")
    return np.asarray(array)
