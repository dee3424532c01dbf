"""The pair of helpers under every generic body: the taps of an axis, and their adjoint.

Everything but the channel product of a convolution is separable, so the bodies loop over axes:
``k1 + k2`` steps for a two-dimensional window instead of ``k1 * k2``.
"""

from __future__ import annotations

from collections.abc import Sequence

from arrayconv._arrays import Array, library_of, zeros
from arrayconv._window import Axis, Window, needed_after
from arrayconv.primitives.padding import pad_axis, take_slice


def pad_for(x: Array, window: Window, first_dim: int = 2) -> Array:
    """Return ``x`` with the zeros that the windows touch, and without cells they never reach."""
    for dim, axis in enumerate(window, first_dim):
        x = pad_axis(x, dim, axis.before, needed_after(axis))
    return x


def padded_tap(padded: Array, dim: int, axis: Axis, tap: int) -> Array:
    """Return what one tap sees of an axis that is already padded: one strided slice."""
    start = tap * axis.dilation
    return take_slice(padded, dim, start, start + (axis.out - 1) * axis.stride + 1, axis.stride)


def taps(x: Array, dim: int, axis: Axis) -> list[Array]:
    """Return, for each kernel tap, what it sees along ``dim``: ``axis.out`` cells."""
    padded = pad_axis(x, dim, axis.before, needed_after(axis))
    return [padded_tap(padded, dim, axis, tap) for tap in range(axis.kernel)]


def taps_adjoint(parts: Sequence[Array], dim: int, axis: Axis) -> Array:
    """Return the adjoint of `taps`: each cell sums what the taps that see it hold.

    No cell is assigned in place. Tap ``t`` reaches the cells ``stride * q + phase`` with
    ``q = o + shift``; so each of the ``stride`` phases is a sum of shifted parts, and the phases
    are then interleaved. Bools are joined by "or".
    """
    library = library_of("input", parts[0])
    xp = library.xp
    add = xp.logical_or if library.dtype(parts[0].dtype).kind == "bool" else xp.add
    rows = -(-axis.size // axis.stride)
    phases: list[Array | None] = [None] * axis.stride
    for tap, part in enumerate(parts):
        shift, phase = divmod(tap * axis.dilation - axis.before, axis.stride)
        shifted = pad_axis(part, dim, shift, rows - axis.out - shift)
        held = phases[phase]
        phases[phase] = shifted if held is None else add(held, shifted)
    if axis.stride == 1:
        return phases[0]
    shape = (*parts[0].shape[:dim], rows, *parts[0].shape[dim + 1 :])
    nothing = None
    if any(phase is None for phase in phases):
        nothing = zeros(library, parts[0], shape, parts[0].dtype)
    stacked = xp.stack([nothing if phase is None else phase for phase in phases], axis=dim + 1)
    cells = xp.reshape(stacked, (*shape[:dim], rows * axis.stride, *shape[dim + 1 :]))
    return take_slice(cells, dim, 0, axis.size)
