"""The shape calculator: how large an output will be, before there is one."""

from __future__ import annotations

from collections.abc import Sequence

from arrayconv._integers import Ints, crop_argument, integers, padding_argument
from arrayconv._window import input_sizes, output_sizes, sliding_window, transposed_window


def _dims(**arguments: object) -> int | None:
    """Return the number of spatial dimensions that sequences set, or None where all are ints."""
    lengths = {
        name: len(each) for name, each in arguments.items() if isinstance(each, tuple | list)
    }
    longest = max(lengths.values(), default=None)
    if longest == 0:
        raise ValueError(f"an empty sequence among {sorted(lengths)} sets no spatial dimension")
    return longest


def output_size(
    size: int | Sequence[int],
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int] | Sequence[tuple[int, int]] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> int | Ints:
    """Return how many positions a sliding window has: the output size of conv, pool and unfold.

    ``floor((size + before + after - dilation * (kernel_size - 1) - 1) / stride) + 1`` in each
    dimension (PyTorch's formula, with a pair of paddings); with ``ceil_mode`` rounded up, less
    the last window where it would start beyond the input and its left padding.

    Parameters
    ----------
    size : int or tuple of int
        Spatial sizes of the input, in cells.
    kernel_size, stride, dilation : int or tuple of int, optional
        One number for all dimensions, or one per dimension.
    padding : int, tuple of int, tuple of (before, after) pairs, or str, optional
        Cells added on both sides; or ``"valid"``, ``"same"``, ``"same_upper"``, ``"same_lower"``.
    ceil_mode : bool, optional
        Round up instead of down.

    Returns
    -------
    int or tuple of int
        An int where every argument is a plain int (or a word), else one per dimension.

    Raises
    ------
    ValueError
        Where the kernel does not fit into the padded input, or a number is out of range.
    TypeError
        Where an argument is not an integer or a tuple of integers.

    References
    ----------
    .. [1] V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep learning", 2016,
       arXiv:1603.07285.
    .. [2] PyTorch, documentation of torch.nn.MaxPool2d: what ceil_mode drops.
    .. [3] ONNX, operator Conv, attribute auto_pad: "same_upper" and "same_lower".

    Examples
    --------
    >>> import arrayconv as ac
    >>> ac.output_size(224, 7, stride=2, padding=3)
    112
    >>> ac.output_size((16, 28, 28), (3, 5, 5), padding="same")
    (16, 28, 28)
    """
    dims = _dims(
        size=size, kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation
    )
    count = dims or 1
    if not isinstance(ceil_mode, bool):
        raise TypeError(f"ceil_mode must be True or False, got {ceil_mode!r}")
    window = sliding_window(
        integers("size", size, count),
        integers("kernel_size", kernel_size, count),
        integers("stride", stride, count),
        padding_argument(padding, count),
        integers("dilation", dilation, count),
        ceil_mode,
    )
    return window[0].out if dims is None else output_sizes(window)


def transposed_output_size(
    size: int | Sequence[int],
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | Sequence[tuple[int, int]] = 0,
    output_padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
) -> int | Ints:
    """Return the output size of a transposed convolution.

    ``(size - 1) * stride - before - after + dilation * (kernel_size - 1) + output_padding + 1``
    in each dimension (PyTorch's formula, with a pair of paddings). The arguments stand in the
    order of ``conv_transpose1d/2d/3d``.

    Parameters
    ----------
    size : int or tuple of int
        Spatial sizes of the input, in cells.
    kernel_size, stride, output_padding, dilation : int or tuple of int, optional
        One number for all dimensions, or one per dimension.
    padding : int, tuple of int or tuple of (before, after) pairs, optional
        Cells cropped from both sides of the output.

    Returns
    -------
    int or tuple of int
        An int where every argument is a plain int, else one per dimension.

    Raises
    ------
    ValueError
        Where nothing is left of the output, or ``output_padding`` is not smaller than both
        ``stride`` and ``dilation``'s larger one.
    TypeError
        Where an argument is not an integer or a tuple of integers.

    References
    ----------
    .. [1] V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep learning", 2016,
       arXiv:1603.07285, chapter 4.

    Examples
    --------
    >>> import arrayconv as ac
    >>> ac.transposed_output_size(112, 4, stride=2, padding=1)
    224
    """
    dims = _dims(
        size=size,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        output_padding=output_padding,
        dilation=dilation,
    )
    count = dims or 1
    window = transposed_window(
        integers("size", size, count),
        integers("kernel_size", kernel_size, count),
        integers("stride", stride, count),
        crop_argument(padding, count),
        integers("output_padding", output_padding, count, 0),
        integers("dilation", dilation, count),
    )
    return window[0].size if dims is None else input_sizes(window)
