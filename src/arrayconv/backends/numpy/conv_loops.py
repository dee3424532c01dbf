"""The loops of `compiled_convolution`, compiled by numba: import this by `compiler.loops` only."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba

from arrayconv.backends.numpy.vectors import VECTOR_BYTES, Tile, tile
from arrayconv.backends.numpy.vectors import sum_products as add

__all__ = ["VECTOR_BYTES", "convolve", "copy_runs", "tile"]

_narrow = numba.uint32
TERMS = 256
"""Terms that are summed up by themselves: the first cache holds their cells for all outputs, and
rounding grows with the number of such sums, not of terms."""


@numba.njit(cache=True, nogil=True)
def copy_runs(
    source: Any,
    first: Any,
    each: Any,
    target: Any,
    place: Any,
    every: Any,
    planes: Any,
    starts: Any,
    places: Any,
    length: Any,
    step: Any,
    stride: Any,
) -> None:
    """Copy runs of ``length`` cells of planes, which lie ``each`` and ``every`` apart.

    From ``starts`` of a plane to ``places``, ``step`` and ``stride`` cells from one to the next.
    """
    for plane in range(planes):
        for run in range(starts.shape[0]):
            # Slices, whose indices are not negative, so that nobody looks whether they are.
            seen = source[first + plane * each + starts[run] :]
            made = target[place + plane * every + places[run] :]
            if step == 1 and stride == 1:
                for cell in range(length):
                    made[cell] = seen[cell]
            elif step == 2:
                # A constant, in 32 bits that cannot wrap around in 64: this too is done by vectors.
                for cell in range(_narrow(length)):
                    made[cell] = seen[_narrow(2) * _narrow(cell)]
            elif stride == 2:
                for cell in range(_narrow(length)):
                    made[_narrow(2) * _narrow(cell)] = seen[cell]
            else:
                for cell in range(length):
                    made[cell * stride] = seen[cell * step]


@cache
def convolve(shape: Tile, rest: int, lanes: int) -> Callable[..., None]:
    """Return sums of products for as many outputs as leave ``rest`` beside whole tiles.

    It takes flat cells, those of a group after ``each`` others; for each term of a sum the offsets
    of its cell and its weight (terms, 2); flat weights, their first, their steps from group to
    group and from output to output; and a buffer for the sums (groups, count, row), of which the
    first ``length`` of a row are meant.
    """
    outputs, vectors = shape

    @numba.njit(cache=True, nogil=True)
    def run(
        cells: Any,
        each: Any,
        table: Any,
        weight: Any,
        first: Any,
        every: Any,
        step: Any,
        sums: Any,
        row: Any,
        groups: Any,
        count: Any,
        length: Any,
    ) -> None:
        terms, whole = table.shape[0], count - rest
        for group in range(groups):
            factors, rows = first + group * every, group * count * row
            for at in range(0, length, vectors * lanes):
                left, cell = length - at, group * each + at
                for begin in range(0, terms, TERMS):
                    end = min(terms, begin + TERMS)
                    for output in range(0, whole, outputs):
                        w, to = factors + output * step, rows + output * row + at
                        if left > min(vectors - 1, 3) * lanes:
                            add(
                                cells,
                                cell,
                                table,
                                begin,
                                end,
                                weight,
                                w,
                                step,
                                sums,
                                to,
                                row,
                                outputs,
                                vectors,
                            )
                        elif vectors > 3 and left > 2 * lanes:
                            add(
                                cells,
                                cell,
                                table,
                                begin,
                                end,
                                weight,
                                w,
                                step,
                                sums,
                                to,
                                row,
                                outputs,
                                3,
                            )
                        elif left > lanes:
                            add(
                                cells,
                                cell,
                                table,
                                begin,
                                end,
                                weight,
                                w,
                                step,
                                sums,
                                to,
                                row,
                                outputs,
                                2,
                            )
                        else:
                            add(
                                cells,
                                cell,
                                table,
                                begin,
                                end,
                                weight,
                                w,
                                step,
                                sums,
                                to,
                                row,
                                outputs,
                                1,
                            )
                    if rest > 0:
                        w, to = factors + whole * step, rows + whole * row + at
                        if left > min(vectors - 1, 3) * lanes:
                            add(
                                cells,
                                cell,
                                table,
                                begin,
                                end,
                                weight,
                                w,
                                step,
                                sums,
                                to,
                                row,
                                rest,
                                vectors,
                            )
                        elif vectors > 3 and left > 2 * lanes:
                            add(
                                cells,
                                cell,
                                table,
                                begin,
                                end,
                                weight,
                                w,
                                step,
                                sums,
                                to,
                                row,
                                rest,
                                3,
                            )
                        elif left > lanes:
                            add(
                                cells,
                                cell,
                                table,
                                begin,
                                end,
                                weight,
                                w,
                                step,
                                sums,
                                to,
                                row,
                                rest,
                                2,
                            )
                        else:
                            add(
                                cells,
                                cell,
                                table,
                                begin,
                                end,
                                weight,
                                w,
                                step,
                                sums,
                                to,
                                row,
                                rest,
                                1,
                            )

    compiled: Callable[..., None] = run
    return compiled
