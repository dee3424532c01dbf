"""The loops of `compiled_convolution`, compiled by numba: import this by `compiler.loops` only."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from arrayconv.backends.numpy.addresses import call_at
from arrayconv.backends.numpy.loop_forms import Loop, compiled, compiled_by_form
from arrayconv.backends.numpy.registers import VECTOR_BYTES
from arrayconv.backends.numpy.tile_sums import Tile, tile
from arrayconv.backends.numpy.tile_sums import sum_products as add

__all__ = [
    "VECTOR_BYTES",
    "clear",
    "convolve",
    "convolve_blocks",
    "fill",
    "interleave",
    "lay_out",
    "tile",
]

TERMS = 640 if VECTOR_BYTES == 64 else 192
"""Terms that are summed up by themselves, at most: a cache holds their cells for some outputs, and
rounding grows with their number. Where vectors have 64 bytes the second cache is fast enough; else
the first one must have them, which is 17 % faster."""
WEIGHTS = 1 << 17
"""Weights that are used for one run of outputs after the other: the second cache should hold them,
and the cells."""
MOST = 128
"""Outputs whose sums are held at a time, at most."""
FEW_ROWS = 56
"""Rows of cells, each seen by neighbouring terms, up to which they are loaded again for every two
tiles of outputs: then there is little to gain by holding them, and the lines of many outputs would
push out one another, half written, where their planes are a multiple of a page apart."""

_narrow = numba.uint32


@compiled
def fill(
    source: Any,
    first: Any,
    each: Any,
    cells: Any,
    every: Any,
    planes: Any,
    runs: Any,
    step: Any,
) -> None:
    """Copy runs of cells of planes, which lie ``each`` and ``every`` apart.

    The rows of ``runs`` are (start, place, length): from a start in a plane of the source, where
    cells are taken that lie ``step`` apart, to a place.
    """
    for plane in range(planes):
        for run in range(runs.shape[0]):
            start, place, length = runs[run, 0], runs[run, 1], runs[run, 2]
            # Slices, whose indices are not negative, so that nobody looks whether they are.
            made = cells[plane * every + place :]
            seen = source[first + plane * each + start :]
            if step == 1:
                for cell in range(length):
                    made[cell] = seen[cell]
            elif step == 2:
                # A constant, in 32 bits that cannot wrap around in 64: this too is done by vectors.
                for cell in range(_narrow(length)):
                    made[cell] = seen[_narrow(2) * _narrow(cell)]
            elif step == 4:
                for cell in range(_narrow(length)):
                    made[cell] = seen[_narrow(4) * _narrow(cell)]
            else:
                for cell in range(length):
                    made[cell] = seen[cell * step]


@compiled
def clear(cells: Any, every: Any, planes: Any, starts: Any, lengths: Any) -> None:
    """Write 0 into runs of cells of planes that lie ``every`` apart."""
    for plane in range(planes):
        for run in range(starts.shape[0]):
            made = cells[plane * every + starts[run] :]
            for cell in range(lengths[run]):
                made[cell] = 0


@compiled
def lay_out(
    source: Any, first: Any, each: Any, cells: Any, every: Any, planes: Any, tables: Any, where: Any
) -> None:
    """Lay planes out: `clear` what is padding and `fill` the rest.

    ``where`` has, of `Layout.placed`, where in ``tables`` gaps are and how many, where runs are and
    how many, and the step of these.
    """
    gaps, gap_count, runs, run_count, step = where
    ends = gaps + gap_count
    clear(cells, every, planes, tables[gaps:ends], tables[ends : ends + gap_count])
    laid = tables[runs : runs + 3 * run_count].reshape(run_count, 3)
    fill(source, first, each, cells, every, planes, laid, step)


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
    each, seen, of_group, step, made, results, results_of, slack = numbers
    cells = workspace[thread]
    for block in range(begin, end):
        size, first, channels, groups, outputs, output, low, high = blocks[block, :8]
        lay_out(source, first, each, cells, size, channels, tables, blocks[block, 8:])
        # What vectors see past the last cell is dropped, but some numbers would be slow to add.
        cells[channels * size : channels * size + slack] = 0
        for n in range(low, high):
            loop, table, terms, rows, factor, place = sums[n, :6]
            stores, count, columns, ends, end_count = sums[n, 6:]
            call_at(
                loop,
                (
                    cells,
                    seen * size,
                    tables[table : table + 2 * terms].reshape(terms, 2),
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
                    result,
                    place,
                    results,
                    results_of,
                    tables[stores : stores + count * columns].reshape(count, columns),
                    tables[ends : ends + end_count],
                ),
            )


@compiled
def interleave(source: Any, target: Any, begin: Any, end: Any, stride: Any) -> None:
    """Copy rows (R, size), one phase of a row after the other, so that phases take turns."""
    size = source.shape[1]
    for row in range(begin, end):
        seen, made = source[row], target[row]
        if stride == 2:
            odd = seen[_narrow(size - size // 2) :]
            for cell in range(_narrow(size // 2)):
                made[_narrow(2) * _narrow(cell)] = seen[cell]
                made[_narrow(2) * _narrow(cell) + _narrow(1)] = odd[cell]
            if size % 2:
                made[size - 1] = seen[size // 2]
        else:
            place = 0
            for phase in range(min(stride, size)):
                for cell in range(phase, size, stride):
                    made[cell] = seen[place]
                    place += 1


@compiled_by_form
def convolve(shape: Tile, rest: int, lanes: int) -> Loop:
    """Return sums of products for as many outputs as leave ``rest`` beside whole tiles.

    It takes flat cells, those of a group after ``each`` others; for each term of a sum the offsets
    of its cell and its weight (terms, 2), and how many rows these cells lie in; flat weights, their
    first, their steps from group to group and from output to output; biases, the first, and their
    step from group to group; numbers of groups and of outputs; a flat array for the results, the
    first, and their steps from group to group and from output to output; and where lanes of vectors
    are stored: see `sum_products`.
    """
    outputs, vectors = shape

    def run(
        cells: Any,
        each: Any,
        table: Any,
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
        stores: Any,
        ends: Any,
    ) -> None:
        terms, every_vector = table.shape[0], ends.shape[0] - 1
        held = np.empty(MOST * vectors * lanes, cells.dtype)
        same = (cells, table, weight, step, biases, result, size, stores, ends, held, terms)
        # Of a phase's weights those of the others are neighbours, which come along.
        most = MOST if rows > FEW_ROWS else 2 * outputs
        at_once = max(1, min(most, WEIGHTS * count // max(1, every)) // outputs) * outputs
        parts = -(-count // at_once)
        at_a_time = -(-terms // max(1, -(-terms // TERMS)))
        for number in range(groups * parts):
            group, one = number // parts, number % parts * at_once
            many = min(at_once, count - one)
            whole = many if many == at_once else many - rest
            factors = first + group * every + one * step
            goal, start = target + group * block + one * size, bias + group * next_bias + one
            for v in range(0, every_vector, vectors):
                left, cell = every_vector - v, group * each + v * lanes
                for begin in range(0, terms, at_a_time):
                    end = min(terms, begin + at_a_time)
                    for output in range(0, whole, outputs):
                        w, b, to = factors + output * step, start + output, goal + output * size
                        kept = output * vectors * lanes
                        if left >= vectors:
                            add(outputs, vectors, cell, begin, end, w, b, to, v, kept, same)
                        elif vectors > 3 and left == 3:
                            add(outputs, 3, cell, begin, end, w, b, to, v, kept, same)
                        elif left == 2:
                            add(outputs, 2, cell, begin, end, w, b, to, v, kept, same)
                        else:
                            add(outputs, 1, cell, begin, end, w, b, to, v, kept, same)
                    if rest > 0 and whole < many:
                        w, b, to = factors + whole * step, start + whole, goal + whole * size
                        kept = whole * vectors * lanes
                        if left >= vectors:
                            add(rest, vectors, cell, begin, end, w, b, to, v, kept, same)
                        elif vectors > 3 and left == 3:
                            add(rest, 3, cell, begin, end, w, b, to, v, kept, same)
                        elif left == 2:
                            add(rest, 2, cell, begin, end, w, b, to, v, kept, same)
                        else:
                            add(rest, 1, cell, begin, end, w, b, to, v, kept, same)

    return run
