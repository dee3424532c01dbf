"""`winograd` in one and two dimensions with its transforms compiled, where numba is installed.

The transforms are what the algorithm costs beside its products. Here those of a tile's rows and of
its columns follow one another, on vectors of neighbouring tiles, whose cells a stride of a tile's
size puts next to each other: see `layouts`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._options import current
from arrayconv._parts import sliding_part
from arrayconv._window import Axis, Window, adjoint_axis, input_sizes, kernel_sizes, output_sizes
from arrayconv.backends.numpy import layouts, shifts, winograd
from arrayconv.backends.numpy.compiler import loops, missing
from arrayconv.backends.numpy.costs import Shape
from arrayconv.backends.numpy.layouts import Layout
from arrayconv.backends.numpy.orders import channels_first
from arrayconv.backends.numpy.threads import run_blocks
from arrayconv.backends.numpy.winograd import SINGLE, part_of
from arrayconv.backends.numpy.winograd_maps import Line, Square, transforms
from arrayconv.backends.numpy.winograd_maps import square as square_of

WORTH_A_THREAD = 1 << 23
"""Multiply-adds below which there is no block for another thread."""
CHUNK = 4 << 20
"""Bytes of points that a block holds, of cells and of outputs: the second cache should."""


def unfit(shape: Shape, tile: int) -> str | None:
    """Return why a convolution cannot be served."""
    if len(shape.window) > 2:
        return f"it has one or two spatial dimensions, got {len(shape.window)}"
    return winograd.unfit(shape, tile) or missing()


class Block(NamedTuple):
    """A range of images and of rows of tiles, and in a long row a range of those."""

    layout: Layout
    source: int
    """The first cell that it sees, in the first channel."""
    target: int
    """The first output."""
    starts: Any
    """Of rows of tiles, in a channel's cells."""
    places: Any
    """Of a tile's cells, from its start: (columns, rows)."""
    outputs: Any
    """Where rows of tiles begin in the output."""
    heights: Any
    """How many rows of outputs each of them has."""
    across: int
    """Tiles in a row."""
    width: int
    """Outputs in a row."""


class Plan(NamedTuple):
    """What a convolution of given shapes needs, worked out once."""

    tile: Square
    blocks: tuple[Block, ...]


def _tiles(axis: Axis, line: Line) -> Axis:
    """Return the axis whose positions are tiles, and whose taps are the cells that one sees."""
    return axis._replace(kernel=line.cells, stride=line.outputs, out=-(-axis.out // line.outputs))


@lru_cache(maxsize=256)
def plan(
    window: Window, batch: int, channels: int, outputs: int, tile: int, limit: int, workers: int
) -> Plan:
    """Return the plan by which no block has more than ``limit`` points, those of a row at least.

    Each of some workers has a block, where there are rows enough.
    """
    square = square_of(kernel_sizes(window), tile)
    whole = (SINGLE,) * (2 - len(window)) + window
    height, width = map(_tiles, whole, square)
    per_tile = square.points * (channels + outputs)
    images = min(batch, limit // (per_tile * width.out * height.out), -(-batch // workers))
    images = max(1, images)
    # Of each block of images.
    workers = -(-workers // -(-batch // images))
    columns = width.out
    if square.seen[0] == 1:
        # Rows of squares are not cut: where they meet, cells would be transformed twice.
        most = min(limit // per_tile, -(-width.out // max(1, workers // height.out)))
        # Whole vectors of tiles.
        columns = min(width.out, -(-part_of(width.out, most) // 16) * 16)
    rows = part_of(height.out, min(limit // (per_tile * columns), -(-height.out // workers)))
    source = (channels * whole[0].size * whole[1].size, whole[1].size, 1)
    target = (outputs * whole[0].out * whole[1].out, whole[1].out, 1)
    blocks = []
    starts = (range(0, batch, images), range(0, height.out, rows), range(0, width.out, columns))
    for image, first, left in product(*starts):
        count = min(images, batch - image)
        part = sliding_part(height, first, min(first + rows, height.out))
        along = sliding_part(width, left, min(left + columns, width.out))
        tiles = (Axis(count, 1, 1, 1, 0, 0, count), part.axis, along.axis)
        layout = layouts.sliding(tiles, source, target)
        steps = layouts.steps(shifts.plan(tiles).rows)
        (every,) = layout.passes
        of_images, of_rows = np.arange(count)[:, None], np.arange(part.stop - part.start)
        down, across = square.height.outputs, left * square.width.outputs
        heights = np.minimum(down, whole[0].out - (first + of_rows) * down)
        blocks.append(
            Block(
                layout,
                image * source[0] + part.low * source[1] + along.low,
                image * target[0] + first * down * target[1] + across,
                (of_images * steps[0] + of_rows * steps[1]).reshape(-1),
                np.array(every.offsets).reshape(square.seen).T.copy(),
                (of_images * target[0] + of_rows * down * target[1]).reshape(-1),
                np.tile(heights, count),
                along.stop - along.start,
                min(whole[1].out - across, (along.stop - along.start) * square.width.outputs),
            )
        )
    return Plan(square, tuple(blocks))


def limit(bytes_in_and_out: int, weights: int, itemsize: int) -> int:
    """Return the points that a block may have."""
    room = winograd.room(bytes_in_and_out, weights * itemsize)
    return max(min(room, CHUNK // itemsize), weights // 4)


def plan_of(
    window: Window, batch: int, channels: int, outputs: int, groups: int, tile: int
) -> Plan:
    """Return the plan of a convolution of float32, for as many threads as the options allow."""
    square, itemsize = square_of(kernel_sizes(window), tile), 4
    weights = square.points * outputs * channels // groups
    cells = batch * (channels * prod(input_sizes(window)) + outputs * prod(output_sizes(window)))
    most = limit(cells * itemsize, weights, itemsize)
    multiply_adds = weights * batch * prod(output_sizes(window)) // prod(square.made)
    workers = max(1, min(current().threads, multiply_adds // WORTH_A_THREAD))
    return plan(window, batch, channels, outputs, tile, most, workers)


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


def transform_weight(w: Any, groups: int, tile: int) -> Weight:
    """Return what `run` takes: the points of each pair of an output and a channel."""
    outputs, seen = w.shape[0] // groups, w.shape[1]
    return Weight(_points(w, tile, 1), outputs, outputs * seen, seen, 1, outputs * groups * seen)


def transform_flipped(w: Any, groups: int, tile: int) -> Weight:
    """Return the same of the weight by which the adjoint is a convolution, without a copy of it."""
    seen, outputs = w.shape[0] // groups, w.shape[1]
    return Weight(
        _points(w, tile, -1), outputs, outputs * seen, 1, outputs, outputs * groups * seen
    )


def _points(w: Any, tile: int, direction: int) -> Any:
    square = square_of(w.shape[2:], tile)
    to_points = transforms(square, w.dtype).weight[:, ::direction]
    return np.matmul(to_points, w.reshape(-1, to_points.shape[1]).T).reshape(-1)


def run(x: Any, weight: Weight, window: Window, groups: int, tile: int) -> Any:
    """Return y (N, O, *positions) by a transformed weight."""
    compiled = loops("winograd_loops")
    (batch, channels), outputs = x.shape[:2], groups * weight.outputs
    positions = output_sizes(window)
    y = np.empty((batch, outputs, *positions), x.dtype)
    if y.size == 0:
        return y
    planned = plan_of(window, batch, channels, outputs, groups, tile)
    tall, wide = planned.tile.seen
    square, lanes = tall * wide, compiled.VECTOR_BYTES // x.itemsize
    along = np.arange(wide) * lanes
    flat, result = channels_first(x).reshape(-1), y.reshape(-1)
    cells_of, results_of = x[0, 0].size, y[0, 0].size
    seen, made = channels // groups, outputs // groups
    of_tile = compiled.tile(made)
    convolve = compiled.convolve(of_tile, made % of_tile.outputs, lanes)
    to_points, from_points = compiled.to_points(planned.tile), compiled.from_points(planned.tile)

    def points(planes: int, tiles: int) -> tuple[Any, int]:
        """Return room for points (square, planes, tiles), and the step from one to the next."""
        # An odd number of vectors, so that the cache has room for the points of a tile.
        step = (planes * tiles // lanes | 1) * lanes + 2 * lanes
        return np.empty(square * step + of_tile.vectors * lanes, x.dtype), step

    def work(block: Block) -> None:
        across = block.across
        size, tiles = block.layout.size, len(block.starts) * across
        cells = np.empty(channels * size + square * lanes, x.dtype)
        compiled.clear(cells, size, channels, *block.layout.gaps)
        cells[channels * size :] = 0
        compiled.fill(flat, block.source, cells_of, cells, size, channels, *block.layout.fill)
        of_cells, step = points(channels, tiles)
        held = np.empty(square * lanes, x.dtype)
        to_points(
            *(cells, size, block.places, block.starts, across, channels),
            *(held, along, of_cells, step),
        )
        del cells
        sums, next_sum = points(outputs, tiles)
        firsts = np.arange(0, tiles, lanes)
        stores = np.stack([firsts, 0 * firsts, np.minimum(lanes, tiles - firsts)], axis=1)
        ends, terms = np.arange(len(firsts) + 1), np.arange(seen)[:, None] * [tiles, weight.term]
        for group in range(groups):
            # To sum up all points at once, they are its groups.
            convolve(
                *(of_cells[group * seen * tiles :], step, terms),
                *(weight.factors, group * weight.every, weight.pairs, weight.step),
                *(square, made, sums, group * made * tiles, next_sum, tiles, stores, ends),
            )
        from_points(
            *(sums, next_sum, positions[-1], across, outputs, held, along),
            *(result[block.target :], results_of, block.outputs, block.heights, block.width),
        )

    run_blocks(work, planned.blocks)
    return y


def conv(x: Any, w: Any, window: Window, groups: int, tile: int) -> Any:
    """Return y (N, O, *positions)."""
    return run(x, transform_weight(w, groups, tile), window, groups, tile)


def prepare(w: Any, groups: int, tile: int) -> Callable[[Any, Window], Any]:
    """Return the convolution of an input by a window, with the weight transformed beforehand."""
    weight = transform_weight(w, groups, tile)
    return lambda x, window: run(x, weight, window, groups, tile)


def conv_transpose(y: Any, w: Any, window: Window, groups: int, tile: int) -> Any:
    """Return x (N, C, *sizes), with a stride of 1."""
    adjoint = tuple(adjoint_axis(axis) for axis in window)
    return run(y, transform_flipped(w, groups, tile), adjoint, groups, tile)
