"""NumPy's algorithms of convolution: each forced on random geometries, its error, NaN, memory."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import arrayconv as ac
from arrayconv import primitives
from arrayconv._window import output_sizes, sliding_window
from arrayconv.backends.numpy import blocked, compiled_convolution, compiled_winograd
from arrayconv.backends.numpy import convolution as numpy_convolution
from arrayconv.backends.numpy.compiler import missing
from arrayconv.backends.numpy.convolution import BACKWARD, FORWARD, TO_WEIGHT
from arrayconv.functional.operations import operation_of
from tests.cases import CONVOLUTIONS, TRANSPOSED, assert_close, draw

WITHOUT_NUMBA = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="numba is not installed"
)
NAMES = tuple(each.name for each in FORWARD.algorithms)
COMPILED = ("numba", "channels_last")
ALGORITHMS = [
    pytest.param(name, marks=WITHOUT_NUMBA) if name.startswith(COMPILED) else name for name in NAMES
]
WINOGRAD = [
    pytest.param(name, marks=WITHOUT_NUMBA) if name.startswith("numba") else name
    for name in NAMES
    if "winograd" in name
]
PIECES = {"numba_winograd_3x3": 6, "numba_winograd_1x3": 4}
"""Winograd for large kernels, in pieces of 3 taps; and the taps from which on they serve."""
OF_SMALL = [each for each in WINOGRAD if not any(name in repr(each) for name in PIECES)]
OTHERS = {"as_float32": ("float16", "float64"), "as_real": ("complex64", "complex128")}
"""The dtypes of algorithms that are for others than real numbers, and those of double precision."""
WORKSPACES = (1, 40_000, 2 << 20)
SOME_SIDES = ((1, 3), (3, 3), (4, 2), (5, 5))
"""Sizes of kernels in a plain run: compiled transforms are compiled for each."""


def dtypes_of(algorithm: str) -> tuple[str, str]:
    """Return the dtype that an algorithm is tried with, and that of double precision."""
    return OTHERS.get(algorithm, ("float32", "float64"))


def geometry(
    rng: np.random.Generator, algorithm: str, full: bool
) -> tuple[Any, Any, dict[str, Any], int]:
    """Return arrays, arguments and the number of dimensions that may suit an algorithm."""

    def numbers(low: int, high: int) -> tuple[int, ...]:
        return tuple(int(n) for n in rng.integers(low, high, dims))

    dims = int(rng.integers(1, 4))
    groups, per_group, outputs = (int(n) for n in rng.integers(1, 4, 3))
    kernel, sizes = numbers(1, 5), numbers(1, {1: 40, 2: 16, 3: 8}[dims])
    params: dict[str, Any] = {"stride": numbers(1, 3), "dilation": numbers(1, 3)}
    pads = numbers(0, 4), numbers(0, 4)
    if "winograd" in algorithm:
        dims = 2 if algorithm == "numba_winograd_1x3" else int(rng.integers(1, 4))
        lead = tuple(int(n) for n in rng.integers(1, 4, max(0, dims - 2)))
        least, most = PIECES.get(algorithm, 2), 6 if algorithm.endswith("2x2") else 4
        if algorithm in PIECES:
            most = 14
        last = tuple(int(n) for n in rng.integers([1, least], most, 2))
        if algorithm == "numba_winograd_1x3" and rng.random() < 0.3:
            last = max(4, last[0]), 3 - full * int(rng.integers(2))
        if algorithm.startswith("numba") and algorithm not in PIECES and not full:
            some = [sides for sides in SOME_SIDES if max(sides) < most]
            last = some[int(rng.integers(len(some)))]
        last = last[-min(2, dims) :]
        kernel, sizes = (*lead, *last), numbers(least - 1, {1: 90, 2: 20, 3: 12}[dims])
        params = {"stride": (*(min(2, n) for n in lead), *(1 for _ in last))}
        if algorithm.startswith("numba"):
            params["dilation"] = numbers(1, 4)
        pads = numbers(0, 4), numbers(0, 4)
    elif algorithm == "numba" and not full:
        # Sums for each number of outputs and of terms that is left over are compiled too.
        form = int(rng.integers(3))
        kernel, per_group = (2, *SOME_SIDES[form])[-dims:], form + 1
        outputs = (3, 1, 2)[form]
    elif algorithm == "pointwise":
        kernel, pads = (1,) * dims, ((0,) * dims,) * 2
    elif algorithm == "shifts":
        per_group = 1
    elif algorithm == "numba_depthwise":
        per_group = 1
        sizes = numbers(1, {1: 160, 2: 40, 3: 12}[dims])
        if not full:
            # Each form of windows is compiled for itself.
            form = int(rng.integers(3))
            kernel = (2, *SOME_SIDES[form])[-dims:]
            params = {"stride": 1 + form % 2, "dilation": 1 + form // 2}
            pads = ((2, 1, pads[0][-1])[-dims:], (0, 3, pads[1][-1])[-dims:])
            sizes = (9, 19, sizes[-1])[-dims:]
    elif algorithm == "channel_shifts":
        groups, per_group, outputs = int(rng.integers(2, 40)), 1, int(rng.integers(1, 3))
    elif algorithm == "channels_last":
        groups, per_group, outputs = int(rng.integers(1, 40)), 1, 1
    elif algorithm == "fft":
        params["stride"] = 1
    elif algorithm == "mec":
        params["dilation"] = 1
    params |= {"groups": groups, "padding": tuple(zip(*pads, strict=True))}
    shape = (int(rng.integers(1, 4)), groups * per_group, *sizes)
    weight = (groups * outputs, per_group, *kernel)
    dtype = dtypes_of(algorithm)[1]
    return draw(rng, shape, dtype), draw(rng, weight, dtype), params, dims


ENOUGH = 50
"""Random geometries that a plain run draws for each algorithm: for some a loop is compiled each."""


@pytest.fixture
def full(request: pytest.FixtureRequest, left_out: Callable[[str], None]) -> bool:
    """Return whether all is asked for; a plain run says what it does without."""
    found: bool = request.config.getoption("--full")
    if not found:
        left_out(
            "most random geometries of each algorithm, and sizes of Winograd's kernels: --full"
        )
    return found


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_random_geometries(algorithm, full):
    """Each against the generic body in float64, with blocks of every size, and biases by turns."""
    served = 0
    for index in range(1500 if full else 200):
        rng = np.random.default_rng([NAMES.index(algorithm), index])
        x, w, params, dims = geometry(rng, algorithm, full)
        function = getattr(ac, f"conv{dims}d")
        dtype, double = dtypes_of(algorithm)
        bias = [draw(rng, (len(w),), double)] if index % 2 else []
        given = [each.astype(dtype) for each in (x, w, *bias)]
        try:
            wide = [each.astype(double) for each in given]
            wanted = function(*wide, **params, algorithm="generic")
        except ValueError:
            continue
        named = {each.name: each for each in ac.explain(function, *given, **params).candidates}
        if named[algorithm].reason.startswith("unfit"):
            continue
        served += 1
        with ac.options(workspace_bytes=WORKSPACES[index % len(WORKSPACES)]):
            got = function(*given, **params, algorithm=algorithm)
        assert got.dtype == dtype
        assert_close(got, wanted, dtype)
        if served == ENOUGH and not full:
            break
    assert served > 40


@pytest.mark.parametrize(
    "algorithm", [*ALGORITHMS, pytest.param("numba_im2col", marks=WITHOUT_NUMBA)]
)
def test_random_gradients(algorithm, full):
    """Each against the generic bodies in float64; an adjoint with a stride may have few."""
    served = {"conv_transpose": 0, "conv_weight": 0}
    for index in range(600 if full else 120):
        rng = np.random.default_rng([*algorithm.encode(), index])
        x, w, params, dims = geometry(rng, algorithm, full)
        if index % 3 and algorithm != "numba_im2col":
            params["stride"] = 1
        try:
            parse = operation_of(getattr(ac, f"conv{dims}d"), "test").call
            assert parse is not None
            call = parse(x, w, **params)
        except ValueError:
            continue
        window, groups = call.arguments[2:]
        dtype, double = dtypes_of(algorithm)
        y = draw(rng, (len(x), len(w), *output_sizes(window)), double)
        for name, first, second in (("conv_transpose", y, w), ("conv_weight", x, y)):
            primitive = getattr(primitives, name)
            given = [each.astype(dtype) for each in (first, second)]
            wide = [each.astype(double) for each in given]
            by_name = {each.name: each for each in primitive.implementations(x)}
            if algorithm not in by_name or by_name[algorithm].unfit(*given, window, groups):
                continue
            served[name] += 1
            with ac.options(workspace_bytes=WORKSPACES[index % len(WORKSPACES)]):
                got = primitive(*given, window, groups, algorithm=algorithm)
            wanted = primitive(*wide, window, groups, algorithm="generic")
            assert got.dtype == dtype
            assert_close(got, wanted, dtype)
        if min(served.values()) >= ENOUGH and not full:
            break
    assert served["conv_transpose"] > 25
    assert served["conv_weight"] == 0 or served["conv_weight"] > 25


@pytest.mark.parametrize("case", [*CONVOLUTIONS, *TRANSPOSED], ids=lambda case: case.id)
def test_the_table_by_every_implementation(case):
    """Output and gradients of every case, with every algorithm wherever it is fit."""
    arrays = case.arrays("float64")
    function = getattr(ac, case.function)
    with ac.options(algorithm="generic"):
        wanted, pullback = ac.vjp(function, *arrays, **case.params)
        cotangent = draw(np.random.default_rng(1), wanted.shape, "float64")
        gradients = pullback(cotangent)
    for name in NAMES:
        for dtype in OTHERS[name][:1] if name in OTHERS else ("float32", "float64"):
            given = [array.astype(dtype) for array in arrays]
            with ac.options(algorithm=name):
                got, pullback = ac.vjp(function, *given, **case.params)
                found = pullback(cotangent.astype(dtype))
            assert_close(got, wanted, dtype)
            for each, right in zip(found, gradients, strict=True):
                assert_close(each, right, dtype)


def layer(algorithm: str, channels: int, size: int, batch: int = 1) -> tuple[Any, Any, int]:
    """Return an input, a weight for as many outputs, and the groups, that an algorithm serves."""
    rng = np.random.default_rng(0)
    kernel = 7 if algorithm in PIECES else 1 if algorithm == "pointwise" else 3
    depthwise = ("shifts", "channel_shifts", "numba", "numba_depthwise", "channels_last")
    groups = channels if algorithm in depthwise else 1
    dtype, _ = dtypes_of(algorithm)
    x = draw(rng, (batch, channels, size, size), dtype)
    return x, draw(rng, (channels, channels // groups, kernel, kernel), dtype), groups


@pytest.mark.parametrize("channels", [4, 64, 256])
@pytest.mark.parametrize("algorithm", WINOGRAD)
def test_the_error_of_winograd(algorithm, channels):
    """As a share of the largest output: 1e-5 is the bar; the small tile is as exact as im2col."""
    x, w, _ = layer(algorithm, channels, 24)
    params: dict[str, Any] = {"padding": "same"}
    wanted = ac.conv2d(x.astype("float64"), w.astype("float64"), **params)
    largest = np.abs(wanted).max()

    def error(name: str) -> float:
        return float(np.abs(ac.conv2d(x, w, **params, algorithm=name) - wanted).max() / largest)

    assert error(algorithm) < 5e-6


@pytest.mark.parametrize(
    "kernel", [(2, 2), (4, 4), (5, 5), (3, 5), (5, 2), (6, 6), (9, 4), (2, 8), (11, 11)]
)
@pytest.mark.parametrize("algorithm", WINOGRAD)
def test_the_error_of_winograd_for_other_kernels(algorithm, kernel):
    """They have six points a dimension at most, and so the error of the large tile for 3 x 3."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 64, 24, 25)).astype("float32")
    w = rng.standard_normal((64, 64, *kernel)).astype("float32")
    least, most = PIECES.get(algorithm, 2), 3 if algorithm.endswith("4x4") else 5
    if algorithm in PIECES:
        most = 32
    if not least <= max(kernel) <= most:
        reason = "is too large for tiles of|it is for kernels of [46] to 32, not of [245]"
        with pytest.raises(ValueError, match=reason):
            ac.conv2d(x, w, algorithm=algorithm)
        return
    wanted = ac.conv2d(x.astype("float64"), w.astype("float64"))
    got = ac.conv2d(x, w, algorithm=algorithm)
    assert np.abs(got - wanted).max() / np.abs(wanted).max() < 5e-6


@WITHOUT_NUMBA
def test_a_dilation_of_many_phases_is_unfit_for_winograd():
    x, w = np.ones((1, 4, 300), "float32"), np.ones((4, 4, 3), "float32")
    for dilation, fits in ((64, True), (65, False)):
        found = ac.explain(ac.conv1d, x, w, dilation=dilation).candidates
        (reason,) = (each.reason for each in found if each.name == "numba_winograd_4x4")
        assert reason.startswith("unfit: its dilation has 65 phases") != fits


@WITHOUT_NUMBA
@pytest.mark.parametrize("algorithm", ["numba_winograd_2x2", "numba_winograd_4x4", *PIECES])
@pytest.mark.parametrize("dilation", [(2, 1), (3, 2)])
def test_phases_of_a_dilation_that_see_padding_only(algorithm, dilation):
    """Of planes of fewer rows than the dilation has phases: the first of these among them."""
    rng, wide = np.random.default_rng(0), PIECES.get(algorithm, 2)
    x, w = draw(rng, (3, 4, 1, 19), "float64"), draw(rng, (6, 2, 2, wide), "float64")
    params: dict[str, Any] = {"padding": ((1, 3), (3, 0)), "dilation": dilation, "groups": 2}
    results = []
    for name, dtype in ((algorithm, "float32"), ("generic", "float64")):
        with ac.options(algorithm=name):
            y, pullback = ac.vjp(ac.conv2d, x.astype(dtype), w.astype(dtype), **params)
            results.append((y, *pullback(np.cos(np.arange(y.size)).reshape(y.shape).astype(dtype))))
    for got, wanted in zip(*results, strict=True):
        assert_close(got, wanted, "float32")


@pytest.mark.parametrize("algorithm", WINOGRAD)
@pytest.mark.parametrize("kernel", [(3,), (1, 3)])
def test_the_error_of_winograd_along_lines(algorithm, kernel):
    """One transform rounds less than two do; long lines are cut into blocks, for every thread."""
    rng = np.random.default_rng(0)
    function = getattr(ac, f"conv{len(kernel)}d")
    if algorithm in PIECES:
        kernel = (*kernel[:-1], 11)
    if algorithm == "numba_winograd_1x3":
        with pytest.raises(ValueError, match="the kernel has one row"):
            function(
                np.ones((1, 1, *kernel), "float32"),
                np.ones((1, 1, *kernel), "float32"),
                algorithm=algorithm,
            )
        return
    x = rng.standard_normal((2, 64, *(5,) * (len(kernel) - 1), 9001)).astype("float32")
    w = rng.standard_normal((48, 64, *kernel)).astype("float32")
    params = {"padding": tuple(size // 2 for size in kernel)}
    wanted = function(x.astype("float64"), w.astype("float64"), **params)
    with ac.options(threads=1):
        got = function(x, w, **params, algorithm=algorithm)
    assert np.abs(got - wanted).max() / np.abs(wanted).max() < 2e-6
    with ac.options(threads=3):
        np.testing.assert_array_equal(function(x, w, **params, algorithm=algorithm), got)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_what_is_not_finite(algorithm, value):
    """Direct algorithms spread it over the windows that see it; Winograd also over their tile."""
    x, w, groups = layer(algorithm, 3, 20)
    kernel = w.shape[-1]
    x[0, 1, 9, 10] = value
    y = ac.conv2d(x, w, padding=kernel // 2, groups=groups, algorithm=algorithm)
    spread = ~np.isfinite(y)
    rows, columns = (np.unique(each) for each in np.nonzero(spread)[2:])
    reach = kernel // 2
    if "winograd" in algorithm:
        # Tiles start at multiples of their size; some see the cell, by whole pieces of a kernel.
        for cell, tile, found in zip(
            (9, 10), map(int, algorithm[-3::2]), (rows, columns), strict=True
        ):
            taps = -(-kernel // tile) * tile if algorithm in PIECES else kernel
            first = -(-(cell + reach - (tile + taps - 2)) // tile)
            low, high = first * tile, ((cell + reach) // tile + 1) * tile
            windows = range(cell - reach, cell + reach + 1)
            assert set(windows) <= set(found) <= set(range(low, high))
    elif algorithm == "fft":
        assert spread.all(), "the plane is one tile"
    else:
        assert spread.sum() == w.shape[0] // groups * kernel**2
        np.testing.assert_array_equal(rows, np.arange(9 - reach, 9 + reach + 1))
        np.testing.assert_array_equal(columns, np.arange(10 - reach, 10 + reach + 1))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(("channels", "size", "batch"), [(16, 96, 2), (64, 40, 1), (4, 200, 1)])
def test_memory(algorithm, channels, size, batch):
    """Beside input and output at most as much again, or 1.25 times a larger transformed weight."""
    x, w, groups = layer(algorithm, channels, size, batch)
    params: dict[str, Any] = {"padding": "same", "algorithm": algorithm, "groups": groups}
    with ac.options(threads=1):
        y = ac.conv2d(x, w, **params)
        tracemalloc.start()
        try:
            ac.conv2d(x, w, **params)
            held = tracemalloc.get_traced_memory()[1] - y.nbytes
        finally:
            tracemalloc.stop()
    tile = int(algorithm[-1]) if algorithm.startswith("winograd") else 1
    transformed = w.nbytes * (tile + 2) ** 2 // 9
    if algorithm in OTHERS:
        # Squares of 4 of weights of twice the bytes, or of three of half of them.
        transformed = w.nbytes * {"as_float32": 8, "as_real": 6}[algorithm]
    if algorithm in PIECES:
        # Nine pieces of 7 x 7 of 25 points each; or three of each of its rows, of 5.
        transformed = w.nbytes // 49 * (9 * 25 if algorithm.endswith("3x3") else 7 * 3 * 5)
    if algorithm == "fft":
        # A complex number for every other cell of a tile, laid out and transformed.
        transformed = 4 * (w.shape[0] * w.shape[1] + channels) * 144**2 * x.itemsize
    assert held <= max(1.05 * (x.nbytes + y.nbytes), 1.3 * transformed)


@pytest.mark.parametrize("algorithm", WINOGRAD)
def test_a_layer_of_one_image_is_cut_for_threads(algorithm):
    x, w, _ = layer(algorithm, 48, 61)
    results = set()
    for threads in (1, 2, 3, 7):
        with ac.options(threads=threads):
            results.add(ac.conv2d(x, w, padding="same", algorithm=algorithm).tobytes())
    assert len(results) == 1


@pytest.mark.parametrize("shape", [(1, 24, 61, 47), (3, 24, 17, 20), (2, 24, 300)])
@pytest.mark.parametrize("algorithm", OF_SMALL)
def test_the_same_bits_of_a_gradient_whatever_the_threads(algorithm, shape):
    """In one block and in many, whose products are added up in their order."""
    x, y = (draw(np.random.default_rng(n), shape, "float32") for n in range(2))
    dims = len(shape) - 2
    window = sliding_window(shape[2:], (3,) * dims, (1,) * dims, ((1, 1),) * dims, (1,) * dims)
    wanted = primitives.conv_weight(*map(np.float64, (x, y)), window, 2, algorithm="generic")
    for workspace in (1, 100_000, 32 << 20):
        results = set()
        for threads in (1, 2, 3, 7):
            with ac.options(threads=threads, workspace_bytes=workspace):
                got = primitives.conv_weight(x, y, window, 2, algorithm=algorithm)
            results.add(got.tobytes())
        assert len(results) == 1
        assert_close(got, wanted, "float32")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_same_bits_whatever_the_threads(algorithm):
    x, w, groups = layer(algorithm, 16, 60, 3)
    params: dict[str, Any] = {"padding": "same", "algorithm": algorithm, "groups": groups}
    results = set()
    for threads in (1, 2, 3):
        with ac.options(threads=threads, workspace_bytes=1 << 18):
            results.add(ac.conv2d(x, w, **params).tobytes())
    assert len(results) == 1


def test_auto_takes_what_is_estimated_to_be_fastest(monkeypatch):
    def chosen(*shapes: tuple[int, ...], dtype: str = "float32", **params: Any) -> str:
        arrays = (np.empty(shape, dtype) for shape in shapes)
        return ac.explain(ac.conv2d, *arrays, **params).chosen

    layers: tuple[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]], ...] = (
        ((1, 64, 56, 56), (64, 64, 3, 3), {"padding": 1}),
        ((1, 64, 56, 56), (64, 64, 3, 3), {"padding": 1, "dtype": "float64"}),
        ((1, 64, 56, 56), (64, 64, 3, 3), {"stride": 2}),
        ((1, 512, 7, 7), (512, 512, 3, 3), {"padding": 1}),
        ((1, 8, 16, 16), (8, 8, 3, 3), {"padding": 1}),
        ((1, 64, 56, 56), (256, 64, 1, 1), {"stride": 2}),
    )

    def choices() -> list[str]:
        FORWARD.forget()
        return [chosen(*shapes, **params) for *shapes, params in layers]

    if missing() is None:
        assert choices() == ["numba_winograd_2x2", *["numba"] * 5]
    for module in (compiled_convolution, compiled_winograd):
        monkeypatch.setattr(module, "missing", lambda: "numba is not installed")
    assert choices() == ["winograd_2x2", "mec", *["im2col"] * 3, "pointwise"]
    FORWARD.forget()


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "complex64"])
@pytest.mark.parametrize("without", [False, True])
def test_the_one_that_runs_is_the_first_that_is_fit_and_not_slow(dtype, last, without, monkeypatch):
    """For the choice asks one question, and `explain` and the registry's order many."""
    if without:
        for module in (compiled_convolution, compiled_winograd, numpy_convolution):
            monkeypatch.setattr(module, "missing", lambda: "numba is not installed")
    rules = (FORWARD, BACKWARD, TO_WEIGHT)
    for rule in rules:
        rule.forget()
    for channels, kernel, stride, groups in (
        *((4, 3, 1, 1), (64, 3, 1, 1), (64, 3, 1, 64), (64, 1, 1, 1), (64, 1, 2, 1)),
        *((3, 7, 2, 1), (32, 5, 1, 1), (32, 4, 4, 1), (48, 3, 2, 48), (24, 9, 1, 24)),
    ):
        x = np.zeros((1, 32, 32, channels), dtype)
        x = np.moveaxis(x, -1, 1) if last else x.transpose(0, 3, 1, 2).copy()
        w = np.zeros((channels, channels // groups, kernel, kernel), dtype)
        window = sliding_window(x.shape[2:], w.shape[2:], (stride,) * 2, ((0, 0),) * 2, (1, 1))
        y = np.zeros((1, channels, *output_sizes(window)), dtype)
        for primitive, pair in (
            *((primitives.conv, (x, w)), (primitives.conv_transpose, (y, w))),
            (primitives.conv_weight, (x, y)),
        ):
            listed = primitive.candidates("auto", *pair, window, groups)
            first = next(each for each in listed if each.reason == "fit")
            assert first.chosen, (primitive.name, listed)
    for rule in rules:
        rule.forget()


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("dtype", ["float16", "float32", "int16", "complex128"])
def test_channel_shifts_of_channels_last_arrays(dtype, padding):
    """The numbers of the usual order, in the order that came in, and nothing else is copied."""
    rng = np.random.default_rng(0)
    x, w = draw(rng, (2, 7, 9, 30), dtype), draw(rng, (30, 1, 3, 3), dtype)
    x, usual = np.moveaxis(x, -1, 1), np.ascontiguousarray(np.moveaxis(x, -1, 1))
    params: dict[str, Any] = {"groups": 30, "padding": padding, "stride": (2, 1)}
    wanted = ac.conv2d(usual, w, **params, algorithm="generic")
    for given in (x, usual):
        got = ac.conv2d(given, w, **params, algorithm="channel_shifts")
        assert got.flags.c_contiguous == (given is usual)
        assert_close(got, wanted, dtype)


def test_auto_takes_channel_shifts_for_channels_last_arrays_without_numba(monkeypatch):
    for module in (compiled_convolution, compiled_winograd, numpy_convolution):
        monkeypatch.setattr(module, "missing", lambda: "numba is not installed")
    FORWARD.forget()
    x, w = np.empty((1, 56, 57, 144), "float32"), np.empty((144, 1, 3, 3), "float32")
    turned = np.moveaxis(x, -1, 1)
    usual = np.empty(turned.shape, "float32")
    chosen = [ac.explain(ac.conv2d, each, w, groups=144).chosen for each in (turned, usual)]
    FORWARD.forget()
    assert chosen == ["channel_shifts", "mec"]


def test_numba_is_imported_only_where_it_runs():
    program = (
        "import sys, numpy as np, arrayconv as ac;"
        "x, w = np.ones((1, 8, 7, 7)), np.ones((8, 8, 3, 3));"
        "ac.conv2d(x, w); ac.unfold(x.astype('complex128'), 3);"
        "print('numba' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "False", done.stderr


def test_without_numba_it_is_unfit(monkeypatch):
    monkeypatch.setattr(compiled_convolution, "missing", lambda: "numba is not installed")
    # Sizes of no other test: what is unfit is remembered.
    x, w = np.ones((1, 8, 9, 77), "float32"), np.ones((8, 1, 3, 3), "float32")
    with pytest.raises(ValueError, match="'numba' cannot serve this conv: numba is not installed"):
        ac.conv2d(x, w, groups=8, algorithm="numba")


@pytest.mark.parametrize("adds", [True, False])
def test_both_ways_of_the_plain_adjoint(adds, monkeypatch):
    """It adds columns to cells, or slides over columns of the other array: whichever takes less."""
    rng = np.random.default_rng(3)
    window = sliding_window((7, 6), (3, 2), (1, 1), ((1, 0), (0, 1)), (1, 2))
    monkeypatch.setattr(blocked, "slides", lambda *_: not adds)
    for outputs, channels, groups in ((1, 9, 1), (8, 2, 2), (4, 4, 4)):
        y = rng.standard_normal((3, outputs * groups, *output_sizes(window)))
        w = rng.standard_normal((outputs * groups, channels, 3, 2))
        got = primitives.conv_transpose(y, w, window, groups, algorithm="im2col")
        expected = primitives.conv_transpose(y, w, window, groups, algorithm="generic")
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


def test_the_plain_adjoint_slides_where_it_copies_less():
    window = sliding_window((6, 6, 6), (3, 3, 3), (1, 1, 1), ((1, 1),) * 3, (1, 1, 1))
    assert blocked.slides(window, 4, 338, 4 * 338 * 27, 4 * 216)
    assert not blocked.slides(window, 366, 5, 366 * 5 * 27, 366 * 216)
    strided = tuple(axis._replace(stride=2, out=3) for axis in window)
    assert not blocked.slides(strided, 4, 338, 4 * 338 * 27, 4 * 27)
