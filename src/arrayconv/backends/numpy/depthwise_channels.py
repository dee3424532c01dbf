"""Depthwise convolution where channels lie next to one another in memory, by compiled loops.

A vector holds channels: a window needs no cells beside those that it sees, whatever its stride and
dilation, so nothing is laid out. What comes out lies in memory as what came in. Other arrays are
turned over first, and so is their result: that pays where planes are small or strides are not 1.
So are arrays of few channels, the other way round, where these leave too much of a vector empty.
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
    input_sizes,
    kernel_sizes,
    output_sizes,
    tap_range,
)
from arrayconv.backends.numpy import compiled_convolution as compiled
from arrayconv.backends.numpy import costs, depthwise_rows
from arrayconv.backends.numpy.compiler import lanes_of, loops
from arrayconv.backends.numpy.costs import Shape
from arrayconv.backends.numpy.orders import (
    channels_first,
    channels_last,
    flattened,
    is_channels_last,
    unflattened,
)
from arrayconv.backends.numpy.ranges import cell_ranges, whole_positions
from arrayconv.backends.numpy.separable import CHUNK
from arrayconv.backends.numpy.threads import run_range


class Plan(NamedTuple):
    """Where windows lie, in cells and in taps of one channel."""

    rows: Any
    """For each row of results the rows of cells that it sees, and those of the kernel (n, 2)."""
    ends: Any
    """Where those of each row of results begin, and where the last ones end."""
    columns: Any
    """For each position of a row its first cell and tap along the row, and how many it sees."""
    taps: Any
    """For each tap along a row the first position that sees a cell by it, how many do, and that
    cell."""
    numbers: Any
    """Cells of an image; dilation, stride, first and last position whole, and positions of the last
    axis."""


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
    rows: list[tuple[int, int]] = []
    ends = [0]
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
    numbers = (prod(sizes), end.dilation, end.stride, run.start, run.stop, end.out)
    ranges = [tap_range(end, tap) for tap in range(end.kernel)]
    taps = [(each.first, max(0, each.last - each.first), each.start) for each in ranges]
    return Plan(
        np.array(rows, np.int64).reshape(-1, 2),
        np.array(ends, np.int64),
        np.array(columns, np.int64),
        np.array(taps, np.int64),
        np.array(numbers, np.int64),
    )


def unfit(shape: Shape) -> str | None:
    """Return why a convolution cannot be served."""
    if not shape.groups == shape.channels == shape.outputs:
        return "each channel has not one output of its own"
    if len(shape.window) > 3:
        return f"its loops are for 1, 2 and 3 spatial dimensions, not {len(shape.window)}"
    return compiled.unfit(shape)


FEW_TURNED = 0.6
"""Nanoseconds to turn over a number of fewer channels than a vector has lanes, as `costs` counts
them."""


@lru_cache(maxsize=256)
def _turns(window: Window, batch: int, channels: int, dtype: Any) -> bool:
    """Whether an array whose channels fill no vector is better turned over, and its result back."""
    if channels >= lanes_of(dtype):
        return False
    shape = Shape(window, batch, channels, channels, channels, dtype)
    numbers = batch * channels * (prod(input_sizes(window)) + prod(output_sizes(window)))
    by_rows = depthwise_rows.nanoseconds(shape) + numbers * FEW_TURNED
    return by_rows < costs.along_channels(shape)


def conv(x: Any, w: Any, window: Window, groups: int, bias: Any = None) -> Any:
    """Return y (N, C, *positions), in the order in memory that ``x`` has."""
    if 0 in x.shape or is_channels_last(x):
        if 0 not in x.shape and _turns(window, *x.shape[:2], x.dtype):
            made = depthwise_rows.conv(channels_first(x), w, window, groups, bias)
            return channels_last(made)
        return _conv(x, w, window, bias)
    return channels_first(_conv(channels_last(x), w, window, bias))


def _conv(x: Any, w: Any, window: Window, bias: Any) -> Any:
    """Return y of an array whose channels are next to one another."""
    batch, channels = x.shape[:2]
    planned, outs = plan(window), output_sizes(window)
    cells, weights = flattened(x), np.ascontiguousarray(w.reshape(channels, -1).T).reshape(-1)
    rows, of_row = batch * prod(outs[:-1]), outs[-1] * channels
    result = np.empty(rows * of_row, x.dtype)
    if rows > 0:
        run = loops("depthwise_loops").convolve_channels(lanes_of(x.dtype))
        same = (planned.rows, planned.ends, planned.columns, planned.numbers, channels)
        some = -(-rows * CHUNK // (cells.nbytes + result.nbytes))
        before = (cells, weights, compiled.biases(bias, channels, x.dtype), result)
        run_range(run, before, rows, same, each=some)
    return unflattened(result, batch, outs, channels)


CHANNELS = 64
"""Channels that are added up at a time; two such parts make a thread worth its start."""


def conv_weight(x: Any, y: Any, window: Window, groups: int) -> Any:
    """Return w (C, 1, *kernel): the sums over positions of each channel by itself."""
    batch, channels = x.shape[:2]
    kernel, planned = kernel_sizes(window), plan(window)
    result = np.zeros((prod(kernel), channels), x.dtype)
    if 0 not in x.shape and 0 not in y.shape:
        cells, positions = (
            flattened(each if is_channels_last(each) else channels_last(each)) for each in (x, y)
        )
        run = loops("depthwise_loops").gradient_channels(lanes_of(x.dtype))
        flat = result.reshape(-1)
        same = (batch, planned.rows, planned.ends, planned.taps, planned.numbers, channels)
        run_range(run, (cells, positions, flat), channels, same, each=CHANNELS)
    return np.ascontiguousarray(result.T).reshape(channels, 1, *kernel)
