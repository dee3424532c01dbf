"""Convolution and its two adjoints as products with columns, a block of columns at a time.

The matrix product is im2col's (K. Chellapilla, S. Puri, P. Simard, "High Performance
Convolutional Neural Networks for Document Processing", 2006); the columns are never whole.
"""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import numpy as np

from arrayconv._arrays import library_of
from arrayconv._window import Window, adjoint_axis, input_sizes, kernel_sizes, output_sizes
from arrayconv.backends.numpy.blocks import Block, budget, column_maker, cut, intersect


def _wide(array: Any) -> np.dtype[Any]:
    """Return the dtype that products of an array are summed in."""
    return np.dtype(library_of("input", array).dtype(array.dtype).wide)


def _is_pointwise(window: Window) -> bool:
    """Whether every column is just a cell: a kernel of 1, no stride, no padding."""
    return all(axis.kernel == axis.stride == 1 and axis.size == axis.out and not axis.before
               for axis in window)


def _blocks(x: Any, channels: int, outputs: int, window: Window, itemsize: int) -> tuple[Block, ...]:
    """Return the blocks of a convolution from ``channels`` to ``outputs`` over ``x``'s images."""
    batch = x.shape[0]
    cells = channels * prod(input_sizes(window)) + outputs * prod(output_sizes(window))
    limit = budget(batch * cells * itemsize)
    per_position = (channels * prod(kernel_sizes(window)) + outputs) * itemsize
    return cut(window, batch, channels, per_position, limit)


def _by_group(planes: Any, block: Block) -> Any:
    """Return the block's part (groups, channels, images * positions) of (N, groups, channels, P)."""
    if block.images.stop - block.images.start == 1:
        return planes[block.images.start, :, :, block.flat]
    part = planes[block.images, :, :, block.flat].transpose(1, 2, 0, 3)
    return part.reshape(*part.shape[:2], part.shape[2] * part.shape[3])


def conv(x: Any, w: Any, window: Window, groups: int) -> Any:
    """Return y (N, O, *positions): the weights times each block of columns."""
    batch, channels = x.shape[:2]
    outputs, dtype = w.shape[0], _wide(x)
    per_group = outputs // groups
    weights = w.reshape(groups, per_group, -1 if w.size else 0).astype(dtype, copy=False)
    positions = output_sizes(window)
    if dtype == x.dtype and _is_pointwise(window):
        cells = x.reshape(batch, groups, channels // groups, prod(positions))
        return np.matmul(weights, cells).reshape(batch, outputs, *positions)
    y = np.empty((batch, groups, per_group, prod(positions)), x.dtype)
    blocks = _blocks(x, channels, outputs, window, dtype.itemsize)
    columns_of = column_maker(x, blocks, dtype)
    rows = weights.shape[2]
    for block in blocks:
        columns = columns_of(block).reshape(groups, rows, -1)
        images = block.images.stop - block.images.start
        if images == 1 and dtype == y.dtype:
            np.matmul(weights, columns, out=y[block.images.start, :, :, block.flat])
        else:
            result = np.matmul(weights, columns).reshape(groups, per_group, images, -1)
            y[block.images, :, :, block.flat] = result.transpose(2, 0, 1, 3)
    return y.reshape(batch, outputs, *positions)


def conv_transpose(y: Any, w: Any, window: Window, groups: int) -> Any:
    """Return x (N, C, *sizes): columns made by a product, added to the cells that they saw."""
    batch, outputs = y.shape[:2]
    kernel, sizes = kernel_sizes(window), input_sizes(window)
    by_group = w.reshape(groups, outputs // groups, *w.shape[1:]).swapaxes(1, 2)
    if all(axis.stride == 1 for axis in window):
        # The adjoint of a stride-1 convolution is a convolution with the kernel flipped.
        flipped = by_group[(..., *(slice(None, None, -1) for _ in kernel))]
        weights = flipped.reshape(groups * w.shape[1], outputs // groups, *kernel)
        return conv(y, weights, tuple(adjoint_axis(axis) for axis in window), groups)
    dtype, channels = _wide(y), groups * w.shape[1]
    rows = w.shape[1] * prod(kernel)
    weights = np.moveaxis(by_group, 2, -1).reshape(groups, rows, outputs // groups)
    weights = weights.astype(dtype, copy=False)
    planes = y.reshape(batch, groups, outputs // groups, prod(output_sizes(window)))
    x = np.zeros((batch, channels, *sizes), dtype)
    for block in _blocks(y, channels, outputs, window, dtype.itemsize):
        part = _by_group(planes, block).astype(dtype, copy=False)
        columns = np.matmul(weights, part).reshape(block.columns)
        moves = [
            [intersect(axis, tap, positions) for tap in range(axis.kernel)]
            for axis, positions in zip(window, block.positions, strict=True)
        ]
        images = x[block.images].swapaxes(0, 1)
        for taps in product(*map(range, kernel)):
            pairs = [move[tap] for move, tap in zip(moves, taps, strict=True)]
            cells = (slice(None), slice(None), *(pair[0] for pair in pairs))
            images[cells] += columns[(slice(None), *taps, slice(None), *(p[1] for p in pairs))]
    return x.astype(y.dtype, copy=False)


def conv_weight(x: Any, y: Any, window: Window, groups: int) -> Any:
    """Return w (O, C / groups, *kernel): each block of ``y`` times its transposed columns."""
    batch, channels = x.shape[:2]
    outputs, dtype = y.shape[1], _wide(x)
    kernel, per_group = kernel_sizes(window), outputs // groups
    rows = channels // groups * prod(kernel)
    planes = y.reshape(batch, groups, per_group, prod(output_sizes(window)))
    blocks = _blocks(x, channels, outputs, window, dtype.itemsize)
    columns_of = column_maker(x, blocks, dtype)
    total = np.zeros((groups, per_group, rows), dtype)
    for block in blocks:
        columns = columns_of(block).reshape(groups, rows, -1)
        part = _by_group(planes, block).astype(dtype, copy=False)
        total += np.matmul(part, columns.swapaxes(1, 2))
    return total.reshape(outputs, channels // groups, *kernel).astype(x.dtype, copy=False)
