"""Pad or crop: add cells at the ends of axes, or take them away where a number is negative."""

from __future__ import annotations

from typing import Any

from arrayconv._arrays import Array, device_of, library_of
from arrayconv._registry import primitive
from arrayconv._window import Pairs


def take_slice(array: Array, dim: int, start: int, stop: int, step: int = 1) -> Array:
    """Return a slice of one axis; the ellipsis is what the standard asks for on other axes."""
    return array[(slice(None),) * dim + (slice(start, stop, step), ...)]


def pad_axis(array: Array, dim: int, before: int, after: int, value: Any = 0) -> Array:
    """Return the array with cells of ``value`` added at (or cropped from) the ends of one axis."""
    size = array.shape[dim]
    start, stop = max(0, -before), size - max(0, -after)
    if start >= stop:
        start = stop = 0
        before, after = 0, size + before + after
    if (start, stop) != (0, size):
        array = take_slice(array, dim, start, stop)
    parts = [array]
    if before > 0:
        parts.insert(0, _filled(array, dim, before, value))
    if after > 0:
        parts.append(_filled(array, dim, after, value))
    return array if len(parts) == 1 else library_of("input", array).xp.concat(parts, axis=dim)


def _filled(like: Array, dim: int, length: int, value: Any) -> Array:
    library = library_of("input", like)
    shape = (*like.shape[:dim], length, *like.shape[dim + 1 :])
    device = device_of(library, like)
    where = {} if device is None else {"device": device}
    return library.xp.full(shape, value, dtype=like.dtype, **where)


@primitive("pad")
def pad(x: Array, pairs: Pairs, value: Any) -> Array:
    """Return a new array, padded or cropped by a (before, after) pair for each axis."""
    padded = x
    for dim, (before, after) in enumerate(pairs):
        padded = pad_axis(padded, dim, before, after, value)
    if padded is x or not any(before > 0 or after > 0 for before, after in pairs):
        # A crop is a view of the input; results never share memory with it.
        library = library_of("input", x)
        padded = library.xp.asarray(padded, copy=True)
    return padded
