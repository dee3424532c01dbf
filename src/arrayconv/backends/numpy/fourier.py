"""`primitives.fourier` on NumPy: some groups and tiles at a time, which threads share."""

from __future__ import annotations

from math import prod, sqrt
from typing import Any

import numpy as np

from arrayconv._integers import Ints
from arrayconv._options import current
from arrayconv._window import Axis, Window, output_sizes, span
from arrayconv.backends.numpy.costs import Shape
from arrayconv.backends.numpy.threads import run_blocks
from arrayconv.primitives.fourier import SPREADS, plan


def unfit(shape: Shape) -> str | None:
    """Return why a convolution cannot be served."""
    if shape.dtype not in (np.float32, np.float64):
        return f"it is for float32 and float64, got {shape.dtype}"
    if any(axis.stride != 1 for axis in shape.window):
        return "it needs a stride of 1: it computes every output"
    return None


def rounds(shape: Shape) -> str | None:
    """Return why transforms are less exact than im2col is."""
    return None if shape.dtype == np.float32 else SPREADS


def _transform_weight(w: Any, window: Window) -> Any:
    """Return the conjugate transform (G, O / G, C / G, frequencies) of dilated kernels."""
    tile = plan(window).tile
    laid: Any = np.zeros((*w.shape[:3], *tile), w.dtype)
    laid[(..., *(slice(0, span(axis), axis.dilation) for axis in window))] = w
    points = _forward(laid, len(tile))
    del laid
    np.conj(points, out=points)
    # What both transforms of a product are divided by, and its inverse is not.
    points *= points.real.dtype.type(sqrt(prod(tile)))
    return points.reshape(*points.shape[:3], -1)


def _forward(x: Any, dims: int) -> Any:
    # By "ortho", since NumPy transforms float32 in double precision where nothing is divided.
    return np.fft.rfftn(x, axes=tuple(range(-dims, 0)), norm="ortho")


def parts(tile: Ints, channels: int, outputs: int, groups: int, itemsize: int) -> tuple[int, int]:
    """Return how many groups, of some channels and outputs, and tiles are taken at a time."""
    # Bytes of a number laid out, and of its half of a complex one, before and after a product.
    cell = prod(tile) * itemsize * 4
    workspace = current().workspace_bytes
    some = min(groups, max(1, workspace // (cell * (channels * outputs + channels + outputs))))
    return some, max(1, workspace // (cell * some * (channels + outputs)))


def _overlap(axis: Axis, first: int, length: int) -> tuple[slice, slice]:
    """Return where a tile holds the input, and which of it."""
    offset = first - axis.before
    start, stop = max(0, offset), max(0, min(axis.size, offset + length))
    if start >= stop:
        return slice(0, 0), slice(0, 0)
    return slice(start - offset, stop - offset), slice(start, stop)


def conv(x: Any, w: Any, window: Window, groups: int) -> Any:
    """Return y (N, O, *positions); each block is a range of groups."""
    batch, sizes = x.shape[0], x.shape[2:]
    channels, per_group = w.shape[1], w.shape[0] // groups
    planned, dims = plan(window), len(window)
    every = [(image, starts) for image in range(batch) for starts in planned.starts]
    range_of, tiles = parts(planned.tile, channels, per_group, groups, x.itemsize)
    x = x.reshape(batch, groups, channels, *sizes)
    w = w.reshape(groups, per_group, *w.shape[1:])
    y = np.empty((batch, groups, per_group, *output_sizes(window)), x.dtype)

    def work(first: int) -> None:
        part = slice(first, min(groups, first + range_of))
        count = part.stop - part.start
        # With tiles as columns there is a product of matrices for each frequency.
        weight = _transform_weight(w[part], window).transpose(3, 0, 1, 2)
        weight = np.ascontiguousarray(weight) if channels > 1 else weight
        for start in range(0, len(every), tiles):
            some = every[start : start + tiles]
            laid: Any = np.zeros((len(some), count, channels, *planned.tile), x.dtype)
            for target, (image, starts) in zip(laid, some, strict=True):
                to, of = _places(window, starts, planned.tile)
                target[(..., *to)] = x[(image, part, slice(None), *of)]
            points = _forward(laid, dims)
            shape = points.shape[3:]
            del laid
            columns = points.reshape(len(some), count, channels, -1).transpose(3, 1, 2, 0)
            if channels > 1:
                made = np.matmul(weight, np.ascontiguousarray(columns))
            else:
                made = weight * columns
            made = made.transpose(3, 1, 2, 0).reshape(len(some), count, per_group, *shape)
            back = np.fft.irfftn(made, s=planned.tile, axes=tuple(range(-dims, 0)), norm="ortho")
            for source, (image, starts) in zip(back, some, strict=True):
                where, kept = _outputs(window, starts, planned.steps)
                y[(image, part, slice(None), *where)] = source[(..., *kept)]
            # Before there are those of the next tiles.
            del points, columns, made, back, source

    run_blocks(work, range(0, groups, range_of), products=True)
    return y.reshape(batch, groups * per_group, *output_sizes(window))


def _places(window: Window, starts: Ints, tile: Ints) -> tuple[Any, Any]:
    """Return where a tile holds the input, and which of it."""
    to, of = zip(*map(_overlap, window, starts, tile), strict=True)
    return to, of


def _outputs(window: Window, starts: Ints, steps: Ints) -> tuple[Any, Any]:
    """Return the outputs of a tile that starts there, and where the tile holds them."""
    counts = [min(a.out - start, n) for a, start, n in zip(window, starts, steps, strict=True)]
    where = tuple(slice(start, start + n) for start, n in zip(starts, counts, strict=True))
    return where, tuple(slice(0, n) for n in counts)
