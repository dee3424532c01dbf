"""Estimates of the time that algorithms take: `rule` takes the one with the lowest.

An estimate counts what an algorithm does (multiply-adds in products, numbers copied or
transformed, calls) and multiplies by what each of them took on one core at which a product of
float32 matrices runs at 100 Gflop/s. Only ratios matter, so the rule holds for machines on which
products and copies are faster or slower together; the benchmark checks its choices.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._arrays import library_of
from arrayconv._options import current
from arrayconv._window import Window, adjoint_axis, kernel_sizes, output_sizes, span
from arrayconv.backends.numpy.blocks import budget
from arrayconv.backends.numpy.columns import is_apart
from arrayconv.backends.numpy.compiler import loops, missing
from arrayconv.backends.numpy.one_tap import no_product
from arrayconv.backends.numpy.ranges import whole_positions

MULTIPLY_ADD = 0.020
"""Nanoseconds a multiply-add of a large product takes."""
TRANSFORM = 4.8
"""Nanoseconds a number takes to be transformed to frequencies, or back."""
BY_FREQUENCY = 5.0
"""Nanoseconds to lay it out by frequency, so that channels are multiplied by matrices."""
FREQUENCY = (0.06, 0.5)
"""Nanoseconds a product of a channel's and a weight's frequencies takes, for each cell: with tiles
enough for matrices, and divided by their number where there are few."""
PRODUCT, SCALED = 800.0, 0.3
"""Nanoseconds that a product takes at least, and to multiply a number by one and to write it."""
TRANSPOSED = {64: 0.002, 32: 0.006, 16: 0.006}
"""Nanoseconds more that a multiply-add takes where the second factor is transposed, by the bytes of
a vector; with 16 it was not measured."""
COLUMN, COLUMN_APART, COLUMN_ROW = 0.5, 0.4, 3.0
"""Nanoseconds to lay out a number of im2col's columns, and where no two windows see the same; and
to begin a row of positions there."""
SCATTERED = 1.0
"""Nanoseconds to lay out one of the cells that a stride sees by turns."""
ADDED, ADDED_ROW, FLIPPED = 1.5, 16.0, 0.8
"""Nanoseconds to add a number of columns to the cell that it is for, and to begin a row of these;
and to write a number of the weight where it is flipped."""
FOLDED = {64: (0.66, 0.75), 32: (0.4, 0.0), 16: (0.4, 0.0)}
"""Nanoseconds to do so in compiled loops, and to write it before, by the bytes of a vector; and of
each cell that is added to. With 16 it was not measured."""
WEIGHT = 0.5
"""Nanoseconds to read a number of the weight for a product."""
FEW = 14
"""Outputs for which a product takes twice the time that it takes for very many."""
FEW_COLUMNS = 20
"""Columns for which it does."""
NARROW = 20
"""Terms for which it does; and outputs, where it is that of a gradient to the weight."""
CALLS = 60_000.0
"""Nanoseconds of Python and of small copies in an algorithm of many steps."""
CALLS_BESIDE = 24_000.0
"""The same of sums in registers beside a bare product, after other work has had the caches."""
SHIFT, SHIFTED_RUN = 0.14, 30.0
"""Nanoseconds to multiply a number by a weight and to add it in NumPy's loops, and to begin and end
a run of a plane."""
SHIFTED_CELL, SHIFTED_LAST = 20.0, 0.5
"""The latter where a run is the channels of one cell, and to turn over a number for that."""
ROW = 10.0
"""Nanoseconds that NumPy's loops take to begin and end a row that they copy."""
VECTOR, VECTOR_ROW, VECTOR_TERM = 40.0, 6.0, 0.07
"""Nanoseconds that a product of a vector and a matrix takes, of a row of it, and of a multiply-add.
"""
IN_REGISTERS = {64: 1.02, 32: 1.12, 16: 1.12}
"""How much longer than in a large product a multiply-add takes in compiled sums of many outputs, by
the bytes of a vector; with 16 it was not measured."""
PHASED = {64: (1.2, 0.9, 0.2, 3e4), 32: (1.0, 2.0, 1.0, 7500.0), 16: (1.0, 2.0, 1.0, 7500.0)}
"""Of sums where each phase takes some taps of each line, by the bytes of a vector: how many times
as long a multiply-add takes; nanoseconds to read a number of the weight; how many times as long as
in a copy a cell takes; and nanoseconds of all else."""
BY_CHANNELS = 0.06
"""Nanoseconds of a multiply-add where vectors hold channels."""
ALONG_CHANNELS, CACHED_ALONG = (0.09, 0.115), 1 << 20
"""The same in sums over positions, and in those of an array of more bytes than that."""
TURNED, CACHED = (0.15, 0.3), 2 << 20
"""Nanoseconds to turn over a number for that, and in an array of more bytes than that."""
CONVERTED = (2.4, 0.25)
"""Nanoseconds that NumPy takes to convert a number of float16, and of bfloat16."""
FEW_TERMS = 8
"""Multiply-adds in whose time compiled sums of few outputs begin and end."""


class Shape(NamedTuple):
    """What decides whether an algorithm is fit for a convolution, and how long it takes."""

    window: Window
    batch: int
    channels: int
    outputs: int
    groups: int
    dtype: Any

    @property
    def half(self) -> bool:
        """Whether sums are kept in a wider dtype."""
        return library_of("input", np.empty(0)).dtype(self.dtype).half

    @property
    def positions(self) -> int:
        """Output positions of the batch."""
        return self.batch * prod(output_sizes(self.window))

    @property
    def taps(self) -> int:
        """Taps of the kernel."""
        return prod(kernel_sizes(self.window))

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of the definition, padding counted."""
        return self.positions * self.taps * self.outputs * self.channels // self.groups


def forward(x: Any, w: Any, window: Window, groups: int) -> Shape:
    """Return the shape of a call of ``conv``."""
    return Shape(window, x.shape[0], x.shape[1], w.shape[0], groups, x.dtype)


def backward(y: Any, w: Any, window: Window, groups: int) -> Shape:
    """Return the shape of a call of ``conv_transpose``, from ``y`` to the cells that it saw.

    With a stride of 1 that is a convolution, by another window; else the window is the call's own.
    """
    if not strided(window):
        window = tuple(adjoint_axis(axis) for axis in window)
    return Shape(window, y.shape[0], y.shape[1], w.shape[1] * groups, groups, y.dtype)


def strided(window: Window) -> bool:
    """Whether any stride is not 1."""
    return any(axis.stride != 1 for axis in window)


def pointwise(shape: Shape) -> float:
    """Return the nanoseconds of a bare product."""
    return _products(shape) + _cells_seen(shape, shape.channels)


def pointwise_adjoint(shape: Shape) -> float:
    """Return the nanoseconds of one whose results go to the cells that were seen."""
    return _products(shape) + _cells_seen(shape, shape.outputs)


def pointwise_weight(shape: Shape) -> float:
    """Return the nanoseconds of the product of cells and outputs that is a gradient."""
    more = MULTIPLY_ADD * (NARROW - FEW) * shape.groups / shape.outputs
    return pointwise(shape) + shape.multiply_adds * more


def _products(shape: Shape) -> float:
    """Return the nanoseconds of products for each image and group."""
    if shape.channels == shape.groups:
        return CALLS / 15 + shape.positions * shape.outputs * SCALED
    # Few columns are slow too.
    few = MULTIPLY_ADD * FEW_COLUMNS * shape.batch / max(1, shape.positions)
    products = shape.batch * shape.groups * PRODUCT
    return CALLS / 15 + _product(shape) + shape.multiply_adds * few + products


def _cells_seen(shape: Shape, channels: int) -> float:
    """Return the nanoseconds of copying the cells that positions with a stride see."""
    return shape.positions * channels * COLUMN if strided(shape.window) else 0.0


def im2col(shape: Shape) -> float:
    """Return the nanoseconds of laying out columns and of their product."""
    columns = shape.positions * shape.taps * shape.channels
    weights = shape.outputs * shape.channels // shape.groups * shape.taps
    products = shape.batch * shape.groups
    if shape.outputs == shape.groups:
        # Products of a vector, which take no more than what is copied for them.
        each = COLUMN / 2 + ROW / max(1, shape.window[-1].out) + VECTOR_TERM
        return columns * each + products * PRODUCT
    number = COLUMN_APART if is_apart(shape.window) else COLUMN
    copied = columns * (number + COLUMN_ROW / max(1, shape.window[-1].out))
    # Each block reads all of the weight.
    cells = shape.batch * shape.channels * prod(axis.size for axis in shape.window)
    numbers = cells + shape.positions * shape.outputs + weights
    itemsize = int(np.dtype(shape.dtype).itemsize)
    blocks = -(-columns * itemsize // budget(numbers * itemsize, current().workspace_bytes))
    if shape.half:
        copied += numbers * converted_by_numpy(shape.dtype)
    return CALLS / 15 + _product(shape) + copied + blocks * weights * WEIGHT + products * PRODUCT


def converted_by_numpy(dtype: Any) -> float:
    """Return the nanoseconds that NumPy takes to make a number of 16 bits one of 32, or back."""
    return CONVERTED[dtype.kind != "f"]


def im2col_adjoint(shape: Shape) -> float:
    """Return the nanoseconds of columns added to cells, or of columns of the other array."""
    columns = shape.positions * shape.taps * shape.outputs
    weights = shape.outputs * shape.channels // shape.groups * shape.taps
    each = ADDED + ADDED_ROW / max(1, shape.window[-1].out)
    added = CALLS / 2 + _product(shape) + weights * WEIGHT + columns * each
    if strided(shape.window):
        return added
    return min(added, CALLS / 4 + im2col(shape) + weights * FLIPPED)


def numba_im2col_adjoint(shape: Shape) -> float:
    """Return the nanoseconds of columns of a product that compiled loops add to cells."""
    rows = shape.outputs * shape.taps
    columns = shape.positions * rows
    added, of_cell = FOLDED[vector_bytes()]
    # Of few channels a product is as fast as its columns are written.
    product = max(
        shape.multiply_adds * MULTIPLY_ADD * (1 + FEW * shape.groups / rows), columns * added
    )
    products = shape.batch * shape.groups
    weights = rows * shape.channels // shape.groups
    cells = shape.batch * shape.outputs * prod(axis.size for axis in shape.window)
    folded = columns * added + cells * of_cell
    return product + folded + weights * WEIGHT + products * PRODUCT + CALLS / 4


def _product(shape: Shape) -> float:
    """Return the nanoseconds of products, in which a number of columns serves all outputs.

    Of few outputs or few terms they take longer.
    """
    few = FEW / shape.outputs + NARROW / (shape.channels * shape.taps)
    return shape.multiply_adds * MULTIPLY_ADD * (1 + few * shape.groups)


def mec(shape: Shape) -> float:
    """Return the nanoseconds of laying out rows, and of a product for each row of the output."""
    height, width = shape.window
    laid = shape.batch * shape.channels * height.size * width.kernel * width.out
    products = shape.batch * shape.groups * height.out
    if shape.outputs == shape.groups:
        terms = height.kernel * width.kernel * shape.channels // shape.groups
        each = VECTOR + terms * (VECTOR_ROW + VECTOR_TERM * width.out)
        return CALLS / 4 + products * each + laid * COLUMN / 5
    return (
        CALLS / 4
        # Products of few columns are slow: by half where they are 30.
        + _product(shape) * (1 + (22 / width.out) ** 2)
        + laid * COLUMN
        # Many in one call.
        + products * PRODUCT / 3
    )


def _copied(shape: Shape) -> float:
    """Return the nanoseconds of laying planes out with their padding, and of cropping sums."""
    cells = shape.batch * shape.channels * prod(axis.size for axis in shape.window)
    return (cells + shape.positions * shape.outputs) * COLUMN


def shifts(shape: Shape) -> float:
    """Return the nanoseconds of adding runs of cells, one for each tap of each plane."""
    rows = [axis.out + axis.dilation * (axis.kernel - 1) // axis.stride for axis in shape.window]
    runs = shape.batch * shape.outputs * shape.taps
    # Cells between rows are summed up too.
    each = SHIFTED_RUN + SHIFT * shape.window[0].out * prod(rows[1:])
    sizes = (prod(axis.size for axis in shape.window[:-1]), prod(rows[:-1]))
    copied = _copied(shape) + shape.batch * shape.channels * sum(sizes) * ROW
    # For each phase of a stride sums are added to sums.
    return CALLS / 2 + (runs * each + copied) * (1.6 if strided(shape.window) else 1)


def channel_shifts(shape: Shape) -> float:
    """Return the nanoseconds of the same where runs are the channels of a cell."""
    each = SHIFT + SHIFTED_CELL / shape.channels
    return CALLS * 2 / 3 + shape.multiply_adds * each + turned_by_numpy(shape)


def turned_by_numpy(shape: Shape) -> float:
    """Return the nanoseconds of turning over input and output by NumPy's copies."""
    cells = shape.batch * shape.channels * prod(axis.size for axis in shape.window)
    return (cells + shape.positions * shape.outputs) * SHIFTED_LAST


def vector_bytes() -> int:
    """Return the bytes of this processor's vectors, or 32 without numba, which knows them."""
    return 32 if missing() else int(loops("registers").VECTOR_BYTES)


def numba(shape: Shape) -> float:
    """Return the nanoseconds of sums in registers, over runs of cells that are laid out."""
    # Where the outputs of a group are few, each vector of cells that is loaded serves few.
    each = MULTIPLY_ADD * (IN_REGISTERS[vector_bytes()] + shape.groups / shape.outputs)
    terms = float(shape.taps * shape.channels // shape.groups)
    terms += FEW_TERMS * min(1, 4 * shape.groups / shape.outputs)
    run, laid = _run(shape)
    calls = CALLS_BESIDE if no_product(shape.window) is None else CALLS / 8
    return float(calls + run * shape.outputs * terms * each + laid)


def _run(shape: Shape) -> tuple[int, float]:
    """Return how many numbers these vectors are, and the nanoseconds of laying cells out."""
    lanes, counts = 64 // np.dtype(shape.dtype).itemsize, output_sizes(shape.window)
    if no_product(shape.window) is None:
        return shape.batch * -(-prod(counts) // lanes) * lanes, _cells_seen(shape, shape.channels)
    rows = [axis.out + axis.dilation * (axis.kernel - 1) // axis.stride for axis in shape.window]
    # Cells between rows are summed up too, and so is the rest of a vector.
    runs = (
        prod(counts[:dim]) * -(-counts[dim] * prod(rows[dim + 1 :]) // lanes) * lanes
        for dim in range(max(1, len(rows) - 1))
    )
    return shape.batch * min(runs), _laid_out(shape) * (2 if strided(shape.window) else 1)


def channels_last(shape: Shape) -> float:
    """Return the nanoseconds of a depthwise convolution whose vectors hold channels."""
    return along_channels(shape) + _turned(shape)


def along_channels(shape: Shape) -> float:
    """Return the same where channels lie next to one another as it is."""
    each = BY_CHANNELS * _empty_lanes(shape)
    # At the borders of a row each position is summed by itself.
    end = shape.window[-1]
    borders = 1 - len(whole_positions(end)) / max(1, end.out)
    return CALLS / 4 + shape.multiply_adds * each * (1 + borders)


def _empty_lanes(shape: Shape) -> float:
    """Return how many times as long sums by channels take where these do not fill vectors."""
    lanes = vector_bytes() // int(np.dtype(shape.dtype).itemsize)
    return -(-shape.channels // lanes) * lanes / shape.channels


def _turned(shape: Shape) -> float:
    """Return the nanoseconds of turning over input and output."""
    cells = shape.batch * shape.channels * prod(axis.size for axis in shape.window)
    is_far = cells * np.dtype(shape.dtype).itemsize > CACHED
    return (cells + shape.positions * shape.outputs) * TURNED[is_far]


def _laid_out(shape: Shape) -> float:
    """Return the nanoseconds of laying planes out with their padding."""
    cells = shape.batch * shape.channels * prod(axis.size for axis in shape.window)
    # The phases of other strides are not copied by vectors.
    by_vectors = shape.window[-1].stride in (1, 2, 3, 4, 8)
    return cells * (COLUMN / 2 if by_vectors else SCATTERED)


def numba_adjoint(shape: Shape) -> float:
    """Return the same of an adjoint: for each phase of the stride a convolution of its taps."""
    each = MULTIPLY_ADD * (IN_REGISTERS[vector_bytes()] + shape.groups / shape.outputs)
    weights = shape.outputs * shape.channels // shape.groups * shape.taps
    of_product, of_weight, of_cell, calls = PHASED[vector_bytes()]
    if no_product(shape.window) is None:
        fewer = shape.outputs - shape.channels
        return numba(shape) + weights * of_weight + _cells_seen(shape, fewer)
    if not strided(shape.window):
        return numba(shape)
    products = shape.multiply_adds * each * of_product
    copied = (_laid_out(shape) + _copied(shape)) * of_cell
    return calls + products + weights * of_weight + copied


def fft(shape: Shape) -> float:
    """Return the nanoseconds of transforms of tiles."""
    # The cells of the tiles, which overlap by the kernel's span less one.
    lengths = [(axis.out, span(axis) - 1) for axis in shape.window]
    tiles = prod(-(-out // max(1, max(128, 4 * more + 4) - more)) for out, more in lengths)
    tile = prod(min(out + more, max(128, 4 * more + 4)) for out, more in lengths)
    planes = shape.batch * tiles * (shape.channels + shape.outputs)
    pairs = shape.outputs * shape.channels // shape.groups
    many, few = FREQUENCY
    products = pairs * tile * (shape.batch * tiles * many + few)
    each = TRANSFORM + (BY_FREQUENCY if shape.channels > shape.groups else 0)
    return CALLS + (planes + pairs) * tile * each + products


def of_weight(x: Any, y: Any, window: Window, groups: int) -> Shape:
    """Return the shape of the convolution that a ``conv_weight`` is a gradient of."""
    return Shape(window, x.shape[0], x.shape[1], y.shape[1], groups, x.dtype)


def im2col_weight(shape: Shape) -> float:
    """Return the nanoseconds of columns, and of their product with the output."""
    return im2col(shape) + shape.multiply_adds * TRANSPOSED[vector_bytes()]


def channels_last_weight(shape: Shape) -> float:
    """Return the nanoseconds of a depthwise one whose vectors hold channels."""
    cells = shape.batch * shape.channels * prod(axis.size for axis in shape.window)
    is_far = cells * np.dtype(shape.dtype).itemsize > CACHED_ALONG
    each = ALONG_CHANNELS[is_far] * _empty_lanes(shape)
    return CALLS / 4 + _turned(shape) + shape.multiply_adds * each
