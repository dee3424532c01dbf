"""Products of points for `compiled_winograd_gradient`, compiled by numba: by `loops` only.

A gradient's sums run over tiles, of which a block has few, for many pairs of an output and a
channel: as products of matrices they are small, and these are laid out anew for each. Here vectors
hold channels, so what is seen is turned over, and sums are added to as `tile_sums` keeps them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from arrayconv.backends.numpy.addresses import whole_lines
from arrayconv.backends.numpy.linear_maps import TAPS, multiples, transform
from arrayconv.backends.numpy.loop_forms import Loop, compiled_by_form, inlined
from arrayconv.backends.numpy.phase_copies import turns_together
from arrayconv.backends.numpy.registers import VECTOR_BYTES
from arrayconv.backends.numpy.tile_sums import Tile, tile, vectors_of
from arrayconv.backends.numpy.tile_sums import sum_products as add
from arrayconv.backends.numpy.whole_planes import turn_over
from arrayconv.backends.numpy.winograd_maps import Square

__all__ = ["add_products", "taps_of_products", "tile"]


@inlined
def _turn(
    seen: Any, first: Any, tiles: Any, channels: Any, some: Any, cells: Any, across: Any
) -> None:
    """Write ``some`` tiles of channels, ``tiles`` apart, as rows of channels, ``across`` apart."""
    lanes = VECTOR_BYTES // seen.itemsize
    if channels < lanes:
        for channel in range(channels):
            for n in range(some):
                cells[np.uintp(n * across + channel)] = seen[np.uintp(first + channel * tiles + n)]
        return
    step, wide = np.uintp(tiles), np.uintp(across)
    for start in range(0, channels, lanes):
        # The last square may overlap the one before.
        channel = min(start, channels - lanes)
        for n in range(0, some, lanes):
            at, to = np.uintp(first + channel * tiles + n), np.uintp(n * across + channel)
            turn_over(seen, at, step, cells, to, wide)


@compiled_by_form
def add_products(shape: Tile, rest: int) -> Loop:
    """Return what adds up a block's products of points, for outputs of which ``rest`` are left.

    ``made`` and ``seen`` have the points of outputs and of channels, those of groups after one
    another, ``tiles`` of each. A range is one of points. The sums are ``kept``: those of a point
    and a group after one another, and there for as many vectors of channels as a tile of sums has,
    those of all outputs. ``table`` has the terms of all blocks, and one more, so that no sum is
    ever written out; this block has those from ``low`` to ``high``. ``numbers`` are the groups,
    outputs and channels of a group, the points of outputs and of channels, from one point to the
    next, the tiles, and the channels of a group in whole vectors.
    """
    outputs, vectors = shape

    def run(
        made: Any,
        seen: Any,
        zeros: Any,
        kept: Any,
        begin: Any,
        end: Any,
        thread: Any,
        workspace: Any,
        table: Any,
        numbers: Any,
        low: Any,
        high: Any,
    ) -> None:
        groups, count, channels, of_made, of_seen, tiles, across = numbers
        lanes = VECTOR_BYTES // seen.itemsize
        cells, whole, every_vector = workspace[thread], count - rest, across // lanes
        # Nothing is written out, so nobody looks where to.
        nowhere = (kept, 0, table, numbers)
        same = (cells, table, made, tiles, zeros, *nowhere, kept, len(table))
        for number in range(begin * groups, end * groups):
            point, group = number // groups, number % groups
            first = point * of_seen + group * channels * tiles
            _turn(seen, first, tiles, channels, high - low, cells, across)
            factors = point * of_made + group * count * tiles
            place = number * count * across
            v = 0
            while v < every_vector:
                some, cell = vectors_of(every_vector - v, vectors), v * lanes
                for output in range(0, whole, outputs):
                    w = factors + output * tiles
                    at = place + count * cell + output * some * lanes
                    add(outputs, vectors, some, cell, (low, high, v, False), w, 0, 0, at, same)
                if rest > 0:
                    w = factors + whole * tiles
                    at = place + count * cell + whole * some * lanes
                    add(rest, vectors, some, cell, (low, high, v, False), w, 0, 0, at, same)
                v += some

    return run


@compiled_by_form
def taps_of_products(square: Square, vectors: int) -> Loop:
    """Return what makes a weight of the sums that `add_products` kept, by ``vectors`` at a time.

    A range is one of the outputs of all groups; ``numbers`` are those of `add_products`.
    """
    (down, tall), (over, wide) = square
    rows, columns = square.seen
    taps = tall * wide

    def run(kept: Any, weight: Any, begin: Any, end: Any, numbers: Any) -> None:
        groups, count, channels, _, _, _, across = numbers
        lanes = VECTOR_BYTES // kept.itemsize
        size, line = groups * count * across, columns * lanes
        held, made = whole_lines(tall * line, kept), whole_lines(taps * lanes, kept)
        by_row, by_point = multiples(rows, columns * size), multiples(columns, size)
        along = multiples(columns, lanes)
        for row in range(begin, end):
            group, output = row // count, row % count
            first, some = 0, vectors_of(across // lanes, vectors)
            for v in range(across // lanes):
                if v == first + some:
                    first, some = v, vectors_of(across // lanes - v, vectors)
                at = (group * across + first * lanes) * count + (output * some + v - first) * lanes
                if rows == 1:
                    transform(TAPS, over, wide, kept, by_point, at, None, made, 0, lanes)
                else:
                    for j in range(columns):
                        to = j * lanes
                        transform(
                            TAPS, down, tall, kept, by_row, at + j * size, None, held, to, line
                        )
                    for i in range(tall):
                        to = i * wide * lanes
                        transform(TAPS, over, wide, held, along, i * line, None, made, to, lanes)
                place = (row * channels + v * lanes) * taps
                turns_together(taps, made, weight, place, (channels - v * lanes) * taps)

    return run
