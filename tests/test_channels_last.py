"""Arrays whose channels lie next to one another: the same numbers, and they come out like that."""

from __future__ import annotations

import mmap
from typing import Any
from zlib import crc32

import numpy as np
import pytest

import arrayconv as ac
from arrayconv import primitives, reference
from arrayconv._registry import Primitive
from arrayconv._window import sliding_window
from arrayconv.backends.numpy import channels_last, depthwise_channels, orders
from arrayconv.backends.numpy.compiler import missing
from arrayconv.functional.operations import operation_of
from tests.cases import assert_close, draw
from tests.test_numpy_pools import A_PAGE_OF_MEMORY, CASES, window_of
from tests.test_pooling import special
from tests.test_threads import in_a_process

pytestmark = pytest.mark.skipif(missing() is not None, reason=f"{missing()}")

CHANNELS = (2, 5, 9, 21, 70)
"""Fewer than a vector has, some vectors, and what is left of one."""


def last(x: Any) -> Any:
    """Return the same array with its channels next to one another in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def taken(primitive: Primitive, *arguments: Any) -> Any:
    """Return what the loops for such arrays give, which nothing copies to another order."""
    got = primitive(*arguments, algorithm="channels_last")
    for each in got if isinstance(got, tuple) else (got,):
        assert each.size == 0 or each.shape[1] == 1 or each.strides[1] == each.itemsize
    return got


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "window"), CASES, ids=lambda each: str(each)[:40])
def test_pools(shape, window, dtype, request, left_out):
    sampled = dtype != "float64" or crc32(f"{shape} {window}".encode()) % 6 == 0
    if not sampled and not request.config.getoption("--full"):
        left_out("channels-last pools of float64, all but one in 6: --full runs them all")
        pytest.skip("a sixth is enough in a plain run: --full runs all")
    if 0 in shape or len(window) > 3:
        pytest.skip("an empty array has no order, and the loops are for three dimensions at most")
    shape = (shape[0], CHANNELS[sum(shape) % len(CHANNELS)], *shape[2:])
    x = last(draw(np.random.default_rng(0), shape, dtype))
    if x.flags.c_contiguous:
        pytest.skip("images of one cell lie in either order")
    x.flags.writeable = False
    y = primitives.max_pool(x, window, algorithm="generic")
    np.testing.assert_array_equal(taken(primitives.max_pool, x, window), y, strict=True)
    values, index = primitives.max_pool_indices(x, window, algorithm="generic")
    best, at = taken(primitives.max_pool_indices, x, window)
    np.testing.assert_array_equal(best, values, strict=True)
    np.testing.assert_array_equal(at, index, strict=True)
    for divisor in (1, -9):
        total = primitives.sum_pool(x, window, divisor, algorithm="generic")
        assert_close(taken(primitives.sum_pool, x, window, divisor), total, dtype)
    cotangent = draw(np.random.default_rng(1), values.shape, dtype)
    given = last(cotangent)
    if given.flags.c_contiguous:
        return
    wanted = primitives.max_pool_grad(cotangent, index, window, algorithm="generic")
    for each in (cotangent, given):
        got = taken(primitives.max_pool_grad, each, last(index), window)
        assert_close(got, wanted, dtype)
    implementations = primitives.spread.implementations(x)
    serving = [each for each in implementations if each.name == "channels_last"]
    if serving[0].unfit(given, window) is not None:
        return
    for divisor in (1, 4):
        wanted = primitives.spread(cotangent, window, divisor, algorithm="generic")
        assert_close(taken(primitives.spread, given, window, divisor), wanted, dtype)


@pytest.mark.parametrize("channels", CHANNELS)
def test_what_is_not_finite(channels):
    """NaN, ties, infinities and planes of -inf: the first maximum, the last NaN."""
    x = special((2, channels, 8, 9))
    for kernel, stride, padding in ((3, 2, 1), (5, 1, 2)):
        values, index = reference.max_pool(x, kernel, stride, padding)
        window = window_of(x.shape, {"kernel_size": kernel, "stride": stride, "padding": padding})
        np.testing.assert_array_equal(taken(primitives.max_pool, last(x), window), values)
        best, at = taken(primitives.max_pool_indices, last(x), window)
        np.testing.assert_array_equal(best, values)
        np.testing.assert_array_equal(at, index)


DEPTHWISE: tuple[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]], ...] = (
    ((2, 21, 19), (5,), {"padding": 2}),
    ((1, 16, 40), (4,), {"stride": 3, "padding": ((1, 5),)}),
    ((2, 70, 11, 13), (3, 3), {"padding": 1}),
    ((2, 32, 11, 13), (3, 3), {"padding": 1, "stride": 2}),
    ((1, 19, 9, 30), (7, 5), {"padding": (3, 9), "dilation": (1, 2)}),
    ((1, 24, 3, 3), (3, 3), {"padding": 3}),
    ((1, 24, 30, 3), (2, 1), {"stride": (2, 1)}),
    ((2, 17, 5, 6, 7), (3, 2, 3), {"padding": ((1, 0), (0, 2), (1, 1)), "stride": (2, 1, 2)}),
    # Fewer channels than a vector has; and more than are added up at a time.
    ((2, 3, 11, 12), (3, 3), {"padding": 1}),
    ((1, 3, 40, 30), (7, 7), {"padding": 3}),
    ((2, 2, 9, 8), (3, 3), {"stride": 2}),
    ((1, 150, 6, 5), (3, 3), {"padding": 1, "stride": 2}),
)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "kernel", "how"), DEPTHWISE, ids=str)
def test_depthwise(shape, kernel, how, dtype):
    rng = np.random.default_rng(0)
    x, w = draw(rng, shape, dtype), draw(rng, (shape[1], 1, *kernel), dtype)
    parse = operation_of(getattr(ac, f"conv{len(kernel)}d"), "tests").call
    assert parse is not None
    window, groups = parse(x, w, groups=shape[1], **how).arguments[2:]
    given = last(x)
    given.flags.writeable = False
    y = primitives.conv(x, w, window, groups, algorithm="generic")
    got = taken(primitives.conv, given, w, window, groups)
    assert got.dtype == dtype
    assert_close(got, y, dtype)
    for images, cotangents in ((given, last(y)), (x, last(y)), (given, y)):
        gradient = primitives.conv_weight(
            images, cotangents, window, groups, algorithm="channels_last"
        )
        wanted = primitives.conv_weight(x, y, window, groups, algorithm="generic")
        assert_close(gradient, wanted, dtype)
    if all(axis.stride == 1 for axis in window):
        wanted = primitives.conv_transpose(y, w, window, groups, algorithm="generic")
        assert_close(taken(primitives.conv_transpose, last(y), w, window, groups), wanted, dtype)


def test_few_channels_are_turned_over_where_that_is_faster():
    """Where windows see many cells of a picture; not where they are few, nor of many channels."""
    dtype = np.dtype(np.float32)

    def turns(channels: int, kernel: int, stride: int) -> tuple[bool, bool]:
        sides = (kernel,) * 2, (stride,) * 2, ((kernel // 2,) * 2,) * 2, (1, 1)
        window = sliding_window((64, 64), *sides)
        x = np.empty((1, channels, 64, 64), dtype)
        plan = channels_last._plan(window, False, 1, dtype)
        of_conv = depthwise_channels._turns(window, 1, channels, dtype)
        return of_conv, channels_last._turns(x, plan)

    assert turns(3, 5, 1) == (True, True)
    assert turns(4, 2, 2) == (False, False)
    assert turns(32, 5, 1) == (False, False)


@pytest.mark.parametrize("value", [np.inf, np.nan])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_weight_that_is_not_finite(value):
    """Of one channel: it stays in that channel, in the gradient too."""
    x = draw(np.random.default_rng(0), (1, 5, 6, 6), "float32")
    w = draw(np.random.default_rng(1), (5, 1, 3, 3), "float32")
    w[0, 0, 0, 0] = value
    for each in (x, last(x)):
        y, pullback = ac.vjp(ac.conv2d, each, w, padding=1, groups=5)
        assert np.isfinite(y[:, 1:]).all()
        assert not np.isfinite(y[:, 0]).all()
        cotangent = np.ones(y.shape, np.float32)
        cotangent[0, 0, 0, 0] = value
        with ac.options(algorithm="channels_last"):
            gradient = pullback(cotangent)[1]
        assert gradient is not None
        assert np.isfinite(gradient[1:]).all()


def test_public_functions_keep_the_order():
    """Of an image (height, width, channels), and of a part of one."""
    image = draw(np.random.default_rng(0), (2, 30, 31, 40), "float32")
    w = draw(np.random.default_rng(1), (40, 1, 3, 3), "float32")
    for x in (image, image[:, 2:20, 3:27], image[:, ::-1, ::2]):
        view = np.moveaxis(x, -1, 1)
        straight = np.ascontiguousarray(view)
        calls: tuple[tuple[Any, tuple[Any, ...], dict[str, Any]], ...] = (
            (ac.max_pool2d, (3, 2, 1), {}),
            (ac.avg_pool2d, (3, 2, 1), {}),
            (ac.adaptive_avg_pool2d, (5,), {}),
            (ac.adaptive_max_pool2d, ((4, 7),), {}),
            (ac.conv2d, (w,), {"padding": 1, "groups": 40}),
        )
        for function, arguments, named in calls:
            assert ac.explain(function, view, *arguments, **named).chosen == "channels_last"
            got = function(view, *arguments, **named)
            assert np.moveaxis(got, 1, -1).flags.c_contiguous
            assert_close(got, function(straight, *arguments, **named), "float32")


def test_the_same_bits_on_any_number_of_threads():
    x = last(draw(np.random.default_rng(0), (2, 48, 70, 90), "float32"))
    w = draw(np.random.default_rng(1), (48, 1, 3, 3), "float32")

    def everything() -> list[Any]:
        values, indices = ac.max_pool2d(x, 3, 2, 1, return_indices=True)
        y, pullback = ac.vjp(ac.max_pool2d, x, kernel_size=3, stride=2)
        return [
            values,
            indices,
            ac.avg_pool2d(x, 3, 2, 1),
            pullback(y)[0],
            ac.conv2d(x, w, padding=1, groups=48),
            *ac.vjp(ac.conv2d, x, w, padding=1, groups=48)[1](np.ones(x.shape, np.float32)),
        ]

    with ac.options(threads=1):
        alone = everything()
    with ac.options(threads=3):
        together = everything()
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.skipif(not hasattr(mmap.mmap, "madvise"), reason="a page cannot be forbidden here")
def test_nothing_beyond_the_cells_is_read():
    """The cells begin, or end, where memory does: to read more would end the process."""
    in_a_process(A_PAGE_OF_MEMORY + AT_THE_ENDS_OF_MEMORY)


AT_THE_ENDS_OF_MEMORY = """
for channels, at_end in itertools.product((2, 3, 5, 8, 9, 16, 23, 33), (False, True)):
    count = 20 * channels
    start = 2 * mmap.PAGESIZE - 4 * count if at_end else mmap.PAGESIZE
    x = np.frombuffer(memory, np.float32, count, start).reshape(1, 4, 5, channels)
    x[...] = np.arange(count).reshape(x.shape)
    x = np.moveaxis(x, -1, 1)
    w = np.ones((channels, 1, 3, 3), np.float32)
    straight = np.ascontiguousarray(x)
    for kernel, stride, padding in ((2, 2, 0), (3, 2, 1), (4, 1, 2)):
        named = {"kernel_size": kernel, "stride": stride, "padding": padding}
        assert ac.explain(ac.max_pool2d, x, **named).chosen == "channels_last"
        got = ac.max_pool2d(x, **named, return_indices=True)
        np.testing.assert_equal(got, ac.max_pool2d(straight, **named, return_indices=True))
        np.testing.assert_equal(ac.max_pool2d(x, **named), got[0])
        wanted = ac.avg_pool2d(straight, **named)
        np.testing.assert_allclose(ac.avg_pool2d(x, **named), wanted, rtol=1e-6)
    for function, named in (
        (ac.avg_pool2d, {"kernel_size": 3, "stride": 2}),
        (ac.conv2d, {"padding": 1, "groups": channels}),
    ):
        arrays = (w,) if "groups" in named else ()
        with ac.options(algorithm="channels_last"):
            y, pullback = ac.vjp(function, x, *arrays, **named)
            found = pullback(y)
        y, pullback = ac.vjp(function, straight, *arrays, **named)
        for one, other in zip(found, pullback(np.ascontiguousarray(y)), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5)
    wanted = ac.conv2d(straight, w, padding=1, groups=channels)
    np.testing.assert_allclose(ac.conv2d(x, w, padding=1, groups=channels), wanted, rtol=1e-6)
"""


def test_averages_of_the_cells_that_windows_have():
    """Where windows have more cells or fewer, each is divided by its own number."""
    for shape, function, named in (
        ((2, 20, 13, 11), ac.adaptive_avg_pool2d, {"output_size": (5, 4)}),
        ((1, 20, 5, 7, 6), ac.adaptive_avg_pool3d, {"output_size": (2, 3, 4)}),
        ((1, 9, 17), ac.adaptive_avg_pool1d, {"output_size": 4}),
        (
            (2, 20, 13, 11),
            ac.avg_pool2d,
            {"kernel_size": 3, "padding": 1, "count_include_pad": False},
        ),
    ):
        x = last(draw(np.random.default_rng(0), shape, "float64"))
        straight = np.ascontiguousarray(x)
        assert ac.explain(function, x, **named).chosen == "channels_last"
        got, pullback = ac.vjp(function, x, **named)
        wanted, back = ac.vjp(function, straight, **named)
        assert_close(got, wanted, "float64")
        cotangent = last(wanted)
        before = cotangent.copy()
        assert_close(pullback(cotangent)[0], back(wanted)[0], "float64")
        np.testing.assert_array_equal(cotangent, before)


def test_from_one_order_to_the_other():
    """Squares of vectors, what is left of them, few channels and cells, many small images."""
    for shape in ((2, 70, 9, 11), (1, 9, 200, 300), (300, 24, 3, 3), (2, 8, 5, 7, 9), (1, 3, 900)):
        for dtype in ("float32", "float64"):
            x = draw(np.random.default_rng(0), shape, dtype)
            turned = orders.channels_last(x)
            np.testing.assert_array_equal(turned, x)
            assert turned.strides[1] == turned.itemsize
            back = orders.channels_first(turned)
            np.testing.assert_array_equal(back, x)
            assert back.flags.c_contiguous
