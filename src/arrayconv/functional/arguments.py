"""What every operation asks of its arrays, before anything is allocated."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from numbers import Integral

from arrayconv._arrays import MEMORY, Array, DType, Library, device_of, library_of
from arrayconv._capabilities import unsupported
from arrayconv._integers import Ints
from arrayconv._window import Window

IntOrInts = int | Sequence[int]
Padding = int | str | Sequence[int] | Sequence[tuple[int, int]]


def common_library(
    operation: str, *, bias: Array | None = None, **arrays: Array
) -> tuple[Library, DType]:
    """Return the library and dtype that all arrays share; TypeError where they differ.

    Beside a lazy first array, of blocks, the others may be of the library of the blocks.
    """
    (first_name, first), *others = arrays.items()
    if bias is not None:
        others.append(("bias", bias))
    library = library_of(first_name, first)
    dtype = library.dtype(first.dtype, first_name)
    reason = unsupported(operation, library.name, dtype.name)
    if reason is not None:
        raise TypeError(f"{operation} cannot serve {first_name} of dtype {dtype.name}: {reason}")
    if library.lazy:
        _check_sizes_known(**arrays, bias=bias)
    here = device_of(library, first)
    for name, array in others:
        other = library_of(name, array)
        if other is not library and other.name not in library.blocks:
            raise TypeError(
                f"{first_name} and {name} must be arrays of one library, got "
                f"{library.name} and {other.name}"
            )
        if array.dtype != first.dtype:
            raise TypeError(
                f"{first_name} and {name} must have one dtype, got "
                f"{dtype.name} and {library.dtype(array.dtype, name).name}"
            )
        there = None if here is None else device_of(library, array)
        if there is not None and here != there:
            raise TypeError(
                f"{first_name} and {name} must be on one device, got {here} and {there}"
            )
    return library, dtype


def _check_sizes_known(**arrays: Array | None) -> None:
    """Raise ValueError where a lazy array does not know its own shape."""
    for name, array in arrays.items():
        if array is not None and not all(isinstance(size, Integral) for size in array.shape):
            raise ValueError(
                f"{name} must know the sizes of its chunks, got shape {tuple(array.shape)}: call "
                "its compute_chunk_sizes() first"
            )


def one_of(name: str, value: object, words: Sequence[str]) -> None:
    """Raise TypeError where ``value`` is no word, ValueError where it is none of these."""
    if not isinstance(value, str) or value not in words:
        error = ValueError if isinstance(value, str) else TypeError
        listed = ", ".join(map(repr, words))
        raise error(f"{name} must be one of {listed}; got {value!r} of type {type(value).__name__}")


def check_fits(what: str, shape: Sequence[int], itemsize: int, because: str) -> None:
    """Raise ValueError where an array of ``shape`` cannot be had on this machine."""
    needed = prod(shape) * itemsize
    if needed > MEMORY:
        raise ValueError(
            f"{what} of shape {tuple(shape)} would take {needed >> 30} GiB, more than the "
            f"{MEMORY >> 30} GiB of this machine: {because}"
        )


def check_padded(batch: int, channels: int, window: Window, itemsize: int, because: str) -> None:
    """Raise ValueError where the input of a window, with its padding, cannot be had."""
    sizes = (axis.size + axis.before + axis.after for axis in window)
    check_fits("the padded input", (batch, channels, *sizes), itemsize, because)


def batched_shape(name: str, shape: Sequence[int], dims: int) -> Ints:
    """Return (N, C, *sizes) of an array that may lack the N; ValueError where the rank is off."""
    if len(shape) not in (dims + 1, dims + 2):
        raise ValueError(
            f"{name} must have {dims + 2} dimensions (N, C and {dims} spatial), or {dims + 1} "
            f"without N, got shape {tuple(shape)}"
        )
    return tuple(shape) if len(shape) == dims + 2 else (1, *shape)


def as_batch(array: Array, dims: int) -> Array:
    """Return the array with a leading N, of 1 where it had none."""
    return array if array.ndim == dims + 2 else array[None, ...]


def like_input(output: Array, unbatched: bool) -> Array:
    """Return the output without N where the input had none."""
    return output[0, ...] if unbatched else output


def check_cotangent(output: Array, cotangent: Array) -> None:
    """Raise where a cotangent is not of its output's library, dtype, device and shape."""
    library, given = library_of("output", output), library_of("cotangent", cotangent)
    if given is not library:
        raise TypeError(
            f"output and cotangent must be arrays of one library, got {library.name} and "
            f"{given.name}"
        )
    common_library("vjp", output=output, cotangent=cotangent)
    if tuple(cotangent.shape) != tuple(output.shape):
        raise ValueError(
            f"the cotangent must have the output's shape {tuple(output.shape)}, "
            f"got {tuple(cotangent.shape)}"
        )


def conjugate(array: Array) -> Array:
    """Return the complex conjugate; a real array as it is."""
    library = library_of("input", array)
    return library.xp.conj(array) if library.dtype(array.dtype).kind == "complex" else array
