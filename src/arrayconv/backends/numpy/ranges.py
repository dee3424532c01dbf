"""Windows as ranges of cells, and the adjoint: for each cell the range of positions that see it."""

from __future__ import annotations

from functools import lru_cache

from arrayconv._window import Axis, Table, inverse_table, window_lengths

Ranges = tuple[tuple[int, int], ...]


@lru_cache(maxsize=1024)
def cell_ranges(axis: Axis | Table) -> Ranges:
    """Return, for each position, its window's first cell of the input and the end of its last.

    Between them are the cells of the window, a dilation apart; (0, 0) where it has none.
    """
    if isinstance(axis, Table):
        return tuple((row[0], max(row) + 1) for row in axis.cells)
    found = []
    for position, length in enumerate(window_lengths(axis, padded=False)):
        start = position * axis.stride - axis.before
        first = start + max(0, -(start // axis.dilation)) * axis.dilation
        end = first + (length - 1) * axis.dilation + 1
        found.append((first, end) if length else (0, 0))
    return tuple(found)


@lru_cache(maxsize=1024)
def position_ranges(axis: Axis | Table) -> Ranges:
    """Return, for each cell, the first position that sees it and one behind the last.

    For windows without dilation, whose positions are neighbours.
    """
    if isinstance(axis, Table):
        seen = [[place % axis.out for place in row if place >= 0] for row in inverse_table(axis)]
        return tuple((min(each), max(each) + 1) if each else (0, 0) for each in seen)
    found = []
    for cell in range(axis.size):
        first = max(0, -((axis.kernel - 1 - cell - axis.before) // axis.stride))
        end = min(axis.out, (cell + axis.before) // axis.stride + 1)
        found.append((first, end) if first < end else (0, 0))
    return tuple(found)


@lru_cache(maxsize=1024)
def whole_positions(axis: Axis | Table) -> range:
    """Return the run of positions that see the input by every tap; none where they follow no rule.

    None, too, where each of few windows has many cells: then it is better to go along the window.
    """
    if isinstance(axis, Table) or axis.kernel >= 4 * axis.out:
        return range(0)
    # Padding may be wider than all positions, as in the gradient of a pool of few cells.
    first = min(axis.out, max(0, -(-axis.before // axis.stride)))
    reach = axis.size + axis.before - axis.dilation * (axis.kernel - 1) - 1
    return range(first, max(first, min(axis.out, reach // axis.stride + 1)))
