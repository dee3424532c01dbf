"""Maxima and sums of what each window sees, and their adjoints: one axis after the other.

A maximum is taken over the last axis first, so that the first maximum and the last NaN of a
window, counted as its cells lie in memory, stay those; ties go to one cell, also under a library's
own differentiation, which `maximum` would split.
"""

from __future__ import annotations

from math import inf, prod
from typing import Any

from arrayconv._arrays import Array, Library, from_numbers, integers_like, library_of
from arrayconv._integers import Ints
from arrayconv._registry import primitive
from arrayconv._window import (
    Axis,
    Table,
    Windows,
    index_columns,
    input_sizes,
    kernel_sizes,
    output_sizes,
)
from arrayconv.primitives.indexing import scatter_add
from arrayconv.primitives.padding import pad_axis
from arrayconv.primitives.taps import taps, taps_adjoint

MANY_TAPS = 64
"""Taps beyond which a gradient is scattered rather than gathered tap by tap."""


def lowest(library: Library, dtype: Any) -> Any:
    """Return the number that no other of a dtype is below."""
    kind = library.dtype(dtype).kind
    if kind == "bool":
        return False
    return int(library.xp.iinfo(dtype).min) if kind == "integer" else -inf


def _beats(library: Library, new: Array, old: Array) -> Array:
    """Return where a later value takes the place of an earlier one: larger, or NaN."""
    if library.dtype(new.dtype).kind == "real":
        return (new > old) | (new != new)
    return new > old


def _along(library: Library, like: Array, numbers: Any, after: int) -> Array:
    """Return integers shaped to lie along the dimension that ``after`` others follow."""
    return library.xp.reshape(integers_like(library, like, numbers), (-1, *(1,) * after))


@primitive("max_pool")
def max_pool(x: Array, window: Windows) -> Array:
    """Return the maximum (N, C, *positions) of what each window sees; padding is no value."""
    library = library_of("input", x)
    fill = lowest(library, x.dtype)
    for dim in reversed(range(2, 2 + len(window))):
        first, *others = taps(x, dim, window[dim - 2], fill)
        for other in others:
            first = library.xp.where(_beats(library, other, first), other, first)
        x = first
    # One cell is its own maximum: that may still be a view of the input.
    return library.xp.astype(x, x.dtype, copy=True) if prod(kernel_sizes(window)) == 1 else x


@primitive("max_pool_indices")
def max_pool_indices(x: Array, window: Windows) -> tuple[Array, Array]:
    """Return the maxima, and where in the plane each one is: -1 where a window sees padding only.

    Indices count the cells of an unpadded plane, the last dimension fastest.
    """
    library = library_of("input", x)
    xp, fill = library.xp, lowest(library, x.dtype)
    index: Array = None
    for dim in reversed(range(2, 2 + len(window))):
        axis, after = window[dim - 2], 1 + len(window) - dim
        inner = prod(input_sizes(window[dim - 1 :]))
        values = taps(x, dim, axis, fill)
        held = taps(index, dim, axis, -1) if index is not None else [None] * axis.kernel
        best: Array = None
        at: Array = None
        for value, inside, cells in zip(values, held, index_columns(axis), strict=True):
            here = _along(library, x, cells, after)
            if inside is not None:
                here = xp.where((here >= 0) & (inside >= 0), here * inner + inside, -1)
            here = xp.broadcast_to(here, value.shape)
            if best is None:
                best, at = value, here
                continue
            # A window that has seen padding only takes any cell, of the lowest value too.
            better = _beats(library, value, best) | ((at < 0) & (here >= 0))
            best, at = xp.where(better, value, best), xp.where(better, here, at)
        x, index = best, at
    # One cell is its own maximum: that may still be a view of the input, or broadcast.
    if prod(kernel_sizes(window)) == 1:
        return xp.astype(x, x.dtype, copy=True), xp.astype(index, index.dtype, copy=True)
    return x, index


@primitive("max_pool_grad")
def max_pool_grad(cotangent: Array, index: Array, window: Windows) -> Array:
    """Return the gradient (N, C, *sizes): each cell gathers from the windows it is the maximum of.

    The adjoint of taking the cells of ``index`` out of the planes.
    """
    library = library_of("cotangent", cotangent)
    dtype = library.dtype(cotangent.dtype)
    xp, sizes, kernel = library.xp, input_sizes(window), kernel_sizes(window)
    if dtype.half:
        wide = max_pool_grad(xp.astype(cotangent, dtype.wide), index, window)
        return xp.astype(wide, cotangent.dtype)
    batch, channels = cotangent.shape[:2]
    if prod(kernel) > MANY_TAPS:
        flat = (batch, channels, prod(output_sizes(window)))
        added = scatter_add(xp.reshape(cotangent, flat), xp.reshape(index, flat), prod(sizes))
        return xp.reshape(added, (batch, channels, *sizes))
    nothing = xp.zeros_like(cotangent)
    columns = [index_columns(axis) for axis in window]
    places = [prod(sizes[dim + 1 :]) for dim in range(len(window))]

    def gathered(tap: tuple[int, ...]) -> Array:
        """Return what the kernel at these leading taps gives back, folded along the axes after."""
        dim = len(tap)
        if dim < len(window):
            parts = [gathered((*tap, each)) for each in range(kernel[dim])]
            return taps_adjoint(parts, 2 + dim, window[dim])
        cell = 0
        for at, (each, place) in enumerate(zip(tap, places, strict=True)):
            numbers = [place * number for number in columns[at][each]]
            cell = cell + _along(library, index, numbers, len(window) - 1 - at)
        return xp.where(index == cell, cotangent, nothing)

    return gathered(())


def _run_of_cells(axis: Axis | Table) -> slice | None:
    """Return the cells that the one window of an axis sees, if it has one and they are a run."""
    if isinstance(axis, Table) or axis.out != 1 or axis.dilation != 1:
        return None
    start, stop = max(0, -axis.before), min(axis.size, axis.kernel - axis.before)
    return slice(start, max(start, stop))


Divisor = int | tuple[Ints, ...]
"""A number, or how many cells a window has: as factors by dimension, one for each position."""


def divide(total: Array, divisor: Divisor) -> Array:
    """Return totals (..., *positions), not of integers, over a divisor: in place if that goes."""
    if isinstance(divisor, tuple):
        total /= cells_of(library_of("total", total), total, divisor)
    elif divisor > 0 and divisor & (divisor - 1) == 0:
        # As exact for a power of two, and faster.
        if divisor > 1:
            total *= 1 / divisor
    else:
        total /= divisor
    return total


def cells_of(library: Library, like: Array, divisor: tuple[Ints, ...]) -> Array:
    """Return the factors of each dimension multiplied, of the dtype of an array and beside it."""
    cells: Any = 1
    for dim, each in enumerate(divisor, 1):
        along = from_numbers(library, like, each)
        cells = cells * library.xp.reshape(along, (-1, *(1,) * (len(divisor) - dim)))
    return cells


@primitive("sum_pool")
def sum_pool(x: Array, window: Windows, divisor: Divisor = 1) -> Array:
    """Return the sum (N, C, *positions) of what each window sees, in the wide dtype.

    It is divided by ``divisor``, which is 1 for integers.
    """
    library = library_of("input", x)
    xp = library.xp
    # One cell is its own sum: that would still be the input.
    alone = prod(kernel_sizes(window)) == 1
    x = xp.astype(x, library.dtype(x.dtype).wide, copy=alone)
    runs = [_run_of_cells(axis) for axis in window]
    whole = tuple(dim for dim, run in enumerate(runs, 2) if run is not None)
    if whole:
        # All dimensions with one window at once: global pooling is one sum.
        x = x[(..., *(run or slice(None) for run in runs))]
        x = xp.sum(x, axis=whole, keepdims=True, dtype=x.dtype)
    for dim in reversed(range(2, 2 + len(window))):
        if dim not in whole:
            total, *others = taps(x, dim, window[dim - 2])
            for other in others:
                total = total + other
            x = total
    return divide(x, divisor)


@primitive("spread")
def spread(y: Array, window: Windows, divisor: Divisor = 1) -> Array:
    """Return (N, C, *sizes), each cell the sum of all windows that see it: sum_pool's adjoint.

    Each window is divided by ``divisor``, or by its own.
    """
    xp = library_of("cotangent", y).xp
    if divisor != 1:
        y = divide(xp.astype(y, y.dtype, copy=True), divisor)
    runs = [_run_of_cells(axis) for axis in window]
    for dim, (axis, run) in enumerate(zip(window, runs, strict=True), 2):
        if run is None:
            y = taps_adjoint([y] * axis.kernel, dim, axis)
    if any(run is not None for run in runs):
        # All dimensions with one window at once: its cells have one share.
        ends = zip(y.shape[2:], runs, strict=True)
        sizes = (size if run is None else run.stop - run.start for size, run in ends)
        y = xp.astype(xp.broadcast_to(y, (*y.shape[:2], *sizes)), y.dtype, copy=True)
    for dim, (axis, run) in enumerate(zip(window, runs, strict=True), 2):
        if run is not None:
            y = pad_axis(y, dim, run.start, axis.size - run.stop)
    return y
