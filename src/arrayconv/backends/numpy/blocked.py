"""Convolution and its two adjoints as products with columns, a block of columns at a time.

The matrix product is im2col's (K. Chellapilla, S. Puri, P. Simard, "High Performance
Convolutional Neural Networks for Document Processing", 2006); the columns are never whole.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._arrays import library_of
from arrayconv._integers import Ints
from arrayconv._options import current
from arrayconv._window import Window, adjoint_axis, input_sizes, kernel_sizes, output_sizes, reach
from arrayconv.backends.numpy.blocks import Block, budget, column_maker, cut, intersect
from arrayconv.backends.numpy.costs import ADDED, COLUMN, FLIPPED
from arrayconv.backends.numpy.matrix_products import matrix_product
from arrayconv.backends.numpy.orders import channels_first, turns_fast
from arrayconv.backends.numpy.threads import run_blocks


class Plan(NamedTuple):
    """What a convolution of given shapes needs, worked out once."""

    blocks: tuple[Block, ...]
    dtype: np.dtype[Any]
    """The dtype that products are summed in."""
    rows: int
    """Rows of a group's columns: its channels times the kernel's taps."""
    per_group: int
    """Output channels of a group."""
    positions: Ints


@lru_cache(maxsize=512)
def plan(
    window: Window,
    batch: int,
    channels: int,
    outputs: int,
    groups: int,
    dtype: np.dtype[Any],
    workspace_bytes: int,
    is_flat: bool = True,
) -> Plan:
    """Return the plan of a convolution from ``channels`` to ``outputs``, or of an adjoint.

    A block may take half of the bytes that the input, the output and the weight do, which each
    block reads whole. ``is_flat`` says that the input is contiguous.
    """
    wide = np.dtype(library_of("input", np.empty(0)).dtype(dtype).wide)
    taps, positions = prod(kernel_sizes(window)), output_sizes(window)
    cells = channels * prod(input_sizes(window)) + outputs * prod(positions)
    weights = outputs * (channels // groups) * taps
    limit = budget((batch * cells + weights) * wide.itemsize, workspace_bytes)
    # One image's results are written where they belong; cells that are all there are not copied.
    lays_out = _is_padded(window) or wide != dtype or not is_flat
    steps = prod(axis.stride for axis in window if axis.out > 1) if lays_out else 0
    apart = outputs if batch > 1 or wide != dtype else 0
    per_position = (channels * (taps + steps) + apart) * wide.itemsize
    blocks = cut(window, batch, channels, per_position, limit)
    rows = channels // groups * taps
    return Plan(blocks, wide, rows, outputs // groups, positions)


def _is_padded(window: Window) -> bool:
    """Whether some windows see cells that are not there."""
    return any(axis.before > 0 or reach(axis) - axis.before > axis.size for axis in window)


def _by_group(planes: Any, block: Block) -> Any:
    """Return a block (groups, channels, images * positions) of (N, groups, channels, positions)."""
    if block.images.stop - block.images.start == 1:
        return planes[block.images.start, :, :, block.flat]
    part = planes[block.images, :, :, block.flat].transpose(1, 2, 0, 3)
    return part.reshape(*part.shape[:2], part.shape[2] * part.shape[3])


def conv(x: Any, w: Any, window: Window, groups: int, bias: Any = None) -> Any:
    """Return y (N, O, *positions): the weights times each block of columns."""
    x = channels_first(x) if turns_fast(x) else x
    batch, channels = x.shape[:2]
    outputs = w.shape[0]
    workspace, is_flat = current().workspace_bytes, x.flags.c_contiguous
    planned = plan(window, batch, channels, outputs, groups, x.dtype, workspace, is_flat)
    blocks, dtype, rows, per_group, positions = planned
    weights = w.reshape(groups, per_group, rows).astype(dtype, copy=False)
    biases = None if bias is None else bias.reshape(groups, per_group, 1).astype(dtype)
    if len(blocks) == batch == 1:
        columns_of = column_maker(x, blocks, dtype)
        y = matrix_product(weights, columns_of(blocks[0]).reshape(groups, rows, -1))
        if biases is not None:
            y += biases
        return y.reshape(1, outputs, *positions).astype(x.dtype, copy=False)
    y = np.empty((batch, groups, per_group, prod(positions)), x.dtype)

    def work(block: Block, columns_of: Callable[[Block], Any]) -> None:
        columns = columns_of(block).reshape(groups, rows, -1)
        images = block.images.stop - block.images.start
        apart = images > 1 or dtype != y.dtype
        made = None if apart else y[block.images.start, :, :, block.flat]
        result = np.matmul(weights, columns, out=made)
        if biases is not None:
            result += biases
        if apart:
            result = result.reshape(groups, per_group, images, -1)
            y[block.images, :, :, block.flat] = result.transpose(2, 0, 1, 3)

    run_blocks(work, blocks, products=True, workspace=lambda: column_maker(x, blocks, dtype))
    return y.reshape(batch, outputs, *positions)


def flip(w: Any, groups: int) -> Any:
    """Return the weight (C, O / groups, *kernel) by which the adjoint is a convolution."""
    outputs, channels, *kernel = w.shape
    by_group = w.reshape(groups, outputs // groups, channels, *kernel).swapaxes(1, 2)
    flipped = by_group[(..., *(slice(None, None, -1) for _ in kernel))]
    # In order: products of arrays that are not are slow.
    return np.ascontiguousarray(flipped).reshape(groups * channels, outputs // groups, *kernel)


def slides(window: Window, seen: int, channels: int, weights: int, cells: int) -> bool:
    """Whether to run the adjoint as a convolution with the kernel flipped: stride 1 only.

    That copies columns of the ``cells`` of ``y``, and the flipped weights; to scatter adds columns
    of ``x``.
    """
    copied = cells * prod(kernel_sizes(window))
    added = copied * channels // max(1, seen)
    is_less = COLUMN * copied + FLIPPED * weights <= ADDED * added
    return is_less and all(axis.stride == 1 for axis in window)


def conv_transpose(y: Any, w: Any, window: Window, groups: int) -> Any:
    """Return x (N, C, *sizes): columns made by a product, added to the cells that they saw."""
    batch, outputs = y.shape[:2]
    channels, kernel = groups * w.shape[1], kernel_sizes(window)
    if slides(window, outputs, channels, w.size, y.size):
        return conv(y, flip(w, groups), tuple(adjoint_axis(axis) for axis in window), groups)
    workspace = current().workspace_bytes
    planned = plan(window, batch, channels, outputs, groups, y.dtype, workspace)
    blocks, dtype, rows, per_group, positions = planned
    weights = w.reshape(groups, per_group, rows).astype(dtype, copy=False).swapaxes(1, 2)
    planes = y.reshape(batch, groups, per_group, prod(positions))
    x = np.zeros((batch, channels, *input_sizes(window)), dtype)
    for block in blocks:
        part = _by_group(planes, block).astype(dtype, copy=False)
        columns = matrix_product(weights, part).reshape(block.columns)
        moves = [
            [intersect(axis, tap, where) for tap in range(axis.kernel)]
            for axis, where in zip(window, block.positions, strict=True)
        ]
        images = x[block.images].swapaxes(0, 1)
        for taps in product(*map(range, kernel)):
            pairs = [move[tap] for move, tap in zip(moves, taps, strict=True)]
            cells = (slice(None), slice(None), *(pair[0] for pair in pairs))
            images[cells] += columns[(slice(None), *taps, slice(None), *(p[1] for p in pairs))]
        # Before there are those of the next block.
        del columns
    return x.astype(y.dtype, copy=False)


def conv_weight(x: Any, y: Any, window: Window, groups: int) -> Any:
    """Return w (O, C / groups, *kernel): each block of ``y`` times its transposed columns."""
    x = channels_first(x) if turns_fast(x) else x
    batch, channels = x.shape[:2]
    outputs = y.shape[1]
    workspace, is_flat = current().workspace_bytes, x.flags.c_contiguous
    planned = plan(window, batch, channels, outputs, groups, x.dtype, workspace, is_flat)
    blocks, dtype, rows, per_group, positions = planned
    planes = y.reshape(batch, groups, per_group, prod(positions))
    columns_of = column_maker(x, blocks, dtype)
    total = None
    for block in blocks:
        columns = columns_of(block).reshape(groups, rows, -1)
        part = _by_group(planes, block).astype(dtype, copy=False)
        product = matrix_product(part, columns.swapaxes(1, 2))
        total = product if total is None else np.add(total, product, out=total)
    if total is None:
        total = np.zeros((groups, per_group, rows), dtype)
    return total.reshape(outputs, channels // groups, *kernel_sizes(window)).astype(
        x.dtype, copy=False
    )
