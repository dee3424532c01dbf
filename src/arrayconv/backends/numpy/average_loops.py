"""The loops of averages and of their adjoint, compiled by numba: by `compiler.loops` only.

Another loop sums; what it gives, or is given, is divided while the cache holds it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from arrayconv.backends.numpy.addresses import call_at
from arrayconv.backends.numpy.loop_forms import compiled


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


@compiled
def average(
    cells: Any,
    out: Any,
    begin: Any,
    end: Any,
    loop: Any,
    size: Any,
    some: Any,
    divisors: Any,
    exact: Any,
    known: Any,
) -> None:
    """Write averages of what the loop at an address sums, ``some`` planes of a ``size`` at once."""
    for first in range(begin, end, some):
        last = min(end, first + some)
        here = (cells, out, first, last)
        call_at(loop, here + known)
        _divide(out[first * size : last * size], divisors, exact)


@compiled
def spread(
    y: Any,
    x: Any,
    begin: Any,
    end: Any,
    thread: Any,
    workspace: Any,
    loop: Any,
    seen: Any,
    size: Any,
    some: Any,
    divisors: Any,
    exact: Any,
    known: Any,
) -> None:
    """Write what the loop at an address adds up, of shares of what it is given."""
    for first in range(begin, end, some):
        last = min(end, first + some)
        shares = workspace[thread, : (last - first) * seen]
        # Cell by cell: a slice of another takes seconds more to compile, for what its error says.
        begins = np.uintp(first * seen)
        for cell in range(np.uintp(len(shares))):
            shares[cell] = y[begins + cell]
        _divide(shares, divisors, exact)
        here = (shares, x[first * size :], 0, last - first)
        call_at(loop, here + known)
