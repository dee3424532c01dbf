"""Where the cells of a sum's adjoint find the positions that see them: for `row_spreads`.

Cells are made in groups of as many as the stride has, each of whose phases meets taps of its own,
and some rows at a time.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._integers import Ints
from arrayconv._window import Window, input_sizes, kernel_sizes, output_sizes
from arrayconv.backends.numpy.compiler import loops
from arrayconv.backends.numpy.depthwise_rows import MOST, spatial

LARGEST_STRIDE = 4
"""Phases of a row or of rows whose sums are held at a time."""
WRITTEN_OUT = 512
"""Products of vectors that are written out, at most."""


class Plan(NamedTuple):
    """Where windows lie, and which cells are made at a time."""

    shape: Ints
    """The numbers of `Spread`."""
    table: Any
    """For each group of rows of cells, of each slice of the kernel that they meet, where its
    weights and then the rows of positions are; -1 for those outside."""
    tiles: Any
    """Of each group where it begins in a plane of cells, and its rows."""
    numbers: Any
    """Positions of a plane and of a row, and which of these the first group of cells meets first;
    cells of a plane and of a row, and taps."""


def _shape(window: Window, lanes: int) -> Ints:
    """Return the numbers of `Spread`."""
    _, down, along = spatial(window)
    whole, strides = (-(-axis.size // axis.stride) for axis in (down, along))
    rows = down.stride * max(1, min(MOST // (along.stride * down.stride), whole))
    vectors = 1
    while 2 * rows * vectors * along.stride <= MOST and 2 * vectors * lanes <= strides:
        vectors *= 2
    deep = max((len(each) for each in _slices(window)), default=1)
    return (
        *(max(1, deep), down.kernel, along.kernel, down.stride, along.stride),
        *(down.dilation, along.dilation, down.before % down.stride, along.before % along.stride),
        *(rows, vectors),
    )


def _slices(window: Window) -> list[list[tuple[int, int]]]:
    """Return, for each slice of cells, the kernel's slices that meet it, by which positions."""
    axis, found = spatial(window)[0], []
    for cell in range(axis.size):
        places = [
            (tap, divmod(cell + axis.before - tap * axis.dilation, axis.stride))
            for tap in range(axis.kernel)
        ]
        found.append([(tap, at) for tap, (at, rest) in places if rest == 0 and 0 <= at < axis.out])
    return found


@lru_cache(maxsize=256)
def plan(window: Window, lanes: int) -> Plan:
    """Return the plan of an adjoint in one, two or three dimensions."""
    _, down, along = spatial(window)
    shape = _shape(window, lanes)
    spread = loops("row_spreads").Spread(*shape)
    met, _ = spread.meets()
    table: list[Ints] = []
    tiles = []
    starts = range(0, down.size, spread.rows)
    for (slice_of, pieces), start in product(enumerate(_slices(window)), starts):
        first = start // down.stride + down.before // down.stride
        rows = [first + position for position in met]
        outside = [(0, *[-1] * len(rows))] * (spread.deep - len(pieces))
        of_pieces = [
            (
                tap * down.kernel * along.kernel,
                *((at * down.out + row) * along.out if 0 <= row < down.out else -1 for row in rows),
            )
            for tap, at in pieces
        ]
        table.append(tuple(sum([*of_pieces, *outside], ())))
        place = (slice_of * down.size + start) * along.size
        tiles.append((place, min(spread.rows, down.size - start)))
    numbers = (
        *(prod(output_sizes(window)), along.out, along.before // along.stride),
        *(prod(input_sizes(window)), along.size, prod(kernel_sizes(window))),
    )
    return Plan(shape, *(np.array(each, np.int64) for each in (table, tiles, numbers)))


def work(window: Window, lanes: int) -> int:
    """Return what a plane takes: products, and what is loaded and stored."""
    slices, down, along = spatial(window)
    shape = _shape(window, lanes)
    deep, tall, wide, *_, rows, vectors = shape
    tiles = slices.size * -(-down.size // rows)
    tiles *= -(-along.size // (along.stride * vectors * lanes))
    products = tall * wide * rows * vectors // down.stride
    # A vector is loaded for each tap of a row that no other has, with each row that is met.
    loads = tall * wide + -(-wide // along.stride) * (rows // down.stride + tall) * vectors
    return tiles * (deep * (products + loads) + 3 * rows * vectors * along.stride)


def unfit(window: Window) -> str | None:
    """Return why the adjoint cannot be written out in code."""
    _, down, along = spatial(window)
    largest = max(down.stride, along.stride)
    if largest > LARGEST_STRIDE:
        return f"of its adjoints it is for strides of at most {LARGEST_STRIDE}, got {largest}"
    if down.kernel * along.kernel * MOST // down.stride > WRITTEN_OUT:
        return f"with a stride its kernel of {down.kernel} x {along.kernel} is too large"
    return None
