"""pad: add cells around an array, or crop it; and the padding modes of a convolution."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import isfinite
from typing import Any

from arrayconv import primitives
from arrayconv._arrays import Array, Library, largest
from arrayconv._integers import Ints, Pairs, integer
from arrayconv._window import PADDING_MODES, Window, padding_runs
from arrayconv.functional.arguments import check_fits, common_library, one_of
from arrayconv.functional.operations import Call, Pullback, define

_KINDS = ("bool", "integer", "real", "complex")
_NUMBERS = (("bool", bool), ("integer", int), ("real", float), ("complex", complex))


def _fill(value: Any, library: Library, array: Array) -> Any:
    """Return the number to pad with; TypeError or ValueError where the dtype cannot hold it."""
    dtype = library.dtype(array.dtype)
    if value is None:
        return False if dtype.kind == "bool" else 0
    if not isinstance(value, int | float | complex):
        raise TypeError(f"value must be a number, got {value!r} of type {type(value).__name__}")
    whole = dtype.kind == "integer" and isinstance(value, float) and value.is_integer()
    number = int(value) if whole else value  # type: ignore[arg-type]
    needs = next(name for name, numbers in _NUMBERS if isinstance(number, numbers))
    if _KINDS.index(needs) > _KINDS.index(dtype.kind) or not _in_range(number, library, array):
        raise ValueError(f"value {value!r} cannot be held by an array of dtype {dtype.name}")
    return number


def _in_range(value: Any, library: Library, array: Array) -> bool:
    """Whether the array's dtype reaches as far as ``value``."""
    kind = library.dtype(array.dtype).kind
    if kind == "bool":
        return True
    if kind == "integer":
        limits = library.xp.iinfo(array.dtype)
        return bool(int(limits.min) <= value <= int(limits.max))
    try:
        number = complex(value)
    except OverflowError:
        return False
    limit = largest(library, array.dtype)
    return all(abs(part) <= limit or not isfinite(part) for part in (number.real, number.imag))


@lru_cache(maxsize=4096)
def _pairs_of(shape: Ints, pad: Ints, mode: str, itemsize: int) -> Pairs:
    """Return a (before, after) pair for each axis; ValueError where an array has no such pad."""
    if len(pad) % 2 or len(pad) > 2 * len(shape):
        raise ValueError(
            f"pad must have two numbers for each of the last dimensions, got {pad!r} for "
            f"an input of shape {shape}"
        )
    # Torch's order: the last dimension's pair comes first.
    padded = list(zip(pad[::2], pad[1::2], strict=True))[::-1]
    pairs = ((0, 0),) * (len(shape) - len(padded)) + tuple(padded)
    sizes = [n + before + after for n, (before, after) in zip(shape, pairs, strict=True)]
    if min(sizes, default=0) < 0:
        raise ValueError(f"pad {pad} crops more than there is of an input of shape {shape}")
    check_fits("the output", sizes, itemsize, f"input {shape}, pad {pad}")
    if mode != "constant":
        for size, (before, after) in zip(shape, pairs, strict=True):
            padding_runs(size, before, after, mode)
    return pairs


def _pad_call(
    input: Array, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Call:
    library, dtype = common_library("pad", input=input)
    one_of("mode", mode, PADDING_MODES)
    if mode != "constant" and value is not None:
        raise ValueError(f"value is for the mode 'constant' only, got {value!r} in mode {mode!r}")
    if not isinstance(pad, tuple | list):
        raise TypeError(
            f"pad must be a tuple of integers, got {pad!r} of type {type(pad).__name__}"
        )
    if any(type(number) is not int for number in pad):
        pad = [integer(f"each entry of pad {tuple(pad)!r}", number) for number in pad]
    pairs = _pairs_of(tuple(input.shape), tuple(pad), mode, dtype.held)
    return Call(primitives.pad, (input, pairs, mode, _fill(value, library, input)))


def _pad_vjp(input: Array, **params: Any) -> tuple[Array, Pullback]:
    call = _pad_call(input, **params)
    _, pairs, mode, _ = call.arguments

    def pullback(cotangent: Array) -> tuple[Array]:
        return (primitives.pad_adjoint(cotangent, pairs, mode),)

    return call.run(), pullback


def pad(
    input: Array, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Array:
    """Add cells around an array, or crop it where a number is negative.

    Parameters
    ----------
    input : array, any shape and dtype
        The array.
    pad : tuple of int
        Pairs of cells to add before and after, the *last* dimension's pair first, as in PyTorch:
        ``(left, right, top, bottom)`` for images. Dimensions without a pair stay as they are.
    mode : {"constant", "reflect", "replicate", "circular"}, optional
        What the new cells hold: a constant; the input mirrored at its first and last cell, which
        are not repeated; its first and last cell; or its other end.
    value : number, optional
        What the mode "constant" fills with; 0 (False) where not given.

    Returns
    -------
    array
        Of the input's library, device and dtype; never a view of the input.

    Raises
    ------
    ValueError
        Where there are too many numbers or an odd one, more is cropped than there is, the dtype
        cannot hold the value, a value is given with another mode than "constant", or the input
        is too small: "reflect" adds at most one cell less than there are, "circular" at most as
        many.
    TypeError
        Where an argument is of the wrong type.

    Notes
    -----
    Differences from ``torch.nn.functional.pad``: a value that the dtype cannot hold is an error
    rather than rounded; all modes serve any number of dimensions and every dtype; and a circular
    padding beside a crop wraps what is left, where torch's may read memory that nobody wrote.

    References
    ----------
    .. [1] PyTorch, documentation of torch.nn.functional.pad.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.pad(np.ones((2, 2), dtype=int), (1, 1, 0, 1))
    array([[0, 1, 1, 0],
           [0, 1, 1, 0],
           [0, 0, 0, 0]])
    >>> ac.pad(np.arange(4), (2, 2), mode="reflect")
    array([2, 1, 0, 1, 2, 3, 2, 1])
    """
    return _pad_call(input, pad, mode, value).run()


define(pad, ("input",), _pad_vjp, _pad_call)


# --- the padding of a convolution that is not zeros ---------------------------------------------

_MODES = {"zeros": "constant", **{mode: mode for mode in PADDING_MODES if mode != "constant"}}


def _pairs(window: Window) -> Pairs:
    return ((0, 0), (0, 0), *((axis.before, axis.after) for axis in window))


def padded_input(x: Array, window: Window, padding_mode: str) -> tuple[Array, Window]:
    """Return what a window slides over: its input padded in another mode than by zeros, or as is.

    Zeros are left to the primitive, which need not make them.
    """
    if isinstance(padding_mode, str) and padding_mode == "zeros":
        return x, window
    one_of("padding_mode", padding_mode, tuple(_MODES))
    pairs = _pairs(window)
    if not any(map(any, pairs)):
        return x, window
    for axis in window:
        padding_runs(axis.size, axis.before, axis.after, _MODES[padding_mode])
    bare = tuple(
        axis._replace(size=axis.before + axis.size + axis.after, before=0, after=0)
        for axis in window
    )
    return primitives.pad(x, pairs, _MODES[padding_mode], 0), bare


def padded_input_adjoint(padded: Array, window: Window, padding_mode: str) -> Array:
    """Return the gradient at the input of `padded_input` from that at its output."""
    pairs = _pairs(window)
    if padding_mode == "zeros" or not any(map(any, pairs)):
        return padded
    return primitives.pad_adjoint(padded, pairs, _MODES[padding_mode])
