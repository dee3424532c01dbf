"""The loops of `compiled_gradient`, compiled by numba: import this by `compiler.loops` only."""

from __future__ import annotations

from typing import Any

from arrayconv.backends.numpy.addresses import call_at
from arrayconv.backends.numpy.conv_loops import lay_out
from arrayconv.backends.numpy.inner_products import add_inner_products as add
from arrayconv.backends.numpy.inner_products import terms_of
from arrayconv.backends.numpy.loop_forms import Loop, compiled, compiled_by_form

OUTPUTS = 4
"""Outputs that are worked on at a time, at most."""
PART = 128
"""Vectors that are worked on at a time: the first cache should hold those of some outputs."""


def tiles(made: int, count: int, terms: int) -> tuple[int, int, int, int]:
    """Return what `add_gradient` is made for, so that one serves all numbers that leave the same.

    A group has ``made`` outputs, of which ``count`` are worked on, by ``terms`` terms.
    """
    outputs = min(made, OUTPUTS)
    rest = count % outputs
    return outputs, rest, terms % terms_of(outputs), terms % terms_of(rest) if rest else 0


@compiled_by_form
def add_gradient(outputs: int, rest: int, left: int, last: int, lanes: int) -> Loop:
    """Return sums over positions for whole tiles of ``outputs`` outputs, and for ``rest`` more.

    Of the terms ``left`` are beside whole tiles, and ``last`` of those of the rest: see `tiles`. It
    takes rows of cotangents, ``next_row`` apart; flat cells, those of a group after ``each``
    others; for each term the offset of its cell; the weight's gradient, the first place and the
    steps from group to group and output to output; and the numbers of groups, of outputs of each
    and of vectors.
    """
    at_once, with_rest = terms_of(outputs), terms_of(max(1, rest))

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

    return run


@compiled
def add_blocks(
    source: Any,
    cotangents: Any,
    result: Any,
    begin: Any,
    end: Any,
    thread: Any,
    workspace: Any,
    jobs: Any,
    blocks: Any,
    tables: Any,
    numbers: Any,
) -> None:
    """Add up the gradients of some of the jobs of `compiled_gradient.Plan`, from all blocks."""
    seen, made, terms, lanes, cells_of, results_of, room = numbers
    cells, rows = workspace[thread, :room], workspace[thread, room:]
    for job in range(begin, end):
        first, count, start, many, loop = jobs[job]
        number = count * seen
        # All outputs of all groups are neighbours, and those of a part of each are not.
        groups = count if many == made else 1
        for block in range(len(blocks)):
            size, cell, place, row, offsets = blocks[block, :5]
            seen_from = cell + first * seen * cells_of
            lay_out(source, seen_from, cells_of, cells, size, number, tables, blocks[block, 5:11])
            # What vectors see past the last cell is dropped, but it should not be slow to add.
            cells[number * size : number * size + row] = 0
            for group in range(0, count, groups):
                given = place + ((first + group) * made + start) * results_of
                lay_out(
                    cotangents,
                    given,
                    results_of,
                    rows[group * many * row :],
                    row,
                    many * groups,
                    tables,
                    blocks[block, 11:],
                )
            call_at(
                loop,
                (
                    rows,
                    row,
                    cells,
                    seen * size,
                    tables[offsets : offsets + terms],
                    result,
                    (first * made + start) * terms,
                    made * terms,
                    terms,
                    count,
                    many,
                    row // lanes,
                ),
            )
