"""Cut a window into parts, in integers: what a range of its output needs of its input.

A part is a range of one axis of the output, the range of the input that it needs, and the axis by
which a window slides over just that. A part of a window's positions needs cells; a part of the
cells (of an adjoint) needs positions. Stride, dilation, padding and odd ranges are all in the
part's own `Axis`, so that a block is a call like any other.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from arrayconv._window import Axis, Table, needed_after, span


class Part(NamedTuple):
    """The output's ``start .. stop - 1``, the input's ``low .. high - 1``, and the axis between."""

    start: int
    stop: int
    low: int
    high: int
    axis: Axis | Table


def _settled(axis: Axis) -> Axis:
    """Return the axis with the padding after its input that its windows touch."""
    return axis._replace(after=max(0, needed_after(axis)))


@lru_cache(maxsize=65536)
def sliding_part(axis: Axis | Table, start: int, stop: int) -> Part:
    """Return what the positions ``start .. stop - 1`` need: one cell at least, seen or not."""
    if isinstance(axis, Table):
        rows = axis.cells[start:stop]
        seen = [cell for row in rows for cell in row if cell >= 0]
        low, high = min(seen), max(seen) + 1
        cells = tuple(tuple(cell - low if cell >= 0 else -1 for cell in row) for row in rows)
        return Part(start, stop, low, high, Table(high - low, axis.kernel, stop - start, cells))
    first = start * axis.stride - axis.before
    end = (stop - 1) * axis.stride - axis.before + span(axis)
    low = min(max(0, first), axis.size - 1)
    high = max(min(axis.size, end), low + 1)
    # Windows behind the input see padding only, and do so as well before the one cell they get.
    before = low - first if first < axis.size else end - first
    part = axis._replace(size=high - low, before=before, out=stop - start)
    return Part(start, stop, low, high, _settled(part))


@lru_cache(maxsize=65536)
def adjoint_part(axis: Axis | Table, start: int, stop: int) -> Part:
    """Return what the cells ``start .. stop - 1`` need: the positions that see one of them."""
    if isinstance(axis, Table):
        seeing = [
            position
            for position, row in enumerate(axis.cells)
            if any(start <= cell < stop for cell in row)
        ]
        low, high = seeing[0], seeing[-1] + 1
        cells = tuple(
            tuple(cell - start if start <= cell < stop else -1 for cell in row)
            for row in axis.cells[low:high]
        )
        return Part(start, stop, low, high, Table(stop - start, axis.kernel, high - low, cells))
    place = start + axis.before
    # The second keeps the part's own `before` from being negative; its position may see nothing.
    low = min(-((span(axis) - 1 - place) // axis.stride), place // axis.stride)
    low = max(0, min(low, axis.out - 1))
    high = max(low + 1, min(axis.out, (stop - 1 + axis.before) // axis.stride + 1))
    before = place - low * axis.stride
    part = axis._replace(size=stop - start, before=before, out=high - low)
    return Part(start, stop, low, high, _settled(part))
