"""Maxima with their indices, by the number of a tap; and planes written by index."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from arrayconv._arrays import library_of
from arrayconv._window import Axis, Table, Windows, input_sizes, kernel_sizes, output_sizes
from arrayconv.backends.numpy.columns import is_apart
from arrayconv.backends.numpy.separable import CHUNK
from arrayconv.backends.numpy.threads import run_blocks
from arrayconv.primitives.pooling import lowest
from arrayconv.primitives.pooling import max_pool_indices as generic_indices
from arrayconv.primitives.taps import taps


def _first_cells(axis: Axis | Table) -> tuple[Any, int]:
    """Return the cell of each position's first tap, in or out of the input, and the taps' step."""
    if isinstance(axis, Table):
        return np.asarray([row[0] for row in axis.cells]), 1
    return np.arange(axis.out) * axis.stride - axis.before, axis.dilation


@lru_cache(maxsize=64)
def _addresses(window: Windows) -> tuple[Any, Any]:
    """Return where in the plane each position's first tap is, and how far on each tap is."""
    sizes = input_sizes(window)
    places = [prod(sizes[dim + 1 :]) for dim in range(len(window))]
    start, step = np.zeros((), np.int64), np.zeros((), np.int64)
    for dim, (axis, place) in enumerate(zip(window, places, strict=True)):
        cells, dilation = _first_cells(axis)
        after = (1,) * (len(window) - 1 - dim)
        start = start + (cells * place).reshape(-1, *after)
        step = step + (np.arange(axis.kernel) * dilation * place).reshape(-1, *after)
    return start, step.reshape(-1)


def _numbered(planes: Any, window: Windows, fill: Any) -> tuple[Any, Any]:
    """Return the maxima of planes (1, n, *sizes), and the number of the tap that each one is."""
    code_type = np.min_scalar_type(prod(kernel_sizes(window)) - 1)
    best, code, inner = planes, None, 1
    for dim in reversed(range(2, 2 + len(window))):
        axis = window[dim - 2]
        values = taps(best, dim, axis, fill)
        codes = [None] * axis.kernel if code is None else taps(code, dim, axis, 0)
        best = np.array(values[0])
        code = np.zeros(best.shape, code_type) if codes[0] is None else np.array(codes[0])
        for tap in range(1, axis.kernel):
            # Copied once, since both the comparison and the maximum are slow on strides.
            value = np.array(values[tap])
            better = (value > best).astype(code_type, copy=False)
            number = code_type.type(tap * inner)
            other = number if codes[tap] is None else codes[tap] + number
            # A choice without a branch: all bits of `-better` are set where it is 1.
            code ^= (code ^ other) & -better
            np.maximum(best, value, out=best)
        inner *= axis.kernel
    return best, code


def max_pool_indices(x: Any, window: Windows) -> tuple[Any, Any]:
    """Return the maxima and their places, by the number of a tap, some planes at a time.

    A number takes a byte where a place takes eight. Planes with a NaN, or with a maximum that
    padding could be taken for, are left to the generic body.
    """
    fill = lowest(library_of("input", x), x.dtype)
    batch, channels, *sizes = x.shape
    outs = output_sizes(window)
    planes = x.reshape(1, batch * channels, *sizes)
    values = np.empty((1, batch * channels, *outs), x.dtype)
    index = np.empty(values.shape, np.int64)
    start, step = _addresses(window)
    some = max(1, CHUNK // max(1, prod(sizes) * x.itemsize))

    def pool(part: slice) -> None:
        best, code = _numbered(planes[:, part], window, fill)
        if (best == fill).any() or (best != best).any():
            best, index[:, part] = generic_indices.generic.run(planes[:, part], window)
        else:
            np.take(step, code, out=index[:, part], mode="clip")
            index[:, part] += start
        values[:, part] = best

    run_blocks(
        pool, [slice(first, first + some) for first in range(0, batch * channels, some)], least=2
    )
    shape = (batch, channels, *outs)
    return values.reshape(shape), index.reshape(shape)


def _into(values: Any, index: Any, cells: int, accumulate: bool) -> Any:
    """Return planes (N, C, cells) with values added, or assigned, where an index in them is."""
    shape = (*values.shape[:2], cells)
    starts = np.arange(shape[0] * shape[1]).reshape(*shape[:2], 1) * cells
    places, flat = (index + starts).reshape(-1), values.reshape(-1)
    if index.size and (index.min() < 0 or index.max() >= cells):
        inside = ((index >= 0) & (index < cells)).reshape(-1)
        places, flat = places[inside], flat[inside]
    planes = np.zeros(prod(shape), values.dtype)
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
    flat = (*cotangent.shape[:2], prod(cotangent.shape[2:]))
    sizes = input_sizes(window)
    apart = all(isinstance(axis, Axis) for axis in window) and is_apart(window)
    # Where windows lie apart no cell is the maximum of two.
    into = place if apart else scatter_add
    gradient = into(cotangent.reshape(flat), index.reshape(flat), prod(sizes))
    return gradient.reshape(*cotangent.shape[:2], *sizes)
