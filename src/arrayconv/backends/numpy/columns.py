"""unfold as strided copies, fold as strided additions, in chunks that the cache holds."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import numpy as np

from arrayconv._arrays import library_of
from arrayconv._options import current
from arrayconv._window import Window, input_sizes, kernel_sizes, output_sizes, tap_range
from arrayconv.backends.numpy.blocks import cut, seen


def unfold(x: Any, window: Window) -> Any:
    """Return the columns (N, C * taps, positions), copied once by overlapping strides."""
    batch, channels = x.shape[:2]
    kernel, positions = kernel_sizes(window), output_sizes(window)
    columns = np.empty((batch, channels, *kernel, *positions), x.dtype)
    by_channel = columns.transpose(1, *range(2, 2 + len(kernel)), 0, *range(-len(kernel), 0))
    everything = (slice(None),) * (1 + len(kernel))
    steps = prod(axis.stride for axis in window if axis.out > 1)
    per_position = channels * x.dtype.itemsize * steps
    for block in cut(window, batch, channels, per_position, current().workspace_bytes):
        by_channel[(*everything, block.images, *block.positions)] = seen(x, block, x.dtype)
    return columns.reshape(batch, channels * prod(kernel), prod(positions))


def fold(columns: Any, window: Window) -> Any:
    """Return the sum (N, C, *sizes) of the columns: one strided addition for each tap."""
    kernel, sizes = kernel_sizes(window), input_sizes(window)
    batch, channels = columns.shape[0], columns.shape[1] // prod(kernel)
    parts = columns.reshape(batch * channels, *kernel, *output_sizes(window))
    dtype = np.dtype(library_of("input", columns).dtype(columns.dtype).wide)
    x = np.empty((batch * channels, *sizes), columns.dtype)
    moves = []
    for taps in product(*map(range, kernel)):
        ranges = [tap_range(axis, tap) for axis, tap in zip(window, taps, strict=True)]
        cells = (slice(r.start, r.stop, a.stride) for a, r in zip(window, ranges, strict=True))
        positions = (slice(r.first, r.last) for r in ranges)
        moves.append(((slice(None), *cells), (slice(None), *taps, *positions)))
    planes = max(1, current().workspace_bytes // (4 * max(1, prod(sizes) * dtype.itemsize)))
    for start in range(0, batch * channels, planes):
        chunk = slice(start, start + planes)
        sums = np.zeros(x[chunk].shape, dtype)
        for to, source in moves:
            # On bools NumPy's addition is "or", which is what fold means there.
            sums[to] += parts[chunk][source]
        x[chunk] = sums
    return x.reshape(batch, channels, *sizes)
