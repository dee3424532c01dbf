"""Pools, one window at a time: a list of the cells that it sees, and a number made of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import ceil, floor, inf, isnan, prod
from typing import Any

import numpy as np

Array = Any
"""A NumPy array; its own type has much to say of indices that are plain here."""
Numbers = int | Sequence[int]
Index = tuple[int, ...]


def _each(numbers: Any, dims: int) -> list[Any]:
    return [numbers] * dims if isinstance(numbers, int) else list(numbers)


def _pairs(padding: Any, dims: int) -> list[tuple[int, int]]:
    return [tuple(p) if isinstance(p, tuple) else (p, p) for p in _each(padding, dims)]


def _runs(
    sizes: Sequence[int],
    kernel_size: Numbers,
    stride: Numbers | None,
    padding: Any,
    dilation: Numbers,
    ceil_mode: bool,
) -> list[list[list[int]]]:
    """Return, for each dimension and position, the places that a window sees, padding's too."""
    dims = len(sizes)
    kernel, dilations = _each(kernel_size, dims), _each(dilation, dims)
    strides = kernel if stride is None else _each(stride, dims)
    every = []
    for n, k, s, d, (before, after) in zip(
        sizes, kernel, strides, dilations, _pairs(padding, dims), strict=True
    ):
        exact = (n + before + after - d * (k - 1) - 1) / s + 1
        out = ceil(exact) if ceil_mode else floor(exact)
        if ceil_mode and (out - 1) * s >= n + before:
            out -= 1
        every.append([[o * s + t * d - before for t in range(k)] for o in range(out)])
    return every


def _parts(sizes: Sequence[int], output_size: Any) -> list[list[list[int]]]:
    """Return the cells of each part of an adaptive pool, for each dimension."""
    wanted = [output_size] * len(sizes) if isinstance(output_size, int) else list(output_size)
    outs = [n if out is None else out for n, out in zip(sizes, wanted, strict=True)]
    return [
        [list(range(floor(o * n / out), ceil((o + 1) * n / out))) for o in range(out)]
        for n, out in zip(sizes, outs, strict=True)
    ]


def _positions(runs: Any) -> Iterator[tuple[Index, list[Index]]]:
    """Yield each output position with the places that its window sees, in their order."""
    for position in product(*(range(len(each)) for each in runs)):
        places = [each[at] for each, at in zip(runs, position, strict=True)]
        yield position, list(product(*places))


def _inside(place: Index, sizes: Sequence[int]) -> bool:
    return all(0 <= i < n for i, n in zip(place, sizes, strict=True))


def _maxima(input: Array, runs: Any) -> tuple[Array, Array]:
    sizes = input.shape[2:]
    shape = (*input.shape[:2], *(len(each) for each in runs))
    lowest = -inf if input.dtype.kind == "f" else np.iinfo(input.dtype).min
    values, indices = np.full(shape, lowest, input.dtype), np.full(shape, -1, np.int64)
    for plane in product(range(shape[0]), range(shape[1])):
        for position, places in _positions(runs):
            best = None
            for place in places:
                if not _inside(place, sizes):
                    continue
                value = input[(*plane, *place)].item()
                if best is None or value > best or isnan(value):
                    best = value
                    values[(*plane, *position)] = value
                    indices[(*plane, *position)] = np.ravel_multi_index(place, sizes)
    return values, indices


def max_pool(
    input: Array,
    kernel_size: Numbers,
    stride: Numbers | None = None,
    padding: Any = 0,
    dilation: Numbers = 1,
    ceil_mode: bool = False,
) -> tuple[Array, Array]:
    """Return the largest value of each window, and where in the plane it is.

    Examples
    --------
    >>> max_pool(np.asarray([[[3, 1, 4, 1]]]), 2)
    (array([[[3, 4]]]), array([[[0, 2]]]))
    """
    runs = _runs(input.shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
    return _maxima(input, runs)


def adaptive_max_pool(input: Array, output_size: Any) -> tuple[Array, Array]:
    """Return the largest value of each part, and where in the plane it is.

    Examples
    --------
    >>> adaptive_max_pool(np.asarray([[[1, 5, 2, 4, 3]]]), 2)
    (array([[[5, 4]]]), array([[[1, 3]]]))
    """
    return _maxima(input, _parts(input.shape[2:], output_size))


def _averages(input: Array, runs: Any, limits: Any, divisor: int | None) -> Array:
    """Return the averages; cells count within the ``limits`` of each dimension."""
    sizes = input.shape[2:]
    output = np.zeros((*input.shape[:2], *(len(each) for each in runs)), input.dtype)
    for plane in product(range(len(input)), range(input.shape[1])):
        for position, places in _positions(runs):
            total: Any = sum(input[(*plane, *p)].item() for p in places if _inside(p, sizes))
            count = sum(
                all(low <= i < high for i, (low, high) in zip(p, limits, strict=True))
                for p in places
            )
            by = max(1, count) if divisor is None else divisor
            exact = input.dtype.kind in "iu"
            output[(*plane, *position)] = int(total / by) if exact else total / by
    return output


def avg_pool(
    input: Array,
    kernel_size: Numbers,
    stride: Numbers | None = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Return the average of each window; integers are divided towards zero.

    Examples
    --------
    >>> avg_pool(np.ones((1, 1, 4)), 3, 2, 1, ceil_mode=True)
    array([[[0.66666667, 1.        , 0.5       ]]])
    """
    sizes = input.shape[2:]
    runs = _runs(sizes, kernel_size, stride, padding, 1, ceil_mode)
    limits = [
        (-before, n + after) if count_include_pad else (0, n)
        for n, (before, after) in zip(sizes, _pairs(padding, len(sizes)), strict=True)
    ]
    return _averages(input, runs, limits, divisor_override)


def adaptive_avg_pool(input: Array, output_size: Any) -> Array:
    """Return the average of each part.

    Examples
    --------
    >>> adaptive_avg_pool(np.asarray([[[1.0, 2.0, 3.0, 4.0, 5.0]]]), 2)
    array([[[2., 4.]]])
    """
    limits = [(0, n) for n in input.shape[2:]]
    return _averages(input, _parts(input.shape[2:], output_size), limits, None)


def lp_pool(
    input: Array,
    norm_type: float,
    kernel_size: Numbers,
    stride: Numbers | None = None,
    ceil_mode: bool = False,
) -> Array:
    """Return the p-norm of each window, by its average and the size of a whole one.

    Examples
    --------
    >>> lp_pool(np.asarray([[[3.0, 4.0]]]), 2, 2)
    array([[[5.]]])
    """
    dims = input.ndim - 2
    average = avg_pool(
        input.astype(np.float64) ** norm_type, kernel_size, stride, 0, ceil_mode, False
    )
    total = average * prod(_each(kernel_size, dims))
    return (total ** (1 / norm_type)).astype(input.dtype)


def max_unpool(input: Array, indices: Array, output_size: Sequence[int]) -> Array:
    """Return planes of zeros with each value where its index says; the last of several stays.

    Examples
    --------
    >>> max_unpool(np.asarray([[[5, 7]]]), np.asarray([[[1, 2]]]), (4,))
    array([[[0, 5, 7, 0]]])
    """
    output = np.zeros((*input.shape[:2], *output_size), input.dtype)
    for at in np.ndindex(input.shape):
        place = np.unravel_index(indices[at], tuple(output_size))
        output[(*at[:2], *(int(each) for each in place))] = input[at]
    return output
