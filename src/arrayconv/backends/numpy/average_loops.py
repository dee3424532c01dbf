"""The loops of averages and of their adjoint, compiled by numba: by `compiler.loops` only.

Another loop sums; what it gives, or is given, is divided while the cache holds it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from arrayconv.backends.numpy.named_loops import call, name_of
from arrayconv.backends.numpy.pool_loops import compiled


@compiled
def _divide(numbers: Any, divisors: Any, exact: Any) -> None:
    """Divide numbers, in place, by one or by some that repeat; of one the inverse may be exact."""
    count = len(divisors)
    if count > 1:
        for begin in range(0, len(numbers), count):
            part = numbers[begin:]
            for n in range(count):
                part[n] /= divisors[n]
    elif exact:
        factor = 1 / divisors[0]
        for n in range(len(numbers)):
            numbers[n] *= factor
    else:
        for n in range(len(numbers)):
            numbers[n] /= divisors[0]


@cache
def averaging(loop: Any) -> Callable[..., None]:
    """Return what writes averages where a loop writes sums, for some planes at a time."""
    name = name_of(loop)

    @compiled
    def run(
        cells: Any,
        out: Any,
        begin: Any,
        end: Any,
        size: Any,
        some: Any,
        divisors: Any,
        exact: Any,
        known: Any,
    ) -> None:
        for first in range(begin, end, some):
            last = min(end, first + some)
            call(name, (cells, out), first, last, known)
            _divide(out[first * size : last * size], divisors, exact)

    made: Callable[..., None] = run
    return made


@cache
def spreading(loop: Any) -> Callable[..., None]:
    """Return what gives a loop that adds shares up what they are shares of, over divisors."""
    name = name_of(loop)

    @compiled
    def run(
        y: Any,
        x: Any,
        begin: Any,
        end: Any,
        seen: Any,
        size: Any,
        some: Any,
        divisors: Any,
        exact: Any,
        known: Any,
    ) -> None:
        for first in range(begin, end, some):
            last = min(end, first + some)
            shares = y[first * seen : last * seen].copy()
            _divide(shares, divisors, exact)
            call(name, (shares, x[first * size :]), 0, last - first, known)

    made: Callable[..., None] = run
    return made
