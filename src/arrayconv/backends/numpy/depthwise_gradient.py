"""The gradient to a depthwise weight by compiled loops, of arrays that are read where they are.

Rows of cotangents are multiplied with the rows of cells that their windows see; some taps of the
kernel have their sums in registers: `row_products`. Each plane of outputs is one thread's, so that
sums are added in the same order whatever the threads.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from arrayconv._integers import Ints
from arrayconv._window import Window, kernel_sizes
from arrayconv.backends.numpy.compiler import lanes_of, loops
from arrayconv.backends.numpy.costs import CALLS, MULTIPLY_ADD, Shape, vector_bytes
from arrayconv.backends.numpy.depthwise_rows import numbers, offsets, read, spatial
from arrayconv.backends.numpy.orders import channels_first
from arrayconv.backends.numpy.separable import CHUNK
from arrayconv.backends.numpy.threads import run_range

SUMMED = 128
"""Vectors that are summed up by themselves, at most: the first cache holds them while all taps see
them, and rounding grows with their number."""
APART = 1.7
"""How many times as long sums take where a stride and a dilation take cells apart."""
AT_ENDS = 3
"""What it takes to find the lanes of a vector that are in a row, in products."""
LANES = 2.3
"""Nanoseconds to add up the lanes of a vector."""


class Plan(NamedTuple):
    """Where windows lie, and how they are summed up."""

    shape: Ints
    """The numbers of `Products`."""
    offsets: Any
    """For each row of outputs where the rows begin that it sees; -1 outside a plane."""
    numbers: Any
    """As those of `depthwise_rows.Plan`."""
    some: int
    """Rows of outputs that are summed up by themselves, and cells of each."""
    columns: int


def _tile(window: Window) -> tuple[int, int]:
    """Return how many rows of a kernel, and taps of each, have sums in registers at a time."""
    slices, down, along = spatial(window)
    tall, most = slices.kernel * down.kernel, 24 if loops("registers").REGISTERS == 32 else 12
    taps = _part(along.kernel, most)
    return _part(tall, most // taps), taps


def _part(count: int, most: int) -> int:
    """Return the length of equal parts, as few as there may be with ``most`` each."""
    return -(-count // -(-count // most))


@lru_cache(maxsize=256)
def plan(window: Window, lanes: int) -> Plan:
    """Return the plan of a gradient in one, two or three dimensions."""
    _, down, along = spatial(window)
    shape = (*_tile(window), along.stride, along.dilation)
    some = max(1, SUMMED // -(-along.out // lanes))
    seen = offsets(window, range(down.out), 1)
    return Plan(shape, seen, numbers(window), some, SUMMED * lanes)


def nanoseconds(shape: Shape) -> float:
    """Return the nanoseconds of a call: see `costs`."""
    slices, down, along = spatial(shape.window)
    lanes = vector_bytes() // int(np.dtype(shape.dtype).itemsize)
    rows, taps = _tile(shape.window)
    tiles = -(-slices.kernel * down.kernel // rows) * -(-along.kernel // taps)
    of_row = -(-along.out // lanes)
    vectors = shape.batch * slices.out * down.out * of_row
    # Products, the vectors that are loaded for them, and which lanes of those at both ends are.
    each = 1 + rows * taps * (1 + along.stride) + min(1, 2 / of_row) * AT_ENDS * taps * along.stride
    sums = -(-vectors // SUMMED) * rows * taps * LANES
    apart = APART if along.stride > 1 and along.dilation > 1 else 1.0
    work = vectors * each * lanes * MULTIPLY_ADD * apart + sums
    return CALLS / 8 + shape.outputs * tiles * work + read(shape)


def conv_weight(x: Any, y: Any, window: Window, groups: int) -> Any:
    """Return w (O, 1, *kernel)."""
    batch, outputs = y.shape[:2]
    result = np.zeros((outputs, 1, *kernel_sizes(window)), x.dtype)
    if x.size == 0 or y.size == 0:
        return result
    planned = plan(window, lanes_of(x.dtype))
    cells, cotangents = (channels_first(each).reshape(-1) for each in (x, y))
    run_range(
        loops("depthwise_loops").gradient_rows(planned.shape),
        (cells, cotangents, result.reshape(-1)),
        outputs,
        (*planned[1:], batch, outputs, outputs // groups),
        each=-(-outputs * CHUNK // (cells.nbytes + cotangents.nbytes)),
    )
    return result
