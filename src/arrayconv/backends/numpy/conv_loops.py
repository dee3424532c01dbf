"""The loops of `compiled_convolution`, compiled by numba: import this by `compiler.loops` only."""

from __future__ import annotations

from typing import Any

import numpy as np

from arrayconv.backends.numpy.addresses import call_at
from arrayconv.backends.numpy.loop_forms import Loop, compiled, compiled_by_form, inlined
from arrayconv.backends.numpy.phase_copies import copy_vectors, runs_together, turns_apart
from arrayconv.backends.numpy.registers import VECTOR_BYTES
from arrayconv.backends.numpy.tile_sums import Tile, tile, vectors_of
from arrayconv.backends.numpy.tile_sums import sum_products as add

__all__ = [
    "VECTOR_BYTES",
    "clear",
    "convolve",
    "convolve_blocks",
    "fill",
    "lay_out",
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
FEW_ROWS = 56
"""Rows of cells, each seen by neighbouring terms, up to which they are loaded again for every two
tiles of outputs: then there is little to gain by holding them, and the lines of many outputs would
push out one another, half written, where their planes are a multiple of a page apart."""

AT_ONCE = 3
"""Vectors that are copied together."""

_cell = np.uintp
"""An index that is not negative, which loops need not look at."""


@inlined
def _fill_by_vectors(phases: Any, same: Any) -> None:
    """Copy lines of all phases of a step; ``same`` are other arguments of `fill`."""
    source, first, each, cells, every, planes, tables, lines, line_count = same
    lanes = VECTOR_BYTES // cells.itemsize
    of_vectors = lanes * phases
    for plane in range(planes):
        for line in range(lines, lines + line_count * (3 + phases), 3 + phases):
            seen, base = first + plane * each + tables[line], plane * every
            count, is_exact, places = tables[line + 1], tables[line + 2], line + 3
            vectors = -(-count // of_vectors)
            if seen + vectors * of_vectors > source.size:
                # Vectors would be read past the end.
                for cell in range(count):
                    place = base + tables[places + cell % phases] + cell // phases
                    cells[place] = source[seen + cell]
                continue
            for v in range(vectors - is_exact):
                at, to = seen + v * of_vectors, base + v * lanes
                turns_apart(phases, source, at, cells, to, tables, places, None)
            if is_exact:
                at, to = seen + (vectors - 1) * of_vectors, base + (vectors - 1) * lanes
                left = count - (vectors - 1) * of_vectors
                turns_apart(phases, source, at, cells, to, tables, places, left)


@inlined
def _fill_runs(same: Any) -> None:
    """Do the same for lines that are one run each."""
    source, first, each, cells, every, planes, tables, lines, line_count = same
    lanes = VECTOR_BYTES // cells.itemsize
    for plane in range(planes):
        for line in range(lines, lines + line_count * 4, 4):
            seen, place = first + plane * each + tables[line], plane * every + tables[line + 3]
            count, is_exact = tables[line + 1], tables[line + 2]
            if seen + count + lanes > source.size:
                # Vectors would be read past the end.
                for cell in range(count):
                    cells[_cell(place + cell)] = source[_cell(seen + cell)]
                continue
            done = 0
            while done + AT_ONCE * lanes <= count:
                copy_vectors(AT_ONCE, source, seen + done, cells, place + done, None)
                done += AT_ONCE * lanes
            while done + lanes <= count:
                copy_vectors(1, source, seen + done, cells, place + done, None)
                done += lanes
            if done < count and is_exact:
                copy_vectors(1, source, seen + done, cells, place + done, count - done)
            elif done < count:
                copy_vectors(1, source, seen + done, cells, place + done, None)


@compiled
def fill(
    source: Any,
    first: Any,
    each: Any,
    cells: Any,
    every: Any,
    planes: Any,
    tables: Any,
    lines: Any,
    line_count: Any,
    phases: Any,
    step: Any,
) -> None:
    """Copy lines of planes, which lie ``each`` and ``every`` apart: `Fill.lines`."""
    same = (source, first, each, cells, every, planes, tables, lines, line_count)
    if phases == step == 1:
        _fill_runs(same)
    elif phases == step == 2:
        _fill_by_vectors(2, same)
    elif phases == step == 3:
        _fill_by_vectors(3, same)
    elif phases == step == 4:
        _fill_by_vectors(4, same)
    elif phases == step == 8:
        _fill_by_vectors(8, same)
    else:
        numbers = 3 + phases
        for plane in range(planes):
            for line in range(lines, lines + line_count * numbers, numbers):
                seen, base = first + plane * each + tables[line], plane * every
                for phase in range(phases):
                    place, at = base + tables[line + 3 + phase], seen + phase
                    for cell in range((tables[line + 1] - phase + phases - 1) // phases):
                        cells[place + cell] = source[at + cell * step]


@compiled
def clear(cells: Any, every: Any, planes: Any, tables: Any, gaps: Any, gap_count: Any) -> None:
    """Write 0 into runs of cells of planes that lie ``every`` apart.

    Where they start and their lengths is in ``tables`` from ``gaps`` on.
    """
    for plane in range(planes):
        for gap in range(gaps, gaps + gap_count):
            start = plane * every + tables[gap]
            for cell in range(start, start + tables[gap + gap_count]):
                # No slice, which would be counted for each gap, and no index that may be negative.
                cells[np.uintp(cell)] = 0


@compiled
def lay_out(
    source: Any, first: Any, each: Any, cells: Any, every: Any, planes: Any, tables: Any, where: Any
) -> None:
    """Lay planes out: `fill`, which may write more, and then `clear` what is padding.

    ``where`` has, of `Layout.placed`, where in ``tables`` gaps are and how many, where lines are
    and how many, and their phases and step.
    """
    gaps, gap_count, lines, line_count, phases, step = where
    fill(source, first, each, cells, every, planes, tables, lines, line_count, phases, step)
    clear(cells, every, planes, tables, gaps, gap_count)


@inlined
def _put_in_turns(stride: Any, same: Any) -> None:
    """Do `put_in_turns` by vectors."""
    source, first, target, place, rows, length, starts = same
    lanes = VECTOR_BYTES // source.itemsize
    for row in range(rows):
        seen, made, done = first + row * length, place + row * length, 0
        while done + stride * lanes <= length:
            runs_together(stride, source, seen + done // stride, starts, target, made + done, None)
            done += stride * lanes
        if done < length:
            left, at = length - done, seen + done // stride
            runs_together(stride, source, at, starts, target, made + done, left)


@compiled
def put_in_turns(
    source: Any, first: Any, target: Any, place: Any, rows: Any, length: Any, stride: Any
) -> None:
    """Copy rows whose phases are one after the other, so that they take turns.

    A vector may be read past the last row.
    """
    starts = np.empty(stride, np.int64)
    for phase in range(stride):
        starts[phase] = phase * (length // stride) + min(phase, length % stride)
    same = (source, first, target, place, rows, length, starts)
    if stride == 2:
        _put_in_turns(2, same)
    elif stride == 3:
        _put_in_turns(3, same)
    elif stride == 4:
        _put_in_turns(4, same)
    else:
        for row in range(rows):
            seen = first + row * length
            for phase in range(min(stride, length)):
                for cell in range(place + row * length + phase, place + (row + 1) * length, stride):
                    target[_cell(cell)] = source[_cell(seen)]
                    seen += 1


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
    each, seen, of_group, step, made, results, results_of, slack, of_image, stride, holes = numbers
    for block in range(begin, end):
        size, first, channels, groups, outputs, output, low, high = blocks[block, :8]
        place, images, made_rows, row, laid, held, kept = blocks[block, 8:15]
        cells = workspace[thread]
        if laid > 0:
            lay_out(source, first, each, cells, size, channels, tables, blocks[block, 15:])
            # What vectors see past the last is dropped, but some numbers would be slow to add.
            cells[laid : laid + slack] = 0
        else:
            cells, size = source[first:], each
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
                    tables[runs : runs + 3 * run_count].reshape(run_count, 3),
                    tables[stores : stores + count * columns].reshape(count, columns),
                    tables[ends : ends + end_count],
                ),
            )
        if kept == 0:
            continue
        for group in range(groups):
            for n in range(outputs):
                for image in range(images):
                    at = (group * outputs + n) * kept + image * made_rows * row
                    to = place + group * results + n * results_of + image * of_image
                    put_in_turns(goal, at, result, to, made_rows, row, stride)


@compiled_by_form
def convolve(shape: Tile, rest: int, lanes: int) -> Loop:
    """Return sums of products for as many outputs as leave ``rest`` beside whole tiles.

    It takes flat cells, those of a group after ``each`` others; for each term of a sum the offsets
    of its cell and its weight (terms, 2), how many of these are added up at a time at most, and how
    many rows their cells lie in; flat weights, their
    first, their steps from group to group and from output to output; biases, the first, and their
    step from group to group; numbers of groups and of outputs; a flat array for the results, the
    first, and their steps from group to group and from output to output; runs of vectors (cell,
    vector, vectors), of each where it begins, its first vector's number, and how many it has; and
    where lanes of vectors are stored: see `sum_products`.
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
    ) -> None:
        terms = table.shape[0]
        held = np.empty(MOST * vectors * lanes, cells.dtype)
        same = (cells, table, weight, step, biases, result, size, stores, ends, held, terms)
        most = MOST if rows > FEW_ROWS else 2 * outputs
        at_once = max(1, min(most, WEIGHTS // max(1, terms)) // outputs) * outputs
        parts = -(-count // at_once)
        at_a_time = -(-terms // max(1, -(-terms // most_terms)))
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
                    for begin in range(0, terms, at_a_time):
                        end = min(terms, begin + at_a_time)
                        for output in range(0, whole, outputs):
                            w, b, to = factors + output * step, start + output, goal + output * size
                            kept = output * vectors * lanes
                            add(outputs, vectors, some, cell, begin, end, w, b, to, v, kept, same)
                        if rest > 0 and whole < many:
                            w, b, to = factors + whole * step, start + whole, goal + whole * size
                            kept = whole * vectors * lanes
                            add(rest, vectors, some, cell, begin, end, w, b, to, v, kept, same)
                    v, cell = v + some, cell + some * lanes

    return run
