"""An average is a windowed sum and a division: by a number, or by how many cells a window has."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

from arrayconv import primitives
from arrayconv._arrays import Array, Library, from_numbers, library_of
from arrayconv._integers import Ints
from arrayconv._window import Windows, window_lengths


@lru_cache(maxsize=1024)
def _counts(window: Windows, padded: bool) -> int | tuple[Ints, ...]:
    """Return how many cells each window has, as one number, or as factors by dimension."""
    lengths = [tuple(max(1, n) for n in window_lengths(axis, padded)) for axis in window]
    if all(len(set(each)) == 1 for each in lengths):
        return prod(each[0] for each in lengths)
    return tuple(lengths)


def _divided(total: Array, window: Windows, padded: bool, divisor: int | None) -> Array:
    """Return windowed sums divided by ``divisor``, else by how many cells each window has.

    A window that sees padding only, and does not count it, has a sum of 0 and an average of 0. The
    sums are divided in place where the library's arrays can change.
    """
    library = library_of("input", total)
    count: Any = _counts(window, padded) if divisor is None else divisor
    if isinstance(count, tuple):
        lengths, count = count, 1
        for dim, each in enumerate(lengths):
            along = from_numbers(library, total, each)
            count = count * library.xp.reshape(along, (-1, *(1,) * (len(window) - 1 - dim)))
    return _quotient(library, total, count)


def _quotient(library: Library, total: Array, count: Any) -> Array:
    """Return the quotient; of integers towards zero, as in C."""
    if library.dtype(total.dtype).kind != "integer":
        if isinstance(count, int) and count > 0 and count & (count - 1) == 0:
            # As exact for a power of two, and faster.
            total *= 1 / count
        else:
            total /= count
        return total
    xp = library.xp
    down = total // count
    short = (down * count != total) & ((total < 0) != (count < 0))
    return down + xp.astype(short, total.dtype)


def _summed(x: Array, window: Windows) -> Array:
    """Return the windowed sums: those of integers in 64 bits, where no window overflows."""
    library = library_of("input", x)
    dtype = library.dtype(x.dtype)
    if dtype.kind == "integer" and dtype.name not in ("int64", "uint64"):
        x = library.xp.astype(x, library.xp.int64)
    return primitives.sum_pool(x, window)


class Averaging:
    """An average pool whose window and divisor are known."""

    def __init__(self, window: Windows, padded: bool, divisor: int | None) -> None:
        self.window, self.padded, self.divisor = window, padded, divisor

    def run(self, x: Array) -> Array:
        """Return the averages (N, C, *positions) of ``x`` (N, C, *sizes)."""
        averages = _divided(_summed(x, self.window), self.window, self.padded, self.divisor)
        if averages.dtype == x.dtype:
            return averages
        return library_of("input", x).xp.astype(averages, x.dtype)

    def adjoint(self, y: Array) -> Array:
        """Return (N, C, *sizes): each cell its share of the windows that see it."""
        library = library_of("cotangent", y)
        # A copy, since it is divided in place.
        wide = library.xp.astype(y, library.dtype(y.dtype).wide, copy=True)
        shares = _divided(wide, self.window, self.padded, self.divisor)
        return library.xp.astype(primitives.spread(shares, self.window), y.dtype, copy=False)
