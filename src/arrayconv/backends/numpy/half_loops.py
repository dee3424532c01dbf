"""The loops of pools of half types, compiled by numba: import this by `compiler.loops` only.

Some planes at a time are made into float32, which another loop pools while the cache holds them.
Numbers of 16 bits are given as their bits. ``numbers`` has the addresses of the loops that widen,
that narrow and that pool; the cells of a plane and its results; and how many planes at a time there
is room for in a row of ``workspace``, with their results.
"""

from __future__ import annotations

from typing import Any

from arrayconv.backends.numpy.addresses import call_at
from arrayconv.backends.numpy.half_vectors import narrow, widen
from arrayconv.backends.numpy.loop_forms import Loop, compiled, compiled_by_form


@compiled_by_form
def widened(bfloat16: bool, lanes: int) -> Loop:
    """Return what writes numbers of float16, or of bfloat16, as float32."""
    is_bfloat16 = int(bfloat16)

    def run(halves: Any, first: Any, count: Any, wide: Any) -> None:
        whole = count - count % lanes
        for n in range(0, whole, lanes):
            widen(lanes, is_bfloat16, halves, first + n, wide, n)
        for n in range(whole, count):
            widen(1, is_bfloat16, halves, first + n, wide, n)

    return run


@compiled_by_form
def narrowed(bfloat16: bool, lanes: int) -> Loop:
    """Return what writes numbers of float32 as the nearest float16, or bfloat16."""
    is_bfloat16 = int(bfloat16)

    def run(wide: Any, count: Any, halves: Any, first: Any) -> None:
        whole = count - count % lanes
        for n in range(0, whole, lanes):
            narrow(lanes, is_bfloat16, wide, n, halves, first + n)
        for n in range(whole, count):
            narrow(1, is_bfloat16, wide, n, halves, first + n)

    return run


@compiled
def maxima(
    halves: Any,
    out: Any,
    begin: Any,
    end: Any,
    thread: Any,
    workspace: Any,
    numbers: Any,
    known: Any,
) -> None:
    """Write the maxima of some planes."""
    widen_at, narrow_at, loop, seen, size, some = numbers
    wide, made = workspace[thread, : some * seen], workspace[thread, some * seen :]
    for first in range(begin, end, some):
        count = min(some, end - first)
        call_at(widen_at, (halves, first * seen, count * seen, wide))
        here = (wide, made, 0, count)
        call_at(loop, here + known)
        call_at(narrow_at, (made, count * size, out, first * size))


@compiled
def located(
    halves: Any,
    out: Any,
    indices: Any,
    begin: Any,
    end: Any,
    thread: Any,
    workspace: Any,
    numbers: Any,
    known: Any,
) -> None:
    """Write the maxima of some planes, and their places."""
    widen_at, narrow_at, loop, seen, size, some = numbers
    wide, made = workspace[thread, : some * seen], workspace[thread, some * seen :]
    for first in range(begin, end, some):
        count = min(some, end - first)
        call_at(widen_at, (halves, first * seen, count * seen, wide))
        here = (wide, made, indices[first * size :], 0, count)
        call_at(loop, here + known)
        call_at(narrow_at, (made, count * size, out, first * size))


@compiled
def sums(
    halves: Any,
    totals: Any,
    begin: Any,
    end: Any,
    thread: Any,
    workspace: Any,
    numbers: Any,
    known: Any,
) -> None:
    """Write the sums of some planes, in float32, or what else the loop makes of them."""
    widen_at, _, loop, seen, size, some = numbers
    wide = workspace[thread, : some * seen]
    for first in range(begin, end, some):
        count = min(some, end - first)
        call_at(widen_at, (halves, first * seen, count * seen, wide))
        here = (wide, totals[first * size :], 0, count)
        call_at(loop, here + known)
