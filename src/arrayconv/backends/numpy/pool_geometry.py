"""Where the windows of compiled pools lie, as `pool_loops` take them: whole numbers in arrays."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._integers import Ints
from arrayconv._window import Axis, Table, Windows, input_sizes, output_sizes
from arrayconv.backends.numpy.ranges import Ranges, cell_ranges, position_ranges, whole_positions


class Geometry(NamedTuple):
    """Windows as the loops take them: three axes, and what `pool_loops` says of both arrays."""

    sizes: Ints
    outs: Ints
    shape: Any
    ranges: Any
    numbers: Any
    rows: int
    """The most rows that a window sees."""

    @property
    def laid(self) -> tuple[Any, Any, Any]:
        """Return what the loops take."""
        return self.shape, self.ranges, self.numbers


def _geometry(sizes: Ints, outs: Ints, ranges: list[Ranges], last: Ints, steps: Ints) -> Geometry:
    missing_axes = 3 - len(sizes)
    ones = (1,) * missing_axes
    every = [((0, 1),)] * missing_axes + ranges
    laid = np.zeros((3, max(map(len, every)), 2), np.int64)
    for row, pairs in zip(laid, every, strict=True):
        row[: len(pairs)] = pairs
    lengths = [max(high - low for low, high in each) for each in every]
    shape = (*ones, *sizes, *ones, *outs)
    numbers = ones + steps + last
    return Geometry(
        ones + sizes,
        ones + outs,
        np.asarray(shape, np.int64),
        laid,
        np.asarray(numbers, np.int64),
        prod(lengths[:2]),
    )


_NO_RUN = (0, 0, 1, 1, 0, 0)


def _last(axis: Axis | Table) -> Ints:
    """Return what `pool_loops` says of the last axis: of its regular run, and its first window."""
    if isinstance(axis, Table):
        return _NO_RUN
    run = whole_positions(axis)
    start = run.start * axis.stride - axis.before
    return (run.start, run.stop, axis.stride, axis.kernel, start, -axis.before)


@lru_cache(maxsize=256)
def windows(window: Windows) -> Geometry:
    """Return the geometry of pools: ranges of cells."""
    steps = tuple(axis.dilation if isinstance(axis, Axis) else 1 for axis in window)
    ranges = [cell_ranges(axis) for axis in window]
    return _geometry(input_sizes(window), output_sizes(window), ranges, _last(window[-1]), steps)


@lru_cache(maxsize=256)
def sights(window: Windows) -> Geometry:
    """Return the geometry of the adjoint of a sum: ranges of positions."""
    end = window[-1]
    last = _NO_RUN if isinstance(end, Table) else (end.kernel, end.stride, end.before)
    ranges = [position_ranges(axis) for axis in window]
    steps = (1,) * len(window)
    return _geometry(output_sizes(window), input_sizes(window), ranges, last, steps)
