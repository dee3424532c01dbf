"""Maxima and sums of windows, one axis after the other, in blocks that the cache holds.

The first spatial axis goes first: its slices are whole rows, and what is left for the last axis,
whose slices are strided, is less by then. Borders are slices too, so that nothing is padded.

Cells lie as (images, *sizes, channels) where the input does, and else as (planes, *sizes); planes
of short rows are turned over to (*sizes, planes). Whatever comes last in memory is not strided.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._arrays import library_of
from arrayconv._integers import Ints
from arrayconv._window import Axis, Table, Windows, index_columns, output_sizes, span, tap_range
from arrayconv.backends.numpy.orders import is_channels_last
from arrayconv.backends.numpy.plane_blocks import PlaneBlock, plane_blocks
from arrayconv.backends.numpy.threads import run_blocks
from arrayconv.primitives.pooling import Divisor, divide, lowest

CHUNK = 256 << 10
"""Bytes of input that are worked on at a time, so that what is made of them stays in the cache."""

NARROW = 32
"""Cells of a row below which planes are laid side by side, so that all runs are long."""


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


@lru_cache(maxsize=4096)
def _band(axis: Axis | Table, first: int, last: int) -> tuple[slice, Axis | Table]:
    """Return the cells that some positions see, and the axis of these cells and positions."""
    if isinstance(axis, Table):
        rows = axis.cells[first:last]
        seen = [cell for row in rows for cell in row if cell >= 0]
        start, stop = min(seen), max(seen) + 1
        cells = tuple(tuple(max(-1, cell - start) for cell in row) for row in rows)
        return slice(start, stop), Table(stop - start, axis.kernel, last - first, cells)
    start = min(axis.size, max(0, first * axis.stride - axis.before))
    stop = (last - 1) * axis.stride - axis.before + span(axis)
    stop = max(start, min(axis.size, stop))
    before = axis.before - first * axis.stride + start
    return slice(start, stop), axis._replace(size=stop - start, out=last - first, before=before)


def _pairs(x: Any, taps: tuple[slice, ...]) -> tuple[Any, tuple[slice, ...]]:
    """Return the larger of each cell and that of the next tap, and the taps that see all of these.

    NumPy takes the maxima of neighbours by vectors, but strided ones cell by cell.
    """
    flat, apart = x.reshape(-1), taps[1].start - taps[0].start
    larger = np.empty(x.shape, x.dtype)
    np.maximum(flat[:-apart], flat[apart:], out=larger.reshape(-1)[:-apart])
    # The last pair may overlap the one before.
    return larger, (*taps[:-2:2], taps[-2])


def _reduce(ufunc: np.ufunc, x: Any, dim: int, steps: Steps, nothing: Any, reduced: Any) -> None:
    """Write what a ufunc makes of each window along one dimension; ``nothing`` of no cells."""
    inner, taps, edges = steps
    before: tuple[Any, ...] = (slice(None),) * dim
    cells = x
    strided = len(taps) > 2 and dim == x.ndim - 1 and taps[0].step > 1
    if strided and ufunc is np.maximum and x.flags.c_contiguous:
        cells, taps = _pairs(x, taps)
    if taps:
        to = reduced[(*before, inner)]
        if len(taps) == 1:
            to[...] = cells[(*before, taps[0])]
        else:
            ufunc(cells[(*before, taps[0])], cells[(*before, taps[1])], out=to)
        for tap in taps[2:]:
            ufunc(to, cells[(*before, tap)], out=to)
    for position, run in edges:
        to, seen = reduced[(*before, position)], x[(*before, run)]
        count = seen.shape[dim]
        if count == 0:
            to[...] = nothing
        elif count == 2:
            ufunc(seen[(*before, 0)], seen[(*before, 1)], out=to)
        else:
            ufunc.reduce(seen, axis=dim, out=to)


@lru_cache(maxsize=1024)
def _moved(window: Windows) -> tuple[tuple[int, Steps], ...]:
    """Return the dimensions, counted from 0, whose windows are not their cells, and their steps."""
    return tuple(
        (dim, _steps(axis))
        for dim, axis in enumerate(window)
        if axis != _UNMOVED._replace(size=axis.size, out=axis.size)
    )


_UNMOVED = Axis(size=0, kernel=1, stride=1, dilation=1, before=0, after=0, out=0)
"""An axis whose windows are its cells, but for its size."""


def _pool(
    ufunc: np.ufunc, part: Any, window: Windows, first: int, nothing: Any, result: Any
) -> None:
    """Write what a ufunc makes of each window; ``first`` is the first spatial dimension."""
    moved = _moved(window)
    if not moved:
        result[...] = part
        return
    *others, (last, last_steps) = moved
    for dim, steps in others:
        at = first + dim
        made = np.empty((*part.shape[:at], window[dim].out, *part.shape[at + 1 :]), part.dtype)
        _reduce(ufunc, part, at, steps, nothing, made)
        part = made
    _reduce(ufunc, part, first + last, last_steps, nothing, result)


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


def _total(ufunc: np.ufunc, cells: Any, spatial: Ints) -> Any:
    """Return what a ufunc makes of all the cells of some dimensions."""
    runs = spatial[-1] == cells.ndim - 1 and cells.flags.c_contiguous
    if ufunc is np.add and runs and cells.dtype in (np.float32, np.float64):
        # A product with ones: NumPy's own sum takes a call for each plane.
        flat = cells.reshape(len(cells), -1)
        return flat @ np.ones(flat.shape[1], flat.dtype)
    return ufunc.reduce(cells, axis=spatial)


def _reduced(
    ufunc: np.ufunc, x: Any, window: Windows, dtype: Any, nothing: Any, divisor: Divisor = 1
) -> Any:
    """Return what a ufunc makes of each window (N, C, *positions), in a dtype, over a divisor."""
    batch, channels, *sizes = x.shape
    outs, dims = output_sizes(window), len(window)
    # A dimension of channels behind the spatial ones, or none.
    behind = (channels,) if is_channels_last(x) else ()
    if behind:
        images, count = 1, batch
        x = x.transpose(0, *range(2, x.ndim), 1)
    else:
        images, count = (1, batch * channels) if x.flags.c_contiguous else (batch, channels)
    cells = x.reshape(images, count, *sizes, *behind)
    results = np.empty((images, count, *outs, *behind), dtype)
    spatial = tuple(range(1, 1 + dims))
    box = _whole(window)
    turned = not behind and sizes[-1] < NARROW

    def pool(block: PlaneBlock) -> None:
        rows, of_block = block.rows, window
        part = cells[block.image, block.planes]
        if rows.stop - rows.start < outs[0]:
            seen, band = _band(window[0], rows.start, rows.stop)
            part, of_block = part[:, seen], (band, *window[1:])
        part = part.astype(dtype, copy=False)
        result = results[block.image, block.planes, rows]
        if box is not None:
            total = _total(ufunc, part[(slice(None), *box)], spatial)
            result[...] = total.reshape(result.shape)
        elif turned:
            part = np.ascontiguousarray(part.transpose(*spatial, 0))
            made = np.empty((*result.shape[1:], len(result)), dtype)
            _pool(ufunc, part, of_block, 0, nothing, made)
            result[...] = made.transpose(dims, *range(dims))
        else:
            _pool(ufunc, part, of_block, 1, nothing, result)
        if isinstance(divisor, tuple):
            if behind:
                result = result.transpose(0, 1 + dims, *spatial)
            divide(result, (divisor[0][rows], *divisor[1:]))
        else:
            divide(result, divisor)

    plane = prod((*sizes, *behind)) * np.dtype(dtype).itemsize
    # What is read but once needs no cache.
    chunk = CHUNK if box is None else 4 * CHUNK
    blocks = plane_blocks(images, count, outs[0], plane, chunk)
    run_blocks(pool, blocks, products=box is not None, least=2)
    if behind:
        return results[0].transpose(0, 1 + dims, *spatial)
    return results.reshape(batch, channels, *outs)


def max_pool(x: Any, window: Windows) -> Any:
    """Return the maximum of what each window sees; numpy.maximum hands NaN on."""
    return _reduced(np.maximum, x, window, x.dtype, lowest(library_of("input", x), x.dtype))


def sum_pool(x: Any, window: Windows, divisor: Divisor = 1) -> Any:
    """Return the sum of what each window sees, in the wide dtype, over ``divisor``."""
    wide = library_of("input", x).dtype(x.dtype).wide
    return _reduced(np.add, x, window, np.dtype(wide), 0, divisor)
