"""The loops of `compiled_gradient`, compiled by numba: import this by `compiler.loops` only."""

from __future__ import annotations

from typing import Any

import numpy as np

from arrayconv.backends.numpy.addresses import call_at
from arrayconv.backends.numpy.loop_forms import Loop, compiled, compiled_by_form, inlined
from arrayconv.backends.numpy.phase_copies import turns_apart, turns_together
from arrayconv.backends.numpy.registers import VECTOR_BYTES
from arrayconv.backends.numpy.tile_sums import Tile, tile, vectors_of
from arrayconv.backends.numpy.tile_sums import sum_products as add
from arrayconv.backends.numpy.whole_planes import turn_over

__all__ = ["add_blocks", "add_outer_products", "tile", "write_out"]

TAPS = 9
"""Taps up to which a vector of each is turned with those of all others, and not in squares."""
TERMS = 160 if VECTOR_BYTES == 64 else 192
"""Positions that are summed up by themselves, at most: a cache holds their cells."""


@compiled_by_form
def add_outer_products(shape: Tile, rest: int) -> Loop:
    """Return sums over positions for whole tiles of outputs, and for ``rest`` more.

    It takes cells and the first of a panel; where runs of them begin; terms, of which the last is
    none; cotangents, the first and from output to output; zeros; what is kept of sums, from which
    place on; the numbers of outputs and of vectors of a run; and the first term: sums that begin at
    0 are new ones, others are added to what was kept.
    """
    outputs, vectors = shape

    def run(
        cells: Any,
        panel: Any,
        runs: Any,
        table: Any,
        cotangents: Any,
        first: Any,
        step: Any,
        zeros: Any,
        kept: Any,
        place: Any,
        made: Any,
        of_run: Any,
        low: Any,
    ) -> None:
        lanes, high = VECTOR_BYTES // cells.itemsize, len(table) - 1
        whole = made - rest
        # Nothing is written out, so nobody looks where to.
        same = (cells, table, cotangents, step, zeros, kept, 0, table, runs, kept, len(table))
        at_a_time = -(-(high - low) // max(1, -(-(high - low) // TERMS)))
        for begin in range(low, high, at_a_time):
            end = min(high, begin + at_a_time)
            for number in range(len(runs)):
                v = 0
                while v < of_run:
                    some, cell = vectors_of(of_run - v, vectors), panel + runs[number] + v * lanes
                    to = place + (number * of_run + v) * made * lanes
                    for output in range(0, whole, outputs):
                        w = first + output * step
                        at = to + output * some * lanes
                        add(outputs, vectors, some, cell, (begin, end, 0, False), w, 0, 0, at, same)
                    if rest > 0:
                        w = first + whole * step
                        at = to + whole * some * lanes
                        add(rest, vectors, some, cell, (begin, end, 0, False), w, 0, 0, at, same)
                    v += some

    return run


@inlined
def lay_out(
    source: Any,
    first: Any,
    plane: Any,
    channels: Any,
    cells: Any,
    begin: Any,
    size: Any,
    tables: Any,
    where: Any,
    square: Any,
) -> None:
    """Write lines of cells with their channels next to one another, and zeros for what is padding.

    ``where`` has where in ``tables`` lines are and how many, and the places of a line's cells and
    how many; how far apart neighbours go, or 0 if that is not the same for all; and whether other
    lines go between.
    """
    lines, line_count, columns, count, pitch, is_mixed = where
    lanes, zero = VECTOR_BYTES // source.itemsize, np.zeros(1, np.int64)
    done, end = begin, begin + size
    if is_mixed:
        for cell in range(begin, end):
            cells[np.uintp(cell)] = 0
        done = end
    for line in range(lines, lines + 2 * line_count, 2):
        seen, to = first + tables[line], begin + tables[line + 1]
        if not is_mixed:
            for cell in range(done, to):
                cells[np.uintp(cell)] = 0
            done = to + count * channels
        if channels < lanes:
            for channel in range(channels):
                at, place = np.uintp(seen + channel * plane), to + channel
                for cell in range(count):
                    cells[np.uintp(place + tables[columns + cell])] = source[at + np.uintp(cell)]
            continue
        for some in range(0, channels, lanes):
            # The last square of either may overlap the one before.
            channel = min(some, channels - lanes)
            at, place = seen + channel * plane, to + channel
            for each in range(0, count, lanes):
                if count >= lanes and pitch > 0:
                    cell = min(each, count - lanes)
                    _turn(source, at + cell, plane, cells, place + cell * pitch, pitch)
                elif at + each + (lanes - 1) * plane + lanes <= source.size:
                    _turn(source, at + each, plane, square, 0, lanes)
                    for one in range(min(lanes, count - each)):
                        goal = place + tables[columns + each + one]
                        turns_apart(1, square, one * lanes, cells, goal, zero, 0, None)
                else:
                    for one in range(lanes):
                        for cell in range(each, min(each + lanes, count)):
                            goal = np.uintp(place + tables[columns + cell] + one)
                            cells[goal] = source[np.uintp(at + one * plane + cell)]
    # What vectors see past the last cell is dropped, but some numbers would be slow to add.
    for cell in range(done, end + lanes):
        cells[np.uintp(cell)] = 0


@inlined
def _turn(source: Any, first: Any, step: Any, target: Any, place: Any, down: Any) -> None:
    """Do `turn_over` at places that are no index from the end."""
    at, to = np.uintp(first), np.uintp(place)
    turn_over(source, at, np.uintp(step), target, to, np.uintp(down))


@inlined
def gather(
    kept: Any, place: Any, made: Any, output: Any, seen: Any, line: Any, zero: Any, of_all: Any
) -> None:
    """Write what was kept of one of ``made`` outputs, as ``seen`` channels for each tap.

    ``zero`` is an array of that, and ``of_all`` has the panels, the runs of each and the numbers of
    a run, the channels of a panel, and the vectors of a tile.
    """
    panels, runs, run, channels, vectors = of_all
    lanes = VECTOR_BYTES // kept.itemsize
    across = -(-run // lanes)
    # A panel has whole vectors of each tap; if all channels are in one, all taps are one piece.
    piece, step = (channels, seen) if panels > 1 else (across * lanes, run)
    for panel in range(panels):
        start = min(panel * channels, seen - channels)
        for row in range(runs):
            to, done = start + row * (run // channels) * seen, 0
            first = 0
            while first < across:
                some = vectors_of(across - first, vectors)
                at = place + ((panel * runs + row) * across + first) * made * lanes
                at += output * some * lanes
                for v in range(0, some * lanes, lanes):
                    # What is past the end of a run the next one is written over.
                    turns_apart(1, kept, at + v, line, to + done, zero, 0, None)
                    done += lanes
                    if done == piece:
                        to, done = to + step, 0
                first += some


@compiled_by_form
def write_out(taps: int) -> Loop:
    """Return what writes an output's weights: those of so many taps, or of any number if 0.

    It takes what `gather` wrote, with room to work in behind it; flat weights, and the first one's
    place; the number of channels; where each tap is among those of all runs; and an array of 0.
    """

    def run(line: Any, weight: Any, target: Any, channels: Any, order: Any, zero: Any) -> None:
        lanes, number = VECTOR_BYTES // line.itemsize, len(order)
        square = line[number * channels + lanes :]
        if channels < (lanes // 2 if taps > 0 else lanes):
            for tap in range(number):
                at = np.uintp(order[tap] * channels)
                for channel in range(channels):
                    weight[target + channel * number + tap] = line[at + np.uintp(channel)]
            return
        if taps > 0:
            for channel in range(0, channels, lanes):
                for tap in range(taps):
                    at = order[tap] * channels + channel
                    turns_apart(1, line, at, square, tap * lanes, zero, 0, None)
                left = (channels - channel) * taps
                turns_together(taps, square, weight, target + channel * taps, left)
            return
        whole = -(-number // lanes) * lanes
        turned = square[lanes * lanes :]
        for channel in range(0, channels, lanes):
            for row in range(0, number, lanes):
                for tap in range(row, min(row + lanes, number)):
                    at = order[tap] * channels + channel
                    turns_apart(1, line, at, square, (tap - row) * lanes, zero, 0, None)
                _turn(square, 0, lanes, turned, row, whole)
            for one in range(min(lanes, channels - channel)):
                for row in range(0, number, lanes):
                    at, to = one * whole + row, (channel + one) * number + row
                    # What is past the taps of a channel the next one is written over.
                    if to + lanes > channels * number:
                        left = channels * number - to
                        turns_apart(1, turned, at, weight, target + to, zero, 0, left)
                    else:
                        turns_apart(1, turned, at, weight, target + to, zero, 0, None)

    return run


@compiled
def add_blocks(
    source: Any,
    cotangents: Any,
    zeros: Any,
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
    """Add up the gradients of some of the jobs of `gradient_plans.Plan`, from all blocks."""
    seen, made, taps, places, panels, channels, runs, run, vectors = numbers[:9]
    pitch, is_mixed, cells_of, results_of, laid, sums, write = numbers[9:]
    lanes = VECTOR_BYTES // source.itemsize
    cells, kept = workspace[thread, :laid], workspace[thread, laid : laid + sums]
    line, order = workspace[thread, laid + sums :], tables[places : places + taps]
    zero = np.zeros(1, np.int64)
    across = -(-run // lanes)
    each = runs * across * lanes
    for job in range(begin, end):
        first, groups, start, many, loop = jobs[job]
        # Jobs for other outputs of the same groups follow one another.
        is_laid = len(blocks) == 1 and job > begin and first == jobs[job - 1, 0]
        for block in range(len(blocks)):
            size, cell, place, lines, line_count, columns, count = blocks[block, :7]
            table, terms, offsets = blocks[block, 7:]
            where = lines, line_count, columns, count, pitch, is_mixed
            # The first of these terms is none, and is left out where sums are new.
            low = min(1, block)
            table, terms = table + 2 * (1 - low), terms + 1 + low
            for panel in range(groups * panels):
                group = first + panel // panels
                if not is_laid:
                    channel = group * seen + min(panel % panels * channels, seen - channels)
                    lay_out(
                        source,
                        cell + channel * cells_of,
                        cells_of,
                        channels,
                        cells,
                        panel * size,
                        size,
                        tables,
                        where,
                        line,
                    )
                call_at(
                    loop,
                    (
                        cells,
                        panel * size,
                        tables[offsets : offsets + runs],
                        tables[table : table + 2 * terms].reshape(terms, 2),
                        cotangents,
                        place + (group * made + start) * results_of,
                        results_of,
                        zeros,
                        kept,
                        panel * many * each,
                        many,
                        across,
                        low,
                    ),
                )
        for number in range(groups * many):
            group, output = number // many, number % many
            of_all = panels, runs, run, channels, vectors
            gather(kept, group * panels * many * each, many, output, seen, line, zero, of_all)
            call_at(
                write,
                (
                    line,
                    result,
                    ((first + group) * made + start + output) * seen * taps,
                    seen,
                    order,
                    zero,
                ),
            )
