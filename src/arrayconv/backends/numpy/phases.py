"""An axis's cells sorted by phase, so that what one tap sees is a run of neighbours.

Cell ``stride * q + phase`` is the ``q``-th of its phase. A tap sees cells of one phase only, and
from consecutive positions consecutive ones: with the stride out of the way, whole planes of
positions are copied or added as one run.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from arrayconv._window import Axis


class Phases(NamedTuple):
    """The cells that a range of positions sees, padding included, as ``[phase][q - first]``."""

    number: int
    """Phases that some tap sees."""
    length: int
    """Cells of each."""
    taps: tuple[tuple[int, slice], ...]
    """For each tap its phase's number, and the run that it sees."""
    cells: tuple[tuple[int, slice, slice], ...]
    """For each phase its number, the run that lies in the input, and the input's cells."""


@lru_cache(maxsize=1024)
def phases(axis: Axis, start: int, stop: int) -> Phases:
    """Return the cells that the positions ``start .. stop - 1`` of an axis see, by phase."""
    places = [divmod(tap * axis.dilation - axis.before, axis.stride) for tap in range(axis.kernel)]
    numbers = {phase: n for n, phase in enumerate(sorted({phase for _, phase in places}))}
    first = start + min(shift for shift, _ in places)
    length = stop - start + max(shift for shift, _ in places) + start - first
    taps = []
    for shift, phase in places:
        begin = start + shift - first
        taps.append((numbers[phase], slice(begin, begin + stop - start)))
    cells = []
    for phase, number in numbers.items():
        low = max(first, 0)
        high = max(low, min(first + length, (axis.size - 1 - phase) // axis.stride + 1))
        begin = low * axis.stride + phase
        end = max(begin, begin + (high - low - 1) * axis.stride + 1)
        run = slice(low - first, high - first)
        if low < high:
            cells.append((number, run, slice(begin, end, axis.stride)))
    return Phases(len(numbers), length, tuple(taps), tuple(cells))
