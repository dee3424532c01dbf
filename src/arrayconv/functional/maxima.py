"""max_pool1d, 2d, 3d and adaptive_max_pool1d, 2d, 3d: the largest value of each window."""

from __future__ import annotations

from functools import partial
from typing import Any

from arrayconv import primitives
from arrayconv._arrays import Array
from arrayconv._window import Windows
from arrayconv.functional.arguments import IntOrInts, Padding, as_batch, like_input
from arrayconv.functional.operations import Call, Pullback, define
from arrayconv.functional.windows import Sizes, StrideOrNone, adaptive_pool_window, pool_window


def _max_window(
    dims: int,
    input: Array,
    kernel_size: IntOrInts,
    stride: StrideOrNone = None,
    padding: Padding = 0,
    dilation: IntOrInts = 1,
    ceil_mode: bool = False,
) -> Windows:
    return pool_window("max_pool", dims, input, kernel_size, stride, padding, dilation, ceil_mode)


def _adaptive_window(dims: int, input: Array, output_size: Sizes) -> Windows:
    return adaptive_pool_window("max_pool", dims, input, output_size)


def _call(
    parse: Any,
    dims: int,
    input: Array,
    *arguments: Any,
    return_indices: bool = False,
    **params: Any,
) -> Call:
    """Return the call of a pool of which ``parse`` makes the window."""
    if not isinstance(return_indices, bool):
        raise TypeError(f"return_indices must be True or False, got {return_indices!r}")
    window = parse(dims, input, *arguments, **params)
    primitive = primitives.max_pool_indices if return_indices else primitives.max_pool
    return Call(primitive, (as_batch(input, dims), window))


def _run(call: Call, input: Array) -> Any:
    """Return the maxima, or the pair with their indices, without N where the input had none."""
    unbatched = input.ndim < call.arguments[0].ndim
    output = call.run()
    if isinstance(output, tuple):
        return tuple(like_input(each, unbatched) for each in output)
    return like_input(output, unbatched)


def _vjp(
    parse: Any, dims: int, input: Array, return_indices: bool = False, **params: Any
) -> tuple[Any, Pullback]:
    call = _call(parse, dims, input, return_indices=True, **params)
    x, window = call.arguments
    unbatched = input.ndim < x.ndim
    values, index = call.run()

    def pullback(cotangent: Array) -> tuple[Array]:
        gradient = primitives.max_pool_grad(as_batch(cotangent, dims), index, window)
        return (like_input(gradient, unbatched),)

    output = like_input(values, unbatched)
    return ((output, like_input(index, unbatched)) if return_indices else output), pullback


def max_pool1d(
    input: Array,
    kernel_size: IntOrInts,
    stride: StrideOrNone = None,
    padding: Padding = 0,
    dilation: IntOrInts = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Return the largest value of each window of signals (N, C, L): `max_pool2d` in one dimension.

    Parameters
    ----------
    input : array, shape (N, C, L) or (C, L)
        The signals.
    kernel_size, stride, padding, dilation, ceil_mode, return_indices
        As in `max_pool2d`.

    Returns
    -------
    array, shape (N, C, positions), or without the N; with ``return_indices`` a pair of arrays
        As `max_pool2d`.

    Raises
    ------
    ValueError, TypeError
        As `max_pool2d`.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.max_pool1d(np.asarray([[[3, 1, 4, 1, 5, 9]]]), 2)
    array([[[3, 4, 9]]])
    """
    call = _call(
        _max_window,
        1,
        input,
        kernel_size,
        stride,
        padding,
        dilation,
        ceil_mode,
        return_indices=return_indices,
    )
    return _run(call, input)


def max_pool2d(
    input: Array,
    kernel_size: IntOrInts,
    stride: StrideOrNone = None,
    padding: Padding = 0,
    dilation: IntOrInts = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Return the largest value of each window of images (N, C, H, W).

    ``output[n, c, p] = max over t of input[n, c, p * stride + t * dilation - padding]`` with ``p``
    and ``t`` running over both spatial dimensions; cells of the padding are passed by. Windows lie
    side by side unless ``stride`` says otherwise.

    Parameters
    ----------
    input : array, shape (N, C, H, W) or (C, H, W)
        Real or integer. A NaN is larger than any number.
    kernel_size : int or tuple of int
        Cells of the window.
    stride : int or tuple of int, optional
        Cells between windows. Default (also ``()``): ``kernel_size``.
    padding : int, tuple of int, tuple of (before, after) pairs, or str, optional
        Cells around the input, which are never a maximum. As numbers at most half of the kernel,
        as in PyTorch; pairs and words, as in `conv2d`, have no such limit.
    dilation : int or tuple of int, optional
        Cells between the taps of the window.
    ceil_mode : bool, optional
        Round the number of windows up: the last one may reach beyond the input, if it starts in
        it or in its left padding.
    return_indices : bool, optional
        Return where the maxima are, too.

    Returns
    -------
    array, shape (N, C, *positions), or without the N
        ``positions = output_size((H, W), kernel_size, stride, padding, dilation, ceil_mode)``. Of
        the input's library, device and dtype. A window that sees padding only gives -inf (an
        integer's least number).
    array of the library's index dtype, of the same shape; only with ``return_indices``
        Where each maximum is in its (unpadded) plane, ``row * W + column``: the first of several,
        the last of several NaNs, -1 where there is padding only.

    Raises
    ------
    ValueError
        Where shapes and sizes do not fit, or a number is out of range.
    TypeError
        Where an argument is of the wrong type, or the input is bool or complex.

    See Also
    --------
    max_unpool2d : Puts values back at such indices.
    adaptive_max_pool2d : By the output's size.

    Notes
    -----
    Differences from ``torch.nn.functional.max_pool2d``: padding in pairs and words, every integer
    dtype.

    References
    ----------
    .. [1] V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep learning", 2016,
       arXiv:1603.07285, chapter 3: the sizes.
    .. [2] PyTorch, documentation of torch.nn.MaxPool2d: what ceil_mode drops.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> image = np.arange(16).reshape(1, 1, 4, 4)
    >>> values, indices = ac.max_pool2d(image, 2, return_indices=True)
    >>> values[0, 0]
    array([[ 5,  7],
           [13, 15]])
    >>> indices[0, 0]
    array([[ 5,  7],
           [13, 15]])
    """
    call = _call(
        _max_window,
        2,
        input,
        kernel_size,
        stride,
        padding,
        dilation,
        ceil_mode,
        return_indices=return_indices,
    )
    return _run(call, input)


def max_pool3d(
    input: Array,
    kernel_size: IntOrInts,
    stride: StrideOrNone = None,
    padding: Padding = 0,
    dilation: IntOrInts = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Return the largest value of each window of volumes (N, C, D, H, W).

    `max_pool2d` in three dimensions.

    Parameters
    ----------
    input : array, shape (N, C, D, H, W) or (C, D, H, W)
        The volumes.
    kernel_size, stride, padding, dilation, ceil_mode, return_indices
        As in `max_pool2d`.

    Returns
    -------
    array, shape (N, C, *positions), or without the N; with ``return_indices`` a pair of arrays
        As `max_pool2d`.

    Raises
    ------
    ValueError, TypeError
        As `max_pool2d`.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.max_pool3d(np.ones((1, 2, 4, 8, 8)), 2, padding=1).shape
    (1, 2, 3, 5, 5)
    """
    call = _call(
        _max_window,
        3,
        input,
        kernel_size,
        stride,
        padding,
        dilation,
        ceil_mode,
        return_indices=return_indices,
    )
    return _run(call, input)


def adaptive_max_pool1d(input: Array, output_size: Sizes, return_indices: bool = False) -> Any:
    """Divide signals (N, C, L) into parts, and return each one's largest value.

    `adaptive_max_pool2d` in one dimension.

    Parameters
    ----------
    input : array, shape (N, C, L) or (C, L)
        The signals.
    output_size, return_indices
        As in `adaptive_max_pool2d`.

    Returns
    -------
    array, shape (N, C, output_size), or without the N; with ``return_indices`` a pair of arrays
        As `adaptive_max_pool2d`.

    Raises
    ------
    ValueError, TypeError
        As `adaptive_max_pool2d`.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.adaptive_max_pool1d(np.asarray([[[1, 5, 2, 4, 3]]]), 2)
    array([[[5, 4]]])
    """
    return _run(
        _call(_adaptive_window, 1, input, output_size, return_indices=return_indices), input
    )


def adaptive_max_pool2d(input: Array, output_size: Sizes, return_indices: bool = False) -> Any:
    """Divide images (N, C, H, W) into ``output_size`` parts, and return each one's largest value.

    Part ``o`` of ``out`` reaches from ``floor(o * size / out)`` to ``ceil((o + 1) * size / out)``
    in each dimension, as in PyTorch: parts may overlap by a cell.

    Parameters
    ----------
    input : array, shape (N, C, H, W) or (C, H, W)
        Real or integer. A NaN is larger than any number.
    output_size : int, None, or tuple of them
        Parts in each spatial dimension; None keeps a dimension as it is.
    return_indices : bool, optional
        Return where the maxima are, too, as `max_pool2d` does.

    Returns
    -------
    array, shape (N, C, *output_size), or without the N; with ``return_indices`` a pair of arrays
        Of the input's library, device and dtype.

    Raises
    ------
    ValueError
        Where a size does not fit.
    TypeError
        Where an argument is of the wrong type, or the input is bool or complex.

    See Also
    --------
    max_pool2d : The largest value of windows of a given size.

    Notes
    -----
    Difference from ``torch.nn.functional.adaptive_max_pool2d``: integers too.

    References
    ----------
    .. [1] K. He, X. Zhang, S. Ren and J. Sun, "Spatial Pyramid Pooling in Deep Convolutional
       Networks for Visual Recognition", 2014, arXiv:1406.4729: a fixed number of parts.
    .. [2] PyTorch, aten/src/ATen/native/AdaptivePooling.h: where a part starts and ends.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.adaptive_max_pool2d(np.arange(25).reshape(1, 1, 5, 5), 2)[0, 0]
    array([[12, 14],
           [22, 24]])
    """
    return _run(
        _call(_adaptive_window, 2, input, output_size, return_indices=return_indices), input
    )


def adaptive_max_pool3d(input: Array, output_size: Sizes, return_indices: bool = False) -> Any:
    """Divide volumes (N, C, D, H, W) into parts, and return each one's largest value.

    `adaptive_max_pool2d` in three dimensions.

    Parameters
    ----------
    input : array, shape (N, C, D, H, W) or (C, D, H, W)
        The volumes.
    output_size, return_indices
        As in `adaptive_max_pool2d`.

    Returns
    -------
    array, shape (N, C, *output_size), or without the N; with ``return_indices`` a pair of arrays
        As `adaptive_max_pool2d`.

    Raises
    ------
    ValueError, TypeError
        As `adaptive_max_pool2d`.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.adaptive_max_pool3d(np.ones((2, 3, 5, 6, 7)), (2, None, 3)).shape
    (2, 3, 2, 6, 3)
    """
    return _run(
        _call(_adaptive_window, 3, input, output_size, return_indices=return_indices), input
    )


for _dims, _pool, _adaptive in (
    (1, max_pool1d, adaptive_max_pool1d),
    (2, max_pool2d, adaptive_max_pool2d),
    (3, max_pool3d, adaptive_max_pool3d),
):
    for _function, _parse in ((_pool, _max_window), (_adaptive, _adaptive_window)):
        _rule, _made = partial(_vjp, _parse, _dims), partial(_call, _parse, _dims)
        define(_function, ("input",), _rule, _made)
