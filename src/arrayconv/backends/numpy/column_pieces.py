"""How the work of `columns` is cut into pieces, and what is copied, or added, of each.

A piece goes by way of a slab, which has the cells that each tap of the last axis sees.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from math import prod
from typing import NamedTuple

from arrayconv._integers import Ints
from arrayconv._window import Axis, Window
from arrayconv.backends.numpy.blocks import Slices, cut, intersect
from arrayconv.backends.numpy.phases import Phases, phases

Index = tuple[int | slice, ...]
WHOLE = slice(None)


class Piece(NamedTuple):
    """One block of planes and positions, by way of a slab (planes, last tap, phases, position)."""

    planes: slice
    positions: Slices
    slab: Ints
    joined: int
    """How many of the last dimensions are one, in the slab and the planes, for `cells`."""
    cells: tuple[tuple[Index, Index], ...]
    """Parts of the slab, and the cells of the planes that each one holds."""
    wrapped: tuple[Index, ...]
    """Parts of the slab that see the next row's cells, where rows are joined: they count for 0."""
    columns: tuple[tuple[Index, Index], ...]
    """Parts of the columns (planes, *kernel, *positions), and of the slab that each one is."""
    firsts: tuple[bool, ...]
    """Whether each of these is the first in its phases of the slab."""
    around: tuple[Index, ...]
    """Parts of the slab that none of the first ones covers."""


def _around(box: Slices, lengths: Ints) -> Iterator[Slices]:
    """Return boxes that hold what a box leaves of an array."""
    for dim, length in enumerate(lengths):
        for rest in (slice(0, box[dim].start), slice(box[dim].stop, length)):
            if rest.start < rest.stop:
                yield (*box[:dim], rest, *(WHOLE,) * (len(lengths) - dim - 1))


class _Cells(NamedTuple):
    """What the taps of the last axis see: fields of a `Piece`."""

    joined: int
    cells: tuple[tuple[Index, Index], ...]
    wrapped: tuple[Index, ...]


def _by_row(rows: Sequence[Phases], last: Axis, end: slice) -> _Cells:
    """Return the cells that each tap sees, row by row."""
    cells: list[tuple[Index, Index]] = []
    for tap in range(last.kernel):
        seen_cells, places = intersect(last, tap, end)
        for parts in product(*(each.cells for each in rows)):
            runs = [index for number, run, _ in parts for index in (number, run)]
            to: Index = (WHOLE, tap, *runs, places)
            cells.append((to, (WHOLE, *(part[2] for part in parts), seen_cells)))
    return _Cells(1, tuple(cells), ())


def _in_one_run(rows: Sequence[Phases], last: Axis) -> _Cells:
    """Return the cells that each tap sees as one run, where a row has as many positions as cells.

    What a tap sees beyond a row's end are the first cells of the next row.
    """
    cells: list[tuple[Index, Index]] = []
    wrapped: list[Index] = []
    size = last.size
    for tap in range(last.kernel):
        shift = tap * last.dilation - last.before
        if abs(shift) >= size:
            continue
        beyond = slice(size - shift, size) if shift > 0 else slice(0, -shift)
        for parts in product(*(each.cells for each in rows)):
            *outer, (number, run, of) = parts
            runs = [index for each, those, _ in outer for index in (each, those)]
            # The first and the last row end where the plane does.
            low, high = max(0, -shift), (run.stop - run.start) * size - max(0, shift)
            start, source = run.start * size, of.start * size + shift
            to: Index = (WHOLE, tap, *runs, number, slice(start + low, start + high))
            seen = slice(source + low, source + high)
            cells.append((to, (WHOLE, *(part[2] for part in outer), seen)))
            if shift:
                wrapped.append((WHOLE, tap, *runs, number, run, beyond))
    return _Cells(2, tuple(cells), tuple(wrapped))


@lru_cache(maxsize=256)
def pieces_of(
    window: Window, planes: int, itemsize: int, limit: int, join: bool
) -> tuple[Piece, ...]:
    """Return the pieces of a window's work, in order; a slab takes at most ``limit`` bytes.

    ``join`` says that rows are to be joined, if that goes.
    """
    *leading, last = window
    per_position = itemsize * last.kernel * prod(axis.stride for axis in leading if axis.out > 1)
    equal = last.stride == 1 and last.out == last.size
    pieces = []
    for block in cut(window, planes, 1, per_position, limit):
        *ranges, end = block.positions
        rows = [
            phases(axis, each.start, each.stop) for axis, each in zip(leading, ranges, strict=True)
        ]
        joins = join and equal and end == slice(0, last.out) and leading[-1].stride == 1
        seen = _in_one_run(rows, last) if joins else _by_row(rows, last, end)
        lengths = [n for each in rows for n in (each.number, each.length)]
        columns: list[tuple[Index, Index]] = []
        firsts: list[bool] = []
        around: list[Index] = []
        begun = set()
        for taps in product(*(range(axis.kernel) for axis in leading)):
            places = [each.taps[tap] for each, tap in zip(rows, taps, strict=True)]
            runs = [index for place in places for index in place]
            columns.append(((WHOLE, *taps, WHOLE, *block.positions), (WHOLE, WHOLE, *runs)))
            numbers = tuple(number for number, _ in places)
            firsts.append(numbers not in begun)
            if numbers not in begun:
                begun.add(numbers)
                box = tuple(run for _, run in places)
                for rest in _around(box, tuple(each.length for each in rows)):
                    both = [n for pair in zip(numbers, rest, strict=True) for n in pair]
                    around.append((WHOLE, WHOLE, *both))
        count = block.images.stop - block.images.start
        slab = (count, last.kernel, *lengths, end.stop - end.start)
        pieces.append(
            Piece(
                *(block.images, block.positions, slab, *seen),
                *(tuple(columns), tuple(firsts), tuple(around)),
            )
        )
    return tuple(pieces)
