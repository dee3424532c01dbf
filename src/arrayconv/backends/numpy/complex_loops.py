"""The loops of `complex_numbers`, compiled by numba: import this by `compiler.loops` only.

A plane is a run of ``count`` numbers, ``step`` from one to the next. Of the planes of a group, of
which there are ``each``, those of the three factors follow one another.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from arrayconv.backends.numpy.loop_forms import compiled


@compiled
def factors(
    parts: Any,
    made: Any,
    begin: Any,
    end: Any,
    first: Any,
    step: Any,
    count: Any,
    each: Any,
    is_second: Any,
) -> None:
    """Write the three factors of complex numbers, whose real and imaginary parts take turns."""
    two, one = np.uintp(2), np.uintp(1)
    further = np.uintp(each * count)
    for plane in range(begin, end):
        at = np.uintp(2 * (first + plane * step))
        to = np.uintp((plane // each * 3 * each + plane % each) * count)
        then = to + further
        last = then + further
        # Two loops, so that what is asked is asked once.
        if is_second:
            for n in range(np.uintp(count)):
                a, b = parts[at + two * n], parts[at + two * n + one]
                made[to + n], made[then + n], made[last + n] = a, b - a, a + b
        else:
            for n in range(np.uintp(count)):
                a, b = parts[at + two * n], parts[at + two * n + one]
                made[to + n], made[then + n], made[last + n] = a + b, a, b


@compiled
def together(
    made: Any,
    parts: Any,
    begin: Any,
    end: Any,
    first: Any,
    step: Any,
    count: Any,
    each: Any,
) -> None:
    """Write what three products are as complex numbers."""
    two, one = np.uintp(2), np.uintp(1)
    further = np.uintp(each * count)
    for plane in range(begin, end):
        to = np.uintp(2 * (first + plane * step))
        at = np.uintp((plane // each * 3 * each + plane % each) * count)
        then = at + further
        last = then + further
        for n in range(np.uintp(count)):
            k = made[at + n]
            parts[to + two * n] = k - made[last + n]
            parts[to + two * n + one] = k + made[then + n]
