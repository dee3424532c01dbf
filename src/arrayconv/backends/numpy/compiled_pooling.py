"""Pools by compiled loops, where numba is installed: the geometry is laid out, planes are shared.

For float32 and float64 only: every dtype is compiled anew.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import inf, prod
from typing import Any, NamedTuple, cast

import numpy as np

from arrayconv._integers import Ints
from arrayconv._window import Axis, Table, Windows, adjoint_axis, input_sizes, output_sizes
from arrayconv.backends.numpy.compiler import loops, missing
from arrayconv.backends.numpy.ranges import Ranges, cell_ranges, position_ranges, whole_positions
from arrayconv.backends.numpy.separable import CHUNK, NARROW
from arrayconv.backends.numpy.threads import run_blocks
from arrayconv.primitives.pooling import divide

FEW_CELLS = 4096
"""Cells of a plane up to which many, side by side, stay in the cache."""

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


class Geometry(NamedTuple):
    """Windows as the loops take them: three axes, and what `pool_loops` says of both arrays."""

    sizes: Ints
    outs: Ints
    shape: Any
    ranges: Any
    numbers: Any
    rows: int
    """The most rows that a window sees."""


def _geometry(sizes: Ints, outs: Ints, ranges: list[Ranges], last: Ints, steps: Ints) -> Geometry:
    missing_axes = 3 - len(sizes)
    ones = (1,) * missing_axes
    every = [((0, 1),)] * missing_axes + ranges
    laid = np.zeros((3, max(map(len, every)), 2), np.int64)
    for row, pairs in zip(laid, every, strict=True):
        row[: len(pairs)] = pairs
    lengths = [max(high - low for low, high in each) for each in every]
    shape = (*ones, *sizes, *ones, *outs)
    numbers = ones + steps + last
    return Geometry(
        ones + sizes,
        ones + outs,
        np.asarray(shape, np.int64),
        laid,
        np.asarray(numbers, np.int64),
        prod(lengths[:2]),
    )


_NO_RUN = (0, 0, 1, 1, 0, 0)


def _last(axis: Axis | Table) -> Ints:
    """Return what `pool_loops` says of the last axis: of its regular run, and its first window."""
    if isinstance(axis, Table):
        return _NO_RUN
    run = whole_positions(axis)
    start = run.start * axis.stride - axis.before
    return (run.start, run.stop, axis.stride, axis.kernel, start, -axis.before)


@lru_cache(maxsize=256)
def _windows(window: Windows) -> Geometry:
    """Return the geometry of pools: ranges of cells."""
    steps = tuple(axis.dilation if isinstance(axis, Axis) else 1 for axis in window)
    ranges = [cell_ranges(axis) for axis in window]
    return _geometry(input_sizes(window), output_sizes(window), ranges, _last(window[-1]), steps)


@lru_cache(maxsize=256)
def _sights(window: Windows) -> Geometry:
    """Return the geometry of the adjoint of a sum: ranges of positions."""
    end = window[-1]
    last = _NO_RUN if isinstance(end, Table) else (end.kernel, end.stride, end.before)
    ranges = [position_ranges(axis) for axis in window]
    steps = (1,) * len(window)
    return _geometry(output_sizes(window), input_sizes(window), ranges, last, steps)


def _is_narrow(geometry: Geometry) -> bool:
    """Whether planes are better taken side by side than a row at a time."""
    both = (geometry.sizes, geometry.outs)
    return all(sizes[-1] < NARROW and prod(sizes) <= FEW_CELLS for sizes in both)


def _unfit(x: Any, window: Windows) -> str | None:
    if x.dtype not in (np.float32, np.float64):
        return f"it is compiled for float32 and float64, not for {x.dtype}"
    if len(window) > 3:
        return f"its loops are for 1, 2 and 3 spatial dimensions, not {len(window)}"
    if prod(input_sizes(window)) >= LARGEST:
        return "its places in a plane have 32 bits"
    return missing()


def unfit(x: Any, window: Windows, divisor: int = 1) -> str | None:
    """Return why a pool cannot be served."""
    return _unfit(x, window)


def slow(x: Any, window: Windows, divisor: int = 1) -> str | None:
    """Return why NumPy's own loops are better."""
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


def spread_unfit(y: Any, window: Windows, divisor: int = 1) -> str | None:
    """Return why the adjoint of a sum cannot be served."""
    if any(isinstance(axis, Axis) and axis.dilation > 1 for axis in window):
        return "the positions that see a cell are no neighbours where windows are dilated"
    return _unfit(y, window)


def spread_slow(y: Any, window: Windows, divisor: int = 1) -> str | None:
    """Return why the slices of the generic body are better."""
    if all(axis.out == 1 for axis in window):
        return "one window of all cells is one number a plane"
    return None


def grad_unfit(cotangent: Any, index: Any, window: Windows) -> str | None:
    """Return why the gradient of a maximum cannot be served."""
    return _unfit(cotangent, window)


def _by_blocks(run: Callable[..., Any], planes: int, bytes_per_plane: int) -> None:
    """Run the loops on some planes at a time, which threads share."""
    some = max(1, CHUNK // max(1, bytes_per_plane))
    some = some // 16 * 16 or some
    if some >= planes:
        run(slice(0, planes))
        return
    run_blocks(run, [slice(start, start + some) for start in range(0, planes, some)], least=2)


@lru_cache(maxsize=1024)
def _loop(window: Windows, dtype: Any, maximum: bool, located: bool) -> Callable[..., Any]:
    """Return the loop of a pool: it takes cells, results, and the first and last plane."""
    geometry = _windows(window)
    if _is_whole(window) and not located:
        lanes = _lanes(dtype)
        whole = loops("pool_loops").pool_planes(maximum, lanes)
        return lambda *given: whole(*given, prod(geometry.sizes))
    run = _in_vectors(window, geometry, dtype, maximum, located)
    if run is not None:
        return _bound(run, geometry)
    if not located:
        return _reducing(geometry, dtype, maximum)
    located_by = loops("index_loops")
    if _is_narrow(geometry):
        lanes = _lanes(dtype)
        return _bound(located_by.locate_lanes(lanes), geometry)
    return _bound(located_by.locate_rows, geometry, dtype.type(-inf))


def _reducing(geometry: Geometry, dtype: Any, maximum: bool) -> Callable[..., Any]:
    """Return the loop for narrow planes, side by side, or for wide ones, by rows."""
    if not _is_narrow(geometry):
        nothing = dtype.type(-inf if maximum else 0)
        return _bound(loops("pool_loops").pool_rows, geometry, maximum, nothing)
    lanes = _lanes(dtype)
    return _bound(loops("lane_loops").pool_lanes(maximum, lanes), geometry)


def _lanes(dtype: Any) -> int:
    """Return how many numbers a vector holds."""
    return int(loops("registers").VECTOR_BYTES // dtype.itemsize)


def _bound(run: Any, geometry: Geometry, *more: Any) -> Callable[..., Any]:
    """Return a loop that knows its geometry."""
    known = (geometry.shape, geometry.ranges, geometry.numbers, *more)

    def bound(*arguments: Any) -> None:
        run(*arguments, *known)

    return bound


def _in_vectors(
    window: Windows, geometry: Geometry, dtype: Any, maximum: bool, located: bool
) -> Any:
    """Return the loop that makes a vector of results at a time, or None where others are better."""
    end = window[-1]
    if isinstance(end, Table) or end.out < FEW_RESULTS or _is_narrow(geometry):
        return None
    seen = geometry.rows * end.kernel
    if end.stride > LARGEST_STRIDE or seen > (FEW_LOCATED if located else FEW_SEEN):
        return None
    along = loops("row_windows").Along(end.kernel, end.stride, end.dilation, maximum)
    lanes = _lanes(dtype)
    if not located:
        return loops("pool_loops").pool_vectors(along, lanes)
    if end.kernel > WIDEST or prod(geometry.sizes) >= loops("row_maxima").NOWHERE:
        return None
    return loops("index_loops").locate_vectors(along, lanes)


def _pooled(
    x: Any, run: Callable[..., Any], geometry: Geometry, *results: Any, divisor: int = 1
) -> None:
    """Fill arrays (N, C, *positions) with what a loop makes of some planes at a time."""
    planes = x.shape[0] * x.shape[1]
    arrays = [np.ascontiguousarray(x).reshape(-1), *(each.reshape(-1) for each in results)]
    made = results[0].reshape(planes, prod(geometry.outs)) if divisor != 1 else None

    def some(part: slice) -> None:
        run(*arrays, part.start, min(part.stop, planes))
        if made is not None:
            # While the cache still holds them.
            divide(made[part], divisor)

    cells = max(prod(geometry.sizes), prod(geometry.outs))
    _by_blocks(some, planes, cells * x.itemsize)


def _results(x: Any, sizes: Ints, dtype: Any) -> Any:
    return np.empty((*x.shape[:2], *sizes), dtype)


def max_pool(x: Any, window: Windows) -> Any:
    """Return the maximum of what each window sees."""
    y = _results(x, output_sizes(window), x.dtype)
    _pooled(x, _loop(window, x.dtype, True, False), _windows(window), y)
    return y


def sum_pool(x: Any, window: Windows, divisor: int = 1) -> Any:
    """Return the sum of what each window sees, over ``divisor``."""
    y = _results(x, output_sizes(window), x.dtype)
    _pooled(x, _loop(window, x.dtype, False, False), _windows(window), y, divisor=divisor)
    return y


def max_pool_indices(x: Any, window: Windows) -> tuple[Any, Any]:
    """Return the maxima and their places."""
    y = _results(x, output_sizes(window), x.dtype)
    index = _results(x, output_sizes(window), np.int64)
    _pooled(x, _loop(window, x.dtype, True, True), _windows(window), y, index)
    return y, index


@lru_cache(maxsize=1024)
def _spread_loop(window: Windows, dtype: Any) -> Callable[..., Any]:
    """Return the loop of the adjoint of a sum: it takes as much as that of a pool does."""
    sights = _sights(window)
    if all(isinstance(axis, Axis) and axis.stride == 1 for axis in window):
        # Then the adjoint slides too.
        return _loop(tuple(adjoint_axis(cast(Axis, axis)) for axis in window), dtype, False, False)
    if isinstance(window[-1], Table) or _is_narrow(sights):
        return _reducing(sights, dtype, False)
    return _bound(loops("spread_loops").spread_rows, sights)


def spread(y: Any, window: Windows, divisor: int = 1) -> Any:
    """Return the sum of the windows that see each cell, over ``divisor``."""
    sights, run = _sights(window), _spread_loop(window, y.dtype)
    x = _results(y, input_sizes(window), y.dtype)
    planes, cells = x.shape[0] * x.shape[1], max(prod(sights.sizes), prod(sights.outs))
    given = np.ascontiguousarray(y).reshape(planes, prod(sights.sizes))
    made = x.reshape(planes, prod(sights.outs))

    def some(part: slice) -> None:
        shares = given[part] if divisor == 1 else divide(given[part].copy(), divisor)
        run(shares.reshape(-1), made[part].reshape(-1), 0, len(shares))

    _by_blocks(some, planes, cells * x.itemsize)
    return x


def max_pool_grad(cotangent: Any, index: Any, window: Windows) -> Any:
    """Return the gradient: what each maximum is given, added in the order of the windows."""
    batch, channels = cotangent.shape[:2]
    gradient = np.empty((batch, channels, *input_sizes(window)), cotangent.dtype)
    planes = gradient.reshape(batch * channels, prod(input_sizes(window)))
    flat = (batch * channels, prod(output_sizes(window)))
    values = np.ascontiguousarray(cotangent).reshape(flat)
    indices = np.ascontiguousarray(index).reshape(flat)
    scatter = loops("pool_loops").scatter

    def some(part: slice) -> None:
        scatter(values[part], indices[part], planes[part])

    _by_blocks(some, len(planes), planes.shape[1] * cotangent.itemsize)
    return gradient
