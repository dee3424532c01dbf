"""The gradient to a convolution's weight as sums of outer products, compiled by numba.

What a row of the kernel sees at a position is one run of numbers, channels and taps, once the
channels of a cell are next to one another; and the position's cotangents, one for each output, all
meet that run. So sums over positions are those of `tile_sums`: vectors hold channels and taps, a
position is a term, and a cotangent its factor. Nothing is added up across the lanes of a vector,
and no cells between rows are seen.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from arrayconv._options import current
from arrayconv._window import Window, input_sizes, kernel_sizes, output_sizes
from arrayconv.backends.numpy.compiled_convolution import biases, unfit
from arrayconv.backends.numpy.compiler import lanes_of, loops
from arrayconv.backends.numpy.convolution_plans import CHUNK
from arrayconv.backends.numpy.costs import CALLS, MULTIPLY_ADD, Shape, vector_bytes
from arrayconv.backends.numpy.gradient_plans import laid_out, plan, runs_of
from arrayconv.backends.numpy.orders import channels_first
from arrayconv.backends.numpy.threads import at_once, run_range

__all__ = ["conv_weight", "nanoseconds", "unfit"]

SUMS = {64: 0.95, 32: 1.08, 16: 1.08}
"""How many times as long as in a large product a multiply-add takes, by the bytes of a vector; with
16 it was not measured."""
WRITTEN, OUTPUT = 0.75, 300.0
"""Nanoseconds to write a number of the weight, of sums that were kept, and to begin an output's."""
CHAINS = 6
"""Sums that are added to by turns, below which each waits for the one before: 4 where vectors of 64
bytes take two steps (Zen 4), 8 where they take one (Zen 5); others were not measured."""
GROUP = 1800.0
"""Nanoseconds that a group takes at least."""


def nanoseconds(shape: Shape) -> float:
    """Return the nanoseconds of a call: see `costs`."""
    lanes, axes = lanes_of(np.dtype(shape.dtype)), shape.window
    seen, made = shape.channels // shape.groups, shape.outputs // shape.groups
    runs = runs_of(axes, seen, made, lanes)
    outputs, vectors = map(int, loops("gradient_loops").tile(made))
    sums = outputs * min(vectors, -(-runs.numbers // lanes))
    waits = max(1.0, CHAINS / sums)
    each = MULTIPLY_ADD * SUMS[vector_bytes()] * waits
    lines = output_sizes(axes[:-1]) if runs.together > 1 else input_sizes(axes[:-1])
    laid = shape.batch * shape.channels * prod(lines) * runs.together * axes[-1].size
    return (
        CALLS / 12
        + shape.groups * GROUP
        + shape.positions * shape.outputs * runs.vectors(lanes) * lanes * each
        + laid * laid_out(runs.channels, lanes)
        + shape.outputs * (OUTPUT + seen * shape.taps * WRITTEN)
    )


def conv_weight(x: Any, y: Any, window: Window, groups: int) -> Any:
    """Return w (O, C / groups, *kernel)."""
    (batch, channels), outputs = x.shape[:2], y.shape[1]
    shape = (outputs, channels // groups, *kernel_sizes(window))
    if x.size == 0 or y.size == 0:
        return np.zeros(shape, x.dtype)
    result, options = np.empty(shape, x.dtype), current()
    limit = max(1, min(CHUNK, options.workspace_bytes))
    planned = plan(window, batch, channels, outputs, groups, x.itemsize, options.threads, limit)
    jobs = len(planned.jobs)
    workspace = np.empty((at_once(jobs), planned.room), x.dtype)
    zeros = biases(None, outputs // groups, x.dtype)
    run_range(
        loops("gradient_loops").add_blocks,
        (channels_first(x).reshape(-1), channels_first(y).reshape(-1), zeros, result.reshape(-1)),
        jobs,
        (workspace, *planned[:4]),
        each=1,
        least=1,
        numbered=True,
    )
    return result
