"""Vectors of sums: what they are sums of, and where their lanes are stored."""

from __future__ import annotations

from typing import Any

import numpy as np

from arrayconv._integers import Ints
from arrayconv.backends.numpy.layouts import Copies, Pass

CHAINS, PART = 12, 0.25
"""Sums below which a tile takes no less time: each product waits for the one before, and weights
are loaded for few. And what vectors of one tile have in common, as products."""


def of_layout(crop: Copies, tile: Ints, lanes: int) -> tuple[Any, Any, Any]:
    """Return runs of vectors of cells that are laid out, and their stores.

    Of a run it is where it begins, its first vector's number, how many vectors it has, and how many
    of these, from the first on, are whole and go to results one behind the other.

    Between the planes of a dimension, or images, are cells that are no output's. Vectors begin anew
    behind them where that takes less time.
    """
    starts, ends = crop.source, crop.source + crop.length
    between = starts[1:] - ends[:-1]
    found: list[tuple[float, Any, Any]] = []
    for gap in (starts[-1] + 1, *np.unique(between)[::-1]):
        cuts = np.flatnonzero(between >= gap)
        first = starts[np.append(0, cuts + 1)]
        counts = -(-(ends[np.append(cuts, -1)] - first) // lanes)
        found.append((_turns(counts, tile), first, counts))
    _, first, counts = min(found, key=lambda each: each[0])
    runs = np.stack([first, np.cumsum(counts) - counts, counts], axis=1)
    return _stored(runs, crop, lanes)


def in_place(crop: Copies, planes: Ints, step: int, most: int, lanes: int) -> tuple[Any, Any, Any]:
    """Return the same of cells that are read where they are: each plane is one run of them.

    ``planes`` are how many, and the cells of each, a vector at least; they lie ``step`` apart, but
    not in the layout that ``crop`` is of. A run has no more than ``most`` vectors. None is read
    past the last cell: the last run begins before it would, and some outputs are made twice.
    """
    count, cells = planes
    vectors = -(-cells // lanes)
    number = np.arange(0, vectors, most)
    if len(number) > 1 and number[-1] == vectors - 1:
        # One by itself is slow.
        number[-1] -= 1
    elif len(number) == 1 < vectors and cells % lanes:
        # With one run alone it could not begin before.
        number = np.array([0, vectors - 1])
    some = np.diff(number, append=vectors)
    start = np.minimum(number * lanes, cells - some * lanes)
    plane = np.repeat(np.arange(count), len(number))
    number, some, start = (np.tile(each, count) for each in (number, some, start))
    runs = np.stack([plane * cells + start, plane * vectors + number, some], axis=1)
    runs, stores, ends = _stored(runs, crop, lanes)
    runs[:, 0] = plane * step + start
    return runs, stores, ends


def _stored(runs: Any, crop: Copies, lanes: int) -> tuple[Any, Any, Any]:
    """Return runs, with how many vectors are whole, and the stores of all vectors."""
    cell, number, counts = runs.T
    which = np.arange(counts.sum())
    stores, ends = _stores(crop, np.repeat(cell - number * lanes, counts) + which * lanes, lanes)
    place, low, high = stores[np.minimum(ends[:-1], len(stores) - 1)].T
    is_whole = (np.diff(ends) == 1) & (low == 0) & (high == lanes)
    follows = np.diff(place, prepend=0) == lanes
    follows[number] = True
    broken = np.append(np.flatnonzero(~(is_whole & follows)), len(which))
    whole = np.minimum(broken[np.searchsorted(broken, number)] - number, counts)
    return np.column_stack([runs, whole]), stores, ends


def _turns(counts: Any, tile: Ints) -> float:
    """Return in how many products' time a term of runs of some vectors is added for an output."""
    outputs, most = tile
    whole, left = np.divmod(counts, most)
    few = [max(count, CHAINS / outputs) + PART for count in range(1, most + 1)]
    return float((whole * few[-1]).sum() + np.array([0, *few])[left].sum())


def _stores(crop: Copies, starts: Any, lanes: int) -> tuple[Any, Any]:
    """Return where the lanes of each vector go: the rows (place, low, high) of `sum_products`.

    And how many of these there are before each vector, of which ``starts`` has the first cells.
    """
    first = np.searchsorted(starts, crop.source - lanes, "right")
    counts = np.searchsorted(starts, crop.source + crop.length) - first
    run = np.repeat(np.arange(len(counts)), counts)
    vector = np.arange(len(run)) - np.repeat(np.cumsum(counts) - counts, counts) + first[run]
    low = crop.source[run] - starts[vector]
    high = np.minimum(low + crop.length, lanes)
    stores = np.stack([crop.target[run] - low, np.maximum(low, 0), high], axis=1)
    # Runs follow one another, but of vectors that overlap each may have lanes of the same ones.
    order = np.argsort(vector, kind="stable")
    return stores[order], np.searchsorted(vector[order], np.arange(len(starts) + 1))


def terms_of(each: Pass, channels: int, size: int, weights: Ints) -> Any:
    """Return for each channel and tap the offsets of the cell and of the weight."""
    of_channel, of_tap = weights
    of_taps = np.array([each.offsets, each.taps], np.int64).T * (1, of_tap)
    of_channels = np.arange(channels)[:, None] * np.array([size, of_channel])
    return np.ascontiguousarray((of_channels[:, None] + of_taps).reshape(-1, 2))


def rows_of(table: Any, reach: int) -> int:
    """Return how many rows the cells of a table lie in: those closer than a reach share one."""
    return 1 + int((np.diff(np.sort(table[:, 0])) > reach).sum())
