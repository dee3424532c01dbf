"""avg_pool, lp_pool and adaptive_avg_pool in 1, 2 and 3 dimensions: all stand on a windowed sum."""

from __future__ import annotations

from functools import partial
from typing import Any

from arrayconv import primitives
from arrayconv._arrays import Array
from arrayconv._integers import integer
from arrayconv.functional.arguments import (
    IntOrInts,
    Padding,
    as_batch,
    like_input,
)
from arrayconv.functional.averaging import Averaging
from arrayconv.functional.operations import Call, Pullback, define
from arrayconv.functional.windows import Sizes, StrideOrNone, adaptive_pool_window, pool_window


def _avg(
    dims: int,
    input: Array,
    kernel_size: IntOrInts,
    stride: StrideOrNone = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    dilation: IntOrInts = 1,
) -> Averaging:
    window = pool_window("avg_pool", dims, input, kernel_size, stride, padding, dilation, ceil_mode)
    if not isinstance(count_include_pad, bool):
        raise TypeError(f"count_include_pad must be True or False, got {count_include_pad!r}")
    if divisor_override is not None and integer("divisor_override", divisor_override) == 0:
        raise ValueError("divisor_override must not be 0, got 0")
    return Averaging(window, count_include_pad, divisor_override)


def _adaptive(dims: int, input: Array, output_size: Sizes) -> Averaging:
    window = adaptive_pool_window("avg_pool", dims, input, output_size)
    return Averaging(window, False, None)


def _run(parse: Any, dims: int, input: Array, *arguments: Any, **params: Any) -> Array:
    averaging = parse(dims, input, *arguments, **params)
    return like_input(averaging.run(as_batch(input, dims)), input.ndim == dims + 1)


def _vjp(parse: Any, dims: int, input: Array, **params: Any) -> tuple[Array, Pullback]:
    averaging = parse(dims, input, **params)
    unbatched = input.ndim == dims + 1

    def pullback(cotangent: Array) -> tuple[Array]:
        return (like_input(averaging.adjoint(as_batch(cotangent, dims)), unbatched),)

    return like_input(averaging.run(as_batch(input, dims)), unbatched), pullback


def _call(parse: Any, dims: int, input: Array, *arguments: Any, **params: Any) -> Call:
    window = parse(dims, input, *arguments, **params).window
    return Call(primitives.sum_pool, (as_batch(input, dims), window))


def avg_pool1d(
    input: Array,
    kernel_size: IntOrInts,
    stride: StrideOrNone = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    *,
    dilation: IntOrInts = 1,
) -> Array:
    """Return the average of each window of signals (N, C, L): `avg_pool2d` in one dimension.

    Parameters
    ----------
    input : array, shape (N, C, L) or (C, L)
        The signals.
    kernel_size, stride, padding, ceil_mode, count_include_pad, dilation
        As in `avg_pool2d`.

    Returns
    -------
    array, shape (N, C, positions), or without the N
        As `avg_pool2d`.

    Raises
    ------
    ValueError, TypeError
        As `avg_pool2d`.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.avg_pool1d(np.asarray([[[1.0, 3.0, 5.0, 9.0]]]), 2)
    array([[[2., 7.]]])
    """
    return _run(
        _avg,
        1,
        input,
        kernel_size,
        stride,
        padding,
        ceil_mode,
        count_include_pad,
        dilation=dilation,
    )


def avg_pool2d(
    input: Array,
    kernel_size: IntOrInts,
    stride: StrideOrNone = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    dilation: IntOrInts = 1,
) -> Array:
    """Return the average of each window of images (N, C, H, W).

    ``output[n, c, p] = (sum over t of input[n, c, p * stride + t * dilation - padding]) / divisor``
    with ``p`` and ``t`` running over both spatial dimensions, and 0 where that is padding. The
    divisor is the number of cells in the window, as ``count_include_pad`` counts them.

    Parameters
    ----------
    input : array, shape (N, C, H, W) or (C, H, W)
        Real, complex or integer; integers are divided towards zero.
    kernel_size, stride, padding, ceil_mode
        As in `max_pool2d`; padding is of zeros.
    count_include_pad : bool, optional
        Whether padding counts in the divisor. What ``ceil_mode`` reaches beyond it never does.
    divisor_override : int, optional
        Divide by this number.
    dilation : int or tuple of int, optional
        Cells between the taps of the window.

    Returns
    -------
    array, shape (N, C, *positions), or without the N
        Of the input's library, device and dtype; half types are summed in float32, integers in 64
        bits.

    Raises
    ------
    ValueError
        Where shapes and sizes do not fit, a number is out of range, or the divisor is 0.
    TypeError
        Where an argument is of the wrong type, or the input is of bools.

    See Also
    --------
    adaptive_avg_pool2d : By the output's size.

    Notes
    -----
    Differences from ``torch.nn.functional.avg_pool2d``: padding in pairs and words, complex and
    every integer dtype, the keyword ``dilation``.

    References
    ----------
    .. [1] Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-Based Learning Applied to
       Document Recognition", 1998: subsampling.
    .. [2] PyTorch, documentation of torch.nn.AvgPool2d: the divisors.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.avg_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2)[0, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    """
    return _run(
        _avg,
        2,
        input,
        kernel_size,
        stride,
        padding,
        ceil_mode,
        count_include_pad,
        divisor_override,
        dilation=dilation,
    )


def avg_pool3d(
    input: Array,
    kernel_size: IntOrInts,
    stride: StrideOrNone = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    dilation: IntOrInts = 1,
) -> Array:
    """Return the average of each window of volumes (N, C, D, H, W).

    `avg_pool2d` in three dimensions.

    Parameters
    ----------
    input : array, shape (N, C, D, H, W) or (C, D, H, W)
        The volumes.
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, dilation
        As in `avg_pool2d`.

    Returns
    -------
    array, shape (N, C, *positions), or without the N
        As `avg_pool2d`.

    Raises
    ------
    ValueError, TypeError
        As `avg_pool2d`.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.avg_pool3d(np.ones((1, 2, 4, 4, 4)), 2).shape
    (1, 2, 2, 2, 2)
    """
    return _run(
        _avg,
        3,
        input,
        kernel_size,
        stride,
        padding,
        ceil_mode,
        count_include_pad,
        divisor_override,
        dilation=dilation,
    )


def adaptive_avg_pool1d(input: Array, output_size: Sizes) -> Array:
    """Divide signals (N, C, L) into parts, and return the average of each.

    `adaptive_avg_pool2d` in one dimension.

    Parameters
    ----------
    input : array, shape (N, C, L) or (C, L)
        The signals.
    output_size : int or None
        As in `adaptive_avg_pool2d`.

    Returns
    -------
    array, shape (N, C, output_size), or without the N
        As `adaptive_avg_pool2d`.

    Raises
    ------
    ValueError, TypeError
        As `adaptive_avg_pool2d`.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.adaptive_avg_pool1d(np.asarray([[[1.0, 2.0, 3.0, 4.0, 5.0]]]), 2)
    array([[[2., 4.]]])
    """
    return _run(_adaptive, 1, input, output_size)


def adaptive_avg_pool2d(input: Array, output_size: Sizes) -> Array:
    """Divide images (N, C, H, W) into ``output_size`` parts, and return the average of each.

    Part ``o`` of ``out`` reaches from ``floor(o * size / out)`` to ``ceil((o + 1) * size / out)``
    in each dimension, as in PyTorch: parts may overlap by a cell. So a network takes images of any
    size.

    Parameters
    ----------
    input : array, shape (N, C, H, W) or (C, H, W)
        Real, complex or integer.
    output_size : int, None, or tuple of them
        Parts in each spatial dimension; None keeps a dimension as it is. 1 is global pooling.

    Returns
    -------
    array, shape (N, C, *output_size), or without the N
        Of the input's library, device and dtype; half types are summed in float32.

    Raises
    ------
    ValueError
        Where a size does not fit.
    TypeError
        Where an argument is of the wrong type, or the input is of bools.

    See Also
    --------
    adaptive_max_pool2d : The largest value of each part.
    avg_pool2d : The average of windows of a given size.

    Notes
    -----
    Difference from ``torch.nn.functional.adaptive_avg_pool2d``: integers too, which are divided
    towards zero.

    References
    ----------
    .. [1] M. Lin, Q. Chen and S. Yan, "Network In Network", 2013, arXiv:1312.4400: global average
       pooling.
    .. [2] PyTorch, aten/src/ATen/native/AdaptivePooling.h: where a part starts and ends.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.adaptive_avg_pool2d(np.arange(25.0).reshape(1, 1, 5, 5), 2)[0, 0]
    array([[ 6.,  8.],
           [16., 18.]])
    """
    return _run(_adaptive, 2, input, output_size)


def adaptive_avg_pool3d(input: Array, output_size: Sizes) -> Array:
    """Divide volumes (N, C, D, H, W) into parts, and return the average of each.

    `adaptive_avg_pool2d` in three dimensions.

    Parameters
    ----------
    input : array, shape (N, C, D, H, W) or (C, D, H, W)
        The volumes.
    output_size : int, None, or tuple of them
        As in `adaptive_avg_pool2d`.

    Returns
    -------
    array, shape (N, C, *output_size), or without the N
        As `adaptive_avg_pool2d`.

    Raises
    ------
    ValueError, TypeError
        As `adaptive_avg_pool2d`.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.adaptive_avg_pool3d(np.ones((2, 3, 5, 6, 7)), (2, None, 1)).shape
    (2, 3, 2, 6, 1)
    """
    return _run(_adaptive, 3, input, output_size)


for _dims, _pool, _adapted in (
    (1, avg_pool1d, adaptive_avg_pool1d),
    (2, avg_pool2d, adaptive_avg_pool2d),
    (3, avg_pool3d, adaptive_avg_pool3d),
):
    for _function, _parse in ((_pool, _avg), (_adapted, _adaptive)):
        define(_function, ("input",), partial(_vjp, _parse, _dims), partial(_call, _parse, _dims))
