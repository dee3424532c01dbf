"""pad: add cells around an array, or crop it."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

from arrayconv import primitives
from arrayconv._arrays import Array, Library
from arrayconv._window import integer
from arrayconv.functional.arguments import check_fits, common_library
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
    largest = float(library.xp.finfo(array.dtype).max)
    return all(abs(part) <= largest or not isfinite(part) for part in (number.real, number.imag))


def _pad_call(
    input: Array, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Call:
    library, dtype = common_library("pad", input=input)
    if not isinstance(mode, str):
        raise TypeError(f"mode must be 'constant', got {mode!r} of type {type(mode).__name__}")
    if mode != "constant":
        raise ValueError(
            f"mode must be 'constant', got {mode!r} ('reflect', 'replicate' and 'circular' "
            "are not there yet)"
        )
    if not isinstance(pad, tuple | list):
        raise TypeError(
            f"pad must be a tuple of integers, got {pad!r} of type {type(pad).__name__}"
        )
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise ValueError(
            f"pad must have two numbers for each of the last dimensions, got {tuple(pad)!r} for "
            f"an input of shape {tuple(input.shape)}"
        )
    numbers = [integer(f"each entry of pad {tuple(pad)!r}", number) for number in pad]
    # Torch's order: the last dimension's pair comes first.
    padded = list(zip(numbers[::2], numbers[1::2], strict=True))[::-1]
    pairs = ((0, 0),) * (input.ndim - len(padded)) + tuple(padded)
    shape = [n + before + after for n, (before, after) in zip(input.shape, pairs, strict=True)]
    if min(shape, default=0) < 0:
        raise ValueError(
            f"pad {tuple(pad)} crops more than there is of an input of shape {tuple(input.shape)}"
        )
    check_fits("the output", shape, dtype.itemsize, f"input {tuple(input.shape)}, pad {tuple(pad)}")
    return Call(primitives.pad, (input, pairs, _fill(value, library, input)))


def _pad_vjp(input: Array, **params: Any) -> tuple[Array, Pullback]:
    call = _pad_call(input, **params)
    _, pairs, value = call.arguments
    back = tuple((-before, -after) for before, after in pairs)

    def pullback(cotangent: Array) -> tuple[Array]:
        return (primitives.pad(cotangent, back, type(value)(0)),)

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
    mode : str, optional
        "constant"; the other modes come next.
    value : number, optional
        What to fill with; 0 (False) where not given.

    Returns
    -------
    array
        Of the input's library, device and dtype; never a view of the input.

    Raises
    ------
    ValueError
        Where there are too many numbers or an odd one, more is cropped than there is, or the
        dtype cannot hold the value.
    TypeError
        Where an argument is of the wrong type.

    Notes
    -----
    Difference from ``torch.nn.functional.pad``: a value that the dtype cannot hold is an error
    rather than rounded.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.pad(np.ones((2, 2), dtype=int), (1, 1, 0, 1))
    array([[0, 1, 1, 0],
           [0, 1, 1, 0],
           [0, 0, 0, 0]])
    """
    return _pad_call(input, pad, mode, value).run()


define(pad, ("input",), _pad_vjp, _pad_call)
