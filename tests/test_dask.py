"""Dask arrays: any chunks give what NumPy gives, lazily, by a graph linear in the blocks."""

from __future__ import annotations

import pickle
from itertools import pairwise
from math import prod
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import arrayconv as ac
from tests.conftest import odd_chunks

dask = pytest.importorskip("dask", reason="these tests are of Dask arrays")
da = pytest.importorskip("dask.array", reason="these tests are of Dask arrays")


@pytest.fixture(autouse=True)
def one_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


# An example plans and runs a dozen graphs.
FEWER = settings(max_examples=25)


@st.composite
def chunks(draw: Any, shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Return random chunks of each dimension."""
    found = []
    for size in shape:
        bounds = draw(st.sets(st.integers(1, max(1, size)), max_size=4))
        edges = [0, *sorted(bound for bound in bounds if bound < size), size]
        found.append(tuple(b - a for a, b in pairwise(edges)))
    return tuple(found)


@st.composite
def windows(draw: Any) -> dict[str, Any]:
    """Return the sizes of an input, and a window that fits into it."""
    dims = draw(st.integers(1, 2))
    found: dict[str, Any] = {"dims": dims}
    for name, most in (("kernel_size", 4), ("stride", 4), ("dilation", 3)):
        found[name] = tuple(draw(st.integers(1, most)) for _ in range(dims))
    found["padding"] = tuple(
        (draw(st.integers(0, 7)), draw(st.integers(0, 7))) for _ in range(dims)
    )
    found["sizes"] = tuple(
        draw(st.integers(max(1, d * (k - 1) + 1 - a - b), 15))
        for k, d, (a, b) in zip(
            found["kernel_size"], found["dilation"], found["padding"], strict=True
        )
    )
    return found


def whole_numbers(shape: tuple[int, ...], seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(-9, 10, shape)


def same(lazy: Any, wanted: Any) -> None:
    assert isinstance(lazy, da.Array)
    got = lazy.compute()
    assert lazy.shape == got.shape == wanted.shape
    assert lazy.dtype == got.dtype == wanted.dtype
    np.testing.assert_array_equal(got, wanted)


def both(draw: Any, function: Any, *arrays: Any, **params: Any) -> Any:
    """Run a function on NumPy arrays and on Dask arrays of random chunks, compare, return both."""
    lazy = [da.from_array(each, chunks=draw(chunks(each.shape))) for each in arrays]
    wanted, got = function(*arrays, **params), function(*lazy, **params)
    pairs = zip(got, wanted, strict=True) if isinstance(wanted, tuple) else [(got, wanted)]
    for one, other in pairs:
        same(one, other)
    return got, wanted


def gradients(draw: Any, function: Any, *arrays: Any, **params: Any) -> None:
    """Compare the pullbacks of whole numbers in floats, whose sums are exact in any order."""
    arrays = tuple(each.astype(float) for each in arrays)
    lazy = [da.from_array(each, chunks=draw(chunks(each.shape))) for each in arrays]
    output, pullback = ac.vjp(function, *arrays, **params)
    lazy_output, lazy_pullback = ac.vjp(function, *lazy, **params)
    same(lazy_output, output)
    cotangent = whole_numbers(output.shape, 1).astype(float)
    upstream = da.from_array(cotangent, chunks=draw(chunks(cotangent.shape)))
    for got, wanted in zip(lazy_pullback(upstream), pullback(cotangent), strict=True):
        same(got, wanted)


@FEWER
@given(st.data(), windows())
def test_convolution(data, window):
    dims, groups = window["dims"], data.draw(st.integers(1, 2))
    x = whole_numbers((data.draw(st.integers(0, 3)), 2 * groups, *window["sizes"]))
    w = whole_numbers((3 * groups, 2, *window["kernel_size"]), 2)
    params = {name: window[name] for name in ("stride", "padding", "dilation")}
    function = getattr(ac, f"conv{dims}d")
    both(data.draw, function, x, w, **params, groups=groups)
    gradients(data.draw, function, x, w, **params, groups=groups)


@FEWER
@given(st.data(), windows())
def test_transposed_convolution(data, window):
    dims = window["dims"]
    x = whole_numbers((data.draw(st.integers(0, 3)), 2, *window["sizes"]))
    w = whole_numbers((2, 3, *window["kernel_size"]), 2)
    # A crop that leaves something.
    room = [
        (n - 1) * s + d * (k - 1)
        for n, s, d, k in zip(
            window["sizes"],
            window["stride"],
            window["dilation"],
            window["kernel_size"],
            strict=True,
        )
    ]
    crop = tuple(
        (min(a, r // 2), min(b, r - r // 2))
        for (a, b), r in zip(window["padding"], room, strict=True)
    )
    extra = tuple(max(s, d) - 1 for s, d in zip(window["stride"], window["dilation"], strict=True))
    params = {"stride": window["stride"], "dilation": window["dilation"], "padding": crop}
    function = getattr(ac, f"conv_transpose{dims}d")
    both(data.draw, function, x, w, **params, output_padding=extra)
    gradients(data.draw, function, x, w, **params, output_padding=extra)


@FEWER
@given(st.data(), windows())
def test_columns(data, window):
    x = whole_numbers((data.draw(st.integers(0, 3)), 2, *window["sizes"]))
    params = {name: window[name] for name in ("kernel_size", "stride", "padding", "dilation")}
    _, columns = both(data.draw, ac.unfold, x, **params)
    both(data.draw, ac.fold, columns, output_size=window["sizes"], **params)
    gradients(data.draw, ac.unfold, x, **params)
    gradients(data.draw, ac.fold, columns, output_size=window["sizes"], **params)


@FEWER
@given(st.data(), windows(), st.booleans())
def test_pools(data, window, ceil_mode):
    dims = window["dims"]
    x = whole_numbers((data.draw(st.integers(0, 3)), 2, *window["sizes"]))
    params = {name: window[name] for name in ("kernel_size", "stride", "padding", "dilation")}
    maximum = getattr(ac, f"max_pool{dims}d")
    both(data.draw, maximum, x, **params, ceil_mode=ceil_mode, return_indices=True)
    both(data.draw, maximum, x, **params, ceil_mode=ceil_mode)
    gradients(data.draw, maximum, x, **params, ceil_mode=ceil_mode)
    average = getattr(ac, f"avg_pool{dims}d")
    both(data.draw, average, x, **params, ceil_mode=ceil_mode, count_include_pad=ceil_mode)
    # A divisor of 1, so that the sums of whole numbers are exact.
    if dims > 1:
        gradients(data.draw, average, x, **params, ceil_mode=ceil_mode, divisor_override=1)


@FEWER
@given(st.data(), st.tuples(st.integers(1, 12), st.integers(1, 12)))
def test_adaptive_pools(data, sizes):
    x = whole_numbers((2, 2, *sizes))
    outs = tuple(data.draw(st.integers(1, size)) for size in sizes)
    both(data.draw, ac.adaptive_max_pool2d, x, output_size=outs, return_indices=True)
    both(data.draw, ac.adaptive_max_pool2d, x, output_size=outs)
    both(data.draw, ac.adaptive_avg_pool2d, x, output_size=outs)
    gradients(data.draw, ac.adaptive_max_pool2d, x, output_size=outs)


@FEWER
@given(st.data(), st.sampled_from(["constant", "reflect", "replicate", "circular"]))
def test_pads(data, mode):
    sizes = data.draw(st.tuples(st.integers(5, 9), st.integers(5, 9)))
    pairs = [data.draw(st.integers(-2, 3)) for _ in range(4)]
    both(data.draw, ac.pad, whole_numbers(sizes), pad=pairs, mode=mode)
    gradients(data.draw, ac.pad, whole_numbers(sizes), pad=pairs, mode=mode)


def test_pads_that_leave_nothing():
    x = whole_numbers((3, 4))
    for pad, mode in (((-4, 0), "constant"), ((-2, -2), "reflect"), ((0, 0, -3, 0), "replicate")):
        lazy = da.from_array(x, chunks=(2, 3))
        same(ac.pad(lazy, pad, mode), ac.pad(x, pad, mode))
        _, pullback = ac.vjp(ac.pad, lazy.astype(float), pad=pad, mode=mode)
        output, right = ac.vjp(ac.pad, x.astype(float), pad=pad, mode=mode)
        same(pullback(da.zeros(output.shape))[0], right(np.zeros(output.shape))[0])


@FEWER
@given(st.data())
def test_unpooling(data):
    x = whole_numbers((2, 3, 6, 8))
    values, indices = ac.max_pool2d(x, 2, return_indices=True)
    both(data.draw, lambda a, b: ac.max_unpool2d(a, b, 2), values, indices)


@FEWER
@given(st.data(), windows())
def test_floats(data, window):
    x = np.random.default_rng(0).standard_normal((2, 2, *window["sizes"]))
    w = np.random.default_rng(1).standard_normal((3, 2, *window["kernel_size"]))
    params = {name: window[name] for name in ("stride", "padding", "dilation")}
    function = getattr(ac, f"conv{window['dims']}d")
    for dtype, tolerance in (("float64", 1e-12), ("float32", 1e-5)):
        a, b = x.astype(dtype), w.astype(dtype)
        lazy = function(da.from_array(a, chunks=data.draw(chunks(a.shape))), b, **params)
        np.testing.assert_allclose(
            lazy.compute(), function(a, b, **params), rtol=tolerance, atol=tolerance
        )


# --- the graph --------------------------------------------------------------------------------


def picture(blocks: int, size: int = 8) -> Any:
    return da.zeros((1, 1, blocks * size, blocks * size), chunks=(1, 1, size, size))


KERNEL = np.ones((1, 1, 3, 3))
CALLS = {
    "conv": lambda x: ac.conv2d(x, KERNEL, padding=1),
    "conv with stride": lambda x: ac.conv2d(x, KERNEL, stride=2, padding=1),
    "conv_transpose": lambda x: ac.conv_transpose2d(x, KERNEL, stride=2, padding=1),
    "max_pool": lambda x: ac.max_pool2d(x, 3, stride=2, padding=1),
    "max_pool with indices": lambda x: ac.max_pool2d(x, 2, return_indices=True)[1],
    "avg_pool": lambda x: ac.avg_pool2d(x, 3, stride=1, padding=1),
    "pad": lambda x: ac.pad(x, (1, 1, 1, 1), mode="reflect"),
    "gradient of a conv": lambda x: ac.vjp(ac.conv2d, x, KERNEL, padding=1)[1](x)[0],
    "gradient of a weight": lambda x: ac.vjp(ac.conv2d, x, KERNEL, padding=1)[1](x)[1],
    "gradient of a max_pool": lambda x: ac.vjp(ac.max_pool2d, x, kernel_size=3, stride=1)[1](
        x[:, :, 2:, 2:]
    )[0],
}


def never(*arguments: Any, **named: Any) -> Any:
    raise AssertionError("an operation computed something")


@pytest.mark.parametrize("call", CALLS)
def test_the_graph_is_linear_in_the_blocks(call):
    with dask.config.set(scheduler=never):
        few, many = (len(CALLS[call](picture(n)).__dask_graph__()) for n in (8, 16))
    assert many <= 4.5 * few, "four times the blocks, and the edges count for less"
    assert many <= 256 * 25, "at most 25 tasks a block, the input's own among them"


@pytest.mark.parametrize("call", [name for name in CALLS if "weight" not in name])
def test_chunks_stay_sensible(call):
    lazy = CALLS[call](picture(8))
    assert lazy.npartitions >= 64
    largest = prod(max(each) for each in lazy.chunks)
    assert largest <= 5 * 64 * lazy.size / picture(8).size


def test_a_convolution_keeps_the_chunks_and_pools_divide_them():
    x = da.zeros((3, 2, 30, 40), chunks=((2, 1), 1, (8, 12, 10), (20, 20)))
    w = np.ones((4, 2, 3, 3))
    assert ac.conv2d(x, w, padding="same").chunks == ((2, 1), (4,), (8, 12, 10), (20, 20))
    assert ac.max_pool2d(x, 2).chunks == ((2, 1), (2,), (4, 6, 5), (10, 10))
    up = ac.conv_transpose2d(ac.max_pool2d(x, 2), np.ones((2, 1, 2, 2)), stride=2)
    assert up.chunks == ((2, 1), (1,), (8, 12, 10), (20, 20))


def test_a_chunk_of_many_channels_is_divided():
    x = da.zeros((1, 1, 4096, 4096), chunks=(1, 1, 2048, 2048), dtype="float32")
    with dask.config.set({"array.chunk-size": "16MiB"}):
        y = ac.conv2d(x, np.ones((64, 1, 3, 3), "float32"), padding=1)
        columns = ac.unfold(x, 3)
    for lazy in (y, columns):
        assert prod(max(each) for each in lazy.chunks) * 4 <= 16 << 20


def test_global_pools_are_trees():
    x = picture(8)
    for pool in (ac.adaptive_avg_pool2d, ac.adaptive_max_pool2d):
        graph = dict(pool(x, 1).__dask_graph__())
        most = max(len(dask.core.get_dependencies(graph, key)) for key in graph)
        assert most <= 16, "no task holds all 64 chunks"


def test_larger_than_memory_is_not_refused():
    x = da.zeros((1, 1, 10**7, 10**7), chunks=10**6, dtype="float32")
    y = ac.max_pool2d(ac.conv2d(x, KERNEL.astype("float32"), padding=1), 4, stride=4)
    assert y.shape == (1, 1, 2_500_000, 2_500_000)
    assert y.npartitions >= 100


def test_the_same_call_has_the_same_name():
    x = picture(2)
    one, again = (ac.conv2d(x, KERNEL, padding=1) for _ in range(2))
    assert one.name == again.name
    assert one.name != ac.conv2d(x, 2 * KERNEL, padding=1).name
    assert one.name != ac.conv2d(x, KERNEL, padding=1, stride=2).name


def test_blocks_can_be_sent_to_other_machines():
    lazy = CALLS["gradient of a max_pool"](picture(3))
    keys = pickle.loads(pickle.dumps(lazy)).compute()
    np.testing.assert_array_equal(keys, lazy.compute())


def test_blocks_run_with_the_options_of_the_call(monkeypatch):
    from arrayconv._options import current

    seen = []

    def block(name: str, window: Any, groups: int, x: Any, w: Any) -> Any:
        seen.append(current())
        return x

    monkeypatch.setattr("arrayconv.backends.dask.windows._of_groups", block)
    with ac.options(algorithm="fft", workspace_bytes=1234, threads=2, allow_reduced_precision=True):
        lazy = ac.conv2d(picture(2), KERNEL, padding=1)
    lazy.compute()
    assert {(each.algorithm, each.workspace_bytes, each.threads) for each in seen} == {
        ("fft", 1234, 1)
    }
    assert all(each.allow_reduced_precision for each in seen)


# --- what is taken, and what is refused -------------------------------------------------------


def test_weights_may_be_numpy_arrays():
    x, w, b = whole_numbers((1, 2, 9, 9)), whole_numbers((3, 2, 3, 3)), whole_numbers((3,))
    lazy = da.from_array(x, chunks=odd_chunks(x.shape))
    same(ac.conv2d(lazy, w, b), ac.conv2d(x, w, b))
    same(ac.correlate(lazy[0, 0], w[0, 0]), ac.correlate(x[0, 0], w[0, 0]))
    _, pullback = ac.vjp(ac.conv2d, lazy.astype(float), w.astype(float), b.astype(float))
    _, right = ac.vjp(ac.conv2d, x.astype(float), w.astype(float), b.astype(float))
    ones = np.ones((1, 3, 7, 7))
    for got, wanted in zip(pullback(da.from_array(ones, chunks=3)), right(ones), strict=True):
        same(got, wanted)
    with pytest.raises(TypeError, match="output and cotangent must be arrays of one library"):
        pullback(ones)
    with pytest.raises(TypeError, match="input and weight must be arrays of one library"):
        ac.conv2d(x, da.from_array(w))
    with pytest.raises(TypeError, match="one dtype"):
        ac.conv2d(lazy, w.astype("float32"))


def test_unknown_sizes_are_refused():
    x = da.from_array(np.arange(12.0).reshape(1, 12), chunks=4)
    unknown = x[:, da.from_array(np.arange(12) % 2 == 0, chunks=4)]
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        ac.max_pool1d(unknown, 2)


def test_the_generic_body_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="'generic' cannot serve this conv: it would gather"):
        ac.conv2d(picture(2), KERNEL, algorithm="generic")
    explained = ac.explain(ac.conv2d, picture(2), KERNEL)
    listed = {each.name: each.reason for each in explained.candidates}
    assert listed == {
        "blockwise": "fit",
        "fft": "unfit: blocks of a lazy array are transformed one by one, by their own library",
        "generic": "unfit: it would gather chunks into ever fewer and larger ones",
    }


def test_a_plane_of_indices_must_fit_into_a_chunk():
    values, indices = ac.max_pool2d(picture(4), 2, return_indices=True)
    with (
        dask.config.set({"array.chunk-size": "1KiB"}),
        pytest.raises(ValueError, match=r"no implementation can serve this place: blockwise: an "),
    ):
        ac.max_unpool2d(values, indices, 2)


def test_indices_are_checked_when_asked_for():
    values, indices = ac.max_pool2d(picture(1), 2, return_indices=True)
    ac.max_unpool2d(values, indices + 100, 2)
    with ac.options(validate=True), pytest.raises(ValueError, match="indices must be from 0"):
        ac.max_unpool2d(values, indices + 100, 2)


def test_to_numpy_and_devices_compute():
    x = da.from_array(np.arange(6.0), chunks=4)
    for got in (ac.to_numpy(x), ac.get_device("cpu").asarray(x)):
        assert type(got) is np.ndarray
        np.testing.assert_array_equal(got, np.arange(6.0))
