"""Half and complex numbers as others: each number, each way to convert, and parts of any size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import arrayconv as ac
from arrayconv import primitives
from arrayconv._window import output_sizes, sliding_window
from arrayconv.backends.numpy import complex_numbers, halves
from tests.cases import draw

ml_dtypes = pytest.importorskip("ml_dtypes", reason="bfloat16 in NumPy is ml_dtypes'")
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
HALVES = [np.dtype("float16"), BFLOAT16]
ALL = slice(0, 1)


@pytest.fixture(params=["compiled", "numpy"])
def _way(request, monkeypatch):
    """Convert as there is numba, if there is, and as there is none."""
    if request.param == "numpy":
        for module in (halves, complex_numbers):
            monkeypatch.setattr(module, "missing", lambda: "none")


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_every_half(dtype):
    """All bits are the numbers that NumPy makes of them, and come back."""
    every = np.arange(1 << 16, dtype=np.uint16).view(dtype).reshape(1, 4, 128, 128)
    wide = halves.widened(every, ALL, slice(0, 128))
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(wide, every.astype("float32"))
    back = np.empty_like(every)
    halves.narrow(wide, back, ALL, slice(0, 128))
    is_nan = np.isnan(wide)
    np.testing.assert_array_equal(np.isnan(back.astype("float32")), is_nan)
    assert np.array_equal(back.view(np.uint16)[~is_nan], every.view(np.uint16)[~is_nan])


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_the_nearest_half(dtype):
    """Any float32, and those just between two halves, are rounded as NumPy rounds."""
    rng = np.random.default_rng(0)
    some = rng.integers(0, 1 << 32, (1, 2, 129, 128), dtype=np.uint32)
    # The bits that are dropped; of float16 the numbers that are neither too large nor too small.
    dropped, lowest = (13, 0x38800000) if dtype.kind == "f" else (16, 0)
    every = np.arange(1 << 14, dtype=np.uint32).reshape(1, 1, 128, 128)
    between = (every << np.uint32(dropped)) + np.uint32(lowest + (1 << dropped - 1))
    for bits in (some, between, between + np.uint32(1), between - np.uint32(1)):
        wide = bits.view(np.float32)
        with np.errstate(all="ignore"):
            wanted = wide.astype(dtype)
        got = np.empty(wide.shape, dtype)
        halves.narrow(wide, got, ALL, slice(0, wide.shape[2]))
        is_nan = np.isnan(wide)
        assert np.array_equal(got.view(np.uint16)[~is_nan], wanted.view(np.uint16)[~is_nan])
        assert np.isnan(got.astype("float32")[is_nan]).all()


@pytest.mark.usefixtures("_way")
def test_rows_of_images():
    """Only these are read, and only these are written."""
    rng = np.random.default_rng(0)
    images, rows = slice(1, 3), slice(2, 5)
    x = rng.standard_normal((4, 3, 7, 5)).astype("float16")
    np.testing.assert_array_equal(halves.widened(x, images, rows), x[1:3, :, 2:5])
    y = np.full_like(x, 9)
    halves.narrow(np.zeros((2, 3, 3, 5), "float32"), y, images, rows)
    assert (y == 0).sum() == y[1:3, :, 2:5].size
    assert (y[1:3, :, 2:5] == 0).all()


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_three_products(groups):
    """Of whole numbers they are the complex product, exactly, group by group."""
    rng = np.random.default_rng(0)

    def whole(*shape: int) -> Any:
        return (rng.integers(-9, 9, shape) + 1j * rng.integers(-9, 9, shape)).astype("complex64")

    a, b = whole(3, 6, 4, 5), whole(3, 6, 4, 5)
    images, rows = slice(1, 3), slice(1, 3)
    first = complex_numbers.factors(a, images, rows, groups, False)
    second = complex_numbers.factors(b, images, rows, groups, True)
    result = np.full_like(a, 7)
    complex_numbers.together(first * second, result, images, rows, groups)
    np.testing.assert_array_equal(result[1:3, :, 1:3], (a * b)[1:3, :, 1:3])
    result[1:3, :, 1:3] = 7
    assert (result == 7).all()


@pytest.mark.parametrize(
    ("algorithm", "dtype"),
    [("as_float32", "float16"), ("as_float32", BFLOAT16), ("as_real", "complex64")],
    ids=str,
)
def test_parts_of_any_size(algorithm, dtype):
    """One part or many, whatever the threads, and an array that is no (N, C, *sizes) in memory."""
    rng = np.random.default_rng(0)
    double = "complex128" if algorithm == "as_real" else "float64"
    x, w = draw(rng, (3, 6, 40, 33), double), draw(rng, (8, 3, 3, 3), double)
    window = sliding_window((40, 33), (3, 3), (2, 1), ((1, 1), (0, 2)), (1, 2))
    y = draw(rng, (3, 8, *output_sizes(window)), double)
    for name, pair in (("conv", (x, w)), ("conv_transpose", (y, w)), ("conv_weight", (x, y))):
        primitive = getattr(primitives, name)
        given = [each.astype(dtype) for each in pair]
        last = [np.ascontiguousarray(each.transpose(0, 2, 3, 1)) for each in given]
        last = [each.transpose(0, 3, 1, 2) for each in last]
        wide = [each.astype(double) for each in given]
        wanted = primitive(*wide, window, 2, algorithm="generic")
        for workspace in (1, 4096, 1 << 24):
            results = set()
            for threads in (1, 3):
                for arrays in (given, last):
                    with ac.options(workspace_bytes=workspace, threads=threads):
                        got = primitive(*arrays, window, 2, algorithm=algorithm)
                    results.add(got.tobytes())
            assert len(results) == 1
            scale = {"complex64": 1e-6}.get(str(dtype), 2.0**-8 if dtype == BFLOAT16 else 2.0**-11)
            error = np.abs(got.astype(double) - wanted).max()
            assert error <= 2 * scale * np.abs(wanted).max()
