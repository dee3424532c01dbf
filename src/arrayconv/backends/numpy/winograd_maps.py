"""The maps of `winograd`: of a weight, of cells and of products, to points and back.

S. Winograd, "Arithmetic Complexity of Computations", 1980. The points decide the rounding: B.
Barabasz et al., "Error Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural
Networks", 2018 (arXiv:1803.10986).
"""

from __future__ import annotations

from functools import lru_cache
from math import prod, sqrt
from typing import Any, NamedTuple

import numpy as np

from arrayconv._integers import Ints

POINTS = (
    (),
    (),
    (0.0,),
    (0.0, 1.0),
    (0.0, 1.0, -1.0),
    (0.0, 1.0, -0.6, -1.75),
    (0.0, 0.7, -0.7, 1.5, -1.5),
)
"""By the number of points those that are finite; the last is infinity. With the usual 0, +-1, +-2
the error of six would be four times as large, and more than six lose digits that float32 needs."""


class Transforms(NamedTuple):
    """The three maps of a tile as matrices: of a line of outputs, or of a flattened square."""

    weight: Any
    """(points, taps)"""
    cells: Any
    """(points, cells)"""
    outputs: Any
    """(outputs, points)"""


class Line(NamedTuple):
    """A tile of one dimension: some outputs, and the kernel that makes them of cells."""

    outputs: int
    kernel: int

    @property
    def cells(self) -> int:
        """The cells that it sees; it has as many points."""
        return self.outputs + self.kernel - 1


class Square(NamedTuple):
    """A tile of the last two dimensions; where there is one, or a kernel of 1, of one row."""

    height: Line
    width: Line

    @property
    def seen(self) -> tuple[int, int]:
        """The cells that it sees in each dimension, and its points."""
        return self.height.cells, self.width.cells

    @property
    def made(self) -> tuple[int, int]:
        """Its outputs in each dimension."""
        return self.height.outputs, self.width.outputs

    @property
    def points(self) -> int:
        """All of its points."""
        return prod(self.seen)


PIECE = 3
"""Outputs of a tile's side for large kernels, and taps of the pieces that these are taken apart
into: the cells that a piece sees are those of the first one some tiles further on."""


SQUARES, ROWS = (PIECE, PIECE), (1, PIECE)
"""The tiles that are for pieces, of the whole kernel and of its rows."""


def _line(taps: int, made: int) -> Line:
    if taps == 1 or made == 1:
        return Line(1, 1)
    return Line(made, min(taps, PIECE) if made == PIECE else taps)


def square(kernel: Ints, tile: Ints) -> Square:
    """Return the tile for a kernel, with as many outputs in each dimension where that has taps.

    Where they are `PIECE` it is the tile for a piece of the kernel; where there is one, for a row.
    """
    height, width = zip((1, *kernel)[-2:], tile, strict=True)
    return Square(_line(*height), _line(*width))


def pieces(kernel: Ints, tile: Square) -> Ints:
    """Return how many pieces there are of a kernel, of the last two dimensions."""
    return tuple(
        -(-taps // line.kernel) for taps, line in zip((1, *kernel)[-2:], tile, strict=True)
    )


@lru_cache(maxsize=64)
def lines(line: Line) -> Transforms:
    """Return the maps of a line: Lagrange's interpolation, transposed."""
    outputs, kernel = line
    count = line.cells
    weight, cells = np.zeros((count, kernel)), np.zeros((count, count))
    made = np.zeros((outputs, count))
    points = POINTS[count]
    for row, point in enumerate(points):
        others = [other for other in points if other != point]
        weight[row] = point ** np.arange(kernel) / prod(point - other for other in others)
        cells[row, :-1] = np.poly(others)[::-1]
        made[:, row] = point ** np.arange(outputs)
    weight[-1, -1] = made[-1, -1] = 1
    cells[-1] = np.atleast_1d(np.poly(points))[::-1]
    return Transforms(weight, cells, made)


@lru_cache(maxsize=64)
def amplification(tile: Square) -> float:
    """Return how many times as large as an output the products are that it is made of.

    That is by their root mean squares, of random cells and weights; and as many times as large is
    the rounding of a product, and of its factors, to the output. It is the same for the gradient to
    a weight, which the transposes of these maps are for.
    """
    squares = 1.0
    for line in tile:
        weight, cells, outputs = (maps**2 for maps in lines(line))
        summed = outputs @ (weight.sum(1) * cells.sum(1))
        squares *= float(summed.mean()) / line.kernel
    return sqrt(squares)


@lru_cache(maxsize=16)
def transforms(tile: Square, dtype: np.dtype[Any]) -> Transforms:
    """Return the maps of a square, flattened."""
    pairs = zip(*map(lines, tile), strict=True)
    return Transforms(*(np.kron(*pair).astype(dtype) for pair in pairs))
