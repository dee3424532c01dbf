"""What the loops of `compiled_gradient` need to know, in integers: runs, and where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import product
from math import ceil, prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._integers import Ints
from arrayconv._parts import sliding_part
from arrayconv._window import Axis, Window, input_sizes, kernel_sizes, output_sizes, reach, span
from arrayconv.backends.numpy.blocks import equal_parts
from arrayconv.backends.numpy.compiler import lanes_of, loops
from arrayconv.backends.numpy.convolution_cuts import WORTH_A_THREAD
from arrayconv.backends.numpy.costs import MULTIPLY_ADD
from arrayconv.backends.numpy.layouts import steps
from arrayconv.backends.numpy.tables import Tables

PANEL = 3
"""Vectors of channels that are laid out side by side, at most: as many as tiles of sums have."""
LAID_OUT, SCATTERED = 0.14, (0.4, 0.65)
"""Nanoseconds to lay out a number: by vectors; and one by one, of one or two channels, and of more.
"""


def laid_out(channels: int, lanes: int) -> float:
    """Return the nanoseconds to lay out a number of so many channels."""
    return LAID_OUT if channels >= lanes else SCATTERED[channels > 2]


class Runs(NamedTuple):
    """The numbers that a position sees, as runs of those that are laid out."""

    panels: int
    """Into how many the channels of a group are cut; each has all of these runs."""
    channels: int
    """Of a panel: whole vectors, where there are several panels. The last one may have some of
    those of the one before."""
    rows: int
    """One run for each row of the kernel; or one of all, in which rows take turns."""
    together: int
    """Rows that take turns, at each place along a row: 1, or all of the kernel's."""
    numbers: int
    """Of each run: channels and taps."""

    def vectors(self, lanes: int) -> int:
        """Return how many vectors all runs are."""
        return self.panels * self.rows * -(-self.numbers // lanes)


@lru_cache(maxsize=256)
def runs_of(window: Window, seen: int, made: int, lanes: int) -> Runs:
    """Return the runs for ``seen`` channels and ``made`` outputs of a group.

    Few channels are laid out at a time, so that those of cells that follow one another fill lines
    of the cache. Rows take turns where that fills so many more lanes that it is worth it to lay
    them out again for each of the outputs that see them.
    """
    rows, taps = prod(kernel_sizes(window[:-1])), window[-1].kernel
    if seen > PANEL * lanes:
        least = -(-seen // (PANEL * lanes))
        widths = [-(-seen // (panels * lanes)) * lanes for panels in range(least, least + 3)]
        every = [Runs(-(-seen // width), width, rows, 1, taps * width) for width in widths]
        return min(every, key=lambda runs: runs.vectors(lanes))
    apart, mixed = (Runs(1, seen, rows // some, some, some * taps * seen) for some in (1, rows))
    lines = prod(output_sizes(window[:-1]))
    copied = (rows * lines - prod(input_sizes(window[:-1]))) * window[-1].size * seen
    spared = (apart.vectors(lanes) - mixed.vectors(lanes)) * lanes * lines * window[-1].out * made
    return mixed if spared * MULTIPLY_ADD > copied * laid_out(seen, lanes) else apart


class Plan(NamedTuple):
    """What a gradient of given shapes needs, worked out once, as `add_blocks` takes it."""

    jobs: Any
    """What is worked on by itself: of each the first group and how many, the first output of a
    group and how many, and where the code is that adds up."""
    blocks: Any
    """Ranges of images, or of the first dimension: of each the numbers of a panel when it is laid
    out, the first cell that it sees and the first cotangent; where ``tables`` have its lines and
    how many, the places of a line's cells and how many, its terms and how many, and its runs."""
    tables: Any
    numbers: Any
    """Channels and outputs of a group, taps, and where ``tables`` have their places in a run;
    panels, the channels of each, its runs and the numbers of each, and the vectors of a tile; how
    far apart neighbours are laid out, or 0, and whether other lines go between; cells of a channel
    and results of an output; the most numbers that are laid out, and that are kept, which a
    workspace has one after the other, and then room for an output's weights; and where the code is
    that writes these."""
    room: int
    """What all three are."""


@lru_cache(maxsize=64)
def plan(
    window: Window,
    batch: int,
    channels: int,
    outputs: int,
    groups: int,
    itemsize: int,
    threads: int,
    limit: int,
) -> Plan:
    """Return the plan of a gradient; its blocks are the same for any number of threads."""
    lanes = lanes_of(np.dtype(f"f{itemsize}"))
    sizes, positions, kernel = input_sizes(window), output_sizes(window), kernel_sizes(window)
    seen, made, taps = channels // groups, outputs // groups, prod(kernel)
    runs = runs_of(window, seen, made, lanes)
    source = (channels * prod(sizes), *steps(sizes))
    target = (outputs * prod(positions), *steps(positions))
    packed = Tables()

    @cache
    def tables(images: int, first: Axis) -> Ints:
        axes = (Axis(images, 1, 1, 1, 0, 0, images), first, *window[1:])
        laid, outs = _laid_out(axes, runs, source[:-1]), [np.arange(axis.out) for axis in axes]
        # One more in front and behind: no sum is begun or written out by what adds up.
        terms = np.zeros((2 + len(laid.positions), 2), np.int64)
        terms[1:-1] = np.stack([laid.positions, _sums(outs, target)], axis=1)
        found = [laid.size]
        for each in (laid.lines, laid.columns):
            found += [packed.place(each), len(each)]
        return *found, packed.place(terms), len(laid.positions), packed.place(laid.runs)

    def block(images: tuple[int, int], part: tuple[int, int]) -> Ints:
        cut = sliding_part(window[0], *part)
        size, *others = tables(images[1] - images[0], cut.axis)
        seen_from = images[0] * source[0] + cut.low * source[1]
        return size, seen_from, images[0] * target[0] + part[0] * target[1], *others

    size, *_ = block((0, 1), (0, positions[0]))
    of_image = (groups * runs.panels * size + outputs * prod(positions)) * itemsize
    images = -(-batch // max(1, limit // of_image))
    parts = min(-(-of_image // limit), max(1, 2 * positions[0] // span(window[0])))
    ranges = product(equal_parts(batch, images), equal_parts(positions[0], parts))
    blocks = np.array([block(*each) for each in ranges], np.int64)
    multiply_adds = batch * prod(positions) * outputs * seen * taps
    wanted = min(threads, multiply_adds // WORTH_A_THREAD)
    shape, across = loops("gradient_loops").tile(made), runs.vectors(lanes) * lanes
    # Sums may take twice what is laid out: the second cache should hold most of both.
    times = groups * made * across * itemsize / (2 * limit)
    some_groups = max(1, min(groups, max(wanted, int(times))))
    some_outputs = max(-(-wanted // some_groups), ceil(times / some_groups))
    some = _whole_tiles(made, some_outputs, shape.outputs)
    jobs = np.array(
        [
            (*each, *of, _address(made, of[1] - of[0], itemsize))
            for each, of in product(equal_parts(groups, some_groups), some)
        ],
        np.int64,
    )
    # Both ends as a beginning and a number.
    jobs[:, [1, 3]] -= jobs[:, [0, 2]]
    laid = int(jobs[:, 1].max() * runs.panels * blocks[:, 0].max()) + lanes
    sums = int((jobs[:, 1] * jobs[:, 3]).max()) * across
    laid, sums = (-(-each // lanes) * lanes for each in (laid, sums))
    # Taps in a row, and squares of a vector of channels by taps, one and all.
    line = taps * seen + (2 + lanes + -(-taps // lanes) * lanes) * lanes
    tap, along = np.arange(taps), kernel[-1]
    order = tap % along * runs.together + tap // along if runs.together > 1 else tap
    is_dilated = window[-1].dilation > 1
    numbers = (
        *(seen, made, taps, packed.place(order)),
        *(runs.panels, runs.channels, runs.rows, runs.numbers, shape.vectors),
        *(0 if is_dilated else runs.together * runs.channels, runs.together > 1 or is_dilated),
        *(prod(sizes), prod(positions), laid, sums, _address_to_write(taps, itemsize)),
    )
    return Plan(jobs, blocks, packed.flat(), np.array(numbers, np.int64), laid + sums + line)


class _Laid(NamedTuple):
    """How what a panel sees is laid out: ``size`` numbers, all of whose places are counted so."""

    size: int
    lines: Any
    """Rows of cells: of each where it begins, among a channel's cells, and where it goes."""
    columns: Any
    """Where the cells of a line go, counted from there."""
    positions: Any
    """For each position where what it sees begins."""
    runs: Any
    """Where its runs begin, counted from there."""


def _laid_out(axes: Window, runs: Runs, source: Ints) -> _Laid:
    """Return how cells are laid out so that what a position sees are ``runs``.

    The cells of a row that neighbouring taps see are neighbours: where these have a dilation, cells
    come in as many turns.
    """
    *outer, last = axes
    turns, pitch = last.dilation, runs.together * runs.channels
    length = -(-reach(last) // turns)
    across = np.arange(turns * length)
    place = (across % turns * length + across // turns) * pitch
    if runs.together > 1:
        # For each row of positions, the rows of the kernel.
        rows, every = outer, [np.arange(axis.out) for axis in outer]
        taps = [np.zeros(1, np.int64) for _ in outer]
    else:
        rows = [axis._replace(kernel=1, stride=1, dilation=1, out=reach(axis)) for axis in outer]
        every = [np.arange(axis.out) * axis.stride for axis in outer]
        taps = [np.arange(axis.kernel) * axis.dilation for axis in outer]
    of_line = len(place) * pitch
    of_rows = tuple(step * of_line for step in steps(tuple(axis.out for axis in rows)))
    along = place[np.arange(last.out) * last.stride]
    # The first cell that a window reaches, and what is behind the last.
    low, high = max(0, -last.before), min(last.size, reach(last) - last.before)
    columns = place[low + last.before : max(low, high) + last.before]
    first = columns[:1].sum()
    return _Laid(
        prod(axis.out for axis in rows) * of_line,
        _lines(rows, source, of_line, runs.channels) + np.array([low, first]),
        columns - first,
        _sums([*every, along], (*of_rows, 1)),
        _sums(taps, of_rows),
    )


def _lines(rows: Sequence[Axis], source: Ints, of_line: int, channels: int) -> Any:
    """Return, of each row of cells that a row of the kernel sees, where it begins and goes to."""
    dims = len(rows)
    begin, inside = np.zeros((1,) * 2 * dims, np.int64), np.ones((1,) * 2 * dims, bool)
    for dim, axis in enumerate(rows):
        shape = [1] * 2 * dims
        shape[dim], shape[dims + dim] = axis.out, axis.kernel
        cells = np.arange(axis.out)[:, None] * axis.stride - axis.before
        cells = (cells + np.arange(axis.kernel) * axis.dilation).reshape(shape)
        begin, inside = begin + cells * source[dim], inside & (cells >= 0) & (cells < axis.size)
    places = np.arange(prod(axis.out for axis in rows))[:, None] * of_line
    places = places + np.arange(prod(axis.kernel for axis in rows)) * channels
    return np.stack([each.reshape(-1)[inside.reshape(-1)] for each in (begin, places)], axis=1)


def _sums(every: Sequence[Any], of_steps: Ints) -> Any:
    """Return, for one of each of some arrays of indices, where that is among all."""
    total = np.zeros(1, np.int64)
    for each, step in zip(every, of_steps, strict=True):
        total = (total[:, None] + each * step).reshape(-1)
    return total


def _whole_tiles(length: int, parts: int, tile: int) -> list[tuple[int, int]]:
    """Return equal ranges of ``length``, at most ``parts``, of whole tiles but for the last."""
    whole = equal_parts(-(-length // tile), parts)
    return [(low * tile, min(length, high * tile)) for low, high in whole]


@cache
def _address(made: int, many: int, itemsize: int) -> int:
    """Return where the code is that adds up the gradients of some of a group's outputs."""
    compiled = loops("gradient_loops")
    numbers, flat = np.empty(1, f"f{itemsize}"), np.empty(1, np.int64)
    shape = compiled.tile(made)
    found: int = loops("addresses").address_of(
        compiled.add_outer_products(shape, many % shape.outputs),
        *(numbers, 0, flat, flat.reshape(1, 1), numbers, 0, 0, numbers, numbers, *[0] * 4),
    )
    return found


@cache
def _address_to_write(taps: int, itemsize: int) -> int:
    """Return where the code is that writes the weights of an output."""
    compiled = loops("gradient_loops")
    numbers, flat = np.empty(1, f"f{itemsize}"), np.empty(1, np.int64)
    found: int = loops("addresses").address_of(
        compiled.write_out(taps if taps <= compiled.TAPS else 0),
        *(numbers, numbers, 0, 0, flat, flat),
    )
    return found
