"""Depthwise convolution by shifts where channels lie next to one another in memory.

What a tap sees of a block of positions are cells whose channels are as many runs, whatever the
stride and dilation. `numpy.einsum` multiplies them by the tap's weights and adds them up in one
pass, a cell's channels at a time. Arrays that lie in the usual order are turned over into the
slabs that blocks need anyway, which the cache holds; and so is what comes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from arrayconv._arrays import library_of
from arrayconv._integers import Ints
from arrayconv._options import current
from arrayconv._window import Window, input_sizes, kernel_sizes, output_sizes
from arrayconv.backends.numpy.blocks import SMALLEST_BUDGET, Block, cut
from arrayconv.backends.numpy.costs import Shape
from arrayconv.backends.numpy.orders import LINE, is_channels_last, unflattened
from arrayconv.backends.numpy.threads import run_blocks

CHUNK = 1 << 20
"""Bytes of cells and sums that are worked on at a time, if the option allows: smaller blocks copy
more cells twice, and begin more loops."""


def unfit(shape: Shape) -> str | None:
    """Return why a convolution cannot be served."""
    if shape.channels != shape.groups:
        return f"each group has {shape.channels // shape.groups} channels, not 1"
    if shape.channels == 1:
        return "there is one channel"
    return None


def blocks(
    window: Window, batch: int, channels: int, outputs: int, itemsize: int
) -> tuple[Block, ...]:
    """Return the blocks of positions that are worked on at a time."""
    sizes, positions = prod(input_sizes(window)), prod(output_sizes(window))
    both = batch * (channels * sizes + outputs * positions) * itemsize
    limit = min(current().workspace_bytes, CHUNK, max(SMALLEST_BUDGET, both * 3 // 4))
    seen = prod(axis.stride for axis in window)
    return cut(window, batch, channels, apart(channels, itemsize) * (seen + 1) * itemsize, limit)


def apart(channels: int, itemsize: int) -> int:
    """Return the numbers from a cell to the next: a multiple of four lines would share its sets."""
    if channels * itemsize % (4 * LINE) == 0:
        return channels + LINE // itemsize
    return channels


def workspace(some: Sequence[Block], itemsize: int) -> tuple[int, int]:
    """Return the numbers that blocks need: for cells, and for sums at positions."""
    # The first block is the largest.
    channels, *cells = some[0].slab
    positions = some[0].columns[len(some[0].positions) + 1 :]
    each = apart(channels, itemsize)
    return prod(cells) * each, prod(positions) * each


def _of_channels(buffer: Any, sizes: Ints, channels: int) -> Any:
    """Return an array (*sizes, C) in a buffer."""
    each = apart(channels, buffer.itemsize)
    return buffer[: prod(sizes) * each].reshape(*sizes, each)[..., :channels]


def _last(x: Any) -> Any:
    """Return a view (N, *sizes, C) of an array (N, C, *sizes)."""
    return x.transpose(0, *range(2, x.ndim), 1)


def _windows(x: Any, block: Block, window: Window, buffer: Any) -> Any:
    """Return what a block's windows see, (N, *positions, *kernel, C), as an overlapping view."""
    cells = _last(x[block.source])
    if block.padded or x.dtype != buffer.dtype or x.strides[1] != x.itemsize:
        slab = _of_channels(buffer, block.slab[1:], block.slab[0])
        if block.padded:
            slab[...] = 0
        slab[(*block.target[1:], slice(None))] = cells
        cells = slab
    images, *steps, channel = cells.strides
    return as_strided(
        cells,
        (len(cells), *block.columns[len(window) + 2 :], *kernel_sizes(window), cells.shape[-1]),
        (
            images,
            *(axis.stride * step for axis, step in zip(window, steps, strict=True)),
            *(axis.dilation * step for axis, step in zip(window, steps, strict=True)),
            channel,
        ),
    )


def _labels(window: Window) -> tuple[list[int], list[int], list[int]]:
    """Return the labels of windows, of their taps and of positions, for `numpy.einsum`."""
    dims, images, channels = len(window), 0, 1
    positions, taps = list(range(2, 2 + dims)), list(range(2 + dims, 2 + 2 * dims))
    return (
        [images, *positions, *taps, channels],
        [*taps, channels],
        [images, *positions, channels],
    )


def conv(x: Any, w: Any, window: Window, groups: int) -> Any:
    """Return y (N, O, *positions), in the order in memory that ``x`` has."""
    (batch, channels), positions = x.shape[:2], output_sizes(window)
    outputs, multiple = w.shape[0], w.shape[0] // groups
    dtype = np.dtype(library_of("input", x).dtype(x.dtype).wide)
    factors = w.reshape(groups, multiple, -1).transpose(1, 2, 0).astype(dtype, order="C")
    factors = factors.reshape(multiple, *w.shape[2:], groups)
    shape = (batch, outputs, *positions)
    y = np.empty(shape, x.dtype)
    if is_channels_last(x):
        y = unflattened(y.reshape(-1), batch, positions, outputs)
    seen, taps, made = _labels(window)
    some = blocks(window, batch, channels, outputs, dtype.itemsize)

    def work(block: Block, buffers: tuple[Any, Any]) -> None:
        windows = _windows(x, block, window, buffers[0])
        result = _last(y[(block.images, slice(None), *block.positions)])
        sums = _of_channels(buffers[1], result.shape[:-1], channels)
        for number in range(multiple):
            np.einsum(windows, seen, factors[number], taps, made, out=sums)
            result[..., number::multiple] = sums

    def buffers() -> tuple[Any, ...]:
        return tuple(np.empty(numbers, dtype) for numbers in workspace(some, dtype.itemsize))

    if some:
        run_blocks(work, some, workspace=buffers)
    return y


def conv_weight(x: Any, y: Any, window: Window, groups: int) -> Any:
    """Return w (O, 1, *kernel): for each tap the sum of its cells times the output's."""
    (batch, channels), kernel = x.shape[:2], kernel_sizes(window)
    multiple = y.shape[1] // groups
    dtype = np.dtype(library_of("input", x).dtype(x.dtype).wide)
    total: Any = np.zeros((multiple, *kernel, channels), dtype)
    seen, taps, made = _labels(window)
    some = blocks(window, batch, channels, y.shape[1], dtype.itemsize)
    if some:
        buffers = [np.empty(numbers, dtype) for numbers in workspace(some, dtype.itemsize)]
    for block in some:
        windows = _windows(x, block, window, buffers[0])
        given = _last(y[(block.images, slice(None), *block.positions)])
        for number in range(multiple):
            factors = _of_channels(buffers[1], given.shape[:-1], channels)
            factors[...] = given[..., number::multiple]
            total[number] += np.einsum(windows, seen, factors, made, taps)
    w = total.reshape(multiple, -1, channels).transpose(2, 0, 1).astype(x.dtype, order="C")
    return w.reshape(channels * multiple, 1, *kernel)
