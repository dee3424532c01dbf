"""Convolution and its adjoint as sums in registers, compiled by numba where that is installed.

No column is laid out: `layouts` makes what a tap sees one run of cells, and `tile_sums` adds up,
for a few runs at a time, products of weights and vectors of cells. Each output is one sum in the
order of channels and taps, so how the work is cut into blocks changes no number. What is compiled
is kept on disk.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from arrayconv._integers import Ints
from arrayconv._window import Window, input_sizes, output_sizes
from arrayconv.backends.numpy import one_tap
from arrayconv.backends.numpy.compiler import loops, missing
from arrayconv.backends.numpy.convolution_cells import turns_weights
from arrayconv.backends.numpy.convolution_plans import limits, plan
from arrayconv.backends.numpy.costs import Shape, strided
from arrayconv.backends.numpy.orders import channels_first, turned, whole_lines
from arrayconv.backends.numpy.threads import at_once, run_range


def unfit(shape: Shape) -> str | None:
    """Return why a convolution cannot be served."""
    if shape.dtype not in (np.float32, np.float64) or not shape.dtype.isnative:
        return f"it is for float32 and float64, got {shape.dtype.str}"
    return missing()


MANY = 1 << 14
"""Numbers from which on it is worth it to begin with a line of the cache."""


@lru_cache(maxsize=64)
def _zeros(count: int, dtype: np.dtype[Any]) -> Any:
    return np.zeros(count, dtype)


def biases(bias: Any, outputs: int, dtype: np.dtype[Any]) -> Any:
    """Return the biases (O,) as loops take them: zeros where there are none."""
    return _zeros(outputs, dtype) if bias is None else np.ascontiguousarray(bias)


def conv(x: Any, w: Any, window: Window, groups: int, bias: Any = None) -> Any:
    """Return y (N, O, *positions)."""
    if one_tap.no_product(window) is None:
        x, window = one_tap.seen(x, window), one_tap.seen_by(window)
    shape = (len(x), len(w), *output_sizes(window))
    return _run(x, w, shape, window, groups, bias, is_adjoint=False)


def conv_transpose(y: Any, w: Any, window: Window, groups: int) -> Any:
    """Return x (N, C, *sizes): for each phase of the stride a convolution with some of the taps."""
    if strided(window) and one_tap.no_product(window) is None:
        cells = conv_transpose(y, w, one_tap.seen_by(window), groups)
        return one_tap.spread(cells, window)
    shape = (len(y), groups * w.shape[1], *input_sizes(window))
    return _run(y, w, shape, window, groups, None, is_adjoint=True)


def _run(
    source: Any, w: Any, shape: Ints, window: Window, groups: int, bias: Any, is_adjoint: bool
) -> Any:
    """Return the convolution of ``source``, or its adjoint."""
    if 0 in shape:
        return np.empty(shape, source.dtype)
    batch, channels = source.shape[:2]
    sizes = batch, channels, shape[1], groups, w.itemsize
    planned = plan(window, *sizes, is_adjoint, *limits())
    flat, weight = channels_first(source).reshape(-1), np.ascontiguousarray(w).reshape(-1)
    if is_adjoint and turns_weights(window):
        weight = turned(weight.reshape(groups, len(w) // groups, -1))
    if planned.aligned and prod(shape) > MANY:
        target = whole_lines(prod(shape), source.dtype).reshape(shape)
    else:
        target = (np.zeros if planned.holes else np.empty)(shape, source.dtype)
    result = target.reshape(-1)
    threads = at_once(len(planned.blocks))
    room = (whole_lines if planned.cells > MANY else np.empty)(threads * planned.cells, w.dtype)
    run_range(
        loops("conv_loops").convolve_blocks,
        (flat, weight, biases(bias, shape[1], source.dtype), result),
        len(planned.blocks),
        (room.reshape(threads, -1), *planned[:4]),
        each=1,
        least=1,
        numbered=True,
    )
    return target
