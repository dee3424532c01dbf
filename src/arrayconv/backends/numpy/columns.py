"""unfold as strided copies, fold as strided additions: first along one axis, then the others.

The taps of the last axis are laid out first, in a slab that the cache holds: for each of them the
cells of the input's rows that it sees, row by row. The other taps then copy (or add) planes of
that slab, which are long runs, however narrow the images are.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby, product
from math import prod
from typing import Any

import numpy as np

from arrayconv._arrays import library_of
from arrayconv._integers import Ints
from arrayconv._options import current
from arrayconv._window import (
    Window,
    input_sizes,
    kernel_sizes,
    needed_after,
    output_sizes,
    reach,
    span,
)
from arrayconv.backends.numpy.blocks import Slices
from arrayconv.backends.numpy.column_pieces import WHOLE, Piece, pieces_of
from arrayconv.backends.numpy.plane_blocks import PlaneBlock, plane_blocks
from arrayconv.backends.numpy.threads import run_blocks

SLAB = 256 << 10
"""Bytes of a slab: what is copied twice should come from the cache the second time."""

SHORT = 16
"""Cells of a row below which rows are copied together, and what is too much is then cleared."""


def _joined(array: Any, dims: int) -> Any:
    """Return an array with its last dimensions as one, a view."""
    return array.reshape(*array.shape[:-dims], -1) if dims > 1 else array


class _Slab:
    """The slab of one thread: its zeros stay, as long as the pieces lie in the same positions."""

    def __init__(self, dtype: Any) -> None:
        self.buffer = np.empty(0, dtype)
        self.zeroed: tuple[Slices, Ints] | None = None

    def of(self, piece: Piece) -> Any:
        """Return the slab of a piece, as it was left."""
        size = prod(piece.slab)
        if self.buffer.size < size:
            self.buffer, self.zeroed = np.empty(size, self.buffer.dtype), None
        return self.buffer[:size].reshape(piece.slab)

    def padded(self, piece: Piece) -> Any:
        """Return the slab of a piece, zero wherever no cell is copied to."""
        slab = self.of(piece)
        if self.zeroed != (piece.positions, piece.slab):
            slab.fill(0)
            self.zeroed = (piece.positions, piece.slab)
        return slab


def _batches(array: Any, batch: int, channels: int) -> tuple[int, int]:
    """Return batch and channels of (N, C * n, ...), as one batch where that takes no copy."""
    return (1, batch * channels) if array.flags.c_contiguous else (batch, channels)


@lru_cache(maxsize=1024)
def is_apart(window: Window) -> bool:
    """Whether no two windows see the same cell."""
    return all(axis.stride >= span(axis) or axis.out == 1 for axis in window)


@lru_cache(maxsize=1024)
def is_inside(window: Window) -> bool:
    """Whether no window sees padding."""
    return all(axis.before <= 0 and needed_after(axis) <= 0 for axis in window)


def _framed(planes: Any, window: Window) -> Any:
    """Return a copy of planes (n, *sizes) with the padding that the windows see, and no more."""
    framed = np.zeros((len(planes), *map(reach, window)), planes.dtype)
    to = [slice(max(0, axis.before), reach(axis) - max(0, needed_after(axis))) for axis in window]
    cells = [slice(max(0, -axis.before), axis.size + min(0, needed_after(axis))) for axis in window]
    framed[(WHOLE, *to)] = planes[(WHOLE, *cells)]
    return framed


def _view(planes: Any, window: Window) -> Any:
    """Return what windows see of (..., *sizes), a view (..., *kernel, *positions); no padding."""
    dims = len(window)
    steps = planes.strides[-dims:]
    shape = (*planes.shape[:-dims], *kernel_sizes(window), *output_sizes(window))
    strides = (
        *planes.strides[:-dims],
        *(axis.dilation * each for axis, each in zip(window, steps, strict=True)),
        *(axis.stride * each for axis, each in zip(window, steps, strict=True)),
    )
    if planes.flags.c_contiguous:
        # A tenth of what as_strided costs.
        start = sum(-axis.before * each for axis, each in zip(window, steps, strict=True))
        return np.ndarray(shape, planes.dtype, planes, start, strides)
    starts = (slice(-axis.before, None) for axis in window)
    return np.lib.stride_tricks.as_strided(planes[(..., *starts)], shape, strides)


def _blocks(planes: Any, rows: int) -> list[PlaneBlock]:
    """Return the blocks in which planes (N, C, *sizes) that have rows of positions are copied."""
    images, count, *sizes = planes.shape
    limit = min(SLAB, current().workspace_bytes)
    return plane_blocks(images, count, rows, prod(sizes) * planes.itemsize, limit)


def _rows_of(block: PlaneBlock, dims: int) -> tuple[Any, ...]:
    """Return the index of a block in columns (N, C, *taps, *positions)."""
    return (block.image, block.planes, ..., block.rows, *(WHOLE,) * (dims - 1))


def unfold(x: Any, window: Window) -> Any:
    """Return the columns (N, C * taps, positions)."""
    batch, channels, *sizes = x.shape
    kernel, positions = kernel_sizes(window), output_sizes(window)
    columns = np.empty((batch, channels * prod(kernel), prod(positions)), x.dtype)
    images, count = _batches(x, batch, channels)
    planes = x.reshape(images, count, *sizes)
    laid = columns.reshape(images, count, *kernel, *positions)
    if len(window) == 1 or is_apart(window):
        rows = 1
        if is_inside(window):
            view, rows = _view(planes, window), positions[0]

            def copy(block: PlaneBlock) -> None:
                part = _rows_of(block, len(window))
                np.copyto(laid[part], view[part])
        else:
            framed_window = tuple(axis._replace(size=reach(axis), before=0) for axis in window)

            def copy(block: PlaneBlock) -> None:
                part = block.image, block.planes
                np.copyto(laid[part], _view(_framed(planes[part], window), framed_window))

        run_blocks(copy, _blocks(planes, rows), least=2)
        return columns
    limit = min(SLAB, current().workspace_bytes)
    join = x.flags.c_contiguous and sizes[-1] < SHORT
    pieces = pieces_of(window, count, x.itemsize, limit, join)

    def lay_out(task: tuple[int, Piece], own: _Slab) -> None:
        image, piece = task
        slab = own.padded(piece)
        source, target = planes[image, piece.planes], laid[image, piece.planes]
        runs, source = _joined(slab, piece.joined), _joined(source, piece.joined)
        for part, cells in piece.cells:
            runs[part] = source[cells]
        for part in piece.wrapped:
            slab[part] = 0
        for part, run in piece.columns:
            target[part] = slab[run]

    tasks = [(image, piece) for image in range(images) for piece in pieces]
    run_blocks(lay_out, tasks, workspace=lambda: _Slab(x.dtype), least=2)
    return columns


LONG = 8
"""Cells beyond which a run is worth a loop of its own."""


@lru_cache(maxsize=256)
def _groups(window: Window) -> tuple[tuple[Slices, Window], ...]:
    """Return the taps in groups of at most a stride, with the window of each: they lie apart."""
    parts = []
    for axis in window:
        starts = range(0, axis.kernel, axis.stride if axis.out > 1 else axis.kernel)
        parts.append([(tap, min(axis.kernel, tap + starts.step)) for tap in starts])
    return tuple(
        (
            tuple(slice(*taps) for taps in group),
            tuple(
                axis._replace(kernel=stop - start, before=axis.before - start)
                for axis, (start, stop) in zip(window, group, strict=True)
            ),
        )
        for group in product(*parts)
    )


def _add_groups(
    planes: Any, laid: Any, groups: tuple[tuple[Slices, Window], ...], alone: bool
) -> None:
    """Add columns to planes, a group of taps at a time; where it is alone it is copied.

    Within a group each cell is one column's.
    """
    views = [(_view(planes, window), laid[(WHOLE, WHOLE, *taps)]) for taps, window in groups]
    # NumPy's innermost loop is over the neighbouring cells, the last taps: too short a loop
    # where they are few.
    taps = len(groups[0][0]) + 1
    if groups[0][1][-1].kernel < LONG:
        views = [
            (np.moveaxis(target, taps, 0)[tap], np.moveaxis(source, taps, 0)[tap])
            for target, source in views
            for tap in range(target.shape[taps])
        ]

    def add(block: PlaneBlock) -> None:
        part = _rows_of(block, len(groups[0][1])) if alone else (block.image, block.planes)
        for target, source in views:
            if alone:
                np.copyto(target[part], source[part])
            else:
                target[part] += source[part]

    # Rows of positions share cells, but where windows lie apart.
    run_blocks(add, _blocks(planes, groups[0][1][0].out if alone else 1), least=2)


def fold(columns: Any, window: Window) -> Any:
    """Return the sum (N, C, *sizes) of the columns; on bools NumPy's addition is "or", as here."""
    kernel, sizes, positions = kernel_sizes(window), input_sizes(window), output_sizes(window)
    batch, channels = columns.shape[0], columns.shape[1] // prod(kernel)
    dtype = np.dtype(library_of("input", columns).dtype(columns.dtype).wide)
    images, count = _batches(columns, batch, channels)
    laid = columns.reshape(images, count, *kernel, *positions)
    x = np.zeros((batch, channels, *sizes), columns.dtype)
    planes = x.reshape(images, count, *sizes)
    if x.dtype == dtype and is_inside(window) and all(axis.dilation == 1 for axis in window):
        groups = _groups(window)
        if len(groups) == 1 or window[-1].stride >= LONG:
            _add_groups(planes, laid, groups, alone=len(groups) == 1)
            return x
    limit = min(SLAB, current().workspace_bytes)
    pieces = pieces_of(window, count, dtype.itemsize, limit, join=len(window) > 1)
    # Pieces of the same planes share cells: they are added one after the other.
    by_planes = [list(each) for _, each in groupby(pieces, lambda piece: piece.planes)]

    def add(task: tuple[int, list[Piece]], own: _Slab) -> None:
        image, parts = task
        target = planes[image, parts[0].planes]
        sums = target if dtype == x.dtype else np.zeros(target.shape, dtype)
        for piece in parts:
            source = laid[image, piece.planes]
            if len(window) == 1:
                slab = source[(WHOLE, WHOLE, *piece.positions)]
            else:
                slab = own.of(piece)
                for part in piece.around:
                    slab[part] = 0
                for first, (part, run) in zip(piece.firsts, piece.columns, strict=True):
                    to = slab[run]
                    if first:
                        np.copyto(to, source[part])
                    else:
                        np.add(to, source[part], out=to)
                for part in piece.wrapped:
                    slab[part] = 0
            runs, cells_of_piece = _joined(slab, piece.joined), _joined(sums, piece.joined)
            for part, cells in piece.cells:
                to = cells_of_piece[cells]
                np.add(to, runs[part], out=to)
        if sums is not target:
            target[...] = sums

    tasks = [(image, parts) for image in range(images) for parts in by_planes]
    run_blocks(add, tasks, workspace=lambda: _Slab(dtype), least=2)
    return x
