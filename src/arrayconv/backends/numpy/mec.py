"""Convolution by rows laid out once: columns along one axis only, which row taps share.

The cells are laid out as (row, channel, tap of a row, position in a row). What all taps see from
one row of the output is then one contiguous matrix, and those of neighbouring rows overlap: a
kernel of kh x kw copies kw numbers for each cell, where columns would be kh * kw. The product of a
row has as many columns as the output has, so this is for wide images.

M. Cho, D. Brand, "MEC: Memory-efficient Convolution for Deep Neural Network", 2017
(arXiv:1706.06873), with channels first.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from arrayconv._options import current
from arrayconv._window import Window, tap_range
from arrayconv.backends.numpy.blocks import budget
from arrayconv.backends.numpy.costs import Shape
from arrayconv.backends.numpy.threads import run_blocks


class Block(NamedTuple):
    """A range of rows of one image's output."""

    image: int
    first: int
    rows: int


@lru_cache(maxsize=512)
def _blocks(
    window: Window, batch: int, channels: int, limit: int, itemsize: int
) -> tuple[Block, ...]:
    """Return blocks of at most ``limit`` bytes, or of one row each."""
    height, width = window
    per_row = channels * width.kernel * width.out * itemsize
    rows = (limit // per_row - height.kernel) // height.stride + 1
    rows = max(1, min(height.out, rows))
    rows = -(-height.out // -(-height.out // rows))
    return tuple(
        Block(image, first, min(rows, height.out - first))
        for image in range(batch)
        for first in range(0, height.out, rows)
    )


def plan(
    window: Window, batch: int, channels: int, bytes_in_and_out: int, itemsize: int
) -> tuple[Block, ...]:
    """Return the blocks that the options have room for."""
    limit = budget(bytes_in_and_out, current().workspace_bytes)
    return _blocks(window, batch, channels, limit, itemsize)


def unfit(shape: Shape) -> str | None:
    """Return why rows cannot be shared."""
    window = shape.window
    if len(window) != 2:
        return f"it has two spatial dimensions, got {len(window)}"
    if window[0].dilation != 1:
        return f"the rows of the kernel must be neighbours, got a dilation of {window[0].dilation}"
    if shape.half:
        return f"{shape.dtype} is summed in float32, which takes a copy"
    return None


def conv(x: Any, w: Any, window: Window, groups: int) -> Any:
    """Return y (N, O, *positions): a product for each row of the output."""
    batch, channels = x.shape[:2]
    outputs, per_group = w.shape[0], w.shape[1]
    height, width = window
    itemsize, rows_of_kernel = x.itemsize, height.kernel
    y = np.empty((batch, groups, outputs // groups, height.out, width.out), x.dtype)
    blocks = plan(window, batch, channels, x.nbytes + y.nbytes, itemsize)
    weight = w.reshape(groups, outputs // groups, per_group, rows_of_kernel, width.kernel)
    depth = rows_of_kernel * per_group * width.kernel
    weight = weight.swapaxes(2, 3).reshape(groups, 1, outputs // groups, depth)
    images = x.reshape(batch, groups, per_group, height.size, width.size)
    moves = [tap_range(width, tap) for tap in range(width.kernel)]
    most = (max((b.rows for b in blocks), default=1) - 1) * height.stride + rows_of_kernel

    def workspace() -> Any:
        return np.zeros((groups, most, per_group, width.kernel, width.out), x.dtype)

    def work(block: Block, laid: Any) -> None:
        first = block.first * height.stride - height.before
        stop = first + (block.rows - 1) * height.stride + rows_of_kernel
        low, high = max(0, first), max(0, min(height.size, stop))
        laid[:, : max(0, low - first)] = 0
        laid[:, max(0, high - first) : stop - first] = 0
        if low < high:
            source = images[block.image, :, :, low:high].swapaxes(1, 2)
            target = laid[:, low - first : high - first]
            for tap, move in enumerate(moves):
                cells = source[..., move.start : move.stop : width.stride]
                target[..., tap, move.first : move.last] = cells
        strides = laid.strides
        seen = as_strided(
            laid,
            (groups, block.rows, depth, width.out),
            (strides[0], strides[1] * height.stride, strides[3], strides[4]),
        )
        made = y[block.image, :, :, block.first : block.first + block.rows]
        np.matmul(weight, seen, out=made.swapaxes(1, 2))

    run_blocks(work, blocks, products=True, workspace=workspace)
    return y.reshape(batch, outputs, height.out, width.out)
