"""Sums in registers on other processors than this one: shorter vectors, fewer registers."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from arrayconv.backends.numpy.compiler import missing

PROGRAM = """
import llvmlite.binding
import numpy as np

features = {features}
llvmlite.binding.get_host_cpu_features = lambda: features
import arrayconv as ac
from arrayconv.backends.numpy import registers

assert (registers.VECTOR_BYTES, registers.REGISTERS) == {expected}
rng = np.random.default_rng(0)
for algorithm, groups, stride in (
    ("numba", 1, 1),
    ("numba", 1, 2),
    ("numba", 3, 1),
    ("numba_depthwise", 3, 1),
    ("numba_depthwise", 3, 2),
    ("numba_winograd_4x4", 1, 1),
    ("numba_winograd_3x3", 1, 1),
    ("numba_winograd_1x3", 1, 1),
):
    x = rng.standard_normal((2, 3, 11, 19)).astype("float32")
    side = 7 if algorithm.endswith("x3") else 3
    w = rng.standard_normal((9, 3 // groups, side, side)).astype("float32")
    params = {{"stride": stride, "padding": 1, "groups": groups}}
    with ac.options(algorithm="generic"):
        wanted, pullback = ac.vjp(ac.conv2d, x.astype(float), w.astype(float), **params)
        gradients = pullback(wanted)
    with ac.options(algorithm=algorithm):
        got, pullback = ac.vjp(ac.conv2d, x, w, **params)
        found = pullback(wanted.astype("float32"))
    for each, right in zip((got, *found), (wanted, *gradients), strict=True):
        np.testing.assert_allclose(each, right, rtol=1e-5, atol=1e-5 * np.abs(right).max())
lines = tuple(rng.standard_normal(shape).astype("float32") for shape in ((1, 3, 300), (5, 3, 3)))
got, wanted = (ac.conv1d(*lines, algorithm=name) for name in ("numba_winograd_4x4", "generic"))
np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
wide, narrow = (2, 3, 11, 45), (1, 37, 9, 13)
for shape, stride, dtype in ((wide, 2, "float32"), (narrow, 2, "float32"), (narrow, 2, "float64")):
    x = rng.integers(0, 5, shape).astype(dtype)
    with ac.options(algorithm="generic"):
        wanted = ac.max_pool2d(x, 3, stride, 1, return_indices=True)
        average, pullback = ac.vjp(ac.avg_pool2d, x, kernel_size=3, stride=stride, padding=1)
        gradient = pullback(average)[0]
        parts = ac.adaptive_avg_pool2d(x, (4, 7)), ac.adaptive_max_pool2d(x, 1)
    with ac.options(algorithm="numba"):
        np.testing.assert_equal(ac.max_pool2d(x, 3, stride, 1, return_indices=True), wanted)
        np.testing.assert_array_equal(ac.max_pool2d(x, 3, stride, 1), wanted[0])
        got, pullback = ac.vjp(ac.avg_pool2d, x, kernel_size=3, stride=stride, padding=1)
        np.testing.assert_allclose(got, average, rtol=1e-6)
        np.testing.assert_allclose(pullback(average)[0], gradient, rtol=1e-5)
        np.testing.assert_allclose(ac.adaptive_avg_pool2d(x, (4, 7)), parts[0], rtol=1e-6)
        np.testing.assert_array_equal(ac.adaptive_max_pool2d(x, 1), parts[1])
    last = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    w = rng.standard_normal((x.shape[1], 1, 3, 3)).astype(dtype)
    with ac.options(algorithm="generic"):
        depthwise, pullback = ac.vjp(ac.conv2d, x, w, padding=1, groups=x.shape[1])
        gradients = pullback(depthwise)
        columns = ac.unfold(x, 3, stride=stride)
        folded = ac.fold(columns, x.shape[2:], 3, stride=stride)
        patches = ac.unfold(x, 4, stride=4)
        pieces = ac.fold(patches, x.shape[2:], 4, stride=4)
    with ac.options(algorithm="channels_last"):
        np.testing.assert_equal(ac.max_pool2d(last, 3, stride, 1, return_indices=True), wanted)
        np.testing.assert_array_equal(ac.max_pool2d(last, 3, stride, 1), wanted[0])
        got = ac.avg_pool2d(last, 3, stride, 1)
        np.testing.assert_allclose(got, average, rtol=1e-5, atol=1e-6)
        for each in (x, last):
            got, pullback = ac.vjp(ac.conv2d, each, w, padding=1, groups=x.shape[1])
            np.testing.assert_allclose(got, depthwise, rtol=1e-4, atol=1e-5)
            for one, other in zip(pullback(depthwise), gradients, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
    with ac.options(algorithm="numba"):
        np.testing.assert_array_equal(ac.unfold(x, 3, stride=stride), columns)
        got = ac.fold(columns, x.shape[2:], 3, stride=stride)
        np.testing.assert_allclose(got, folded, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(ac.unfold(x, 4, stride=4), patches)
        np.testing.assert_array_equal(ac.fold(patches, x.shape[2:], 4, stride=4), pieces)
print("right")
"""


@pytest.mark.skipif(missing() is not None, reason=f"{missing()}")
@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({}, (16, 16)),
        ({"avx": True}, (32, 16)),
        ({"neon": True}, (16, 32)),
        ({"avx512f": True, "avx": True}, (64, 32)),
    ],
)
def test_other_processors(features, expected, tmp_path, request, left_out):
    if not request.config.getoption("--full"):
        left_out("loops in the vectors of other processors than this one: --full")
        pytest.skip("all loops are compiled anew, for a minute: --full does so")
    # A processor that has nothing beyond its family's first: what it lacks is put together.
    environment = {
        **os.environ,
        **{"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    program = PROGRAM.format(features=features, expected=expected)
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )
    assert done.stdout.strip() == "right", done.stderr
