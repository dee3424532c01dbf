"""Cut the work of a window into blocks, and copy what a block of windows sees out of the input.

A block is a range of images and, in each spatial dimension, a range of output positions; its
positions are one run of the flattened output plane, so that a product can write there directly.
What a block sees is copied twice: once, padded, into a slab that the cache holds; and from there,
by overlapping strides, into columns.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._window import Axis, Window, kernel_sizes, output_sizes
from arrayconv.backends.numpy.row_copies import LONG, run_of

Slices = tuple[slice, ...]

SMALLEST_BUDGET = 256 << 10
"""Bytes a block may always use: below, the calls cost more than the memory is worth."""


class Block(NamedTuple):
    """One block of a window's work; every slice is ready to index with."""

    images: slice
    positions: Slices
    """Where the block lies in each spatial dimension of the output."""
    flat: slice
    """The same positions in the flattened output plane."""
    slab: tuple[int, ...]
    """Shape (channels, images, *cells) of the padded copy of what the block sees."""
    source: Slices
    """The input that the slab copies."""
    target: Slices
    """Where the slab holds it."""
    padded: bool
    """Whether the slab has cells outside of the input."""
    columns: tuple[int, ...]
    """Shape (channels, *kernel, images, *positions) of the columns."""
    strides: tuple[int, ...]
    """How the columns overlap in the slab, in elements."""
    offset: int
    """The first element that the block sees of a contiguous input, where it is not padded."""
    direct: tuple[int, ...]
    """How the columns overlap in a contiguous input, in elements."""


def budget(bytes_in_and_out: int, workspace_bytes: int) -> int:
    """Return the bytes one block may use: never more than half of the input and output."""
    return min(workspace_bytes, max(SMALLEST_BUDGET, bytes_in_and_out // 2))


def equal_parts(length: int, parts: int) -> list[tuple[int, int]]:
    """Return equal ranges of ``length``, at most ``parts``, so that none is a small rest."""
    each = -(-length // max(1, min(length, parts)))
    return [(start, min(length, start + each)) for start in range(0, length, each)]


@lru_cache(maxsize=512)
def cut(
    window: Window, batch: int, channels: int, bytes_per_position: int, limit: int
) -> tuple[Block, ...]:
    """Return the blocks, in order, whose positions take at most ``limit`` bytes (one at least)."""
    shape = (batch, *output_sizes(window))
    room = max(1, limit // max(1, bytes_per_position))
    extents = [1] * len(shape)
    for dim in reversed(range(len(shape))):
        extents[dim] = max(1, min(shape[dim], room))
        # Equal parts, so that no block is a small rest.
        extents[dim] = -(-shape[dim] // -(-shape[dim] // extents[dim])) if shape[dim] else 1
        room //= max(1, shape[dim])
        if extents[dim] < shape[dim]:
            break
    ranges = [
        [(start, min(start + extent, length)) for start in range(0, length, extent)]
        for length, extent in zip(shape, extents, strict=True)
    ]
    return tuple(_block(window, channels, images, where) for images, *where in product(*ranges))


def _block(
    window: Window, channels: int, images: tuple[int, int], where: list[tuple[int, int]]
) -> Block:
    count = images[1] - images[0]
    cells, sources, targets = [], [], []
    for axis, (start, stop) in zip(window, where, strict=True):
        first = start * axis.stride - axis.before
        length = (stop - 1 - start) * axis.stride + axis.dilation * (axis.kernel - 1) + 1
        low, high = max(0, first), max(0, min(axis.size, first + length))
        low = min(low, high)
        cells.append(length)
        sources.append(slice(low, high))
        targets.append(slice(low - first, high - first) if low < high else slice(0, 0))
    slab = (channels, count, *cells)
    lengths = tuple(stop - start for start, stop in where)
    # Only the first dimension that is cut has a start, so the flattened start is their sum.
    places = [prod(output_sizes(window)[dim + 1 :]) for dim in range(len(window))]
    flat = sum(start * place for (start, _), place in zip(where, places, strict=True))
    whole = _steps((0, channels, *(axis.size for axis in window)))
    return Block(
        slice(*images),
        tuple(slice(*each) for each in where),
        slice(flat, flat + prod(lengths)),
        slab,
        (slice(*images), slice(None), *sources),
        (slice(None), slice(None), *targets),
        any(target.stop - target.start < n for target, n in zip(targets, cells, strict=True)),
        (channels, *kernel_sizes(window), count, *lengths),
        _overlap(window, _steps((channels, count, *cells))),
        sum(at.start * step for at, step in zip(sources, whole[2:], strict=True))
        + images[0] * whole[0],
        _overlap(window, (whole[1], whole[0], *whole[2:])),
    )


def _steps(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the elements from one index to the next of each dimension of a contiguous array."""
    return tuple(prod(shape[dim + 1 :]) for dim in range(len(shape)))


def _overlap(window: Window, steps: tuple[int, ...]) -> tuple[int, ...]:
    """Return the steps of columns in an array whose steps (channel, image, *cells) are given."""
    channel, image, *cells = steps
    taps = (axis.dilation * step for axis, step in zip(window, cells, strict=True))
    positions = (axis.stride * step for axis, step in zip(window, cells, strict=True))
    return (channel, *taps, image, *positions)


def seen(x: Any, block: Block, dtype: np.dtype[Any]) -> Any:
    """Return what the block's windows see, as an overlapping view: of a copy, if it is padded.

    Its last dimension is of whole rows of positions where that is faster to copy.
    """
    cells, first, steps = x, block.offset, block.direct
    if block.padded or x.dtype != dtype or not x.flags.c_contiguous:
        cells = (np.zeros if block.padded else np.empty)(block.slab, dtype)
        cells[block.target] = x[block.source].swapaxes(0, 1)
        first, steps = 0, block.strides
    shape, count, itemsize = block.columns, block.columns[-1], dtype.itemsize
    # Rows that follow one another are one to NumPy.
    if steps[-1] == 1 and steps[-2] != count and count * itemsize <= LONG:
        shape, steps, dtype = shape[:-1], steps[:-1], run_of(count, dtype)
    return np.ndarray(
        shape, dtype, cells, first * itemsize, tuple(step * itemsize for step in steps)
    )


def column_maker(x: Any, blocks: tuple[Block, ...], dtype: np.dtype[Any]) -> Callable[[Block], Any]:
    """Return a function from a block to its columns, flat, which one buffer holds in turn."""
    if len(blocks) == 1:
        return lambda block: seen(x, block, dtype).copy().view(dtype)
    # The first block is the largest.
    buffer = np.empty(prod(blocks[0].columns) if blocks else 0, dtype)

    def columns(block: Block) -> Any:
        view, made = seen(x, block, dtype), buffer[: prod(block.columns)]
        np.copyto(made.view(view.dtype).reshape(view.shape), view)
        return made

    return columns


def intersect(axis: Axis, tap: int, positions: slice) -> tuple[slice, slice]:
    """Return the cells of the input that a tap sees from a range of positions, and from which."""
    offset = tap * axis.dilation - axis.before
    first = max(positions.start, -(offset // axis.stride))
    last = max(first, min(positions.stop, (axis.size - 1 - offset) // axis.stride + 1))
    start = first * axis.stride + offset
    stop = max(start, start + (last - first - 1) * axis.stride + 1)
    return slice(start, stop, axis.stride), slice(first - positions.start, last - positions.start)
