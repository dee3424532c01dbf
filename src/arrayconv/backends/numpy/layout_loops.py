"""Loops that lay cells out, and put results in turns: import this by `compiler.loops` only.

There is one for each number of turns that vectors can take, which numba compiles when it is met.
They are called by their addresses: else each of their callers would hold a copy, compiled again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from arrayconv.backends.numpy.loop_forms import Loop, compiled_by_form, inlined
from arrayconv.backends.numpy.phase_copies import copy_vectors, runs_together, turns_apart
from arrayconv.backends.numpy.registers import VECTOR_BYTES

__all__ = ["TURNS", "lay_out", "put_in_turns"]

TURNS = 1, 2, 3, 4, 8
"""Numbers of phases, with a step of as many, that vectors copy."""
AT_ONCE = 3
"""Vectors that are copied together."""

_cell = np.uintp
"""An index that is not negative, which loops need not look at."""


@inlined
def _by_vectors(phases: Any, same: Any) -> None:
    """Copy lines of all phases of a step; ``same`` are other arguments of `lay_out`."""
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
                    cells[_cell(place)] = source[_cell(seen + cell)]
                continue
            for v in range(vectors - is_exact):
                at, to = seen + v * of_vectors, base + v * lanes
                turns_apart(phases, source, at, cells, to, tables, places, None)
            if is_exact:
                at, to = seen + (vectors - 1) * of_vectors, base + (vectors - 1) * lanes
                left = count - (vectors - 1) * of_vectors
                turns_apart(phases, source, at, cells, to, tables, places, left)


@inlined
def _runs(same: Any) -> None:
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


@inlined
def _one_by_one(phases: Any, step: Any, same: Any) -> None:
    """Do the same for any phases and step."""
    source, first, each, cells, every, planes, tables, lines, line_count = same
    numbers = 3 + phases
    for plane in range(planes):
        for line in range(lines, lines + line_count * numbers, numbers):
            seen, base = first + plane * each + tables[line], plane * every
            for phase in range(phases):
                place, at = base + tables[line + 3 + phase], seen + phase
                for cell in range((tables[line + 1] - phase + phases - 1) // phases):
                    cells[_cell(place + cell)] = source[_cell(at + cell * step)]


@compiled_by_form
def lay_out(turns: int) -> Loop:
    """Return what lays out planes whose lines have so many turns, or any number if 0.

    It takes flat cells, the first and how far planes lie apart; where they go, and how far apart
    they lie there; their number; tables, and what `Layout.placed` says of them: where runs of
    padding are and how many, where lines are and how many, and their phases and step. Lines are
    copied first, and may be written past their end; then 0 goes into what is padding.
    """

    def run(
        source: Any,
        first: Any,
        each: Any,
        cells: Any,
        every: Any,
        planes: Any,
        tables: Any,
        where: Any,
    ) -> None:
        gaps, gap_count, lines, line_count, phases, step = where
        same = (source, first, each, cells, every, planes, tables, lines, line_count)
        if turns == 0:
            _one_by_one(phases, step, same)
        elif turns == 1:
            _runs(same)
        else:
            _by_vectors(turns, same)
        for plane in range(planes):
            for gap in range(gaps, gaps + gap_count):
                start = plane * every + tables[gap]
                for cell in range(start, start + tables[gap + gap_count]):
                    # No slice, which would be counted for each gap.
                    cells[_cell(cell)] = 0

    return run


@compiled_by_form
def put_in_turns(turns: int) -> Loop:
    """Return what copies rows whose phases are one after the other, so that they take turns.

    These are so many, or any number if 0. It takes cells and the first, of which a vector may be
    read past the last row; where these go; how many rows there are, and their length; and the
    number of turns.
    """

    def run(
        source: Any, first: Any, target: Any, place: Any, rows: Any, length: Any, stride: Any
    ) -> None:
        if turns == 0:
            for row in range(rows):
                seen, made, stop = first + row * length, place + row * length, length
                for phase in range(min(stride, length)):
                    for cell in range(made + phase, made + stop, stride):
                        target[_cell(cell)] = source[_cell(seen)]
                        seen += 1
        else:
            lanes = VECTOR_BYTES // source.itemsize
            starts = np.empty(turns, np.int64)
            for phase in range(turns):
                starts[phase] = phase * (length // turns) + min(phase, length % turns)
            for row in range(rows):
                seen, made, done = first + row * length, place + row * length, 0
                while done + turns * lanes <= length:
                    at, to = seen + done // turns, made + done
                    runs_together(turns, source, at, starts, target, to, None)
                    done += turns * lanes
                if done < length:
                    at, to = seen + done // turns, made + done
                    runs_together(turns, source, at, starts, target, to, length - done)

    return run
