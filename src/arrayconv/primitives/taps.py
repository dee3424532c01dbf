"""The pair of helpers under every generic body: the taps of an axis, and their adjoint.

Everything but the channel product of a convolution is separable, so the bodies loop over axes:
``k1 + k2`` steps for a two-dimensional window instead of ``k1 * k2``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from arrayconv._arrays import Array, integers_like, library_of, zeros
from arrayconv._window import Axis, Table, Window, index_columns, inverse_table, needed_after
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


def taps(x: Array, dim: int, axis: Axis | Table, fill: Any = 0) -> list[Array]:
    """Return, for each kernel tap, what it sees along ``dim``: ``axis.out`` cells.

    Where it sees padding that is ``fill``.
    """
    if isinstance(axis, Table):
        library = library_of("input", x)
        padded = pad_axis(x, dim, 0, 1, fill)
        # -1 takes the cell behind the last one.
        columns = [[cell % (axis.size + 1) for cell in column] for column in index_columns(axis)]
        indices = [integers_like(library, x, column) for column in columns]
        return [library.xp.take(padded, index, axis=dim) for index in indices]
    padded = pad_axis(x, dim, axis.before, needed_after(axis), fill)
    return [padded_tap(padded, dim, axis, tap) for tap in range(axis.kernel)]


def _table_adjoint(parts: Sequence[Array], dim: int, table: Table) -> Array:
    """Return the adjoint of `taps` of a table: what each cell's positions hold, slot by slot."""
    library = library_of("input", parts[0])
    xp = library.xp
    held = pad_axis(xp.concat(parts, axis=dim), dim, 0, 1)
    count = table.kernel * table.out + 1
    total = None
    for slot in zip(*inverse_table(table), strict=True):
        index = integers_like(library, held, [place % count for place in slot])
        part = xp.take(held, index, axis=dim)
        total = part if total is None else total + part
    return total


def taps_adjoint(parts: Sequence[Array], dim: int, axis: Axis | Table) -> Array:
    """Return the adjoint of `taps`: each cell sums what the taps that see it hold.

    No cell is assigned in place. Tap ``t`` reaches the cells ``stride * q + phase`` with
    ``q = o + shift``; so each of the ``stride`` phases is a sum of shifted parts, and the phases
    are then interleaved. Bools are joined by "or".
    """
    if isinstance(axis, Table):
        return _table_adjoint(parts, dim, axis)
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
