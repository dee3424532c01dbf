"""Convolution by Fourier transforms of tiles, for large kernels: overlap and save.

A tile of the padded input is transformed, multiplied by the kernel's transform (summed over the
channels of a group, frequency by frequency) and transformed back; the outputs that the circular
convolution wraps around are dropped, so tiles overlap by the kernel's span less one.

Here it is written on the standard's fft extension, for every library that has one; NumPy's own, in
blocks, is `backends.numpy.fourier`, and takes the tiles from here.

A. Oppenheim, R. Schafer, "Discrete-Time Signal Processing", 1989, section 8.7.3.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from math import log2, prod
from typing import Any, NamedTuple

from arrayconv._arrays import Array, library_of
from arrayconv._integers import Ints
from arrayconv._registry import Implementation
from arrayconv._window import Axis, Window, adjoint_axis, output_sizes, span
from arrayconv.primitives.padding import pad_axis, take_slice

SMALLEST_TILE = 128
"""Cells of a tile in each dimension, where the output has so many and the kernel is small."""


class Plan(NamedTuple):
    """The tiles of a window, worked out once."""

    tile: Ints
    """Cells of a tile in each dimension."""
    steps: Ints
    """Outputs of a tile in each dimension."""
    starts: tuple[Ints, ...]
    """The first output of each tile."""


def _fast(length: int) -> int:
    """Return the least product of 2, 3 and 5, even, that is no less than a length."""
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1 and length % 2 == 0:
            return length
        length += 1


@lru_cache(maxsize=512)
def plan(window: Window) -> Plan:
    """Return the plan of a window: tiles of four kernels' span, or of the whole plane."""
    tile = tuple(
        _fast(min(axis.out + span(axis) - 1, max(SMALLEST_TILE, 4 * span(axis)))) for axis in window
    )
    steps = tuple(min(a.out, n - span(a) + 1) for a, n in zip(window, tile, strict=True))
    starts = product(*(range(0, a.out, step) for a, step in zip(window, steps, strict=True)))
    return Plan(tile, steps, tuple(starts))


def conv_unfit(x: Array, w: Array, window: Window, groups: int) -> str | None:
    """Return why transforms cannot serve a convolution."""
    library = library_of("input", x)
    dtype = library.dtype(x.dtype)
    if library.lazy:
        return "blocks of a lazy array are transformed one by one, by their own library"
    if not hasattr(library.xp, "fft"):
        return f"{library.name} does not have the standard's fft extension"
    if dtype.kind != "real":
        return f"it is for real floating dtypes, got {dtype.name}"
    if any(axis.stride != 1 for axis in window):
        return "it needs a stride of 1: it computes every output"
    return "there is nothing to transform" if 0 in x.shape else None


SPREADS = "its rounding, and how inf and NaN spread, are accepted for float32 only"
TRANSFORMED = 4.0
"""Multiply-adds in whose time a number of a tile takes one step of log2(cells) of a transform."""


def conv_rounds(x: Array, w: Array, window: Window, groups: int) -> str | None:
    """Return why transforms are less exact than the taps may be."""
    return None if library_of("input", x).dtype(x.dtype).name == "float32" else SPREADS


def conv_slow(x: Array, w: Array, window: Window, groups: int) -> str | None:
    """Return why the taps are better: transforms take longer."""
    tile, _, starts = plan(window)
    batch, pairs = x.shape[0], w.shape[0] * w.shape[1]
    direct = batch * pairs * prod(axis.kernel for axis in window) * prod(output_sizes(window))
    cells, tiles = prod(tile), batch * len(starts)
    planes = tiles * (x.shape[1] + w.shape[0]) + pairs
    by_frequency = 2 * tiles * pairs + planes * TRANSFORMED * log2(cells)
    share = cells * by_frequency / max(1, direct)
    return None if share < 1 else f"estimated at {share:.3g} times the work of the taps"


def conv(x: Array, w: Array, window: Window, groups: int) -> Array:
    """Return y (N, O, *positions) of x (N, C, *sizes) and w (O, C / groups, *kernel)."""
    library = library_of("input", x)
    xp, dtype = library.xp, library.dtype(x.dtype)
    if dtype.half:
        wide = [xp.astype(each, dtype.wide) for each in (x, w)]
        return xp.astype(conv(wide[0], wide[1], window, groups), x.dtype)
    planned, dims = plan(window), len(window)
    axes = tuple(range(-dims, 0))
    outputs, seen = w.shape[0] // groups, w.shape[1]
    for dim, axis in enumerate(window, 2):
        w = _dilated(w, dim, axis)
        reach = (-(-axis.out // planned.steps[dim - 2]) - 1) * planned.steps[dim - 2]
        after = reach + planned.tile[dim - 2] - axis.before - axis.size
        x = pad_axis(x, dim, axis.before, after)
    # A window does not flip its kernel: that is a conjugate transform.
    weight = xp.conj(xp.fft.rfftn(w, s=planned.tile, axes=axes))
    frequencies = weight.shape[2:]
    weight = xp.reshape(weight, (groups, outputs, seen, prod(frequencies)))

    def tile(starts: Ints) -> Array:
        """Return the outputs of one tile."""
        cells = x
        for dim, (start, length) in enumerate(zip(starts, planned.tile, strict=True), 2):
            cells = take_slice(cells, dim, start, start + length)
        points = xp.fft.rfftn(cells, axes=axes)
        points = xp.reshape(points, (x.shape[0], groups, seen, prod(frequencies)))
        made = _products(xp, points, weight)
        made = xp.reshape(made, (x.shape[0], groups * outputs, *frequencies))
        y = xp.fft.irfftn(made, s=planned.tile, axes=axes)
        for dim, (axis, start) in enumerate(zip(window, starts, strict=True), 2):
            y = take_slice(y, dim, 0, min(axis.out - start, planned.steps[dim - 2]))
        return y

    def joined(starts: Ints) -> Array:
        """Return all outputs whose tiles begin so in the leading dimensions."""
        dim = len(starts)
        if dim == dims:
            return tile(starts)
        every = range(0, window[dim].out, planned.steps[dim])
        parts = [joined((*starts, start)) for start in every]
        return parts[0] if len(parts) == 1 else xp.concat(parts, axis=2 + dim)

    return xp.astype(joined(()), x.dtype, copy=False)


def _dilated(w: Array, dim: int, axis: Axis) -> Array:
    """Return a kernel with as many zeros after each tap as its dilation leaves out."""
    if axis.dilation == 1:
        return w
    xp = library_of("weight", w).xp
    apart = xp.stack([w, *(xp.zeros_like(w) for _ in range(axis.dilation - 1))], axis=dim + 1)
    shape = (*w.shape[:dim], axis.kernel * axis.dilation, *w.shape[dim + 1 :])
    return take_slice(xp.reshape(apart, shape), dim, 0, span(axis))


def _products(xp: Any, points: Array, weight: Array) -> Array:
    """Return (N, G, O, frequencies) of (N, G, C, frequencies) and (G, O, C, frequencies)."""
    if weight.shape[2] == 1:
        return points * weight[None, :, :, 0, :]
    # A product of matrices for each frequency.
    columns, rows = xp.permute_dims(points, (3, 1, 2, 0)), xp.permute_dims(weight, (3, 0, 1, 2))
    return xp.permute_dims(xp.matmul(rows, columns), (3, 1, 2, 0))


def conv_transpose(y: Array, w: Array, window: Window, groups: int) -> Array:
    """Return x (N, C, *sizes), with a stride of 1: a convolution with the kernel flipped."""
    xp = library_of("input", y).xp
    outputs, channels, *kernel = w.shape
    by_group = xp.reshape(w, (groups, outputs // groups, channels, *kernel))
    by_channel = xp.permute_dims(by_group, (0, 2, 1, *range(3, 3 + len(kernel))))
    flipped = xp.flip(by_channel, axis=tuple(range(3, 3 + len(kernel))))
    flipped = xp.reshape(flipped, (groups * channels, outputs // groups, *kernel))
    return conv(y, flipped, _adjoint(window), groups)


def _adjoint(window: Window) -> Window:
    return tuple(adjoint_axis(axis) for axis in window)


def conv_transpose_slow(y: Array, w: Array, window: Window, groups: int) -> str | None:
    """Return why the taps are better for an adjoint."""
    return conv_slow(y, w, _adjoint(window), groups)


CONV = Implementation("fft", conv, conv_unfit, conv_slow, rounds=conv_rounds)
CONV_TRANSPOSE = Implementation(
    "fft", conv_transpose, conv_unfit, conv_transpose_slow, rounds=conv_rounds
)
