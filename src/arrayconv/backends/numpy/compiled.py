"""Convolution of few channels a group, compiled by numba where that is installed.

The loops of `shifts`, with a row of the kernel innermost: its number of taps is a constant of the
compiled code, so that it is unrolled and the cells are worked on as vectors. What is compiled is
kept on disk. numba is imported when it is first used.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from functools import lru_cache
from math import gcd, prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._window import Window, input_sizes, output_sizes
from arrayconv.backends.numpy import shifts
from arrayconv.backends.numpy.threads import run_blocks

LONGEST_ROW = 64
"""Taps of a kernel's row up to which they are unrolled."""


@lru_cache(maxsize=1)
def _missing() -> str | None:
    if importlib.util.find_spec("numba") is None:
        return "numba is not installed: pip install 'arrayconv[numba]'"
    return None


def unfit(x: Any, w: Any, window: Window, groups: int) -> str | None:
    """Return why a convolution cannot be served."""
    if x.dtype not in (np.float32, np.float64):
        return f"it is for float32 and float64, got {x.dtype}"
    if not x.dtype.isnative or not w.dtype.isnative:
        return "compiled loops know the machine's own byte order only"
    if window[-1].kernel > LONGEST_ROW:
        return f"a row of the kernel has {window[-1].kernel} taps, more than {LONGEST_ROW}"
    return _missing()


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
    indices: Any
    """The taps, (rows, count)."""
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
    every = np.arange(len(planned.offsets)).reshape(-1, last.kernel)
    offsets = np.asarray(planned.offsets, np.uint64).reshape(every.shape)
    period = last.stride // gcd(last.stride, last.dilation)
    taps = tuple(
        Taps(
            np.ascontiguousarray(offsets[:, first]),
            every[:, first::period],
            last.dilation * period // last.stride,
        )
        for first in range(min(period, last.kernel))
    )
    outs = output_sizes(window)
    every_output = tuple(slice(0, out) for out in outs)
    held = (outs[0], *rows[1:])
    crop = Copies(_starts(every_output, held), _starts(every_output, outs), outs[-1], 1)
    return Plan(planned, fill, taps, crop)


@lru_cache(maxsize=1)
def _copy_rows() -> Callable[..., None]:
    """Return the compiled copy of `Copies`, of each plane."""
    numba = importlib.import_module("numba")

    two = numba.uint64(2)

    @numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
    def copy_rows(
        source: Any, target: Any, starts: Any, places: Any, length: Any, step: Any
    ) -> None:
        for plane in range(source.shape[0]):
            for row in range(starts.shape[0]):
                start, place = starts[row], places[row]
                if step == 1:
                    for cell in range(length):
                        target[plane, place + cell] = source[plane, start + cell]
                elif step == 2:
                    # A constant, so that this too is done by vectors.
                    for cell in range(length):
                        target[plane, place + cell] = source[plane, start + cell * two]
                else:
                    for cell in range(length):
                        target[plane, place + cell] = source[plane, start + cell * step]

    compiled: Callable[..., None] = copy_rows
    return compiled


@lru_cache(maxsize=LONGEST_ROW)
def _add_taps(count: int) -> Callable[..., None]:
    """Return the compiled sum over rows of ``count`` taps, written or added to sums."""
    numba = importlib.import_module("numba")
    # Unsigned, since a signed index could be negative, and each would be looked at.
    unsigned = numba.uint64

    @numba.njit(  # type: ignore[untyped-decorator]
        cache=True, nogil=True, fastmath={"contract"}, error_model="numpy"
    )
    def add_taps(
        cells: Any, offsets: Any, weight: Any, sums: Any, length: Any, step: Any, first: Any
    ) -> None:
        for group in range(cells.shape[0]):
            for output in range(sums.shape[1]):
                total = sums[group, output]
                for channel in range(cells.shape[1]):
                    for row in range(offsets.shape[0]):
                        seen = cells[group, channel, offsets[row] :]
                        factors = weight[group, output, channel, row]
                        if first and channel == 0 and row == 0:
                            for cell in range(length):
                                each = factors[0] * seen[cell]
                                for tap in range(1, count):
                                    each += (
                                        factors[unsigned(tap)] * seen[cell + unsigned(tap) * step]
                                    )
                                total[cell] = each
                        else:
                            for cell in range(length):
                                each = total[cell]
                                for tap in range(count):
                                    each += (
                                        factors[unsigned(tap)] * seen[cell + unsigned(tap) * step]
                                    )
                                total[cell] = each

    compiled: Callable[..., None] = add_taps
    return compiled


def conv(x: Any, w: Any, window: Window, groups: int) -> Any:
    """Return y (N, O, *positions): each block is an image's range of groups."""
    batch, (outputs, channels) = x.shape[0], w.shape[:2]
    per_group, positions = outputs // groups, output_sizes(window)
    planned = plan(window)
    length, size = planned.shifts.length, planned.shifts.size
    planes = np.ascontiguousarray(x).reshape(batch, groups * channels, prod(input_sizes(window)))
    weight = w.reshape(groups, per_group, channels, -1)
    factors = [np.ascontiguousarray(weight[..., taps.indices]) for taps in planned.taps]
    sums_of = [_add_taps(taps.indices.shape[1]) for taps in planned.taps]
    copy_rows = _copy_rows()
    y = np.empty((batch, outputs, prod(positions)), x.dtype)
    chunk = max(1, min(groups, shifts.CHUNK // (size * channels * x.itemsize)))
    number = np.uint64

    def workspace() -> tuple[Any, Any]:
        cells = np.zeros((chunk * channels, size), x.dtype)
        return cells, np.empty((chunk * per_group, length), x.dtype)

    def copy(source: Any, target: Any, copies: Copies) -> None:
        where = copies.source, copies.target
        copy_rows(source, target, *where, number(copies.length), number(copies.step))

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
