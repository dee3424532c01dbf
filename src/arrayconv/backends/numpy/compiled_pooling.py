"""Pools by compiled loops, where numba is installed: the geometry is laid out, planes are shared.

For float32 and float64 only: every dtype is compiled anew.
"""

from __future__ import annotations

from functools import lru_cache
from math import inf, prod
from typing import Any, NamedTuple, cast

import numpy as np

from arrayconv._arrays import library_of
from arrayconv._integers import Ints
from arrayconv._window import (
    Axis,
    Table,
    Window,
    Windows,
    adjoint_axis,
    input_sizes,
    kernel_sizes,
    output_sizes,
)
from arrayconv.backends.numpy import spread_plans
from arrayconv.backends.numpy.compiler import lanes_of, loops, missing
from arrayconv.backends.numpy.orders import channels_first
from arrayconv.backends.numpy.pool_geometry import Geometry, sights, windows
from arrayconv.backends.numpy.separable import CHUNK, NARROW
from arrayconv.backends.numpy.threads import at_once, run_range
from arrayconv.primitives.pooling import Divisor, cells_of, divide

LANES = 16
"""As many planes are laid side by side: blocks are of whole such sets."""

FEW_CELLS = 4096
"""Cells of a plane up to which many, side by side, stay in the cache."""

FEW_TO_SEARCH = 1 << 14
"""The same of planes in which windows that share little look for their maxima."""

FEW_RESULTS = 4
"""Results of a row below which a vector of them is not worth it."""

FEW_SEEN, FEW_LOCATED = 64, 192
"""Cells of a window up to which each vector of results sees all of them, of rows and columns.

Beyond, what a row gives is better kept for the windows that see it too; that costs more where the
places of maxima are kept as well.
"""

WIDEST, LARGEST_STRIDE = 16, 8
"""A kernel that would hold more places than registers, and a stride that needs more shuffles."""

LARGEST = 2**31
"""Cells of a plane from which on the loops' 32-bit places do not reach."""


def _is_small(geometry: Geometry) -> bool:
    """Whether planes, if there are many, are better taken side by side than a row at a time.

    If there are few, what is compiled once serves them: a form of its own is not worth its time.
    """
    both = (geometry.sizes, geometry.outs)
    return all(sizes[-1] < NARROW and prod(sizes) <= FEW_CELLS for sizes in both)


_DTYPES = {np.dtype(np.float32), np.dtype(np.float64)}


def _unfit(x: Any, window: Windows) -> str | None:
    if x.dtype not in _DTYPES:
        return f"it is compiled for float32 and float64, not for {x.dtype}"
    return no_window(window) or missing()


@lru_cache(maxsize=1024)
def no_window(window: Windows) -> str | None:
    """Return why no loop serves a window."""
    if len(window) > 3:
        return f"its loops are for 1, 2 and 3 spatial dimensions, not {len(window)}"
    if prod(input_sizes(window)) >= LARGEST:
        return "its places in a plane have 32 bits"
    return None


def unfit(x: Any, window: Windows, divisor: Divisor = 1) -> str | None:
    """Return why a pool cannot be served."""
    return _unfit(x, window)


def slow(x: Any, window: Windows, divisor: Divisor = 1) -> str | None:
    """Return why NumPy's own loops are better."""
    return _slow(window)


@lru_cache(maxsize=1024)
def _slow(window: Windows) -> str | None:
    if all(axis.out == 1 for axis in window) and not _is_whole(window):
        return "one window of some cells is one run of NumPy's own"
    return None


def _is_whole(window: Windows) -> bool:
    """Whether there is one window, which sees all cells."""
    return all(
        isinstance(axis, Axis)
        and (axis.out, axis.dilation) == (1, 1)
        and axis.before >= 0
        and axis.kernel - axis.before >= axis.size
        for axis in window
    )


def spread_unfit(y: Any, window: Windows, divisor: Divisor = 1) -> str | None:
    """Return why the adjoint of a sum cannot be served."""
    if any(isinstance(axis, Axis) and axis.dilation > 1 for axis in window):
        return "the positions that see a cell are no neighbours where windows are dilated"
    return _unfit(y, window)


def spread_slow(y: Any, window: Windows, divisor: Divisor = 1) -> str | None:
    """Return why the slices of the generic body are better."""
    if all(axis.out == 1 for axis in window):
        return "one window of all cells is one number a plane"
    return None


def grad_unfit(cotangent: Any, index: Any, window: Windows) -> str | None:
    """Return why the gradient of a maximum cannot be served."""
    return _unfit(cotangent, window)


class Loop(NamedTuple):
    """What runs for some planes, and what it makes of each."""

    run: Any
    """It takes flat arrays, of cells and of results, a range of planes, and what it knows."""
    known: tuple[Any, ...]
    outs: Ints
    cells: int
    """Of results."""
    some: int
    """Planes at a time, which stay in the cache; threads share those."""


def _of_planes(run: Any, known: tuple[Any, ...], sizes: Ints, outs: Ints, dtype: Any) -> Loop:
    bytes_per_plane = max(1, prod(sizes), prod(outs)) * dtype.itemsize
    some = max(1, CHUNK // bytes_per_plane)
    return Loop(run, known, outs, prod(outs), some // LANES * LANES or some)


@lru_cache(maxsize=1024)
def loop_of(window: Windows, dtype: Any, maximum: bool, located: bool, many: bool) -> Loop:
    """Return the loop of a pool of many planes, or of few."""
    run, known = _run(window, windows(window), dtype, maximum, located, many)
    return _of_planes(run, known, input_sizes(window), output_sizes(window), dtype)


def _run(
    window: Windows, geometry: Geometry, dtype: Any, maximum: bool, located: bool, many: bool
) -> tuple[Any, tuple[Any, ...]]:
    """Return a loop, and what it knows."""
    if _is_whole(window) and not located:
        whole = loops("pool_loops").pool_planes(maximum, lanes_of(dtype))
        return whole, (prod(geometry.sizes),)
    narrow = many and _is_small(geometry)
    run = None if narrow else _in_vectors(window, geometry, dtype, maximum, located)
    if run is not None:
        return run, (*geometry.found, geometry.line)
    if not located:
        return _reducing(geometry, dtype, maximum, narrow)
    located_by, cells = loops("index_loops"), prod(geometry.sizes)
    if narrow or (many and cells <= FEW_TO_SEARCH):
        seen = geometry.cells_seen()
        # Of windows that share most of their cells, rows are better taken once.
        if narrow or len(seen[0]) <= 2 * cells:
            return located_by.locate_lanes(lanes_of(dtype)), (cells, *seen)
    return located_by.locate_rows, (*geometry.laid, dtype.type(-inf))


def _reducing(
    geometry: Geometry, dtype: Any, maximum: bool, narrow: bool
) -> tuple[Any, tuple[Any, ...]]:
    """Return the loop for narrow planes, side by side, or for wide ones, by rows."""
    if narrow:
        by_lanes = loops("lane_loops").pool_lanes(maximum, lanes_of(dtype))
        return by_lanes, (*geometry.laid, *geometry.found)
    nothing = dtype.type(-inf if maximum else 0)
    return loops("pool_loops").pool_rows, (*geometry.laid, maximum, nothing)


def _in_vectors(
    window: Windows, geometry: Geometry, dtype: Any, maximum: bool, located: bool
) -> Any:
    """Return the loop that makes a vector of results at a time, or None where others are better."""
    end = window[-1]
    if isinstance(end, Table) or end.out < FEW_RESULTS:
        return None
    seen = geometry.rows * end.kernel
    if end.stride > LARGEST_STRIDE or seen > (FEW_LOCATED if located else FEW_SEEN):
        return None
    along = loops("row_windows").Along(end.kernel, end.stride, end.dilation, maximum)
    lanes = lanes_of(dtype)
    if not located:
        return loops("pool_loops").pool_vectors(along, lanes)
    if end.kernel > WIDEST or prod(geometry.sizes) >= loops("row_maxima").NOWHERE:
        return None
    return loops("index_loops").locate_vectors(along, lanes)


def many_planes(x: Any) -> bool:
    """Whether there are planes enough to be laid side by side."""
    return bool(x.shape[0] * x.shape[1] >= LANES)


@lru_cache(maxsize=256)
def _known_cells(divisor: tuple[Ints, ...], dtype: Any) -> Any:
    """Return the cells of windows (*positions), which cost more to lay out than to divide by."""
    like = np.empty(0, dtype)
    return cells_of(library_of("input", like), like, divisor)


def over(totals: Any, divisor: Divisor) -> Any:
    """Return sums (..., *positions) over a divisor, in place."""
    if isinstance(divisor, tuple):
        totals /= _known_cells(divisor, totals.dtype)
        return totals
    return totals if divisor == 1 else divide(totals, divisor)


def _divisors(divisor: Divisor, dtype: Any) -> tuple[Any, bool]:
    """Return divisors, one or one of each position, and whether their inverses are as exact."""
    if isinstance(divisor, tuple):
        return _known_cells(divisor, dtype).reshape(-1), False
    return np.full(1, divisor, dtype), divisor & (divisor - 1) == 0


def _over(loop: Loop, run: Any, sizes: Ints, divisor: Divisor, dtype: Any) -> Loop:
    """Return the loop that divides what another one makes, or is given."""
    numbers = np.empty(1, dtype)
    address = loops("addresses").address_of(loop.run, numbers, numbers, 0, 0, *loop.known)
    known = (address, *sizes, loop.some, *_divisors(divisor, dtype), loop.known)
    return loop._replace(run=run, known=known)


@lru_cache(maxsize=1024)
def average_loop(window: Windows, dtype: Any, many: bool, divisor: Divisor) -> Loop:
    """Return the loop of sums over a divisor."""
    loop = loop_of(window, dtype, False, False, many)
    if divisor == 1:
        return loop
    return _over(loop, loops("average_loops").average, (loop.cells,), divisor, dtype)


def _pooled(x: Any, loop: Loop, *dtypes: Any) -> list[Any]:
    """Return arrays (N, C, *positions) of what a loop makes."""
    batch, channels = x.shape[:2]
    planes = batch * channels
    arrays = (
        channels_first(x).reshape(-1),
        *(np.empty(planes * loop.cells, dtype) for dtype in dtypes),
    )
    run_range(loop.run, arrays, planes, loop.known, each=loop.some)
    return [each.reshape(batch, channels, *loop.outs) for each in arrays[1:]]


def max_pool(x: Any, window: Windows) -> Any:
    """Return the maximum of what each window sees."""
    return _pooled(x, loop_of(window, x.dtype, True, False, many_planes(x)), x.dtype)[0]


def sum_pool(x: Any, window: Windows, divisor: Divisor = 1) -> Any:
    """Return the sum of what each window sees, over ``divisor``."""
    return _pooled(x, average_loop(window, x.dtype, many_planes(x), divisor), x.dtype)[0]


def max_pool_indices(x: Any, window: Windows) -> tuple[Any, Any]:
    """Return the maxima and their places."""
    values, indices = _pooled(
        x, loop_of(window, x.dtype, True, True, many_planes(x)), x.dtype, np.int64
    )
    return values, indices


@lru_cache(maxsize=1024)
def _spread_loop(window: Windows, dtype: Any, many: bool, divisor: Divisor) -> Loop:
    """Return the loop of the adjoint of a sum over a divisor."""
    if divisor != 1:
        loop = _spread_loop(window, dtype, many, 1)
        sizes = (prod(output_sizes(window)), loop.cells)
        return _over(loop, loops("average_loops").spread, sizes, divisor, dtype)
    if all(isinstance(axis, Axis) and axis.stride == 1 for axis in window):
        # Then the adjoint slides too.
        sliding = tuple(adjoint_axis(cast(Axis, axis)) for axis in window)
        return loop_of(sliding, dtype, False, False, many)
    geometry = sights(window)
    narrow = many and _is_small(geometry)
    if isinstance(window[-1], Table) or narrow:
        run, known = _reducing(geometry, dtype, False, narrow)
    elif _is_written_out(window):
        planned = spread_plans.plan(cast(Window, window), lanes_of(dtype))
        run = loops("spread_loops").spread_groups(planned.shape)
        ones = np.ones(prod(kernel_sizes(window)), dtype)
        known = (len(planned.tiles), 1, ones, *planned[1:])
    else:
        run, known = loops("spread_loops").spread_rows, geometry.laid
    return _of_planes(run, known, output_sizes(window), input_sizes(window), dtype)


def _is_written_out(window: Windows) -> bool:
    """Whether the cells of an adjoint are made in vectors."""
    is_regular = all(isinstance(axis, Axis) for axis in window)
    return is_regular and spread_plans.unfit(cast(Window, window)) is None


def spread(y: Any, window: Windows, divisor: Divisor = 1) -> Any:
    """Return the sum of the windows that see each cell, over ``divisor``."""
    loop = _spread_loop(window, y.dtype, many_planes(y), divisor)
    batch, channels = y.shape[:2]
    planes = batch * channels
    given, made = channels_first(y).reshape(-1), np.empty(planes * loop.cells, y.dtype)
    known, divides = loop.known, divisor != 1
    if divides:
        held = min(planes, loop.some) * prod(output_sizes(window))
        workspace = np.empty((at_once(-(-planes // loop.some)), held), y.dtype)
        known = (workspace, *known)
    run_range(loop.run, (given, made), planes, known, each=loop.some, numbered=divides)
    return made.reshape(batch, channels, *loop.outs)


def max_pool_grad(cotangent: Any, index: Any, window: Windows) -> Any:
    """Return the gradient: what each maximum is given, added in the order of the windows."""
    batch, channels = cotangent.shape[:2]
    sizes, flat = input_sizes(window), (batch * channels, prod(output_sizes(window)))
    planes = np.empty((batch * channels, prod(sizes)), cotangent.dtype)
    values = channels_first(cotangent).reshape(flat)
    indices = np.ascontiguousarray(index).reshape(flat)
    some = max(1, CHUNK // (max(1, prod(sizes)) * cotangent.itemsize))
    scatter = loops("pool_loops").scatter
    run_range(scatter, (values, indices, planes), len(planes), (), each=some)
    return planes.reshape(batch, channels, *sizes)
