"""The loops of pools, compiled by numba: import this by `compiler.loops` only.

Arrays are flat, of planes with three spatial axes, the missing ones of size 1. The geometry is as
`compiled_pooling` lays it out: ``shape`` holds the three sizes of the input and of the output;
``ranges[axis, position]`` the first cell that a window has in the input, and one behind its last;
``numbers`` the steps between the cells of a window along each axis, and of the last axis the run of
positions that see the input by every tap: first, last, stride, kernel, and the first cell; and the
place where the first window begins, before the row where that is padded.

Of wide planes a vector of results is made at a time, `pool_vectors`; where windows are large and
share most of their cells, and where they follow a table, a row at a time, so that the innermost
loops are long runs, which the compiler turns into vectors. Narrow planes are laid side by side, in
`lane_loops`; the adjoint of a sum is in `spread_loops`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from arrayconv.backends.numpy.loop_forms import Loop, compiled, compiled_by_form, inlined
from arrayconv.backends.numpy.row_windows import Along, reduce_windows
from arrayconv.backends.numpy.whole_planes import reduce_planes


@inlined
def _larger(value: Any, best: Any) -> Any:
    """Return the maximum; a NaN is larger than any number."""
    return value if (value > best) | (value != value) else best


@compiled
def combine(line: Any, cells: Any, start: Any, length: Any, first: bool, maximum: bool) -> None:
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
def split(line: Any, even: Any, odd: Any, pairs: int) -> None:
    """Write every other cell of a line to one of two: then a stride of 2 is one of 1."""
    for x in range(pairs):
        even[x] = line[2 * x]
        odd[x] = line[2 * x + 1]


@compiled
def take(out: Any, to: Any, line: Any, start: Any, count: Any, first: bool, maximum: bool) -> None:
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
            split(line, even, odd, len(even))
        for tap in range(kernel):
            seen = start + tap * numbers[2]
            if stride == 1:
                take(out, to, line, np.uintp(seen), count, tap == 0, maximum)
            elif stride == 2:
                half = odd if seen % 2 else even
                take(out, to, half, np.uintp(seen // 2), count, tap == 0, maximum)
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
                again = h > 0 and (
                    ranges[1, h, 0] == ranges[1, h - 1, 0]
                    and ranges[1, h, 1] == ranges[1, h - 1, 1]
                )
                if again:
                    # The adjoint of a sum: cells that the same windows see.
                    for o in range(np.uintp(outs)):
                        out[to + o] = out[to - np.uintp(outs) + o]
                    to += np.uintp(outs)
                    continue
                first = True
                for z in range(ranges[0, d, 0], ranges[0, d, 1], numbers[0]):
                    for y in range(ranges[1, h, 0], ranges[1, h, 1], numbers[1]):
                        start = np.uintp((n * depth + z) * height + y) * width
                        combine(line, cells, start, width, first, maximum)
                        first = False
                if first:
                    out[to : to + np.uintp(outs)] = nothing
                else:
                    _along(line, even, odd, out, to, outs, ranges, numbers, maximum, nothing)
                to += np.uintp(outs)


@compiled_by_form
def pool_vectors(shape: Along, lanes: int) -> Loop:
    """Return what does the same, for windows along a row whose form is written into code.

    It takes the lanes of a vector of the cells' dtype; the loop takes what `Geometry` has found.
    """
    kernel, stride, dilation, _ = shape
    maximum = int(shape.maximum)

    def run(cells: Any, out: Any, begin: Any, end: Any, offsets: Any, ends: Any, line: Any) -> None:
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
                    reduce_windows(
                        kernel,
                        stride,
                        dilation,
                        maximum,
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
                    )
                to += outs

    return run


@compiled_by_form
def pool_planes(maximum: bool, lanes: int) -> Loop:
    """Return what writes the maximum or the sum of all cells of each plane.

    It takes the lanes of a vector of the cells' dtype.
    """
    is_maximum = int(maximum)

    def run(cells: Any, out: Any, begin: Any, end: Any, count: Any) -> None:
        for plane in range(begin, end, lanes):
            reduce_planes(is_maximum, cells, plane * count, count, out, plane, end - plane)

    return run


@compiled
def scatter(values: Any, indices: Any, planes: Any, begin: Any, end: Any) -> None:
    """Add values to the cells of their planes, in their order; what lies outside is dropped."""
    cells = planes.shape[1]
    for n in range(begin, end):
        plane, value, index = planes[n], values[n], indices[n]
        plane[:] = 0
        for o in range(len(value)):
            at = index[o]
            if 0 <= at < cells:
                plane[at] += value[o]
