"""The blocks of `compiled_convolution`, as its loops take them: whole numbers in a few arrays."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import product
from math import gcd, prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._integers import Ints
from arrayconv._options import current
from arrayconv._parts import adjoint_part, sliding_part
from arrayconv._window import Axis, Window, input_sizes, kernel_sizes, output_sizes, span
from arrayconv.backends.numpy import layouts, one_tap, orders, vector_runs
from arrayconv.backends.numpy import loop_addresses as addresses
from arrayconv.backends.numpy.blocks import equal_parts
from arrayconv.backends.numpy.compiler import loops
from arrayconv.backends.numpy.costs import strided
from arrayconv.backends.numpy.layouts import Layout
from arrayconv.backends.numpy.tables import Tables

CHUNK = 1 << 19
"""Bytes that a block lays out: the second cache should hold most of it."""
WORTH_A_THREAD = 1 << 19
"""Multiply-adds below which a block is not cut for another thread."""
CELLS = 1 << 16
"""Cells of a channel in a block: of each vector of them tables say where it goes."""
PAGE = 4096
"""Bytes of a page: cells so far apart go to the same lines of the first cache."""
WORTH_A_BLOCK = 1 << 21
"""And below which one is cut only if a thread had none."""
FEW = 4
"""Blocks of a thread below which all should have as many; so many each should have, for another
program may slow a processor down, and some are slower than others."""
CROWDED = 8
"""Rows of cells that share lines of the first cache, at most, to be read where they are."""
TILES = 8
"""Tiles of outputs from which on it is worth it to copy what each of them reads."""
PART = 3
"""Times the vectors of a tile that a part has at least of a row that is read where it is."""
SUMS = 13
"""Numbers that say what a pass of a block sums up."""


class Plan(NamedTuple):
    """What a convolution of given shapes needs, worked out once, as `convolve_blocks` takes it."""

    blocks: Any
    """Ranges of images or of the first dimension, of groups, and of the outputs of each. Of a block
    a channel's cells, the first cell of the source that it sees, in the first channel; how many
    channels, groups, and outputs of a group it has; the first output; the first and last of its
    sums; its first result, how many images it has, and the rows of an image's output and their
    length; how many cells it lays out, or 0 if they are read where they are; behind how many
    results are kept whose phases are one after the other in a row, and how many of an output, or 0
    if none are; and where `tables` have its layout, of `Layout.placed`."""
    sums: Any
    """Of one pass of a block the loop; where `tables` have, for each term, where its cell and its
    weight are, the number of terms, how many are added up at a time, and how many rows their cells
    lie in; the first weight; where and how many are the runs of vectors; where, how many and of how
    many columns are the lanes of a vector of sums; and where and how many say how many of these
    there are before each vector."""
    tables: Any
    numbers: Any
    """Cells of a channel of the source, channels of a group, weights of a group and from output to
    output, outputs of a group, results of a group and of an output, numbers of vectors that may be
    past a cell, results of an image, how many phases take turns in a row of them, whether any
    output sees nothing, and where the loop is that puts phases in turns."""
    cells: int
    """The most numbers that a block lays out and keeps."""
    holes: bool
    """Whether nothing is written to some results, which see nothing."""
    aligned: bool
    """Whether results should begin with a line of the cache: then vectors write whole lines, which
    counts where few products are added for each."""


Range = tuple[int, int]
Where = tuple[int, int, int]
"""A number of images, and the range of the first dimension's results."""


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
        window = one_tap.flat(window)
        self.window, self.itemsize, self.is_adjoint = window, itemsize, is_adjoint
        self.compiled = loops("conv_loops")
        self.lanes = self.compiled.VECTOR_BYTES // itemsize
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
        # From an output, and from a channel and a tap, to the next one's weights.
        self.step, self.weights = self.seen * self.taps, (self.taps, 1)
        if is_adjoint and turns_weights(window):
            self.weights = 1, self.seen
        elif is_adjoint:
            self.step, self.weights = self.taps, (self.made * self.taps, 1)
        self.laid, self.passes = cache(self._laid), cache(self._passes)
        self.planes, self.is_in_place = cache(self._planes), cache(self._is_in_place)
        # The same for all parts, so that numbers are the same however work is cut.
        self.in_place = self.is_in_place(1, 0, self.sizes[0])
        self.terms = self.compiled.TERMS_IN_PLACE if self.in_place else self.compiled.TERMS
        self.tables, self.most = Tables(), 0
        self.sums: list[Ints] = []
        self.blocks: list[Ints] = []

    def _part(self, start: int, stop: int) -> Any:
        part_of = adjoint_part if self.is_adjoint else sliding_part
        return part_of(self.window[0], start, stop)

    def _planes(self, images: int, start: int, stop: int) -> Layout:
        image = Axis(images, 1, 1, 1, 0, 0, images)
        lay_out = layouts.adjoint if self.is_adjoint else layouts.sliding
        window = (image, self._part(start, stop).axis, *self.window[1:])
        sizes = (stop - start, *self.sizes[1:])
        kept = (prod(sizes), *layouts.steps(sizes))
        return lay_out(window, self.source, kept if self.phases > 1 else self.target)

    def _laid(self, images: int, start: int, stop: int) -> Layout:
        """Return planes laid out such that many channels fit the first cache."""
        layout = self.planes(images, start, stop)
        if self._is_apart(layout.size):
            return layout
        size = (-(-layout.size // self.lanes) | 1) * self.lanes
        gap = np.array([[layout.size], [size - layout.size]])
        return layout._replace(size=size, gaps=np.concatenate([layout.gaps, gap], axis=1))

    def _is_apart(self, size: int) -> bool:
        """Whether planes of so many cells, one behind the other, fill most lines of a cache.

        Those that lie an eighth of a page apart, or more eighths, share few and push one another
        out.
        """
        return gcd(size * self.itemsize, PAGE) <= PAGE // 16

    def _is_in_place(self, images: int, start: int, stop: int) -> bool:
        """Whether the cells that outputs see are read where they are.

        So they are where each output sees one, that of its own number, as with a kernel of one tap
        or in a transposed convolution whose stride is its kernel, and they fill a vector.
        """
        layout = self.planes(images, start, stop)
        cells, (begin, place, length) = layout.size // images, layout.fill.runs.T
        return bool(
            cells >= self.lanes
            # What is laid out serves all passes, a panel one.
            and not (len(layout.passes) > 1 and self._is_crowded())
            and not any(offset for each in layout.passes for offset in each.offsets)
            and layout.fill.step == 1
            and length.sum() == layout.size
            and (begin - place == place // cells * (self.source[0] - cells)).all()
        )

    def _is_crowded(self) -> bool:
        """Whether too many of the rows that are read together share lines of the first cache."""
        rows = min(self.seen, self.compiled.TERMS_IN_PLACE)
        return bool(gcd(prod(self.from_sizes) * self.itemsize, PAGE) * rows > CROWDED * PAGE)

    def _panels(self) -> int:
        """Return when loops copy what they read in place to vectors side by side."""
        compiled = self.compiled
        if not self.in_place:
            return int(compiled.NEVER)
        if self._is_crowded():
            return int(compiled.ALWAYS)
        is_worth_it = self.seen > compiled.FEW_ROWS and self.made >= TILES * self.tile.outputs
        # Where planes are no whole lines, most vectors of an output cross them too.
        crosses = is_worth_it and prod(self.from_sizes) * self.itemsize % orders.LINE == 0
        return int(compiled.IF_LINES_ARE_CROSSED if crosses else compiled.NEVER)

    def _passes(self, images: int, start: int, stop: int) -> list[tuple[Any, ...]]:
        """Return the tables of each pass."""
        layout = self.laid(images, start, stop)
        size, lanes = layout.size, self.lanes
        if self.is_in_place(images, start, stop):
            size = prod(self.from_sizes)
            planes = images, self.planes(images, start, stop).size // images
            of = (planes, self.source[0], self.tile.vectors, lanes)
            runs = [vector_runs.in_place(each.crop, *of) for each in layout.passes]
        else:
            runs = [vector_runs.of_layout(each.crop, self.tile, lanes) for each in layout.passes]
        tables = [
            vector_runs.terms_of(each, self.seen, size, self.weights) for each in layout.passes
        ]
        # A phase may have no taps.
        return [(table, *some) for table, some in zip(tables, runs, strict=True) if len(table)]

    def _sums(self, where: Where, count: int, weight: int) -> Iterator[Ints]:
        loop = self.compiled.convolve(self.tile, count % self.tile.outputs, self.lanes)
        placed = self.tables.place
        for table, runs, stores, ends in self.passes(*where):
            yield (
                *(addresses.of_sums(loop, self.itemsize), placed(table), len(table)),
                *(self.terms, vector_runs.rows_of(table, self.slack), weight),
                *(placed(runs), len(runs), placed(stores), *stores.shape, placed(ends), len(ends)),
            )

    def add(self, images: Range, part: Range, some: Range, of: Range) -> None:
        """Add a block: images, results of the first dimension, groups and outputs of each."""
        count, many = of[1] - of[0], some[1] - some[0]
        where = images[1] - images[0], *part
        layout, low = self.laid(*where), len(self.sums)
        *rows, row = part[1] - part[0], *self.sizes[1:]
        place = images[0] * self.target[0] + part[0] * self.target[1]
        output = some[0] * self.made + of[0]
        place += output * prod(self.sizes)
        weight = some[0] * self.made * self.seen * self.taps + of[0] * self.step
        self.sums.extend(self._sums(where, count, weight))
        cells = images[0] * self.source[0] + some[0] * self.seen * prod(self.from_sizes)
        cells += self._part(*part).low * self.source[1]
        laid, at, kept, every = self._held(many, count, *where)
        self.most = max(self.most, every)
        self.blocks.append(
            (
                *(layout.size, cells, many * self.seen, many, count, output, low, len(self.sums)),
                *(place, where[0], prod(rows), row, laid, at, kept),
                *layout.placed(self.tables, self.itemsize),
            )
        )

    def cut(self, batch: int, threads: int, limit: int) -> tuple[list[Range], ...]:
        """Return ranges of images, of the first dimension, of groups, and of outputs of each."""
        length, reach = self.sizes[0], span(self.window[0])
        laid = self._held(1, 1, 1, 0, length)[0]
        kept = self.made * prod(self.sizes) if self.phases > 1 else 0
        of_group, plane = max(1, (laid + kept) * self.itemsize), prod(self.from_sizes)
        # A part of which its neighbours see most costs more than the cache gives.
        most, tiles = max(1, 2 * length // reach), self.made // self.tile.outputs
        images = max(1, min(limit // (of_group * self.groups), CELLS // max(1, plane)))
        cuts = {
            "images": -(-batch // images),
            "parts": min(max(-(-laid * self.itemsize // limit), -(-plane // CELLS)), most),
            "groups": -(-self.groups // max(1, limit // of_group)),
            "outputs": 1,
        }
        if kept > 0:
            # Each part reads all weights again, and each range of outputs all cells.
            weights = self.made * self.seen * self.taps
            cells = self.phases * self.seen * plane
            pieces = -(-kept * self.itemsize // limit)
            ways = [
                (parts * weights + -(-pieces // parts) * cells, parts, -(-pieces // parts))
                for parts in range(cuts["parts"], most + 1)
                if -(-pieces // parts) <= max(1, tiles) or parts == most
            ]
            _, cuts["parts"], cuts["outputs"] = min(ways)
            cuts["outputs"] = min(cuts["outputs"], max(1, tiles))
        flat = self.in_place and len(self.window) == 1
        most_parts = length // (PART * self.slack if flat else 2 * reach)
        positions = batch * prod(output_sizes(self.window))
        multiply_adds = positions * self.groups * self.made * self.seen * self.taps
        wanted = min(threads, multiply_adds // WORTH_A_THREAD)
        some = min(threads * FEW, multiply_adds // WORTH_A_BLOCK) if threads > 1 else 1
        most_of = {"images": batch, "groups": self.groups, "parts": most_parts, "outputs": tiles}
        names = ["images", "groups", "parts", "outputs"]
        if self.in_place and self.made > length:
            # Each part reads all weights, and each range of outputs all cells.
            names = ["images", "groups", "outputs", "parts"]
        for name in names:
            most = most_of[name]
            # What a cut by outputs lays out each block lays out again.
            blocks = max(wanted, some if self.in_place or name != "outputs" else 1)
            lacking = -(-blocks // prod(cuts.values()))
            cuts[name] = max(cuts[name], min(most, cuts[name] * lacking))
        for name, most in most_of.items():
            # As many for each thread, where they are few.
            others = prod(cuts.values()) // cuts[name]
            more = range(cuts[name], min(most, 2 * cuts[name]) + 1)
            if others * cuts[name] < FEW * wanted:
                fair = (count for count in more if others * count % wanted == 0)
                cuts[name] = next(fair, cuts[name])
        # Parts of an adjoint begin with the first of the phases, and parts of a row with a line.
        of_parts = (self.window[0].stride if self.is_adjoint else 1) * (self.lanes if flat else 1)
        units = (1, of_parts, 1, self.tile.outputs)
        lengths = (batch, length, self.groups, self.made)
        found = []
        for unit, many, count in zip(units, lengths, cuts.values(), strict=True):
            parts = equal_parts(-(-many // unit), count)
            found.append([(low * unit, min(high * unit, many)) for low, high in parts])
        return tuple(found)

    def cells(self, images: Range, part: Range, some: Range, of: Range) -> int:
        """Return how many numbers a block holds."""
        where = images[1] - images[0], *part
        return self._held(some[1] - some[0], of[1] - of[0], *where)[-1]

    def _held(self, groups: int, outputs: int, *where: int) -> Ints:
        """Return how many cells are laid out, and behind which place results are kept.

        And how many of an output are, and the numbers that all is: whole vectors, so that those of
        another thread begin with one.
        """
        images, start, stop = where
        laid = 0 if self.is_in_place(*where) else self.laid(*where).size * groups * self.seen
        place, kept = -(-(laid + self.slack) // self.lanes), 0
        if self.phases > 1:
            # An odd number of vectors: so those of many outputs do not push one another out.
            kept = -(-images * (stop - start) * prod(self.sizes[1:]) // self.lanes) | 1
        every = place + groups * outputs * kept + (self.tile.vectors if kept else 0)
        return laid, *(each * self.lanes for each in (place, kept, every))

    def plan(self) -> Plan:
        """Return the blocks that were added."""
        holes = not all(each.taps for each in self.laid(1, 0, self.sizes[0]).passes)
        numbers = (
            *(prod(self.from_sizes), self.seen, self.made * self.taps * self.seen, self.step),
            *(self.made, self.made * prod(self.sizes), prod(self.sizes), self.slack),
            *(self.target[0], self.phases, holes),
            addresses.of_turns(self.phases, self.itemsize) if self.phases > 1 else 0,
            self._panels(),
        )
        return Plan(
            np.array(self.blocks, np.int64),
            np.array(self.sums, np.int64).reshape(-1, SUMS),
            self.tables.flat(),
            np.array(numbers, np.int64),
            self.most,
            holes and self.phases == 1,
            self.in_place and self.phases == 1,
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


def limits() -> tuple[int, int]:
    """Return the threads and the bytes of a block that the options have for a plan."""
    options = current()
    return options.threads, max(1, min(CHUNK, options.workspace_bytes))


def turns_weights(window: Window) -> bool:
    """Whether an adjoint takes weights turned over: those of one result's sum are then neighbours.

    Else the taps of a pair of channels are, which is better where each result takes them all.
    """
    return strided(window) or all(axis.kernel == 1 for axis in window)
