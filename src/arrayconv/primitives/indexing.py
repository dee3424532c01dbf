"""Take cells of planes by index, and put them back: the only operations whose windows are data.

Planes are (N, C, cells) and indices (N, C, n) count the cells of one plane. An index outside of
the plane takes 0, and is dropped where values are put.
"""

from __future__ import annotations

from typing import Any

from arrayconv._arrays import Array, Library, index_dtype, library_of, zeros
from arrayconv._registry import primitive
from arrayconv.primitives.padding import pad_axis, take_slice


@primitive("gather")
def gather(planes: Array, index: Array) -> Array:
    """Return the cells (N, C, n) of planes (N, C, cells) that the indices name."""
    xp = library_of("input", planes).xp
    inside = (index >= 0) & (index < planes.shape[2])
    taken = xp.take_along_axis(planes, xp.where(inside, index, 0), axis=2)
    return xp.where(inside, taken, xp.zeros_like(taken))


def _sorted(library: Library, values: Array, index: Array, cells: int) -> tuple[Array, Array, int]:
    """Return the values and their places among all planes, sorted; equal places in their order.

    The third is the number of places; a place beyond them all is that of what is dropped.
    """
    xp = library.xp
    planes = values.shape[0] * values.shape[1]
    dtype = index_dtype(library)
    count = planes * cells
    starts = xp.reshape(_arange(library, index, planes), (*values.shape[:2], 1)) * cells
    wide = xp.astype(index, dtype)
    inside = (wide >= 0) & (wide < cells)
    places = xp.reshape(xp.where(inside, wide + starts, count), (-1,))
    order = xp.argsort(places, stable=True)
    return xp.take(xp.reshape(values, (-1,)), order, axis=0), xp.take(places, order, axis=0), count


def _arange(library: Library, like: Array, stop: int) -> Array:
    device: Any = getattr(like, "device", None) if library.has_devices else None
    where = {} if device is None else {"device": device}
    return library.xp.arange(stop, dtype=index_dtype(library), **where)


def _last_of_each(library: Library, held: Array, places: Array, count: int, shape: Any) -> Array:
    """Return, for each place, the last of the sorted values that are there; 0 where none is."""
    xp = library.xp
    if held.shape[0] == 0:
        return zeros(library, held, shape, held.dtype)
    every = _arange(library, places, count)
    last = xp.searchsorted(places, every, side="right") - 1
    found = xp.where(last >= 0, last, 0)
    there = (last >= 0) & (xp.take(places, found, axis=0) == every)
    taken = xp.take(held, found, axis=0)
    return xp.reshape(xp.where(there, taken, xp.zeros_like(taken)), shape)


@primitive("place")
def place(values: Array, index: Array, cells: int) -> Array:
    """Return planes (N, C, cells) of 0 but where an index is: the last value of equal indices."""
    library = library_of("input", values)
    held, places, count = _sorted(library, values, index, cells)
    return _last_of_each(library, held, places, count, (*values.shape[:2], cells))


@primitive("scatter_add")
def scatter_add(values: Array, index: Array, cells: int) -> Array:
    """Return planes (N, C, cells), each cell the sum of the values whose index it is.

    A segmented scan over the sorted values, so that no cell is added to in an order that depends
    on anything but the indices (G. Blelloch, "Prefix sums and their applications", 1990).
    """
    library = library_of("input", values)
    xp, dtype = library.xp, library.dtype(values.dtype)
    if dtype.half:
        wide = scatter_add(xp.astype(values, dtype.wide), index, cells)
        return xp.astype(wide, values.dtype)
    held, places, count = _sorted(library, values, index, cells)
    length, distance = held.shape[0], 1
    while distance < length:
        before = take_slice(held, 0, 0, length - distance)
        same = take_slice(places, 0, 0, length - distance) == take_slice(
            places, 0, distance, length
        )
        added = xp.where(same, before, xp.zeros_like(before))
        held = held + pad_axis(added, 0, distance, 0)
        distance *= 2
    return _last_of_each(library, held, places, count, (*values.shape[:2], cells))
