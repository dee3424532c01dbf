"""The loops of the adjoint of a sum, compiled by numba: import this by `compiler.loops` only.

Arrays are as in `pool_loops`, but ``shape`` has the positions first and the cells then, ``ranges``
the positions that see each cell, and ``numbers`` after the first three the last axis' kernel, its
stride and the cells of padding before it.

Cells a stride apart are seen by the same taps of windows next to one another. So there is a run for
each phase of the stride, the sum of some runs of positions; the phases are then taken in turns.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from arrayconv.backends.numpy.loop_forms import compiled
from arrayconv.backends.numpy.pool_loops import combine, take

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


@compiled
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
