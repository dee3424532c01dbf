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
from arrayconv._window import Window
from arrayconv.backends.numpy import loop_addresses as addresses
from arrayconv.backends.numpy import vector_runs
from arrayconv.backends.numpy.convolution_cells import Cells
from arrayconv.backends.numpy.convolution_cuts import Range, cut
from arrayconv.backends.numpy.tables import Tables

CHUNK = 1 << 19
"""Bytes that a block lays out: the second cache should hold most of it."""
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
    output sees nothing, where the loop is that puts phases in turns, and when cells that are read
    where they are go to a panel."""
    cells: int
    """The most numbers that a block lays out and keeps."""
    holes: bool
    """Whether nothing is written to some results, which see nothing."""
    aligned: bool
    """Whether results should begin with a line of the cache: then vectors write whole lines, which
    counts where few products are added for each."""


Where = tuple[int, int, int]
"""A number of images, and the range of the first dimension's results."""


class _Planner:
    """What writes the blocks of the sums of some cells."""

    def __init__(self, cells: Cells) -> None:
        self.cells, self.passes = cells, cache(self._passes)
        terms = cells.compiled.TERMS_IN_PLACE if cells.in_place else cells.compiled.TERMS
        self.terms = int(terms)
        self.tables, self.most = Tables(), 0
        self.sums: list[Ints] = []
        self.blocks: list[Ints] = []

    def _passes(self, images: int, start: int, stop: int) -> list[tuple[Any, ...]]:
        """Return the tables of each pass."""
        cells = self.cells
        layout = cells.laid(images, start, stop)
        size, lanes = layout.size, cells.lanes
        if cells.is_in_place(images, start, stop):
            size = prod(cells.from_sizes)
            planes = images, cells.planes(images, start, stop).size // images
            of = (planes, cells.source[0], cells.tile.vectors, lanes)
            runs = [vector_runs.in_place(each.crop, *of) for each in layout.passes]
        else:
            runs = [vector_runs.of_layout(each.crop, cells.tile, lanes) for each in layout.passes]
        tables = [
            vector_runs.terms_of(each, cells.seen, size, cells.weights) for each in layout.passes
        ]
        # A phase may have no taps.
        return [(table, *some) for table, some in zip(tables, runs, strict=True) if len(table)]

    def _sums(self, where: Where, count: int, weight: int) -> Iterator[Ints]:
        cells = self.cells
        loop = cells.compiled.convolve(cells.tile, count % cells.tile.outputs, cells.lanes)
        placed = self.tables.place
        for table, runs, stores, ends in self.passes(*where):
            yield (
                *(addresses.of_sums(loop, cells.itemsize), placed(table), len(table)),
                *(self.terms, vector_runs.rows_of(table, cells.slack), weight),
                *(placed(runs), len(runs), placed(stores), *stores.shape, placed(ends), len(ends)),
            )

    def add(self, images: Range, part: Range, some: Range, of: Range) -> None:
        """Add a block: images, results of the first dimension, groups and outputs of each."""
        cells = self.cells
        count, many = of[1] - of[0], some[1] - some[0]
        where = images[1] - images[0], *part
        layout, low = cells.laid(*where), len(self.sums)
        *rows, row = part[1] - part[0], *cells.sizes[1:]
        place = images[0] * cells.target[0] + part[0] * cells.target[1]
        output = some[0] * cells.made + of[0]
        place += output * prod(cells.sizes)
        weight = some[0] * cells.made * cells.seen * cells.taps + of[0] * cells.step
        self.sums.extend(self._sums(where, count, weight))
        first = images[0] * cells.source[0] + some[0] * cells.seen * prod(cells.from_sizes)
        first += cells.part(*part).low * cells.source[1]
        laid, at, kept, every = cells.held(many, count, *where)
        self.most = max(self.most, every)
        self.blocks.append(
            (
                *(layout.size, first, many * cells.seen, many, count, output, low, len(self.sums)),
                *(place, where[0], prod(rows), row, laid, at, kept),
                *layout.placed(self.tables, cells.itemsize),
            )
        )

    def plan(self) -> Plan:
        """Return the blocks that were added."""
        cells = self.cells
        holes = not all(each.taps for each in cells.laid(1, 0, cells.sizes[0]).passes)
        numbers = (
            *(prod(cells.from_sizes), cells.seen, cells.made * cells.taps * cells.seen, cells.step),
            *(cells.made, cells.made * prod(cells.sizes), prod(cells.sizes), cells.slack),
            *(cells.target[0], cells.phases, holes),
            addresses.of_turns(cells.phases, cells.itemsize) if cells.phases > 1 else 0,
            cells.panels(),
        )
        return Plan(
            np.array(self.blocks, np.int64),
            np.array(self.sums, np.int64).reshape(-1, SUMS),
            self.tables.flat(),
            np.array(numbers, np.int64),
            self.most,
            holes and cells.phases == 1,
            cells.in_place and cells.phases == 1,
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
    cells = Cells(window, channels, outputs, groups, itemsize, is_adjoint)
    planner = _Planner(cells)
    for block in product(*cut(cells, batch, threads, limit)):
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
    cells = Cells(window, channels, outputs, groups, itemsize, is_adjoint)
    blocks = list(product(*cut(cells, batch, threads, limit)))
    return max(_held(cells, *block) for block in blocks), len(blocks)


def _held(cells: Cells, images: Range, part: Range, some: Range, of: Range) -> int:
    """Return how many numbers a block holds."""
    return cells.held(some[1] - some[0], of[1] - of[0], images[1] - images[0], *part)[-1]


def limits() -> tuple[int, int]:
    """Return the threads and the bytes of a block that the options have for a plan."""
    options = current()
    return options.threads, max(1, min(CHUNK, options.workspace_bytes))
