"""Bytes that algorithms hold beyond input, weight and output at their peak, as `explain` shows.

Counted from the plans that the algorithms themselves work by, for as many threads as the options
allow. What is less than some tens of kilobytes is left out, as tables of places are; and so is the
copy of an input that does not lie in memory as (N, C, *sizes).
"""

from __future__ import annotations

from math import prod

import numpy as np

from arrayconv._arrays import library_of
from arrayconv._integers import Ints
from arrayconv._options import current
from arrayconv._window import adjoint_axis, input_sizes, kernel_sizes, output_sizes
from arrayconv.backends.numpy import (
    blocked,
    channel_shifts,
    compiled_im2col,
    convolution_cells,
    convolution_plans,
    fourier,
    mec,
    shifts,
    winograd,
    winograd_plans,
)
from arrayconv.backends.numpy.costs import Shape, strided
from arrayconv.backends.numpy.one_tap import no_product, seen_by
from arrayconv.backends.numpy.threads import at_once
from arrayconv.backends.numpy.winograd_maps import pieces
from arrayconv.backends.numpy.winograd_maps import square as square_of
from arrayconv.primitives.fourier import plan as tiles_of


def _itemsize(shape: Shape) -> int:
    return int(np.dtype(shape.dtype).itemsize)


def _wide(shape: Shape) -> int:
    """Return the bytes of a number of what sums are kept in."""
    return int(np.dtype(library_of("input", np.empty(0)).dtype(shape.dtype).wide).itemsize)


def _input_bytes(shape: Shape) -> int:
    return shape.batch * shape.channels * prod(input_sizes(shape.window)) * _itemsize(shape)


def _output_bytes(shape: Shape) -> int:
    return shape.positions * shape.outputs * _itemsize(shape)


def _weights(shape: Shape) -> int:
    return shape.outputs * shape.channels // shape.groups * shape.taps


def nothing(shape: Shape) -> int:
    """Return 0: cells are read where they are."""
    return 0


def pointwise(shape: Shape) -> int:
    """Return the bytes of the cells that a stride sees, which are copied."""
    return shape.positions * shape.channels * _itemsize(shape) if strided(shape.window) else 0


def pointwise_adjoint(shape: Shape) -> int:
    """Return the bytes of these cells' gradients, which go to where the cells are."""
    return shape.positions * shape.outputs * _itemsize(shape) if strided(shape.window) else 0


def im2col(shape: Shape) -> int:
    """Return the bytes of the columns of a block, and of the padded cells that they copy."""
    window, batch, channels, outputs, groups, dtype = shape
    workspace = current().workspace_bytes
    plan = blocked.plan(window, batch, channels, outputs, groups, dtype, workspace)
    most = 0
    for block in plan.blocks:
        images = block.images.stop - block.images.start
        numbers = prod(block.columns) + (prod(block.slab) if block.padded or shape.half else 0)
        # The product is an array of its own where it cannot be written out at once.
        made = images * outputs * (block.flat.stop - block.flat.start)
        numbers += made * ((images > 1) + shape.half)
        most = max(most, numbers)
    copied = _weights(shape) if shape.half else 0
    return (most * at_once(len(plan.blocks)) + copied) * _wide(shape)


def im2col_adjoint(shape: Shape) -> int:
    """Return the bytes of a product's columns, or, of a stride of 1, of columns to multiply."""
    window, batch, channels, outputs, groups, dtype = shape
    seen = batch * channels * prod(input_sizes(window))
    if not strided(window):
        if blocked.slides(window, channels, outputs, _weights(shape), seen):
            return im2col(shape) + _weights(shape) * _itemsize(shape)
        # A shape with a stride of 1 is that of a convolution: the call's own window is the other.
        window = tuple(adjoint_axis(axis) for axis in window)
    workspace = current().workspace_bytes
    plan = blocked.plan(window, batch, outputs, channels, groups, dtype, workspace)
    most = 0
    for block in plan.blocks:
        images = block.images.stop - block.images.start
        part = images * channels * (block.flat.stop - block.flat.start)
        most = max(most, prod(block.columns) + (part if len(plan.blocks) > 1 or shape.half else 0))
    if not shape.half:
        return most * _wide(shape)
    # The result is first a wide one; what is returned is made of it when all columns are gone.
    cells = batch * outputs * prod(input_sizes(window))
    summed = (most + _weights(shape) + cells) * _wide(shape)
    return summed - cells * _itemsize(shape)


def mec_rows(shape: Shape) -> int:
    """Return the bytes of the rows of a block, and of the weight in their order."""
    height, width = shape.window
    both = _input_bytes(shape) + _output_bytes(shape)
    blocks = mec.plan(shape.window, shape.batch, shape.channels, both, _itemsize(shape))
    rows = (max(block.rows for block in blocks) - 1) * height.stride + height.kernel
    laid = rows * shape.channels * width.kernel * width.out
    return (laid * at_once(len(blocks)) + _weights(shape)) * _itemsize(shape)


def shifted(shape: Shape) -> int:
    """Return the bytes of some planes, of their sums and of a term."""
    planned, itemsize = shifts.plan(shape.window), _wide(shape)
    planes = shifts.planes(planned, shape.groups, itemsize)
    sums = output_sizes(shape.window)[0] * prod(planned.rows[1:])
    sums *= 2 if len(planned.parts) > 1 else 1
    each = planes * (planned.size + sums) * itemsize
    copied = _weights(shape) * itemsize if shape.half else 0
    return each * at_once(shape.batch * -(-shape.groups // planes)) + copied


def channel_shifted(shape: Shape) -> int:
    """Return the bytes of a block's cells and of their sums, and of the weight in their order."""
    itemsize = _wide(shape)
    some = channel_shifts.blocks(shape.window, shape.batch, shape.channels, shape.outputs, itemsize)
    numbers = sum(channel_shifts.workspace(some, itemsize)) * at_once(len(some))
    return (numbers + _weights(shape)) * itemsize


def fft(shape: Shape) -> int:
    """Return the bytes of a block's transforms, of the weight and of tiles, before and after."""
    planned, itemsize = tiles_of(shape.window), _itemsize(shape)
    seen, made = shape.channels // shape.groups, shape.outputs // shape.groups
    groups, tiles = fourier.parts(planned.tile, seen, made, shape.groups, itemsize)
    tiles = min(tiles, shape.batch * len(planned.starts))
    cells = prod(planned.tile) * itemsize
    # Half of the frequencies, each of two numbers.
    points = prod(planned.tile[:-1]) * (planned.tile[-1] // 2 + 1) * 2 * itemsize
    weight = groups * seen * made * points
    in_tiles = tiles * groups * (2 * seen * points + made * (2 * points + cells))
    laid = groups * seen * made * cells
    # All axes but the last are transformed from one array to another.
    transformed = (weight if len(planned.tile) > 1 else 0) + laid
    return (weight + max(in_tiles, transformed)) * at_once(-(-shape.groups // groups))


def squares(shape: Shape, tile: Ints) -> int:
    """Return the bytes of the transformed weight, and of a block's points and products."""
    depth = shape.window[:-2]
    both = _input_bytes(shape) + _output_bytes(shape)
    kernel = kernel_sizes(shape.window)
    points = square_of(kernel, tile).points
    weight = points * _weights(shape) // prod(kernel[-2:]) * _itemsize(shape)
    planned = winograd.plan(
        *(shape.window, shape.batch, shape.channels, shape.outputs, shape.groups, tile),
        winograd.room(both, weight),
    )
    seen = shape.channels * prod((axis.out - 1) * axis.stride + axis.kernel for axis in depth)
    made = shape.outputs * prod(axis.out for axis in depth)
    tiles = max(each.rows * (each.images.stop - each.images.start) for each in planned.blocks)
    columns = max(each.columns for each in planned.blocks)
    block: int = tiles * columns * points * (seen + max(seen, made)) * _itemsize(shape)
    return weight + block * at_once(len(planned.blocks))


def turned(shape: Shape) -> int:
    """Return the bytes of input and weight, or then of the output, in the other order."""
    cells = shape.batch * shape.channels * prod(input_sizes(shape.window))
    before = cells + shape.channels * shape.taps
    return max(before, shape.positions * shape.outputs) * _itemsize(shape)


def compiled(shape: Shape) -> int:
    """Return the bytes of the cells that a block lays out, or that a stride sees."""
    seen = pointwise(shape) if no_product(shape.window) is None else 0
    return seen + _compiled(_of_seen(shape), is_adjoint=False)


def compiled_adjoint(shape: Shape) -> int:
    """Return the same of an adjoint, with the phases that it keeps and a weight turned over."""
    turns = convolution_cells.turns_weights(shape.window)
    weight = _weights(shape) * _itemsize(shape) if turns else 0
    if no_product(shape.window) is None:
        return weight + pointwise_adjoint(shape) + _compiled(_of_seen(shape), is_adjoint=False)
    return weight + _compiled(shape, is_adjoint=strided(shape.window))


def _of_seen(shape: Shape) -> Shape:
    """Return the shape of a convolution of the cells that it sees, where each is seen once."""
    if no_product(shape.window) is not None:
        return shape
    return shape._replace(window=seen_by(shape.window))


def folded(shape: Shape) -> int:
    """Return the bytes of the columns that are held for a product."""
    window, itemsize = shape.window, _itemsize(shape)
    each = shape.outputs // shape.groups
    some = compiled_im2col.planes_at_a_time(
        *(window, shape.batch, shape.outputs, shape.channels, shape.groups, itemsize)
    )
    blocks = shape.batch * shape.groups * -(-each // some)
    of_block = some * shape.taps * prod(output_sizes(window)) * itemsize
    return of_block * at_once(blocks)


def _compiled(shape: Shape, is_adjoint: bool) -> int:
    itemsize = _itemsize(shape)
    cells, blocks = convolution_plans.extent(
        *(shape.window, shape.batch, shape.channels, shape.outputs, shape.groups),
        *(itemsize, is_adjoint, *convolution_plans.limits()),
    )
    return cells * itemsize * at_once(blocks)


def compiled_squares(shape: Shape, tile: Ints) -> int:
    """Return the bytes of the transformed weight, and of a block's cells, points and sums."""
    kernel = kernel_sizes(shape.window)
    of_piece = square_of(kernel, tile)
    square, count = of_piece.points, prod(pieces(kernel, of_piece))
    planned = winograd_plans.plan_of(
        *(shape.window, shape.batch, shape.channels, shape.outputs, shape.groups, tile)
    )
    part = max(part.stop - part.start for part in planned.parts) * shape.groups
    of_output, apart = square * shape.channels * count // shape.groups, planned.transforms
    weights = of_output * (part if apart else shape.outputs)
    shared, most = apart and len(planned.blocks) == 1, 0
    for block in planned.blocks:
        points = square * block.runs.tiles
        cells, sums = shape.channels * block.layout.size, part * points
        if shared:
            sums = (sums + weights) * at_once(len(planned.parts))
        most = max(most, shape.channels * points + max(cells, sums))
    if not shared:
        jobs = at_once(len(planned.blocks))
        most = (most + apart * weights) * jobs + (not apart) * weights
    return most * _itemsize(shape)
