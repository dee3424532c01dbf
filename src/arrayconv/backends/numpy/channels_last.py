"""Pools of arrays whose channels lie next to one another in memory, by compiled loops.

Such are views of images (height, width, channels), with the channels moved to the second place.
What comes out lies in memory as what came in. Arrays of few channels, which leave most of a vector
empty, are turned over first, and their result back, where that is faster.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._integers import Ints
from arrayconv._window import Windows, input_sizes, output_sizes
from arrayconv.backends.numpy import compiled_pooling as compiled
from arrayconv.backends.numpy import pool_geometry
from arrayconv.backends.numpy.compiler import lanes_of, loops
from arrayconv.backends.numpy.orders import (
    LINE,
    channels_last,
    flattened,
    is_channels_last,
    unflattened,
)
from arrayconv.backends.numpy.separable import CHUNK
from arrayconv.backends.numpy.threads import run_range
from arrayconv.primitives.pooling import Divisor

SEEN_AT_ONCE = 12
"""Cells of a window up to which all of them are seen at once, and not row after row."""

RESULT, TURNED = 3.0, 0.4
"""Nanoseconds that a result of fewer channels than a vector has lanes takes, where a cell that it
sees takes one; and to turn over a number and to pool it in the other order. They are those of the
processor where that was measured, at 240 Gflop/s in a product; only ratios matter."""

NOT_IN_THIS_ORDER = "the channels of a cell are not next to one another in memory"
"""Why other arrays are served by others."""


def unfit(x: Any, window: Windows, divisor: Divisor = 1) -> str | None:
    """Return why a pool cannot be served."""
    return compiled.unfit(x, window) if is_channels_last(x) else NOT_IN_THIS_ORDER


def spread_unfit(y: Any, window: Windows, divisor: Divisor = 1) -> str | None:
    """Return why the adjoint of a sum cannot be served."""
    return compiled.spread_unfit(y, window) if is_channels_last(y) else NOT_IN_THIS_ORDER


def grad_unfit(cotangent: Any, index: Any, window: Windows) -> str | None:
    """Return why the gradient of a maximum cannot be served."""
    return (
        compiled.grad_unfit(cotangent, index, window)
        if is_channels_last(index)
        else NOT_IN_THIS_ORDER
    )


class Plan(NamedTuple):
    """What the loops need to know of windows: see `pool_loops`; and what follows from it."""

    geometry: pool_geometry.Geometry
    sizes: Ints
    """Of the results."""
    rows: int
    """Of the results of an image."""
    outs: int
    """Results of a row."""
    seen: Ints
    """The most rows that a window sees, and the most cells."""
    divisors: tuple[Any, Any]
    """Of each row of results, and of each of its positions: they are multiplied."""


@lru_cache(maxsize=256)
def _plan(window: Windows, is_adjoint: bool, divisor: Divisor, dtype: Any) -> Plan:
    """Return the plan of a pool, or of the adjoint of a sum, over a divisor."""
    geometry = (pool_geometry.sights if is_adjoint else pool_geometry.windows)(window)
    rows, outs = prod(geometry.outs[:2]), geometry.outs[2]
    spans = (geometry.ranges[:, :, 1] - geometry.ranges[:, :, 0]).max(axis=1)
    seen = [int(-(-span // step)) for span, step in zip(spans, geometry.numbers, strict=False)]
    if isinstance(divisor, tuple):
        of_rows, of_columns = np.ones(1, dtype), np.array(divisor[-1], dtype)
        for each in divisor[:-1]:
            of_rows = np.multiply.outer(of_rows, np.array(each, dtype)).reshape(-1)
    else:
        of_rows, of_columns = np.full(rows, divisor, dtype), np.ones(outs, dtype)
    return Plan(
        geometry,
        input_sizes(window) if is_adjoint else output_sizes(window),
        rows,
        outs,
        (prod(seen[:2]), prod(seen)),
        (of_rows, of_columns),
    )


def _run(x: Any, plan: Plan, loop: Any, dtypes: list[Any], *more: Any) -> list[Any]:
    """Return what a loop makes: rows of results, some at a time, which threads share."""
    cells, batch, channels = flattened(x), x.shape[0], x.shape[1]
    rows, of_row = batch * plan.rows, plan.outs * channels
    results = [np.empty(rows * of_row, dtype) for dtype in dtypes]
    known = (*plan.geometry.laid, *plan.geometry.found, channels, *more)
    some = -(-rows * CHUNK // max(1, cells.nbytes + sum(each.nbytes for each in results)))
    run_range(loop, (cells, *results), rows, known, each=some)
    return [unflattened(each, batch, plan.sizes, channels) for each in results]


def _turns(x: Any, plan: Plan) -> bool:
    """Whether an array is better turned over, and its result back."""
    channels, (rows, cells) = x.shape[1], plan.seen
    if channels >= lanes_of(x.dtype):
        return False
    results, seen = plan.rows * plan.outs, cells // rows if _by_rows(plan) else cells
    numbers = channels * (prod(x.shape[2:]) + results)
    return bool(numbers * TURNED < results * (RESULT + seen))


def _by_rows(plan: Plan) -> bool:
    """Whether the rows that a window sees are reduced to one first."""
    rows, cells = plan.seen
    return rows > 1 and cells > SEEN_AT_ONCE


def _reduced(x: Any, plan: Plan, maximum: bool) -> Any:
    """Return the maximum or the sum of what each window sees, the sum over its divisor."""
    loop = loops("channel_loops").pool_channels(maximum, lanes_of(x.dtype))
    return _run(x, plan, loop, [x.dtype], _by_rows(plan), *plan.divisors)[0]


def max_pool(x: Any, window: Windows) -> Any:
    """Return the maximum of what each window sees."""
    plan = _plan(window, False, 1, x.dtype)
    if _turns(x, plan):
        return channels_last(compiled.max_pool(x, window))
    return _reduced(x, plan, maximum=True)


def sum_pool(x: Any, window: Windows, divisor: Divisor = 1) -> Any:
    """Return the sum of what each window sees, over ``divisor``."""
    plan = _plan(window, False, divisor, x.dtype)
    if _turns(x, plan):
        return channels_last(compiled.sum_pool(x, window, divisor))
    return _reduced(x, plan, maximum=False)


def spread(y: Any, window: Windows, divisor: Divisor = 1) -> Any:
    """Return the sum of the windows that see each cell, over ``divisor``."""
    plan = _plan(window, True, 1, y.dtype)
    if _turns(y, plan):
        return channels_last(compiled.spread(y, window, divisor))
    shares = y if divisor == 1 else compiled.over(y.copy(order="K"), divisor)
    return _reduced(shares, plan, maximum=False)


def max_pool_indices(x: Any, window: Windows) -> tuple[Any, Any]:
    """Return the maxima and their places."""
    plan = _plan(window, False, 1, x.dtype)
    loop = loops("channel_loops").locate_channels(lanes_of(x.dtype))
    values, indices = _run(x, plan, loop, [x.dtype, np.int64])
    return values, indices


def max_pool_grad(cotangent: Any, index: Any, window: Windows) -> Any:
    """Return the gradient: what each maximum is given, added in the order of the windows."""
    batch, channels = index.shape[:2]
    sizes, positions = input_sizes(window), prod(output_sizes(window))
    values, indices = (
        flattened(each if is_channels_last(each) else channels_last(each)).reshape(
            batch, positions, channels
        )
        for each in (cotangent, index)
    )
    cells = np.empty((batch, prod(sizes), channels), cotangent.dtype)
    scatter = loops("channel_loops").scatter_channels
    parts = -(-channels * cotangent.itemsize // LINE)
    run_range(scatter, (values, indices, cells), batch * parts, (parts,), each=1)
    return unflattened(cells, batch, sizes, channels)
