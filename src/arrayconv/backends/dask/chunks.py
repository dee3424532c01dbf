"""Choose chunks, in integers: for positions and cells those of what they see, or are seen by."""

from __future__ import annotations

from itertools import accumulate, pairwise
from math import prod

from arrayconv._integers import Ints
from arrayconv._window import Axis, Table, span


def ranges(chunks: Ints) -> list[tuple[int, int]]:
    """Return the (start, stop) of each chunk of an axis."""
    return list(pairwise(accumulate(chunks, initial=0)))


def lengths(bounds: list[int]) -> Ints:
    """Return the lengths between bounds in order, leaving out what is empty."""
    return tuple(stop - start for start, stop in pairwise(bounds) if stop > start)


def _centre(axis: Axis | Table, position: int) -> int:
    """Return the cell in the middle of a position's window."""
    if isinstance(axis, Table):
        seen = [cell for cell in axis.cells[position] if cell >= 0]
        return (min(seen) + max(seen)) // 2
    return position * axis.stride - axis.before + (span(axis) - 1) // 2


def position_chunks(axis: Axis | Table, chunks: Ints) -> Ints:
    """Return chunks of the positions: each with the chunk of cells that its centre lies in."""
    stops = list(accumulate(chunks))
    bounds = [0]
    for stop in stops[:-1]:
        if isinstance(axis, Table):
            count = sum(_centre(axis, position) < stop for position in range(axis.out))
        else:
            count = -((_centre(axis, 0) - stop) // axis.stride)
        bounds.append(max(bounds[-1], min(axis.out, count)))
    return lengths([*bounds, axis.out])


def cell_chunks(axis: Axis | Table, chunks: Ints) -> Ints:
    """Return chunks of the cells, each with the chunk of positions in whose windows' middle it is.

    The inverse of `position_chunks`.
    """
    bounds = [0]
    for stop in list(accumulate(chunks))[:-1]:
        if stop < axis.out:
            bounds.append(max(bounds[-1], min(axis.size, _centre(axis, stop))))
    return lengths([*bounds, axis.size])


def refined(chunks: list[Ints], bytes_per_cell: int, limit: int) -> list[Ints]:
    """Return the chunks, halved along their longest dimension until each takes ``limit`` bytes."""
    chunks = list(chunks)
    while chunks:
        largest = [max(each, default=1) for each in chunks]
        longest = largest.index(max(largest))
        if prod(largest) * bytes_per_cell <= limit or largest[longest] == 1:
            break
        most = -(-largest[longest] // 2)
        chunks[longest] = tuple(
            part for chunk in chunks[longest] for part in _divided(chunk, -(-chunk // most))
        )
    return chunks


def _divided(length: int, count: int) -> Ints:
    """Return ``count`` nearly equal lengths that make up ``length``."""
    return lengths([length * number // count for number in range(count + 1)])


def runs_of_rows(rows: Ints, flat: Ints) -> tuple[int, Ints]:
    """Return along which dimension a flattened axis can be cut into rectangles, and its chunks.

    Only the first dimension of more than one position can: its chunks are those of the flattened
    axis, each end moved to the end of a row.
    """
    dim = next((place for place, length in enumerate(rows) if length > 1), 0)
    inner = prod(rows[dim + 1 :])
    bounds = [0, *(stop // inner for stop in list(accumulate(flat))[:-1]), rows[dim]]
    return dim, lengths(bounds)
