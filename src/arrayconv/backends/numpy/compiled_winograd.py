"""`winograd` in one and two dimensions with its transforms compiled, where numba is installed.

The transforms are what the algorithm costs beside its products. Here those of a tile's rows and of
its columns follow one another, on vectors of neighbouring tiles, whose cells a stride of a tile's
size puts next to each other: see `layouts`. A dilated kernel is a plain one on each phase of the
cells: the outputs of each phase are made by themselves, and put in their order at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._integers import Ints
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
    plain = tuple(axis._replace(dilation=1) for axis in shape.window)
    return winograd.unfit(shape._replace(window=plain), tile) or missing()


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
    """Return the axis of a phase whose positions are tiles, and whose taps are a tile's cells."""
    of_phase = -(-axis.out // axis.dilation)
    stride = line.outputs * axis.dilation
    return axis._replace(kernel=line.cells, stride=stride, out=-(-of_phase // line.outputs))


def phases_of(window: Window) -> Ints:
    """Return how many phases of cells there are, of the last two dimensions."""
    return (1, *(axis.dilation for axis in window))[-2:]


def sizes_of(window: Window) -> Ints:
    """Return the outputs of a phase, of the last two dimensions, if it has most."""
    outs = (1, *output_sizes(window))[-2:]
    return tuple(-(-out // each) for out, each in zip(outs, phases_of(window), strict=True))


class _Seen(NamedTuple):
    """What a range of tiles sees of all phases."""

    layout: Layout
    source: int
    """The first cell."""
    places: Any
    """Of a tile's cells, from its start: (columns, rows)."""
    steps: Ints
    """From image to image, and from one row of tiles to the next one."""


def _seen(
    window: Window, phases: Ints, count: int, down: Ints, across: Ints, source: Ints
) -> _Seen:
    """Return what the tiles of ranges of a window's two dimensions see of ``count`` images."""
    layouts_of, lows = [], []
    for shifts_of in product(*map(range, phases)):
        axes = (
            axis._replace(before=axis.before - shift)
            for axis, shift in zip(window, shifts_of, strict=True)
        )
        parts = [sliding_part(axis, *each) for axis, each in zip(axes, (down, across), strict=True)]
        tiles = (Axis(count, 1, 1, 1, 0, 0, count), *(part.axis for part in parts))
        layouts_of.append(layouts.sliding(tiles, source, source))
        lows.append(parts[0].low * source[1] + parts[1].low)
    (every,) = layouts_of[0].passes
    kernel = [axis.kernel for axis in window]
    return _Seen(
        layouts.joined(tuple(layouts_of), tuple(low - min(lows) for low in lows)),
        min(lows),
        np.array(every.offsets).reshape(kernel).T.copy(),
        layouts.steps(shifts.plan(tiles).rows)[:2],
    )


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
    phases, sizes = phases_of(window), sizes_of(window)
    per_tile = square.points * (channels + outputs) * prod(phases)
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
    plane = prod(phases) * prod(sizes)
    target = (outputs * plane, sizes[1], 1)
    blocks = []
    starts = (range(0, batch, images), range(0, height.out, rows), range(0, width.out, columns))
    tall, wide = square.made
    for image, first, left in product(*starts):
        count = min(images, batch - image)
        down, across = (
            (first, min(first + rows, height.out)),
            (left, min(left + columns, width.out)),
        )
        seen = _seen((height, width), phases, count, down, across, source)
        of_phases = np.arange(prod(phases))[:, None, None]
        of_images, of_rows = np.arange(count)[:, None], np.arange(down[1] - first)
        size, (of_image, of_row) = seen.layout.size // prod(phases), seen.steps
        heights = np.minimum(tall, sizes[0] - (first + of_rows) * tall)
        made = of_phases * prod(sizes) + of_images * target[0] + of_rows * tall * target[1]
        blocks.append(
            Block(
                seen.layout,
                image * source[0] + seen.source,
                image * target[0] + first * tall * target[1] + left * wide,
                (of_phases * size + of_images * of_image + of_rows * of_row).reshape(-1),
                seen.places,
                made.reshape(-1),
                np.tile(heights, count * prod(phases)),
                across[1] - left,
                min(sizes[1] - left * wide, (across[1] - left) * wide),
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
    phases, sizes = phases_of(window), sizes_of(window)
    # The outputs of each phase by themselves.
    y = np.empty((batch, outputs, *phases, *sizes), x.dtype)
    if y.size == 0:
        return _in_order(y, window)
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
            *(sums, next_sum, sizes[1], across, outputs, held, along),
            *(result[block.target :], results_of, block.outputs, block.heights, block.width),
        )

    run_blocks(work, planned.blocks)
    return _in_order(y, window)


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
    return run(x, transform_weight(w, groups, tile), window, groups, tile)


def prepare(w: Any, groups: int, tile: int) -> Callable[[Any, Window], Any]:
    """Return the convolution of an input by a window, with the weight transformed beforehand."""
    weight = transform_weight(w, groups, tile)
    return lambda x, window: run(x, weight, window, groups, tile)


def conv_transpose(y: Any, w: Any, window: Window, groups: int, tile: int) -> Any:
    """Return x (N, C, *sizes), with a stride of 1."""
    adjoint = tuple(adjoint_axis(axis) for axis in window)
    return run(y, transform_flipped(w, groups, tile), adjoint, groups, tile)
