"""Convolution by Winograd's minimal filtering: fewer multiplications for kernels of 2 to 5.

A tile of m x m outputs is a function of (m + r - 1) x (m + r - 1) cells, of a kernel of r x r. Both
are transformed so that the convolution becomes as many products, one for each point at which the
polynomials behind it are evaluated; each product sums over channels (and over the taps of a leading
dimension), so it is a matrix product. F(2x2, 3x3) has 2.25 and F(4x4, 3x3) 4 times fewer
multiplications, F(2x2, 5x5) 2.8 times. Along one dimension, F(2, 3) and F(4, 3), they are 1.5 and 2
times fewer; a plane is then one row.

A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", 2015 (arXiv:1509.09308),
after S. Winograd, "Arithmetic Complexity of Computations", 1980.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from arrayconv._integers import Ints
from arrayconv._options import current
from arrayconv._window import Axis, Window, adjoint_axis, kernel_sizes, output_sizes
from arrayconv.backends.numpy.blocked import flip
from arrayconv.backends.numpy.blocks import SMALLEST_BUDGET
from arrayconv.backends.numpy.costs import Shape
from arrayconv.backends.numpy.row_copies import run_of
from arrayconv.backends.numpy.threads import run_blocks
from arrayconv.backends.numpy.winograd_maps import (
    POINTS,
    Square,
    amplification,
    square,
    transforms,
)

AMPLIFIED, IN_PARTS = 2.01, 2.4
"""`amplification` up to which the error stays at im2col's level, and where few products are added
up at a time. F(2x2, 3x3) has 1.7, F(2x2, 2x2) 2. F(4, 3) with 2.2 has 2.5 times im2col's error if
a product sums up 300 channels, and 1.7 times in parts; F(4x4, 3x3) with 4.8 up to five times."""


def rows_of(count: int, length: int, dtype: np.dtype[Any]) -> Any:
    """Return an empty matrix whose rows do not all start in one set of the cache."""
    lane = 64 // dtype.itemsize
    return np.empty((count, (length // lane | 1) * lane + lane), dtype)[:, :length]


class Block(NamedTuple):
    """A range of images and of rows of tiles, and in a long row a range of those."""

    images: slice
    first: int
    """The first row of the output."""
    rows: int
    """Rows of tiles."""
    left: int
    """The first column of the output."""
    columns: int
    """Tiles in a row."""


class Plan(NamedTuple):
    """What a convolution of given shapes needs, worked out once."""

    tile: Square
    groups: int
    depth: Axis
    """The leading dimension, or one of a single cell; the height too where there is none."""
    height: Axis
    width: Axis
    blocks: tuple[Block, ...]


SINGLE = Axis(1, 1, 1, 1, 0, 0, 1)


def _slices(depth: Axis) -> int:
    """Return the cells of the leading dimension that its windows span."""
    return (depth.out - 1) * depth.stride + depth.kernel


@lru_cache(maxsize=512)
def plan(
    window: Window, batch: int, channels: int, outputs: int, groups: int, tile: Ints, limit: int
) -> Plan:
    """Return the plan by which no block takes more than ``limit`` numbers (one row at least)."""
    depth, height, width = (SINGLE,) * (3 - len(window)) + window
    tiles = square(kernel_sizes(window), tile)
    tall, wide = tiles.made
    across, down = -(-width.out // wide), -(-height.out // tall)
    seen, made = channels * _slices(depth), outputs * depth.out
    # Two arrays exist at a time: of what is seen, before and after its transform, or of products.
    per_tile = tiles.points * (seen + max(seen, made))
    columns = part_of(across, limit // per_tile) if tiles.seen[0] == 1 else across
    room = max(1, limit // (per_tile * columns))
    rows = part_of(down, room)
    images = max(1, min(batch, room // (down * -(-across // columns))))
    blocks = tuple(
        Block(
            slice(image, min(batch, image + images)),
            first * tall,
            min(rows, down - first),
            left * wide,
            min(columns, across - left),
        )
        for image in range(0, batch, images)
        for first in range(0, down, rows)
        for left in range(0, across, columns)
    )
    return Plan(tiles, groups, depth, height, width, blocks)


def part_of(count: int, most: int) -> int:
    """Return the size of equal parts, none of them larger than that, so that no rest is small."""
    some = max(1, min(count, most))
    return -(-count // -(-count // some))


def transform_weight(w: Any, groups: int, tile: Ints) -> Any:
    """Return the weight (points, groups, 1, O / groups, depth * C / groups) for `convolve`."""
    return _transformed(w, groups, transforms(square(w.shape[2:], tile), w.dtype).weight)


def transform_flipped(w: Any, groups: int, tile: Ints) -> Any:
    """Return the same of the weight by which the adjoint is a convolution, without a copy of it."""
    if w.ndim == 5:
        return transform_weight(flip(w, groups), groups, tile)
    to_points = transforms(square(w.shape[2:], tile), w.dtype).weight
    flipped = np.ascontiguousarray(to_points[:, ::-1])
    return _transformed(w, groups, flipped).swapaxes(3, 4)


def _transformed(w: Any, groups: int, to_points: Any) -> Any:
    outputs, per_group, *kernel = w.shape
    depth, taps = prod(kernel[:-2]), prod(kernel[-2:])
    flat = w.reshape(outputs, per_group, depth, taps)
    if depth > 1:
        flat = flat.swapaxes(1, 2)
    flat = flat.reshape(-1, taps)
    points = rows_of(len(to_points), len(flat), w.dtype)
    np.matmul(to_points, flat.T, out=points)
    return points.reshape(-1, groups, 1, outputs // groups, depth * per_group)


def cells_of_tiles(x: Any, plan: Plan, block: Block) -> Any:
    """Return the cells that a block's tiles see, (G, D, C / G, N, rows, columns, points)."""
    tile, depth, height, width = plan.tile, plan.depth, plan.height, plan.width
    channels, slices, (tall, wide) = x.shape[1] // plan.groups, _slices(depth), tile.seen
    rows, columns = block.rows, block.columns
    x = x.reshape(-1, plan.groups, channels, depth.size, height.size, width.size)
    source = x[block.images].transpose(1, 3, 2, 0, 4, 5)
    lead = (plan.groups, slices, channels, source.shape[3])
    down = (rows - 1) * tile.height.outputs + tall
    across = (columns - 1) * tile.width.outputs + wide
    slab: Any = np.zeros((*lead, down, across), x.dtype)
    moves = [
        _overlap(axis, first, length)
        for axis, first, length in zip(
            (depth, height, width),
            (0, block.first, block.left),
            (slices, down, across),
            strict=True,
        )
    ]
    (to, *to_plane), (of, *of_plane) = zip(*moves, strict=True)
    slab[:, to, :, :, *to_plane] = source[:, of, :, :, *of_plane]
    cells: Any = np.empty((*lead, rows, columns, tall, wide), x.dtype)
    run, (*steps, row, cell) = run_of(wide, x.dtype), slab.strides
    apart = (*steps, tile.height.outputs * row, tile.width.outputs * cell, row)
    cells.view(run)[..., 0] = np.ndarray(cells.shape[:-1], run, slab, 0, apart)
    return cells.reshape(*cells.shape[:-2], tall * wide)


def _overlap(axis: Axis, first: int, length: int) -> tuple[slice, slice]:
    """Return where a run of padded cells from ``first`` on holds the input, and which of it."""
    offset = first - axis.before
    start, stop = max(0, offset), max(0, min(axis.size, offset + length))
    start = min(start, stop)
    return slice(start - offset, stop - offset) if start < stop else slice(0, 0), slice(start, stop)


def convolve(x: Any, weight: Any, y: Any, plan: Plan) -> None:
    """Write the convolution of ``x`` with a transformed weight into ``y`` (N, O, *positions)."""
    tile, depth, groups = plan.tile, plan.depth, plan.groups
    maps = transforms(tile, x.dtype)
    batch, outputs = y.shape[:2]
    per_group = outputs // groups
    result = y.reshape(batch, groups, per_group, depth.out, plan.height.out, plan.width.out)

    def work(block: Block) -> None:
        cells = cells_of_tiles(x, plan, block)
        _, slices, channels, images, rows, columns, points = cells.shape
        run = images * rows * columns
        made = rows_of(points, channels * groups * slices * run, x.dtype)
        np.matmul(maps.cells, cells.reshape(-1, points).T, out=made)
        made = made.reshape(points, groups, slices, channels, run)
        del cells
        # The slices that an output sees, one after the other, are one run of channels.
        step, strides = depth.stride * made.strides[2], made.strides
        windows = as_strided(
            made,
            (points, groups, depth.out, depth.kernel * channels, run),
            (*strides[:2], step, *strides[3:]),
        )
        product = rows_of(points, outputs * depth.out * run, x.dtype)
        np.matmul(weight, windows, out=product.reshape(points, groups, depth.out, per_group, run))
        del made, windows
        tiles = np.matmul(product.T, maps.outputs.T)
        del product
        lead = (groups, depth.out, per_group, images, rows, columns)
        _scatter(tiles.reshape(*lead, *tile.made), result[block.images], block)

    run_blocks(work, plan.blocks, products=True)


def _scatter(tiles: Any, y: Any, block: Block) -> None:
    """Write tiles (G, D, O / G, N, rows, columns, *m) where they belong in y (N, G, ...)."""
    tall, tile = tiles.shape[-2:]
    y = y[..., block.left : block.left + block.columns * tile]
    width, first = y.shape[-1], block.first
    tiles = tiles.transpose(3, 0, 2, 1, 4, 5, 6, 7)
    whole, run = width // tile, run_of(tile, y.dtype)
    runs = tiles.view(run)[..., 0]
    for row in range(tall):
        target = y[..., first + row : first + tiles.shape[4] * tall : tall, :]
        rows = target.shape[-2]
        target[..., : whole * tile].view(run)[...] = runs[..., :rows, :whole, row]
        if whole * tile < width:
            rest = tiles[..., :rows, whole, row, : width - whole * tile]
            target[..., whole * tile :] = rest


def unfit(shape: Shape, tile: Ints) -> str | None:
    """Return why the kernel or the dtype is none that squares serve."""
    window = shape.window
    if shape.dtype != np.float32:
        return f"it is for float32, whose precision it was measured to keep; got {shape.dtype}"
    if len(window) > 3:
        return f"it has up to three spatial dimensions, got {len(window)}"
    if window[-1].kernel == 1:
        return "the last dimension has a kernel of 1"
    if any(axis.stride != 1 or axis.dilation != 1 for axis in window[-2:]):
        return "the last two dimensions need a stride and a dilation of 1"
    if any(line.cells >= len(POINTS) for line in square(kernel_sizes(window), tile)):
        sizes = " x ".join(f"{axis.kernel}" for axis in window[-2:])
        return f"a kernel of {sizes} is too large for tiles of {' x '.join(map(str, tile))}"
    if len(window) == 3 and window[0].dilation != 1:
        return "the first of three dimensions needs a dilation of 1"
    return None


def rounds(shape: Shape, tile: Ints, most: float = AMPLIFIED) -> str | None:
    """Return why tiles are less exact than im2col, if they are."""
    times = amplification(square(kernel_sizes(shape.window), tile))
    if times > most:
        return f"its products, and so their rounding, are {times:.2g} times its results"
    return None


def room(bytes_in_and_out: int, bytes_of_weight: int) -> int:
    """Return the numbers of float32 that a block may hold.

    With the transformed weight that is at most as much as the input and output; but where the
    weight is larger than those a quarter of it, since each block reads all of it.
    """
    limit = max(SMALLEST_BUDGET, bytes_in_and_out - bytes_of_weight)
    return max(min(limit, current().workspace_bytes), bytes_of_weight // 4) // 4


def run(x: Any, weight: Any, window: Window, groups: int, tile: Ints) -> Any:
    """Return y (N, O, *positions) by a transformed weight."""
    (batch, channels), outputs = x.shape[:2], groups * weight.shape[3]
    y = np.empty((batch, outputs, *output_sizes(window)), x.dtype)
    limit = room(x.nbytes + y.nbytes, weight.nbytes)
    convolve(x, weight, y, plan(window, batch, channels, outputs, groups, tile, limit))
    return y


def conv(x: Any, w: Any, window: Window, groups: int, tile: Ints) -> Any:
    """Return y (N, O, *positions)."""
    return run(x, transform_weight(w, groups, tile), window, groups, tile)


def prepare(w: Any, groups: int, tile: Ints) -> Callable[[Any, Window], Any]:
    """Return the convolution of an input by a window, with the weight transformed beforehand."""
    weight = transform_weight(w, groups, tile)
    return lambda x, window: run(x, weight, window, groups, tile)


def conv_transpose(y: Any, w: Any, window: Window, groups: int, tile: Ints) -> Any:
    """Return x (N, C, *sizes), with a stride of 1."""
    adjoint = tuple(adjoint_axis(axis) for axis in window)
    return run(y, transform_flipped(w, groups, tile), adjoint, groups, tile)
