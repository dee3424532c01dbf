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
from arrayconv.backends.numpy.conv_loops import lay_out
from arrayconv.backends.numpy.loop_forms import compiled
from arrayconv.backends.numpy.registers import VECTOR_BYTES

TO_POINTS, FROM_POINTS, POINTS, SUMS, TRANSFORM, EVERY, HELD, DOWN, ACROSS, SIZE = range(8, 18)
"""Where the loops are that make points of cells, and outputs of points; the numbers of a workspace
that hold points of cells, and those that hold cells or then the points of outputs, before those of
a part's weight; where the loop is that makes the latter, or 0 where the whole weight is transformed
before, and the numbers of a weight from row to row; the vectors of a square between its two
transforms; and the pieces of the kernel, and its taps."""
LAYOUT = 15
"""Where a block has its layout."""
TERMS = 640 if VECTOR_BYTES == 64 else 192
"""Terms that are summed up by themselves, at most: points of tiles are aligned and side by side, so
the second cache is fast enough for vectors of 64 bytes; else the first one must have them, which is
17 % faster."""


step_of = compiled(winograd_cuts.step_of)


@compiled
def see(source: Any, points: Any, cells: Any, block: Any, tables: Any, numbers: Any) -> None:
    """Write the points of the cells that a block sees; ``cells`` is room for these."""
    see_channels(source, points, cells, block, tables, numbers, 0, numbers[3])


@compiled
def see_channels(
    source: Any,
    points: Any,
    cells: Any,
    block: Any,
    tables: Any,
    numbers: Any,
    begin: Any,
    end: Any,
) -> None:
    """Do the same for some of the channels: what they write past the last one is of the next."""
    size, first, starts, count, across, _, tiles, places = block[:8]
    rows, columns, lanes, channels, _, cells_of = numbers[:6]
    square, some = rows * columns, end - begin
    at = first + begin * cells_of
    lay_out(source, at, cells_of, cells, size, some, tables, block[LAYOUT:])
    # What vectors see past the last cell is dropped, but some numbers would be slow to transform.
    cells[some * size : some * size + square * lanes] = 0
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
            np.arange(max(columns, 2)) * lanes,
            points[begin * tiles :],
            tiles,
            step_of(channels * tiles, lanes),
        ),
    )


@compiled
def see_both(
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
    """Do it for a block of two arrays.

    From ``first`` on ``ranges`` (which, begin, end) have some channels of one or of the other.
    """
    cells = workspace[thread]
    for n in range(first + begin, first + end):
        which, low, high = ranges[n]
        known = numbers[which]
        if which == 0:
            see_channels(one, of_one, cells, of_blocks[block], tables, known, low, high)
        else:
            place = other_blocks[block]
            see_channels(other, of_other, cells, place, other_tables, known, low, high)


@compiled
def make(
    points: Any,
    factors: Any,
    biases: Any,
    result: Any,
    sums: Any,
    block: Any,
    part: Any,
    tables: Any,
    numbers: Any,
) -> None:
    """Write a part of a block's outputs; ``sums`` is room for their points."""
    count, across, pitch, tiles, _, target, many, firsts, outputs, heights, width, stores = block[
        3:LAYOUT
    ]
    rows, columns, lanes, channels, groups, _, results_of, line = numbers[:8]
    first, made, convolve, every, apart, term, step, factor = part[:8]
    seen, square = channels // groups, rows * columns
    down, over = numbers[DOWN], numbers[ACROSS]
    # What a piece of the kernel sees of a tile is what the first one sees of a later tile.
    vectors = -(-(count * across - (down - 1) * pitch - over + 1) // lanes)
    zeros, terms = np.zeros(made, sums.dtype), np.empty((seen * down * over, 2), np.int64)
    run = np.empty((1, 3), np.int64)
    run[0, 0], run[0, 1], run[0, 2] = 0, 0, vectors
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
                factors,
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
                np.arange(vectors + 1),
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
            np.arange(max(columns, 2)) * lanes,
            result[target + first * results_of :],
            results_of,
            tables[firsts : firsts + many],
            tables[outputs : outputs + many],
            tables[heights : heights + many],
            width,
        ),
    )


@compiled
def make_parts(
    points: Any,
    weight: Any,
    biases: Any,
    result: Any,
    begin: Any,
    end: Any,
    sums: Any,
    factors: Any,
    block: Any,
    parts: Any,
    tables: Any,
    places: Any,
    numbers: Any,
) -> None:
    """Write some parts of a block's outputs, by the points of the whole weight or by a flat one.

    The weight of each part is transformed then; ``factors`` is room for its points.
    """
    transform, every, size = numbers[TRANSFORM], numbers[EVERY], numbers[SIZE]
    for n in range(begin, end):
        seen = weight
        if transform != 0:
            step, _, first, vectors, length = parts[n, 6:]
            kernels = (weight, factors, 0, vectors, first, every, length, step, places, size)
            call_at(transform, kernels)
            seen = factors
        make(points, seen, biases, result, sums, block, parts[n], tables, numbers)


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
    factors, count = workspace[thread, last:], parts.shape[0]
    for n in range(begin, end):
        block = blocks[n]
        see(source, points, cells, block, tables, numbers)
        make_parts(
            points,
            weight,
            biases,
            result,
            0,
            count,
            cells,
            factors,
            block,
            parts,
            tables,
            places,
            numbers,
        )


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
    make_parts(
        points,
        weight,
        biases,
        result,
        begin,
        end,
        sums,
        factors,
        block,
        parts,
        tables,
        places,
        numbers,
    )
