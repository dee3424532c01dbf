"""The loop of `orders`, compiled by numba: import this by `compiler.loops` only."""

from __future__ import annotations

from typing import Any

import numpy as np

from arrayconv.backends.numpy.pool_loops import compiled
from arrayconv.backends.numpy.registers import VECTOR_BYTES
from arrayconv.backends.numpy.whole_planes import turn_over

LINE = 64
"""Bytes of a row of the target that are written before the next row."""


@compiled
def transpose(
    source: Any, target: Any, plane: Any, begin: Any, end: Any, rows: Any, columns: Any
) -> None:
    """Write rows from ``begin`` to ``end`` of a matrix (rows, columns) as columns of its transpose.

    Both begin at ``plane``.
    """
    lanes, line = VECTOR_BYTES // source.itemsize, LINE // source.itemsize
    first = np.uintp(plane)
    wide, tall = np.uintp(columns), np.uintp(rows)
    if end - begin < lanes or columns < lanes:
        for column in range(wide):
            for row in range(np.uintp(begin), np.uintp(end)):
                target[first + column * tall + row] = source[first + row * wide + column]
        return
    for start in range(begin, end, line):
        stop = min(end, start + line)
        for at in range(0, columns, lanes):
            # The last square of either may overlap the one before.
            across = np.uintp(min(at, columns - lanes))
            for step in range(start, stop, lanes):
                down = np.uintp(min(step, end - lanes))
                place = first + down * wide + across
                turn_over(source, place, wide, target, first + across * tall + down, tall)
