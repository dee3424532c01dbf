"""unfold and fold in loops that numba compiles: import this by `compiler.loops` only."""

from __future__ import annotations

from typing import Any

import numpy as np

from arrayconv.backends.numpy.pool_loops import compiled
from arrayconv.backends.numpy.spread_loops import in_turns


@compiled
def _add_row(out: Any, to: Any, columns: Any, source: Any, count: Any, stride: Any) -> None:
    """Add a row of positions to the cells that one tap sees."""
    # A stride that is a constant of the code lets the compiler use vectors.
    if stride == 1:
        for o in range(count):
            out[to + o] += columns[source + o]
    else:
        for o in range(count):
            out[to + stride * o] += columns[source + o]


@compiled
def fold(
    columns: Any, out: Any, begin: int, end: int, shape: Any, ranges: Any, strides: Any
) -> None:
    """Add the columns of each plane, tap by tap and row by row.

    ``shape`` holds the kernel, the positions and the sizes of three axes; ``ranges[axis, tap]`` the
    first position that sees the input by a tap, one behind the last, and the cell of the first.
    """
    deep, tall, wide = shape[0], shape[1], shape[2]
    outs_z, outs_y, outs_x = shape[3], shape[4], shape[5]
    depth, height, width = shape[6], shape[7], shape[8]
    places = outs_z * outs_y * outs_x
    stride = np.uintp(strides[2])
    for n in range(begin, end):
        plane = n * depth * height * width
        out[plane : plane + depth * height * width] = 0
        for tap_z in range(deep):
            first_z, last_z, start_z = ranges[0, tap_z]
            for tap_y in range(tall):
                first_y, last_y, start_y = ranges[1, tap_y]
                for tap_x in range(wide):
                    first, last, start = ranges[2, tap_x]
                    count = np.uintp(last - first)
                    tap = (n * deep + tap_z) * tall * wide + tap_y * wide + tap_x
                    for o_z in range(first_z, last_z):
                        z = start_z + (o_z - first_z) * strides[0]
                        for o_y in range(first_y, last_y):
                            y = start_y + (o_y - first_y) * strides[1]
                            to = np.uintp(plane + (z * height + y) * width + start)
                            row = (o_z * outs_y + o_y) * outs_x + first
                            source = np.uintp(tap * places + row)
                            _add_row(out, to, columns, source, count, stride)


@compiled
def _add_rows(
    phases: Any,
    columns: Any,
    tap: Any,
    place: Any,
    z: Any,
    y: Any,
    shape: Any,
    ranges: Any,
    strides: Any,
    length: Any,
) -> bool:
    """Add what the taps of a plane give a row of cells, by phases; return whether any does.

    ``tap`` is the plane's first one, of which each has ``place`` positions.
    """
    tall, wide, outs_y, outs_x = shape[1], shape[2], shape[4], shape[5]
    any_given = False
    for tap_z in range(shape[0]):
        first_z, last_z, start_z = ranges[0, tap_z]
        o_z, rest_z = divmod(z - start_z, strides[0])
        o_z += first_z
        if rest_z != 0 or o_z < first_z or o_z >= last_z:
            continue
        for tap_y in range(tall):
            first_y, last_y, start_y = ranges[1, tap_y]
            o_y, rest_y = divmod(y - start_y, strides[1])
            o_y += first_y
            if rest_y != 0 or o_y < first_y or o_y >= last_y:
                continue
            if not any_given:
                any_given = True
                phases[:] = 0
            row = (o_z * outs_y + o_y) * outs_x
            for tap_x in range(wide):
                first, last, start = ranges[2, tap_x]
                begin, phase = divmod(start, strides[2])
                of_tap = tap + (tap_z * tall + tap_y) * wide + tap_x
                to = np.uintp(phase * length + begin)
                source = np.uintp(of_tap * place + row + first)
                for o in range(np.uintp(max(0, last - first))):
                    phases[to + o] += columns[source + o]
    return any_given


@compiled
def fold_strided(
    columns: Any, out: Any, begin: int, end: int, shape: Any, ranges: Any, strides: Any
) -> None:
    """Do as `fold`, a row of cells at a time: cells a stride apart are seen by the same taps.

    There is a run of cells for each phase of the stride; the phases are then taken in turns.
    """
    taps, places = shape[0] * shape[1] * shape[2], shape[3] * shape[4] * shape[5]
    depth, height, width, stride = shape[6], shape[7], shape[8], strides[2]
    length = -(-width // stride)
    phases, mixed = np.empty(stride * length, out.dtype), np.empty(stride * length, out.dtype)
    to = np.uintp(begin * depth * height * width)
    for n in range(begin, end):
        for z in range(depth):
            for y in range(height):
                given = _add_rows(
                    phases, columns, n * taps, places, z, y, shape, ranges, strides, length
                )
                if not given:
                    out[to : to + np.uintp(width)] = 0
                elif width == stride * length:
                    in_turns(out, to, phases, np.uintp(stride), np.uintp(length))
                else:
                    in_turns(mixed, np.uintp(0), phases, np.uintp(stride), np.uintp(length))
                    out[to : to + np.uintp(width)] = mixed[: np.uintp(width)]
                to += np.uintp(width)


@compiled
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


@compiled
def unfold(x: Any, out: Any, begin: int, end: int, shape: Any, ranges: Any, strides: Any) -> None:
    """Copy what each tap of each plane sees, row by row; 0 where that is padding. As `fold`."""
    deep, tall, wide = shape[0], shape[1], shape[2]
    outs_z, outs_y, outs_x = shape[3], shape[4], shape[5]
    depth, height, width = shape[6], shape[7], shape[8]
    stride = np.uintp(strides[2])
    for n in range(begin, end):
        for tap in range(deep * tall * wide):
            first_z, last_z, start_z = ranges[0, tap // (tall * wide)]
            first_y, last_y, start_y = ranges[1, tap // wide % tall]
            first, last, start = ranges[2, tap % wide]
            count = np.uintp(last - first)
            for o_z in range(outs_z):
                z = start_z + (o_z - first_z) * strides[0]
                for o_y in range(outs_y):
                    row = ((n * deep * tall * wide + tap) * outs_z + o_z) * outs_y + o_y
                    to = np.uintp(row * outs_x)
                    if o_z < first_z or o_z >= last_z or o_y < first_y or o_y >= last_y:
                        out[to : to + np.uintp(outs_x)] = 0
                        continue
                    y = start_y + (o_y - first_y) * strides[1]
                    source = np.uintp(((n * depth + z) * height + y) * width + start)
                    for o in range(np.uintp(first)):
                        out[to + o] = 0
                    _copy_row(x, source, out, to + np.uintp(first), count, stride)
                    for o in range(np.uintp(last), np.uintp(outs_x)):
                        out[to + o] = 0
