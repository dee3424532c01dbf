"""fractional_max_pool2d, 3d: maxima of windows at pseudo-random, nearly even steps."""

from __future__ import annotations

import random
from functools import partial
from itertools import product
from math import prod
from typing import Any

from arrayconv import primitives
from arrayconv._arrays import Array, from_numbers, index_dtype, integers_like, library_of
from arrayconv._integers import Ints, integers
from arrayconv.functional.arguments import (
    IntOrInts,
    as_batch,
    batched_shape,
    common_library,
    like_input,
)
from arrayconv.functional.operations import Call, Pullback, define


def _outs(dims: int, sizes: Ints, kernel: Ints, output_size: Any, output_ratio: Any) -> Ints:
    """Return the output's sizes, by themselves or as a share of the input's."""
    if (output_size is None) == (output_ratio is None):
        raise ValueError(
            "exactly one of output_size and output_ratio must be given, got "
            f"output_size {output_size!r} and output_ratio {output_ratio!r}"
        )
    if output_size is None:
        ratios = output_ratio if isinstance(output_ratio, tuple | list) else (output_ratio,) * dims
        if len(ratios) != dims:
            raise ValueError(f"output_ratio must be one number or {dims}, got {output_ratio!r}")
        if not all(isinstance(each, int | float) and not isinstance(each, bool) for each in ratios):
            raise TypeError(f"output_ratio must be a number or numbers, got {output_ratio!r}")
        if not all(0 < each < 1 for each in ratios):
            raise ValueError(f"output_ratio must be between 0 and 1, got {output_ratio!r}")
        output_size = tuple(int(n * each) for n, each in zip(sizes, ratios, strict=True))
    outs = integers("output_size", output_size, dims)
    for n, k, out in zip(sizes, kernel, outs, strict=True):
        if out + k - 1 > n:
            raise ValueError(
                f"output_size {outs} with kernel_size {kernel} needs more cells than the input's "
                f"{sizes}: each size is at least output_size + kernel_size - 1"
            )
    return outs


def _samples(x: Array, dims: int, given: Array | None) -> Array:
    """Return the random numbers (N, C, dims) in [0, 1) that shift the windows."""
    library, shape = library_of("input", x), (*x.shape[:2], dims)
    if given is None:
        numbers = [random.random() for _ in range(prod(shape))]
        return library.xp.reshape(from_numbers(library, x, numbers), shape)
    common_library("max_pool", input=x, _random_samples=given)
    if tuple(given.shape) != shape:
        raise ValueError(
            f"_random_samples must have the shape {shape} (N, C and the spatial dimensions), got "
            f"{tuple(given.shape)}"
        )
    return given


def _starts(samples: Array, size: int, kernel: int, out: int) -> Array:
    """Return where each window begins (N, C, out), from one sample (N, C) for each plane.

    ``int((o + sample) * step) - int(sample * step)`` with ``step = (size - kernel) / (out - 1)``,
    and the last at the end (B. Graham, "Fractional Max-Pooling", 2014, as PyTorch computes it).
    """
    library = library_of("_random_samples", samples)
    xp, dtype = library.xp, index_dtype(library)
    numbers = integers_like(library, samples, range(out))
    last = xp.zeros_like(numbers) + (size - kernel)
    if out == 1:
        return xp.broadcast_to(last, (*samples.shape, 1))
    shift = samples[..., None]
    # The quotient is rounded to the samples' dtype, as the products are.
    step = from_numbers(library, samples, [size - kernel]) / (out - 1)
    inner = xp.astype((xp.astype(numbers, samples.dtype) + shift) * step, dtype)
    begun = inner - xp.astype(shift * step, dtype)
    return xp.where(numbers == out - 1, last, begun)


def _parse(
    dims: int,
    input: Array,
    kernel_size: IntOrInts,
    output_size: IntOrInts | None = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    *,
    _random_samples: Array | None = None,
) -> tuple[Array, Ints, list[Array]]:
    """Return the planes (N, C, cells), the kernel, and the windows' starts in each dimension."""
    _, dtype = common_library("max_pool", input=input)
    if dtype.kind != "real":
        raise TypeError(f"input must be of a real floating dtype, got {dtype.name}")
    if not isinstance(return_indices, bool):
        raise TypeError(f"return_indices must be True or False, got {return_indices!r}")
    shape = batched_shape("input", tuple(input.shape), dims)
    if min(shape[1:]) < 1:
        raise ValueError(f"input must have at least one channel and cell, got shape {shape}")
    kernel = integers("kernel_size", kernel_size, dims)
    outs = _outs(dims, shape[2:], kernel, output_size, output_ratio)
    x = as_batch(input, dims)
    samples = _samples(x, dims, _random_samples)
    # In two dimensions torch's first sample is for the width.
    order = (1, 0) if dims == 2 else tuple(range(dims))
    starts = [
        _starts(samples[..., place], n, k, out)
        for place, n, k, out in zip(order, shape[2:], kernel, outs, strict=True)
    ]
    return x, kernel, starts


def _pool(x: Array, kernel: Ints, starts: list[Array]) -> tuple[Array, Array]:
    """Return the maxima (N, C, *positions) and their places, each window's cells in turn."""
    library = library_of("input", x)
    xp, (batch, channels, *sizes) = library.xp, x.shape
    outs = tuple(each.shape[-1] for each in starts)
    planes = xp.reshape(x, (batch, channels, prod(sizes)))
    best: Array = None
    at: Array = None
    for taps in product(*map(range, kernel)):
        index: Any = 0
        for dim, (start, tap) in enumerate(zip(starts, taps, strict=True)):
            along = (1,) * dim + (outs[dim],) + (1,) * (len(outs) - 1 - dim)
            cells = xp.reshape(start + tap, (batch, channels, *along))
            index = index + cells * prod(sizes[dim + 1 :])
        flat = xp.reshape(index, (batch, channels, prod(outs)))
        value = primitives.gather(planes, flat)
        if best is None:
            best, at = value, flat
            continue
        better = (value > best) | (value != value)
        best, at = xp.where(better, value, best), xp.where(better, flat, at)
    return xp.reshape(best, (batch, channels, *outs)), xp.reshape(at, (batch, channels, *outs))


def _run(
    dims: int,
    input: Array,
    kernel_size: IntOrInts,
    output_size: IntOrInts | None,
    output_ratio: Any,
    return_indices: bool,
    samples: Array | None,
) -> Any:
    sizes = (kernel_size, output_size, output_ratio, return_indices)
    values, at = _pool(*_parse(dims, input, *sizes, _random_samples=samples))
    unbatched = input.ndim == dims + 1
    output = like_input(values, unbatched)
    return (output, like_input(at, unbatched)) if return_indices else output


def _vjp(
    dims: int, input: Array, *, return_indices: bool = False, **params: Any
) -> tuple[Any, Pullback]:
    x, kernel, starts = _parse(dims, input, return_indices=return_indices, **params)
    values, at = _pool(x, kernel, starts)
    xp, unbatched = library_of("input", x).xp, input.ndim == dims + 1

    def pullback(cotangent: Array) -> tuple[Array]:
        shape = (*x.shape[:2], prod(values.shape[2:]))
        flat, index = xp.reshape(cotangent, shape), xp.reshape(at, shape)
        added = primitives.scatter_add(flat, index, prod(x.shape[2:]))
        return (xp.reshape(added, input.shape),)

    output = like_input(values, unbatched)
    return ((output, like_input(at, unbatched)) if return_indices else output), pullback


def _call(dims: int, *arguments: Any, **params: Any) -> Call:
    x, _, starts = _parse(dims, *arguments, **params)
    xp = library_of("input", x).xp
    planes = xp.reshape(x, (*x.shape[:2], prod(x.shape[2:])))
    return Call(primitives.gather, (planes, starts[-1]))


def fractional_max_pool2d(
    input: Array,
    kernel_size: IntOrInts,
    output_size: IntOrInts | None = None,
    output_ratio: float | tuple[float, ...] | None = None,
    return_indices: bool = False,
    _random_samples: Array | None = None,
) -> Any:
    """Return maxima of windows whose steps are drawn at random, so that any output size is had.

    Parameters
    ----------
    input : array, shape (N, C, H, W) or (C, H, W)
        Real floating.
    kernel_size : int or tuple of int
        Cells of each window.
    output_size : int or tuple of int, optional
        Windows in each dimension; this or ``output_ratio``.
    output_ratio : float or tuple of float, optional
        The output's size as a share of the input's, between 0 and 1.
    return_indices : bool, optional
        Return where the maxima are, too, as `max_pool2d` does.
    _random_samples : array, shape (N, C, 2), optional
        Numbers in [0, 1) of the input's dtype that shift the windows along the width and the
        height. Default: drawn by Python's module ``random``, which `random.seed` makes repeatable.

    Returns
    -------
    array, shape (N, C, *output_size), or without the N; with ``return_indices`` a pair of arrays
        Of the input's library, device and dtype.

    Raises
    ------
    ValueError
        Where shapes and sizes do not fit, or not exactly one of the sizes is given.
    TypeError
        Where an argument is of the wrong type, or the input is not real floating.

    Notes
    -----
    With the same samples the windows are those of PyTorch's
    ``torch.nn.functional.fractional_max_pool2d``.

    References
    ----------
    .. [1] B. Graham, "Fractional Max-Pooling", 2014, arXiv:1412.6071.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> samples = np.asarray([[[0.3, 0.7]]])
    >>> image = np.arange(25.0).reshape(1, 1, 5, 5)
    >>> ac.fractional_max_pool2d(image, 2, output_size=3, _random_samples=samples)[0, 0]
    array([[ 6.,  7.,  9.],
           [11., 12., 14.],
           [21., 22., 24.]])
    """
    return _run(2, input, kernel_size, output_size, output_ratio, return_indices, _random_samples)


def fractional_max_pool3d(
    input: Array,
    kernel_size: IntOrInts,
    output_size: IntOrInts | None = None,
    output_ratio: float | tuple[float, ...] | None = None,
    return_indices: bool = False,
    _random_samples: Array | None = None,
) -> Any:
    """Return maxima of windows of volumes whose steps are drawn at random.

    `fractional_max_pool2d` in three dimensions.

    Parameters
    ----------
    input : array, shape (N, C, D, H, W) or (C, D, H, W)
        Real floating.
    kernel_size, output_size, output_ratio, return_indices
        As in `fractional_max_pool2d`.
    _random_samples : array, shape (N, C, 3), optional
        As in `fractional_max_pool2d`, for depth, height and width.

    Returns
    -------
    array, shape (N, C, *output_size), or without the N; with ``return_indices`` a pair of arrays
        As `fractional_max_pool2d`.

    Raises
    ------
    ValueError, TypeError
        As `fractional_max_pool2d`.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.fractional_max_pool3d(np.ones((1, 2, 6, 6, 6)), 2, output_ratio=0.5).shape
    (1, 2, 3, 3, 3)
    """
    return _run(3, input, kernel_size, output_size, output_ratio, return_indices, _random_samples)


for _dims, _function in ((2, fractional_max_pool2d), (3, fractional_max_pool3d)):
    define(_function, ("input",), partial(_vjp, _dims), partial(_call, _dims))
