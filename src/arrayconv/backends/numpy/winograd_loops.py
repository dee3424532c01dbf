"""The loops of `compiled_winograd`, compiled by numba: import this by `compiler.loops` only.

A vector holds the same cell of neighbouring tiles of a row. Vectors are written whole: what is past
the end of a row is written again by the next one.
"""

from __future__ import annotations

from typing import Any

import numba

from arrayconv.backends.numpy.conv_loops import clear, fill
from arrayconv.backends.numpy.vectors import VECTOR_BYTES, transform
from arrayconv.backends.numpy.winograd import lines

__all__ = ["VECTOR_BYTES", "clear", "fill", "from_points", "to_points"]

_cells_4, _cells_2 = (transform(lines(tile).cells) for tile in (4, 2))
_outputs_4, _outputs_2 = (transform(lines(tile).outputs) for tile in (4, 2))
_narrow = numba.uint32


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
    squares: Any,
    result: Any,
    size: Any,
    starts: Any,
    heights: Any,
    width: Any,
) -> None:
    """Transform points to the outputs of tiles, and write these where they belong.

    The points of a tile are ``step`` from one another. An output's results are ``size``; rows of
    ``across`` tiles, of ``width`` results and of the given heights, begin at ``starts``, and lines
    of results are ``down`` apart. ``squares`` is a buffer for a row of tiles.
    """
    side, lanes = tile + 2, along[1]
    wide = squares.shape[0] // (tile * tile)
    whole = _narrow(width // tile)
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
                for i in range(tile):
                    first, to = i * side * lanes, i * tile * wide + v
                    if tile == 4:
                        _outputs_4(held, along, first, squares, to, wide)
                    else:
                        _outputs_2(held, along, first, squares, to, wide)
            for i in range(heights[row]):
                made = result[output * size + starts[row] + i * down :]
                one = squares[i * tile * wide :]
                two = one[wide:]
                if tile == 4:
                    three, four = one[2 * wide :], one[3 * wide :]
                    for q in range(whole):
                        made[_narrow(4) * q] = one[q]
                        made[_narrow(4) * q + _narrow(1)] = two[q]
                        made[_narrow(4) * q + _narrow(2)] = three[q]
                        made[_narrow(4) * q + _narrow(3)] = four[q]
                else:
                    for q in range(whole):
                        made[_narrow(2) * q] = one[q]
                        made[_narrow(2) * q + _narrow(1)] = two[q]
                for cell in range(whole * tile, width):
                    made[cell] = one[cell % tile * wide + cell // tile]
