"""The loop of `orders`, compiled by numba: import this by `compiler.loops` only."""

from __future__ import annotations

from typing import Any

import numpy as np

from arrayconv.backends.numpy.loop_forms import compiled
from arrayconv.backends.numpy.orders import LINE
from arrayconv.backends.numpy.registers import VECTOR_BYTES
from arrayconv.backends.numpy.whole_planes import turn_over


@compiled
def turn_planes(
    source: Any, target: Any, to_last: Any, begin: Any, end: Any, cells: Any, channels: Any
) -> None:
    """Copy cells, counted through all images, from one order to the other.

    Where ``to_last``, an image of ``source`` has its channels one after the other, (channels,
    cells), and one of ``target`` has them next to one another, (cells, channels); else it is the
    other way round.
    """
    lanes, line = VECTOR_BYTES // source.itemsize, LINE // source.itemsize
    down, across = np.uintp(cells), np.uintp(channels)
    for image in range(begin // cells, -(-end // cells)):
        first = np.uintp(image) * down * across
        low, high = max(0, begin - image * cells), min(cells, end - image * cells)
        if high - low < lanes or channels < lanes:
            for one in range(across):
                for each in range(np.uintp(low), np.uintp(high)):
                    by_channel, by_cell = first + one * down + each, first + each * across + one
                    if to_last:
                        target[by_cell] = source[by_channel]
                    else:
                        target[by_channel] = source[by_cell]
            continue
        for start in range(low, high, line):
            stop = min(high, start + line)
            for some in range(0, channels, lanes):
                # The last square of either may overlap the one before.
                channel = np.uintp(min(some, channels - lanes))
                for step in range(start, stop, lanes):
                    cell = np.uintp(min(step, high - lanes))
                    by_channel = first + channel * down + cell
                    by_cell = first + cell * across + channel
                    if to_last:
                        turn_over(source, by_channel, down, target, by_cell, across)
                    else:
                        turn_over(source, by_cell, across, target, by_channel, down)
