"""Estimates of the time that Winograd's algorithms take: see `costs`."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from arrayconv._integers import Ints
from arrayconv._options import current
from arrayconv._window import Window, input_sizes, kernel_sizes, output_sizes
from arrayconv.backends.numpy.costs import (
    CALLS,
    FEW,
    FLIPPED,
    IN_REGISTERS,
    MULTIPLY_ADD,
    TRANSPOSED,
    WEIGHT,
    Shape,
    vector_bytes,
)
from arrayconv.backends.numpy.winograd_cuts import limit_of_gradient, packed_runs, way
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
COMPILED_GRADIENT = {64: (0.15, 0.5, 0.55), 32: (0.05, 0.5, 0.55), 16: (0.05, 0.5, 0.55)}
"""Nanoseconds of the gradient to a weight with compiled transforms, by the bytes of a vector: for
each of a weight's points to keep a sum of a block, and to make taps of it; and to make each of a
tile's points. With 16 it was not measured."""
GRADIENT_CELL = {64: {2: 0.75, 4: 1.2}, 32: {2: 0.55, 4: 0.9}, 16: {2: 0.55, 4: 0.9}}
"""To lay out a cell, by the outputs of a tile's side."""


class _Tiles(NamedTuple):
    """How Winograd's tiles lie in the last two dimensions of a window."""

    points: int
    outputs: int
    down: int
    across: int


def _tiles(window: Window, tile: Ints) -> _Tiles:
    square = square_of(kernel_sizes(window), tile)
    outs = ((1, 1), *((axis.out, axis.dilation) for axis in window))[-2:]
    # Each phase of a dilation has rows of its own.
    down, across = (
        -(-out // each // made) for (out, each), made in zip(outs, square.made, strict=True)
    )
    return _Tiles(square.points, prod(square.made), down * outs[0][1] * outs[1][1], across)


def squares(shape: Shape, tile: Ints, prepared: bool = False) -> float:
    """Return the nanoseconds of tiles of so many outputs in each dimension, or of lines."""
    leading = shape.window[:-2]
    points, outputs, down, across = _tiles(shape.window, tile)
    tiles = shape.batch * down * across
    depth = prod(axis.kernel for axis in leading)
    made = tiles * prod(axis.out for axis in leading)
    seen = tiles * prod((axis.out - 1) * axis.stride + axis.kernel for axis in leading)
    pairs = shape.outputs * shape.channels // shape.groups * depth
    each = WINOGRAD_POINT[0] + WINOGRAD_POINT[1] * points
    if outputs == tile[1]:
        each = WINOGRAD_LINE
    multiply_add = MULTIPLY_ADD * (1 + FEW * shape.groups / shape.outputs)
    return (
        points * pairs * (made * multiply_add + WEIGHT + (0 if prepared else WEIGHT_POINT))
        + (seen * shape.channels * points + made * shape.outputs * outputs) * each
        + CALLS
    )


def compiled(shape: Shape, tile: Ints, prepared: bool = False) -> float:
    """Return the nanoseconds of the same with compiled transforms, in one and two dimensions."""
    vector, options = vector_bytes(), current()
    found = way(
        *(shape.window, shape.batch, shape.channels, shape.outputs, shape.groups, tile),
        *(vector // 4, options.workspace_bytes, 1, prepared),
    )
    return found.nanoseconds * COMPILED_MORE + CALLS * COMPILED_CALLS[vector]


def of_pieces(shape: Shape, tile: Ints) -> float:
    """Return the nanoseconds of an adjoint by pieces, for which the weight is flipped first."""
    weights = shape.outputs * shape.channels // shape.groups * shape.taps
    return compiled(shape, tile) + weights * FLIPPED


def to_weight(shape: Shape, tile: Ints) -> float:
    """Return the nanoseconds of the gradient by squares."""
    points, outputs, down, across = _tiles(shape.window, tile)
    tiles = shape.batch * down * across
    pairs = points * shape.outputs * shape.channels // shape.groups
    # Each product sums over tiles only, which are few.
    product = (tiles + 40) * pairs * (MULTIPLY_ADD + TRANSPOSED[vector_bytes()])
    each = WINOGRAD_POINT[0] + WINOGRAD_POINT[1] * points
    if outputs == tile[1]:
        each = WINOGRAD_LINE
    # The points of outputs are made of fewer numbers.
    transforms = tiles * points * each * (shape.channels + shape.outputs * 0.7)
    return product + transforms + pairs * WEIGHT_POINT + CALLS


def compiled_to_weight(shape: Shape, tile: Ints) -> float:
    """Return the nanoseconds of the same with compiled transforms, in one and two dimensions."""
    vector = vector_bytes()
    add, make, point = COMPILED_GRADIENT[vector]
    square, lanes = square_of(kernel_sizes(shape.window), tile), vector // 4
    runs = packed_runs(shape.window, square, shape.batch, lanes)
    tiles, written = runs.number * runs.across, runs.number * -(-runs.across // lanes) * lanes
    both, seen = shape.channels + shape.outputs, shape.channels // shape.groups
    pairs = square.points * shape.outputs * seen
    # Sums are of whole vectors of channels.
    summed = square.points * shape.outputs * -(-seen // lanes) * lanes
    outs, sizes = (prod(each(shape.window)) for each in (output_sizes, input_sizes))
    laid = shape.batch * (shape.channels * sizes + shape.outputs * outs)
    held = (square.points + prod(square.made)) * both * tiles
    blocks = -(-held // limit_of_gradient(4 * laid, pairs))
    return (
        summed * (tiles * MULTIPLY_ADD * IN_REGISTERS[vector] + blocks * add)
        + pairs * make
        + written * square.points * both * point
        + laid * GRADIENT_CELL[vector][tile[1]]
        + CALLS / 2
    )
