"""Estimates of the time that Winograd's algorithms take: see `costs`."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from arrayconv._options import current
from arrayconv._window import Window, kernel_sizes
from arrayconv.backends.numpy.costs import (
    CALLS,
    FEW,
    MULTIPLY_ADD,
    TRANSPOSED,
    WEIGHT,
    Shape,
    vector_bytes,
)
from arrayconv.backends.numpy.winograd_cuts import FAR, WEIGHT_FAR, limit_of_gradient, way
from arrayconv.backends.numpy.winograd_maps import square as square_of

WEIGHT_POINT = 0.6
"""Nanoseconds to make a number of a transformed weight."""
WINOGRAD_POINT = (1.6, 0.035)
"""Nanoseconds to make a number of the points of a tile, or an output of them; and more
for each point of the tile, since the transforms are products."""
WINOGRAD_LINE = 1.8
"""The same for lines, which have few points."""
COMPILED_MORE = 1.1
"""What compiled loops take over the sum of their parts."""
COMPILED_CALLS = {64: 1.0, 32: 0.5, 16: 0.5}
"""What they take of `CALLS`, by the bytes of a vector: where it is wide, products are fast, and all
else is slow beside them. With 16 it was not measured."""
COMPILED_GRADIENT = (0.3, 0.5, 0.3, 0.03)
"""Nanoseconds of the gradient to a weight with compiled transforms: to lay out a cotangent's
number; for each of a weight's points to add a product to those of other blocks, to make taps of
them, and more for each tap."""
GRADIENT_POINT, GRADIENT_CELL = 0.5, {2: 1.0, 4: 2.0}
GRADIENT_VECTORS = {64: 0.65, 32: 1.0, 16: 1.0}
"""Nanoseconds to make each of a tile's points, and to lay out a cell for that; and what both take
with vectors of some bytes, where 16 was not measured."""


class _Tiles(NamedTuple):
    """How Winograd's tiles lie in the last two dimensions of a window."""

    points: int
    outputs: int
    down: int
    across: int


def _tiles(window: Window, tile: int) -> _Tiles:
    square = square_of(kernel_sizes(window), tile)
    outs = ((1, 1), *((axis.out, axis.dilation) for axis in window))[-2:]
    # Each phase of a dilation has rows of its own.
    down, across = (
        -(-out // each // made) for (out, each), made in zip(outs, square.made, strict=True)
    )
    return _Tiles(square.points, prod(square.made), down * outs[0][1] * outs[1][1], across)


def squares(shape: Shape, tile: int, prepared: bool = False) -> float:
    """Return the nanoseconds of squares of ``tile`` by ``tile`` outputs, or of lines."""
    leading = shape.window[:-2]
    points, outputs, down, across = _tiles(shape.window, tile)
    tiles = shape.batch * down * across
    depth = prod(axis.kernel for axis in leading)
    made = tiles * prod(axis.out for axis in leading)
    seen = tiles * prod((axis.out - 1) * axis.stride + axis.kernel for axis in leading)
    pairs = shape.outputs * shape.channels // shape.groups * depth
    each = WINOGRAD_POINT[0] + WINOGRAD_POINT[1] * points
    if outputs == tile:
        each = WINOGRAD_LINE
    multiply_add = MULTIPLY_ADD * (1 + FEW * shape.groups / shape.outputs)
    return (
        points * pairs * (made * multiply_add + WEIGHT + (0 if prepared else WEIGHT_POINT))
        + (seen * shape.channels * points + made * shape.outputs * outputs) * each
        + CALLS
    )


def compiled(shape: Shape, tile: int, prepared: bool = False) -> float:
    """Return the nanoseconds of the same with compiled transforms, in one and two dimensions."""
    vector, options = vector_bytes(), current()
    found = way(
        *(shape.window, shape.batch, shape.channels, shape.outputs, shape.groups, tile),
        *(vector // 4, options.workspace_bytes, 1, prepared),
    )
    return found.nanoseconds * COMPILED_MORE + CALLS * COMPILED_CALLS[vector]


def to_weight(shape: Shape, tile: int) -> float:
    """Return the nanoseconds of the gradient by squares."""
    points, outputs, down, across = _tiles(shape.window, tile)
    tiles = shape.batch * down * across
    pairs = points * shape.outputs * shape.channels // shape.groups
    # Each product sums over tiles only, which are few.
    product = (tiles + 40) * pairs * (MULTIPLY_ADD + TRANSPOSED)
    each = WINOGRAD_POINT[0] + WINOGRAD_POINT[1] * points
    if outputs == tile:
        each = WINOGRAD_LINE
    # The points of outputs are made of fewer numbers.
    transforms = tiles * points * each * (shape.channels + shape.outputs * 0.7)
    return product + transforms + pairs * WEIGHT_POINT + CALLS


def compiled_to_weight(shape: Shape, tile: int) -> float:
    """Return the nanoseconds of the same with compiled transforms, in one and two dimensions."""
    points, outputs, down, across = _tiles(shape.window, tile)
    tiles = shape.batch * down * across
    pairs = points * shape.outputs * shape.channels // shape.groups
    lay_out, add, make, of_tap = COMPILED_GRADIENT
    both = shape.channels + shape.outputs
    cells = shape.batch * shape.channels * prod(axis.size for axis in shape.window)
    made = tiles * outputs * shape.outputs
    room = limit_of_gradient(4 * (cells + made), pairs)
    blocks = -(-points * both * tiles // room)
    each = vector_bytes() // 4
    lanes = shape.batch * down * -(-across // each) * each
    multiply_add = MULTIPLY_ADD * (1 + FEW * shape.groups / shape.outputs)
    if 4 * pairs > FAR:
        make += WEIGHT_FAR
    return (
        pairs * (tiles * multiply_add + blocks * add + make + of_tap * shape.taps)
        + (lanes * points * both * GRADIENT_POINT + cells * GRADIENT_CELL[tile])
        * GRADIENT_VECTORS[vector_bytes()]
        + made * lay_out
    ) + (1 + blocks) * CALLS / 2
