"""The maps of `winograd`: of a weight, of cells and of products, to points and back.

S. Winograd, "Arithmetic Complexity of Computations", 1980. The points decide the rounding: B.
Barabasz et al., "Error Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural
Networks", 2018 (arXiv:1803.10986).
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._integers import Ints

KERNEL = 3
POINTS = {2: (0.0, 1.0, -1.0), 4: (0.0, 0.7, -0.7, 1.5, -1.5)}
"""The finite points for tiles of m outputs; the last is infinity. At 0, +-1, +-2 the error of m = 4
would be four times as large."""


class Transforms(NamedTuple):
    """The three maps of a tile as matrices: of a line of m outputs, or of a flattened square."""

    weight: Any
    """(points, taps)"""
    cells: Any
    """(points, cells)"""
    outputs: Any
    """(outputs, points)"""


def lines(tile: int) -> Transforms:
    """Return the maps of F(tile, 3), for one dimension: Lagrange's interpolation, transposed."""
    points = POINTS[tile]
    count = len(points) + 1
    weight, cells = np.zeros((count, KERNEL)), np.zeros((count, count))
    outputs = np.zeros((tile, count))
    for row, point in enumerate(points):
        others = [other for other in points if other != point]
        weight[row] = point ** np.arange(KERNEL) / prod(point - other for other in others)
        cells[row, :-1] = np.poly(others)[::-1]
        outputs[:, row] = point ** np.arange(tile)
    weight[-1, -1] = outputs[-1, -1] = 1
    cells[-1] = np.poly(points)[::-1]
    return Transforms(weight, cells, outputs)


class Square(NamedTuple):
    """The outputs of a tile: in each of the last two dimensions as many, or one in a row of 1."""

    height: int
    width: int

    @property
    def seen(self) -> tuple[int, int]:
        """The cells that it sees in each dimension, and its points."""
        return _cells_of(self.height), _cells_of(self.width)

    @property
    def points(self) -> int:
        """All of its points."""
        return prod(self.seen)


def _cells_of(outputs: int) -> int:
    return outputs + KERNEL - 1 if outputs > 1 else 1


def square(kernel: Ints, tile: int) -> Square:
    """Return the tile for a kernel: where its height is 1, or there is none, it is one of lines."""
    is_line = len(kernel) == 1 or kernel[-2] == 1
    return Square(1 if is_line else tile, tile)


@lru_cache(maxsize=8)
def transforms(tile: Square, dtype: np.dtype[Any]) -> Transforms:
    """Return the maps of F(tile, 3 x 3), or of F(tile, 1 x 3)."""
    along = lines(tile.width)
    if tile.height == 1:
        return Transforms(*(each.astype(dtype) for each in along))
    return Transforms(*(np.kron(each, each).astype(dtype) for each in along))
