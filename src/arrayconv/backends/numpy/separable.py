"""Maxima and sums of windows, one axis after the other, some planes at a time.

The first spatial axis goes first: its slices are whole rows, and what is left for the last axis,
whose slices are strided, is less by then. Borders are slices too, so that nothing is padded.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._arrays import library_of
from arrayconv._window import Axis, Table, Windows, index_columns, output_sizes, tap_range
from arrayconv.backends.numpy.threads import run_blocks
from arrayconv.primitives.pooling import Divisor, divide, lowest

CHUNK = 256 << 10
"""Bytes of input that are worked on at a time, so that what is made of them stays in the cache."""


class Steps(NamedTuple):
    """How the windows of an axis are reduced by slices."""

    inner: slice
    """The positions that see the input by every tap."""
    taps: tuple[slice, ...]
    """The cells that each tap sees from those."""
    edges: tuple[tuple[int, slice], ...]
    """All other positions, and the cells that each one sees."""


def _run(cells: list[int]) -> slice:
    """Return the evenly spaced cells of one window as a slice."""
    inside = [cell for cell in cells if cell >= 0]
    step = inside[1] - inside[0] if len(inside) > 1 else 1
    return slice(inside[0], inside[-1] + 1, step) if inside else slice(0, 0)


@lru_cache(maxsize=1024)
def _steps(axis: Axis | Table) -> Steps:
    """Return how to reduce an axis: few positions of many taps one by one, else by the taps."""
    first, last = 0, 0
    if isinstance(axis, Axis) and axis.kernel < 4 * axis.out:
        ranges = [tap_range(axis, tap) for tap in range(axis.kernel)]
        first = max(each.first for each in ranges)
        last = max(first, min(each.last for each in ranges))
    taps = []
    if first < last and isinstance(axis, Axis):
        for tap in range(axis.kernel):
            start = first * axis.stride + tap * axis.dilation - axis.before
            taps.append(slice(start, start + (last - first - 1) * axis.stride + 1, axis.stride))
    outside = [o for o in range(axis.out) if not first <= o < last]
    columns = index_columns(axis) if outside else ()
    edges = tuple((o, _run([column[o] for column in columns])) for o in outside)
    return Steps(slice(first, last), tuple(taps), edges)


def _reduce(ufunc: np.ufunc, x: Any, dim: int, axis: Axis | Table, nothing: Any) -> Any:
    """Return what a ufunc makes of each window along one dimension; ``nothing`` of no cells."""
    inner, taps, edges = _steps(axis)
    reduced = np.empty((*x.shape[:dim], axis.out, *x.shape[dim + 1 :]), x.dtype)
    before: tuple[Any, ...] = (slice(None),) * dim
    if taps:
        to = reduced[(*before, inner)]
        if len(taps) == 1:
            to[...] = x[(*before, taps[0])]
        else:
            ufunc(x[(*before, taps[0])], x[(*before, taps[1])], out=to)
        for tap in taps[2:]:
            ufunc(to, x[(*before, tap)], out=to)
    for position, cells in edges:
        to, seen = reduced[(*before, position)], x[(*before, cells)]
        count = seen.shape[dim]
        if count == 0:
            to[...] = nothing
        elif count == 2:
            ufunc(seen[(*before, 0)], seen[(*before, 1)], out=to)
        else:
            ufunc.reduce(seen, axis=dim, out=to)
    return reduced


NARROW = 32
"""Cells of a row below which planes are laid side by side, so that all runs are long."""

Whole = tuple[slice, ...]


@lru_cache(maxsize=1024)
def _whole(window: Windows) -> Whole | None:
    """Return the cells of the only window, where there is but one and its cells are a box."""
    runs = []
    for axis in window:
        if isinstance(axis, Table) or axis.out != 1 or axis.dilation != 1:
            return None
        stop = max(0, min(axis.size, axis.kernel - axis.before))
        runs.append(slice(min(stop, max(0, -axis.before)), stop))
    return tuple(runs) if all(run.start < run.stop for run in runs) else None


def _total(ufunc: np.ufunc, part: Any, box: Whole) -> Any:
    """Return what a ufunc makes of a box of cells of each plane (n, *sizes)."""
    cells = part[(slice(None), *box)]
    if ufunc is np.add and cells.flags.c_contiguous and part.dtype in (np.float32, np.float64):
        # A product with ones: NumPy's own sum takes a call for each plane.
        flat = cells.reshape(len(cells), -1)
        return flat @ np.ones(flat.shape[1], flat.dtype)
    return ufunc.reduce(cells, axis=tuple(range(1, cells.ndim)))


def _reduced(
    ufunc: np.ufunc, x: Any, window: Windows, dtype: Any, nothing: Any, divisor: Divisor = 1
) -> Any:
    """Return what a ufunc makes of each window (N, C, *positions), in a dtype, over a divisor."""
    batch, channels, *sizes = x.shape
    images, count = (1, batch * channels) if x.flags.c_contiguous else (batch, channels)
    planes = x.reshape(images, count, *sizes)
    y = np.empty((batch, channels, *output_sizes(window)), dtype)
    results = y.reshape(images, count, *y.shape[2:])
    box = _whole(window)
    narrow = sizes[-1] < NARROW

    def pool(block: tuple[int, slice]) -> None:
        part = planes[block].astype(dtype, copy=False)
        if box is not None:
            results[block] = _total(ufunc, part, box).reshape(results[block].shape)
            divide(results[block], divisor)
            return
        first = 1
        if narrow:
            part, first = np.ascontiguousarray(np.moveaxis(part, 0, -1)), 0
        for dim, axis in enumerate(window, first):
            if axis != _UNMOVED._replace(size=axis.size, out=axis.size):
                part = _reduce(ufunc, part, dim, axis, nothing)
        results[block] = np.moveaxis(part, -1, 0) if narrow else part
        divide(results[block], divisor)

    some = max(1, CHUNK // max(1, prod(sizes) * np.dtype(dtype).itemsize))
    blocks = [
        (image, slice(start, start + some))
        for image in range(images)
        for start in range(0, count, some)
    ]
    run_blocks(pool, blocks, products=box is not None, least=2)
    return y


_UNMOVED = Axis(size=0, kernel=1, stride=1, dilation=1, before=0, after=0, out=0)
"""An axis whose windows are its cells, but for its size."""


def max_pool(x: Any, window: Windows) -> Any:
    """Return the maximum of what each window sees; numpy.maximum hands NaN on."""
    return _reduced(np.maximum, x, window, x.dtype, lowest(library_of("input", x), x.dtype))


def sum_pool(x: Any, window: Windows, divisor: Divisor = 1) -> Any:
    """Return the sum of what each window sees, in the wide dtype, over ``divisor``."""
    wide = library_of("input", x).dtype(x.dtype).wide
    return _reduced(np.add, x, window, np.dtype(wide), 0, divisor)
