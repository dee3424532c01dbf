"""The loops of maxima with their cells, compiled by numba: import this by `compiler.loops` only.

Arrays and geometry are those of `pool_loops`. Cells are met as they lie in memory, so that the
first of several maxima is kept, and the last NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np

from arrayconv.backends.numpy.pool_loops import (
    ALL_LANES,
    LANES,
    combine,
    compiled,
    inlined,
    one_by_one,
    rows_seen,
    side_by_side,
    split,
)
from arrayconv.backends.numpy.row_maxima import locate_windows
from arrayconv.backends.numpy.row_windows import Along


@inlined
def _beats(value: Any, best: Any) -> Any:
    """Whether a later value takes the place of an earlier one: larger, or NaN."""
    return (value > best) | (value != value)


@compiled
def _locate(
    best: Any, at: Any, to: Any, cells: Any, start: Any, count: Any, cell: Any, step: Any
) -> None:
    """Take what one tap sees into the best so far, and the cells where that is."""
    place = np.int32(cell)
    for o in range(count):
        value = cells[start + o]
        better = _beats(value, best[to + o])
        best[to + o] = value if better else best[to + o]
        at[to + o] = place if better else at[to + o]
        place += np.int32(step)


@compiled
def _locate_first(
    best: Any, at: Any, to: Any, cells: Any, start: Any, count: Any, cell: Any, step: Any
) -> None:
    place = np.int32(cell)
    for o in range(count):
        best[to + o] = cells[start + o]
        at[to + o] = place
        place += np.int32(step)


@compiled
def _locate_along(
    line: Any,
    even: Any,
    odd: Any,
    best: Any,
    at: Any,
    begin: Any,
    outs: Any,
    ranges: Any,
    numbers: Any,
    nothing: Any,
) -> None:
    """Find the best cell of each window of one line."""
    first, last, stride, kernel, start = numbers[3:8]
    count = np.uintp(max(0, last - first))
    if count > 0 and stride <= 2:
        to = begin + np.uintp(first)
        if stride == 2:
            split(line, even, odd, len(even))
        for tap in range(kernel):
            seen = start + tap * numbers[2]
            source, begun = line, np.uintp(seen)
            if stride == 2:
                source, begun = (odd if seen % 2 else even), np.uintp(seen // 2)
            if tap == 0:
                _locate_first(best, at, to, source, begun, count, seen, stride)
            else:
                _locate(best, at, to, source, begun, count, seen, stride)
    if stride > 2:
        first = last = 0
    for end in range(2):
        for o in range(0 if end == 0 else last, first if end == 0 else outs):
            top, place = nothing, np.int32(-1)
            for cell in range(ranges[2, o, 0], ranges[2, o, 1], numbers[2]):
                if place < 0 or _beats(line[cell], top):
                    top, place = line[cell], np.int32(cell)
            best[begin + np.uintp(o)] = top
            at[begin + np.uintp(o)] = place


@compiled
def locate_rows(
    cells: Any,
    out: Any,
    indices: Any,
    begin: int,
    end: int,
    shape: Any,
    ranges: Any,
    numbers: Any,
    nothing: Any,
) -> None:
    """Write the maximum of each window and its cell: along the rows first, then rows of those.

    So cells are met as they lie in memory: the first of several maxima is kept, the last NaN.
    """
    depth, height, width = shape[0], shape[1], np.uintp(shape[2])
    deep, high, outs = shape[3], shape[4], np.uintp(shape[5])
    pairs = (shape[2] + 1) // 2
    line = np.empty(2 * pairs, cells.dtype)
    even, odd = np.empty(pairs, cells.dtype), np.empty(pairs, cells.dtype)
    rows = np.uintp(depth * height)
    best, at = np.empty(rows * outs, cells.dtype), np.empty(rows * outs, np.int32)
    top, where = np.empty(outs, cells.dtype), np.empty(outs, np.int32)
    to = np.uintp(begin * deep * high) * outs
    for n in range(begin, end):
        for row in range(rows):
            combine(line, cells, (np.uintp(n) * rows + row) * width, width, True, True)
            _locate_along(line, even, odd, best, at, row * outs, outs, ranges, numbers, nothing)
            for o in range(outs):
                place = row * outs + o
                at[place] = at[place] + np.int32(row * width) if at[place] >= 0 else at[place]
        for d in range(deep):
            for h in range(high):
                first = True
                for z in range(ranges[0, d, 0], ranges[0, d, 1], numbers[0]):
                    for y in range(ranges[1, h, 0], ranges[1, h, 1], numbers[1]):
                        start = np.uintp(z * height + y) * outs
                        if first:
                            for o in range(outs):
                                top[o] = best[start + o]
                                where[o] = at[start + o]
                        else:
                            for o in range(outs):
                                better = _beats(best[start + o], top[o])
                                top[o] = best[start + o] if better else top[o]
                                where[o] = at[start + o] if better else where[o]
                        first = False
                if first:
                    top[:] = nothing
                    where[:] = -1
                for o in range(outs):
                    out[to + o] = top[o]
                    indices[to + o] = where[o]
                to += outs


@cache
def locate_vectors(shape: Along, lanes: int) -> Callable[..., None]:
    """Return the same as `locate_rows`, for windows along a row whose form is written into code.

    It takes the lanes of a vector of the cells' dtype.
    """
    kernel, stride, dilation, _ = shape

    @numba.njit(cache=True, nogil=True)
    def run(
        cells: Any,
        out: Any,
        indices: Any,
        begin: Any,
        end: Any,
        shape: Any,
        ranges: Any,
        numbers: Any,
    ) -> None:
        width, outs, before = shape[2], shape[5], numbers[8]
        offsets, ends = rows_seen(shape, ranges, numbers)
        rows, plane = len(ends) - 1, shape[0] * shape[1] * width
        to = begin * rows * outs
        for n in range(begin, end):
            for row in range(rows):
                low, high = ends[row], ends[row + 1]
                for start in range(0, outs, lanes):
                    # The last vector of a row may overlap the one before.
                    at = max(0, min(start, outs - lanes))
                    first, left = before + at * stride, outs - at
                    locate_windows(
                        kernel,
                        stride,
                        dilation,
                        cells,
                        n * plane,
                        offsets,
                        low,
                        high,
                        first,
                        width,
                        out,
                        to + at,
                        left,
                        indices,
                    )
                to += outs

    compiled: Callable[..., None] = run
    return compiled


@compiled
def locate_lanes(
    cells: Any,
    out: Any,
    indices: Any,
    begin: int,
    end: int,
    shape: Any,
    ranges: Any,
    numbers: Any,
    nothing: Any,
) -> None:
    """Write the maximum of each window and its cell, of planes side by side."""
    depth, height, width = shape[0], shape[1], shape[2]
    deep, high, outs = shape[3], shape[4], shape[5]
    count, places = np.uintp(depth * height * width), np.uintp(deep * high * outs)
    lanes = np.empty(count * ALL_LANES, cells.dtype)
    best = np.empty(places * ALL_LANES, cells.dtype)
    at = np.empty(places * ALL_LANES, np.int32)
    for n in range(begin, end, LANES):
        side_by_side(cells, n, end, count, lanes)
        best[:] = nothing
        at[:] = -1
        to = np.uintp(0)
        for d in range(deep):
            for h in range(high):
                for o in range(outs):
                    first = True
                    for z in range(ranges[0, d, 0], ranges[0, d, 1], numbers[0]):
                        for y in range(ranges[1, h, 0], ranges[1, h, 1], numbers[1]):
                            row = (z * height + y) * width
                            for x in range(ranges[2, o, 0], ranges[2, o, 1], numbers[2]):
                                seen = np.uintp(row + x) * ALL_LANES
                                if first:
                                    _locate_first(best, at, to, lanes, seen, ALL_LANES, row + x, 0)
                                else:
                                    _locate(best, at, to, lanes, seen, ALL_LANES, row + x, 0)
                                first = False
                    to += ALL_LANES
        one_by_one(best, out, n, end, places)
        one_by_one(at, indices, n, end, places)
