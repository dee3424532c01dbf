"""Where the code of loops is that other loops call; they are compiled when that is asked."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from arrayconv.backends.numpy.compiler import loops


@cache
def of_layout(turns: int, itemsize: int) -> int:
    """Return where lines are laid out that have so many turns, or any number if that is 0."""
    compiled, (numbers, flat, _) = loops("layout_loops"), _arrays(itemsize)
    lay_out = compiled.lay_out(turns if turns in compiled.TURNS else 0)
    return _address(lay_out, numbers, 0, 0, numbers, 0, 0, flat, flat)


@cache
def of_turns(turns: int, itemsize: int) -> int:
    """Return where so many phases are put in turns."""
    compiled, (numbers, _, _) = loops("layout_loops"), _arrays(itemsize)
    put_in_turns = compiled.put_in_turns(turns if turns in compiled.TURNS else 0)
    return _address(put_in_turns, numbers, 0, numbers, 0, 0, 0, 0)


@cache
def of_sums(loop: Any, itemsize: int) -> int:
    """Return where one of the loops for sums is: of `conv_loops.convolve`."""
    numbers, flat, rows = _arrays(itemsize)
    before = (numbers, 0, rows, 0, 0, numbers, *[0] * 3)
    return _address(loop, *before, numbers, *[0] * 4, numbers, *[0] * 3, rows, rows, flat, False)


def _arrays(itemsize: int) -> tuple[Any, Any, Any]:
    """Return arrays of the types that loops take: of numbers, and of integers in one and two."""
    return np.empty(1, f"f{itemsize}"), np.empty(1, np.int64), np.empty((1, 1), np.int64)


def _address(loop: Any, *arguments: Any) -> int:
    found: int = loops("addresses").address_of(loop, *arguments)
    return found
