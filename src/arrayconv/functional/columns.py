"""unfold and fold, also known as im2col and col2im, in any number of spatial dimensions."""

from __future__ import annotations

from functools import lru_cache
from math import prod

from arrayconv import primitives
from arrayconv._arrays import Array
from arrayconv._integers import Ints, Pairs, integers, padding_argument
from arrayconv._window import Window, output_sizes, sliding_window
from arrayconv.functional.arguments import (
    IntOrInts,
    Padding,
    as_batch,
    batched_shape,
    check_fits,
    check_padded,
    common_library,
    like_input,
)
from arrayconv.functional.operations import Call, Pullback, define


@lru_cache(maxsize=1024)
def _unfold_window(
    shape: Ints, itemsize: int, kernel: Ints, dilation: Ints, padding: Pairs | str, stride: Ints
) -> Window:
    """Return the window of an unfold over an array of this shape, having checked its sizes."""
    batch, channels, *sizes = batched_shape("input", shape, len(kernel))
    if channels < 1:
        raise ValueError(f"input must have at least one channel, got shape {shape}")
    window = sliding_window(tuple(sizes), kernel, stride, padding, dilation)
    because = f"input {shape}, kernel_size {kernel}, padding {padding}, stride {stride}"
    columns = (batch, channels * prod(kernel), prod(output_sizes(window)))
    check_fits("the columns", columns, itemsize, because)
    check_padded(batch, channels, window, itemsize, because)
    return window


def unfold_call(
    input: Array,
    kernel_size: IntOrInts,
    dilation: IntOrInts = 1,
    padding: Padding = 0,
    stride: IntOrInts = 1,
) -> Call:
    """Return the call that an unfold with these arguments is."""
    _, dtype = common_library("unfold", input=input)
    if isinstance(kernel_size, tuple | list):
        dims = len(kernel_size)
    else:
        # As in torch, an int speaks of an image; an image without N has three dimensions.
        dims = max(2, input.ndim - 2)
    if dims < 1:
        raise ValueError(f"kernel_size must not be empty, got {kernel_size!r}")
    window = _unfold_window(
        tuple(input.shape),
        dtype.held,
        integers("kernel_size", kernel_size, dims),
        integers("dilation", dilation, dims),
        padding_argument(padding, dims),
        integers("stride", stride, dims),
    )
    return Call(primitives.unfold, (as_batch(input, dims), window))


def _unfold_vjp(input: Array, **params: object) -> tuple[Array, Pullback]:
    call = unfold_call(input, **params)  # type: ignore[arg-type]
    x, window = call.arguments
    unbatched = input.ndim < x.ndim

    def pullback(cotangent: Array) -> tuple[Array]:
        columns = cotangent[None, ...] if unbatched else cotangent
        return (like_input(primitives.fold(columns, window), unbatched),)

    return like_input(call.run(), unbatched), pullback


def unfold(
    input: Array,
    kernel_size: IntOrInts,
    dilation: IntOrInts = 1,
    padding: Padding = 0,
    stride: IntOrInts = 1,
) -> Array:
    """Lay out what a sliding window sees, one column per window position (im2col).

    ``output[n, c * taps + t, position] = input[n, c, position * stride + t * dilation - padding]``
    in each spatial dimension, taps and positions both counted with the last dimension fastest;
    0 where that is padding. A convolution is then one matrix product:
    ``weight.reshape(O, C * taps) @ unfold(input)``.

    Parameters
    ----------
    input : array, shape (N, C, *sizes) or (C, *sizes)
        Any dtype: elements are copied, never computed with.
    kernel_size : int or tuple of int
        Cells of the window. A tuple sets the number of spatial dimensions by its length; an int
        means the same size in each, in an input of two spatial dimensions (or as many as an
        input of more than four dimensions has).
    dilation, stride : int or tuple of int, optional
        Cells between taps, and between window positions.
    padding : int, tuple of int, tuple of (before, after) pairs, or str, optional
        Zeros around the input; or ``"valid"``, ``"same"``, ``"same_upper"``, ``"same_lower"``.

    Returns
    -------
    array, shape (N, C * prod(kernel_size), prod(positions)), or without the N
        Of the input's library, device and dtype; never a view of the input.

    Raises
    ------
    ValueError
        Where shapes and sizes do not fit.
    TypeError
        Where an argument is of the wrong type.

    See Also
    --------
    fold : The adjoint.

    Notes
    -----
    Differences from ``torch.nn.functional.unfold``: any number of spatial dimensions (one by
    ``kernel_size=(k,)``), every dtype, uneven padding and padding by words.

    References
    ----------
    .. [1] K. Chellapilla, S. Puri and P. Simard, "High Performance Convolutional Neural Networks
       for Document Processing", 2006: convolution as one matrix product.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.unfold(np.arange(9).reshape(1, 1, 3, 3), 2)
    array([[[0, 1, 3, 4],
            [1, 2, 4, 5],
            [3, 4, 6, 7],
            [4, 5, 7, 8]]])

    A convolution is a product with the columns:

    >>> images, weight = np.ones((2, 3, 8, 8)), np.ones((4, 3, 3, 3))
    >>> product = weight.reshape(4, 27) @ ac.unfold(images, 3)
    >>> np.array_equal(product.reshape(2, 4, 6, 6), ac.conv2d(images, weight))
    True
    """
    call = unfold_call(input, kernel_size, dilation, padding, stride)
    return like_input(call.run(), input.ndim < call.arguments[0].ndim)


@lru_cache(maxsize=1024)
def _fold_window(
    shape: Ints,
    itemsize: int,
    sizes: Ints,
    kernel: Ints,
    dilation: Ints,
    padding: Pairs | str,
    stride: Ints,
) -> Window:
    """Return the window of a fold of an array of this shape, having checked its sizes."""
    if len(shape) not in (2, 3):
        raise ValueError(
            f"input must be columns (N, C * taps, positions), or without N, got shape {shape}"
        )
    rows, positions = shape[-2:]
    window = sliding_window(sizes, kernel, stride, padding, dilation)
    counts, taps = output_sizes(window), prod(kernel)
    if rows < 1 or rows % taps:
        raise ValueError(
            f"input must have a multiple of {taps} rows, the taps of kernel_size {kernel}, "
            f"got shape {shape}"
        )
    if positions != prod(counts):
        raise ValueError(
            f"input must have {prod(counts)} columns, one for each of the {counts} positions of "
            f"kernel_size {kernel} in output_size {sizes} (stride {stride}, padding {padding}, "
            f"dilation {dilation}), got shape {shape}"
        )
    output = (*shape[:-2], rows // taps, *sizes)
    because = f"input {shape}, output_size {sizes}"
    check_fits("the output", output, itemsize, because)
    check_padded(shape[0] if len(shape) == 3 else 1, rows // taps, window, itemsize, because)
    return window


def fold_call(
    input: Array,
    output_size: IntOrInts,
    kernel_size: IntOrInts,
    dilation: IntOrInts = 1,
    padding: Padding = 0,
    stride: IntOrInts = 1,
) -> Call:
    """Return the call that a fold with these arguments is."""
    _, dtype = common_library("fold", input=input)
    lengths = [len(each) for each in (output_size, kernel_size) if isinstance(each, tuple | list)]
    dims = lengths[0] if lengths else 2
    if dims < 1 or lengths != [dims] * len(lengths):
        raise ValueError(
            "output_size and kernel_size must have one number for each spatial dimension, got "
            f"output_size {output_size!r} and kernel_size {kernel_size!r}"
        )
    window = _fold_window(
        tuple(input.shape),
        dtype.held,
        integers("output_size", output_size, dims),
        integers("kernel_size", kernel_size, dims),
        integers("dilation", dilation, dims),
        padding_argument(padding, dims),
        integers("stride", stride, dims),
    )
    return Call(primitives.fold, (input if input.ndim == 3 else input[None, ...], window))


def _fold_vjp(input: Array, **params: object) -> tuple[Array, Pullback]:
    call = fold_call(input, **params)  # type: ignore[arg-type]
    window, unbatched = call.arguments[1], input.ndim == 2

    def pullback(cotangent: Array) -> tuple[Array]:
        x = as_batch(cotangent, len(window))
        return (like_input(primitives.unfold(x, window), unbatched),)

    return like_input(call.run(), unbatched), pullback


def fold(
    input: Array,
    output_size: IntOrInts,
    kernel_size: IntOrInts,
    dilation: IntOrInts = 1,
    padding: Padding = 0,
    stride: IntOrInts = 1,
) -> Array:
    """Add columns back into the array whose windows they are (col2im): the adjoint of `unfold`.

    Each cell of the output is the sum of the entries of all columns whose window sees it:
    ``output[n, c, position * stride + t * dilation - padding] += input[n, c * taps + t,
    position]``. So ``fold(unfold(x))`` is ``x`` times the number of windows that see each cell;
    divide by ``fold(unfold(ones_like(x)))`` to have ``x`` back.

    Parameters
    ----------
    input : array, shape (N, C * prod(kernel_size), positions), or without the N
        Any dtype; bools are joined by "or", and half types summed in float32.
    output_size : int or tuple of int
        Spatial sizes of the output. The length of a tuple sets the number of spatial
        dimensions; two where both this and ``kernel_size`` are ints.
    kernel_size, dilation, stride : int or tuple of int
        The window, as in `unfold`.
    padding : int, tuple of int, tuple of (before, after) pairs, or str, optional
        As in `unfold`; what columns hold for padding is dropped.

    Returns
    -------
    array, shape (N, C, *output_size), or without the N
        Of the input's library, device and dtype.

    Raises
    ------
    ValueError
        Where shapes and sizes do not fit.
    TypeError
        Where an argument is of the wrong type.

    See Also
    --------
    unfold : The adjoint.

    Notes
    -----
    Differences from ``torch.nn.functional.fold``: any number of spatial dimensions, every dtype,
    uneven padding and padding by words.

    References
    ----------
    .. [1] PyTorch, documentation of torch.nn.Fold: the sum over overlapping windows, and its
       divisor.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.fold(np.ones((1, 4, 4), dtype=int), 3, 2)
    array([[[[1, 2, 1],
             [2, 4, 2],
             [1, 2, 1]]]])
    """
    call = fold_call(input, output_size, kernel_size, dilation, padding, stride)
    return like_input(call.run(), input.ndim == 2)


im2col = unfold
col2im = fold

define(unfold, ("input",), _unfold_vjp, unfold_call)
define(fold, ("input",), _fold_vjp, fold_call)
