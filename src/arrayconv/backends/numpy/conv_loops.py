"""The loops of `compiled_convolution`, compiled by numba: import this by `compiler.loops` only."""

from __future__ import annotations

from typing import Any

import numpy as np

from arrayconv.backends.numpy.addresses import call_at, whole_lines
from arrayconv.backends.numpy.loop_forms import Loop, compiled, compiled_by_form, inlined
from arrayconv.backends.numpy.orders import LINE
from arrayconv.backends.numpy.phase_copies import copy_vectors
from arrayconv.backends.numpy.registers import VECTOR_BYTES
from arrayconv.backends.numpy.tile_sums import Tile, tile, vectors_of
from arrayconv.backends.numpy.tile_sums import sum_products as add

__all__ = [
    "VECTOR_BYTES",
    "convolve",
    "convolve_blocks",
    "tile",
]

TERMS = 192
"""Terms that are summed up by themselves, at most: a cache holds their cells for some outputs, and
rounding grows with their number."""
TERMS_IN_PLACE = 128
"""The same of cells that are read where they are, each channel's in a page of its own."""
WEIGHTS = 1 << 17
"""Weights that are used for one run of outputs after the other: the second cache should hold them,
and the cells."""
MOST = 128
"""Outputs whose sums are held at a time, at most."""
MOST_OF_PANELS = 512
"""The same where a panel is copied for them."""
FEW_ROWS = 56
"""Rows of cells, each seen by neighbouring terms, up to which they are loaded again for every two
tiles of outputs: then there is little to gain by holding them, and the lines of many outputs would
push out one another, half written, where their planes are a multiple of a page apart."""

NEVER, IF_LINES_ARE_CROSSED, ALWAYS = range(3)
"""When the cells that are read where they are, for some vectors of sums, go to a panel first."""


@compiled
def convolve_blocks(
    source: Any,
    weight: Any,
    bias: Any,
    result: Any,
    begin: Any,
    end: Any,
    thread: Any,
    workspace: Any,
    blocks: Any,
    sums: Any,
    tables: Any,
    numbers: Any,
) -> None:
    """Convolve some of the blocks of `convolution_plans.Plan`."""
    each, seen, of_group, step, made, results, results_of, slack, of_image = numbers[:9]
    stride, holes, put_in_turns, panels = numbers[9:]
    crosses = source.ctypes.data % LINE > 0
    for block in range(begin, end):
        size, first, channels, groups, outputs, output, low, high = blocks[block, :8]
        place, images, made_rows, row, laid, held, kept = blocks[block, 8:15]
        cells, in_panels = workspace[thread], panels == ALWAYS
        if laid > 0:
            lay_out, where = blocks[block, 15], blocks[block, 16:]
            call_at(lay_out, (source, first, each, cells, size, channels, tables, where))
            # What vectors see past the last is dropped, but some numbers would be slow to add.
            cells[laid : laid + slack] = 0
        else:
            cells, size = source[first:], each
            in_panels |= panels == IF_LINES_ARE_CROSSED and crosses
        # The phases of rows are kept until they are put in turns.
        goal, start, next_group, next_output = result, place, results, results_of
        if kept > 0:
            goal, start, next_group, next_output = workspace[thread, held:], 0, outputs * kept, kept
            if holes:
                goal[: groups * outputs * kept] = 0
        for n in range(low, high):
            loop, table, terms, at_a_time, rows, factor = sums[n, :6]
            runs, run_count, stores, count, columns, ends, end_count = sums[n, 6:]
            call_at(
                loop,
                (
                    cells,
                    seen * size,
                    tables[table : table + 2 * terms].reshape(terms, 2),
                    at_a_time,
                    rows,
                    weight,
                    factor,
                    of_group,
                    step,
                    bias,
                    output,
                    made,
                    groups,
                    outputs,
                    goal,
                    start,
                    next_group,
                    next_output,
                    tables[runs : runs + 4 * run_count].reshape(run_count, 4),
                    tables[stores : stores + count * columns].reshape(count, columns),
                    tables[ends : ends + end_count],
                    in_panels,
                ),
            )
        if kept == 0:
            continue
        for group in range(groups):
            for n in range(outputs):
                for image in range(images):
                    at = (group * outputs + n) * kept + image * made_rows * row
                    to = place + group * results + n * results_of + image * of_image
                    call_at(put_in_turns, (goal, at, result, to, made_rows, row, stride))


@compiled_by_form
def convolve(shape: Tile, rest: int, lanes: int) -> Loop:
    """Return sums of products for as many outputs as leave ``rest`` beside whole tiles.

    It takes flat cells, those of a group after ``each`` others; for each term of a sum the offsets
    of its cell and its weight (terms, 2), how many of these are added up at a time at most, and how
    many rows their cells lie in; flat weights, their
    first, their steps from group to group and from output to output; biases, the first, and their
    step from group to group; numbers of groups and of outputs; a flat array for the results, the
    first, and their steps from group to group and from output to output; runs of vectors (cell,
    vector, vectors, whole), as `vector_runs` has them; where lanes of vectors are stored, see
    `sum_products`; and whether the cells that a term needs are copied to a panel first.
    """
    outputs, vectors = shape

    def run(
        cells: Any,
        each: Any,
        table: Any,
        most_terms: Any,
        rows: Any,
        weight: Any,
        first: Any,
        every: Any,
        step: Any,
        biases: Any,
        bias: Any,
        next_bias: Any,
        groups: Any,
        count: Any,
        result: Any,
        target: Any,
        block: Any,
        size: Any,
        runs: Any,
        stores: Any,
        ends: Any,
        in_panels: Any,
    ) -> None:
        terms, line = table.shape[0], vectors * lanes
        most = MOST_OF_PANELS if in_panels else MOST if rows > FEW_ROWS else 2 * outputs
        at_once = max(1, min(most, WEIGHTS // max(1, terms)) // outputs) * outputs
        at_a_time = -(-terms // max(1, -(-terms // most_terms)))
        held = whole_lines(min(count, at_once) * line if at_a_time < terms else 0, cells)
        panel, places = cells, table
        if in_panels:
            panel, places = whole_lines(at_a_time * line, cells), np.empty_like(table)
            for term in range(terms):
                places[term, 0], places[term, 1] = term % at_a_time * line, table[term, 1]
        same = (panel, places, weight, step, biases, result, size, stores, ends, held, terms)
        parts = -(-count // at_once)
        for number in range(groups * parts):
            group, one = number // parts, number % parts * at_once
            many = min(at_once, count - one)
            whole = many if many == at_once else many - rest
            factors = first + group * every + one * step
            goal, start = target + group * block + one * size, bias + group * next_bias + one
            for r in range(runs.shape[0]):
                cell, v, stop = group * each + runs[r, 0], runs[r, 1], runs[r, 1] + runs[r, 2]
                while v < stop:
                    some = vectors_of(stop - v, vectors)
                    are_whole = v + some <= runs[r, 1] + runs[r, 3]
                    for begin in range(0, terms, at_a_time):
                        end, at = min(terms, begin + at_a_time), cell
                        if in_panels:
                            _copy_vectors(vectors, some, cells, cell, table, begin, end, panel)
                            at = 0
                        which = begin, end, v, are_whole
                        for output in range(0, whole, outputs):
                            w, b, to = factors + output * step, start + output, goal + output * size
                            add(outputs, vectors, some, at, which, w, b, to, output * line, same)
                        if rest > 0 and whole < many:
                            w, b, to = factors + whole * step, start + whole, goal + whole * size
                            add(rest, vectors, some, at, which, w, b, to, whole * line, same)
                    v, cell = v + some, cell + some * lanes

    return run


@inlined
def _copy_vectors(
    most: Any, some: Any, cells: Any, cell: Any, table: Any, begin: Any, end: Any, panel: Any
) -> None:
    """Copy the vectors that terms are products with, one behind the other."""
    lanes = VECTOR_BYTES // cells.itemsize
    for term in range(begin, end):
        at, to = cell + table[term, 0], (term - begin) * most * lanes
        if some == most:
            copy_vectors(most, cells, at, panel, to, None)
        else:
            for v in range(some):
                copy_vectors(1, cells, at + v * lanes, panel, to + v * lanes, None)
