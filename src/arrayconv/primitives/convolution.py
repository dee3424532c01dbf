"""Convolution and the two maps that it is the gradient of.

``conv``, ``conv_transpose`` and ``conv_weight`` are the three ways to leave one factor out of the
sum of ``y[n, o, position] * w[o, c, tap] * x[n, c, cell]``. All three take the window and the
groups of the *forward* convolution ``conv(x, w) -> y``, and none conjugates.
"""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

from arrayconv._arrays import Array, library_of
from arrayconv._registry import Primitive, primitive
from arrayconv._window import Window, kernel_sizes, output_sizes
from arrayconv.primitives import fourier
from arrayconv.primitives.taps import pad_for, padded_tap, taps_adjoint

SMALL_KERNEL = 9
"""Taps up to which one product a tap beats one product a row of taps (measured on NumPy)."""


def _in_wide(primitive: Primitive, a: Array, b: Array, window: Window, groups: int) -> Any:
    """Return the result for half-precision arrays, summed in float32; None for all others."""
    library = library_of("input", a)
    dtype = library.dtype(a.dtype)
    if not dtype.half:
        return None
    xp = library.xp
    wide = primitive(xp.astype(a, dtype.wide), xp.astype(b, dtype.wide), window, groups)
    return xp.astype(wide, a.dtype)


def _grouped(array: Array, groups: int) -> Array:
    """Return (N, groups, C / groups, cells) of an array (N, C, *sizes)."""
    xp = library_of("input", array).xp
    batch, channels, *sizes = array.shape
    return xp.reshape(array, (batch, groups, channels // groups, prod(sizes)))


def _patches(padded: Array, window: Window, by_rows: bool) -> Any:
    """Yield (index into the kernel, what those taps see): one tap, or a row of taps at a time."""
    xp = library_of("input", padded).xp
    *leading, last = window
    for lead in product(*(range(axis.kernel) for axis in leading)):
        strip = padded
        for dim, (axis, tap) in enumerate(zip(leading, lead, strict=True), 2):
            strip = padded_tap(strip, dim, axis, tap)
        row = [padded_tap(strip, 1 + len(window), last, tap) for tap in range(last.kernel)]
        if by_rows:
            # (N, C, taps of the row, *positions): channels and taps are one axis of the product
            batch, channels, *sizes = row[0].shape
            stacked = xp.stack(row, axis=2)
            yield (*lead, slice(None)), xp.reshape(stacked, (batch, channels * len(row), *sizes))
        else:
            for tap, part in enumerate(row):
                yield (*lead, tap), part


@primitive("conv")
def conv(x: Array, w: Array, window: Window, groups: int) -> Array:
    """Return y (N, O, *positions) of x (N, C, *sizes) and w (O, C / groups, *kernel)."""
    half = _in_wide(conv, x, w, window, groups)
    if half is not None:
        return half
    xp = library_of("input", x).xp
    outputs = w.shape[0]
    kernel = kernel_sizes(window)
    weights = xp.reshape(w, (groups, outputs // groups, w.shape[1], *kernel))
    total = None
    for taps, patch in _patches(pad_for(x, window), window, prod(kernel) > SMALL_KERNEL):
        rows = patch.shape[1] // groups
        factor = xp.reshape(weights[(..., *taps)], (groups, outputs // groups, rows))
        term = xp.matmul(factor, _grouped(patch, groups))
        total = term if total is None else total + term
    return xp.reshape(total, (x.shape[0], outputs, *output_sizes(window)))


@primitive("conv_transpose")
def conv_transpose(y: Array, w: Array, window: Window, groups: int) -> Array:
    """Return x (N, C, *sizes) of y (N, O, *positions) and w (O, C / groups, *kernel)."""
    half = _in_wide(conv_transpose, y, w, window, groups)
    if half is not None:
        return half
    xp = library_of("input", y).xp
    batch, outputs = y.shape[:2]
    kernel, positions = kernel_sizes(window), output_sizes(window)
    split = xp.reshape(w, (groups, outputs // groups, w.shape[1], *kernel))
    weights = xp.permute_dims(split, (0, 2, 1, *range(3, 3 + len(kernel))))
    grouped = _grouped(y, groups)

    def spread(taps: tuple[int, ...]) -> Array:
        """Return what the kernel at these leading taps adds, folded along the axes after them."""
        dim = len(taps)
        if dim == len(window):
            seen = xp.matmul(weights[(..., *taps)], grouped)
            return xp.reshape(seen, (batch, groups * w.shape[1], *positions))
        parts = [spread((*taps, tap)) for tap in range(kernel[dim])]
        return taps_adjoint(parts, 2 + dim, window[dim])

    return spread(())


conv.shared = (fourier.CONV,)
conv_transpose.shared = (fourier.CONV_TRANSPOSE,)


@primitive("conv_weight")
def conv_weight(x: Array, y: Array, window: Window, groups: int) -> Array:
    """Return w (O, C / groups, *kernel) of x (N, C, *sizes) and y (N, O, *positions)."""
    half = _in_wide(conv_weight, x, y, window, groups)
    if half is not None:
        return half
    xp = library_of("input", x).xp
    batch, outputs = y.shape[:2]
    channels, kernel = x.shape[1] // groups, kernel_sizes(window)
    cells = batch * prod(output_sizes(window))
    by_group = xp.permute_dims(_grouped(y, groups), (1, 2, 0, 3))
    factor = xp.reshape(by_group, (groups, outputs // groups, cells))
    by_tap = []
    for _, patch in _patches(pad_for(x, window), window, by_rows=False):
        seen = xp.permute_dims(_grouped(patch, groups), (1, 0, 3, 2))
        by_tap.append(xp.matmul(factor, xp.reshape(seen, (groups, cells, channels))))
    return xp.reshape(xp.stack(by_tap, axis=-1), (outputs, channels, *kernel))
