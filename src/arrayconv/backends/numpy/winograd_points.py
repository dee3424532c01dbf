"""The points of what blocks of `winograd_plans` see, made by several threads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from arrayconv._options import current
from arrayconv.backends.numpy.blocks import equal_parts
from arrayconv.backends.numpy.compiler import lanes_of, loops
from arrayconv.backends.numpy.orders import channels_first, whole_lines
from arrayconv.backends.numpy.threads import at_once, run_range
from arrayconv.backends.numpy.winograd_cuts import step_of
from arrayconv.backends.numpy.winograd_maps import Square
from arrayconv.backends.numpy.winograd_plans import FLOAT, Plan


@cache
def addresses_to_see(square: Square, of_outputs: bool) -> tuple[int, int]:
    """Return where the code is that sees a block, and that makes points of cells, or of outputs."""
    numbers, flat, table = np.empty(1, FLOAT), np.empty(1, np.int64), np.empty((1, 1), np.int64)
    to_points = loops("winograd_loops").to_points(square, of_outputs)
    address_of, see = loops("addresses").address_of, loops("winograd_blocks").see
    return (
        address_of(see, *[numbers] * 3, *[flat] * 3, 0, 0),
        address_of(to_points, numbers, 0, table, flat, 0, 0, numbers, flat, numbers, 0, 0),
    )


class Points:
    """Those of an array by a plan, a block after the other; ``numbers`` are `winograd_blocks`'."""

    def __init__(self, array: Any, plan: Plan, numbers: Any) -> None:
        self.plan, self.channels, self.numbers = plan, array.shape[1], numbers
        self.source = channels_first(array).reshape(-1)
        self.points = whole_lines(plan.room[0], FLOAT)

    @classmethod
    def of(cls, array: Any, plan: Plan, square: Square, groups: int) -> Points:
        """Return those that no block makes outputs of."""
        names, lanes = loops("winograd_blocks"), lanes_of(FLOAT)
        numbers = np.zeros(1 + names.HELD, np.int64)
        seen = (*plan.tile.seen, lanes, array.shape[1], groups, array[0, 0].size)
        numbers[: len(seen)] = seen
        addresses = addresses_to_see(square, plan.tile != square)
        numbers[names.SEE], numbers[names.TO_POINTS] = addresses
        numbers[names.HELD] = square.points
        return cls(array, plan, numbers)

    def tiles(self, number: int) -> int:
        """Return the numbers from one channel to the next, in a block."""
        return self.plan.blocks[number].runs.tiles

    def step(self, number: int) -> int:
        """Return the numbers from one point to the next."""
        return step_of(self.channels * self.tiles(number), lanes_of(FLOAT))

    def ranges(self, number: int, threads: int) -> list[tuple[int, int]]:
        """Return ranges of channels whose points threads may make at the same time."""
        # Vectors of tiles end with those of a channel where these are one run.
        is_apart = self.plan.blocks[number].runs.number == 1
        return equal_parts(self.channels, threads if is_apart else 1)

    def room(self, channels: int) -> int:
        """Return the numbers that so many channels need while their points are made."""
        beyond = int(self.numbers[loops("winograd_blocks").HELD]) * lanes_of(FLOAT)
        cells: int = (self.plan.room[1] - beyond) // self.channels
        return cells * channels + beyond


class Seeing:
    """What makes the points of a block of an array, or of two, on several threads."""

    def __init__(self, sides: Sequence[Points]) -> None:
        one, other = sides[0], sides[-1]
        ranges: list[tuple[int, int, int]] = []
        self._starts = [0]
        for number in range(len(one.plan.blocks)):
            for which, side in enumerate(sides):
                of = side.ranges(number, current().threads)
                ranges += [(which, low, high) for low, high in of]
            self._starts.append(len(ranges))
        room = max(sides[which].room(high - low) for which, low, high in ranges)
        threads = at_once(max(stop - start for start, stop in pairwise(self._starts)))
        self._before = one.source, other.source, one.points, other.points
        self._known = whole_lines(threads * room, FLOAT).reshape(threads, -1), np.array(ranges)
        laid = one.plan.laid(), other.plan.laid()
        self._of_plans = (
            *(each.blocks for each in laid),
            *(each.tables for each in laid),
            np.stack([one.numbers, other.numbers]),
        )

    def see(self, number: int) -> None:
        """Make the points of a block."""
        start, stop = self._starts[number : number + 2]
        run_range(
            loops("winograd_blocks").see_ranges,
            self._before,
            stop - start,
            (*self._known, start, number, *self._of_plans),
            each=1,
            least=1,
            numbered=True,
        )
