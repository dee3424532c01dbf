"""The gradient to a convolution's weight in the domain of `winograd`: products sum over tiles."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from arrayconv._integers import Ints
from arrayconv._window import Window
from arrayconv.backends.numpy.costs import Shape
from arrayconv.backends.numpy.row_copies import run_of
from arrayconv.backends.numpy.winograd import (
    Block,
    Plan,
    cells_of_tiles,
    plan,
    room,
    rows_of,
    unfit,
)
from arrayconv.backends.numpy.winograd_maps import Transforms, square, transforms


def weight_unfit(shape: Shape, tile: Ints) -> str | None:
    """Return why the gradient to a weight is none that squares serve."""
    if len(shape.window) == 3:
        return "it has one or two spatial dimensions, got 3"
    return unfit(shape, tile)


def _tiles(y: Any, plan: Plan, block: Block) -> Any:
    """Return a block's tiles of the output, (G, O / G, N, rows, columns, m * m)."""
    (tall, wide), height, width = plan.tile.made, plan.height.out, plan.width.out
    y = y.reshape(-1, plan.groups, y.shape[1] // plan.groups, height, width)
    down, across = block.rows * tall, block.columns * wide
    source = y[
        block.images, ..., block.first : block.first + down, block.left : block.left + across
    ]
    source = source.transpose(1, 2, 0, 3, 4)
    slab: Any = np.zeros((*source.shape[:3], down, across), y.dtype)
    slab[..., : source.shape[3], : source.shape[4]] = source
    tiles: Any = np.empty((*source.shape[:3], block.rows, block.columns, tall, wide), y.dtype)
    run = run_of(wide, y.dtype)
    for row in range(tall):
        tiles.view(run)[..., row, 0] = slab[..., row::tall, :].view(run)
    return tiles.reshape(*tiles.shape[:-2], tall * wide)


def from_points(sums: Any, maps: Transforms, kernel: Ints) -> Any:
    """Return the weight (O, C / groups, *kernel) of its points (points, G, O / G, C / G)."""
    points, groups, each, channels = sums.shape
    taps = np.matmul(sums.reshape(points, -1).T, maps.weight)
    return taps.reshape(groups * each, channels, *kernel)


def conv_weight(x: Any, y: Any, window: Window, groups: int, tile: Ints) -> Any:
    """Return w (O, C / groups, *kernel): sums of products of points over tiles, mapped back."""
    (batch, channels), outputs = x.shape[:2], y.shape[1]
    kernel = tuple(axis.kernel for axis in window)
    tiles_of = square(kernel, tile)
    maps, points = transforms(tiles_of, x.dtype), tiles_of.points
    sums: Any = np.zeros((points, groups, outputs // groups, channels // groups), x.dtype)
    limit = room(x.nbytes + y.nbytes, sums.nbytes)
    planned = plan(window, batch, channels, outputs, groups, tile, limit)

    def part(block: Block) -> Any:
        cells = cells_of_tiles(x, planned, block)
        seen = rows_of(points, cells.size // points, x.dtype)
        np.matmul(maps.cells, cells.reshape(-1, points).T, out=seen)
        del cells
        tiles = _tiles(y, planned, block)
        tiles = tiles.reshape(-1, prod(tiles_of.made))
        made = rows_of(points, len(tiles), x.dtype)
        np.matmul(maps.outputs.T, tiles.T, out=made)
        by_channel = seen.reshape(points, groups, channels // groups, -1).swapaxes(2, 3)
        return np.matmul(made.reshape(points, groups, outputs // groups, -1), by_channel)

    for block in planned.blocks:
        sums += part(block)
    return from_points(sums, maps, kernel)
