"""Depthwise convolutions of NumPy arrays by compiled loops: `numba_depthwise`."""

from __future__ import annotations

import mmap
from typing import Any
from zlib import crc32

import numpy as np
import pytest

import arrayconv as ac
from arrayconv import primitives
from arrayconv._window import Axis, adjoint_axis, sliding_window
from arrayconv.backends.numpy import depthwise_adjoint, depthwise_gradient, depthwise_rows
from arrayconv.backends.numpy.compiler import missing
from arrayconv.functional.operations import operation_of
from tests.cases import assert_close, draw
from tests.test_numpy_pools import A_PAGE_OF_MEMORY
from tests.test_threads import in_a_process

pytestmark = pytest.mark.skipif(missing() is not None, reason=f"{missing()}")

GEOMETRIES: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "rows of several vectors": ((2, 3, 1000), (5,), {"padding": 2}),
    "rows of a few vectors, strided": ((2, 3, 2, 150), (1, 4), {"stride": (1, 3)}),
    "rows that end a vector": ((1, 4, 9, 64), (3, 3), {"padding": 1}),
    "rows shorter than a vector": ((2, 9, 7, 5), (7, 7), {"padding": 3}),
    "a cell": ((3, 5, 1, 1), (3, 3), {"padding": 1}),
    "a column": ((3, 5, 20, 1), (3, 1), {"padding": ((1, 1), (0, 0))}),
    "taps in a loop": ((1, 3, 21, 40), (9, 11), {"padding": "same"}),
    "a tall kernel": ((1, 2, 40, 9), (32, 2), {"padding": ((15, 16), (1, 0))}),
    "strided": ((1, 5, 23, 37), (3, 3), {"stride": 2, "padding": 1}),
    "strided by 2, odd cells": ((2, 3, 15, 31), (3, 3), {"stride": 2}),
    "strided by 3": ((1, 3, 23, 61), (5, 4), {"stride": 3, "padding": 1}),
    "strided, few cells": ((3, 5, 7, 6), (3, 3), {"stride": 2, "padding": 1}),
    "strided, along a line": ((2, 3, 700), (5,), {"stride": 2, "padding": 2}),
    "strided by 4": ((1, 3, 23, 61), (4, 5), {"stride": 4, "padding": 2}),
    "strided from row to row": ((2, 3, 3, 150), (2, 3), {"stride": (2, 1), "padding": 1}),
    "strides that differ": ((1, 3, 23, 41), (3, 4), {"stride": (3, 2), "padding": 1}),
    "a stride beyond the kernel": ((1, 3, 23, 41), (2, 2), {"stride": 3}),
    "dilated": ((1, 4, 20, 33), (3, 3), {"dilation": 2, "padding": 2}),
    "dilated and strided": ((1, 4, 20, 49), (3, 4), {"dilation": 3, "stride": 2, "padding": 4}),
    "dilated beyond the plane": ((1, 4, 5, 6), (2, 3), {"dilation": 7, "padding": 7}),
    "padding that is wider than the plane": ((1, 4, 3, 4), (4, 3), {"padding": ((9, 5), (12, 2))}),
    "volumes": ((2, 3, 5, 9, 20), (3, 3, 3), {"padding": 1}),
    "volumes, strided and dilated": (
        (1, 3, 7, 8, 19),
        (2, 3, 2),
        {"stride": (2, 1, 2), "dilation": (1, 2, 1), "padding": (1, 2, 0)},
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("multiple", [1, 2])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_each_is_the_generic_body(geometry, multiple, dtype, request, left_out):
    """Output and gradients; with several outputs a channel too."""
    share = 2 if dtype == "float32" else 10
    if crc32(geometry.encode()) % share and not request.config.getoption("--full"):
        left_out("compiled depthwise convolutions, half of float32, most of float64: --full")
        pytest.skip("each form of a window is compiled for each dtype: --full runs all")
    shape, kernel, params = GEOMETRIES[geometry]
    rng, channels = np.random.default_rng(0), shape[1]
    function = getattr(ac, f"conv{len(kernel)}d")
    given = draw(rng, shape, dtype), draw(rng, (channels * multiple, 1, *kernel), dtype)
    with ac.options(algorithm="generic"):
        wide = [each.astype("float64") for each in given]
        wanted, pullback = ac.vjp(function, *wide, groups=channels, **params)
        cotangent = draw(rng, wanted.shape, dtype)
        gradients = pullback(cotangent.astype("float64"))
    with ac.options(algorithm="numba_depthwise"):
        explained = ac.explain(function, *given, groups=channels, **params)
        assert explained.chosen == "numba_depthwise"
        got, pullback = ac.vjp(function, *given, groups=channels, **params)
        found = pullback(cotangent)
    parse = operation_of(function, "test").call
    assert parse is not None
    window = parse(*given, groups=channels, **params).arguments[2]
    for primitive, first, second in (
        (primitives.conv_transpose, cotangent, given[1]),
        (primitives.conv_weight, given[0], cotangent),
    ):
        by_name = {each.name: each for each in primitive.implementations(given[0])}
        reason = by_name["numba_depthwise"].unfit(first, second, window, channels)
        # With several outputs a channel an adjoint is no depthwise sum.
        assert (reason is None) == (multiple == 1 or primitive is primitives.conv_weight)
    for each, right in zip((got, *found), (wanted, *gradients), strict=True):
        assert each.dtype == dtype
        assert_close(each, right, dtype)


@pytest.mark.parametrize("shape", [(1, 2, 2_000_003), (1, 2, 2000, 1001), (1, 2, 1_000_000, 2)])
def test_the_rounding_of_long_sums(shape):
    """Parts are summed up by themselves."""
    dims = len(shape) - 2
    window = sliding_window(shape[2:], (3,) * dims, (1,) * dims, ((1, 1),) * dims, (1,) * dims)
    x, y = (draw(np.random.default_rng(n), shape, "float32") for n in range(2))
    got = primitives.conv_weight(x, y, window, 2, algorithm="numba_depthwise")
    wide = x.astype("float64"), y.astype("float64")
    wanted = primitives.conv_weight(*wide, window, 2, algorithm="generic")
    assert np.abs(got - wanted).max() < 3e-6 * np.abs(wanted).max()


@pytest.mark.parametrize("geometry", ["rows that end a vector", "strided", "volumes"])
def test_the_same_bits_on_any_number_of_threads(geometry, monkeypatch):
    for module in (depthwise_rows, depthwise_adjoint, depthwise_gradient):
        monkeypatch.setattr(module, "CHUNK", 1000)
    shape, kernel, params = GEOMETRIES[geometry]
    rng = np.random.default_rng(0)
    given = draw(rng, shape, "float32"), draw(rng, (shape[1], 1, *kernel), "float32")
    function, results = getattr(ac, f"conv{len(kernel)}d"), set()
    for threads in (1, 2, 3):
        with ac.options(threads=threads, algorithm="numba_depthwise"):
            y, pullback = ac.vjp(function, *given, groups=shape[1], **params)
            results.add(b"".join(each.tobytes() for each in (y, *pullback(y))))
    assert len(results) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("width", [5, 8, 19])
def test_what_is_not_finite_stays_where_it_is_seen(width, value):
    """Of the last cells, behind the last window, nothing reaches a gradient."""
    window = sliding_window((4, width), (2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1))
    rng = np.random.default_rng(0)
    x, outs = draw(rng, (2, 3, 4, width), "float32"), tuple(axis.out for axis in window)
    y = draw(rng, (2, 3, *outs), "float32")
    wanted = primitives.conv_weight(x, y, window, 3, algorithm="generic")
    x[..., 2 * outs[1] :] = value
    got = primitives.conv_weight(x, y, window, 3, algorithm="numba_depthwise")
    assert_close(got, wanted, "float32")
    x[0, 1, 1, 0] = value
    got = primitives.conv_weight(x, y, window, 3, algorithm="numba_depthwise")
    np.testing.assert_array_equal(np.argwhere(~np.isfinite(got))[:, 0], [1])
    weight = draw(rng, (3, 1, 2, 2), "float32")
    spread = primitives.conv(x, weight, window, 3, algorithm="numba_depthwise")
    np.testing.assert_array_equal(np.argwhere(~np.isfinite(spread)), [[0, 1, 0, 0]])


@pytest.mark.skipif(not hasattr(mmap.mmap, "madvise"), reason="a page cannot be forbidden here")
def test_nothing_beyond_the_arrays_is_touched():
    """Cells and cotangents begin, or end, where memory does."""
    in_a_process(A_PAGE_OF_MEMORY + AT_THE_ENDS_OF_MEMORY)


AT_THE_ENDS_OF_MEMORY = """
from arrayconv import primitives
from arrayconv._window import sliding_window

def placed(given, at_end):
    start = 2 * mmap.PAGESIZE - given.nbytes if at_end else mmap.PAGESIZE
    made = np.frombuffer(memory, np.float32, given.size, start).reshape(given.shape)
    made[...] = given
    return made

rng = np.random.default_rng(0)
for width, at_end in itertools.product((3, 8, 9, 17, 35), (False, True)):
    for stride, padding in ((1, 1), (2, 1), (2, 0)):
        window = sliding_window((5, width), (3, 3), (stride,) * 2, ((padding,) * 2,) * 2, (1, 1))
        x = rng.standard_normal((1, 2, 5, width)).astype("float32")
        w = rng.standard_normal((2, 1, 3, 3)).astype("float32")
        y = primitives.conv(x, w, window, 2, algorithm="generic")
        gradient = primitives.conv_weight(x, y, window, 2, algorithm="generic")
        cells = primitives.conv_transpose(y, w, window, 2, algorithm="generic")
        named = {"algorithm": "numba_depthwise"}
        found = (
            (y, primitives.conv(placed(x, at_end), w, window, 2, **named)),
            (gradient, primitives.conv_weight(placed(x, at_end), y, window, 2, **named)),
            (gradient, primitives.conv_weight(x, placed(y, at_end), window, 2, **named)),
            (cells, primitives.conv_transpose(placed(y, at_end), w, window, 2, **named)),
        )
        for wanted, got in found:
            np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
"""


def test_what_it_does_not_serve_has_a_reason():
    def reason(x: Any, w: Any, **params: Any) -> str:
        found = ac.explain(getattr(ac, f"conv{x.ndim - 2}d"), x, w, **params).candidates
        return next(each.reason for each in found if each.name == "numba_depthwise")

    plane = np.ones((1, 4, 40, 9), "float32")
    assert "groups of one channel" in reason(plane, np.ones((4, 2, 3, 3), "float32"), groups=2)
    tall = np.ones((4, 1, 33, 1), "float32")
    assert "at most 32 rows, got 33" in reason(plane, tall, groups=4)
    window = sliding_window((40, 9), (2, 2), (5, 5), ((0, 0), (0, 0)), (1, 1))
    by_name = {each.name: each for each in primitives.conv_transpose.implementations(plane)}
    unfit = by_name["numba_depthwise"].unfit
    positions, weight = np.ones((1, 4, 8, 2), "float32"), np.ones((4, 1, 2, 2), "float32")
    assert "strides of at most 4, got 5" in str(unfit(positions, weight, window, 4))
    large = sliding_window((40, 40), (16, 16), (2, 2), ((0, 0), (0, 0)), (1, 1))
    positions, weight = np.ones((1, 4, 13, 13), "float32"), np.ones((4, 1, 16, 16), "float32")
    assert "16 x 16 is too large" in str(unfit(positions, weight, large, 4))
    half = np.ones((4, 1, 3, 3), "float16")
    assert "float32 and float64" in reason(plane.astype("float16"), half, groups=4)


def test_rows_are_tiled_where_their_work_is_least():
    """Rows of which nothing is done twice; of a line several vectors."""
    for size, rows in ((7, 7), (14, 7), (28, 7), (64, 8), (3, 3)):
        axis = Axis(size, 3, 1, 1, 1, 1, size)
        assert depthwise_rows.tile((axis, axis), 8)[:2] == (rows, 1)
    line = Axis(10_000, 3, 1, 1, 1, 1, 10_000)
    assert depthwise_rows.tile((line,), 8)[:2] == (1, 8)


def test_the_plan_sees_what_the_window_sees():
    """Each row that is read belongs to a window; the others are outside."""
    axis = Axis(9, 3, 2, 2, 3, 1, 5)
    for each in (axis, adjoint_axis(axis._replace(stride=1, out=9))):
        found = depthwise_rows.offsets((each, each), range(each.out), 1)
        for position, row in enumerate(found):
            cells = [position * each.stride - each.before + tap * each.dilation for tap in range(3)]
            wanted = [cell * each.size if 0 <= cell < each.size else -1 for cell in cells]
            np.testing.assert_array_equal(row, wanted)
