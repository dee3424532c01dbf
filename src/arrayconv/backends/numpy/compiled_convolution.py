"""Convolution of few channels a group, compiled by numba where that is installed.

The loops of `shifts`, with a row of the kernel innermost: its number of taps is a constant of the
compiled code, so that it is unrolled and the cells are worked on as vectors. What is compiled is
kept on disk.
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd, prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._window import Window, input_sizes, output_sizes
from arrayconv.backends.numpy import shifts
from arrayconv.backends.numpy.compiler import loops, missing
from arrayconv.backends.numpy.costs import Shape
from arrayconv.backends.numpy.threads import run_blocks

LONGEST_ROW = 64
"""Taps of a kernel's row up to which they are unrolled."""


def unfit(shape: Shape) -> str | None:
    """Return why a convolution cannot be served."""
    if shape.dtype not in (np.float32, np.float64) or not shape.dtype.isnative:
        return f"it is for float32 and float64, got {shape.dtype.str}"
    row = shape.window[-1].kernel
    if row > LONGEST_ROW:
        return f"a row of the kernel has {row} taps, more than {LONGEST_ROW}"
    return missing()


class Copies(NamedTuple):
    """Runs of cells to copy, at the same places in each plane."""

    source: Any
    """Where each run starts in a plane of the source."""
    target: Any
    length: int
    step: int
    """Cells of the source from one to the next."""


class Taps(NamedTuple):
    """Taps of the kernel's rows that see one phase of the last dimension."""

    offsets: Any
    """For each row of the kernel the first of the cells that its first tap sees."""
    along: slice
    """Which taps of a row they are."""
    unrolled: int
    """Taps of a row."""
    step: int
    """Cells from what a tap sees to what the next one does."""


class Plan(NamedTuple):
    """A plan of `shifts`, as numbers for compiled loops."""

    shifts: shifts.Plan
    fill: tuple[Copies, ...]
    taps: tuple[Taps, ...]
    crop: Copies


def _starts(slices: shifts.Slices, sizes: tuple[int, ...]) -> Any:
    """Return where, in a flat plane of ``sizes``, the rows of an index into it start."""
    numbers = np.arange(prod(sizes), dtype=np.uint64).reshape(sizes)[slices]
    return np.ascontiguousarray(numbers[..., 0]).reshape(-1)


@lru_cache(maxsize=512)
def plan(window: Window) -> Plan:
    """Return the plan of a window."""
    planned, last = shifts.plan(window), window[-1]
    sizes, rows = tuple(axis.size for axis in window), planned.rows
    fill = tuple(
        Copies(
            _starts(of, sizes),
            _starts(to, rows) + np.uint64(phase * prod(rows)),
            to[-1].stop - to[-1].start,
            last.stride,
        )
        for phase, to, of in planned.moves
    )
    offsets = np.asarray(planned.offsets, np.uint64).reshape(-1, last.kernel)
    period = last.stride // gcd(last.stride, last.dilation)
    taps = tuple(
        Taps(
            np.ascontiguousarray(offsets[:, first]),
            slice(first, None, period),
            len(range(first, last.kernel, period)),
            last.dilation * period // last.stride,
        )
        for first in range(min(period, last.kernel))
    )
    outs = output_sizes(window)
    every_output = tuple(slice(0, out) for out in outs)
    held = (outs[0], *rows[1:])
    crop = Copies(_starts(every_output, held), _starts(every_output, outs), outs[-1], 1)
    return Plan(planned, fill, taps, crop)


def conv(x: Any, w: Any, window: Window, groups: int) -> Any:
    """Return y (N, O, *positions): each block is an image's range of groups."""
    batch, (outputs, channels) = x.shape[0], w.shape[:2]
    per_group, positions = outputs // groups, output_sizes(window)
    planned = plan(window)
    length, size = planned.shifts.length, planned.shifts.size
    planes = np.ascontiguousarray(x).reshape(batch, groups * channels, prod(input_sizes(window)))
    weight = w.reshape(groups, per_group, channels, -1, window[-1].kernel)
    factors = [np.ascontiguousarray(weight[..., taps.along]) for taps in planned.taps]
    compiled = loops("conv_loops")
    sums_of = [compiled.add_taps(taps.unrolled) for taps in planned.taps]
    y = np.empty((batch, outputs, prod(positions)), x.dtype)
    chunk = max(1, min(groups, shifts.CHUNK // (size * channels * x.itemsize)))
    number = np.uint64

    def workspace() -> tuple[Any, Any]:
        cells = np.zeros((chunk * channels, size), x.dtype)
        return cells, np.empty((chunk * per_group, length), x.dtype)

    def copy(source: Any, target: Any, copies: Copies) -> None:
        where = copies.source, copies.target
        compiled.copy_rows(source, target, *where, number(copies.length), number(copies.step))

    def work(block: tuple[int, int], buffers: tuple[Any, Any]) -> None:
        image, start = block
        stop = min(groups, start + chunk)
        count = stop - start
        cells, sums = buffers[0][: count * channels], buffers[1][: count * per_group]
        for copies in planned.fill:
            copy(planes[image, start * channels : stop * channels], cells, copies)
        for index, taps in enumerate(planned.taps):
            sums_of[index](
                cells.reshape(count, channels, size),
                taps.offsets,
                factors[index][start:stop],
                sums.reshape(count, per_group, length),
                number(length),
                number(taps.step),
                index == 0,
            )
        copy(sums, y[image, start * per_group : stop * per_group], planned.crop)

    blocks = [(image, start) for image in range(batch) for start in range(0, groups, chunk)]
    run_blocks(work, blocks, workspace=workspace)
    return y.reshape(batch, outputs, *positions)
