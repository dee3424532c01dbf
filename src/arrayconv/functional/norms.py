"""lp_pool1d, 2d, 3d: the p-norm of each window, on the windowed sum of the averages."""

from __future__ import annotations

from functools import partial
from math import inf, isnan, prod
from typing import Any

from arrayconv import primitives
from arrayconv._arrays import Array, library_of
from arrayconv._window import kernel_sizes
from arrayconv.functional.arguments import IntOrInts, Padding, as_batch, like_input
from arrayconv.functional.averaging import Averaging
from arrayconv.functional.operations import Call, Pullback, define
from arrayconv.functional.windows import StrideOrNone, pool_window


def _parse(
    dims: int,
    input: Array,
    norm_type: float,
    kernel_size: IntOrInts,
    stride: StrideOrNone = None,
    ceil_mode: bool = False,
    *,
    padding: Padding = 0,
    dilation: IntOrInts = 1,
) -> tuple[float, Averaging]:
    """Return the order of the norm, and the average that it is made of."""
    if isinstance(norm_type, bool) or not isinstance(norm_type, int | float):
        raise TypeError(
            f"norm_type must be a number, got {norm_type!r} of type {type(norm_type).__name__}"
        )
    if norm_type == 0 or isnan(norm_type):
        raise ValueError(f"norm_type must not be 0 or NaN, got {norm_type!r}")
    window = pool_window("lp_pool", dims, input, kernel_size, stride, padding, dilation, ceil_mode)
    return float(norm_type), Averaging(window, True, None)


def _vjp(dims: int, input: Array, *arguments: Any, **params: Any) -> tuple[Array, Pullback]:
    norm, averaging = _parse(dims, input, *arguments, **params)
    library, x, window = library_of("input", input), as_batch(input, dims), averaging.window
    xp, unbatched = library.xp, input.ndim == dims + 1
    if abs(norm) == inf:
        sign = 1 if norm > 0 else -1
        values, index = primitives.max_pool_indices(sign * xp.abs(x), window)

        def of_maximum(cotangent: Array) -> tuple[Array]:
            gradient = primitives.max_pool_grad(as_batch(cotangent, dims), index, window)
            return (like_input(gradient * xp.sign(x), unbatched),)

        return like_input(sign * values, unbatched), of_maximum
    wide = xp.astype(x, library.dtype(x.dtype).wide, copy=False)
    total = averaging.run(wide**norm) * prod(kernel_sizes(window))
    output = xp.astype(total ** (1 / norm), x.dtype, copy=False)

    def pullback(cotangent: Array) -> tuple[Array]:
        y = xp.astype(as_batch(cotangent, dims), wide.dtype, copy=False)
        # The slope of a root is infinite at 0, where torch's gradient is 0.
        flat = total == 0
        slope = xp.where(flat, xp.zeros_like(total), xp.where(flat, 1, total) ** (1 / norm - 1))
        shares = averaging.adjoint(y * slope) * prod(kernel_sizes(window))
        return (like_input(xp.astype(shares * wide ** (norm - 1), x.dtype), unbatched),)

    return like_input(output, unbatched), pullback


def _run(dims: int, input: Array, *arguments: Any, **params: Any) -> Array:
    return _vjp(dims, input, *arguments, **params)[0]


def _call(dims: int, input: Array, *arguments: Any, **params: Any) -> Call:
    norm, averaging = _parse(dims, input, *arguments, **params)
    primitive = primitives.max_pool_indices if abs(norm) == inf else primitives.sum_pool
    return Call(primitive, (as_batch(input, dims), averaging.window))


def lp_pool1d(
    input: Array,
    norm_type: float,
    kernel_size: IntOrInts,
    stride: StrideOrNone = None,
    ceil_mode: bool = False,
    *,
    padding: Padding = 0,
    dilation: IntOrInts = 1,
) -> Array:
    """Return the p-norm of each window of signals (N, C, L): `lp_pool2d` in one dimension.

    Parameters
    ----------
    input : array, shape (N, C, L) or (C, L)
        The signals.
    norm_type, kernel_size, stride, ceil_mode, padding, dilation
        As in `lp_pool2d`.

    Returns
    -------
    array, shape (N, C, positions), or without the N
        As `lp_pool2d`.

    Raises
    ------
    ValueError, TypeError
        As `lp_pool2d`.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.lp_pool1d(np.asarray([[[3.0, 4.0, 6.0, 8.0]]]), 2, 2)
    array([[[ 5., 10.]]])
    """
    return _run(
        1,
        input,
        norm_type,
        kernel_size,
        stride,
        ceil_mode,
        padding=padding,
        dilation=dilation,
    )


def lp_pool2d(
    input: Array,
    norm_type: float,
    kernel_size: IntOrInts,
    stride: StrideOrNone = None,
    ceil_mode: bool = False,
    *,
    padding: Padding = 0,
    dilation: IntOrInts = 1,
) -> Array:
    """Return ``(sum of x ** p) ** (1 / p)`` of each window of images (N, C, H, W).

    Exactly what PyTorch computes: no absolute value is taken, so with an odd (or fractional)
    ``norm_type`` a window of a negative sum gives NaN; a window that ``ceil_mode`` lets reach
    beyond the input is scaled up as if it were whole. With ``norm_type`` inf (or -inf) it is the
    largest (or smallest) magnitude.

    Parameters
    ----------
    input : array, shape (N, C, H, W) or (C, H, W)
        Real floating.
    norm_type : float
        The exponent p; not 0.
    kernel_size, stride, ceil_mode, padding, dilation
        As in `max_pool2d`; padding is of zeros.

    Returns
    -------
    array, shape (N, C, *positions), or without the N
        Of the input's library, device and dtype; half types are computed in float32.

    Raises
    ------
    ValueError
        Where shapes and sizes do not fit, or ``norm_type`` is 0.
    TypeError
        Where an argument is of the wrong type, or the input is not real floating.

    Notes
    -----
    Difference from ``torch.nn.functional.lp_pool2d``: the keywords ``padding`` and ``dilation``.
    The gradient of a window whose sum is 0 is 0, as in PyTorch.

    References
    ----------
    .. [1] P. Sermanet, S. Chintala and Y. LeCun, "Convolutional Neural Networks Applied to House
       Numbers Digit Classification", 2012, arXiv:1204.3968.
    .. [2] PyTorch, documentation of torch.nn.LPPool2d.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.lp_pool2d(np.full((1, 1, 2, 4), 2.0), 2, 2)
    array([[[[4., 4.]]]])
    """
    return _run(
        2,
        input,
        norm_type,
        kernel_size,
        stride,
        ceil_mode,
        padding=padding,
        dilation=dilation,
    )


def lp_pool3d(
    input: Array,
    norm_type: float,
    kernel_size: IntOrInts,
    stride: StrideOrNone = None,
    ceil_mode: bool = False,
    *,
    padding: Padding = 0,
    dilation: IntOrInts = 1,
) -> Array:
    """Return the p-norm of each window of volumes (N, C, D, H, W).

    `lp_pool2d` in three dimensions.

    Parameters
    ----------
    input : array, shape (N, C, D, H, W) or (C, D, H, W)
        The volumes.
    norm_type, kernel_size, stride, ceil_mode, padding, dilation
        As in `lp_pool2d`.

    Returns
    -------
    array, shape (N, C, *positions), or without the N
        As `lp_pool2d`.

    Raises
    ------
    ValueError, TypeError
        As `lp_pool2d`.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.lp_pool3d(np.ones((1, 1, 4, 4, 4)), 3.0, 2)[0, 0, 0, 0, 0]
    np.float64(2.0)
    """
    return _run(
        3,
        input,
        norm_type,
        kernel_size,
        stride,
        ceil_mode,
        padding=padding,
        dilation=dilation,
    )


for _dims, _function in ((1, lp_pool1d), (2, lp_pool2d), (3, lp_pool3d)):
    define(_function, ("input",), partial(_vjp, _dims), partial(_call, _dims))
