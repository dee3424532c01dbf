"""Kernels of one tap and no padding: each position sees one cell, and no other position sees it."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from arrayconv._window import Axis, Window, input_sizes, output_sizes


@lru_cache(maxsize=1024)
def no_product(window: Window) -> str | None:
    """Return why windows see more than what one matrix has."""
    if any(axis.kernel != 1 for axis in window):
        return f"the kernel has {prod(axis.kernel for axis in window)} taps, not 1"
    if any(axis.before != 0 or axis.stride * (axis.out - 1) >= axis.size for axis in window):
        return "some positions see padding only"
    return None


@lru_cache(maxsize=1024)
def seen_by(window: Window) -> Window:
    """Return the window by which the same positions see an array of the cells that they see."""
    return tuple(Axis(n, 1, 1, 1, 0, 0, n) for n in output_sizes(window))


def flat(window: Window) -> Window:
    """Return a window whose positions see the cells of their numbers as one of one dimension."""
    if any(axis != Axis(axis.size, 1, 1, 1, 0, 0, axis.size) for axis in window):
        return window
    size = prod(input_sizes(window))
    return (Axis(size, 1, 1, 1, 0, 0, size),)


def seen(x: Any, window: Window) -> Any:
    """Return the cells (N, C, *positions) that the windows see: the input, or a view of it."""
    index = _seen(window)
    return x if index is None else x[index]


@lru_cache(maxsize=1024)
def _seen(window: Window) -> Any:
    """Return the index of these cells, or None if they are all."""
    if output_sizes(window) == input_sizes(window):
        return None
    return (..., *(slice(0, (a.out - 1) * a.stride + 1, a.stride) for a in window))


def spread(cells: Any, window: Window) -> Any:
    """Return x (N, C, *sizes) with the cells (N, C, *positions) that windows see; others are 0."""
    if output_sizes(window) == input_sizes(window):
        return cells
    x = np.zeros((*cells.shape[:2], *input_sizes(window)), cells.dtype)
    seen(x, window)[...] = cells
    return x
