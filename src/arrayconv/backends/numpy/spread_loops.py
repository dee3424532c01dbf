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

from arrayconv.backends.numpy.pool_loops import combine, compiled


@compiled
def _sum_runs(run: Any, line: Any, start: int, count: int, terms: int) -> None:
    """Write the sum of some runs of a line, each a number before the other."""
    if terms == 0:
        run[:count] = 0
        return
    for at in range(count):
        run[at] = line[start + at]
    for term in range(1, terms):
        before = start - term
        for at in range(count):
            run[at] += line[before + at]


@compiled
def _in_turns(mixed: Any, phases: Any, count: int) -> None:
    """Write the first number of all phases, the second ones, and so on."""
    stride = phases.shape[0]
    if stride == 2:
        even, odd = phases[0], phases[1]
        for at in range(count):
            mixed[2 * at] = even[at]
            mixed[2 * at + 1] = odd[at]
        return
    for phase in range(stride):
        for at in range(count):
            mixed[phase + stride * at] = phases[phase, at]


@compiled
def spread_rows(
    y: Any, x: Any, begin: int, end: int, shape: Any, ranges: Any, numbers: Any
) -> None:
    """Write for each cell the sum of the positions that see it: rows first, then along the row."""
    deep, high, wide, depth, height, width = shape
    kernel, stride, before = numbers[3:6]
    reach = (kernel - 1) // stride
    # Of strides that begin at or behind the padding's first cell.
    count = max(0, (width - 1 + before) // stride + 1)
    # Positions that there are not are 0.
    line = np.zeros(reach + max(count, wide), y.dtype)
    seen, phases = line[reach:], np.empty((stride, count), y.dtype)
    mixed = np.zeros(max(stride * count, before + width), y.dtype)
    to = begin * depth * height * width
    for n in range(begin, end):
        for d in range(depth):
            for h in range(height):
                again = h > 0 and (
                    ranges[1, h, 0] == ranges[1, h - 1, 0]
                    and ranges[1, h, 1] == ranges[1, h - 1, 1]
                )
                row = x[to : to + width]
                to += width
                if again:
                    row[:] = x[to - 2 * width : to - width]
                    continue
                first = True
                for z in range(ranges[0, d, 0], ranges[0, d, 1]):
                    for p in range(ranges[1, h, 0], ranges[1, h, 1]):
                        start = np.uintp((n * deep + z) * high + p) * np.uintp(wide)
                        combine(seen, y, start, np.uintp(wide), first, False)
                        first = False
                if first:
                    row[:] = 0
                    continue
                for phase in range(stride):
                    terms = max(0, kernel - 1 - phase + stride) // stride
                    _sum_runs(phases[phase], line, reach, count, terms)
                skipped = max(0, -before)
                row[:skipped] = 0
                if stride == 1:
                    row[skipped:] = phases[0, before + skipped : before + width]
                else:
                    _in_turns(mixed, phases, count)
                    row[skipped:] = mixed[before + skipped : before + width]
