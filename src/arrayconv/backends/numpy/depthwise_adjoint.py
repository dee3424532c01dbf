"""The adjoint of a depthwise convolution by compiled loops, from positions where they are.

With a stride of 1 it slides too: `depthwise_rows`. Else cells are made in groups of as many as the
stride has, each of whose phases meets taps of its own: `row_spreads`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from arrayconv._integers import Ints
from arrayconv._window import Window, adjoint_axis, input_sizes
from arrayconv.backends.numpy import depthwise_rows, spread_plans
from arrayconv.backends.numpy.blocked import flip
from arrayconv.backends.numpy.compiler import lanes_of, loops
from arrayconv.backends.numpy.costs import CALLS, MULTIPLY_ADD, Shape, strided, vector_bytes
from arrayconv.backends.numpy.depthwise_rows import read
from arrayconv.backends.numpy.orders import channels_first
from arrayconv.backends.numpy.separable import CHUNK
from arrayconv.backends.numpy.threads import run_range


def unfit(shape: Shape) -> str | None:
    """Return why an adjoint cannot be served."""
    reason = depthwise_rows.unfit(shape)
    if reason is not None or not strided(shape.window):
        return reason
    if shape.outputs != shape.groups:
        return "of its adjoints it is for those of one output a channel"
    return spread_plans.unfit(shape.window)


def nanoseconds(shape: Shape) -> float:
    """Return the nanoseconds of a call: see `costs`."""
    if not strided(shape.window):
        return depthwise_rows.nanoseconds(shape)
    lanes = vector_bytes() // int(np.dtype(shape.dtype).itemsize)
    work = spread_plans.work(shape.window, lanes) * lanes * MULTIPLY_ADD
    return CALLS / 8 + shape.batch * shape.channels * work + read(shape)


def conv_transpose(y: Any, w: Any, window: Window, groups: int) -> Any:
    """Return x (N, C, *sizes)."""
    if not strided(window):
        sliding = tuple(adjoint_axis(axis) for axis in window)
        return depthwise_rows.conv(y, flip(w, groups), sliding, groups)
    shape: Ints = (len(y), groups, *input_sizes(window))
    cells = np.empty(shape, y.dtype)
    if 0 in shape:
        return cells
    planned = spread_plans.plan(window, lanes_of(y.dtype))
    positions, weight = channels_first(y).reshape(-1), np.array(w).reshape(-1)
    count = shape[0] * groups * len(planned.tiles)
    run_range(
        loops("spread_loops").spread_groups(planned.shape),
        (positions, cells.reshape(-1)),
        count,
        (1, groups, weight, *planned[1:]),
        each=-(-count * CHUNK // (cells.nbytes + positions.nbytes)),
    )
    return cells
