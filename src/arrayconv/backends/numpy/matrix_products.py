"""Products of matrices that are shared among our own threads, each of whose parts the BLAS makes.

A BLAS's own threads do as well one call after the other. But after a pause OpenBLAS's took many
times as long, as threads do that wake on one processor; ours are kept apart (`processors`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from arrayconv._options import DEFAULT, current
from arrayconv.backends.numpy.blas import Hold, one_thread
from arrayconv.backends.numpy.blocks import equal_parts
from arrayconv.backends.numpy.threads import run_blocks

PARTS = DEFAULT.threads
"""Parts of a large matrix at most. They do not depend on the options in force, so that numbers do
not: some BLAS add up in another order, where a matrix has other sides."""
ALONE = 1 << 18
"""Multiply-adds up to which OpenBLAS takes one thread by itself."""
WORTH_A_THREAD = 1 << 22
"""Multiply-adds that are worth it to wake a thread."""
MANY = 4
"""Matrices for each part, from which on none is cut: so many are shared about evenly."""
WHOLE = 16
"""Rows or columns of a part are a multiple of these, but for the last: a BLAS has its own tiles."""


def matrix_product(one: Any, other: Any) -> Any:
    """Return a product of matrices, or of stacks of these, of one dtype."""
    if one.shape[-1] == 1:
        # Of one term: NumPy's product of such matrices takes ten times as long.
        return np.multiply(one, other)
    hold, rows, columns = one_thread(), one.shape[-2], other.shape[-1]
    multiply_adds = max(one.size * columns, other.size * rows)
    if not isinstance(hold, Hold) or multiply_adds <= ALONE:
        return np.matmul(one, other)
    if multiply_adds < 2 * WORTH_A_THREAD:
        with hold:
            return np.matmul(one, other)
    stack = np.broadcast_shapes(one.shape[:-2], other.shape[:-2])
    made = np.empty((*stack, rows, columns), one.dtype)
    parts = min(PARTS, rows * one.shape[-1] * columns // WORTH_A_THREAD)
    if stack and (parts < 2 or max(stack) >= MANY * PARTS):
        work, every = _of_stack(one, other, made, multiply_adds // WORTH_A_THREAD)
    else:
        work, every = _of_matrices(one, other, made, parts)
    run_blocks(work, every, products=True)
    return made


Parts = tuple[Callable[[slice], object], list[slice]]
"""What makes a part of a product, and the parts."""


def _of_matrices(one: Any, other: Any, made: Any, parts: int) -> Parts:
    """Cut the longer side; each part needs all of the other's numbers."""
    rows, columns = made.shape[-2:]
    length = max(rows, columns)
    every = [
        slice(low * WHOLE, min(length, high * WHOLE))
        for low, high in equal_parts(-(-length // WHOLE), parts)
    ]
    if columns > rows:
        return lambda part: np.matmul(one, other[..., part], out=made[..., part]), every
    return lambda part: np.matmul(one[..., part, :], other, out=made[..., part, :]), every


def _of_stack(one: Any, other: Any, made: Any, parts: int) -> Parts:
    """Cut a stack of small or many matrices, each of which one thread makes."""
    axis = int(np.argmax(made.shape[:-2]))
    whole = [np.broadcast_to(each, (*made.shape[:-2], *each.shape[-2:])) for each in (one, other)]
    first, second, target = (np.moveaxis(each, axis, 0) for each in (*whole, made))
    every = [slice(*part) for part in equal_parts(len(target), min(parts, current().threads))]
    return lambda part: np.matmul(first[part], second[part], out=target[part]), every
