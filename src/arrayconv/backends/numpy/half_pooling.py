"""Pools of float16 and bfloat16 by compiled loops, where numba is installed.

NumPy compares and converts numbers of 16 bits one by one. Here some planes at a time are made into
float32, by the processor's own instructions, and pooled by the loops of `compiled_pooling`. Maxima
are exact, and sums stay in float32.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._options import current
from arrayconv._window import Windows, input_sizes, output_sizes
from arrayconv.backends.numpy import compiled_pooling, halves
from arrayconv.backends.numpy.compiled_pooling import Loop, many_planes
from arrayconv.backends.numpy.compiler import lanes_of, loops, missing
from arrayconv.backends.numpy.halves import BITS, WIDE
from arrayconv.backends.numpy.orders import channels_first
from arrayconv.backends.numpy.threads import at_once, run_range
from arrayconv.primitives.pooling import Divisor


def unfit(x: Any, window: Windows, divisor: Divisor = 1) -> str | None:
    """Return why a pool cannot be served."""
    return (
        halves.unfit(x.dtype)
        or compiled_pooling.no_window(window)
        or missing()
        or halves.no_instruction(x.dtype.kind)
    )


def located_slow(x: Any, window: Windows) -> str | None:
    """Return why NumPy's own loops are better for maxima with their places."""
    plane = (prod(input_sizes(window)) + prod(output_sizes(window))) * WIDE.itemsize
    if plane > max(current().workspace_bytes, x.nbytes):
        return "one plane in float32 would take more than the workspace, and than the input"
    return None


def slow(x: Any, window: Windows, divisor: Divisor = 1) -> str | None:
    """Return why NumPy's own loops are better."""
    return located_slow(x, window) or compiled_pooling.slow(x, window)


class Plan(NamedTuple):
    """What a pool of given windows needs, worked out once."""

    run: Any
    """The loop of `half_loops`, and what it knows."""
    known: tuple[Any, ...]
    loop: Loop
    """That of float32."""
    numbers: int
    """What a workspace holds."""


@lru_cache(maxsize=1024)
def _plan(run: str, window: Windows, many: bool, bfloat16: bool, divisor: Divisor = 1) -> Plan:
    if run == "sums":
        loop = compiled_pooling.average_loop(window, WIDE, many, divisor)
    else:
        loop = compiled_pooling.loop_of(window, WIDE, True, run == "located", many)
    compiled, address_of = loops("half_loops"), loops("addresses").address_of
    bits, wide, index = np.empty(1, BITS), np.empty(1, WIDE), np.empty(1, np.int64)
    lanes, seen = lanes_of(WIDE), prod(input_sizes(window))
    arrays = (wide, wide, index) if run == "located" else (wide, wide)
    numbers = (
        address_of(compiled.widened(bfloat16, lanes), bits, 0, 0, wide),
        address_of(compiled.narrowed(bfloat16, lanes), wide, 0, bits, 0),
        address_of(loop.run, *arrays, 0, 0, *loop.known),
        *(seen, loop.cells, loop.some),
    )
    known = (np.array(numbers), loop.known)
    return Plan(getattr(compiled, run), known, loop, loop.some * (seen + loop.cells))


def _pooled(
    x: Any, run: str, window: Windows, dtypes: list[Any], divisor: Divisor = 1
) -> list[Any]:
    """Return arrays (N, C, *positions) of what a loop makes."""
    batch, channels = x.shape[:2]
    planes = batch * channels
    planned = _plan(run, window, many_planes(x), x.dtype.kind != "f", divisor)
    loop = planned.loop
    made = [np.empty(planes * loop.cells, dtype) for dtype in dtypes]
    given = (channels_first(x).reshape(-1), *made)
    arrays = tuple(each.view(BITS) if each.dtype == x.dtype else each for each in given)
    workspace = np.empty((at_once(-(-planes // loop.some)), planned.numbers), WIDE)
    after = (workspace, *planned.known)
    run_range(planned.run, arrays, planes, after, each=loop.some, numbered=True)
    return [each.reshape(batch, channels, *loop.outs) for each in made]


def max_pool(x: Any, window: Windows) -> Any:
    """Return the maximum of what each window sees."""
    return _pooled(x, "maxima", window, [x.dtype])[0]


def max_pool_indices(x: Any, window: Windows) -> tuple[Any, Any]:
    """Return the maxima and their places."""
    values, indices = _pooled(x, "located", window, [x.dtype, np.int64])
    return values, indices


def sum_pool(x: Any, window: Windows, divisor: Divisor = 1) -> Any:
    """Return the sum of what each window sees, in float32, over ``divisor``."""
    return _pooled(x, "sums", window, [WIDE], divisor)[0]
