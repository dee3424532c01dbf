"""Pools of arrays whose channels lie next to one another in memory, by compiled loops.

Such are views of images (height, width, channels), with the channels moved to the second place.
What comes out lies in memory as what came in.
"""

from __future__ import annotations

from math import inf, prod
from typing import Any

import numpy as np

from arrayconv._integers import Ints
from arrayconv._window import Windows, input_sizes, output_sizes
from arrayconv.backends.numpy import compiled_pooling as compiled
from arrayconv.backends.numpy.blocks import equal_parts
from arrayconv.backends.numpy.compiled_pooling import Geometry
from arrayconv.backends.numpy.compiler import loops
from arrayconv.backends.numpy.separable import CHUNK
from arrayconv.backends.numpy.threads import run_blocks
from arrayconv.primitives.pooling import divide

FEW = 12
"""Cells of a window up to which all of them are seen at once, and not row after row."""

LINE = 64
"""Bytes of channels that a thread should have by itself."""


def is_channels_last(x: Any) -> bool:
    """Whether the channels of a cell are next to one another in memory, and not its neighbours."""
    return bool(x.shape[1] > 1 and x.strides[1] == x.itemsize and not x.flags.c_contiguous)


OTHERWISE = "the channels of a cell are not next to one another in memory"


def unfit(x: Any, window: Windows, divisor: int = 1) -> str | None:
    """Return why a pool cannot be served."""
    return compiled.unfit(x, window) if is_channels_last(x) else OTHERWISE


def spread_unfit(y: Any, window: Windows, divisor: int = 1) -> str | None:
    """Return why the adjoint of a sum cannot be served."""
    return compiled.spread_unfit(y, window) if is_channels_last(y) else OTHERWISE


def grad_unfit(cotangent: Any, index: Any, window: Windows) -> str | None:
    """Return why the gradient of a maximum cannot be served."""
    return compiled.grad_unfit(cotangent, index, window) if is_channels_last(index) else OTHERWISE


def vector_of(x: Any) -> int:
    """Return how many numbers of an array a vector holds."""
    return int(loops("registers").VECTOR_BYTES // x.itemsize)


def flattened(x: Any) -> Any:
    """Return the numbers (N, *sizes, C) as they lie in memory; only rows that do not are copied."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)).reshape(-1)


def unflattened(flat: Any, batch: int, sizes: Ints, channels: int) -> Any:
    """Return an array (N, C, *sizes) of numbers (N, *sizes, C)."""
    return np.moveaxis(flat.reshape(batch, *sizes, channels), -1, 1)


class _Pool:
    """Results by rows, some at a time: they stay in the cache, and threads share them."""

    def __init__(self, x: Any, geometry: Geometry) -> None:
        self.cells, self.channels, self.geometry = flattened(x), x.shape[1], geometry
        self.rows = x.shape[0] * prod(geometry.outs[:2])
        self.lanes = vector_of(x)
        self.of_row = geometry.outs[2] * self.channels

    def run(self, loop: Any, results: list[Any], *more: Any, divisor: int = 1) -> None:
        """Run a loop for all rows; divide the first results while the cache holds them."""
        known = (self.geometry.shape, self.geometry.ranges, self.geometry.numbers, self.channels)
        cells, of_row = self.cells, self.of_row

        def some(part: tuple[int, int]) -> None:
            loop(cells, *results, *part, *known, *more)
            if divisor != 1:
                divide(results[0][part[0] * of_row : part[1] * of_row], divisor)

        bytes_moved = (len(cells) + len(results[0])) * cells.itemsize
        parts = equal_parts(self.rows, min(self.rows, -(-bytes_moved // CHUNK)))
        run_blocks(some, parts, least=2)


def _reduced(x: Any, geometry: Geometry, sizes: Ints, maximum: bool, divisor: int = 1) -> Any:
    """Return the maximum or the sum of what each window sees."""
    pool = _Pool(x, geometry)
    out = np.empty(pool.rows * pool.of_row, x.dtype)
    nothing = x.dtype.type(-inf if maximum else 0)
    columns = int((geometry.ranges[2, :, 1] - geometry.ranges[2, :, 0]).max())
    by_rows = geometry.rows > 1 and (pool.channels < pool.lanes or geometry.rows * columns > FEW)
    loop = loops("channel_loops").pool_channels(maximum, pool.lanes)
    pool.run(loop, [out], by_rows, nothing, divisor=divisor)
    return unflattened(out, x.shape[0], sizes, pool.channels)


def max_pool(x: Any, window: Windows) -> Any:
    """Return the maximum of what each window sees."""
    return _reduced(x, compiled.windows(window), output_sizes(window), True)


def sum_pool(x: Any, window: Windows, divisor: int = 1) -> Any:
    """Return the sum of what each window sees, over ``divisor``."""
    return _reduced(x, compiled.windows(window), output_sizes(window), False, divisor)


def spread(y: Any, window: Windows, divisor: int = 1) -> Any:
    """Return the sum of the windows that see each cell, over ``divisor``."""
    shares = y if divisor == 1 else divide(y.copy(order="K"), divisor)
    return _reduced(shares, compiled.sights(window), input_sizes(window), False)


def max_pool_indices(x: Any, window: Windows) -> tuple[Any, Any]:
    """Return the maxima and their places."""
    pool = _Pool(x, compiled.windows(window))
    out = np.empty(pool.rows * pool.of_row, x.dtype)
    indices = np.empty(len(out), np.int64)
    loop = loops("channel_loops").locate_channels(pool.lanes)
    pool.run(loop, [out, indices], x.dtype.type(-inf))
    shape = (x.shape[0], output_sizes(window), pool.channels)
    return unflattened(out, *shape), unflattened(indices, *shape)


def max_pool_grad(cotangent: Any, index: Any, window: Windows) -> Any:
    """Return the gradient: what each maximum is given, added in the order of the windows."""
    batch, channels = index.shape[:2]
    sizes, positions = input_sizes(window), prod(output_sizes(window))
    values, indices = (
        flattened(each).reshape(batch, positions, channels) for each in (cotangent, index)
    )
    cells = np.empty((batch, prod(sizes), channels), cotangent.dtype)
    scatter = loops("channel_loops").scatter_channels
    line = LINE // cotangent.itemsize
    blocks = [
        (*images, low, min(channels, low + line))
        for images in equal_parts(batch, batch)
        for low in range(0, channels, line)
    ]
    run_blocks(lambda block: scatter(values, indices, cells, *block), blocks, least=2)
    return unflattened(cells, batch, sizes, channels)
