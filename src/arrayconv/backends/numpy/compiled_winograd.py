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

CHUNK = 1 << 20
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
    cells: int
    """The most cells of a channel that a block lays out."""
    across: int
    """Tiles in a row."""


def _tiles(axis: Axis, tile: int) -> Axis:
    """Return the axis whose positions are tiles, and whose taps are the cells that one sees."""
    return axis._replace(kernel=tile + 2, stride=tile, out=-(-axis.out // tile))


@lru_cache(maxsize=256)
def plan(window: Window, batch: int, channels: int, outputs: int, tile: int, limit: int) -> Plan:
    """Return the plan by which no block has more than ``limit`` points (those of a row at least)."""
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
    return Plan(tuple(blocks), max(each.layout.size for each in blocks), width.out)


def run(x: Any, weight: Any, window: Window, groups: int, tile: int) -> Any:
    """Return y (N, O, *positions) by a transformed weight (points, groups, 1, O / groups, ...)."""
    compiled = loops("winograd_loops")
    (batch, channels), outputs = x.shape[:2], groups * weight.shape[3]
    positions = output_sizes(window)
    y = np.empty((batch, outputs, *positions), x.dtype)
    room = winograd.room(x.nbytes + y.nbytes, weight.nbytes)
    limit = max(min(room, CHUNK // x.itemsize), weight.size // 4)
    planned = plan(window, batch, channels, outputs, tile, limit)
    side, lanes = tile + 2, compiled.VECTOR_BYTES // x.itemsize
    square, across = side * side, planned.across
    along = np.arange(side) * lanes
    flat, result = np.ascontiguousarray(x).reshape(-1), y.reshape(-1)
    cells_of, results_of = x[0, 0].size, y[0, 0].size
    wide = -(-across // lanes) * lanes

    def rows_of(planes: int, tiles: int) -> tuple[Any, Any, int]:
        """Return points (square, groups, planes / groups, tiles), flat, and the step of one."""
        # An odd number of vectors, so that the cache has room for the points of a tile.
        step = (planes * tiles // lanes | 1) * lanes + 2 * lanes
        buffer = np.empty(square * step + lanes, x.dtype)
        points = buffer[: square * step].reshape(square, step)[:, : planes * tiles]
        return buffer, points.reshape(square, groups, planes // groups, tiles), step

    def work(block: Block) -> None:
        tiles = len(block.starts) * across
        cells = np.empty(channels * block.layout.size + square * lanes, x.dtype)
        compiled.clear(cells, block.layout.size, channels, *block.layout.gaps)
        cells[channels * block.layout.size :] = 0
        for each in block.layout.fill:
            where = cells_of, cells, block.layout.size, channels
            compiled.fill(flat, block.source, *where, *each)
        seen, factors, step = rows_of(channels, tiles)
        held = np.empty(square * lanes, x.dtype)
        compiled.to_points(
            *(tile, cells, block.layout.size, block.places, block.starts, across, channels),
            *(held, along, seen, step),
        )
        del cells
        made, products, step = rows_of(outputs, tiles)
        np.matmul(weight[:, :, 0], factors, out=products)
        compiled.from_points(
            *(tile, made, step, positions[1], across, outputs, held, along),
            *(np.empty(tile * tile * wide, x.dtype), result[block.target :], results_of),
            *(block.outputs, block.heights, positions[1]),
        )

    run_blocks(work, planned.blocks, products=True)
    return y


def conv(x: Any, w: Any, window: Window, groups: int, tile: int) -> Any:
    """Return y (N, O, *positions)."""
    return run(x, winograd.transform_weight(w, groups, tile), window, groups, tile)


def prepare(w: Any, groups: int, tile: int) -> Callable[[Any, Window], Any]:
    """Return the convolution of an input by a window, with the weight transformed beforehand."""
    weight = winograd.transform_weight(w, groups, tile)
    return lambda x, window: run(x, weight, window, groups, tile)


def conv_transpose(y: Any, w: Any, window: Window, groups: int, tile: int) -> Any:
    """Return x (N, C, *sizes), with a stride of 1."""
    adjoint = tuple(adjoint_axis(axis) for axis in window)
    return run(y, winograd.transform_flipped(w, groups, tile), adjoint, groups, tile)
