"""The adjoint of a convolution with a stride: compiled loops add the columns of a product."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import numpy as np

from arrayconv._options import current
from arrayconv._window import Window, input_sizes, kernel_sizes, output_sizes
from arrayconv.backends.numpy import compiled_convolution as compiled
from arrayconv.backends.numpy.compiled_columns import adding, too_deep
from arrayconv.backends.numpy.costs import Shape, strided
from arrayconv.backends.numpy.orders import channels_first
from arrayconv.backends.numpy.threads import run_blocks

CHUNK = 1 << 20
"""Bytes of columns that are made at a time: threads share these."""
ROWS = 64
"""Rows of a product from which on it is fast."""


def unfit(shape: Shape) -> str | None:
    """Return why an adjoint of a convolution cannot be served."""
    if not strided(shape.window):
        return "with a stride of 1 it is a convolution"
    return too_deep(shape.window) or compiled.unfit(shape)


def planes_at_a_time(
    window: Window, batch: int, channels: int, outputs: int, groups: int, itemsize: int
) -> int:
    """Return of how many of a group's channels the columns are held, to be made of ``outputs``.

    Enough for a product to be fast, but no more bytes than both arrays have.
    """
    taps, positions = prod(kernel_sizes(window)), prod(output_sizes(window))
    plane = max(1, taps * positions * itemsize)
    both = batch * (channels * prod(input_sizes(window)) + outputs * positions) * itemsize
    fast = min(-(-ROWS // taps), both // plane)
    room = min(CHUNK, current().workspace_bytes) // plane
    of_group = channels // groups
    # As many each time, so that the last ones are no small rest.
    return -(-of_group // -(-of_group // max(1, room, fast)))


def conv_transpose(y: Any, w: Any, window: Window, groups: int, bias: Any = None) -> Any:
    """Return x (N, C, *sizes): columns made by a product, added to the cells that they saw."""
    batch, outputs = y.shape[:2]
    each, taps, positions = w.shape[1], prod(kernel_sizes(window)), prod(output_sizes(window))
    sizes = input_sizes(window)
    x = np.empty((batch, groups, each, prod(sizes)), y.dtype)
    planes = channels_first(y).reshape(batch, groups, outputs // groups, positions)
    weights = w.reshape(groups, outputs // groups, each * taps).swapaxes(1, 2)
    some = planes_at_a_time(window, batch, each * groups, outputs, groups, y.itemsize)
    add = adding(window, some)
    biases = None if bias is None else bias.reshape(groups, each, 1)

    def work(block: tuple[int, int, int], buffer: Any) -> None:
        image, group, first = block
        stop = min(each, first + some)
        columns = buffer[: (stop - first) * taps]
        part = weights[group, first * taps : stop * taps]
        np.matmul(part, planes[image, group], out=columns)
        cells = x[image, group, first:stop].reshape(-1)
        add.loop(columns.reshape(-1), cells, 0, (stop - first) * add.parts, *add.known)
        if biases is not None:
            x[image, group, first:stop] += biases[group, first:stop]

    run_blocks(
        work,
        list(product(range(batch), range(groups), range(0, each, some))),
        products=True,
        workspace=lambda: np.empty((some * taps, positions), y.dtype),
    )
    return x.reshape(batch, groups * each, *sizes)
