"""The loops of pools whose channels lie next to one another: import this by `compiler.loops` only.

Arrays are flat, (N, *sizes, C) in memory, and the geometry is as in `pool_loops`. What is done with
one channel of a cell is done with its neighbours: a vector needs no other cells, and no borders.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from arrayconv.backends.numpy.borrowed import borrowed, live_until_here
from arrayconv.backends.numpy.loop_forms import Loop, compiled, compiled_by_form, inlined
from arrayconv.backends.numpy.orders import LINE
from arrayconv.backends.numpy.row_maxima import locate_cells
from arrayconv.backends.numpy.whole_planes import reduce_cells

VECTORS, VECTORS_LOCATED = 4, 2
"""Vectors of channels that are reduced at a time, and where places are kept: more of them hide how
long a load takes, and leave more channels to single vectors."""


@inlined
def _reduce(
    maximum: Any,
    lanes: Any,
    cells: Any,
    first: Any,
    begin: Any,
    end: Any,
    to: Any,
    divisor: Any,
    same: Any,
) -> None:
    """Reduce runs of cells, which begin ``seen[begin:end]`` behind ``first``, to one.

    ``same`` is (seen, out, length): it goes to ``out[to]`` and on, for the length of a
    run. A sum is divided by ``divisor``.
    """
    seen, out, length = same
    if length < lanes:
        reduce_cells(maximum, 1, cells, first, seen, begin, end, out, to, divisor, length)
        return
    whole = length - length % (VECTORS * lanes)
    for c in range(0, whole, VECTORS * lanes):
        reduce_cells(
            maximum, VECTORS, cells, first + c, seen, begin, end, out, to + c, divisor, None
        )
    for c in range(whole, length, lanes):
        # The last vector may overlap the one before.
        at = min(c, length - lanes)
        reduce_cells(maximum, 1, cells, first + at, seen, begin, end, out, to + at, divisor, None)


@inlined
def _window(seen: Any, rows: Any, low: Any, high: Any, many: Any, step: Any, channels: Any) -> Any:
    """Write where the cells of a window are, from its first column on; return how many they are."""
    count = 0
    for n in range(low, high):
        for x in range(0, many, step):
            seen[count] = (rows[n] + x) * channels
            count += 1
    return count


@compiled_by_form
def pool_channels(maximum: bool, lanes: int) -> Loop:
    """Return what writes the maximum or the sum of each window, for rows of results.

    It takes the lanes of a vector of the cells' dtype. With ``by_rows`` the rows that a window sees
    are reduced to one first: windows that share columns share that.
    """
    is_maximum = int(maximum)

    def run(
        cells: Any,
        out: Any,
        begin: Any,
        end: Any,
        shape: Any,
        ranges: Any,
        numbers: Any,
        rows: Any,
        ends: Any,
        channels: Any,
        by_rows: Any,
        of_rows: Any,
        of_columns: Any,
    ) -> None:
        cells, out, ranges = borrowed((cells, out, ranges))
        outs, width, step = shape[5], shape[2] * channels, numbers[2]
        places, plane = len(ends) - 1, shape[0] * shape[1] * width
        apart = rows * channels
        most = max(1, (ends[1:] - ends[:-1]).max() * shape[2])
        seen, line = np.empty(most, np.int64), np.empty(width, cells.dtype)
        only = np.zeros(1, np.int64)
        of_line = borrowed((apart, line, width))
        of_result = borrowed((seen, out, channels))
        for row in range(begin, end):
            image, place = row // places, row % places
            low, high = ends[place], ends[place + 1]
            first, to, held, count = image * plane, row * outs * channels, -1, 0
            if by_rows:
                _reduce(is_maximum, lanes, cells, first, low, high, 0, 1.0, of_line)
            for o in range(outs):
                column, many = ranges[2, o, 0], ranges[2, o, 1] - ranges[2, o, 0]
                if many != held:
                    held = many
                    if by_rows:
                        count = _window(seen, only, 0, 1, many, step, channels)
                    else:
                        count = _window(seen, rows, low, high, many, step, channels)
                at, divisor = column * channels, of_rows[place] * of_columns[o]
                if by_rows:
                    _reduce(is_maximum, lanes, line, at, 0, count, to, divisor, of_result)
                else:
                    at += first
                    _reduce(is_maximum, lanes, cells, at, 0, count, to, divisor, of_result)
                to += channels
        live_until_here(apart)

    return run


@compiled_by_form
def locate_channels(lanes: int) -> Loop:
    """Return what writes the maximum of each window and its cell, for rows of results.

    It takes the lanes of a vector of the cells' dtype.
    """

    def run(
        cells: Any,
        out: Any,
        indices: Any,
        begin: Any,
        end: Any,
        shape: Any,
        ranges: Any,
        numbers: Any,
        rows: Any,
        ends: Any,
        channels: Any,
    ) -> None:
        cells, out, indices, ranges = borrowed((cells, out, indices, ranges))
        outs, step = shape[5], numbers[2]
        places, plane = len(ends) - 1, shape[0] * shape[1] * shape[2]
        seen = np.empty(max(1, (ends[1:] - ends[:-1]).max() * shape[2]), np.int64)
        whole = channels - channels % (VECTORS_LOCATED * lanes)
        for row in range(begin, end):
            image, place = row // places, row % places
            low, high = ends[place], ends[place + 1]
            to, held, count = row * outs * channels, -1, 0
            for o in range(outs):
                column, many = ranges[2, o, 0], ranges[2, o, 1] - ranges[2, o, 0]
                if many != held:
                    held, count = many, _window(seen, rows, low, high, many, step, 1)
                first = (image * plane + column) * channels
                if channels < lanes:
                    locate_cells(
                        1,
                        channels,
                        cells,
                        first,
                        seen,
                        0,
                        count,
                        column,
                        out,
                        to,
                        indices,
                        channels,
                    )
                else:
                    for c in range(0, whole, VECTORS_LOCATED * lanes):
                        locate_cells(
                            VECTORS_LOCATED,
                            channels,
                            cells,
                            first + c,
                            seen,
                            0,
                            count,
                            column,
                            out,
                            to + c,
                            indices,
                            None,
                        )
                    for c in range(whole, channels, lanes):
                        c = min(c, channels - lanes)
                        locate_cells(
                            1,
                            channels,
                            cells,
                            first + c,
                            seen,
                            0,
                            count,
                            column,
                            out,
                            to + c,
                            indices,
                            None,
                        )
                to += channels

    return run


@compiled
def scatter_channels(
    values: Any, indices: Any, cells: Any, begin: Any, end: Any, parts: Any
) -> None:
    """Add values (N, positions, C) to the cells of their planes, for some parts of the channels.

    Each image has so many ``parts``, of whole lines of the cache. Values are added in the order of
    positions; what lies outside is dropped.
    """
    some = LINE // cells.itemsize
    for n in range(begin, end):
        image, value, index = cells[n // parts], values[n // parts], indices[n // parts]
        low = n % parts * some
        high = min(low + some, image.shape[1])
        for cell in range(image.shape[0]):
            for c in range(low, high):
                image[cell, c] = 0
        for position in range(value.shape[0]):
            for c in range(low, high):
                at = index[position, c]
                if 0 <= at < image.shape[0]:
                    image[at, c] += value[position, c]
