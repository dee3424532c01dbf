"""The loops of narrow planes, compiled by numba: import this by `compiler.loops` only.

`LANES` planes are laid side by side, and arrays are else as in `pool_loops`: so what is done with a
cell is done with as many neighbours, however short the rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from arrayconv.backends.numpy.compiled_pooling import LANES
from arrayconv.backends.numpy.loop_forms import Loop, compiled, compiled_by_form, inlined
from arrayconv.backends.numpy.registers import VECTOR_BYTES
from arrayconv.backends.numpy.whole_planes import reduce_cells, turn_over

ALL_LANES = np.uintp(LANES)
"""The same number, unsigned, as the places are: their sums cannot be below 0."""


@inlined
def side_by_side(cells: Any, begin: int, end: int, count: Any, lanes: Any) -> None:
    """Lay planes of ``count`` cells side by side; where they are too few the last one is again."""
    vector = np.uintp(VECTOR_BYTES // cells.itemsize)
    if np.uintp(begin) + ALL_LANES <= np.uintp(end) and vector <= count:
        for lane in range(0, ALL_LANES, vector):
            first = (np.uintp(begin) + lane) * count
            for at in range(0, count, vector):
                # The last square may overlap the one before.
                cell = min(at, count - vector)
                place = cell * ALL_LANES + lane
                turn_over(cells, first + cell, count, lanes, place, ALL_LANES)
        return
    for lane in range(ALL_LANES):
        start = min(np.uintp(begin) + lane, np.uintp(end - 1)) * count
        for cell in range(count):
            lanes[cell * ALL_LANES + lane] = cells[start + cell]


@inlined
def one_by_one(lanes: Any, out: Any, begin: int, end: int, count: Any) -> None:
    """Write planes that lie side by side one after the other."""
    vector = np.uintp(VECTOR_BYTES // lanes.itemsize)
    if np.uintp(begin) + ALL_LANES <= np.uintp(end) and vector <= count:
        for lane in range(0, ALL_LANES, vector):
            first = (np.uintp(begin) + lane) * count
            for at in range(0, count, vector):
                cell = min(at, count - vector)
                place = cell * ALL_LANES + lane
                turn_over(lanes, place, ALL_LANES, out, first + cell, count)
        return
    for lane in range(min(ALL_LANES, np.uintp(end - begin))):
        start = (np.uintp(begin) + lane) * count
        for cell in range(count):
            out[start + cell] = lanes[cell * ALL_LANES + lane]


@compiled
def fold_lanes(
    columns: Any, out: Any, begin: int, end: int, shape: Any, ranges: Any, strides: Any
) -> None:
    """Add the columns of each plane, of planes side by side: as `column_loops.fold`."""
    taps, places = shape[0] * shape[1] * shape[2], shape[3] * shape[4] * shape[5]
    cells, step = np.uintp(shape[6] * shape[7] * shape[8]), np.uintp(strides[2]) * ALL_LANES
    beside = np.empty(taps * places * LANES, columns.dtype)
    made = np.empty(cells * ALL_LANES, columns.dtype)
    for n in range(begin, end, LANES):
        side_by_side(columns, n, end, np.uintp(taps * places), beside)
        made[:] = 0
        for tap in range(taps):
            first_z, last_z, start_z = ranges[0, tap // (shape[1] * shape[2])]
            first_y, last_y, start_y = ranges[1, tap // shape[2] % shape[1]]
            first, last, start = ranges[2, tap % shape[2]]
            count = np.uintp(max(0, last - first))
            for o_z in range(first_z, last_z):
                z = start_z + (o_z - first_z) * strides[0]
                for o_y in range(first_y, last_y):
                    y = start_y + (o_y - first_y) * strides[1]
                    to = np.uintp((z * shape[7] + y) * shape[8] + start) * ALL_LANES
                    row = tap * places + (o_z * shape[4] + o_y) * shape[5] + first
                    source = np.uintp(row) * ALL_LANES
                    if step == ALL_LANES:
                        for lane in range(count * ALL_LANES):
                            made[to + lane] += beside[source + lane]
                        continue
                    for o in range(count):
                        for lane in range(ALL_LANES):
                            made[to + o * step + lane] += beside[source + o * ALL_LANES + lane]
        one_by_one(made, out, n, end, cells)


@compiled
def unfold_lanes(
    x: Any, out: Any, begin: int, end: int, shape: Any, ranges: Any, strides: Any
) -> None:
    """Copy what each tap of each plane sees, of planes side by side: as `column_loops.unfold`."""
    taps, places = shape[0] * shape[1] * shape[2], shape[3] * shape[4] * shape[5]
    cells, step = np.uintp(shape[6] * shape[7] * shape[8]), np.uintp(strides[2]) * ALL_LANES
    beside = np.empty(cells * ALL_LANES, x.dtype)
    made = np.empty(taps * places * LANES, x.dtype)
    run = np.uintp(shape[5]) * ALL_LANES
    for n in range(begin, end, LANES):
        side_by_side(x, n, end, cells, beside)
        to = np.uintp(0)
        for tap in range(taps):
            first_z, last_z, start_z = ranges[0, tap // (shape[1] * shape[2])]
            first_y, last_y, start_y = ranges[1, tap // shape[2] % shape[1]]
            first, last, start = ranges[2, tap % shape[2]]
            low, high = np.uintp(first) * ALL_LANES, np.uintp(last) * ALL_LANES
            for o_z in range(shape[3]):
                z = start_z + (o_z - first_z) * strides[0]
                for o_y in range(shape[4]):
                    y = start_y + (o_y - first_y) * strides[1]
                    inside = first_z <= o_z < last_z and first_y <= o_y < last_y
                    if not inside or first >= last:
                        made[to : to + run] = 0
                        to += run
                        continue
                    seen = np.uintp((z * shape[7] + y) * shape[8] + start) * ALL_LANES
                    made[to : to + low] = 0
                    if step == ALL_LANES:
                        for lane in range(high - low):
                            made[to + low + lane] = beside[seen + lane]
                    else:
                        for o in range(np.uintp(last - first)):
                            place = to + low + o * ALL_LANES
                            for lane in range(ALL_LANES):
                                made[place + lane] = beside[seen + o * step + lane]
                    made[to + high : to + run] = 0
                    to += run
        one_by_one(made, out, n, end, np.uintp(taps * places))


@compiled_by_form
def pool_lanes(maximum: bool, lanes: int) -> Loop:
    """Return what writes the maximum or the sum of each window: rows first, then along the row.

    It takes the lanes of a vector of the cells' dtype.
    """
    is_maximum, vectors = int(maximum), LANES // lanes

    def run(
        cells: Any,
        out: Any,
        begin: Any,
        end: Any,
        shape: Any,
        ranges: Any,
        numbers: Any,
        offsets: Any,
        ends: Any,
    ) -> None:
        width, outs = shape[2], shape[5]
        rows = offsets * LANES
        places, count = len(ends) - 1, np.uintp(shape[0] * shape[1] * width)
        along, stops = np.arange(0, width * LANES, LANES), np.empty((2, outs), np.int64)
        columns = along[:: numbers[2]].copy()
        beside = np.empty(count * ALL_LANES, cells.dtype)
        results = np.empty(places * outs * LANES, cells.dtype)
        line = np.empty(width * LANES, cells.dtype)
        for o in range(outs):
            low, high = ranges[2, o, 0], ranges[2, o, 1]
            stops[0, o], stops[1, o] = low, -(-(high - low) // numbers[2])
        for n in range(begin, end, LANES):
            side_by_side(cells, n, end, count, beside)
            to = 0
            for row in range(places):
                low, high = ends[row], ends[row + 1]
                for at in along:
                    reduce_cells(
                        is_maximum, vectors, beside, at, rows, low, high, line, at, 1.0, None
                    )
                for o in range(outs):
                    at, many = stops[0, o] * LANES, stops[1, o]
                    reduce_cells(
                        is_maximum, vectors, line, at, columns, 0, many, results, to, 1.0, None
                    )
                    to += LANES
            one_by_one(results, out, n, end, np.uintp(places * outs))

    return run
