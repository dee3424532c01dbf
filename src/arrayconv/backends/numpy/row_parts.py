"""Some rows of some images of an array (N, C, *sizes), as runs in its memory."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple


class Planes(NamedTuple):
    """Runs of numbers, of which each plane has one."""

    number: int
    first: int
    """Where the first one's begins."""
    step: int
    """From the beginning of one to that of the next."""
    length: int


def planes_of(x: Any, images: slice, rows: slice) -> Planes:
    """Return the planes that rows, of the first spatial dimension, are parts of."""
    channels, cells, row = x.shape[1], prod(x.shape[2:]), prod(x.shape[3:])
    first = images.start * channels * cells + rows.start * row
    number = (images.stop - images.start) * channels
    return Planes(number, first, cells, (rows.stop - rows.start) * row)


def shape_of(x: Any, images: slice, rows: slice) -> tuple[int, ...]:
    """Return the shape of these rows."""
    return images.stop - images.start, x.shape[1], rows.stop - rows.start, *x.shape[3:]
