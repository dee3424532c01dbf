"""Products of complex arrays as three of real ones, which are groups of one convolution.

``(a + bi)(c + di)``, summed up, is ``k1 - k3 + (k1 + k2) i`` with ``k1 = (a + b) c``, ``k2 = a (d -
c)`` and ``k3 = b (c + d)``: C. F. Gauss's, in D. E. Knuth, "The Art of Computer Programming",
volume 2, section 4.6.4, exercise 41.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from arrayconv.backends.numpy.compiler import loops, missing
from arrayconv.backends.numpy.row_parts import planes_of, shape_of
from arrayconv.backends.numpy.threads import run_range

PART = 1 << 14
"""Numbers that a thread converts at a time, about."""


def unfit(dtype: Any) -> str | None:
    """Return why numbers are not complex."""
    known = dtype in (np.complex64, np.complex128) and dtype.isnative
    return None if known else f"it is for complex64 and complex128, got {dtype.str}"


def real(dtype: Any) -> Any:
    """Return the dtype of both parts."""
    return np.empty(0, dtype).real.dtype


def nanoseconds() -> float:
    """Return the nanoseconds that a number takes to be converted."""
    return 0.25 if missing() is None else 1.5


def factors(x: Any, images: slice, rows: slice, groups: int, is_second: bool) -> Any:
    """Return a factor of each of the three products, for each group of (N, C, *sizes) in turn.

    Of some images, and some rows of the first spatial dimension.
    """
    batch, channels, *sizes = shape_of(x, images, rows)
    each = channels // groups
    made = np.empty((batch, groups, 3, each, *sizes), real(x.dtype))
    if missing() is None:
        number, *where = planes_of(x, images, rows)
        arrays = (x.reshape(-1).view(made.dtype), made.reshape(-1))
        after = (*where, each, is_second)
        some = -(-PART // max(1, where[2]))
        run_range(loops("complex_loops").factors, arrays, number, after, each=some)
    else:
        part = x[images, :, rows].reshape(batch, groups, each, *sizes)
        one, two, three = (made[:, :, n] for n in range(3))
        if is_second:
            one[...] = part.real
            np.subtract(part.imag, part.real, out=two)
            np.add(part.real, part.imag, out=three)
        else:
            np.add(part.real, part.imag, out=one)
            two[...], three[...] = part.real, part.imag
    return made.reshape(batch, 3 * channels, *sizes)


def together(made: Any, y: Any, images: slice, rows: slice, groups: int) -> None:
    """Write what the three products are as one into rows of (N, C, *sizes), which is contiguous."""
    batch, channels, *sizes = shape_of(y, images, rows)
    each = channels // groups
    if missing() is None:
        number, *where = planes_of(y, images, rows)
        arrays = (np.ascontiguousarray(made).reshape(-1), y.reshape(-1).view(made.dtype))
        some = -(-PART // max(1, where[2]))
        run_range(loops("complex_loops").together, arrays, number, (*where, each), each=some)
        return
    thirds = made.reshape(batch, groups, 3, each, *sizes)
    one, two, three = (thirds[:, :, n] for n in range(3))
    part = y[images, :, rows].reshape(batch, groups, each, *sizes)
    np.subtract(one, three, out=part.real)
    np.add(one, two, out=part.imag)


def of_weight(w: Any, groups: int) -> Any:
    """Return a weight (O, C / groups, *kernel) as second factors."""
    return factors(w[None], slice(0, 1), slice(0, w.shape[1]), groups, True)[0]


def to_weight(made: Any, weight: Any, groups: int) -> None:
    """Write a gradient to a weight."""
    together(made[None], weight[None], slice(0, 1), slice(0, weight.shape[1]), groups)


def biases(bias: Any, groups: int) -> Any:
    """Return what is added to the three products so that a bias is added to the whole."""
    grouped = bias.reshape(groups, -1)
    a, b = grouped.real, grouped.imag
    return np.stack([a, b - a, np.zeros_like(a)], axis=1).reshape(-1)
