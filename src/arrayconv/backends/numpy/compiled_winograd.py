"""`winograd` in two dimensions with its transforms compiled by numba, where that is installed.

The transforms are what the algorithm costs beside its products. Here those of a tile's rows and of
its columns follow one another, on vectors of neighbouring tiles, whose cells a stride of a tile's
size puts next to each other: see `layouts`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from arrayconv._parts import sliding_part
from arrayconv._window import Axis, Window, adjoint_axis, output_sizes
from arrayconv.backends.numpy import layouts, shifts, winograd
from arrayconv.backends.numpy.compiler import loops, missing
from arrayconv.backends.numpy.costs import Shape
from arrayconv.backends.numpy.layouts import Layout
from arrayconv.backends.numpy.threads import run_blocks

CHUNK = 4 << 20
"""Bytes of points that a block holds, of cells and of outputs: the second cache should."""


def unfit(shape: Shape) -> str | None:
    """Return why a convolution cannot be served."""
    if len(shape.window) != 2:
        return f"it has two spatial dimensions, got {len(shape.window)}"
    return winograd.unfit(shape) or missing()


class Block(NamedTuple):
    """A range of images and of rows of tiles."""

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


class Plan(NamedTuple):
    """What a convolution of given shapes needs, worked out once."""

    blocks: tuple[Block, ...]
    across: int
    """Tiles in a row."""


def _tiles(axis: Axis, tile: int) -> Axis:
    """Return the axis whose positions are tiles, and whose taps are the cells that one sees."""
    return axis._replace(kernel=tile + 2, stride=tile, out=-(-axis.out // tile))


@lru_cache(maxsize=256)
def plan(window: Window, batch: int, channels: int, outputs: int, tile: int, limit: int) -> Plan:
    """Return the plan by which no block has more than ``limit`` points, those of a row at least."""
    height, width = (_tiles(axis, tile) for axis in window)
    of_row = (tile + 2) ** 2 * width.out * (channels + outputs)
    rows = max(1, min(height.out, limit // of_row))
    rows = -(-height.out // -(-height.out // rows))
    images = max(1, min(batch, limit // (of_row * height.out)))
    source = (channels * window[0].size * window[1].size, window[1].size, 1)
    target = (outputs * window[0].out * window[1].out, window[1].out, 1)
    blocks = []
    for image, first in product(range(0, batch, images), range(0, height.out, rows)):
        count = min(images, batch - image)
        part = sliding_part(height, first, min(first + rows, height.out))
        tiles = (Axis(count, 1, 1, 1, 0, 0, count), part.axis, width)
        layout = layouts.sliding(tiles, source, target)
        steps = layouts.steps(shifts.plan(tiles).rows)
        (every,) = layout.passes
        of_images, of_rows = np.arange(count)[:, None], np.arange(part.stop - part.start)
        heights = np.minimum(tile, window[0].out - (first + of_rows) * tile)
        blocks.append(
            Block(
                layout,
                image * source[0] + part.low * source[1],
                image * target[0] + first * tile * target[1],
                (of_images * steps[0] + of_rows * steps[1]).reshape(-1),
                np.array(every.offsets).reshape(tile + 2, tile + 2).T.copy(),
                (of_images * target[0] + of_rows * tile * target[1]).reshape(-1),
                np.tile(heights, count),
            )
        )
    return Plan(tuple(blocks), width.out)


def limit(bytes_in_and_out: int, weights: int, itemsize: int) -> int:
    """Return the points that a block may have."""
    room = winograd.room(bytes_in_and_out, weights * itemsize)
    return max(min(room, CHUNK // itemsize), weights // 4)


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
    to_points = winograd.transforms(tile, w.dtype).weight[:, ::direction]
    return np.matmul(to_points, w.reshape(-1, to_points.shape[1]).T).reshape(-1)


def run(x: Any, weight: Weight, window: Window, groups: int, tile: int) -> Any:
    """Return y (N, O, *positions) by a transformed weight."""
    compiled = loops("winograd_loops")
    (batch, channels), outputs = x.shape[:2], groups * weight.outputs
    positions = output_sizes(window)
    y = np.empty((batch, outputs, *positions), x.dtype)
    if y.size == 0:
        return y
    most = limit(x.nbytes + y.nbytes, len(weight.factors), x.itemsize)
    planned = plan(window, batch, channels, outputs, tile, most)
    side, lanes = tile + 2, compiled.VECTOR_BYTES // x.itemsize
    square, across = side * side, planned.across
    along = np.arange(side) * lanes
    flat, result = np.ascontiguousarray(x).reshape(-1), y.reshape(-1)
    cells_of, results_of = x[0, 0].size, y[0, 0].size
    seen, made = channels // groups, outputs // groups
    of_tile = compiled.tile(made)
    convolve = compiled.convolve(of_tile, made % of_tile.outputs, lanes)

    def points(planes: int, tiles: int) -> tuple[Any, int]:
        """Return room for points (square, planes, tiles), and the step from one to the next."""
        # An odd number of vectors, so that the cache has room for the points of a tile.
        step = (planes * tiles // lanes | 1) * lanes + 2 * lanes
        return np.empty(square * step + of_tile.vectors * lanes, x.dtype), step

    def work(block: Block) -> None:
        size, tiles = block.layout.size, len(block.starts) * across
        cells = np.empty(channels * size + square * lanes, x.dtype)
        compiled.clear(cells, size, channels, *block.layout.gaps)
        cells[channels * size :] = 0
        for each in block.layout.fill:
            compiled.fill(flat, block.source, cells_of, cells, size, channels, *each)
        of_cells, step = points(channels, tiles)
        held = np.empty(square * lanes, x.dtype)
        compiled.to_points(
            *(tile, cells, size, block.places, block.starts, across, channels),
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
        compiled.from_points(
            *(tile, sums, next_sum, positions[1], across, outputs, held, along),
            *(result[block.target :], results_of, block.outputs, block.heights, positions[1]),
        )

    run_blocks(work, planned.blocks, products=True)
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
