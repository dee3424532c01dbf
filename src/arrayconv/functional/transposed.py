"""conv_transpose1d, conv_transpose2d, conv_transpose3d: the adjoint of a convolution."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

from arrayconv import primitives
from arrayconv._arrays import Array
from arrayconv._integers import Ints, Pairs, crop_argument, integer, integers
from arrayconv._window import Window, transposed_window
from arrayconv.functional.arguments import (
    IntOrInts,
    Padding,
    as_batch,
    batched_shape,
    check_fits,
    common_library,
    conjugate,
    like_input,
)
from arrayconv.functional.operations import Call, Pullback, define
from arrayconv.functional.weights import CONVOLVED, check_weight, finish, sum_channels


@lru_cache(maxsize=1024)
def _transposed_window(
    dims: int,
    input: Ints,
    weight: Ints,
    bias: Ints | None,
    itemsize: int,
    stride: Ints,
    padding: Pairs,
    output_padding: Ints,
    groups: int,
    dilation: Ints,
) -> Window:
    """Return the window of the convolution that is undone, having checked the shapes."""
    shape = batched_shape("input", input, dims)
    check_weight(f"conv_transpose{dims}d", shape, weight, bias, groups, transposed=True)
    window = transposed_window(shape[2:], weight[2:], stride, padding, output_padding, dilation)
    because = (
        f"input {input}, weight {weight}, stride {stride}, padding {padding}, "
        f"output_padding {output_padding}, dilation {dilation}"
    )
    # What is cropped afterwards is computed by some implementations, so it must fit as well.
    output = (axis.size + axis.before + axis.after for axis in window)
    check_fits("the output", (shape[0], weight[1] * groups, *output), itemsize, because)
    return window


def _transposed_call(
    dims: int,
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: IntOrInts = 1,
    padding: Padding = 0,
    output_padding: IntOrInts = 0,
    groups: int = 1,
    dilation: IntOrInts = 1,
    *,
    algorithm: str = "auto",
) -> Call:
    _, dtype = common_library("conv_transpose", input=input, weight=weight, bias=bias)
    groups = integer("groups", groups, 1)
    window = _transposed_window(
        dims,
        tuple(input.shape),
        tuple(weight.shape),
        None if bias is None else tuple(bias.shape),
        dtype.held,
        integers("stride", stride, dims),
        crop_argument(padding, dims),
        integers("output_padding", output_padding, dims, 0),
        groups,
        integers("dilation", dilation, dims),
    )
    arguments = (as_batch(input, dims), weight, window, groups)
    return Call(primitives.conv_transpose, arguments, algorithm)


def _transposed_vjp(
    dims: int, input: Array, weight: Array, bias: Array | None = None, **params: Any
) -> tuple[Array, Pullback]:
    call = _transposed_call(dims, input, weight, bias, **params)
    y, w, window, groups = call.arguments
    unbatched = input.ndim < y.ndim
    output = finish(call, bias, unbatched)

    def pullback(cotangent: Array) -> tuple[Array | None, ...]:
        x = as_batch(cotangent, dims)
        to_input = primitives.conv(x, conjugate(w), window, groups)
        to_weight = primitives.conv_weight(x, conjugate(y), window, groups)
        to_bias = None if bias is None else sum_channels(x, bias)
        return like_input(to_input, unbatched), to_weight, to_bias

    return output, pullback


def conv_transpose1d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: IntOrInts = 1,
    padding: Padding = 0,
    output_padding: IntOrInts = 0,
    groups: int = 1,
    dilation: IntOrInts = 1,
    *,
    algorithm: str = "auto",
) -> Array:
    """Spread signals (N, C, L) by kernels (C, O / groups, K): `conv_transpose2d` in one dimension.

    Parameters
    ----------
    input : array, shape (N, C, L) or (C, L)
        The signals.
    weight : array, shape (C, O / groups, K)
        The kernels.
    bias : array, shape (O,), optional
        Added to each output channel.
    stride, padding, output_padding, groups, dilation, algorithm
        As in `conv_transpose2d`.

    Returns
    -------
    array, shape (N, O, size), or without the N
        ``size = transposed_output_size(L, K, stride, padding, output_padding, dilation)``.

    Raises
    ------
    ValueError, TypeError
        As `conv_transpose2d`.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.conv_transpose1d(np.asarray([[[1.0, 2.0]]]), np.ones((1, 1, 3)), stride=2)
    array([[[1., 1., 3., 2., 2.]]])
    """
    call = _transposed_call(
        1,
        input,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        algorithm=algorithm,
    )
    return finish(call, bias, input.ndim == 2)


def conv_transpose2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: IntOrInts = 1,
    padding: Padding = 0,
    output_padding: IntOrInts = 0,
    groups: int = 1,
    dilation: IntOrInts = 1,
    *,
    algorithm: str = "auto",
) -> Array:
    """Spread each cell of (N, C, H, W) over the output by kernels (C, O / groups, KH, KW).

    The adjoint (transpose) of the convolution with the same weight, stride, padding, dilation
    and groups: ``output[n, o, p * stride + t * dilation - padding] += weight[c, o, t] *
    input[n, c, p]`` over all positions ``p``, taps ``t`` and channels ``c``, plus the bias. With a
    stride it enlarges: a stride of 2 doubles the size, but for the ends.

    Parameters
    ----------
    input : array, shape (N, C, H, W) or (C, H, W)
        Real, complex or integer.
    weight : array, shape (C, O / groups, KH, KW)
        The kernels, of the input's library, device and dtype.
    bias : array, shape (O,), optional
        Added to each output channel.
    stride, dilation : int or tuple of int, optional
        Cells between the places that neighbours are spread around, and between kernel taps.
    padding : int, tuple of int or tuple of (before, after) pairs, optional
        Cells cropped from both sides of the output.
    output_padding : int or tuple of int, optional
        Cells added to the end of the output; smaller than the stride or the dilation. It tells
        apart the sizes that a strided convolution maps to one.
    groups : int, optional
        Groups that channels and outputs are split into.
    algorithm : str, optional
        The implementation to use; `explain` lists them. "auto" takes the best that is fit.

    Returns
    -------
    array, shape (N, O, *sizes), or without the N
        ``sizes = transposed_output_size((H, W), (KH, KW), stride, padding, output_padding,
        dilation)``. Of the input's library, device and dtype; half types are summed in float32.

    Raises
    ------
    ValueError
        Where shapes, sizes or groups do not fit, a number is out of range, or the algorithm is
        unknown or cannot serve the call.
    TypeError
        Where an argument is of the wrong type, the arrays differ in library, device or dtype, or
        are bools.

    See Also
    --------
    conv2d : The operation that it is the adjoint of.

    Notes
    -----
    Differences from ``torch.nn.functional.conv_transpose2d``: padding in pairs, integers on
    every library, the keyword ``algorithm``; a padding that crops all of the output is an error.
    Errors are ValueError or TypeError.

    References
    ----------
    .. [1] V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep learning", 2016,
       arXiv:1603.07285, chapter 4.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.conv_transpose2d(np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2)))
    array([[[[1., 2., 1.],
             [2., 4., 2.],
             [1., 2., 1.]]]])
    >>> ac.conv_transpose2d(np.ones((1, 8, 16, 16)), np.ones((8, 3, 4, 4)), None, 2, 1).shape
    (1, 3, 32, 32)
    """
    call = _transposed_call(
        2,
        input,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        algorithm=algorithm,
    )
    return finish(call, bias, input.ndim == 3)


def conv_transpose3d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: IntOrInts = 1,
    padding: Padding = 0,
    output_padding: IntOrInts = 0,
    groups: int = 1,
    dilation: IntOrInts = 1,
    *,
    algorithm: str = "auto",
) -> Array:
    """Spread volumes (N, C, D, H, W) by kernels (C, O / groups, KD, KH, KW).

    `conv_transpose2d` in three dimensions.

    Parameters
    ----------
    input : array, shape (N, C, D, H, W) or (C, D, H, W)
        The volumes.
    weight : array, shape (C, O / groups, KD, KH, KW)
        The kernels.
    bias : array, shape (O,), optional
        Added to each output channel.
    stride, padding, output_padding, groups, dilation, algorithm
        As in `conv_transpose2d`.

    Returns
    -------
    array, shape (N, O, *sizes), or without the N
        ``sizes = transposed_output_size((D, H, W), (KD, KH, KW), stride, padding,
        output_padding, dilation)``.

    Raises
    ------
    ValueError, TypeError
        As `conv_transpose2d`.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> volume, weight = np.ones((1, 2, 2, 4, 4)), np.ones((2, 3, 2, 2, 2))
    >>> ac.conv_transpose3d(volume, weight, stride=2).shape
    (1, 3, 4, 8, 8)
    """
    call = _transposed_call(
        3,
        input,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        algorithm=algorithm,
    )
    return finish(call, bias, input.ndim == 4)


for _dims, _function in ((1, conv_transpose1d), (2, conv_transpose2d), (3, conv_transpose3d)):
    define(_function, CONVOLVED, partial(_transposed_vjp, _dims), partial(_transposed_call, _dims))
