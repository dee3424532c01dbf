"""What all pools share: their window, and the checks of what they are given."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from arrayconv._arrays import Array
from arrayconv._integers import Ints, Pairs, integers, padding_argument
from arrayconv._window import Window, Windows, adaptive_window, sliding_window
from arrayconv.functional.arguments import (
    IntOrInts,
    Padding,
    batched_shape,
    check_fits,
    check_padded,
    common_library,
)

StrideOrNone = IntOrInts | None
"""A pool's stride: by default its kernel size."""
Sizes = int | None | tuple[int | None, ...]
"""An adaptive pool's output sizes: None keeps a dimension as it is."""


@lru_cache(maxsize=1024)
def _pool_window(
    shape: Ints,
    itemsize: int,
    kernel: Ints,
    stride: Ints,
    padding: Pairs | str,
    dilation: Ints,
    ceil_mode: bool,
    limited: bool,
) -> Window:
    """Return the window of a pool; ``limited`` padding is at most half of the kernel."""
    batch, channels, *sizes = shape
    if channels < 1:
        raise ValueError(f"input must have at least one channel, got shape {shape}")
    numbers = padding if limited and not isinstance(padding, str) else ()
    if any(2 * before > k for (before, _), k in zip(numbers, kernel, strict=False)):
        raise ValueError(
            f"padding must be at most half of kernel_size {kernel}, got "
            f"{tuple(before for before, _ in numbers)}; pairs (before, after) have no such limit"
        )
    window = sliding_window(tuple(sizes), kernel, stride, padding, dilation, ceil_mode)
    because = f"input {shape}, kernel_size {kernel}, padding {padding}"
    check_padded(batch, channels, window, itemsize, because)
    return window


def pool_window(
    operation: str,
    dims: int,
    input: Array,
    kernel_size: IntOrInts,
    stride: StrideOrNone,
    padding: Padding,
    dilation: IntOrInts,
    ceil_mode: bool,
) -> Window:
    """Return the window of a pool, having checked every argument."""
    _, dtype = common_library(operation, input=input)
    kernel = integers("kernel_size", kernel_size, dims)
    no_stride = stride is None or (isinstance(stride, tuple | list) and len(stride) == 0)
    steps = kernel if no_stride else integers("stride", stride, dims)
    pairs = padding_argument(padding, dims)
    limited = type(padding) is int or not (
        isinstance(padding, tuple | list)
        and any(isinstance(each, tuple | list) for each in padding)
    )
    if not isinstance(ceil_mode, bool):
        raise TypeError(f"ceil_mode must be True or False, got {ceil_mode!r}")
    return _pool_window(
        batched_shape("input", tuple(input.shape), dims),
        dtype.held,
        kernel,
        steps,
        pairs,
        integers("dilation", dilation, dims),
        ceil_mode,
        limited,
    )


@lru_cache(maxsize=1024)
def _adaptive_window(shape: Ints, outs: Ints, itemsize: int) -> Windows:
    """Return the windows over an array of this shape, having checked that they can be held."""
    because = f"input {shape}, output_size {outs}"
    check_fits("the output", (*shape[:2], *outs), itemsize, because)
    # The windows are tables of Python's numbers.
    check_fits("the table of windows", (max(outs), 2), 64, because)
    return adaptive_window(shape[2:], outs)


def adaptive_pool_window(operation: str, dims: int, input: Array, output_size: Any) -> Windows:
    """Return the windows of an adaptive pool, having checked its arguments."""
    _, dtype = common_library(operation, input=input)
    shape = batched_shape("input", tuple(input.shape), dims)
    if min(shape[1:]) < 1:
        raise ValueError(f"input must have at least one channel and cell, got shape {shape}")
    entries = output_size if isinstance(output_size, tuple | list) else (output_size,)
    filled = output_size
    if any(each is None for each in entries):
        if len(entries) not in (1, dims):
            raise ValueError(
                f"output_size must be one number or {dims}, one per spatial dimension, got "
                f"{output_size!r}"
            )
        every = entries if len(entries) == dims else tuple(entries) * dims
        filled = tuple(
            n if each is None else each for n, each in zip(shape[2:], every, strict=True)
        )
    return _adaptive_window(shape, integers("output_size", filled, dims), dtype.held)
