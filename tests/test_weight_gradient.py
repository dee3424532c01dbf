"""Gradients to weights as sums of outer products: every way to lay cells out, and what is written.

Numbers are whole and small, so that sums are exact, and equal to those of the generic body.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import arrayconv as ac
from arrayconv import primitives
from arrayconv._window import Window, kernel_sizes, output_sizes, sliding_window
from arrayconv.backends.numpy.compiler import lanes_of, loops, missing
from arrayconv.backends.numpy.gradient_plans import plan, runs_of

pytestmark = pytest.mark.skipif(missing() is not None, reason=f"{missing()}")

GUARD = 64
CASES = {
    # input, outputs, kernel, stride, dilation, padding, groups
    "one panel": ((2, 5, 9, 20), 8, (3, 3), 1, 1, 1, 1),
    "rows take turns": ((1, 3, 40, 40), 64, (3, 3), (2, 1), 1, 1, 1),
    "rows of volumes take turns": ((1, 1, 12, 11, 30), 64, (2, 3, 3), (2, 1, 1), (1, 2, 1), 1, 1),
    "panels": ((1, 96, 6, 7), 8, (3, 3), 1, 1, 1, 1),
    "panels that overlap": ((1, 109, 5, 18), 9, (3, 3), 2, 1, 1, 1),
    "panels of groups": ((2, 160, 5, 5), 16, (2, 3), 1, 1, 1, 2),
    "columns take turns": ((1, 20, 7, 40), 8, (3, 3), (1, 2), (2, 3), 4, 1),
    "columns take turns, few": ((1, 3, 7, 40), 8, (3, 3), (1, 2), (2, 3), 4, 1),
    "both take turns": ((1, 3, 30, 40), 64, (3, 3), (2, 1), (1, 2), 2, 1),
    "narrow lines": ((2, 17, 3), 8, (2,), 1, 1, 1, 1),
    "windows apart": ((1, 24, 19, 19), 8, (2, 2), 5, 1, 0, 1),
    "many taps": ((1, 20, 17, 16), 8, (5, 5), 1, 1, 2, 1),
    "many taps of few channels": ((1, 4, 17, 16), 8, (5, 5), 1, 1, 2, 1),
    "one tap": ((2, 40, 9, 9), 8, (1, 1), 2, 1, 0, 1),
    "few outputs": ((2, 24, 9, 17), 2, (3, 3), 1, 1, 1, 2),
    "more padding than cells": ((1, 16, 2, 3), 8, (3, 3), 3, 1, 7, 1),
    "cropped": ((1, 18, 12, 20), 8, (3, 3), 1, 1, -2, 1),
    "several blocks": ((5, 40, 24, 24), 9, (3, 3), 1, 1, 1, 1),
}


def drawn(case: str, dtype: str) -> tuple[Any, Any, Window, int]:
    shape, outputs, kernel, stride, dilation, padding, groups = CASES[case]
    dims = len(kernel)
    stride, dilation = ((n,) * dims if isinstance(n, int) else n for n in (stride, dilation))
    window = sliding_window(shape[2:], kernel, stride, ((padding, padding),) * dims, dilation)
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 4, shape).astype(dtype)
    y = rng.integers(-3, 4, (shape[0], outputs, *output_sizes(window))).astype(dtype)
    return x, y, window, groups


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_every_layout(case, dtype):
    """The same numbers as the generic body's, with blocks of any size and with threads."""
    x, y, window, groups = drawn(case, dtype)
    wanted = primitives.conv_weight(x, y, window, groups, algorithm="generic")
    for workspace in (1, 9000, 4 << 20):
        for threads in (1, 2):
            with ac.options(workspace_bytes=workspace, threads=threads):
                got = primitives.conv_weight(x, y, window, groups, algorithm="numba")
            assert np.array_equal(got, wanted)


def test_ways_to_lay_out():
    """The cases are what their names say."""
    for case in CASES:
        x, y, window, groups = drawn(case, "float32")
        for lanes in (8, 16):
            seen = x.shape[1] // groups
            runs = runs_of(window, seen, y.shape[1] // groups, lanes)
            if "panel" in case:
                assert (runs.panels > 1) == (case != "one panel")
            if "overlap" in case:
                assert runs.panels * runs.channels > seen
            if case.startswith(("rows", "both")):
                assert runs.together > 1


@pytest.mark.parametrize("case", CASES)
def test_nothing_else_is_written(case):
    """Vectors of weights end with the last one."""
    x, y, window, groups = drawn(case, "float32")
    seen, outputs = x.shape[1] // groups, y.shape[1]
    limit = 1 << 19
    planned = plan(window, *x.shape[:2], outputs, groups, x.itemsize, 1, limit)
    weights = outputs * seen * int(np.prod(kernel_sizes(window)))
    every = np.full(weights + 2 * GUARD, np.nan, x.dtype)
    room = np.full(planned.room + 2 * GUARD, np.nan, x.dtype)
    loops("gradient_loops").add_blocks(
        x.reshape(-1),
        y.reshape(-1),
        np.zeros(outputs, x.dtype),
        every[GUARD : GUARD + weights],
        0,
        len(planned.jobs),
        0,
        room[GUARD : GUARD + planned.room].reshape(1, -1),
        *planned[:4],
    )
    assert lanes_of(x.dtype) <= GUARD
    for array, size in ((every, weights), (room, planned.room)):
        assert np.isnan(array[:GUARD]).all()
        assert np.isnan(array[GUARD + size :]).all()
    wanted = primitives.conv_weight(x, y, window, groups, algorithm="generic")
    assert np.array_equal(every[GUARD : GUARD + weights].reshape(wanted.shape), wanted)


def test_what_is_not_finite_stays_where_it_is_seen():
    """Lanes of other cells, and those of padding, add nothing."""
    x, y, window, groups = drawn("one panel", "float32")
    x[0, 1, 4, 5] = np.inf
    y[0, 2] = np.abs(y[0, 2]) + 1
    got = primitives.conv_weight(x, y, window, groups, algorithm="numba")
    finite = np.isfinite(got)
    assert not finite[2, 1].any()
    assert finite[:, [0, 2, 3, 4]].all()
