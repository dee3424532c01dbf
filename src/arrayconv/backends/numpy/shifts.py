"""Depthwise convolution by shifts: what a tap sees of a whole plane is one run of cells.

With padding laid out, and each phase of a stride by itself, the cells that one tap sees are those
of the first tap a constant distance further on. So a plane's sum over taps is as many additions of
long runs, in any number of dimensions, and no column is laid out. Cells between rows are computed
too, and dropped.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._arrays import library_of
from arrayconv._integers import Ints
from arrayconv._window import Axis, Window, output_sizes
from arrayconv.backends.numpy.costs import Shape
from arrayconv.backends.numpy.threads import run_blocks

Slices = tuple[slice, ...]

CHUNK = 256 << 10
"""Bytes of padded planes that are worked on at a time: the second cache should hold all of it."""


class Plan(NamedTuple):
    """How the planes of a window are laid out, worked out once."""

    rows: Ints
    """Cells of each dimension in a phase."""
    moves: tuple[tuple[int, Slices, Slices], ...]
    """For each phase its number, its cells that hold input, and the input that they hold."""
    phases: int
    offsets: Ints
    """For each tap the first of the cells that it sees."""
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
    length = 1 + sum((axis.out - 1) * step for axis, step in zip(window, steps, strict=True))
    return Plan(rows, tuple(moves), len(numbers), tuple(offsets), length)


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
    weight = w.reshape(groups, multiple, -1).astype(dtype, copy=False)
    y = np.empty((batch, groups, multiple, *positions), x.dtype)
    some = planes(planned, groups, dtype.itemsize)
    cells = positions[0] * prod(planned.rows[1:])
    inside = tuple(slice(0, size) for size in positions)

    def workspace() -> tuple[Any, Any, Any]:
        sums = np.zeros((some, cells), dtype)
        return (
            np.zeros((some, planned.size), dtype),
            sums,
            np.empty((some, planned.length), dtype),
        )

    def work(block: tuple[int, int], buffers: tuple[Any, Any, Any]) -> None:
        image, first = block
        last = min(groups, first + some)
        laid, sums, term = (buffer[: last - first] for buffer in buffers)
        lay_out(x[image, first:last], planned, laid)
        run = sums[:, : planned.length]
        for number in range(multiple):
            for tap, offset in enumerate(planned.offsets):
                seen = laid[:, offset : offset + planned.length]
                factor = weight[first:last, number, tap, None]
                if tap == 0:
                    np.multiply(seen, factor, out=run)
                else:
                    np.multiply(seen, factor, out=term)
                    run += term
            made = sums.reshape(last - first, positions[0], *planned.rows[1:])
            y[image, first:last, number] = made[(slice(None), *inside)]

    blocks = [(image, first) for image in range(batch) for first in range(0, groups, some)]
    run_blocks(work, blocks, workspace=workspace)
    return y.reshape(batch, outputs, *positions)
