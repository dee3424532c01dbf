"""What `explain` says that a convolution holds beyond its arrays is what it holds."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

import arrayconv as ac

CASES: tuple[tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]], ...] = (
    ("conv2d", (2, 16, 40, 44), (24, 16, 3, 3), {"padding": 1}),
    ("conv2d", (1, 64, 56, 56), (64, 64, 3, 3), {"padding": 1}),
    ("conv2d", (1, 256, 14, 14), (256, 256, 3, 3), {"padding": 1}),
    ("conv2d", (1, 3, 112, 112), (32, 3, 7, 7), {"padding": 3, "stride": 2}),
    ("conv2d", (1, 64, 56, 56), (128, 64, 1, 1), {"stride": 2}),
    ("conv2d", (1, 96, 56, 56), (96, 1, 7, 7), {"padding": 3, "groups": 96}),
    ("conv2d", (2, 32, 40, 40), (32, 1, 31, 31), {"padding": 15, "groups": 32}),
    ("conv1d", (4, 32, 8000), (32, 32, 9), {"padding": 4}),
    ("conv1d", (2, 64, 8000), (64, 64, 3), {"padding": 1}),
    ("conv3d", (1, 16, 8, 28, 28), (16, 16, 3, 3, 3), {"padding": 1}),
    ("conv_transpose2d", (1, 64, 28, 28), (64, 32, 4, 4), {"padding": 1, "stride": 2}),
    ("conv_transpose2d", (2, 32, 40, 40), (32, 32, 3, 3), {"padding": 1}),
    ("conv_transpose2d", (2, 64, 40, 40), (64, 16, 3, 3), {"padding": 1}),
    ("conv_transpose1d", (1, 32, 4000), (32, 16, 8), {"padding": 2, "stride": 4}),
)
SMALL = 64 << 10
"""Tables of places, Python's own objects, what numba takes for a call."""


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize(("function", "shape", "of_weight", "params"), CASES, ids=str)
def test_what_is_said_is_what_is_held(function, shape, of_weight, params, dtype):
    run = getattr(ac, function)
    x, w = np.ones(shape, dtype), np.ones(of_weight, dtype)
    told = 0
    with ac.options(threads=1):
        for candidate in ac.explain(run, x, w, **params).candidates:
            if candidate.workspace is None:
                continue
            told += 1
            with ac.options(algorithm=candidate.name):
                run(x, w, **params)
                tracemalloc.start()
                try:
                    result = run(x, w, **params)
                    held = tracemalloc.get_traced_memory()[1] - result.nbytes
                finally:
                    tracemalloc.stop()
            said = candidate.workspace
            assert held <= 1.1 * said + SMALL, (candidate.name, held, said)
            assert said <= 1.25 * held + SMALL, (candidate.name, held, said)
    assert told >= 1


def test_nothing_is_compiled_to_say_it():
    event = pytest.importorskip("numba.core.event")
    # Layers that no other test has.
    shapes = ((1, 5, 23, 29), (7, 5, 3, 3)), ((1, 5, 23, 29), (5, 1, 4, 5))
    with event.install_recorder("numba:compile") as recorded:
        for shape, of_weight in shapes:
            x, w = np.ones(shape, "float32"), np.ones(of_weight, "float32")
            groups = shape[1] // of_weight[1]
            y = ac.conv2d(x, w, groups=groups, algorithm="generic")
            ac.explain(ac.conv2d, x, w, groups=groups)
            ac.explain(ac.conv_transpose2d, y, w, groups=groups)
    assert [each.data["dispatcher"].py_func.__name__ for _, each in recorded.buffer] == []


def test_each_thread_has_its_own():
    x, w = np.ones((4, 64, 56, 56), np.float32), np.ones((64, 64, 3, 3), np.float32)
    said = []
    for threads in (1, 2):
        with ac.options(threads=threads):
            found = ac.explain(ac.conv2d, x, w, padding=1).candidates
            said += [each.workspace for each in found if each.name == "im2col"]
    assert said[0] is not None
    assert said[1] == 2 * said[0]


def test_none_where_it_is_not_known_or_cannot_run():
    x, w = np.ones((1, 2, 8, 8)), np.ones((2, 2, 3, 3))
    by_name = {each.name: each for each in ac.explain(ac.conv2d, x, w).candidates}
    assert by_name["generic"].workspace is None
    assert by_name["pointwise"].workspace is None
    assert by_name["im2col"].workspace is not None
    for each in ac.explain(ac.conv2d, x[:0], w).candidates:
        assert each.workspace in (None, 0)
    assert "workspace" in str(ac.explain(ac.conv2d, x, w))
    assert "workspace" not in str(ac.explain(ac.unfold, x, 3))
