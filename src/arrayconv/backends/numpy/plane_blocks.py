"""Cut planes into blocks that the cache holds: some planes, or of a large one some rows."""

from __future__ import annotations

from typing import NamedTuple


class PlaneBlock(NamedTuple):
    """What is worked on at a time."""

    image: int
    planes: slice
    rows: slice
    """Positions of the first spatial dimension."""


def plane_blocks(
    images: int, planes: int, rows: int, plane_bytes: int, limit: int
) -> list[PlaneBlock]:
    """Return blocks of at most ``limit`` bytes (of one row at least) of images of planes.

    ``rows`` are the positions of the first spatial dimension, and ``plane_bytes`` those that all
    of a plane's take.
    """
    some = max(1, limit // max(1, plane_bytes))
    band = max(1, rows * limit // max(1, plane_bytes)) if some == 1 else max(1, rows)
    return [
        PlaneBlock(image, slice(start, start + some), slice(row, min(rows, row + band)))
        for image in range(images)
        for start in range(0, planes, some)
        for row in range(0, rows, band)
    ]
