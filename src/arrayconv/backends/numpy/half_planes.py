"""`fold`, and the gradient of maxima, of float16 and bfloat16 by float32's: planes at a time.

What is added up for a cell stays in float32, and is rounded once.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from arrayconv import primitives
from arrayconv._options import current
from arrayconv._window import Window, Windows, input_sizes, kernel_sizes, output_sizes
from arrayconv.backends.numpy import halves
from arrayconv.backends.numpy.blocks import budget
from arrayconv.backends.numpy.orders import channels_first


def unfit(given: Any, *others: Any) -> str | None:
    """Return why an array cannot be served."""
    return halves.unfit(given.dtype)


def _by_planes(given: Any, planes: int, sizes: tuple[int, ...], run: Callable[..., Any]) -> Any:
    """Return (planes, *sizes) of what ``run(wide, some)`` makes of a slice of planes."""
    rows, cells = given.reshape(planes, 1, given.size // max(1, planes)), prod(sizes)
    result = np.empty((planes, 1, cells), given.dtype)
    held = (rows.shape[2] + cells) * halves.WIDE.itemsize
    limit = budget(given.nbytes + result.nbytes, current().workspace_bytes)
    each = max(1, limit // max(1, held))
    for start in range(0, planes, each):
        some = slice(start, min(planes, start + each))
        wide = halves.widened(rows, some, slice(0, rows.shape[2]))
        made = run(wide, some).reshape(-1, 1, cells)
        halves.narrow(made, result, some, slice(0, cells))
    return result


def fold(columns: Any, window: Window) -> Any:
    """Return the sum (N, C, *sizes) of the columns."""
    taps, positions = prod(kernel_sizes(window)), prod(output_sizes(window))
    batch, channels, sizes = columns.shape[0], columns.shape[1] // taps, input_sizes(window)

    def run(wide: Any, some: slice) -> Any:
        return primitives.fold(wide.reshape(1, -1, positions), window)

    made = _by_planes(np.ascontiguousarray(columns), batch * channels, sizes, run)
    return made.reshape(batch, channels, *sizes)


def max_pool_grad(cotangent: Any, index: Any, window: Windows) -> Any:
    """Return the gradient: what each maximum is given."""
    batch, channels = cotangent.shape[:2]
    outs, sizes, planes = output_sizes(window), input_sizes(window), batch * channels
    indices = np.ascontiguousarray(index).reshape(planes, *outs)

    def run(wide: Any, some: slice) -> Any:
        return primitives.max_pool_grad(wide.reshape(1, -1, *outs), indices[some][None], window)

    made = _by_planes(channels_first(cotangent), planes, sizes, run)
    return made.reshape(batch, channels, *sizes)
