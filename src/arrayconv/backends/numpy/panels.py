"""Cells in panels, as a product of matrices takes them: for kernels that see no cell twice.

Where each output sees one cell of a channel, as with a kernel of one tap or a transposed
convolution whose stride is its kernel, what a tile of sums reads is a few vectors of each channel.
In planes these lie far apart. So they are laid out side by side: a panel has them of all channels,
and the first cache and its prefetcher see one run of whole lines.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from arrayconv.backends.numpy.layouts import Copies, Layout, in_order

__all__ = ["are_fit", "in_panels", "joined", "runs"]


def are_fit(layout: Layout) -> bool:
    """Whether each output of a layout sees one cell of a channel, the one of its own number."""
    return not any(offset for each in layout.passes for offset in each.offsets)


def in_panels(layout: Layout, channels: int, width: int) -> Layout:
    """Return a layout of planes as one of panels of so many cells of each of ``channels``."""
    count = -(-layout.size // width)
    rest = count * width - layout.size
    gaps = np.concatenate([layout.gaps.T, [(layout.size, rest)] if rest else layout.gaps.T[:0]])
    runs = _cut(_joined(layout.fill.runs, layout.fill.step), width, layout.fill.step)
    runs[:, 1] = _moved(runs[:, 1], channels, width)
    gaps = _cut(np.stack([0 * gaps[:, 0], *gaps.T], axis=1), width, 0)[:, 1:]
    gaps[:, 0] = _moved(gaps[:, 0], channels, width)
    limits = runs[:, 1] - runs[:, 1] % width + width
    return layout._replace(
        size=width,
        panels=count,
        gaps=np.ascontiguousarray(gaps.T),
        fill=in_order(runs, layout.fill.step, limits),
    )


def joined(copies: Copies) -> Copies:
    """Return copies of runs, each of which may go on where the one before ends, as of fewer."""
    length = copies.length
    ends = (np.diff(copies.source) != length) | (np.diff(copies.target) != length)
    first = np.append(0, np.flatnonzero(ends) + 1)
    lengths = np.diff(np.append(first, len(copies.source))) * length
    if copies.step != 1 or len(set(lengths)) != 1:
        return copies
    return Copies(copies.source[first], copies.target[first], int(lengths[0]), 1)


def _moved(cells: Any, channels: int, width: int) -> Any:
    """Return where the cells of a plane are in panels, in the first channel."""
    return cells // width * width * channels + cells % width


def _joined(runs: Any, step: int) -> Any:
    """Return runs (start, place, length) of which none begins where the one before ends."""
    start, place, length = runs.T
    goes_on = (start[1:] == start[:-1] + step * length[:-1]) & (
        place[1:] == place[:-1] + length[:-1]
    )
    first = np.flatnonzero(np.append(True, ~goes_on)[: len(runs)])
    if not len(first):
        return runs
    return np.stack([start[first], place[first], np.add.reduceat(length, first)], axis=1)


def _cut(runs: Any, width: int, step: int) -> Any:
    """Return runs (start, place, length) cut where a panel ends."""
    start, place, length = runs.T
    pieces = (place + length - 1) // width - place // width + 1
    of = np.repeat(np.arange(len(runs)), pieces)
    number = np.arange(len(of)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    low = np.maximum(place[of], (place[of] // width + number) * width)
    high = np.minimum(place[of] + length[of], (place[of] // width + number + 1) * width)
    return np.stack([start[of] + (low - place[of]) * step, low, high - low], axis=1)


def runs(layout: Layout, channels: int, vectors: int, lanes: int) -> Any:
    """Return the runs (cell, vector, vectors) of the first so many vectors: one in each panel."""
    each = layout.size // lanes
    number = np.arange(0, vectors, each)
    counts = np.minimum(each, vectors - number)
    return np.stack([number // each * channels * layout.size, number, counts], axis=1)
