"""`winograd` in one and two dimensions with its transforms compiled, where numba is installed.

The transforms are what the algorithm costs beside its products. Here those of a tile's rows and of
its columns follow one another, on vectors of neighbouring tiles, whose cells a stride of a tile's
size puts next to each other: see `layouts`. A dilated kernel is a plain one on each phase of the
cells: the outputs of each phase are made by themselves, and put in their order at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._window import Window, adjoint_axis, output_sizes
from arrayconv.backends.numpy import winograd
from arrayconv.backends.numpy.compiler import loops, missing
from arrayconv.backends.numpy.costs import Shape
from arrayconv.backends.numpy.orders import channels_first
from arrayconv.backends.numpy.threads import run_blocks
from arrayconv.backends.numpy.winograd_maps import square as square_of
from arrayconv.backends.numpy.winograd_plans import Block, phases_of, plan_of, sizes_of

EVERY = slice(None)
"""All outputs."""
MOST_PHASES = 64
"""Phases of a dilation: how each of them lies is worked out by itself, which takes a while."""


def unfit(shape: Shape, tile: int) -> str | None:
    """Return why a convolution cannot be served."""
    if len(shape.window) > 2:
        return f"it has one or two spatial dimensions, got {len(shape.window)}"
    phases = prod(phases_of(shape.window))
    if phases > MOST_PHASES:
        return f"its dilation has {phases} phases of cells, more than {MOST_PHASES}"
    plain = tuple(axis._replace(dilation=1) for axis in shape.window)
    return winograd.unfit(shape._replace(window=plain), tile) or missing()


class Weight(NamedTuple):
    """A transformed weight, flat, and how it is walked through."""

    factors: Any
    outputs: int
    """Of a group."""
    every: int
    """From group to group."""
    step: int
    """From output to output."""
    term: int
    """From channel to channel."""
    pairs: int
    """From point to point."""


def transform_weight(w: Any, groups: int, tile: int, part: slice = EVERY) -> Weight:
    """Return the points of each pair of an output, of a part of them, and a channel."""
    every, seen = w.shape[:2]
    outputs = len(range(*part.indices(every)))
    points, step = _points(w, tile, 1, outputs * seen, (part.start or 0) * seen, False)
    return Weight(points, outputs // groups, outputs // groups * seen, seen, 1, step)


def transform_flipped(w: Any, groups: int, tile: int, part: slice = EVERY) -> Weight:
    """Return the same of the weight by which the adjoint is a convolution, without a copy of it."""
    seen, every = w.shape[0] // groups, w.shape[1]
    outputs = len(range(*part.indices(every)))
    # Of all outputs rows follow one another, and so are one.
    count, length = (1, w.shape[0] * every) if outputs == every else (seen, outputs)
    points, step = _points(w, tile, count, length, part.start or 0, True)
    return Weight(points, outputs, outputs * seen, 1, outputs, step)


def _points(
    w: Any, tile: int, count: int, length: int, first: int, is_flipped: bool
) -> tuple[Any, int]:
    """Return the points of ``count`` rows of kernels, from one on, and the step between points."""
    compiled = loops("winograd_loops")
    square, taps = square_of(w.shape[2:], tile), prod(w.shape[2:])
    lanes = compiled.VECTOR_BYTES // w.itemsize
    step = -(-count * length // lanes) * lanes + lanes
    points = np.empty(square.points * step + lanes, w.dtype)
    held = np.zeros((taps + square.seen[0] * square.width.kernel) * lanes, w.dtype)
    along = np.arange(max(square.seen[1], 2)) * lanes
    compiled.weight_to_points(square, is_flipped)(
        *(np.ascontiguousarray(w).reshape(-1), first * taps, w.shape[1] * taps, count, length),
        *(held, along, points, step),
    )
    return points, step


def run(
    x: Any,
    outputs: int,
    transformed: Callable[[slice], Weight],
    window: Window,
    groups: int,
    tile: int,
    prepared: bool = False,
) -> Any:
    """Return y (N, O, *positions) by what a weight is transformed to, some outputs at a time."""
    compiled = loops("winograd_loops")
    batch, channels = x.shape[:2]
    phases, sizes = phases_of(window), sizes_of(window)
    # The outputs of each phase by themselves.
    y = np.empty((batch, outputs, *phases, *sizes), x.dtype)
    if y.size == 0:
        return _in_order(y, window)
    planned = plan_of(window, batch, channels, outputs, groups, tile, prepared)
    tall, wide = planned.tile.seen
    square, lanes = tall * wide, compiled.VECTOR_BYTES // x.itemsize
    along = np.arange(wide) * lanes
    flat, result = channels_first(x).reshape(-1), y.reshape(-1)
    cells_of, results_of = x[0, 0].size, y[0, 0].size
    seen = channels // groups
    most = max(part.stop - part.start for part in planned.parts)
    of_tile = compiled.tile(most)
    whole = transformed(EVERY) if len(planned.parts) == 1 else None
    to_points, from_points = compiled.to_points(planned.tile), compiled.from_points(planned.tile)

    def points(planes: int, tiles: int) -> tuple[Any, int]:
        """Return room for points (square, planes, tiles), and the step from one to the next."""
        # An odd number of vectors, so that the cache has room for the points of a tile.
        step = (planes * tiles // lanes | 1) * lanes + 2 * lanes
        return np.empty(square * step + of_tile.vectors * lanes, x.dtype), step

    def seen_by(block: Block) -> tuple[Any, int]:
        """Return the points of the cells that a block sees, and the step between them."""
        size, tiles = block.layout.size, len(block.starts) * block.across
        cells = np.empty(channels * size + square * lanes, x.dtype)
        compiled.clear(cells, size, channels, *block.layout.gaps)
        cells[channels * size :] = 0
        compiled.fill(flat, block.source, cells_of, cells, size, channels, *block.layout.fill)
        made, step = points(channels, tiles)
        to_points(
            *(cells, size, block.places, block.starts, block.across, channels),
            *(np.empty(square * lanes, x.dtype), along, made, step),
        )
        return made, step

    def make(block: Block, part: slice, of_cells: Any, step: int) -> None:
        """Write a part of a block's outputs."""
        tiles, made = len(block.starts) * block.across, part.stop - part.start
        sums, next_sum = points(groups * made, tiles)
        stores, ends = _stores(tiles, lanes)
        weight = whole or transformed(part)
        convolve = compiled.convolve(of_tile, made % of_tile.outputs, lanes)
        terms = _terms(seen, tiles, weight.term)
        for group in range(groups):
            # To sum up all points at once, they are its groups.
            convolve(
                *(of_cells[group * seen * tiles :], step, terms),
                *(weight.factors, group * weight.every, weight.pairs, weight.step),
                *(square, made, sums, group * made * tiles, next_sum, tiles, stores, ends),
            )
        from_points(
            *(sums, next_sum, sizes[1], block.across, groups * made),
            *(
                np.empty(square * lanes, x.dtype),
                along,
                result[block.target + part.start * results_of :],
            ),
            *(results_of, block.outputs, block.heights, block.width),
        )

    if whole is None:
        (block,) = planned.blocks
        held = seen_by(block)
        run_blocks(lambda part: make(block, part, *held), planned.parts)
    else:
        (part,) = planned.parts
        run_blocks(lambda block: make(block, part, *seen_by(block)), planned.blocks)
    return _in_order(y, window)


@lru_cache(maxsize=256)
def _stores(tiles: int, lanes: int) -> tuple[Any, Any]:
    """Return where vectors of tiles are stored, and the ends of each one's: see `convolve`."""
    firsts = np.arange(0, tiles, lanes)
    stores = np.stack([firsts, 0 * firsts, np.minimum(lanes, tiles - firsts)], axis=1)
    return stores, np.arange(len(firsts) + 1)


@lru_cache(maxsize=256)
def _terms(channels: int, tiles: int, step: int) -> Any:
    """Return where the cells and the weights of channels are: see `convolve`."""
    return np.arange(channels)[:, None] * [tiles, step]


def _in_order(phased: Any, window: Window) -> Any:
    """Return y (N, O, *positions) of the outputs (N, O, *phases, *sizes) of each phase."""
    shape, (tall, wide) = (*phased.shape[:2], *output_sizes(window)), phases_of(window)
    if tall == wide == 1:
        return phased.reshape(shape)
    y = np.empty((*phased.shape[:2], *(1, *output_sizes(window))[-2:]), phased.dtype)
    for down, across in product(range(tall), range(wide)):
        to = y[:, :, down::tall, across::wide]
        to[...] = phased[:, :, down, across, : to.shape[2], : to.shape[3]]
    return y.reshape(shape)


def conv(x: Any, w: Any, window: Window, groups: int, tile: int) -> Any:
    """Return y (N, O, *positions)."""
    return run(x, w.shape[0], partial(transform_weight, w, groups, tile), window, groups, tile)


def prepare(w: Any, groups: int, tile: int) -> Callable[[Any, Window], Any]:
    """Return the convolution of an input by a window, with the weight transformed beforehand."""
    weight, outputs = transform_weight(w, groups, tile), w.shape[0]
    return lambda x, window: run(x, outputs, lambda part: weight, window, groups, tile, True)


def conv_transpose(y: Any, w: Any, window: Window, groups: int, tile: int) -> Any:
    """Return x (N, C, *sizes), with a stride of 1."""
    adjoint = tuple(adjoint_axis(axis) for axis in window)
    transformed = partial(transform_flipped, w, groups, tile)
    return run(y, groups * w.shape[1], transformed, adjoint, groups, tile)
