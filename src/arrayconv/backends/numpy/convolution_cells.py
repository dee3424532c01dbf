"""Where the cells are that a convolution's sums, or its adjoint's, are of.

They are read where they are, or laid out so that what a tap sees is one run of cells.
"""

from __future__ import annotations

from functools import cache
from math import gcd, prod
from typing import Any

import numpy as np

from arrayconv._integers import Ints
from arrayconv._parts import adjoint_part, sliding_part
from arrayconv._window import Axis, Window, input_sizes, kernel_sizes, output_sizes
from arrayconv.backends.numpy import layouts, one_tap, orders
from arrayconv.backends.numpy.compiler import loops
from arrayconv.backends.numpy.costs import strided
from arrayconv.backends.numpy.layouts import Layout

PAGE = 4096
"""Bytes of a page: cells so far apart go to the same lines of the first cache."""
CROWDED = 8
"""Rows of cells that share lines of the first cache, at most, to be read where they are."""
TILES = 8
"""Tiles of outputs from which on it is worth it to copy what each of them reads."""


class Cells:
    """The cells of ``channels`` that sums of ``outputs`` see; those of the adjoint are outputs."""

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
        self.planes, self.laid = cache(self._planes), cache(self._laid)
        self.is_in_place = cache(self._is_in_place)
        # The same for all parts, so that numbers are the same however work is cut.
        self.in_place = self.is_in_place(1, 0, self.sizes[0])

    def part(self, start: int, stop: int) -> Any:
        """Return what a range of the first dimension's results sees."""
        part_of = adjoint_part if self.is_adjoint else sliding_part
        return part_of(self.window[0], start, stop)

    def _planes(self, images: int, start: int, stop: int) -> Layout:
        image = Axis(images, 1, 1, 1, 0, 0, images)
        lay_out = layouts.adjoint if self.is_adjoint else layouts.sliding
        window = (image, self.part(start, stop).axis, *self.window[1:])
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

    def panels(self) -> int:
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

    def held(self, groups: int, outputs: int, *where: int) -> Ints:
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


def turns_weights(window: Window) -> bool:
    """Whether an adjoint takes weights turned over: those of one result's sum are then neighbours.

    Else the taps of a pair of channels are, which is better where each result takes them all.
    """
    return strided(window) or all(axis.kernel == 1 for axis in window)
