"""Depthwise convolution where channels lie next to one another in memory, by compiled loops.

A vector holds channels: a window needs no cells beside those that it sees, whatever its stride and
dilation, so nothing is laid out. What comes out lies in memory as what came in.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._window import (
    Axis,
    Window,
    adjoint_axis,
    input_sizes,
    kernel_sizes,
    output_sizes,
)
from arrayconv.backends.numpy import costs
from arrayconv.backends.numpy.blocked import flip
from arrayconv.backends.numpy.blocks import equal_parts
from arrayconv.backends.numpy.channels_last import OTHERWISE, vector_of
from arrayconv.backends.numpy.compiler import loops, missing
from arrayconv.backends.numpy.orders import flattened, is_channels_last, unflattened
from arrayconv.backends.numpy.ranges import cell_ranges, whole_positions
from arrayconv.backends.numpy.separable import CHUNK
from arrayconv.backends.numpy.threads import run_blocks


class Plan(NamedTuple):
    """Where windows lie, in cells and in taps of one channel."""

    rows: Any
    """For each row of results the rows of cells that it sees, and those of the kernel (n, 2)."""
    ends: Any
    """Where those of each row of results begin, and where the last ones end."""
    columns: Any
    """For each position of a row its first cell and tap along the row, and how many it sees."""
    numbers: Any
    """Cells of an image; dilation, stride, first and last position whole of the last axis."""


def _seen(axis: Axis) -> list[list[tuple[int, int]]]:
    """Return, for each position, the cells that it sees, and by which tap."""
    found = []
    for position, (low, high) in enumerate(cell_ranges(axis)):
        start = position * axis.stride - axis.before
        cells = range(low, high, axis.dilation)
        found.append([(cell, (cell - start) // axis.dilation) for cell in cells])
    return found


@lru_cache(maxsize=256)
def plan(window: Window) -> Plan:
    """Return the plan of a convolution in one, two or three dimensions."""
    sizes, kernel = (1, *input_sizes(window)), (1, *kernel_sizes(window))
    rows, ends = [(0, 0)][:0], [0]
    for places in product(*map(_seen, window[:-1])):
        for cells in product(*places):
            row = tap = 0
            for axis, (cell, of_kernel) in enumerate(cells):
                row, tap = row * sizes[1 + axis] + cell, tap * kernel[1 + axis] + of_kernel
            rows.append((row * sizes[-1], tap * kernel[-1]))
        ends.append(len(rows))
    end = window[-1]
    columns = [(*(each or [(0, 0)])[0], len(each)) for each in _seen(end)]
    run = whole_positions(end)
    numbers = (prod(sizes), end.dilation, end.stride, run.start, run.stop)
    return Plan(
        np.array(rows, np.int64).reshape(-1, 2),
        np.array(ends, np.int64),
        np.array(columns, np.int64),
        np.array(numbers, np.int64),
    )


def unfit(x: Any, w: Any, window: Window, groups: int) -> str | None:
    """Return why a convolution cannot be served."""
    if not is_channels_last(x):
        return OTHERWISE
    channels = x.shape[1]
    if (groups, len(w)) != (channels, channels):
        return "each channel has not one output of its own"
    if x.dtype not in (np.float32, np.float64) or not x.dtype.isnative:
        return f"it is for float32 and float64, got {x.dtype.str}"
    reason = missing()
    if reason is None and channels < vector_of(x):
        return "the channels are fewer than a vector has lanes"
    return reason


def conv(x: Any, w: Any, window: Window, groups: int) -> Any:
    """Return y (N, C, *positions)."""
    batch, channels = x.shape[:2]
    planned, outs = plan(window), output_sizes(window)
    cells, weights = flattened(x), np.ascontiguousarray(w.reshape(channels, -1).T).reshape(-1)
    rows, of_row = batch * prod(outs[:-1]), outs[-1] * channels
    result = np.empty(rows * of_row, x.dtype)
    run = loops("depthwise_loops").convolve_channels(vector_of(x))
    parts = equal_parts(rows, -(-(cells.nbytes + result.nbytes) // CHUNK))
    run_blocks(lambda part: run(cells, weights, result, *part, *planned, channels), parts, least=2)
    return unflattened(result, batch, outs, channels)


def adjoint_unfit(y: Any, w: Any, window: Window, groups: int) -> str | None:
    """Return why the adjoint of a convolution cannot be served."""
    if costs.strided(window):
        return "it needs a stride of 1"
    return unfit(y, w, window, groups)


def conv_transpose(y: Any, w: Any, window: Window, groups: int) -> Any:
    """Return x (N, C, *sizes): with a stride of 1 a convolution with the kernel flipped."""
    return conv(y, flip(w, groups), tuple(adjoint_axis(axis) for axis in window), groups)
