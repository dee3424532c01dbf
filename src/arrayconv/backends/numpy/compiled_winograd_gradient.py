"""`winograd_gradient` with its transforms compiled, in one and two dimensions.

The points of the cells that tiles see, and those of the cotangents of their outputs, are made by
the loops of `compiled_winograd`: there a tile of a cotangent is one that sees its own outputs.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from arrayconv._integers import Ints
from arrayconv._window import Window, input_sizes, kernel_sizes, output_sizes
from arrayconv.backends.numpy.compiled_convolution import biases
from arrayconv.backends.numpy.compiled_winograd import unfit
from arrayconv.backends.numpy.compiler import lanes_of, loops
from arrayconv.backends.numpy.orders import whole_lines
from arrayconv.backends.numpy.threads import at_once, run_range
from arrayconv.backends.numpy.winograd_cuts import limit_of_gradient
from arrayconv.backends.numpy.winograd_maps import square as square_of
from arrayconv.backends.numpy.winograd_plans import FLOAT, plans_of_gradient
from arrayconv.backends.numpy.winograd_points import Points, Seeing

__all__ = ["conv_weight", "unfit"]

OUTPUTS = 8
"""Outputs whose weights a thread makes of their points at a time."""


@lru_cache(maxsize=256)
def _terms(counts: Ints, across: int) -> tuple[Any, Any]:
    """Return where the terms of sums are, given the tiles of each block, and where blocks end.

    They are counted through all blocks, and there is one more.
    """
    tiles = np.concatenate([*map(np.arange, counts), [0]])
    return np.stack([tiles * across, tiles], axis=1), np.cumsum((0, *counts))


def conv_weight(x: Any, y: Any, window: Window, groups: int, tile: Ints) -> Any:
    """Return w (O, C / groups, *kernel): sums of products of points over tiles, mapped back."""
    (batch, channels), outputs, kernel = x.shape[:2], y.shape[1], kernel_sizes(window)
    if 0 in x.shape or 0 in y.shape:
        return np.zeros((outputs, channels // groups, *kernel), x.dtype)
    cells = channels * prod(input_sizes(window)) + outputs * prod(output_sizes(window))
    square = square_of(kernel, tile)
    weights = square.points * outputs * channels // groups
    most = limit_of_gradient(batch * cells * x.itemsize, weights)
    plans = plans_of_gradient(window, batch, channels, outputs, tile, most)
    sides = [Points.of(each, of, square, groups) for each, of in zip((x, y), plans, strict=True)]
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
    points, (of_x, of_y) = Seeing(sides), sides
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
