"""Copies between half types and float32, compiled by numba: by `compiler.loops` only."""

from __future__ import annotations

from typing import Any

from arrayconv.backends.numpy.half_vectors import narrow, widen
from arrayconv.backends.numpy.loop_forms import Loop, compiled_by_form


@compiled_by_form
def widen_planes(bfloat16: bool, lanes: int) -> Loop:
    """Return what writes ``count`` numbers of each plane as float32, one after the other.

    Those of a plane's numbers, which are bits, begin at ``first``, and of the next ``step`` on.
    """
    is_bfloat16 = int(bfloat16)

    def run(
        halves: Any, wide: Any, begin: Any, end: Any, first: Any, step: Any, count: Any
    ) -> None:
        whole = count - count % lanes
        for plane in range(begin, end):
            at, to = first + plane * step, plane * count
            for n in range(0, whole, lanes):
                widen(lanes, is_bfloat16, halves, at + n, wide, to + n)
            for n in range(whole, count):
                widen(1, is_bfloat16, halves, at + n, wide, to + n)

    return run


@compiled_by_form
def narrow_planes(bfloat16: bool, lanes: int) -> Loop:
    """Return what does the opposite: each number is the nearest one of 16 bits."""
    is_bfloat16 = int(bfloat16)

    def run(
        wide: Any, halves: Any, begin: Any, end: Any, first: Any, step: Any, count: Any
    ) -> None:
        whole = count - count % lanes
        for plane in range(begin, end):
            at, to = plane * count, first + plane * step
            for n in range(0, whole, lanes):
                narrow(lanes, is_bfloat16, wide, at + n, halves, to + n)
            for n in range(whole, count):
                narrow(1, is_bfloat16, wide, at + n, halves, to + n)

    return run
