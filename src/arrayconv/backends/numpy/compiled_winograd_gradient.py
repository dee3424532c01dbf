"""`winograd_gradient` with its transforms compiled, in one and two dimensions.

The points of the cells that tiles see, and those of the cotangents of their outputs, are made by
the loops of `compiled_winograd`: there a tile of a cotangent is one that sees its own outputs.
"""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any

import numpy as np

from arrayconv._window import Window, input_sizes, kernel_sizes, output_sizes
from arrayconv.backends.numpy.compiled_winograd import unfit
from arrayconv.backends.numpy.compiler import lanes_of, loops
from arrayconv.backends.numpy.orders import channels_first, whole_lines
from arrayconv.backends.numpy.threads import at_once, run_blocks
from arrayconv.backends.numpy.winograd_cuts import limit_of_gradient, step_of
from arrayconv.backends.numpy.winograd_gradient import from_points
from arrayconv.backends.numpy.winograd_maps import Square, transforms
from arrayconv.backends.numpy.winograd_maps import square as square_of
from arrayconv.backends.numpy.winograd_plans import FLOAT, Plan, plans_of_gradient

__all__ = ["conv_weight", "unfit"]

PRODUCTS = 256 << 10
"""Bytes of products that are added to those of other blocks at a time: the cache holds them."""


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
        self.square, self.plan, self.groups = square, plan, groups
        self.channels, self.source = array.shape[1], channels_first(array).reshape(-1)
        self.points, self.cells = (whole_lines(count, FLOAT) for count in plan.room[:2])
        self._loops = compiled = loops("winograd_blocks")
        self._numbers = np.zeros(1 + compiled.HELD, np.int64)
        seen = (*plan.tile.seen, lanes_of(FLOAT), self.channels, groups, array[0, 0].size)
        self._numbers[: len(seen)] = seen
        self._numbers[compiled.TO_POINTS] = _address(square, of_outputs=plan.tile != square)
        self._numbers[compiled.HELD] = square.points

    def of(self, number: int) -> Any:
        """Return the points of a block (points, groups, channels of a group, tiles)."""
        laid, tables = self.plan.laid[number], self.plan.tables
        self._loops.see(self.source, self.points, self.cells, laid, tables, self._numbers)
        tiles, each = self.plan.blocks[number].runs.tiles, self.channels // self.groups
        step = step_of(self.channels * tiles, lanes_of(FLOAT))
        return np.ndarray(
            (self.square.points, self.groups, each, tiles),
            FLOAT,
            self.points,
            strides=tuple(4 * n for n in (step, each * tiles, tiles, 1)),
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
    shape = (square.points, groups, outputs // groups, channels // groups)
    sums: Any = np.empty(shape, x.dtype)
    few = max(1, min(square.points // at_once(square.points), PRODUCTS // sums[0].nbytes))
    ranges = [slice(n, n + few) for n in range(0, square.points, few)]
    found: list[Any] = [None, None]

    def see(block: tuple[int, int]) -> None:
        number, side = block
        found[side] = sides[side].of(number)

    def multiply(block: tuple[int, slice]) -> None:
        number, points = block
        seen, made = (each[points] for each in found)
        if number == 0:
            np.matmul(made, seen.swapaxes(2, 3), out=sums[points])
        else:
            sums[points] += np.matmul(made, seen.swapaxes(2, 3))

    # One block after the other, so that their products are added in one order.
    for number in range(len(plans[0].blocks)):
        run_blocks(see, [(number, 0), (number, 1)])
        run_blocks(multiply, [(number, points) for points in ranges], products=True)
    return from_points(sums, transforms(square, x.dtype), kernel)
