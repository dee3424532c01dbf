"""Blocks of `compiled_winograd`, from cells to outputs, compiled by numba: by `loops` only.

The loops are those of `winograd_loops`, made for given squares, and are called by their addresses.
The rows of ``blocks`` are of `winograd_plans.Plan.laid`, those of ``parts`` of
`compiled_winograd.Parts`. ``numbers`` has the rows and columns of a tile's square; lanes; channels
and groups; cells of a channel, results of an output and of a line; and what is named below.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from arrayconv.backends.numpy import winograd_cuts
from arrayconv.backends.numpy.addresses import call_at, whole_lines
from arrayconv.backends.numpy.linear_maps import multiples
from arrayconv.backends.numpy.loop_forms import compiled, inlined

SEE, MAKE, TO_POINTS, FROM_POINTS, HELD = range(8, 13)
"""Where `see` and `make` are, and the loops that make points of cells, and outputs of points; and
the vectors of a square between its two transforms."""
POINTS, SUMS, TRANSFORM, EVERY, DOWN, ACROSS, SIZE = range(13, 20)
"""The numbers of a workspace that hold points of cells, and those that hold cells or then the
points of outputs, before those of a part's weight; where the loop is that makes the latter, or 0
where the whole weight is transformed before, and the numbers of a weight from row to row; and the
pieces of the kernel, and its taps."""
LAYOUT = 15
"""Where a block has the loop that lays it out, and then what that takes."""
TERMS = 128
"""Terms that are summed up by themselves, at most. Of 640 the error is nearly twice as large where
there are as many channels, and the time the same but for 0 to 4 %."""


step_of = inlined(winograd_cuts.step_of)


@compiled
def see(
    source: Any,
    points: Any,
    cells: Any,
    block: Any,
    tables: Any,
    numbers: Any,
    begin: Any,
    end: Any,
) -> None:
    """Write the points of what a block sees of some channels; ``cells`` is room for these cells.

    What is written past the last channel is of the next one.
    """
    size, first, starts, count, across, _, tiles, places = block[:8]
    rows, columns, lanes, channels, _, cells_of = numbers[:6]
    square, some = rows * columns, end - begin
    at, lay_out = first + begin * cells_of, block[LAYOUT]
    call_at(lay_out, (source, at, cells_of, cells, size, some, tables, block[LAYOUT + 1 :]))
    # What vectors see past the last cell is dropped, but some numbers would be slow to transform.
    for cell in range(some * size, some * size + square * lanes):
        cells[np.uintp(cell)] = 0
    call_at(
        numbers[TO_POINTS],
        (
            cells,
            size,
            tables[places : places + square].reshape(columns, rows),
            tables[starts : starts + count],
            across,
            some,
            whole_lines(numbers[HELD] * lanes, cells),
            # Of two at least: there the loops read how many lanes there are.
            multiples(max(columns, 2), lanes),
            points[begin * tiles :],
            tiles,
            step_of(channels * tiles, lanes),
        ),
    )


@compiled
def see_ranges(
    one: Any,
    other: Any,
    of_one: Any,
    of_other: Any,
    begin: Any,
    end: Any,
    thread: Any,
    workspace: Any,
    ranges: Any,
    first: Any,
    block: Any,
    of_blocks: Any,
    other_blocks: Any,
    tables: Any,
    other_tables: Any,
    numbers: Any,
) -> None:
    """Write the points of what a block sees of two arrays, each by its plan and ``numbers``.

    From ``first`` on ``ranges`` (which, begin, end) have some channels of one or of the other.
    """
    cells = workspace[thread]
    for n in range(first + begin, first + end):
        which, low, high = ranges[n]
        source, points, table, place = one, of_one, tables, of_blocks[block]
        if which == 1:
            source, points, table = other, of_other, other_tables
            place = other_blocks[block]
        known = numbers[which]
        call_at(known[SEE], (source, points, cells, place, table, known, low, high))


@compiled
def make(
    points: Any,
    weight: Any,
    biases: Any,
    result: Any,
    sums: Any,
    factors: Any,
    block: Any,
    part: Any,
    tables: Any,
    places: Any,
    numbers: Any,
) -> None:
    """Write a part of a block's outputs, by the points of the whole weight or by a flat one.

    Then the weight of this part is transformed; ``factors`` is room for its points, ``sums`` for
    those of the outputs.
    """
    if numbers[TRANSFORM] != 0:
        step, _, start, kernels, length = part[6:]
        every, size = numbers[EVERY], numbers[SIZE]
        known = start, every, length, step, places, size
        call_at(numbers[TRANSFORM], (weight, factors, 0, kernels, *known))
        weight = factors
    count, across, pitch, tiles, _, target, many, firsts, outputs, heights, width, stores = block[
        3:LAYOUT
    ]
    rows, columns, lanes, channels, groups, _, results_of, line = numbers[:8]
    first, made, convolve, every, apart, term, step, factor = part[:8]
    seen, square = channels // groups, rows * columns
    down, over = numbers[DOWN], numbers[ACROSS]
    # What a piece of the kernel sees of a tile is what the first one sees of a later tile.
    seen_tiles = count * across - (down - 1) * pitch - over + 1
    vectors = -(-seen_tiles // lanes)
    zeros, terms = np.zeros(made, sums.dtype), np.empty((seen * down * over, 2), np.int64)
    run = np.empty((1, 4), np.int64)
    run[0, 0], run[0, 1], run[0, 2], run[0, 3] = 0, 0, vectors, seen_tiles // lanes
    ends = multiples(vectors + 1, 1)
    for n in range(terms.shape[0]):
        channel, piece = n // (down * over), n % (down * over)
        terms[n, 0] = channel * tiles + piece // over * pitch + piece % over
        terms[n, 1] = n * term
    next_sum = step_of(groups * made * tiles, lanes)
    for group in range(groups):
        # To sum up all points at once, they are its groups.
        call_at(
            convolve,
            (
                points[group * seen * tiles :],
                step_of(channels * tiles, lanes),
                terms,
                TERMS,
                seen,
                weight,
                factor + group * every,
                step,
                apart,
                zeros,
                0,
                0,
                square,
                made,
                sums,
                group * made * tiles,
                next_sum,
                tiles,
                run,
                tables[stores : stores + 3 * vectors].reshape(vectors, 3),
                ends,
                False,
            ),
        )
    call_at(
        numbers[FROM_POINTS],
        (
            sums,
            next_sum,
            line,
            tiles,
            groups * made,
            biases,
            first,
            whole_lines(square * lanes, sums),
            # Of two at least: there the loops read how many lanes there are.
            multiples(max(columns, 2), lanes),
            result[target + first * results_of :],
            results_of,
            tables[firsts : firsts + many],
            tables[outputs : outputs + many],
            tables[heights : heights + many],
            width,
        ),
    )


@compiled
def convolve_squares(
    source: Any,
    weight: Any,
    biases: Any,
    result: Any,
    begin: Any,
    end: Any,
    thread: Any,
    workspace: Any,
    blocks: Any,
    parts: Any,
    tables: Any,
    places: Any,
    numbers: Any,
) -> None:
    """Write the outputs of some blocks."""
    first, last = numbers[POINTS], numbers[POINTS] + numbers[SUMS]
    points, cells = workspace[thread, :first], workspace[thread, first:last]
    factors = workspace[thread, last:]
    for n in range(begin, end):
        block = blocks[n]
        call_at(numbers[SEE], (source, points, cells, block, tables, numbers, 0, numbers[3]))
        before = points, weight, biases, result, cells, factors, block
        for part in range(len(parts)):
            call_at(numbers[MAKE], (*before, parts[part], tables, places, numbers))


@compiled
def convolve_parts(
    points: Any,
    weight: Any,
    biases: Any,
    result: Any,
    begin: Any,
    end: Any,
    thread: Any,
    workspace: Any,
    blocks: Any,
    parts: Any,
    tables: Any,
    places: Any,
    numbers: Any,
) -> None:
    """Write some parts of the outputs of one block, whose points are known."""
    last = numbers[SUMS]
    sums, factors, block = workspace[thread, :last], workspace[thread, last:], blocks[0]
    before = points, weight, biases, result, sums, factors, block
    for part in range(begin, end):
        call_at(numbers[MAKE], (*before, parts[part], tables, places, numbers))
