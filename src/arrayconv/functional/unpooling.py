"""max_unpool1d, 2d, 3d: put the values of a max pool back where their indices say."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

from arrayconv import primitives
from arrayconv._arrays import Array, device_of, library_of
from arrayconv._integers import Ints, crop_argument, integers
from arrayconv._options import current
from arrayconv.functional.arguments import (
    IntOrInts,
    Padding,
    as_batch,
    batched_shape,
    check_fits,
    common_library,
    like_input,
)
from arrayconv.functional.operations import Call, Pullback, define
from arrayconv.functional.windows import StrideOrNone


def _sizes(
    shape: Ints,
    kernel_size: IntOrInts,
    stride: StrideOrNone,
    padding: Padding,
    output_size: Any,
) -> Ints:
    """Return the spatial sizes of the output: the pool's input, as far as it can be told."""
    dims = len(shape) - 2
    kernel = integers("kernel_size", kernel_size, dims)
    no_stride = stride is None or (isinstance(stride, tuple | list) and len(stride) == 0)
    steps = kernel if no_stride else integers("stride", stride, dims)
    pairs = crop_argument(padding, dims)
    usual = tuple(
        (n - 1) * s - before - after + k
        for n, s, (before, after), k in zip(shape[2:], steps, pairs, kernel, strict=True)
    )
    wanted = usual
    if output_size is not None:
        if not isinstance(output_size, tuple | list):
            raise TypeError(f"output_size must be a tuple of integers, got {output_size!r}")
        if len(output_size) not in (dims, dims + 2):
            raise ValueError(
                f"output_size must have {dims} numbers, or {dims + 2} with N and C, got "
                f"{output_size!r}"
            )
        wanted = integers("output_size", tuple(output_size[-dims:]), dims)
        if any(abs(n - m) >= s for n, m, s in zip(wanted, usual, steps, strict=True)):
            raise ValueError(
                f"output_size must differ from {usual} by less than the stride {steps}, got "
                f"{output_size!r}"
            )
    if min(wanted) < 1:
        raise ValueError(
            f"padding {padding!r} leaves no cells: input {shape}, kernel_size {kernel}"
        )
    return wanted


def _check_indices(input: Array, indices: Array, cells: int) -> None:
    """Raise ValueError where an index is out of range, if that is to be seen without a wait."""
    library = library_of("indices", indices)
    at_hand = library.values_at_hand or "cpu" in str(device_of(library, indices)).lower()
    if prod(indices.shape) == 0 or not (at_hand or current().validate):
        return
    least, most = int(library.xp.min(indices)), int(library.xp.max(indices))
    if least < 0 or most >= cells:
        raise ValueError(
            f"indices must be from 0 to {cells - 1}, the cells of a plane of the output, got "
            f"{least if least < 0 else most}; input {tuple(input.shape)}"
        )


def _parse(
    dims: int,
    input: Array,
    indices: Array,
    kernel_size: IntOrInts,
    stride: StrideOrNone = None,
    padding: Padding = 0,
    output_size: Any = None,
) -> tuple[Array, Array, Ints]:
    """Return the values (N, C, n), the indices likewise, and the output's spatial sizes."""
    library, dtype = common_library("max_unpool", input=input)
    if library_of("indices", indices) is not library:
        raise TypeError(
            f"input and indices must be arrays of one library, got {library.name} and "
            f"{library_of('indices', indices).name}"
        )
    if library.dtype(indices.dtype, "indices").kind != "integer":
        raise TypeError(f"indices must be integers, got dtype {indices.dtype}")
    if tuple(indices.shape) != tuple(input.shape):
        raise ValueError(
            f"indices must have the input's shape {tuple(input.shape)}, got {tuple(indices.shape)}"
        )
    here, there = device_of(library, input), device_of(library, indices)
    if here is not None and there is not None and here != there:
        raise TypeError(f"input and indices must be on one device, got {here} and {there}")
    shape = batched_shape("input", tuple(input.shape), dims)
    if min(shape[1:]) < 1:
        raise ValueError(f"input must have at least one channel and cell, got shape {shape}")
    sizes = _sizes(shape, kernel_size, stride, padding, output_size)
    check_fits("the output", (*shape[:2], *sizes), dtype.held, f"input {shape}")
    _check_indices(input, indices, prod(sizes))
    flat = (*shape[:2], prod(shape[2:]))
    return library.xp.reshape(input, flat), library.xp.reshape(indices, flat), sizes


def _run(dims: int, input: Array, *arguments: Any, **params: Any) -> Array:
    values, index, sizes = _parse(dims, input, *arguments, **params)
    planes = primitives.place(values, index, prod(sizes))
    output = library_of("input", input).xp.reshape(planes, (*values.shape[:2], *sizes))
    return like_input(output, input.ndim == dims + 1)


def _vjp(dims: int, input: Array, *arguments: Any, **params: Any) -> tuple[Array, Pullback]:
    values, index, sizes = _parse(dims, input, *arguments, **params)
    xp = library_of("input", input).xp

    def pullback(cotangent: Array) -> tuple[Array]:
        planes = xp.reshape(as_batch(cotangent, dims), (*values.shape[:2], prod(sizes)))
        return (xp.reshape(primitives.gather(planes, index), input.shape),)

    return _run(dims, input, *arguments, **params), pullback


def _call(dims: int, input: Array, *arguments: Any, **params: Any) -> Call:
    values, index, sizes = _parse(dims, input, *arguments, **params)
    return Call(primitives.place, (values, index, prod(sizes)))


def max_unpool1d(
    input: Array,
    indices: Array,
    kernel_size: IntOrInts,
    stride: StrideOrNone = None,
    padding: Padding = 0,
    output_size: Any = None,
) -> Array:
    """Put the maxima of signals back where they were: `max_unpool2d` in one dimension.

    Parameters
    ----------
    input, indices : array, shape (N, C, L) or (C, L)
        Maxima, and where they were.
    kernel_size, stride, padding, output_size
        As in `max_unpool2d`.

    Returns
    -------
    array, shape (N, C, size), or without the N
        As `max_unpool2d`.

    Raises
    ------
    ValueError, TypeError
        As `max_unpool2d`.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.max_unpool1d(np.asarray([[[5.0, 7.0]]]), np.asarray([[[1, 2]]]), 2)
    array([[[0., 5., 7., 0.]]])
    """
    return _run(1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Array,
    indices: Array,
    kernel_size: IntOrInts,
    stride: StrideOrNone = None,
    padding: Padding = 0,
    output_size: Any = None,
) -> Array:
    """Put the maxima of a `max_pool2d` back where they were, with zeros everywhere else.

    Parameters
    ----------
    input : array, shape (N, C, H, W) or (C, H, W)
        Any dtype.
    indices : array of integers, of the input's shape
        Cells of the output's planes, as `max_pool2d` returns them. Of equal ones the last wins.
    kernel_size, stride, padding
        Of the pool, which give the output's sizes: ``(n - 1) * stride - before - after +
        kernel_size``.
    output_size : tuple of int, optional
        Spatial sizes of the output (N and C may stand before them), where the pool's input was
        of others; they may differ by less than the stride.

    Returns
    -------
    array, shape (N, C, *sizes), or without the N
        Of the input's library, device and dtype.

    Raises
    ------
    ValueError
        Where shapes and sizes do not fit; and where an index is out of range, if the indices are
        in the host's memory or ``options(validate=True)`` holds. Elsewhere such a value is dropped.
    TypeError
        Where an argument is of the wrong type.

    Notes
    -----
    Differences from ``torch.nn.functional.max_unpool2d``: every dtype, padding in pairs, and with
    repeated indices a result that is always the same. As in PyTorch, the gradient takes no note
    of repeated indices: each of them gathers the cell's.

    References
    ----------
    .. [1] M. Zeiler and R. Fergus, "Visualizing and Understanding Convolutional Networks", 2013,
       arXiv:1311.2901, section 2.1.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> values, indices = ac.max_pool2d(np.eye(4)[None], 2, return_indices=True)
    >>> ac.max_unpool2d(values, indices, 2)[0, 2]
    array([0., 0., 1., 0.])
    """
    return _run(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Array,
    indices: Array,
    kernel_size: IntOrInts,
    stride: StrideOrNone = None,
    padding: Padding = 0,
    output_size: Any = None,
) -> Array:
    """Put the maxima of volumes back where they were: `max_unpool2d` in three dimensions.

    Parameters
    ----------
    input, indices : array, shape (N, C, D, H, W) or (C, D, H, W)
        Maxima, and where they were.
    kernel_size, stride, padding, output_size
        As in `max_unpool2d`.

    Returns
    -------
    array, shape (N, C, *sizes), or without the N
        As `max_unpool2d`.

    Raises
    ------
    ValueError, TypeError
        As `max_unpool2d`.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.max_unpool3d(np.ones((1, 2, 2, 2, 2)), np.zeros((1, 2, 2, 2, 2), int), 2).sum()
    np.float64(2.0)
    """
    return _run(3, input, indices, kernel_size, stride, padding, output_size)


for _dims, _function in ((1, max_unpool1d), (2, max_unpool2d), (3, max_unpool3d)):
    define(_function, ("input",), partial(_vjp, _dims), partial(_call, _dims))
