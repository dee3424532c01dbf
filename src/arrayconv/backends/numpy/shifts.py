"""Depthwise convolution by shifts: what a tap sees of a whole plane is one run of cells.

With padding laid out, and each phase of a stride by itself, the cells that one tap sees are those
of the first tap a constant distance further on. So a plane's sum over taps is as many additions of
long runs, in any number of dimensions, and no column is laid out. Cells between rows are computed
too, and dropped.

`numpy.einsum` multiplies and adds in one pass, without an array of the products.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from math import gcd, prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._arrays import library_of
from arrayconv._integers import Ints
from arrayconv._window import Axis, Window, output_sizes
from arrayconv.backends.numpy.costs import Shape
from arrayconv.backends.numpy.threads import run_blocks

Slices = tuple[slice, ...]

CHUNK = 128 << 10
"""Bytes of padded planes that are worked on at a time: the second cache holds them and their sums.
"""


class Part(NamedTuple):
    """The taps that see one phase of a stride, each a constant distance from the one before."""

    taps: Slices
    counts: Ints
    offset: int
    """The first cell that the first of them sees."""
    steps: Ints
    """Cells from what a tap sees to what the next one does, in each dimension."""


class Plan(NamedTuple):
    """How the planes of a window are laid out, worked out once."""

    rows: Ints
    """Cells of each dimension in a phase."""
    moves: tuple[tuple[int, Slices, Slices], ...]
    """For each phase its number, its cells that hold input, and the input that they hold."""
    phases: int
    offsets: Ints
    """For each tap the first of the cells that it sees."""
    parts: tuple[Part, ...]
    """The same taps, phase by phase."""
    length: int
    """Cells from the first output to the last, those between rows counted."""

    @property
    def size(self) -> int:
        """Cells of a plane, all phases together."""
        return self.phases * prod(self.rows)


def _phase(axis: Axis, phase: int, rows: int) -> tuple[slice, slice]:
    """Return which cells of a phase hold input, and the input that they hold."""
    offset = phase - axis.before
    low = max(0, -(offset // axis.stride))
    high = min(rows, (axis.size - 1 - offset) // axis.stride + 1)
    if high <= low:
        return slice(0, 0), slice(0, 0)
    start = low * axis.stride + offset
    stop = start + (high - low - 1) * axis.stride + 1
    return slice(low, high), slice(start, stop, axis.stride)


def _part(window: Window, phases: Ints, first: int, steps: Ints) -> Part:
    """Return the taps that see a phase, whose cells begin at ``first``."""
    taps, counts, shifts, moves = [], [], [], []
    for axis, phase in zip(window, phases, strict=True):
        seen = [tap for tap in range(axis.kernel) if tap * axis.dilation % axis.stride == phase]
        common = gcd(axis.dilation, axis.stride)
        taps.append(slice(seen[0], None, axis.stride // common))
        counts.append(len(seen))
        shifts.append(seen[0] * axis.dilation // axis.stride)
        moves.append(axis.dilation // common)
    offset = first + sum(shift * step for shift, step in zip(shifts, steps, strict=True))
    each = tuple(move * step for move, step in zip(moves, steps, strict=True))
    return Part(tuple(taps), tuple(counts), offset, each)


@lru_cache(maxsize=512)
def plan(window: Window) -> Plan:
    """Return the plan of a window."""
    rows = tuple(axis.out + axis.dilation * (axis.kernel - 1) // axis.stride for axis in window)
    steps = tuple(prod(rows[dim + 1 :]) for dim in range(len(rows)))
    moves = []
    numbers: dict[Ints, int] = {}
    for phases in product(*(range(axis.stride) for axis in window)):
        if any(
            all(tap * axis.dilation % axis.stride != phase for tap in range(axis.kernel))
            for axis, phase in zip(window, phases, strict=True)
        ):
            continue
        numbers[phases] = len(numbers)
        pairs = [_phase(*each) for each in zip(window, phases, rows, strict=True)]
        if all(to.stop > to.start for to, _ in pairs):
            to, of = zip(*pairs, strict=True)
            moves.append((numbers[phases], tuple(to), tuple(of)))
    offsets = []
    for taps in product(*(range(axis.kernel) for axis in window)):
        at = [
            divmod(tap * axis.dilation, axis.stride) for axis, tap in zip(window, taps, strict=True)
        ]
        number = numbers[tuple(phase for _, phase in at)]
        shift = sum(shift * step for (shift, _), step in zip(at, steps, strict=True))
        offsets.append(number * prod(rows) + shift)
    parts = tuple(
        _part(window, phases, number * prod(rows), steps) for phases, number in numbers.items()
    )
    length = 1 + sum((axis.out - 1) * step for axis, step in zip(window, steps, strict=True))
    return Plan(rows, tuple(moves), len(numbers), tuple(offsets), parts, length)


def planes(planned: Plan, groups: int, itemsize: int) -> int:
    """Return how many planes are worked on at a time."""
    return max(1, min(groups, CHUNK // (planned.size * itemsize)))


def lay_out(x: Any, planned: Plan, buffer: Any) -> None:
    """Write planes (P, *sizes) where ``buffer`` (P, cells of a plane) wants them."""
    phases = buffer.reshape(len(buffer), planned.phases, *planned.rows)
    for number, to, of in planned.moves:
        phases[(slice(None), number, *to)] = x[(slice(None), *of)]


def unfit(shape: Shape) -> str | None:
    """Return why a convolution is not depthwise."""
    if shape.channels != shape.groups:
        return f"each group has {shape.channels // shape.groups} channels, not 1"
    return None


def conv(x: Any, w: Any, window: Window, groups: int) -> Any:
    """Return y (N, O, *positions): for each plane, the taps' runs times their weights, added up."""
    batch, outputs = x.shape[0], w.shape[0]
    multiple, positions = outputs // groups, output_sizes(window)
    planned = plan(window)
    dtype = np.dtype(library_of("input", x).dtype(x.dtype).wide)
    weight = w.reshape(groups, multiple, *w.shape[2:]).astype(dtype, copy=False)
    y = np.empty((batch, groups, multiple, *positions), x.dtype)
    some = planes(planned, groups, dtype.itemsize)
    # The cells after the last row count too: runs without a gap are faster by half.
    run = positions[0] * prod(planned.rows[1:])
    inside = tuple(slice(0, each) for each in positions)
    taps = list(range(2, 2 + len(window)))

    def workspace() -> tuple[Any, Any, Any]:
        # What the last tap sees ends that much beyond its plane.
        laid = np.zeros(some * planned.size + run - planned.length, dtype)
        more = some if len(planned.parts) > 1 else 0
        return laid, np.empty((some, run), dtype), np.empty((more, run), dtype)

    def work(block: tuple[int, int], buffers: tuple[Any, Any, Any]) -> None:
        image, first = block
        last = min(groups, first + some)
        count = last - first
        laid, total, term = (buffers[0], *(each[:count] for each in buffers[1:]))
        whole = laid[: count * planned.size].reshape(count, -1)
        lay_out(x[image, first:last], planned, whole)
        for number in range(multiple):
            for place, part in enumerate(planned.parts):
                steps = (planned.size, *part.steps, 1)
                seen = np.ndarray(
                    (count, *part.counts, run),
                    *(dtype, laid, part.offset * dtype.itemsize),
                    tuple(step * dtype.itemsize for step in steps),
                )
                factors = weight[(slice(first, last), number, *part.taps)]
                made = total if place == 0 else term
                # In Fortran's order the cells of a run are what the innermost loop is over.
                np.einsum(
                    *(seen, [0, *taps, 1], factors, [0, *taps], [1, 0]), out=made.T, order="F"
                )
                if place > 0:
                    total += made
            made = total.reshape(count, positions[0], *planned.rows[1:])
            y[image, first:last, number] = made[(slice(None), *inside)]

    blocks = [(image, first) for image in range(batch) for first in range(0, groups, some)]
    run_blocks(work, blocks, workspace=workspace)
    return y.reshape(batch, outputs, *positions)
