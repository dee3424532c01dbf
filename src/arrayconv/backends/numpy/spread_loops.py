"""The loops of the adjoint of a sum, compiled by numba: import this by `compiler.loops` only.

Arrays are as in `pool_loops`, but ``shape`` has the positions first and the cells then, ``ranges``
the positions that see each cell, and ``numbers`` after the first three the last axis' kernel, its
stride and the cells of padding before it.

Cells a stride apart are seen by the same taps of windows next to one another. Of small strides and
kernels what each phase meets is written out in code, and with a weight: `row_spreads`. Else there
is a run for each phase, the sum of some runs of positions; the phases are then taken in turns.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from arrayconv._integers import Ints
from arrayconv.backends.numpy.loop_forms import Loop, compiled, compiled_by_form, inlined
from arrayconv.backends.numpy.pool_loops import combine, take
from arrayconv.backends.numpy.registers import VECTOR_BYTES
from arrayconv.backends.numpy.row_spreads import spread_rows as spread

ONE, TWO = np.uintp(1), np.uintp(2)
"""Without a sign, as places are: their sums cannot be below 0."""


@compiled
def _sum_runs(run: Any, to: Any, line: Any, start: Any, count: Any, terms: Any) -> None:
    """Write the sum of some runs of a line, each a number before the other."""
    if terms == 0:
        for at in range(count):
            run[to + at] = 0
        return
    take(run, to, line, start, count, True, False)
    for term in range(1, terms):
        take(run, to, line, start - np.uintp(term), count, False, False)


@inlined
def in_turns(mixed: Any, to: Any, phases: Any, stride: Any, count: Any) -> None:
    """Write the first number of all phases, of ``count`` each, the second ones, and so on."""
    if stride == TWO:
        for at in range(count):
            mixed[to + TWO * at] = phases[at]
            mixed[to + TWO * at + ONE] = phases[count + at]
        return
    for phase in range(stride):
        for at in range(count):
            mixed[to + phase + stride * at] = phases[phase * count + at]


@compiled
def spread_rows(
    y: Any, x: Any, begin: int, end: int, shape: Any, ranges: Any, numbers: Any
) -> None:
    """Write for each cell the sum of the positions that see it: rows first, then along the row."""
    deep, high, wide, depth, height, width = shape
    kernel, stride, before = numbers[3:6]
    reach = (kernel - 1) // stride
    # Of strides that begin at or behind the padding's first cell.
    strides = max(0, (width - 1 + before) // stride + 1)
    # Positions that there are not are 0.
    line = np.zeros(reach + max(strides, wide), y.dtype)
    seen, phases = line[reach:], np.empty(stride * strides, y.dtype)
    mixed = np.empty(stride * strides, y.dtype)
    skipped = np.uintp(max(0, -before))
    first_cell, left = np.uintp(max(0, before)), np.uintp(width) - skipped
    count, cells, to = np.uintp(strides), np.uintp(width), np.uintp(begin * depth * height * width)
    for n in range(begin, end):
        for d in range(depth):
            for h in range(height):
                again = h > 0 and (
                    ranges[1, h, 0] == ranges[1, h - 1, 0]
                    and ranges[1, h, 1] == ranges[1, h - 1, 1]
                )
                row = to
                to += cells
                if again:
                    take(x, row, x, row - cells, cells, True, False)
                    continue
                first = True
                for z in range(ranges[0, d, 0], ranges[0, d, 1]):
                    for p in range(ranges[1, h, 0], ranges[1, h, 1]):
                        start = np.uintp((n * deep + z) * high + p) * np.uintp(wide)
                        combine(seen, y, start, np.uintp(wide), first, False)
                        first = False
                for at in range(cells if first else skipped):
                    x[row + at] = 0
                if first:
                    continue
                for phase in range(stride):
                    terms = max(0, kernel - 1 - phase + stride) // stride
                    run = np.uintp(phase) * count
                    _sum_runs(phases, run, line, np.uintp(reach), count, terms)
                if stride == 1:
                    take(x, row + skipped, phases, first_cell, left, True, False)
                else:
                    # Rows of whole strides are written at once.
                    whole = before == 0 and width == stride * strides
                    if whole:
                        in_turns(x, row, phases, np.uintp(stride), count)
                        continue
                    in_turns(mixed, np.uintp(0), phases, np.uintp(stride), count)
                    take(x, row + skipped, mixed, first_cell, left, True, False)


@compiled_by_form
def spread_groups(shape: Ints) -> Loop:
    """Return what spreads positions to groups of rows of cells: see `spread_plans.Plan`.

    ``shape`` has the numbers of `row_spreads.Spread`. A range counts ``each`` groups as one. Planes
    have the weights of ``channels`` in turns.
    """
    along, vectors = shape[4], shape[10]

    def run(
        positions: Any,
        cells: Any,
        begin: Any,
        end: Any,
        each: Any,
        channels: Any,
        weight: Any,
        table: Any,
        tiles: Any,
        numbers: Any,
    ) -> None:
        size, width, before, made, line, taps = numbers
        groups, entries = table.shape
        zeros = np.zeros(width, cells.dtype)
        some, strides = vectors * (VECTOR_BYTES // cells.itemsize), -(-line // along)
        more = line if strides <= some else 0
        same = (positions, table.reshape(-1), weight, cells, zeros, width, line, more)
        for number in range(begin * each, end * each):
            plane, group = number // groups, number % groups
            entry, first = group * entries, plane % channels * taps
            place, rows = plane * made + tiles[group, 0], tiles[group, 1]
            for start in range(0, strides, some):
                # The last vectors may be some of those before again.
                at = max(0, min(start, strides - some))
                to, left, column = place + at * along, line - at * along, before + at
                spread(shape, plane * size, entry, first, column, to, left, rows, same)

    return run
