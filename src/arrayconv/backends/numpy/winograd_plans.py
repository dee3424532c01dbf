"""How the tiles of `compiled_winograd` lie: in blocks, in what a block sees, and in its outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._integers import Ints
from arrayconv._options import current
from arrayconv._parts import sliding_part
from arrayconv._window import Axis, Window, kernel_sizes, output_sizes
from arrayconv.backends.numpy import layouts, shifts
from arrayconv.backends.numpy.compiler import lanes_of
from arrayconv.backends.numpy.layouts import Layout
from arrayconv.backends.numpy.tables import Tables
from arrayconv.backends.numpy.winograd import SINGLE
from arrayconv.backends.numpy.winograd_cuts import (
    Cut,
    Runs,
    cut_of_gradient,
    phases_of,
    runs_of,
    step_of,
    tiles_of,
    way,
)
from arrayconv.backends.numpy.winograd_maps import Line, Square, pieces
from arrayconv.backends.numpy.winograd_maps import square as square_of

FLOAT = np.dtype(np.float32)


class Block(NamedTuple):
    """A range of images and of rows of tiles, and in a long row a range of those."""

    layout: Layout
    source: int
    """The first cell that it sees, in the first channel."""
    target: int
    """The first output."""
    starts: Any
    """Of runs of tiles that it sees, in a channel's cells."""
    places: Any
    """Of a tile's cells, from its start: (columns, rows)."""
    firsts: Any
    """The first tile of each row of them."""
    outputs: Any
    """Where these begin in the output."""
    heights: Any
    """How many rows of outputs each of them has: none where only later pieces see it."""
    runs: Runs
    beyond: int
    """From a tile of outputs to the one where the last piece of the kernel sees its cells: so many
    at the end have no outputs."""
    width: int
    """Outputs in a row."""


class Laid(NamedTuple):
    """Blocks as `winograd_blocks` takes them."""

    blocks: Any
    """Of each the cells of a channel; its source; where `tables` have its starts; its runs; where
    its places are; its target; how many rows it has, and where their first tiles, outputs and
    heights are; its width; where the lanes of vectors of its tiles are, as `sum_products` takes
    them; and its layout, of `Layout.placed`."""
    tables: Any


class Plan(NamedTuple):
    """What a convolution of given shapes needs, worked out once."""

    tile: Square
    blocks: tuple[Block, ...]
    laid: Callable[[], Laid]
    """Return the same for compiled code: who only asks for sizes has nothing compiled."""
    room: Ints
    """The most numbers that the points of what a block sees are, its cells, and its outputs' points
    at a time; each with those that vectors may see past the last one."""
    parts: tuple[slice, ...] = ()
    """Outputs of a group that are made at a time; of several groups all."""
    transforms: bool = False
    """Whether the weight of a part is transformed where it is used, in each block anew."""


def _laid(blocks: Sequence[Block], lanes: int) -> Laid:
    """Return blocks as compiled code takes them."""
    tables = Tables()
    rows = []
    for block in blocks:
        tiles = block.runs.number * block.runs.across - block.beyond
        firsts = np.arange(0, tiles, lanes)
        stores = np.stack([firsts, 0 * firsts, np.minimum(lanes, tiles - firsts)], axis=1)
        rows.append(
            (
                *(block.layout.size, block.source, tables.place(block.starts), *block.runs),
                *(tables.place(block.places), block.target, len(block.firsts)),
                *(tables.place(each) for each in (block.firsts, block.outputs, block.heights)),
                *(block.width, tables.place(stores), *block.layout.placed(tables, FLOAT.itemsize)),
            )
        )
    return Laid(np.array(rows, np.int64), tables.flat())


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


def _blocks(
    window: Window,
    square: Square,
    batch: int,
    channels: int,
    outputs: int,
    cut: Cut,
    packed: bool = False,
) -> tuple[Block, ...]:
    """Return the blocks of a window, in order."""
    whole = (SINGLE,) * (2 - len(window)) + window
    height, width = map(tiles_of, whole, square)
    more = [each - 1 for each in pieces(kernel_sizes(window), square)]
    seeing = tuple(
        axis._replace(out=axis.out + each) for axis, each in zip((height, width), more, strict=True)
    )
    phases, sizes = phases_of(window), sizes_of(window)
    source = (channels * whole[0].size * whole[1].size, whole[1].size, 1)
    plane = prod(phases) * prod(sizes)
    target = (outputs * plane, sizes[1], 1)
    blocks = []
    lengths = (batch, height.out, width.out)
    starts = (range(0, length, each) for length, each in zip(lengths, cut, strict=True))
    tall, wide = square.made
    for image, first, left in product(*starts):
        count = min(cut.images, batch - image)
        down, across = (
            (first, min(first + cut.rows, height.out)),
            (left, min(left + cut.columns, width.out)),
        )
        below, beside = down[1] + more[0], across[1] + more[1]
        seen = _seen(seeing, phases, count, (first, below), (left, beside), source)
        of_phases = np.arange(prod(phases))[:, None, None]
        of_images, of_rows = np.arange(count)[:, None], np.arange(below - first)
        size, (of_image, of_row) = seen.layout.size // prod(phases), seen.steps
        heights = np.minimum(tall, sizes[0] - (first + of_rows) * tall)
        heights[down[1] - first :] = 0
        made = of_phases * prod(sizes) + of_images * target[0] + of_rows * tall * target[1]
        rows = of_phases * size + of_images * of_image + of_rows * of_row
        seeing_tiles = Cut(count, below - first, beside - left)
        runs = runs_of(seeing_tiles, square, prod(phases), lanes_of(FLOAT), packed)
        every_run = np.arange(runs.number) * runs.across
        of_run = of_rows * runs.pitch if packed else 0 * of_rows[:1]
        blocks.append(
            Block(
                seen.layout,
                image * source[0] + seen.source,
                image * target[0] + first * tall * target[1] + left * wide,
                rows[:, :, 0].reshape(-1) if packed else rows.reshape(-1),
                seen.places,
                np.add.outer(every_run, of_run).reshape(-1),
                made.reshape(-1),
                np.tile(heights, count * prod(phases)),
                runs,
                more[0] * runs.pitch + more[1],
                min(sizes[1] - left * wide, (across[1] - left) * wide),
            )
        )
    return tuple(blocks)


def _plan(square: Square, blocks: tuple[Block, ...], channels: int, points: int, made: int) -> Plan:
    """Return the plan of blocks that see channels, with so many points a tile, and make some."""
    lanes = lanes_of(FLOAT)
    most = points * lanes
    tiles = max(block.runs.tiles for block in blocks)
    room = (
        points * step_of(channels * tiles, lanes) + most,
        max(channels * block.layout.size for block in blocks) + most,
        points * step_of(made * tiles, lanes) + most,
    )
    return Plan(square, blocks, cache(partial(_laid, blocks, lanes)), room)


@lru_cache(maxsize=256)
def plan(
    window: Window,
    batch: int,
    channels: int,
    outputs: int,
    at_once: int,
    tile: Ints,
    cut: Cut,
    packed: bool,
) -> Plan:
    """Return the plan of blocks, that have the points of ``at_once`` outputs at a time."""
    square = square_of(kernel_sizes(window), tile)
    blocks = _blocks(window, square, batch, channels, outputs, cut, packed)
    return _plan(square, blocks, channels, square.points, at_once)


@lru_cache(maxsize=256)
def plans_of_gradient(
    window: Window, batch: int, channels: int, outputs: int, tile: Ints, limit: int
) -> tuple[Plan, Plan]:
    """Return the plans by which the same tiles are seen in the input, and in a cotangent.

    There a tile is what it sees: its own outputs.
    """
    square = square_of(kernel_sizes(window), tile)
    cut = cut_of_gradient(window, square, batch, channels + outputs, limit)
    own = Square(*(Line(line.outputs, 1) for line in square))
    alone = tuple(
        Axis(axis.out, 1, 1, axis.dilation, before=0, after=0, out=axis.out) for axis in window
    )
    tall, wide = square.made
    # Both lie in the same way: of a cotangent, the tiles between two rows are of padding.
    blocks = _blocks(window, square, batch, channels, 0, cut, packed=True)
    of_outputs = tuple(
        block._replace(places=block.places[:wide, :tall].copy())
        for block in _blocks(alone, square, batch, outputs, 0, cut, packed=True)
    )
    return (
        _plan(square, blocks, channels, square.points, 0),
        _plan(own, of_outputs, outputs, square.points, 0),
    )


def plan_of(
    window: Window,
    batch: int,
    channels: int,
    outputs: int,
    groups: int,
    tile: Ints,
    prepared: bool = False,
) -> Plan:
    """Return the plan of a convolution of float32, for as many threads as the options allow."""
    found = way(
        *(window, batch, channels, outputs, groups, tile, lanes_of(FLOAT)),
        *(current().workspace_bytes, current().threads, prepared),
    )
    of_group, each = outputs // groups, found.part
    made = groups * each
    planned = plan(window, batch, channels, outputs, made, tile, found.cut, found.packed)
    parts = tuple(slice(n, min(of_group, n + each)) for n in range(0, of_group, each))
    return planned._replace(parts=parts, transforms=found.transforms)
