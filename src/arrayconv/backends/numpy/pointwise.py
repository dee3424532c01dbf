"""Convolutions with a kernel of one tap and no padding: bare products of matrices, no columns."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from arrayconv._window import Window, input_sizes, output_sizes
from arrayconv.backends.numpy.costs import Shape
from arrayconv.backends.numpy.matrix_products import matrix_product


@lru_cache(maxsize=1024)
def no_product(window: Window) -> str | None:
    """Return why windows see more than what one matrix has."""
    if any(axis.kernel != 1 for axis in window):
        return f"the kernel has {prod(axis.kernel for axis in window)} taps, not 1"
    if any(axis.before != 0 or axis.stride * (axis.out - 1) >= axis.size for axis in window):
        return "some positions see padding only"
    return None


def unfit(shape: Shape) -> str | None:
    """Return why a convolution, or one of its adjoints, is no bare product."""
    reason = no_product(shape.window)
    if reason is None and shape.half:
        return f"{shape.dtype} is summed in float32, which takes a copy"
    return reason


def _seen(x: Any, window: Window) -> Any:
    """Return the cells (N, C, *positions) that the windows see, a view of the input."""
    return x[(..., *(slice(0, (a.out - 1) * a.stride + 1, a.stride) for a in window))]


def conv(x: Any, w: Any, window: Window, groups: int) -> Any:
    """Return y (N, O, *positions): the weight times the cells."""
    batch, channels = x.shape[:2]
    outputs, positions = w.shape[0], output_sizes(window)
    cells = _seen(x, window).reshape(batch, groups, channels // groups, prod(positions))
    weight = w.reshape(groups, outputs // groups, channels // groups)
    return matrix_product(weight, cells).reshape(batch, outputs, *positions)


def conv_transpose(y: Any, w: Any, window: Window, groups: int) -> Any:
    """Return x (N, C, *sizes): the transposed weight times y; cells that none saw are 0."""
    batch, outputs = y.shape[:2]
    channels, positions = w.shape[1] * groups, output_sizes(window)
    grouped = y.reshape(batch, groups, outputs // groups, prod(positions))
    weight = w.reshape(groups, outputs // groups, channels // groups).swapaxes(1, 2)
    seen = matrix_product(weight, grouped).reshape(batch, channels, *positions)
    if positions == input_sizes(window):
        return seen
    x = np.zeros((batch, channels, *input_sizes(window)), y.dtype)
    _seen(x, window)[...] = seen
    return x


def conv_weight(x: Any, y: Any, window: Window, groups: int) -> Any:
    """Return w (O, C / groups, *kernel): y times the transposed cells, summed over images."""
    channels, outputs, count = (
        x.shape[1] // groups,
        y.shape[1] // groups,
        prod(output_sizes(window)),
    )
    total = np.zeros((groups, outputs, channels), x.dtype)
    for cells, made in zip(_seen(x, window), y, strict=True):
        transposed = cells.reshape(groups, channels, count).swapaxes(1, 2)
        total += matrix_product(made.reshape(groups, outputs, count), transposed)
    return total.reshape(groups * outputs, channels, *(1 for _ in window))
