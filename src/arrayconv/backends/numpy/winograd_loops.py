"""The loops of `compiled_winograd`, compiled by numba: import this by `compiler.loops` only.

A vector holds the same cell of neighbouring tiles of a row. Vectors are written whole: what is past
the end of a row is written again by the next one.
"""

from __future__ import annotations

from typing import Any

import numba

from arrayconv.backends.numpy.conv_loops import VECTOR_BYTES, clear, convolve, fill, tile
from arrayconv.backends.numpy.linear_maps import transform
from arrayconv.backends.numpy.winograd_maps import lines

__all__ = [
    "VECTOR_BYTES",
    "clear",
    "convolve",
    "fill",
    "from_points",
    "line_from_points",
    "line_to_points",
    "tile",
    "to_points",
]

_cells_4, _cells_2 = (transform(lines(tile).cells) for tile in (4, 2))
_outputs_4, _outputs_2 = (transform(lines(tile).outputs) for tile in (4, 2))
_mixed_4, _mixed_2 = (transform(lines(tile).outputs, mixed=True) for tile in (4, 2))


@numba.njit(cache=True, nogil=True)
def to_points(
    tile: Any,
    cells: Any,
    size: Any,
    places: Any,
    starts: Any,
    across: Any,
    channels: Any,
    held: Any,
    along: Any,
    points: Any,
    step: Any,
) -> None:
    """Transform the squares of cells that tiles see to points.

    The cells of a channel are ``size``. A tile's row i of column j is ``places[j, i]`` from its
    start, and ``starts`` has those of the rows of ``across`` tiles. The points of a tile are
    ``step`` from one another. ``held`` is a buffer for a square of vectors, ``along`` where those
    of one of its rows are.
    """
    side, lanes = tile + 2, along[1]
    for channel in range(channels):
        for row in range(starts.shape[0]):
            for v in range(0, across, lanes):
                seen = channel * size + starts[row] + v
                made = (channel * starts.shape[0] + row) * across + v
                for j in range(side):
                    if tile == 4:
                        _cells_4(cells, places[j], seen, held, j * lanes, side * lanes)
                    else:
                        _cells_2(cells, places[j], seen, held, j * lanes, side * lanes)
                for i in range(side):
                    to, first = made + i * side * step, i * side * lanes
                    if tile == 4:
                        _cells_4(held, along, first, points, to, step)
                    else:
                        _cells_2(held, along, first, points, to, step)


@numba.njit(cache=True, nogil=True)
def from_points(
    tile: Any,
    points: Any,
    step: Any,
    down: Any,
    across: Any,
    outputs: Any,
    held: Any,
    along: Any,
    result: Any,
    size: Any,
    starts: Any,
    heights: Any,
    width: Any,
) -> None:
    """Transform points to the outputs of tiles, and write these where they belong.

    The points of a tile are ``step`` from one another. An output's results are ``size``; rows of
    ``across`` tiles, of ``width`` results and of the given heights, begin at ``starts``, and lines
    of results are ``down`` apart.
    """
    side, lanes = tile + 2, along[1]
    by_row = along // lanes * side * step
    for output in range(outputs):
        for row in range(starts.shape[0]):
            for v in range(0, across, lanes):
                seen = (output * starts.shape[0] + row) * across + v
                for j in range(side):
                    first, to = seen + j * step, j * lanes
                    if tile == 4:
                        _outputs_4(points, by_row, first, held, to, side * lanes)
                    else:
                        _outputs_2(points, by_row, first, held, to, side * lanes)
                for i in range(heights[row]):
                    to = output * size + starts[row] + i * down + v * tile
                    if tile == 4:
                        _mixed_4(held, along, i * side * lanes, result, to, width - v * tile)
                    else:
                        _mixed_2(held, along, i * side * lanes, result, to, width - v * tile)


@numba.njit(cache=True, nogil=True)
def line_to_points(
    tile: Any,
    cells: Any,
    size: Any,
    places: Any,
    starts: Any,
    across: Any,
    channels: Any,
    held: Any,
    along: Any,
    points: Any,
    step: Any,
) -> None:
    """Transform the lines of cells that tiles see as `to_points` does squares."""
    lanes, seen_by = along[1], places.reshape(-1)
    for channel in range(channels):
        for row in range(starts.shape[0]):
            for v in range(0, across, lanes):
                seen = channel * size + starts[row] + v
                made = (channel * starts.shape[0] + row) * across + v
                if tile == 4:
                    _cells_4(cells, seen_by, seen, points, made, step)
                else:
                    _cells_2(cells, seen_by, seen, points, made, step)


@numba.njit(cache=True, nogil=True)
def line_from_points(
    tile: Any,
    points: Any,
    step: Any,
    down: Any,
    across: Any,
    outputs: Any,
    held: Any,
    along: Any,
    result: Any,
    size: Any,
    starts: Any,
    heights: Any,
    width: Any,
) -> None:
    """Transform points to the outputs of lines as `from_points` does to those of squares."""
    lanes = along[1]
    by_point = along // lanes * step
    for output in range(outputs):
        for row in range(starts.shape[0]):
            for v in range(0, across, lanes):
                seen = (output * starts.shape[0] + row) * across + v
                to, left = output * size + starts[row] + v * tile, width - v * tile
                if tile == 4:
                    _mixed_4(points, by_point, seen, result, to, left)
                else:
                    _mixed_2(points, by_point, seen, result, to, left)
