"""im2col and col2im: lay out what each window sees as a column, and add the columns back."""

from __future__ import annotations

from math import prod

from arrayconv._arrays import Array, library_of
from arrayconv._registry import primitive
from arrayconv._window import Window, kernel_sizes, output_sizes
from arrayconv.primitives.taps import taps, taps_adjoint


@primitive("unfold")
def unfold(x: Array, window: Window) -> Array:
    """Return the columns (N, C * taps, positions) of ``x`` (N, C, *sizes)."""
    xp = library_of("input", x).xp
    batch, channels = x.shape[:2]
    columns = x
    for dim, axis in enumerate(window):
        # (N, C, kernel of the axes done, positions of the axes done, sizes still to do)
        columns = xp.stack(taps(columns, 2 + 2 * dim, axis), axis=2 + dim)
    rows = channels * prod(kernel_sizes(window))
    return xp.reshape(columns, (batch, rows, prod(output_sizes(window))))


@primitive("fold")
def fold(columns: Array, window: Window) -> Array:
    """Return the sum (N, C, *sizes) of columns (N, C * taps, positions): the adjoint of unfold."""
    library = library_of("input", columns)
    xp, dtype = library.xp, library.dtype(columns.dtype)
    if dtype.half:
        return xp.astype(fold(xp.astype(columns, dtype.wide), window), columns.dtype)
    kernel = kernel_sizes(window)
    batch, channels = columns.shape[0], columns.shape[1] // prod(kernel)
    x = xp.reshape(columns, (batch, channels, *kernel, *output_sizes(window)))
    for dim in reversed(range(len(window))):
        here = (slice(None),) * (2 + dim)
        parts = [x[(*here, tap, ...)] for tap in range(kernel[dim])]
        x = taps_adjoint(parts, 2 + 2 * dim, window[dim])
    if prod(kernel) == 1 and all(axis.stride == 1 for axis in window):
        # Nothing was added: x may still be a view of the columns.
        x = xp.astype(x, x.dtype, copy=True)
    return x
