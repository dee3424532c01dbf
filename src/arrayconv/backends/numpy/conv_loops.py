"""The loops of `compiled_convolution`, compiled by numba: import this by `compiler.loops` only.

Places in a plane are unsigned: a signed one could be negative, and each would be looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba

_narrow = numba.uint32


@numba.njit(cache=True, nogil=True)
def copy_rows(source: Any, target: Any, starts: Any, places: Any, length: Any, step: Any) -> None:
    """Copy runs of ``length`` cells, ``step`` apart in the source, of each plane."""
    for plane in range(source.shape[0]):
        for row in range(starts.shape[0]):
            start, place = starts[row], places[row]
            if step == 1:
                for cell in range(length):
                    target[plane, place + cell] = source[plane, start + cell]
            elif step == 2:
                # A constant, in 32 bits that cannot wrap around in 64: this too is done by vectors.
                line, run = source[plane, start:], target[plane, place:]
                for cell in range(_narrow(length)):
                    run[cell] = line[_narrow(2) * _narrow(cell)]
            else:
                for cell in range(length):
                    target[plane, place + cell] = source[plane, start + cell * step]


@cache
def add_taps(count: int) -> Callable[..., None]:
    """Return the sum over a kernel's rows of ``count`` taps, and over the channels of a group.

    It takes cells (groups, channels, plane), for each row the first cell that it sees, weights
    (groups, outputs, channels, rows, count) and sums (groups, outputs, length), which the first
    row of all overwrites if ``first`` says so.
    """
    unsigned = numba.uint64

    @numba.njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
    def add(
        cells: Any, offsets: Any, weight: Any, sums: Any, length: Any, step: Any, first: Any
    ) -> None:
        for group in range(cells.shape[0]):
            for output in range(sums.shape[1]):
                total = sums[group, output]
                for channel in range(cells.shape[1]):
                    for row in range(offsets.shape[0]):
                        seen = cells[group, channel, offsets[row] :]
                        factors = weight[group, output, channel, row]
                        if first and channel == 0 and row == 0:
                            for cell in range(length):
                                each = factors[0] * seen[cell]
                                for tap in range(1, count):
                                    at = cell + unsigned(tap) * step
                                    each += factors[unsigned(tap)] * seen[at]
                                total[cell] = each
                        else:
                            for cell in range(length):
                                each = total[cell]
                                for tap in range(count):
                                    at = cell + unsigned(tap) * step
                                    each += factors[unsigned(tap)] * seen[at]
                                total[cell] = each

    compiled: Callable[..., None] = add
    return compiled
