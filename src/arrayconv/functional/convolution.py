"""conv1d, conv2d, conv3d: a window, and a product with what it sees."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

from arrayconv import primitives
from arrayconv._arrays import Array
from arrayconv._integers import Ints, Pairs, integer, integers, padding_argument
from arrayconv._window import Window, output_sizes, sliding_window
from arrayconv.functional.arguments import (
    IntOrInts,
    Padding,
    as_batch,
    batched_shape,
    check_fits,
    check_padded,
    common_library,
    conjugate,
    like_input,
)
from arrayconv.functional.operations import Call, Pullback, define
from arrayconv.functional.padding import padded_input, padded_input_adjoint
from arrayconv.functional.weights import CONVOLVED, check_weight, finish, sum_channels


@lru_cache(maxsize=1024)
def _conv_window(
    dims: int,
    input: Ints,
    weight: Ints,
    bias: Ints | None,
    itemsize: int,
    stride: Ints,
    padding: Pairs | str,
    dilation: Ints,
    groups: int,
) -> Window:
    """Return the window of a convolution of arrays of these shapes, having checked them."""
    shape = batched_shape("input", input, dims)
    check_weight(f"conv{dims}d", shape, weight, bias, groups, transposed=False)
    window = sliding_window(shape[2:], weight[2:], stride, padding, dilation)
    because = f"input {input}, weight {weight}, stride {stride}, padding {padding}"
    check_fits("the output", (shape[0], weight[0], *output_sizes(window)), itemsize, because)
    check_padded(shape[0], shape[1], window, itemsize, because)
    return window


def _parsed(
    dims: int,
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: IntOrInts = 1,
    padding: Padding = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
) -> tuple[Array, Window, int]:
    """Return the input as a batch, the window and the groups, all checked."""
    _, dtype = common_library("conv", input=input, weight=weight, bias=bias)
    groups = integer("groups", groups, 1)
    window = _conv_window(
        dims,
        tuple(input.shape),
        tuple(weight.shape),
        None if bias is None else tuple(bias.shape),
        dtype.held,
        integers("stride", stride, dims),
        padding_argument(padding, dims),
        integers("dilation", dilation, dims),
        groups,
    )
    return as_batch(input, dims), window, groups


def _conv_call(
    dims: int,
    input: Array,
    weight: Array,
    *arguments: Any,
    padding_mode: str = "zeros",
    algorithm: str = "auto",
    **params: Any,
) -> Call:
    x, window, groups = _parsed(dims, input, weight, *arguments, **params)
    x, window = padded_input(x, window, padding_mode)
    return Call(primitives.conv, (x, weight, window, groups), algorithm)


def _conv_vjp(
    dims: int,
    input: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    padding_mode: str = "zeros",
    algorithm: str = "auto",
    **params: Any,
) -> tuple[Array, Pullback]:
    x, padded_window, groups = _parsed(dims, input, weight, bias, **params)
    x, window = padded_input(x, padded_window, padding_mode)
    unbatched = input.ndim < x.ndim
    output = finish(Call(primitives.conv, (x, weight, window, groups), algorithm), bias, unbatched)

    def pullback(cotangent: Array) -> tuple[Array | None, ...]:
        y = as_batch(cotangent, dims)
        to_x = primitives.conv_transpose(y, conjugate(weight), window, groups)
        to_input = padded_input_adjoint(to_x, padded_window, padding_mode)
        to_weight = primitives.conv_weight(conjugate(x), y, window, groups)
        to_bias = None if bias is None else sum_channels(y, bias)
        return like_input(to_input, unbatched), to_weight, to_bias

    return output, pullback


def conv1d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: IntOrInts = 1,
    padding: Padding = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    algorithm: str = "auto",
) -> Array:
    """Convolve signals (N, C, L) with kernels (O, C / groups, K): `conv2d` in one dimension.

    Parameters
    ----------
    input : array, shape (N, C, L) or (C, L)
        The signals.
    weight : array, shape (O, C / groups, K)
        The kernels.
    bias : array, shape (O,), optional
        Added to each output channel.
    stride, padding, dilation, groups, padding_mode, algorithm
        As in `conv2d`.

    Returns
    -------
    array, shape (N, O, positions), or without the N
        ``positions = output_size(L, K, stride, padding, dilation)``.

    Raises
    ------
    ValueError, TypeError
        As `conv2d`.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> signal = np.asarray([[[1.0, 2.0, 4.0, 8.0]]])
    >>> ac.conv1d(signal, np.asarray([[[-1.0, 1.0]]]))
    array([[[1., 2., 4.]]])
    """
    call = _conv_call(
        1,
        input,
        weight,
        bias,
        stride,
        padding,
        dilation,
        groups,
        padding_mode=padding_mode,
        algorithm=algorithm,
    )
    return finish(call, bias, input.ndim == 2)


def conv2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: IntOrInts = 1,
    padding: Padding = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    algorithm: str = "auto",
) -> Array:
    """Convolve images (N, C, H, W) with kernels (O, C / groups, KH, KW).

    ``output[n, o, p] = bias[o] + sum over c, t of weight[o, c, t] * input[n, c, p * stride +
    t * dilation - padding]`` with ``p`` and ``t`` running over both spatial dimensions, and 0
    where that is padding: a cross-correlation (the kernel is not flipped), as in all
    deep-learning libraries. With ``groups`` each group of outputs sees its group of channels.

    Parameters
    ----------
    input : array, shape (N, C, H, W) or (C, H, W)
        The images: real, complex or integer (exact in that dtype, wrapping as it wraps).
    weight : array, shape (O, C / groups, KH, KW)
        The kernels, of the input's library, device and dtype.
    bias : array, shape (O,), optional
        Added to each output channel.
    stride, dilation : int or tuple of int, optional
        Cells between window positions, and between kernel taps.
    padding : int, tuple of int, tuple of (before, after) pairs, or str, optional
        Cells around the input, of 0 or as ``padding_mode`` says. ``"valid"`` is none; ``"same"``
        keeps the size (stride 1 only; an odd cell goes after); ``"same_upper"`` and
        ``"same_lower"`` are ONNX's and give ``ceil(size / stride)`` with any stride, an odd cell
        going after or before.
    groups : int, optional
        Groups that channels and outputs are split into; ``C`` makes it depthwise.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}, optional
        What the padding holds, as `pad` explains; the words are those of ``torch.nn.Conv2d``.
    algorithm : str, optional
        The implementation to use; `explain` lists them. "auto" takes the best that is fit.

    Returns
    -------
    array, shape (N, O, *positions), or without the N
        ``positions = output_size((H, W), (KH, KW), stride, padding, dilation)``. Of the input's
        library, device and dtype; half types are summed in float32.

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
    conv_transpose2d : Its adjoint.
    unfold : The columns by which a convolution is one matrix product.

    Notes
    -----
    Differences from ``torch.nn.functional.conv2d``: padding in pairs and two more words,
    integers on every library, the keywords ``padding_mode`` and ``algorithm``. Errors are
    ValueError or TypeError.

    References
    ----------
    .. [1] I. Goodfellow, Y. Bengio and A. Courville, "Deep Learning", 2016, section 9.1:
       convolution, and the cross-correlation that goes by its name.
    .. [2] V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep learning", 2016,
       arXiv:1603.07285: the sizes.
    .. [3] ONNX, operator Conv, attribute auto_pad: "same_upper" and "same_lower".

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> image = np.arange(16.0).reshape(1, 1, 4, 4)
    >>> laplace = np.asarray([[[[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]]])
    >>> ac.conv2d(image, laplace, bias=np.asarray([5.0]))
    array([[[[5., 5.],
             [5., 5.]]]])

    Eight kernels of three channels each, over two colour images, at every second cell:

    >>> images, weight = np.ones((2, 3, 32, 32)), np.ones((8, 3, 3, 3))
    >>> ac.conv2d(images, weight, stride=2, padding=1).shape
    (2, 8, 16, 16)

    The gradients:

    >>> output, pullback = ac.vjp(ac.conv2d, images, weight, stride=2, padding=1)
    >>> [gradient.shape for gradient in pullback(np.ones_like(output))]
    [(2, 3, 32, 32), (8, 3, 3, 3)]
    """
    call = _conv_call(
        2,
        input,
        weight,
        bias,
        stride,
        padding,
        dilation,
        groups,
        padding_mode=padding_mode,
        algorithm=algorithm,
    )
    return finish(call, bias, input.ndim == 3)


def conv3d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: IntOrInts = 1,
    padding: Padding = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    algorithm: str = "auto",
) -> Array:
    """Convolve volumes (N, C, D, H, W) with kernels (O, C / groups, KD, KH, KW).

    `conv2d` in three dimensions.

    Parameters
    ----------
    input : array, shape (N, C, D, H, W) or (C, D, H, W)
        The volumes.
    weight : array, shape (O, C / groups, KD, KH, KW)
        The kernels.
    bias : array, shape (O,), optional
        Added to each output channel.
    stride, padding, dilation, groups, padding_mode, algorithm
        As in `conv2d`.

    Returns
    -------
    array, shape (N, O, *positions), or without the N
        ``positions = output_size((D, H, W), (KD, KH, KW), stride, padding, dilation)``.

    Raises
    ------
    ValueError, TypeError
        As `conv2d`.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.conv3d(np.ones((1, 2, 4, 8, 8)), np.ones((3, 2, 2, 3, 3)), padding="same").shape
    (1, 3, 4, 8, 8)
    """
    call = _conv_call(
        3,
        input,
        weight,
        bias,
        stride,
        padding,
        dilation,
        groups,
        padding_mode=padding_mode,
        algorithm=algorithm,
    )
    return finish(call, bias, input.ndim == 4)


for _dims, _function in ((1, conv1d), (2, conv2d), (3, conv3d)):
    define(_function, CONVOLVED, partial(_conv_vjp, _dims), partial(_conv_call, _dims))
