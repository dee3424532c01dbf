"""The loops of `compiled_gradient`, compiled by numba: import this by `compiler.loops` only."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba

from arrayconv.backends.numpy.conv_loops import VECTOR_BYTES, clear, fill
from arrayconv.backends.numpy.inner_products import add_inner_products as add
from arrayconv.backends.numpy.inner_products import terms_of

__all__ = ["OUTPUTS", "VECTOR_BYTES", "add_gradient", "clear", "fill"]

OUTPUTS = 4
"""Outputs that are worked on at a time, at most."""
PART = 128
"""Vectors that are worked on at a time: the first cache should hold those of some outputs."""


@cache
def add_gradient(outputs: int, count: int, terms: int, lanes: int) -> Callable[..., None]:
    """Return sums over positions for ``count`` outputs, ``outputs`` at a time, and ``terms`` terms.

    Only what is left of both beside whole tiles counts. It takes rows of cotangents, ``next_row``
    apart; flat cells, those of a group after ``each`` others; for each term the offset of its cell;
    the weight's gradient, the first place and the steps from group to group and output to output;
    and the numbers of groups, of outputs of each and of vectors.
    """
    at_once, rest = terms_of(outputs), count % outputs
    left, last = terms % at_once, terms % terms_of(max(1, rest))
    with_rest = terms_of(max(1, rest))

    @numba.njit(cache=True, nogil=True)
    def run(
        rows: Any,
        next_row: Any,
        cells: Any,
        each: Any,
        offsets: Any,
        result: Any,
        first: Any,
        every: Any,
        step: Any,
        groups: Any,
        made: Any,
        vectors: Any,
    ) -> None:
        same = (rows, next_row, cells, offsets, result, step)
        whole, number = made - rest, offsets.shape[0]
        for group in range(groups):
            for low in range(0, vectors, PART):
                n, at = min(PART, vectors - low), low * lanes
                cell = group * each + at
                for output in range(0, whole, outputs):
                    row = (group * made + output) * next_row + at
                    place = first + group * every + output * step
                    for term in range(0, number - left, at_once):
                        add(outputs, at_once, row, cell, term, n, place + term, same)
                    if left > 0:
                        term = number - left
                        add(outputs, left, row, cell, term, n, place + term, same)
                if rest > 0:
                    row = (group * made + whole) * next_row + at
                    place = first + group * every + whole * step
                    for term in range(0, number - last, with_rest):
                        add(rest, with_rest, row, cell, term, n, place + term, same)
                    if last > 0:
                        term = number - last
                        add(rest, last, row, cell, term, n, place + term, same)

    compiled: Callable[..., None] = run
    return compiled
