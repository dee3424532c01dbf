"""unfold and fold by compiled loops, where numba is installed: rows stay in the cache."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._window import Window, input_sizes, kernel_sizes, output_sizes, tap_range
from arrayconv.backends.numpy.columns import is_apart, is_inside
from arrayconv.backends.numpy.compiled_pooling import FEW_CELLS, LANES
from arrayconv.backends.numpy.compiler import loops, missing
from arrayconv.backends.numpy.separable import CHUNK, NARROW
from arrayconv.backends.numpy.threads import run_range

WIDE = 24
"""Positions of a row from which on every other cell is copied faster by rows than by NumPy."""
SHORT_ROW = 64
"""Bytes of a row below which planes that are copied as one run, and then mended, are slower."""
COLUMNS = 128 << 10
"""Bytes of columns that a thread takes at a time."""
FEW_PHASES = 4
"""A stride up to which windows that lie apart are added faster by phases of rows, in compiled
loops, than by NumPy's transposing copy."""
FEW_TAPS = 4
"""Taps of a row, or a stride, below which what windows see is not turned over by vectors."""
WORDS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
"""What a number of so many bytes is copied as."""
VECTORS = {4: np.float32, 8: np.float64}
"""What it is turned over as."""


def unfit(columns: Any, window: Window) -> str | None:
    """Return why a fold cannot be served."""
    if columns.dtype not in (np.float32, np.float64):
        return f"it is compiled for float32 and float64, not for {columns.dtype}"
    return too_deep(window) or missing()


def unfold_unfit(x: Any, window: Window) -> str | None:
    """Return why an unfold cannot be served."""
    if x.dtype.itemsize not in WORDS:
        return f"it copies numbers of up to 8 bytes, not {x.dtype}"
    return too_deep(window) or missing()


def too_deep(window: Window) -> str | None:
    """Return why the loops cannot serve a window."""
    if len(window) > 3:
        return f"its loops are for 1, 2 and 3 spatial dimensions, not {len(window)}"
    return None


@lru_cache(maxsize=1024)
def _is_narrow(window: Window) -> bool:
    """Whether planes, if there are many, are better taken side by side than a row at a time."""
    columns = prod(kernel_sizes(window)) * prod(output_sizes(window))
    return window[-1].size < NARROW and max(columns, prod(input_sizes(window))) <= FEW_CELLS


def _by_lanes(x: Any, window: Window) -> bool:
    """Whether an unfold takes planes side by side."""
    many = x.shape[0] * x.shape[1] >= LANES
    return bool(many and x.itemsize in (4, 8) and _is_narrow(window))


@lru_cache(maxsize=1024)
def are_patches(window: Window, itemsize: int) -> bool:
    """Whether what windows see of a row is a matrix that is turned over, a square at a time.

    They see no padding, their taps are neighbours, and neither taps nor strides are few.
    """
    last = window[-1]
    return (
        itemsize in VECTORS
        and min(last.kernel, last.stride) >= FEW_TAPS
        and last.dilation == 1
        and prod(output_sizes(window)) > 0
        and is_inside(window)
    )


def turn_patches(cells: Any, columns: Any, window: Window, planes: int, to_columns: bool) -> None:
    """Turn over what the windows see of flat planes, to columns or back."""
    taps, positions = prod(kernel_sizes(window)), prod(output_sizes(window))
    vector, rows = VECTORS[cells.itemsize], taps // window[-1].kernel
    both = cells.view(vector), columns.view(vector)
    some = max(1, COLUMNS // (taps // rows * positions * cells.itemsize))
    turn = loops("patch_loops").turn
    run_range(turn, (*both, to_columns), planes * rows, geometry_of(window), each=some)


def unfold_slow(x: Any, window: Window) -> str | None:
    """Return why NumPy's own copies are better."""
    if _by_lanes(x, window) or are_patches(window, x.itemsize):
        return None
    return _unfold_slow(window, x.itemsize)


@lru_cache(maxsize=1024)
def _unfold_slow(window: Window, itemsize: int) -> str | None:
    run, last = window[-1].out * itemsize, window[-1]
    alike = all(each.stride == 1 and each.out == each.size for each in window[-2:])
    if len(window) > 1 and alike and run < SHORT_ROW:
        # A tap's plane is copied as one run.
        return f"rows of {last.out} positions have much border"
    if last.stride == 2 and last.out < WIDE and not is_apart(window):
        return f"rows of {last.out} positions are shorter than {WIDE}"
    return None


def slow(columns: Any, window: Window) -> str | None:
    """Return why NumPy's own loops are better."""
    if (
        is_apart(window)
        and window[-1].stride > FEW_PHASES
        and not are_patches(window, columns.itemsize)
    ):
        return "windows that lie apart are one transposing copy"
    return None


@lru_cache(maxsize=1024)
def geometry_of(window: Window) -> tuple[Any, Any, Any]:
    """Return the window as the loops take it, with three axes."""
    ones = (1,) * (3 - len(window))
    every = (kernel_sizes(window), output_sizes(window), input_sizes(window))
    shape = [n for sizes in every for n in (*ones, *sizes)]
    ranges = np.zeros((3, max(kernel_sizes(window)), 3), np.int64)
    ranges[:, 0] = (0, 1, 0)
    for row, axis in zip(ranges[len(ones) :], window, strict=True):
        row[: axis.kernel] = [tap_range(axis, tap)[:3] for tap in range(axis.kernel)]
    strides = (*ones, *(axis.stride for axis in window))
    return np.asarray(shape, np.int64), ranges, np.asarray(strides, np.int64)


class Adding(NamedTuple):
    """How columns are added to planes: by ``loop(columns, planes, begin, end, *known)``."""

    loop: Any
    parts: int
    """Of each plane, which the loop counts."""
    known: tuple[Any, ...]


@lru_cache(maxsize=64)
def _rows_that_see(window: Window) -> Any:
    """Return which columns see each row of cells."""
    return loops("column_loops").rows_that_see(*geometry_of(window))


def adding(window: Window, planes: int) -> Adding:
    """Return how columns are added to so many planes."""
    geometry = geometry_of(window)
    if planes >= LANES and _is_narrow(window):
        return Adding(loops("lane_loops").fold_lanes, 1, geometry)
    rows = prod(axis.size for axis in window[:-1])
    known = (*geometry, _rows_that_see(window))
    return Adding(loops("column_loops").fold, rows, known)


def fold(columns: Any, window: Window) -> Any:
    """Return the sum (N, C, *sizes) of the columns."""
    kernel, positions = prod(kernel_sizes(window)), prod(output_sizes(window))
    batch, channels = columns.shape[0], columns.shape[1] // kernel
    shape = (batch, channels, *input_sizes(window))
    flat = np.ascontiguousarray(columns).reshape(-1)
    if is_apart(window) and are_patches(window, columns.itemsize):
        # Some cells may be seen by no window.
        x = (np.empty if columns.size == prod(shape) else np.zeros)(shape, columns.dtype)
        turn_patches(x.reshape(-1), flat, window, batch * channels, to_columns=False)
        return x
    x = np.empty(shape, columns.dtype)
    out = x.reshape(-1)
    add = adding(window, batch * channels)
    bytes_of_part = kernel * positions * columns.itemsize // add.parts
    some = max(1, COLUMNS // max(1, bytes_of_part))
    each = some if add.parts > 1 else some // LANES * LANES or some
    run_range(add.loop, (flat, out), batch * channels * add.parts, add.known, each=each)
    return x


def unfold(x: Any, window: Window) -> Any:
    """Return the columns (N, C * taps, positions)."""
    taps, positions = prod(kernel_sizes(window)), prod(output_sizes(window))
    batch, channels = x.shape[:2]
    columns = np.empty((batch, channels * taps, positions), x.dtype)
    flat, out = np.ascontiguousarray(x).reshape(-1), columns.reshape(-1)
    if are_patches(window, x.itemsize) and not _by_lanes(x, window):
        turn_patches(flat, out, window, batch * channels, to_columns=True)
        return columns
    word = WORDS[x.dtype.itemsize]
    flat, out = flat.view(word), out.view(word)
    geometry = geometry_of(window)
    if _by_lanes(x, window):
        copy, count = loops("lane_loops").unfold_lanes, batch * channels
        some = max(1, CHUNK // max(1, taps * positions * x.itemsize))
        some = some // LANES * LANES or some
    else:
        copy, count = loops("column_loops").unfold, batch * channels * taps
        some = max(1, COLUMNS // max(1, positions * x.itemsize))
    run_range(copy, (flat, out), count, geometry, each=some)
    return columns
