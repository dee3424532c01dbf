"""Depthwise convolution by compiled loops, of cells that are read where they are.

Some rows of outputs are summed up at a time, in registers: `row_sums`. What a vector of cells
belongs to is found by their row, and the taps of one column of the kernel are read together, so
that no plane is laid out anew, whatever padding, stride and dilation are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._integers import Ints
from arrayconv._window import Axis, Window, input_sizes, kernel_sizes, output_sizes
from arrayconv.backends.numpy import compiled_convolution as compiled
from arrayconv.backends.numpy.compiler import lanes_of, loops
from arrayconv.backends.numpy.costs import CALLS, MULTIPLY_ADD, Shape, vector_bytes
from arrayconv.backends.numpy.orders import channels_first
from arrayconv.backends.numpy.separable import CHUNK
from arrayconv.backends.numpy.threads import run_range

MOST = 8
"""Vectors of sums that are held at a time: as many additions hide how long each takes."""
TALLEST = 32
"""Rows of a kernel, whose code is still small enough."""
WRITTEN_OUT = 96
"""Products of vectors that are written out, at most; else a loop goes over the taps of a row. Then
fewer numbers are wanted at a time than a processor has registers."""
WIDEST = 1 << 31
"""Cells of a row, whose places are counted in 32 bits."""
BESIDES = 4
"""What a tap takes beside products and loads, in products."""
READ = 0.06
"""Nanoseconds to read or to write a number."""
ONE = Axis(1, 1, 1, 1, 0, 0, 1)


class Plan(NamedTuple):
    """Where windows lie, and how they are summed up."""

    shape: Ints
    """The numbers of `Rows`."""
    offsets: Any
    """For each group of rows of outputs where the rows begin that it sees; -1 outside a plane."""
    places: Any
    """Where its results begin in a plane of outputs."""
    numbers: Any
    """Cells of a plane and of a row, and where the first window begins in it; positions of a plane
    and of a row, and taps."""


def spatial(window: Window) -> tuple[Axis, ...]:
    """Return three axes."""
    return (*[ONE] * (3 - len(window)), *window)


def _steps(axis: Axis, rows: int) -> list[int]:
    """Return the cells of an axis that ``rows`` positions see, behind the first one."""
    taps = range(0, axis.dilation * axis.kernel, axis.dilation)
    return sorted({axis.stride * row + tap for row in range(rows) for tap in taps})


def _work(window: Window, rows: int, vectors: int, lanes: int) -> int:
    """Return what a plane takes where so much is summed up at a time: products and loads."""
    slices, down, along = spatial(window)
    tiles = slices.out * -(-down.out // rows) * -(-along.out // (vectors * lanes))
    # The weights of a column are loaded, and each vector, of which a stride wants some.
    loads = down.kernel + len(_steps(down, rows)) * vectors * along.stride
    each = rows * vectors * down.kernel + loads + BESIDES
    return tiles * slices.kernel * along.kernel * each


def _tiles(window: Window, lanes: int) -> Iterator[tuple[int, int]]:
    """Return the rows, and vectors of each, that may be summed up at a time: most first."""
    _, down, along = spatial(window)
    for rows in range(min(MOST, down.out), 0, -1):
        # Not all numbers, since each is compiled for itself.
        for vectors in (8, 4, 2, 1):
            if vectors == 1 or (rows * vectors <= MOST and vectors * lanes <= along.out):
                yield rows, vectors


@lru_cache(maxsize=1024)
def tile(window: Window, lanes: int) -> tuple[int, int, int]:
    """Return how many rows, and vectors of each, are summed up at a time, and a plane's work."""
    works = {each: _work(window, *each, lanes) for each in _tiles(window, lanes)}
    best = min(works, key=works.__getitem__)
    return (*best, works[best])


def offsets(window: Window, firsts: Sequence[int], rows: int) -> Any:
    """Return where in a plane the rows begin that outputs see; -1 outside.

    For each slice of outputs, and in it for ``rows`` rows from each of ``firsts`` on, the rows of
    all slices of the kernel.
    """
    slices, down, along = spatial(window)
    starts = np.arange(slices.out) * slices.stride, np.asarray(firsts) * down.stride
    z = starts[0][:, None] - slices.before + _steps(slices, 1)
    y = starts[1][:, None] - down.before + _steps(down, rows)
    z, y = z[:, None, :, None], y[:, None, :]
    is_inside = (z >= 0) & (z < slices.size) & (y >= 0) & (y < down.size)
    found = np.where(is_inside, (z * down.size + y) * along.size, -1)
    return found.reshape(slices.out * len(firsts), -1).astype(np.int64)


def numbers(window: Window) -> Any:
    """Return the numbers of a plan."""
    along = window[-1]
    found = (
        *(prod(input_sizes(window)), along.size, -along.before),
        *(prod(output_sizes(window)), along.out, prod(kernel_sizes(window))),
    )
    return np.array(found, np.int64)


@lru_cache(maxsize=256)
def plan(window: Window, lanes: int) -> Plan:
    """Return the plan of a convolution in one, two or three dimensions."""
    slices, down, along = spatial(window)
    rows, vectors, _ = tile(window, lanes)
    taps = along.kernel if down.kernel * along.kernel * rows * vectors <= WRITTEN_OUT else 1
    firsts = [min(first, down.out - rows) for first in range(0, down.out, rows)]
    places = [(z * down.out + y) * along.out for z in range(slices.out) for y in firsts]
    shape = (
        *(slices.kernel, down.kernel, along.kernel, down.stride, along.stride),
        *(down.dilation, along.dilation, rows, vectors, taps),
    )
    seen = offsets(window, firsts, rows)
    return Plan(shape, seen, np.array(places, np.int64), numbers(window))


def unfit(shape: Shape) -> str | None:
    """Return why a convolution cannot be served."""
    if shape.groups != shape.channels:
        return "it is for groups of one channel"
    if len(shape.window) > 3:
        return f"its loops are for 1, 2 and 3 spatial dimensions, not {len(shape.window)}"
    _, down, along = spatial(shape.window)
    if down.kernel > TALLEST:
        return f"it is for kernels of at most {TALLEST} rows, got {down.kernel}"
    if along.size + along.dilation * along.kernel >= WIDEST:
        return f"a row must have fewer cells than {WIDEST}"
    return compiled.unfit(shape)


def nanoseconds(shape: Shape) -> float:
    """Return the nanoseconds of a call: see `costs`."""
    lanes = vector_bytes() // int(np.dtype(shape.dtype).itemsize)
    planes = shape.batch * shape.outputs
    return CALLS / 8 + planes * tile(shape.window, lanes)[2] * lanes * MULTIPLY_ADD + read(shape)


def read(shape: Shape) -> float:
    """Return the nanoseconds to read and to write cells and positions."""
    cells = shape.batch * shape.channels * prod(input_sizes(shape.window))
    return (cells + shape.positions * shape.outputs) * READ


def conv(x: Any, w: Any, window: Window, groups: int, bias: Any = None) -> Any:
    """Return y (N, O, *positions)."""
    shape: Ints = (len(x), len(w), *output_sizes(window))
    result = np.empty(shape, x.dtype)
    if 0 in shape:
        return result
    planned = plan(window, lanes_of(x.dtype))
    cells, weight = channels_first(x).reshape(-1), np.ascontiguousarray(w).reshape(-1)
    count = shape[0] * shape[1] * len(planned.places)
    run = loops("depthwise_loops").convolve_rows(planned.shape)
    run_range(
        run,
        (cells, weight, compiled.biases(bias, shape[1], x.dtype), result.reshape(-1)),
        count,
        (planned.offsets, planned.places, planned.numbers, shape[1], shape[1] // groups),
        each=-(-count * CHUNK // (cells.nbytes + result.nbytes)),
    )
    return result
