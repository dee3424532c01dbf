"""unfold and fold in loops that numba compiles: import this by `compiler.loops` only."""

from __future__ import annotations

from typing import Any

import numpy as np

from arrayconv.backends.numpy.borrowed import borrowed
from arrayconv.backends.numpy.loop_forms import compiled, inlined
from arrayconv.backends.numpy.spread_loops import in_turns

BAND = 16 << 10
"""Bytes of cells to which a tap's columns are added before the next tap's: the first cache holds
them, and columns are read as they lie in memory."""


@compiled
def rows_that_see(shape: Any, ranges: Any, strides: Any) -> Any:
    """Return, for each row of cells and leading taps, where columns that see it begin, or -1.

    Among those of a plane, for the last axis' first tap and position. ``shape`` holds the kernel,
    the positions and the sizes of three axes; ``ranges[axis, tap]`` the first position that sees
    the input by a tap, one behind the last, and the cell of the first.
    """
    outs_y, outs_x = shape[4], shape[5]
    places, taps = shape[3] * outs_y * outs_x, shape[0] * shape[1]
    depth, height = shape[6], shape[7]
    found = np.full((depth * height, taps), -1, np.int64)
    for z in range(depth):
        for y in range(height):
            for tap in range(taps):
                first_z, last_z, start_z = ranges[0, tap // shape[1]]
                first_y, last_y, start_y = ranges[1, tap % shape[1]]
                o_z, rest_z = divmod(z - start_z, strides[0])
                o_y, rest_y = divmod(y - start_y, strides[1])
                o_z, o_y = o_z + first_z, o_y + first_y
                inside = first_z <= o_z < last_z and first_y <= o_y < last_y
                if inside and rest_z == 0 and rest_y == 0:
                    row = (o_z * outs_y + o_y) * outs_x
                    found[z * height + y, tap] = tap * shape[2] * places + row
    return found


@compiled
def fold(
    columns: Any, out: Any, begin: int, end: int, shape: Any, ranges: Any, strides: Any, rows: Any
) -> None:
    """Add columns to rows of cells, which are numbered through all planes.

    ``rows`` is what `rows_that_see` returns. Cells a stride apart are seen by the same taps: there
    is a run of cells for each phase of the stride, which are then taken in turns.
    """
    columns, out, ranges, rows = borrowed((columns, out, ranges, rows))
    wide, places, width = shape[2], shape[3] * shape[4] * shape[5], shape[8]
    stride = np.uintp(strides[2])
    length = np.uintp(-(-width // strides[2]))
    line, of_plane = stride * length, shape[0] * shape[1] * wide * places
    band = min(max(1, BAND // (np.int64(line) * out.itemsize)), len(rows))
    sums, mixed = np.empty(np.uintp(band) * line, out.dtype), np.empty(line, out.dtype)
    index = begin
    while index < end:
        n, row = index // len(rows), index % len(rows)
        some = min(band, len(rows) - row, end - index)
        if strides[1] > 1:
            # Of one depth, so that the rows that a tap sees are a stride apart.
            some = min(some, shape[7] - row % shape[7])
        sums[: np.uintp(some) * line] = 0
        for tap in range(rows.shape[1]):
            begun = 0
            while begun < some and rows[row + begun, tap] < 0:
                begun += 1
            for tap_x in range(wide if begun < some else 0):
                first, last, start = ranges[2, tap_x]
                column = n * of_plane + tap_x * places + first
                place = start % strides[2] * np.int64(length) + start // strides[2]
                for each in range(begun, some, strides[1]):
                    seen = rows[row + each, tap]
                    if seen < 0:
                        continue
                    source = np.uintp(column + seen)
                    to = np.uintp(each) * line + np.uintp(place)
                    for o in range(np.uintp(max(0, last - first))):
                        sums[to + o] += columns[source + o]
        for each in range(some):
            to, at = np.uintp((index + each) * width), np.uintp(each) * line
            if width == line:
                in_turns(out, to, sums[at:], stride, length)
            else:
                in_turns(mixed, np.uintp(0), sums[at:], stride, length)
                # A slice of another takes seconds more to compile, for what its error says.
                for cell in range(np.uintp(width)):
                    out[to + cell] = mixed[cell]
        index += some


@inlined
def _copy_row(x: Any, source: Any, out: Any, to: Any, count: Any, stride: Any) -> None:
    """Copy the cells of a row of positions that one tap sees."""
    if stride == 1:
        for o in range(count):
            out[to + o] = x[source + o]
    elif stride == 2:
        # In 32 bits that cannot wrap around in 64 the compiler uses vectors for this too.
        seen, made = x[source:], out[to:]
        for o in range(np.uint32(count)):
            made[o] = seen[np.uint32(2) * np.uint32(o)]
    else:
        for o in range(count):
            out[to + o] = x[source + stride * o]


@inlined
def _copy_plane(
    x: Any,
    source: Any,
    out: Any,
    to: Any,
    width: Any,
    outs_y: Any,
    ranges: Any,
    tap_y: Any,
    tap_x: Any,
) -> None:
    """Copy what a tap sees of a plane, whose rows are as long as those of positions, as one run."""
    first_y, last_y, start_y = ranges[1, tap_y]
    first, last, start = ranges[2, tap_x]
    seen = np.uintp(source + start_y * width + start)
    begin, end = first_y * width + first, (last_y - 1) * width + last
    if first_y >= last_y:
        begin = end = outs_y * width
    place = np.uintp(to + begin)
    for cell in range(np.uintp(end - begin)):
        out[place + cell] = x[seen + cell]
    out[to : to + begin] = 0
    out[to + end : to + outs_y * width] = 0
    # What came from the rows before and behind is no cell that the tap sees.
    for row in range(to + first_y * width, to + (last_y - 1) * width, width):
        for border in range(np.uintp(row + last), np.uintp(row + width + first)):
            out[border] = 0


@inlined
def _copy_rows(
    x: Any,
    source: Any,
    out: Any,
    to: Any,
    shape: Any,
    ranges: Any,
    strides: Any,
    tap_y: Any,
    begin: Any,
    end: Any,
) -> None:
    """Copy what some taps of the last axis see of a plane, row by row."""
    outs_y, outs_x, width = shape[4], shape[5], shape[8]
    places, stride = shape[3] * outs_y * outs_x, np.uintp(strides[2])
    first_y, last_y, start_y = ranges[1, tap_y]
    for o_y in range(outs_y):
        cells = source + (start_y + (o_y - first_y) * strides[1]) * width
        for tap_x in range(begin, end):
            first, last, start = ranges[2, tap_x]
            row = np.uintp(to + (tap_x - begin) * places + o_y * outs_x)
            if o_y < first_y or o_y >= last_y:
                out[row : row + np.uintp(outs_x)] = 0
                continue
            for o in range(np.uintp(first)):
                out[row + o] = 0
            seen, count = np.uintp(cells + start), np.uintp(last - first)
            _copy_row(x, seen, out, row + np.uintp(first), count, stride)
            for o in range(np.uintp(last), np.uintp(outs_x)):
                out[row + o] = 0


@compiled
def unfold(x: Any, out: Any, begin: int, end: int, shape: Any, ranges: Any, strides: Any) -> None:
    """Copy what taps see, numbered through all planes; 0 where that is padding. As `fold`.

    What the last axis' taps see of a row is copied while the first cache holds that row.
    """
    x, out, ranges = borrowed((x, out, ranges))
    deep, tall, wide = shape[0], shape[1], shape[2]
    outs_z, outs_y, outs_x = shape[3], shape[4], shape[5]
    depth, height, width = shape[6], shape[7], shape[8]
    places, stride = outs_z * outs_y * outs_x, np.uintp(strides[2])
    # Then a tap sees a plane of cells as it lies, moved by some cells, but for the borders.
    alike = stride == 1 and strides[1] == 1 and outs_x == width
    tap = begin
    while tap < end:
        tap_x = tap % wide
        stop = min(wide, tap_x + end - tap)
        n, tap_z, tap_y = (
            tap // (deep * tall * wide),
            tap // (tall * wide) % deep,
            tap // wide % tall,
        )
        first_z, last_z, start_z = ranges[0, tap_z]
        for o_z in range(outs_z):
            to = tap * places + o_z * outs_y * outs_x
            source = (n * depth + start_z + (o_z - first_z) * strides[0]) * height * width
            if first_z <= o_z < last_z and not alike:
                _copy_rows(x, source, out, to, shape, ranges, strides, tap_y, tap_x, stop)
                continue
            for each in range(tap_x, stop):
                if first_z <= o_z < last_z and ranges[2, each, 0] < ranges[2, each, 1]:
                    _copy_plane(x, source, out, to, outs_x, outs_y, ranges, tap_y, each)
                else:
                    out[to : to + outs_y * outs_x] = 0
                to += places
        tap += stop - tap_x
