"""pad and its adjoint by the raw kernels: a window of one tap, which shows a cell everywhere.

An array of any rank is seen as planes (N, C, *cells): neighbouring axes that nothing is added to
are one where memory allows, and up to three may be padded.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from arrayconv._integers import Pairs
from arrayconv._window import PADDING_MODES, Axis, Window, input_sizes, output_sizes
from arrayconv.backends.cupy.geometry import (
    DIMS,
    Description,
    Strided,
    described,
    largest,
    packed_layout,
    packed_window,
    strided,
)
from arrayconv.backends.cupy.launch import Plan, executor_of, run, summand, word
from arrayconv.backends.cupy.windows import arrays_unfit, bits_for, sliding_plan

_PLAIN = (0, 0)


@lru_cache(maxsize=4096)
def _in_planes(array: Description, pairs: Pairs, adjoint: bool) -> tuple[Strided, Window] | str:
    """Return an array as planes, and the windows of one tap that pad them; or why it has none.

    The array of an adjoint is what was padded.
    """
    axes: list[tuple[int, int, tuple[int, int]]] = []
    for size, step, pair in zip(*strided(array), pairs, strict=True):
        if axes and pair == axes[-1][2] == _PLAIN:
            outer, outer_step, _ = axes[-1]
            if size == 1 or outer == 1 or outer_step == step * size:
                axes[-1] = (outer * size, outer_step if size == 1 else step, pair)
                continue
        axes.append((size, step, pair))
    padded = [number for number, (_, _, pair) in enumerate(axes) if pair != _PLAIN]
    leading = min(2, len(axes) - 1, *padded[:1])
    window = tuple(
        Axis(n - adjoint * sum(pair), 1, 1, 1, *pair, n + (not adjoint) * sum(pair))
        for n, _, pair in axes[leading:]
    )
    if len(window) > DIMS:
        return f"the kernels pad up to {DIMS} axes behind two others, and these lie otherwise"
    if 0 in (*array[0], *input_sizes(window), *output_sizes(window)):
        return "there are no cells before or after it"
    shape, strides, _ = zip(*[(1, 0, _PLAIN)] * (2 - leading), *axes, strict=True)
    return Strided(shape, strides), window


def _unfit(array: Any, pairs: Pairs, adjoint: bool) -> str | None:
    if array.ndim == 0:
        return "an array without axes has nothing to pad"
    seen = _in_planes(described(array), pairs, adjoint)
    return seen if isinstance(seen, str) else arrays_unfit(array)


@lru_cache(maxsize=4096)
def _plan(array: Description, pairs: Pairs, mode: str, adjoint: bool) -> Plan:
    """Return the launch of a kernel of pad.cu; its shape is that of the array as it is given."""
    seen = _in_planes(array, pairs, adjoint)
    assert not isinstance(seen, str)
    planes, window = seen
    batch, channels = planes.shape[:2]
    sizes = input_sizes(window) if adjoint else output_sizes(window)
    bits = bits_for(largest(window), planes.furthest, batch * channels * prod(sizes))
    made = sliding_plan(
        "pad_adjoint" if adjoint else "pad",
        summand(array[2]) if adjoint else word(array[2]),
        window,
        bits,
        (batch, channels, *sizes),
        planes.dense,
        (packed_layout(planes, bits, channels), packed_window(window, bits)),
        prod(sizes),
        row=None if adjoint else sizes[-1],
        more=(str(PADDING_MODES.index(mode)),),
        file="pad",
    )
    sign = -1 if adjoint else 1
    shape = (n + sign * sum(pair) for n, pair in zip(array[0], pairs, strict=True))
    return made._replace(shape=tuple(shape))


def _as_word(value: Any, dtype: Any) -> Any:
    """Return a number as the bits of an element, in a scalar that a launch passes by value."""
    held = np.asarray(value).astype(dtype)
    return held[()] if held.itemsize == 16 else held.view(f"u{held.itemsize}")[()]


def pad(x: Any, pairs: Pairs, mode: str, value: Any) -> Any:
    """Return a new array, padded or cropped by a (before, after) pair for each axis."""
    made = _plan(described(x), pairs, mode, adjoint=False)
    layout, geometry = made.structs
    y = executor_of(x).empty(x, made.shape, x.dtype)
    return run(made, y, x, layout, geometry, _as_word(value, x.dtype), y)


def pad_unfit(x: Any, pairs: Pairs, mode: str, value: Any) -> str | None:
    """Return why the kernel cannot serve a call."""
    return _unfit(x, pairs, adjoint=False)


def pad_adjoint(y: Any, pairs: Pairs, mode: str) -> Any:
    """Return the array that was padded, each cell the sum of the cells that show it."""
    if mode == "constant":
        return pad(y, tuple((-before, -after) for before, after in pairs), mode, 0)
    made = _plan(described(y), pairs, mode, adjoint=True)
    layout, geometry = made.structs
    x = executor_of(y).empty(y, made.shape, y.dtype)
    return run(made, x, y, layout, geometry, x)


def pad_adjoint_unfit(y: Any, pairs: Pairs, mode: str) -> str | None:
    """Return why the kernel cannot serve a call."""
    return _unfit(y, pairs, adjoint=True)
