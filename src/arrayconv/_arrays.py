"""What kind of array is this? Asked once for each type and dtype, then looked up.

The operations speak the Array API standard only; what they must know of a library (its
namespace, what a dtype is, whether its arrays have devices) is answered here. Looking a type up
in a dictionary costs a thirtieth of a microsecond, finding its namespace twenty times as much.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import array_api_compat

Array = Any
"""An array of any supported library; there is no type that they share."""


class DType(NamedTuple):
    """What the operations ask of a dtype."""

    name: str
    """The standard's name: "float32"."""
    kind: str
    """"bool", "integer", "real" or "complex"."""
    itemsize: int
    """Bytes of one element."""
    held: int
    """Bytes that one element of a result takes at once: its size; 0 where arrays are lazy."""
    wide: Any
    """The dtype that sums are kept in: float32 for the half types, else the dtype itself."""
    half: bool
    """Whether ``wide`` is another dtype."""


class Library:
    """One array library: its name, its namespace, and its dtypes as they are met."""

    def __init__(self, name: str, xp: Any) -> None:
        self.name = name
        self.xp = xp
        self.lazy = name == "dask"
        """Whether an array is a graph of blocks still to be computed, which never are all held."""
        self.blocks = ("numpy", "cupy") if self.lazy else ()
        """The libraries that its blocks are arrays of; a weight may be one whole such array."""
        self.has_devices = name not in ("numpy", "dask")
        self.has_device_attribute = name in ("torch", "cupy", "array_api_strict")
        self.values_at_hand = name == "numpy"
        self.adds_in_place = name in ("numpy", "cupy")
        self.indexing: Any = None
        self._dtypes: dict[Any, DType] = {}

    def dtype(self, dtype: Any, name: str = "input") -> DType:
        """Return what is known of ``dtype``; TypeError where no operation can serve it."""
        known = self._dtypes.get(dtype)
        if known is None:
            known = self._dtypes[dtype] = _describe(self, dtype, name)
        return known

    def __repr__(self) -> str:
        """Show the name that messages use."""
        return f"Library({self.name!r})"


_KINDS = (
    ("bool", "bool"),
    ("integral", "integer"),
    ("real floating", "real"),
    ("complex floating", "complex"),
)


def _describe(library: Library, dtype: Any, argument: str) -> DType:
    xp = library.xp
    try:
        kind = next((ours for theirs, ours in _KINDS if xp.isdtype(dtype, theirs)), None)
    except (TypeError, ValueError):
        kind = None
    name = str(getattr(dtype, "name", dtype)).rpartition(".")[2]
    if name == "bfloat16":
        # NumPy and CuPy have it from ml_dtypes, and do not know that it is a real number.
        kind = "real"
    itemsize = getattr(dtype, "itemsize", None)
    if itemsize is None and kind is not None:
        itemsize = 1 if kind == "bool" else -(-_bits(xp, dtype, kind) // 8)
    if kind is None or itemsize is None or (kind == "real" and itemsize < 2):
        raise TypeError(
            f"{argument} must be of a bool, integer, floating or complex dtype, "
            f"got {library.name}'s {name}"
        )
    half = kind == "real" and itemsize == 2
    # A byte-swapped NumPy dtype is summed in the native order.
    native = dtype.newbyteorder("=") if hasattr(dtype, "newbyteorder") else dtype
    held = 0 if library.lazy else int(itemsize)
    return DType(name, kind, int(itemsize), held, xp.float32 if half else native, half)


def largest(library: Library, dtype: Any) -> float:
    """Return the largest finite number of a real or complex dtype."""
    if library.dtype(dtype).name == "bfloat16":
        return float.fromhex("0x1.fep127")
    return float(library.xp.finfo(dtype).max)


def _bits(xp: Any, dtype: Any, kind: str) -> int:
    bits = int((xp.iinfo if kind == "integer" else xp.finfo)(dtype).bits)
    return 2 * bits if kind == "complex" else bits


_LIBRARIES: dict[type, Library] = {}
_BY_NAME: dict[str, Library] = {}
_REFUSED = {"matrix": "it always has two axes", "MaskedArray": "its mask would be ignored"}


def library_of(name: str, array: Array) -> Library:
    """Return the library of ``array``; TypeError, naming the argument, where it is no array."""
    library = _LIBRARIES.get(type(array))
    if library is None:
        library = _find_library(name, array)
        _LIBRARIES[type(array)] = library
    return library


def _find_library(name: str, array: Array) -> Library:
    kind = type(array)
    # A class has its instances' __array_namespace__.
    if isinstance(array, type) or not array_api_compat.is_array_api_obj(array):
        raise TypeError(
            f"{name} must be an array of a library that follows the Array API standard, "
            f"got {kind.__module__}.{kind.__qualname__}"
        )
    for base in kind.__mro__:
        if base.__name__ in _REFUSED:
            raise TypeError(
                f"{name} is a {kind.__module__}.{kind.__qualname__}, which is not supported, "
                f"since {_REFUSED[base.__name__]}: pass a plain array"
            )
    xp = array_api_compat.array_namespace(array)
    library = xp.__name__.removeprefix("array_api_compat.")
    library = library.removesuffix(".numpy").removesuffix(".array")
    if library not in _BY_NAME:
        _BY_NAME[library] = Library(library, xp)
    return _BY_NAME[library]


_NAMESPACES = {
    "jax": "jax.numpy",
    "array_api_strict": "array_api_strict",
    "dask": "array_api_compat.dask.array",
}


def namespace_named(name: str) -> Any:
    """Return the namespace of a library by its name, importing it; ImportError where it is not."""
    return importlib.import_module(_NAMESPACES.get(name, f"array_api_compat.{name}"))


def device_of(library: Library, array: Array) -> Any:
    """Return the array's device, or None where the library has one, or the array is a tracer."""
    if not library.has_devices:
        return None
    if library.has_device_attribute:
        # Asking the compatibility layer costs ten times as much.
        return array.device
    try:
        return array_api_compat.device(array)
    except (AttributeError, TypeError):
        return None


def zeros(library: Library, like: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return zeros on the device of ``like``."""
    device = device_of(library, like)
    if device is None:
        return library.xp.zeros(shape, dtype=dtype)
    return library.xp.zeros(shape, dtype=dtype, device=device)


def from_numbers(library: Library, like: Array, numbers: Sequence[float]) -> Array:
    """Return a one-dimensional array of numbers, of the dtype and on the device of ``like``."""
    device = device_of(library, like)
    where = {} if device is None else {"device": device}
    return library.xp.asarray(numbers, dtype=like.dtype, **where)


def integers_like(library: Library, like: Array, numbers: Sequence[int]) -> Array:
    """Return a one-dimensional array of int64 (or the library's index dtype) beside ``like``."""
    device = device_of(library, like)
    where = {} if device is None else {"device": device}
    return library.xp.asarray(numbers, dtype=index_dtype(library), **where)


def index_dtype(library: Library) -> Any:
    """Return the library's default dtype of indices: int64, or int32 on a JAX of 32 bits."""
    if library.indexing is None:
        info = library.xp.__array_namespace_info__()
        library.indexing = info.default_dtypes()["indexing"]
    return library.indexing


def _memory() -> int:
    """Return this machine's memory in bytes; where it is not told, all that can be addressed."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 2**47


MEMORY = _memory()
"""Bytes beyond which a result is refused before anything is allocated."""
