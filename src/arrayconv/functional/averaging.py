"""An average is a windowed sum and a division: by a number, or by how many cells a window has."""

from __future__ import annotations

from functools import lru_cache
from math import prod

from arrayconv import primitives
from arrayconv._arrays import Array, Library, library_of
from arrayconv._window import Windows, window_lengths
from arrayconv.primitives.pooling import Divisor, cells_of


@lru_cache(maxsize=1024)
def _counts(window: Windows, padded: bool) -> Divisor:
    """Return how many cells each window has, as one number, or as factors by dimension."""
    lengths = [tuple(max(1, n) for n in window_lengths(axis, padded)) for axis in window]
    if all(len(set(each)) == 1 for each in lengths):
        return prod(each[0] for each in lengths)
    return tuple(lengths)


def _divided(library: Library, total: Array, divisor: Divisor) -> Array:
    """Return sums of integers over a divisor, towards zero, as in C."""
    xp = library.xp
    cells = cells_of(library, total, divisor) if isinstance(divisor, tuple) else divisor
    down = total // cells
    short = (down * cells != total) & ((total < 0) != (cells < 0))
    return down + xp.astype(short, total.dtype)


class Averaging:
    """An average pool whose window and divisor are known.

    A window that sees padding only, and does not count it, has a sum of 0 and an average of 0.
    """

    def __init__(self, window: Windows, padded: bool, divisor: int | None) -> None:
        self.window = window
        self.count = _counts(window, padded) if divisor is None else divisor

    def run(self, x: Array) -> Array:
        """Return the averages (N, C, *positions) of ``x`` (N, C, *sizes)."""
        library = library_of("input", x)
        dtype, count = library.dtype(x.dtype), self.count
        if dtype.kind == "integer":
            # In 64 bits no window overflows.
            wide = dtype.name in ("int64", "uint64")
            cells = x if wide else library.xp.astype(x, library.xp.int64)
            averages = _divided(library, primitives.sum_pool(cells, self.window), count)
        else:
            averages = primitives.sum_pool(x, self.window, count)
        return library.xp.astype(averages, x.dtype, copy=False)

    def adjoint(self, y: Array) -> Array:
        """Return (N, C, *sizes): each cell its share of the windows that see it."""
        library = library_of("cotangent", y)
        wide = library.xp.astype(y, library.dtype(y.dtype).wide, copy=False)
        shares = primitives.spread(wide, self.window, self.count)
        return library.xp.astype(shares, y.dtype, copy=False)
