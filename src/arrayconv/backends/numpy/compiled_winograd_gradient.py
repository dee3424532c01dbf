"""`winograd_gradient` with its transforms compiled, in one and two dimensions.

The points of the cells that tiles see, and those of the cotangents of their outputs, are made by
the loops of `compiled_winograd`: there a tile of a cotangent is one that sees its own outputs.
"""

from __future__ import annotations

from functools import cache, lru_cache
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from arrayconv._integers import Ints
from arrayconv._options import current
from arrayconv._window import Window, input_sizes, kernel_sizes, output_sizes
from arrayconv.backends.numpy.blocks import equal_parts
from arrayconv.backends.numpy.compiled_convolution import biases
from arrayconv.backends.numpy.compiled_winograd import unfit
from arrayconv.backends.numpy.compiler import lanes_of, loops
from arrayconv.backends.numpy.orders import channels_first, whole_lines
from arrayconv.backends.numpy.threads import at_once, run_range
from arrayconv.backends.numpy.winograd_cuts import limit_of_gradient, step_of
from arrayconv.backends.numpy.winograd_maps import Square
from arrayconv.backends.numpy.winograd_maps import square as square_of
from arrayconv.backends.numpy.winograd_plans import FLOAT, Plan, plans_of_gradient

__all__ = ["conv_weight", "unfit"]

OUTPUTS = 8
"""Outputs whose weights a thread makes of their points at a time."""


@cache
def _address(square: Square, of_outputs: bool) -> int:
    """Return where the code is that makes points of cells, or of outputs."""
    numbers, flat, table = np.empty(1, FLOAT), np.empty(1, np.int64), np.empty((1, 1), np.int64)
    to_points = loops("winograd_loops").to_points(square, of_outputs)
    found: int = loops("addresses").address_of(
        to_points, numbers, 0, table, flat, 0, 0, numbers, flat, numbers, 0, 0
    )
    return found


class _Points:
    """The points of an array's tiles, a block of them at a time."""

    def __init__(self, array: Any, plan: Plan, square: Square, groups: int) -> None:
        self.plan, self.channels = plan, array.shape[1]
        self.source = channels_first(array).reshape(-1)
        self.points = whole_lines(plan.room[0], FLOAT)
        compiled = loops("winograd_blocks")
        self.numbers = np.zeros(1 + compiled.HELD, np.int64)
        seen = (*plan.tile.seen, lanes_of(FLOAT), self.channels, groups, array[0, 0].size)
        self.numbers[: len(seen)] = seen
        self.numbers[compiled.TO_POINTS] = _address(square, of_outputs=plan.tile != square)
        self.numbers[compiled.HELD] = square.points

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
        beyond = int(self.numbers[-1]) * lanes_of(FLOAT)
        cells: int = (self.plan.room[1] - beyond) // self.channels
        return cells * channels + beyond


@lru_cache(maxsize=256)
def _terms(counts: Ints, across: int) -> tuple[Any, Any]:
    """Return where the terms of sums are, given the tiles of each block, and where blocks end.

    They are counted through all blocks, and there is one more.
    """
    tiles = np.concatenate([*map(np.arange, counts), [0]])
    return np.stack([tiles * across, tiles], axis=1), np.cumsum((0, *counts))


class _PointsOfBoth:
    """What makes the points of a block of two arrays, on several threads."""

    def __init__(self, sides: list[_Points]) -> None:
        one, other = sides
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
        plans = one.plan, other.plan
        self._of_plans = (
            *(plan.laid for plan in plans),
            *(plan.tables for plan in plans),
            np.stack([side.numbers for side in sides]),
        )

    def see(self, number: int) -> None:
        """Make the points of a block."""
        start, stop = self._starts[number : number + 2]
        run_range(
            loops("winograd_blocks").see_both,
            self._before,
            stop - start,
            (*self._known, start, number, *self._of_plans),
            each=1,
            least=1,
            numbered=True,
        )


def conv_weight(x: Any, y: Any, window: Window, groups: int, tile: int) -> Any:
    """Return w (O, C / groups, *kernel): sums of products of points over tiles, mapped back."""
    (batch, channels), outputs, kernel = x.shape[:2], y.shape[1], kernel_sizes(window)
    if 0 in x.shape or 0 in y.shape:
        return np.zeros((outputs, channels // groups, *kernel), x.dtype)
    cells = channels * prod(input_sizes(window)) + outputs * prod(output_sizes(window))
    square = square_of(kernel, tile)
    weights = square.points * outputs * channels // groups
    most = limit_of_gradient(batch * cells * x.itemsize, weights)
    plans = plans_of_gradient(window, batch, channels, outputs, tile, most)
    sides = [_Points(each, of, square, groups) for each, of in zip((x, y), plans, strict=True)]
    made, seen, lanes = outputs // groups, channels // groups, lanes_of(FLOAT)
    across = -(-seen // lanes) * lanes
    runs = [block.runs for block in plans[0].blocks]
    counts = tuple(each.number * each.across for each in runs)
    table, ends = _terms(counts, across)
    compiled = loops("winograd_products")
    shape = compiled.tile(made)
    kept = whole_lines(square.points * groups * made * across, FLOAT)
    threads, most_tiles = at_once(square.points), -(-max(counts) // lanes) * lanes
    workspace = np.zeros((threads, most_tiles * across), FLOAT)
    add = compiled.add_products(shape, made % shape.outputs)
    points, (of_x, of_y) = _PointsOfBoth(sides), sides
    # One block after the other, so that their products are added in one order.
    for number, (low, high) in enumerate(pairwise(map(int, ends))):
        points.see(number)
        steps = of_y.step(number), of_x.step(number), of_x.tiles(number)
        numbers = np.array([groups, made, seen, *steps, across])
        before = (of_y.points, of_x.points, biases(None, shape.outputs, FLOAT), kept)
        after = (workspace, table, numbers, low, high)
        run_range(add, before, square.points, after, each=1, numbered=True)
    weight = np.empty((outputs, seen, *kernel), FLOAT)
    taps = compiled.taps_of_products(square, shape.vectors)
    run_range(taps, (kept, weight.reshape(-1)), outputs, (numbers,), each=OUTPUTS)
    return weight
