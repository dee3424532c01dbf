"""Pad or crop: add cells at the ends of axes, or take them away where a number is negative."""

from __future__ import annotations

from typing import Any

from arrayconv._arrays import Array, device_of, library_of
from arrayconv._integers import Pairs
from arrayconv._registry import primitive
from arrayconv._window import Run, padding_kept, padding_runs


def take_slice(array: Array, dim: int, start: int, stop: int, step: int = 1) -> Array:
    """Return a slice of one axis; the ellipsis is what the standard asks for on other axes."""
    return array[(slice(None),) * dim + (slice(start, stop, step), ...)]


def pad_axis(array: Array, dim: int, before: int, after: int, value: Any = 0) -> Array:
    """Return the array with cells of ``value`` added at (or cropped from) the ends of one axis."""
    size = array.shape[dim]
    kept = padding_kept(size, before, after)
    if (kept.start, kept.stop) != (0, size):
        array = take_slice(array, dim, kept.start, kept.stop)
    parts = [array]
    if kept.before > 0:
        parts.insert(0, _filled(array, dim, kept.before, value))
    if kept.after > 0:
        parts.append(_filled(array, dim, kept.after, value))
    return array if len(parts) == 1 else library_of("input", array).xp.concat(parts, axis=dim)


def _filled(like: Array, dim: int, length: int, value: Any) -> Array:
    library = library_of("input", like)
    shape = (*like.shape[:dim], length, *like.shape[dim + 1 :])
    device = device_of(library, like)
    where = {} if device is None else {"device": device}
    return library.xp.full(shape, value, dtype=like.dtype, **where)


def _cells(x: Array, dim: int, run: Run) -> Array:
    """Return the cells of one axis that a run names, in its order."""
    xp = library_of("input", x).xp
    if run.step == 1:
        return take_slice(x, dim, run.start, run.start + run.length)
    if run.step == -1:
        return xp.flip(take_slice(x, dim, run.start - run.length + 1, run.start + 1), axis=dim)
    shape = (*x.shape[:dim], run.length, *x.shape[dim + 1 :])
    return xp.broadcast_to(take_slice(x, dim, run.start, run.start + 1), shape)


def _cells_adjoint(y: Array, dim: int, run: Run, size: int) -> Array:
    """Return an axis of ``size`` cells with what a run of cells holds added where it came from."""
    library = library_of("input", y)
    xp = library.xp
    if run.step == 0:
        y = xp.sum(y, axis=dim, keepdims=True, dtype=y.dtype)
        return pad_axis(y, dim, run.start, size - 1 - run.start)
    start = run.start
    if run.step == -1:
        y, start = xp.flip(y, axis=dim), start - run.length + 1
    return pad_axis(y, dim, start, size - start - run.length)


@primitive("pad")
def pad(x: Array, pairs: Pairs, mode: str, value: Any) -> Array:
    """Return a new array, padded or cropped by a (before, after) pair for each axis."""
    xp = library_of("input", x).xp
    padded = x
    for dim, (before, after) in enumerate(pairs):
        if before == after == 0:
            continue
        if mode == "constant":
            padded = pad_axis(padded, dim, before, after, value)
            continue
        runs = padding_runs(x.shape[dim], before, after, mode)
        parts = [_cells(padded, dim, run) for run in runs]
        padded = xp.concat(parts, axis=dim) if parts else take_slice(padded, dim, 0, 0)
    if padded is x or not any(before > 0 or after > 0 for before, after in pairs):
        # A crop is a view of the input; results never share memory with it.
        padded = xp.astype(padded, padded.dtype, copy=True)
    return padded


@primitive("pad_adjoint")
def pad_adjoint(y: Array, pairs: Pairs, mode: str) -> Array:
    """Return the array that was padded, each cell the sum of the cells that show it."""
    library = library_of("input", y)
    xp, dtype = library.xp, library.dtype(y.dtype)
    if mode == "constant":
        return pad(y, tuple((-before, -after) for before, after in pairs), mode, 0)
    if dtype.half:
        return xp.astype(pad_adjoint(xp.astype(y, dtype.wide), pairs, mode), y.dtype)
    x = y
    for dim, (before, after) in enumerate(pairs):
        if before == after == 0:
            continue
        size = y.shape[dim] - before - after
        place, total = 0, None
        for run in padding_runs(size, before, after, mode):
            part = _cells_adjoint(take_slice(x, dim, place, place + run.length), dim, run, size)
            total = part if total is None else total + part
            place += run.length
        x = total if total is not None else pad_axis(x, dim, 0, size)
    return xp.astype(y, y.dtype, copy=True) if x is y else x
