"""The loops of maxima with their cells, compiled by numba: import this by `compiler.loops` only.

Arrays and geometry are those of `pool_loops`. Cells are met as they lie in memory, so that the
first of several maxima is kept, and the last NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from arrayconv.backends.numpy.compiled_pooling import LANES
from arrayconv.backends.numpy.lane_loops import ALL_LANES, one_by_one, side_by_side
from arrayconv.backends.numpy.loop_forms import Loop, compiled, compiled_by_form, inlined
from arrayconv.backends.numpy.pool_loops import combine, split
from arrayconv.backends.numpy.row_maxima import locate_cells, locate_windows
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


@compiled_by_form
def locate_vectors(shape: Along, lanes: int) -> Loop:
    """Return the same as `locate_rows`, for windows along a row whose form is written into code.

    It takes the lanes of a vector of the cells' dtype.
    """
    kernel, stride, dilation, _ = shape

    def run(
        cells: Any,
        out: Any,
        indices: Any,
        begin: Any,
        end: Any,
        offsets: Any,
        ends: Any,
        line: Any,
    ) -> None:
        plane, width, outs, before = line
        rows = len(ends) - 1
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

    return run


@compiled_by_form
def locate_lanes(lanes: int) -> Loop:
    """Return what writes the maximum of each window and its cell, of planes side by side.

    It takes the lanes of a vector of the cells' dtype.
    """
    vectors = LANES // lanes

    def run(
        cells: Any,
        out: Any,
        indices: Any,
        begin: Any,
        end: Any,
        size: Any,
        offsets: Any,
        ends: Any,
    ) -> None:
        count = np.uintp(size)
        places = len(ends) - 1
        beside = np.empty(count * ALL_LANES, cells.dtype)
        best, at = np.empty(places * LANES, cells.dtype), np.empty(places * LANES, np.int32)
        for n in range(begin, end, LANES):
            side_by_side(cells, n, end, count, beside)
            for place in range(places):
                low, high, to = ends[place], ends[place + 1], place * LANES
                locate_cells(vectors, LANES, beside, 0, offsets, low, high, 0, best, to, at, None)
            one_by_one(best, out, n, end, np.uintp(places))
            one_by_one(at, indices, n, end, np.uintp(places))

    return run
