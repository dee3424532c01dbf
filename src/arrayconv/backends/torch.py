"""PyTorch's own operations, where they mean the same; autograd follows through them.

A window with uneven padding is padded (or cropped) first, since torch's convolutions pad both
sides alike.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from arrayconv._integers import Ints, Pairs
from arrayconv._registry import Implementation
from arrayconv._window import (
    Window,
    input_sizes,
    kernel_sizes,
    needed_after,
    output_sizes,
    span,
)
from arrayconv.backends.torch_pooling import implementations as pooling

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


class _Arguments(NamedTuple):
    """How torch's convolutions are told of a window."""

    strides: Ints
    dilations: Ints
    padding: Ints
    """On both sides, once that of ``pairs`` is there."""
    pairs: list[int] | None
    """What is padded before, where it is not the same on both sides."""


@lru_cache(maxsize=1024)
def _arguments(window: Window) -> _Arguments:
    """Return what tells torch of this very window: to find it takes longer than a small call."""
    even = all(
        axis.before >= 0
        and (axis.size + 2 * axis.before - span(axis)) // axis.stride + 1 == axis.out
        for axis in window
    )
    return _Arguments(
        tuple(axis.stride for axis in window),
        tuple(axis.dilation for axis in window),
        tuple(axis.before if even else 0 for axis in window),
        None if even else _flat_pairs(window),
    )


def _padded(x: Any, pairs: list[int] | None) -> Any:
    return x if pairs is None else F.pad(x, pairs)


def _flat_pairs(window: Window) -> list[int]:
    """Return torch's own form of uneven padding, last dimension first."""
    return [n for axis in reversed(window) for n in (axis.before, needed_after(axis))]


def _conv_unfit(x: Any, w: Any, window: Window, groups: int) -> str | None:
    if len(window) not in _CONV:
        return f"torch has convolutions in 1, 2 and 3 spatial dimensions, not {len(window)}"
    if not (x.dtype.is_floating_point or x.dtype.is_complex):
        return f"torch convolves floating and complex tensors only, not {x.dtype}"
    return None


def _conv_weight_unfit(x: Any, y: Any, window: Window, groups: int) -> str | None:
    if x.dtype.is_complex:
        return "torch's convolution_backward conjugates complex tensors on its own terms"
    return _conv_unfit(x, y, window, groups)


def conv(x: Any, w: Any, window: Window, groups: int, bias: Any = None) -> Any:
    """Return torch's convolution."""
    strides, dilations, padding, pairs = _arguments(window)
    run = _CONV[len(window)]
    return run(_padded(x, pairs), w, bias, strides, padding, dilations, groups)


@lru_cache(maxsize=1024)
def _adjoint_padding(window: Window) -> tuple[Ints, Ints] | None:
    """Return torch's padding and output_padding of a transposed convolution, or None.

    Where there are none, its whole output is to be cropped.
    """
    extra = tuple(
        axis.size - ((axis.out - 1) * axis.stride - 2 * axis.before + span(axis)) for axis in window
    )
    if all(
        axis.before >= 0 and 0 <= more < max(axis.stride, axis.dilation)
        for axis, more in zip(window, extra, strict=True)
    ):
        return tuple(axis.before for axis in window), extra
    return None


def conv_transpose(y: Any, w: Any, window: Window, groups: int, bias: Any = None) -> Any:
    """Return torch's transposed convolution."""
    run, (strides, dilations, _, _) = _CONV_TRANSPOSE[len(window)], _arguments(window)
    padding = _adjoint_padding(window)
    if padding is not None:
        return run(y, w, bias, strides, *padding, groups, dilations)
    whole = run(y, w, None, strides, 0, 0, groups, dilations)
    crop = [n for axis in reversed(window) for n in (-axis.before, -needed_after(axis))]
    cropped = F.pad(whole, crop)
    # What no position sees has the bias too.
    return cropped if bias is None else cropped + bias.reshape(-1, *(1 for _ in window))


def conv_weight(x: Any, y: Any, window: Window, groups: int) -> Any:
    """Return the gradient to the weight, as torch computes it for its own backward pass."""
    strides, dilations, padding, pairs = _arguments(window)
    shape = (y.shape[1], x.shape[1] // groups, *kernel_sizes(window))
    return torch.ops.aten.convolution_backward(
        y,
        _padded(x, pairs),
        # Only its shape is read.
        x.new_empty(1).expand(shape),
        None,
        strides,
        padding,
        dilations,
        False,
        (0,) * len(window),
        groups,
        [False, True, False],
    )[1]


def unfold(x: Any, window: Window) -> Any:
    """Return the columns, copied once from overlapping strides; any number of dimensions."""
    pairs = _flat_pairs(window)
    view = F.pad(x, pairs) if any(pairs) else x
    dims = len(window)
    for dim, axis in enumerate(window, 2):
        view = view.unfold(dim, span(axis), axis.stride)[..., :: axis.dilation]
    columns = view.permute(0, 1, *range(2 + dims, 2 + 2 * dims), *range(2, 2 + dims))
    shape = (x.shape[0], x.shape[1] * prod(kernel_sizes(window)), prod(output_sizes(window)))
    # One copy even where the columns are the input itself: results never share its memory.
    return columns.clone(memory_format=torch.contiguous_format).reshape(shape)


def _fold_unfit(columns: Any, window: Window) -> str | None:
    if len(window) != 2:
        return f"torch folds 2 spatial dimensions, not {len(window)}"
    if columns.dtype not in (torch.float32, torch.float64, torch.complex64, torch.complex128):
        return f"torch sums a fold of {columns.dtype} in that dtype, or not at all"
    if _arguments(window).pairs is not None:
        return "torch folds windows with the same padding on both sides only"
    return None


def fold(columns: Any, window: Window) -> Any:
    """Return torch's fold."""
    kernel, sizes = kernel_sizes(window), input_sizes(window)
    strides, dilations, padding, _ = _arguments(window)
    return F.fold(columns, sizes, kernel, dilations, padding, strides)


def _pad_unfit(x: Any, pairs: Pairs, mode: str, value: Any) -> str | None:
    if mode != "constant":
        return f"torch pads in the mode {mode!r} in some dimensions only"
    if not x.dtype.is_floating_point:
        return f"torch's padding of {x.dtype} is not tried"
    if any(size + min(0, *pair) < 0 for size, pair in zip(x.shape, pairs, strict=True)):
        return "torch crops no more than there is"
    return None


def pad(x: Any, pairs: Pairs, mode: str, value: Any) -> Any:
    """Return torch's padding, which copies where it only crops, too."""
    flat = [n for pair in reversed(pairs) for n in pair]
    return F.pad(x, flat, value=value) if any(flat) else x.clone()


def gather(planes: Any, index: Any) -> Any:
    """Return torch's gather; 0 for an index outside of the plane."""
    inside = (index >= 0) & (index < planes.shape[2])
    taken = torch.gather(planes, 2, torch.where(inside, index, 0).long())
    return torch.where(inside, taken, torch.zeros_like(taken))


def scatter_add(values: Any, index: Any, cells: int) -> Any:
    """Return torch's scatter_add: on a CPU in the order of the values."""
    dtype = torch.float32 if values.dtype in (torch.float16, torch.bfloat16) else values.dtype
    # What lies outside of its plane goes to one cell more, which is dropped.
    inside = (index >= 0) & (index < cells)
    places = torch.where(inside, index, cells).long()
    planes = values.new_zeros((*values.shape[:2], cells + 1), dtype=dtype)
    added = planes.scatter_add(2, places, values.to(dtype))
    return added[..., :cells].to(values.dtype).contiguous()


def _scatter_add_slow(values: Any, index: Any, cells: int) -> str | None:
    if values.device.type == "cpu":
        return None
    return "torch adds in no fixed order on a GPU"


def _in_float32(run: Callable[..., Any]) -> Callable[..., Any]:
    """Return a product that half-precision tensors on a CPU take part in as float32.

    Some of torch's CPU products of float16 are summed in float16, where 2048 + 1 is 2048; which
    ones depends on the processor.
    """

    def summed(a: Any, b: Any, window: Window, groups: int, *bias: Any) -> Any:
        if a.dtype not in (torch.float16, torch.bfloat16) or a.device.type != "cpu":
            return run(a, b, window, groups, *bias)
        biases = (None if each is None else each.float() for each in bias)
        return run(a.float(), b.float(), window, groups, *biases).to(a.dtype)

    return summed


implementations = {
    **pooling,
    "pad": (Implementation("native", pad, _pad_unfit),),
    "gather": (Implementation("native", gather),),
    "scatter_add": (Implementation("native", scatter_add, slow=_scatter_add_slow),),
    "unfold": (Implementation("native", unfold),),
    "fold": (Implementation("native", fold, _fold_unfit),),
    "conv": (Implementation("native", _in_float32(conv), _conv_unfit, adds_bias=True),),
    "conv_transpose": (
        Implementation("native", _in_float32(conv_transpose), _conv_unfit, adds_bias=True),
    ),
    "conv_weight": (Implementation("native", _in_float32(conv_weight), _conv_weight_unfit),),
}
