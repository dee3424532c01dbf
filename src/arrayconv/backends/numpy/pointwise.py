"""Convolutions with a kernel of one tap and no padding: bare products of matrices, no columns."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from arrayconv._window import Window, input_sizes, output_sizes
from arrayconv.backends.numpy.costs import Shape, strided
from arrayconv.backends.numpy.matrix_products import matrix_product
from arrayconv.backends.numpy.one_tap import no_product, seen, spread


def unfit(shape: Shape) -> str | None:
    """Return why a convolution, or its gradient to the weight, is no bare product."""
    reason = no_product(shape.window)
    if reason is None and shape.half:
        return f"{shape.dtype} is summed in float32, which takes a copy"
    return reason


def adjoint_unfit(shape: Shape) -> str | None:
    """Return the same of an adjoint, whose shape is that of a convolution if its stride is 1."""
    if not strided(shape.window) and input_sizes(shape.window) != output_sizes(shape.window):
        return "some positions see padding only, or some cells are not seen"
    return unfit(shape)


def conv(x: Any, w: Any, window: Window, groups: int) -> Any:
    """Return y (N, O, *positions): the weight times the cells."""
    batch, channels = x.shape[:2]
    outputs, positions = w.shape[0], output_sizes(window)
    cells = seen(x, window).reshape(batch, groups, channels // groups, prod(positions))
    weight = w.reshape(groups, outputs // groups, channels // groups)
    return matrix_product(weight, cells).reshape(batch, outputs, *positions)


def conv_transpose(y: Any, w: Any, window: Window, groups: int) -> Any:
    """Return x (N, C, *sizes): the transposed weight times y; cells that none saw are 0."""
    batch, outputs = y.shape[:2]
    channels, positions = w.shape[1] * groups, output_sizes(window)
    grouped = y.reshape(batch, groups, outputs // groups, prod(positions))
    weight = w.reshape(groups, outputs // groups, channels // groups).swapaxes(1, 2)
    return spread(matrix_product(weight, grouped).reshape(batch, channels, *positions), window)


def conv_weight(x: Any, y: Any, window: Window, groups: int) -> Any:
    """Return w (O, C / groups, *kernel): y times the transposed cells, summed over images."""
    channels, outputs, count = (
        x.shape[1] // groups,
        y.shape[1] // groups,
        prod(output_sizes(window)),
    )
    total = None
    for cells, made in zip(seen(x, window), y, strict=True):
        transposed = cells.reshape(groups, channels, count).swapaxes(1, 2)
        product = matrix_product(made.reshape(groups, outputs, count), transposed)
        total = product if total is None else np.add(total, product, out=total)
    if total is None:
        total = np.zeros((groups, outputs, channels), x.dtype)
    return total.reshape(groups * outputs, channels, *(1 for _ in window))
