"""Where the windows of compiled pools lie, as `pool_loops` take them: whole numbers in arrays."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise, product
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
    offsets: Any
    """For each row of results where the rows begin in a plane that it sees."""
    ends: Any
    """Where those of each row of results begin, and where the last ones end."""

    @property
    def laid(self) -> tuple[Any, Any, Any]:
        """Return what loops take that find their rows themselves."""
        return self.shape, self.ranges, self.numbers

    @property
    def found(self) -> tuple[Any, Any]:
        """Return what loops take beside, or instead, whose rows are found for them."""
        return self.offsets, self.ends

    @property
    def line(self) -> Any:
        """Return the cells of a plane and of a row, the results of a row, and its first window."""
        numbers = (prod(self.sizes), self.sizes[2], self.outs[2], self.numbers[8])
        return np.array(numbers, np.int64)

    def cells_seen(self) -> tuple[Any, Any]:
        """Return the cells that each position sees, in their order, and where those of each end."""
        of_results, step = self.ranges[2, : self.outs[2]], self.numbers[2]
        columns = [range(low, high, step) for low, high in of_results]
        cells: list[int] = []
        ends = [0]
        for low, high in pairwise(self.ends):
            for column in columns:
                cells += [row + x for row in self.offsets[low:high] for x in column]
                ends.append(len(cells))
        return np.array([*cells, 0], np.int64), np.array(ends, np.int64)


def _rows_seen(sizes: Ints, ranges: list[Ranges], steps: Ints) -> tuple[Any, Any]:
    """Return where rows begin that each row of results sees, and where those of each end.

    One more stands behind them, since results without cells look at the first one of theirs too.
    """
    slices, rows = (
        [range(low, high, step) for low, high in each]
        for each, step in zip(ranges[:2], steps[:2], strict=True)
    )
    offsets: list[int] = []
    ends = [0]
    for of_slice, of_row in product(slices, rows):
        offsets += [(z * sizes[1] + y) * sizes[2] for z in of_slice for y in of_row]
        ends.append(len(offsets))
    return np.array([*offsets, 0], np.int64), np.array(ends, np.int64)


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
        *_rows_seen(ones + sizes, every, ones + steps),
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
