"""The blocks of `compiled_convolution`, as its loops take them: whole numbers in a few arrays."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._integers import Ints
from arrayconv._options import current
from arrayconv._parts import adjoint_part, sliding_part
from arrayconv._window import Axis, Window, input_sizes, kernel_sizes, output_sizes, span
from arrayconv.backends.numpy import layouts, panels
from arrayconv.backends.numpy.blocks import equal_parts
from arrayconv.backends.numpy.compiler import loops
from arrayconv.backends.numpy.layouts import Copies, Layout, Pass
from arrayconv.backends.numpy.tables import Tables

CHUNK = 1 << 19
"""Bytes that a block lays out: the second cache should hold most of it."""
WORTH_A_THREAD = 1 << 19
"""Multiply-adds below which a block is not cut for another thread."""
CHAINS, PART = 8, 0.25
"""Products that a processor adds at a time, each to its own sum: with fewer sums it waits. And what
vectors of one tile have in common, the weights, as products."""
FEW = 4
"""Blocks of a thread below which all should have as many."""
SUMS = 13
"""Numbers that say what a pass of a block sums up."""


class Plan(NamedTuple):
    """What a convolution of given shapes needs, worked out once, as `convolve_blocks` takes it."""

    blocks: Any
    """Ranges of images or of the first dimension, of groups, and of the outputs of each. Of a block
    a channel's cells, the first cell of the source that it sees, in the first channel; how many
    channels, groups, and outputs of a group it has; the first output; the first and last of its
    sums; its first result, how many images it has, and rows of an image's output; how many cells it
    lays out; and where `tables` have its layout, of `Layout.placed`."""
    sums: Any
    """Of one pass of a block the loop; where `tables` have, for each term, where its cell and its
    weight are, the number of terms, and of the rows that their cells lie in; the first weight and
    the first result; where and how many are the runs of vectors; where, how many and of how many
    columns are the lanes of a vector of sums; and where and how many say how many of these there
    are before each vector."""
    tables: Any
    numbers: Any
    """Cells of a channel of the source, channels of a group, weights of a group and from output to
    output, outputs of a group, results of a group and of an output, numbers of vectors that may be
    past a cell, results of an image and of a row, and the phases that are one after the other in a
    row of the sums, and are then put in turns."""
    cells: int
    """The most numbers that a block lays out, and those that vectors may see past the last one; or
    a row of results, if that is more."""
    holes: bool
    """Whether some outputs, of an adjoint, see nothing."""


Range = tuple[int, int]
Where = tuple[int, int, int, int]
"""A number of images, the range of the first dimension's results, and a number of channels."""


class _Planner:
    """What writes blocks from ``channels`` to ``outputs``, by a convolution or by its adjoint."""

    def __init__(
        self,
        window: Window,
        channels: int,
        outputs: int,
        groups: int,
        itemsize: int,
        is_adjoint: bool,
    ) -> None:
        window = _flat(window)
        self.window, self.itemsize, self.is_adjoint = window, itemsize, is_adjoint
        self.compiled = loops("conv_loops")
        self.lanes = self.compiled.VECTOR_BYTES // itemsize
        self.is_flat = len(window) == 1 and _is_identity(window)
        self.from_sizes, self.sizes = input_sizes(window), output_sizes(window)
        if is_adjoint:
            self.from_sizes, self.sizes = self.sizes, self.from_sizes
        self.seen, self.made = channels // groups, outputs // groups
        self.groups, self.taps = groups, prod(kernel_sizes(window))
        self.phases = window[-1].stride if is_adjoint else 1
        self.tile = self.compiled.tile(self.made)
        self.slack = self.tile.vectors * self.lanes
        self.source = (channels * prod(self.from_sizes), *layouts.steps(self.from_sizes))
        self.target = (outputs * prod(self.sizes), *layouts.steps(self.sizes))
        # From an output, and from a channel, to the next one's weights.
        self.step, self.weights = self.seen * self.taps, self.taps
        if is_adjoint:
            self.step, self.weights = self.taps, self.made * self.taps
        self.planes = cache(self._planes)
        self.laid, self.passes = cache(self._laid), cache(self._passes)
        self.tables = Tables()
        self.sums: list[Ints] = []
        self.blocks: list[Ints] = []

    def _part(self, start: int, stop: int) -> Any:
        part_of = adjoint_part if self.is_adjoint else sliding_part
        return part_of(self.window[0], start, stop)

    def _planes(self, images: int, start: int, stop: int) -> Layout:
        image = Axis(images, 1, 1, 1, 0, 0, images)
        lay_out = layouts.adjoint if self.is_adjoint else layouts.sliding
        window = (image, self._part(start, stop).axis, *self.window[1:])
        return lay_out(window, self.source, self.target)

    def _laid(self, images: int, start: int, stop: int, channels: int) -> Layout:
        layout = self.planes(images, start, stop)
        if not panels.are_fit(layout):
            return layout
        vectors_of_all = -(-layout.size // self.lanes)
        few = vectors_of_all <= self.tile.vectors + 1
        width = vectors_of_all if few else self.tile.vectors
        return panels.in_panels(layout, channels, width * self.lanes)

    def _passes(self, images: int, start: int, stop: int, channels: int) -> list[tuple[Any, ...]]:
        """Return the tables of each pass."""
        layout = self.laid(images, start, stop, channels)
        made = []
        for each in layout.passes:
            if each.taps:
                runs, stores, ends = vectors(each.crop, self.tile, self.lanes)
                if panels.are_fit(layout):
                    stores, ends = _stores(panels.joined(each.crop), self.lanes)
                    runs = panels.runs(layout, channels, len(ends) - 1, self.lanes)
                table = _table(each, self.seen, layout.size, self.weights)
                made.append((table, runs, stores, ends))
        return made

    def _sums(self, where: Where, count: int, weight: int, place: int) -> Iterator[Ints]:
        loop = self.compiled.convolve(self.tile, count % self.tile.outputs, self.lanes)
        placed = self.tables.place
        for table, runs, stores, ends in self.passes(*where):
            yield (
                *(address(loop, self.itemsize), placed(table), len(table)),
                *(_rows(table, self.slack), weight, place),
                *(placed(runs), len(runs), placed(stores), *stores.shape, placed(ends), len(ends)),
            )

    def add(self, images: Range, part: Range, some: Range, of: Range) -> None:
        """Add a block: images, results of the first dimension, groups and outputs of each."""
        count, many = of[1] - of[0], some[1] - some[0]
        where = images[1] - images[0], *part, many * self.seen
        layout, low = self.laid(*where), len(self.sums)
        rows = (part[1] - part[0]) * prod(self.sizes[1:-1]) if len(self.sizes) > 1 else 1
        place = images[0] * self.target[0] + part[0] * self.target[1]
        output = some[0] * self.made + of[0]
        place += output * prod(self.sizes)
        weight = some[0] * self.made * self.seen * self.taps + of[0] * self.step
        self.sums.extend(self._sums(where, count, weight, place))
        cells = images[0] * self.source[0] + some[0] * self.seen * prod(self.from_sizes)
        cells += self._part(*part).low * self.source[1]
        self.blocks.append(
            (
                *(layout.size, cells, many * self.seen, many, count, output, low, len(self.sums)),
                *(place, where[0], rows, layout.cells(many * self.seen)),
                *layout.placed(self.tables),
            )
        )

    def cut(self, batch: int, threads: int, limit: int) -> tuple[list[Range], ...]:
        """Return ranges of images, of the first dimension, of groups, and of outputs of each."""
        length, reach = self.sizes[0], span(self.window[0])
        of_group = self.planes(1, 0, length).size * self.seen * self.itemsize
        cuts = {
            "images": -(-batch // max(1, limit // (of_group * self.groups))),
            # A part of which its neighbours see most costs more than the cache gives.
            "parts": min(-(-of_group // limit), max(1, 2 * length // reach)),
            "groups": -(-self.groups // max(1, limit // of_group)),
            "outputs": 1,
        }
        most_parts = length // (2 * reach)
        if self.phases > 1 and len(self.window) == 1:
            # The phases of a whole row of an adjoint are one after the other.
            cuts["parts"] = most_parts = 1
        positions = batch * prod(output_sizes(self.window))
        multiply_adds = positions * self.groups * self.made * self.seen * self.taps
        wanted = min(threads, multiply_adds // WORTH_A_THREAD)
        # What a cut by outputs lays out each block lays out again.
        most_of = {"images": batch, "groups": self.groups, "parts": most_parts}
        most_of["outputs"] = self.made // self.tile.outputs
        for name, most in most_of.items():
            lacking = -(-wanted // prod(cuts.values()))
            cuts[name] = max(cuts[name], min(most, cuts[name] * lacking))
        for name, most in most_of.items():
            # As many for each thread, where they are few.
            others = prod(cuts.values()) // cuts[name]
            more = range(cuts[name], min(most, 2 * cuts[name]) + 1)
            if others * cuts[name] < FEW * wanted:
                fair = (count for count in more if others * count % wanted == 0)
                cuts[name] = next(fair, cuts[name])
        lengths = (batch, length, self.groups, self.made)
        images, parts, *others = (
            equal_parts(*each) for each in zip(lengths, cuts.values(), strict=True)
        )
        if self.is_flat:
            # Of whole panels, but for the last.
            width = self.tile.vectors * self.lanes
            whole = equal_parts(-(-length // width), min(len(parts), -(-length // width)))
            parts = [(low * width, min(length, high * width)) for low, high in whole]
        return images, parts, *others

    def cells(self, images: Range, part: Range, some: Range, of: Range) -> int:
        """Return how many numbers a block holds."""
        channels = (some[1] - some[0]) * self.seen
        return self._held(self.laid(images[1] - images[0], *part, channels).cells(channels))

    def _held(self, cells: int) -> int:
        """Return how many numbers a block holds that lays out so many: or a row of its results.

        They are whole vectors, so that those of another thread begin with one.
        """
        most: int = max(cells + self.slack, self.sizes[-1] if self.phases > 1 else 0)
        return -(-most // self.lanes) * self.lanes

    def plan(self) -> Plan:
        """Return the blocks that were added."""
        numbers = (
            *(prod(self.from_sizes), self.seen, self.made * self.taps * self.seen, self.step),
            *(self.made, self.made * prod(self.sizes), prod(self.sizes), self.slack),
            *(self.target[0], self.sizes[-1], self.phases),
        )
        blocks = np.array(self.blocks, np.int64)
        whole = self.planes(1, 0, self.sizes[0])
        return Plan(
            blocks,
            np.array(self.sums, np.int64).reshape(-1, SUMS),
            self.tables.flat(),
            np.array(numbers, np.int64),
            self._held(int(blocks[:, 11].max())),
            not all(each.taps for each in whole.passes),
        )


@lru_cache(maxsize=256)
def plan(
    window: Window,
    batch: int,
    channels: int,
    outputs: int,
    groups: int,
    itemsize: int,
    is_adjoint: bool,
    threads: int,
    limit: int,
) -> Plan:
    """Return the plan from ``channels`` to ``outputs``, by a convolution or by its adjoint.

    A block lays out ``limit`` bytes, or what its least part needs.
    """
    planner = _Planner(window, channels, outputs, groups, itemsize, is_adjoint)
    for block in product(*planner.cut(batch, threads, limit)):
        planner.add(*block)
    return planner.plan()


@lru_cache(maxsize=256)
def extent(
    window: Window,
    batch: int,
    channels: int,
    outputs: int,
    groups: int,
    itemsize: int,
    is_adjoint: bool,
    threads: int,
    limit: int,
) -> tuple[int, int]:
    """Return a plan's cells and number of blocks: what it holds, with no loop compiled for it."""
    planner = _Planner(window, channels, outputs, groups, itemsize, is_adjoint)
    blocks = list(product(*planner.cut(batch, threads, limit)))
    return max(planner.cells(*block) for block in blocks), len(blocks)


@cache
def address(loop: Any, itemsize: int) -> int:
    """Return where the code of one of the loops for sums is."""
    numbers = np.empty(1, f"f{itemsize}")
    flat, rows = np.empty(1, np.int64), np.empty((1, 1), np.int64)
    found: int = loops("addresses").address_of(
        loop,
        *(numbers, 0, rows, 0, numbers, *[0] * 3),
        *(numbers, *[0] * 4, numbers, *[0] * 3, rows, rows, flat),
    )
    return found


def limits() -> tuple[int, int]:
    """Return the threads and the bytes of a block that the options have for a plan."""
    options = current()
    return options.threads, max(1, min(CHUNK, options.workspace_bytes))


def _is_identity(window: Window) -> bool:
    """Whether each position sees one cell, that of its number."""
    return all(axis == Axis(axis.size, 1, 1, axis.dilation, 0, axis.after, axis.size) for axis in window)


def _flat(window: Window) -> Window:
    """Return a window of which each position sees the cell of its number as one of one dimension."""
    size = prod(input_sizes(window))
    return (Axis(size, 1, 1, 1, 0, 0, size),) if _is_identity(window) else window


def _table(each: Pass, channels: int, size: int, weights: int) -> Any:
    """Return for each channel and tap the offsets of the cell and of the weight."""
    of_taps = np.array([each.offsets, each.taps], np.int64).T
    of_channels = np.arange(channels)[:, None] * np.array([size, weights])
    return np.ascontiguousarray((of_channels[:, None] + of_taps).reshape(-1, 2))


def _rows(table: Any, reach: int) -> int:
    """Return how many rows the cells of a table lie in: those closer than a reach share one."""
    return 1 + int((np.diff(np.sort(table[:, 0])) > reach).sum())


def vectors(crop: Copies, tile: Range, lanes: int) -> tuple[Any, Any, Any]:
    """Return runs of vectors (cell, vector, vectors), and `_stores`.

    Between the planes of a dimension, or images, are cells that are no output's. Vectors begin anew
    behind them where that takes less time.
    """
    starts, ends = crop.source, crop.source + crop.length
    between = starts[1:] - ends[:-1]
    found: list[tuple[float, Any, Any]] = []
    for gap in (starts[-1] + 1, *np.unique(between)[::-1]):
        cuts = np.flatnonzero(between >= gap)
        first = starts[np.append(0, cuts + 1)]
        counts = -(-(ends[np.append(cuts, -1)] - first) // lanes)
        found.append((_turns(counts, tile), first, counts))
    _, first, counts = min(found, key=lambda each: each[0])
    number = np.cumsum(counts) - counts
    run = np.searchsorted(first, starts, side="right") - 1
    packed = crop._replace(source=starts - first[run] + number[run] * lanes)
    return np.stack([first, number, counts], axis=1), *_stores(packed, lanes)


def _turns(counts: Any, tile: Range) -> float:
    """Return in how many products' time a term of runs of some vectors is added for an output."""
    outputs, most = tile
    whole, left = np.divmod(counts, most)
    few = [max(count, CHAINS / outputs) + PART for count in range(1, most + 1)]
    return float((whole * few[-1]).sum() + np.array([0, *few])[left].sum())


def _stores(crop: Copies, lanes: int) -> tuple[Any, Any]:
    """Return where the lanes of each vector go that begins ``lanes`` cells after the last one."""
    first, last = crop.source // lanes, (crop.source + crop.length - 1) // lanes
    counts = last - first + 1
    run = np.repeat(np.arange(len(counts)), counts)
    vector = np.arange(len(run)) - np.repeat(np.cumsum(counts) - counts, counts) + first[run]
    low = crop.source[run] - vector * lanes
    high = np.minimum(low + crop.length, lanes)
    stores = np.stack([crop.target[run] - low, np.maximum(low, 0), high], axis=1)
    # Runs follow one another, and so do their vectors.
    return stores, np.searchsorted(vector, np.arange(last.max() + 2))
