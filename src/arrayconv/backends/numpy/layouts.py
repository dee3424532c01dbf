"""Planes laid out so that what a tap sees of them is one run of cells: for sums in vectors.

`shifts` has the idea: with padding laid out, and each phase of a stride by itself, the cells that a
tap sees from one output after the other are neighbours, those between rows counted. Here the images
of a batch are one more dimension of a plane, and the adjoint has its layout too: the outputs of one
phase of its stride are a convolution with the taps that meet this phase.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, pairwise, product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._integers import Ints
from arrayconv._window import Axis, Window
from arrayconv.backends.numpy import shifts
from arrayconv.backends.numpy.loop_addresses import of_layout
from arrayconv.backends.numpy.shifts import Slices
from arrayconv.backends.numpy.tables import Tables

MOST_LANES = 16
"""Numbers that a vector of any processor holds."""
MOST_PHASES = 8
"""Phases that are copied together: a processor has registers for their vectors."""


class Copies(NamedTuple):
    """Runs of cells to copy, at the same places in each plane."""

    source: Any
    """Where each run starts in a plane of the source."""
    target: Any
    length: int
    step: int
    """Cells of the source from one to the next."""


class Fill(NamedTuple):
    """Runs of cells to copy, in the order of the source."""

    runs: Any
    """Where each starts in a plane of the source and in the target, and its length (n, 3)."""
    step: int
    """Cells of the source from one to the next."""
    lines: Any
    """The same with all phases of the step together, if each has its run: where they start in the
    source, and how many cells these are; whether nothing may be written past the end of a run; and
    where each phase starts in the target. Else each run has a line (start, length, 1, place)."""


class Pass(NamedTuple):
    """Outputs that see the cells in the same way: all of them, or one phase of an adjoint's."""

    taps: Ints
    """The kernel's taps that see anything."""
    offsets: Ints
    """For each the first of the cells that it sees."""
    crop: Copies
    """Those between rows left out."""


class Layout(NamedTuple):
    """The planes of one channel, and what becomes of them."""

    size: int
    """Cells of a channel."""
    gaps: Any
    """Where runs of padding start, and their lengths (2, n)."""
    fill: Fill
    passes: tuple[Pass, ...]

    def placed(self, tables: Tables, itemsize: int) -> Ints:
        """Return where the loop is that lays planes out, and what it takes of some tables.

        That is where gaps are and how many, the same of lines, and their phases and step.
        """
        count, numbers = self.fill.lines.shape
        phases, step = numbers - 3, self.fill.step
        return (
            of_layout(phases if phases == step else 0, itemsize),
            *(tables.place(self.gaps), self.gaps.shape[1]),
            *(tables.place(self.fill.lines), count, phases, step),
        )


def _starts(slices: Slices, steps: Ints) -> Any:
    """Return where the rows of an index into an array of given steps start."""
    starts = np.zeros((), np.int64)
    for each, step in zip(slices[:-1], steps[:-1], strict=True):
        starts = np.add.outer(starts, np.arange(each.start, each.stop, each.step or 1) * step)
    return np.ascontiguousarray(starts.reshape(-1) + slices[-1].start * steps[-1])


def steps(sizes: Ints) -> Ints:
    """Return the cells from one index to the next, in each dimension of a contiguous array."""
    return tuple(prod(sizes[dim + 1 :]) for dim in range(len(sizes)))


def _copies(of: Slices, of_steps: Ints, to: Slices, to_steps: Ints) -> Copies:
    length = len(range(to[-1].start, to[-1].stop, to[-1].step or 1))
    return Copies(_starts(of, of_steps), _starts(to, to_steps), length, of[-1].step or 1)


@lru_cache(maxsize=512)
def sliding(window: Window, source: Ints, target: Ints) -> Layout:
    """Return the layout of a convolution, from and to arrays whose steps are given."""
    planned = shifts.plan(window)
    along = steps(planned.rows)
    copies = [
        _copies(of, source, _moved(to, phase * prod(planned.rows)), along)
        for phase, to, of in planned.moves
    ]
    outs = tuple(slice(0, axis.out) for axis in window)
    crop = _copies(outs, along, outs, target)
    every = tuple(range(len(planned.offsets)))
    one = Pass(every, planned.offsets, crop)
    size = planned.size
    return Layout(size, gaps(size, copies), fill(copies, size), (one,))


def fill(copies: Sequence[Copies], size: int) -> Fill:
    """Return some copies to planes of a size, which have one step, as one."""
    runs = [
        np.stack([each.source, each.target, np.full(len(each.source), each.length)], axis=1)
        for each in copies
    ]
    laid = np.concatenate([np.empty((0, 3), np.int64), *runs])
    return _in_order(laid, copies[0].step if copies else 1, size)


def _in_order(runs: Any, step: int, size: int) -> Fill:
    """Return runs in the order of the source, and by lines."""
    runs = runs[runs[:, 2] > 0]
    runs = runs[np.argsort(runs[:, 0], kind="stable")]
    ones = np.ones(len(runs), np.int64)
    alone = np.stack([runs[:, 0], runs[:, 2], ones, runs[:, 1]], axis=1)
    if step > MOST_PHASES or len(runs) % step:
        return Fill(runs, step, alone)
    start, place, length = runs.reshape(-1, step, 3).transpose(2, 0, 1)
    cells, phase = length.sum(axis=1, keepdims=True), np.arange(step)
    if (start != start[:, :1] + phase).any() or (length != (cells - phase - 1) // step + 1).any():
        return Fill(runs, step, alone)
    # What whole vectors write past a run is written over by a later line, or it must not be.
    written = place + -(-length[:, :1] // MOST_LANES) * MOST_LANES
    order = np.argsort(place, axis=None)
    line_of = order // step
    begins, ends = place.reshape(-1)[order], written.reshape(-1)[order]
    is_exact = np.zeros(len(start), np.int64)
    is_exact[line_of[ends > size]] = 1
    for n in range(1, len(order)):
        met = begins[n:] < ends[:-n]
        if not met.any():
            break
        is_exact[line_of[:-n][met & (line_of[n:] <= line_of[:-n])]] = 1
    lines = np.concatenate([start[:, :1], cells, is_exact[:, None], place], axis=1)
    return Fill(runs, step, lines)


def joined(parts: Sequence[Layout], sources: Sequence[int]) -> Layout:
    """Return layouts of one size, with the same passes, one after the other in a channel's planes.

    ``sources`` has the cells by which the first that each copies lies behind where copies start.
    """
    if len(parts) == 1:
        return parts[0]
    size = parts[0].size
    runs = [
        np.add(part.fill.runs, (source, number * size, 0))
        for number, (part, source) in enumerate(zip(parts, sources, strict=True))
    ]
    starts = [part.gaps[0] + number * size for number, part in enumerate(parts)]
    # A part that sees padding only has no step of its own.
    step = max(part.fill.step for part in parts)
    return parts[0]._replace(
        size=len(parts) * size,
        gaps=np.stack([np.concatenate(starts), np.concatenate([part.gaps[1] for part in parts])]),
        fill=_in_order(np.concatenate(runs), step, len(parts) * size),
    )


def gaps(size: int, copies: Sequence[Copies]) -> Any:
    """Return where the runs of cells that nothing is copied to start, and their lengths (2, n)."""
    empty = np.ones(size + 2, bool)
    empty[[0, -1]] = False
    for each in copies:
        empty[1 + each.target[:, None] + np.arange(each.length)] = False
    ends = np.flatnonzero(empty[1:] != empty[:-1])
    return np.stack([ends[::2], ends[1::2] - ends[::2]])


def _moved(slices: Slices, cells: int) -> Slices:
    """Return the slices with the last one some cells further on."""
    last = slices[-1]
    return (*slices[:-1], slice(last.start + cells, last.stop + cells))


class Phase(NamedTuple):
    """The cells ``start, start + stride, ...`` of an axis, as the results of a convolution."""

    cells: slice
    length: int
    taps: tuple[tuple[int, int], ...]
    """The taps that see them, and which position, counted from the cell's number in the phase."""


@lru_cache(maxsize=512)
def phases(axis: Axis) -> tuple[Phase, ...]:
    """Return the phases: tap t of position p sees cell ``p * stride + t * dilation - before``."""
    found = []
    for start in range(min(axis.stride, axis.size)):
        places = [
            (tap, divmod(start + axis.before - tap * axis.dilation, axis.stride))
            for tap in range(axis.kernel)
        ]
        taps = tuple((tap, shift) for tap, (shift, rest) in places if rest == 0)
        cells = slice(start, axis.size, axis.stride)
        found.append(Phase(cells, len(range(*cells.indices(axis.size))), taps))
    return tuple(found)


@lru_cache(maxsize=512)
def adjoint(window: Window, source: Ints, target: Ints) -> Layout:
    """Return the layout of a convolution's adjoint, from positions to cells.

    In the last dimension each phase of the cells is a run: one follows the other.
    """
    by_axis = [phases(axis) for axis in window]
    shifted = [
        [(shift, shift + phase.length) for phase in each for _, shift in phase.taps]
        for each in by_axis
    ]
    lows = [min((low for low, _ in each), default=0) for each in shifted]
    rows = tuple(
        max((high for _, high in each), default=1) - low
        for each, low in zip(shifted, lows, strict=True)
    )
    # Positions that no phase of the cells is seen from are left out.
    seen = [
        (max(0, low), max(0, low, min(axis.out, low + count)))
        for axis, low, count in zip(window, lows, rows, strict=True)
    ]
    of = tuple(slice(start, stop) for start, stop in seen)
    to = tuple(slice(s - low, e - low) for (s, e), low in zip(seen, lows, strict=True))
    any_seen = all(start < stop for start, stop in seen)
    copies = [_copies(of, source, to, steps(rows))] if any_seen else []
    ends = list(accumulate((phase.length for phase in by_axis[-1]), initial=0))
    runs = [slice(*each) for each in pairwise(ends)]
    passes = []
    along, of_kernel = steps(rows), steps(tuple(axis.kernel for axis in window))
    for chosen in product(*by_axis):
        taps, offsets = [], []
        for each in product(*(phase.taps for phase in chosen)):
            taps.append(sum(tap * step for (tap, _), step in zip(each, of_kernel, strict=True)))
            places = [shift - low for (_, shift), low in zip(each, lows, strict=True)]
            offsets.append(sum(p * step for p, step in zip(places, along, strict=True)))
        counts = tuple(phase.length for phase in chosen)
        held = tuple(slice(0, count) for count in counts)
        cells = (*(phase.cells for phase in chosen[:-1]), runs[chosen[-1].cells.start])
        crop = _copies(held, along, cells, target)
        passes.append(Pass(tuple(taps), tuple(offsets), crop))
    padding = gaps(prod(rows), copies)
    return Layout(prod(rows), padding, fill(copies, prod(rows)), tuple(passes))
