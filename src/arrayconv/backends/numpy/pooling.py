"""Pools of NumPy arrays: maxima by one ufunc a tap, and planes written by index."""

from __future__ import annotations

from typing import Any

import numpy as np

from arrayconv._arrays import library_of
from arrayconv._window import Windows
from arrayconv.primitives.pooling import lowest
from arrayconv.primitives.taps import taps


def max_pool(x: Any, window: Windows) -> Any:
    """Return the maximum of what each window sees; numpy.maximum hands NaN on."""
    fill = lowest(library_of("input", x), x.dtype)
    result = x
    for dim in reversed(range(2, 2 + len(window))):
        first, *others = taps(result, dim, window[dim - 2], fill)
        result = np.array(first)
        for other in others:
            np.maximum(result, other, out=result)
    return result


def _places(index: Any, planes: int, cells: int) -> tuple[Any, Any]:
    """Return the indices as places among all planes, flat, and which of them lie in their plane."""
    starts = np.arange(planes).reshape(-1, 1) * cells
    inside = (index >= 0) & (index < cells)
    return (index.reshape(planes, index.shape[2]) + starts).reshape(-1), inside.reshape(-1)


def _into(values: Any, index: Any, cells: int, accumulate: bool) -> Any:
    shape = (*values.shape[:2], cells)
    places, inside = _places(index, values.shape[0] * values.shape[1], cells)
    flat = values.reshape(-1)
    if not inside.all():
        places, flat = places[inside], flat[inside]
    planes = np.zeros(shape[0] * shape[1] * cells, values.dtype)
    if accumulate:
        np.add.at(planes, places, flat)
    else:
        # Of repeated indices NumPy assigns the last.
        planes[places] = flat
    return planes.reshape(shape)


def place(values: Any, index: Any, cells: int) -> Any:
    """Return planes of 0 but where an index is."""
    return _into(values, index, cells, accumulate=False)


def scatter_add(values: Any, index: Any, cells: int) -> Any:
    """Return planes, each cell the sum of the values whose index it is, added in their order."""
    dtype = library_of("input", values).dtype(values.dtype)
    wide = values.astype(dtype.wide, copy=False)
    return _into(wide, index, cells, accumulate=True).astype(values.dtype, copy=False)


def max_pool_grad(cotangent: Any, index: Any, window: Windows) -> Any:
    """Return the gradient: what each maximum is given, added in the order of the windows."""
    sizes = tuple(axis.size for axis in window)
    flat = (*cotangent.shape[:2], int(np.prod(cotangent.shape[2:])))
    cells = int(np.prod(sizes))
    added = scatter_add(cotangent.reshape(flat), index.reshape(flat), cells)
    return added.reshape(*cotangent.shape[:2], *sizes)
