"""Padding by NumPy's own `numpy.pad`; and its adjoint, which adds what is around to the cells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from arrayconv._arrays import library_of
from arrayconv._integers import Pairs
from arrayconv._window import Run, padding_kept, padding_runs

Place = tuple[slice, ...]
_MODES: dict[str, Any] = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""NumPy's names."""


def unfit(x: Any, pairs: Pairs, mode: str, value: Any = None) -> str | None:
    """Return why a padding, or its adjoint, cannot be served."""
    if x.ndim == 0:
        return "it is for arrays that have axes"
    if mode != "constant" and any(number < 0 for pair in pairs for number in pair):
        return "it crops what the padding may still show"
    return None


def pad(x: Any, pairs: Pairs, mode: str, value: Any) -> Any:
    """Return a new array, padded or cropped by a (before, after) pair for each axis."""
    if mode != "constant":
        return np.pad(x, pairs, _MODES[mode])
    cuts = [padding_kept(size, *pair) for size, pair in zip(x.shape, pairs, strict=True)]
    kept = tuple(slice(each.start, each.stop) for each in cuts)
    return np.pad(x[kept], [(each.before, each.after) for each in cuts], constant_values=value)


def pad_adjoint(y: Any, pairs: Pairs, mode: str) -> Any:
    """Return the array that was padded, each cell the sum of the cells that show it."""
    if mode == "constant":
        return pad(y, tuple((-before, -after) for before, after in pairs), mode, 0)
    ends = zip(y.shape, pairs, strict=True)
    inner = tuple(slice(before, size - after) for size, (before, after) in ends)
    sums = y.astype(library_of("input", y).dtype(y.dtype).wide, order="C")
    for dim, place, run in _around(inner, pairs, mode):
        # Of the axes before this one only cells are left, to which all else has been added.
        held = inner[:dim]
        shown = sums[(*held, place)]
        if run.step == 0:
            shown = shown.sum(axis=dim, keepdims=True)
        sums[(*held, _cells(run, pairs[dim][0]))] += shown
    return sums[inner].astype(y.dtype, order="C")


def _around(inner: Place, pairs: Pairs, mode: str) -> Iterator[tuple[int, slice, Run]]:
    """Return for each axis where in it the cells around it are, and which of its cells they are."""
    for dim, (held, (before, after)) in enumerate(zip(inner, pairs, strict=True)):
        place = 0
        for run in padding_runs(held.stop - held.start, before, after, mode):
            if place != before:
                yield dim, slice(place, place + run.length), run
            place += run.length


def _cells(run: Run, before: int) -> slice:
    """Return the cells of a run in an axis that has some before the first one."""
    first = before + run.start
    if run.step == 0:
        return slice(first, first + 1)
    end = first + run.step * run.length
    return slice(first, end if end >= 0 else None, run.step)
