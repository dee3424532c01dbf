"""The loops of pools, compiled by numba: import this by `compiler.loops` only.

Arrays are flat, of planes with three spatial axes, the missing ones of size 1. The geometry is as
`compiled_pooling` lays it out: ``shape`` holds the three sizes of the input and of the output;
``ranges[axis, position]`` the first cell that a window has in the input, and one behind its last;
``numbers`` the steps between the cells of a window along each axis, and of the last axis the run of
positions that see the input by every tap: first, last, stride, kernel, and the first cell.

Wide planes are taken a row at a time, narrow ones `LANES` at once, side by side: either way the
innermost loops are long runs, which the compiler turns into vectors.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

LANES = 16
_LANES = np.uintp(LANES)

compiled = numba.njit(cache=True, nogil=True, error_model="numpy")
inlined = numba.njit(inline="always", error_model="numpy")


@inlined
def _beats(value: Any, best: Any) -> Any:
    """Whether a later value takes the place of an earlier one: larger, or NaN."""
    return (value > best) | (value != value)


@inlined
def _larger(value: Any, best: Any) -> Any:
    """Return the maximum; a NaN is larger than any number."""
    return value if (value > best) | (value != value) else best


@compiled
def _combine(line: Any, cells: Any, start: Any, length: Any, first: bool, maximum: bool) -> None:
    """Take a run of cells into a line; the first one is copied."""
    if first:
        for x in range(length):
            line[x] = cells[start + x]
    elif maximum:
        for x in range(length):
            line[x] = _larger(cells[start + x], line[x])
    else:
        for x in range(length):
            line[x] += cells[start + x]


@compiled
def _split(line: Any, even: Any, odd: Any, pairs: int) -> None:
    """Write every other cell of a line to one of two: then a stride of 2 is one of 1."""
    for x in range(pairs):
        even[x] = line[2 * x]
        odd[x] = line[2 * x + 1]


@compiled
def _take(out: Any, to: Any, line: Any, start: Any, count: Any, first: bool, maximum: bool) -> None:
    """Take what one tap sees of a line into the results of its positions."""
    if first:
        for o in range(count):
            out[to + o] = line[start + o]
    elif maximum:
        for o in range(count):
            out[to + o] = _larger(line[start + o], out[to + o])
    else:
        for o in range(count):
            out[to + o] += line[start + o]


@compiled
def _take_strided(
    out: Any, to: Any, line: Any, start: Any, count: Any, stride: Any, first: bool, maximum: bool
) -> None:
    for o in range(count):
        value = line[start + stride * o]
        if first:
            out[to + o] = value
        elif maximum:
            out[to + o] = _larger(value, out[to + o])
        else:
            out[to + o] += value


@compiled
def _along(
    line: Any,
    even: Any,
    odd: Any,
    out: Any,
    begin: Any,
    outs: Any,
    ranges: Any,
    numbers: Any,
    maximum: bool,
    nothing: Any,
) -> None:
    """Reduce the windows of one line of cells."""
    first, last, stride, kernel, start = numbers[3:8]
    count = np.uintp(max(0, last - first))
    if count > 0:
        to = begin + np.uintp(first)
        if stride == 2:
            _split(line, even, odd, len(even))
        for tap in range(kernel):
            seen = start + tap * numbers[2]
            if stride == 1:
                _take(out, to, line, np.uintp(seen), count, tap == 0, maximum)
            elif stride == 2:
                half = odd if seen % 2 else even
                _take(out, to, half, np.uintp(seen // 2), count, tap == 0, maximum)
            else:
                step = np.uintp(stride)
                _take_strided(out, to, line, np.uintp(seen), count, step, tap == 0, maximum)
    for end in range(2):
        for o in range(0 if end == 0 else last, first if end == 0 else outs):
            low, high, total = ranges[2, o, 0], ranges[2, o, 1], nothing
            if low < high:
                total = line[low]
                for cell in range(low + numbers[2], high, numbers[2]):
                    total = _larger(line[cell], total) if maximum else total + line[cell]
            out[begin + np.uintp(o)] = total


@compiled
def pool_rows(
    cells: Any,
    out: Any,
    begin: int,
    end: int,
    shape: Any,
    ranges: Any,
    numbers: Any,
    maximum: bool,
    nothing: Any,
) -> None:
    """Write the maximum or the sum of each window: rows of cells first, then along the row."""
    depth, height, width = shape[0], shape[1], np.uintp(shape[2])
    deep, high, outs = shape[3], shape[4], shape[5]
    pairs = (shape[2] + 1) // 2
    line = np.empty(2 * pairs, cells.dtype)
    even, odd = np.empty(pairs, cells.dtype), np.empty(pairs, cells.dtype)
    to = np.uintp(begin * deep * high * outs)
    for n in range(begin, end):
        for d in range(deep):
            for h in range(high):
                first = True
                for z in range(ranges[0, d, 0], ranges[0, d, 1], numbers[0]):
                    for y in range(ranges[1, h, 0], ranges[1, h, 1], numbers[1]):
                        start = np.uintp((n * depth + z) * height + y) * width
                        _combine(line, cells, start, width, first, maximum)
                        first = False
                if first:
                    out[to : to + np.uintp(outs)] = nothing
                else:
                    _along(line, even, odd, out, to, outs, ranges, numbers, maximum, nothing)
                to += np.uintp(outs)


@compiled
def _side_by_side(cells: Any, begin: int, end: int, count: Any, lanes: Any) -> None:
    """Lay planes of ``count`` cells side by side; where they are too few the last one is again."""
    for lane in range(_LANES):
        start = min(np.uintp(begin) + lane, np.uintp(end - 1)) * count
        for cell in range(count):
            lanes[cell * _LANES + lane] = cells[start + cell]


@compiled
def _apart(lanes: Any, out: Any, begin: int, end: int, count: Any) -> None:
    """Write planes that lie side by side one after the other."""
    for lane in range(min(_LANES, np.uintp(end - begin))):
        start = (np.uintp(begin) + lane) * count
        for cell in range(count):
            out[start + cell] = lanes[cell * _LANES + lane]


@compiled
def pool_lanes(
    cells: Any,
    out: Any,
    begin: int,
    end: int,
    shape: Any,
    ranges: Any,
    numbers: Any,
    maximum: bool,
    nothing: Any,
) -> None:
    """Write the maximum or the sum of each window of planes side by side."""
    depth, height, width = shape[0], shape[1], shape[2]
    deep, high, outs = shape[3], shape[4], shape[5]
    count, places = np.uintp(depth * height * width), np.uintp(deep * high * outs)
    lanes = np.empty(count * _LANES, cells.dtype)
    results = np.empty(places * _LANES, cells.dtype)
    line = np.empty(np.uintp(width) * _LANES, cells.dtype)
    for n in range(begin, end, LANES):
        _side_by_side(cells, n, end, count, lanes)
        results[:] = nothing
        to = np.uintp(0)
        for d in range(deep):
            for h in range(high):
                first = True
                for z in range(ranges[0, d, 0], ranges[0, d, 1], numbers[0]):
                    for y in range(ranges[1, h, 0], ranges[1, h, 1], numbers[1]):
                        start = np.uintp((z * height + y) * width) * _LANES
                        length = np.uintp(width) * _LANES
                        _combine(line, lanes, start, length, first, maximum)
                        first = False
                for o in range(outs):
                    low, stop = ranges[2, o, 0], ranges[2, o, 1]
                    if not first:
                        for cell in range(low, stop, numbers[2]):
                            seen = np.uintp(cell) * _LANES
                            _take(results, to, line, seen, _LANES, cell == low, maximum)
                    to += _LANES
        _apart(results, out, n, end, places)


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
            _split(line, even, odd, len(even))
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
            _combine(line, cells, (np.uintp(n) * rows + row) * width, width, True, True)
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
    lanes = np.empty(count * _LANES, cells.dtype)
    best = np.empty(places * _LANES, cells.dtype)
    at = np.empty(places * _LANES, np.int32)
    for n in range(begin, end, LANES):
        _side_by_side(cells, n, end, count, lanes)
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
                                seen = np.uintp(row + x) * _LANES
                                if first:
                                    _locate_first(best, at, to, lanes, seen, _LANES, row + x, 0)
                                else:
                                    _locate(best, at, to, lanes, seen, _LANES, row + x, 0)
                                first = False
                    to += _LANES
        _apart(best, out, n, end, places)
        _apart(at, indices, n, end, places)


@compiled
def scatter(values: Any, indices: Any, planes: Any) -> None:
    """Add values to the cells of their planes, in their order; what lies outside is dropped."""
    cells = planes.shape[1]
    for n in range(len(planes)):
        plane, value, index = planes[n], values[n], indices[n]
        plane[:] = 0
        for o in range(len(value)):
            at = index[o]
            if 0 <= at < cells:
                plane[at] += value[o]
