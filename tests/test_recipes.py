"""The recipes of the docs against the packages that they stand in for, and against loops.

The code of a page is run, and what it defined is compared: with the package where it is installed
(sigpy, thinc and Keras are not needed to run the tests), and in any case with a definition.
"""

from __future__ import annotations

import functools
import importlib
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import arrayconv as ac
from arrayconv import reference
from tests.test_docs import program

DOCS = Path(__file__).parents[1] / "docs"


@functools.cache
def page(name: str) -> SimpleNamespace:
    """Return what the code of a page defines."""
    code = program((DOCS / name).read_text(encoding="utf-8"))
    names: dict[str, object] = {"__name__": name}
    exec(compile(code, name, "exec"), names)
    return SimpleNamespace(**names)


def installed(package, left_out):
    """Return a package; the test is left out, and says so, where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(package)
    except ImportError:
        package = package.partition(".")[0]
        left_out(f"{package} is not installed: a recipe was not compared with it")
        pytest.skip(f"{package} is not installed")


# --- sigpy ------------------------------------------------------------------------------------


def sigpy_cases(count):
    """Yield random data, filter and parameters of sigpy's convolve."""
    random = np.random.default_rng(0)
    for number in range(count):
        dims = int(random.integers(1, 4))
        multi, mode = bool(number % 2), ("full", "valid")[number // 2 % 2]
        taps = random.integers(1, 4, dims)
        sizes = taps + random.integers(0, 5, dims)
        strides = None if number % 3 == 0 else tuple(map(int, random.integers(1, 4, dims)))
        channels = tuple(random.integers(1, 4, 2)) if multi else ()
        batch = tuple(random.integers(1, 3, int(random.integers(0, 3))))
        shapes = (*batch, *channels[1:], *sizes), (*channels, *taps)
        dtype = (np.float64, np.complex128, np.float32, np.complex64)[number % 4]

        def noise(shape, dtype=dtype):
            both = random.normal(size=(2, *shape))
            complexes = both[0] + 1j * both[1]
            return (complexes if np.issubdtype(dtype, np.complexfloating) else both[0]).astype(
                dtype
            )

        yield noise, *shapes, {"mode": mode, "strides": strides, "multi_channel": multi}


def convolved_by_loops(data, filt, mode, strides, multi_channel):
    """Return the definition: each output is a sum over the filter, flipped by its index."""
    dims = filt.ndim - 2 * multi_channel
    taps = filt.shape[-dims:]
    filters = filt if multi_channel else filt[None, None]
    batched = data.reshape(-1, filters.shape[1], *data.shape[-dims:])
    if mode == "full":
        ends = [(n - 1, n - 1) for n in taps]
        batched = np.pad(batched, [(0, 0), (0, 0), *ends])
    steps = strides or (1,) * dims
    room = np.subtract(batched.shape[2:], taps)
    counts = tuple(int(each) for each in room // np.array(steps) + 1)
    output = np.zeros((len(batched), len(filters), *counts), data.dtype)
    for place in np.ndindex(counts):
        for tap in np.ndindex(taps):
            at = zip(place, steps, taps, tap, strict=True)
            cell = tuple(p * s + n - 1 - t for p, s, n, t in at)
            seen = batched[(slice(None), slice(None), *cell)]
            output[(..., *place)] += seen @ filters[(..., *tap)].T
    inner = (len(filters),) if multi_channel else ()
    return output.reshape(*data.shape[: data.ndim - dims - multi_channel], *inner, *counts)


def close(ours, theirs):
    assert ours.shape == theirs.shape
    relative = 2e-6 if ours.dtype in (np.float32, np.complex64) else 1e-13
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=relative * max(1, abs(theirs).max()))


def test_convolve_is_what_the_loops_say_and_its_adjoints_are_adjoint():
    ours = page("recipes/sigpy.md")
    for noise, data_shape, filt_shape, params in sigpy_cases(40):
        data, filt = noise(data_shape), noise(filt_shape)
        output = ours.convolve(data, filt, **params)
        assert output.dtype == data.dtype
        close(output, convolved_by_loops(data, filt, **params))
        other = noise(output.shape)
        to_data = ours.convolve_data_adjoint(other, filt, data_shape, **params)
        to_filter = ours.convolve_filter_adjoint(other, data, filt_shape, **params)
        assert (to_data.shape, to_filter.shape) == (data.shape, filt.shape)
        tolerance = 1e-3 if data.dtype in (np.float32, np.complex64) else 1e-9
        assert abs(np.vdot(other, output) - np.vdot(to_data, data)) < tolerance
        assert abs(np.vdot(other, output) - np.vdot(to_filter, filt)) < tolerance


def test_sigpy(left_out):
    theirs, ours = installed("sigpy", left_out), page("recipes/sigpy.md")
    for noise, data_shape, filt_shape, params in sigpy_cases(60):
        data, filt = noise(data_shape), noise(filt_shape)
        output = theirs.convolve(data, filt, **params)
        close(ours.convolve(data, filt, **params), output)
        for function, arrays, shape in (
            ("convolve_data_adjoint", (output, filt), data_shape),
            ("convolve_filter_adjoint", (output, data), filt_shape),
        ):
            found = getattr(ours, function)(*arrays, shape, **params)
            close(found, getattr(theirs, function)(*arrays, shape, **params))


# --- thinc ------------------------------------------------------------------------------------


def windows_by_loops(seq, width, lengths):
    rows = []
    start = 0
    for length in lengths:
        for place in range(length):
            near = range(place - width, place + width + 1)
            zero = np.zeros_like(seq[0])
            seen = [seq[start + each] if 0 <= each < length else zero for each in near]
            rows.append(np.concatenate(seen))
        start += length
    return np.stack(rows)


@pytest.mark.parametrize("width", [0, 1, 2, 5])
@pytest.mark.parametrize("lengths", [[7], [3, 4], [1, 5, 1], [2, 0, 5]])
def test_seq2col(width, lengths, left_out):
    ours = page("recipes/thinc.md")
    random = np.random.default_rng(0)
    seq = random.normal(size=(7, 3))
    columns = ours.seq2col(seq, width, lengths=lengths)
    np.testing.assert_array_equal(columns, windows_by_loops(seq, width, lengths))
    if len(lengths) == 1:
        np.testing.assert_array_equal(ours.seq2col(seq, width), columns)
    other = random.normal(size=columns.shape)
    back = ours.backprop_seq2col(other, width, lengths=lengths)
    assert np.isclose(np.vdot(other, columns), np.vdot(back, seq))


def test_thinc(left_out):
    ours, theirs = page("recipes/thinc.md"), installed("thinc.api", left_out).NumpyOps()
    random = np.random.default_rng(0)
    for lengths in (None, [4, 5], [1, 7, 1]):
        given = None if lengths is None else np.asarray(lengths, dtype=np.int32)
        for width in (1, 2, 3):
            seq = random.normal(size=(9, 4)).astype(np.float32)
            columns = theirs.seq2col(seq, width, lengths=given)
            np.testing.assert_array_equal(ours.seq2col(seq, width, lengths), columns)
            found = ours.backprop_seq2col(columns, width, lengths)
            back = theirs.backprop_seq2col(columns, width, lengths=given)
            np.testing.assert_allclose(found, back, rtol=1e-6)


# --- Keras ------------------------------------------------------------------------------------


def keras_cases():
    for dims in (1, 2, 3):
        for padding in ("valid", "same"):
            for layout in ("channels_last", "channels_first"):
                for strides, dilation in ((1, 1), (2, 1), (1, 2)):
                    yield dims, padding, layout, strides, dilation


def random_pictures(dims, layout, channels=4):
    sizes = (9, 8, 7)[:dims]
    shape = (2, *sizes, channels) if layout == "channels_last" else (2, channels, *sizes)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_the_layout_of_keras_is_the_only_difference():
    ours = page("recipes/keras.md")
    x = random_pictures(2, "channels_last")
    kernel = np.random.default_rng(1).normal(size=(3, 2, 4, 5)).astype(np.float32)
    found = ours.conv(x, kernel, strides=2, padding="same")
    weight = kernel.transpose(3, 2, 0, 1)
    expected = reference.conv(x.transpose(0, 3, 1, 2), weight, None, 2, "same_upper", 1, 1)
    np.testing.assert_allclose(found, np.moveaxis(expected, 1, -1), atol=1e-5)
    pooled = ours.max_pool(x, 3, 2, "same")
    whole = ac.max_pool2d(np.ascontiguousarray(x.transpose(0, 3, 1, 2)), 3, 2, "same_upper")
    np.testing.assert_array_equal(pooled, whole.transpose(0, 2, 3, 1))


def test_keras(monkeypatch, left_out):
    monkeypatch.setenv("KERAS_BACKEND", "numpy")
    installed("jax", left_out)
    theirs = installed("keras.src.backend.numpy.nn", left_out)
    ours = page("recipes/keras.md")
    random = np.random.default_rng(2)
    for dims, padding, layout, strides, dilation in keras_cases():
        x = random_pictures(dims, layout)
        params = {"padding": padding, "data_format": layout}
        steps = {**params, "strides": strides, "dilation_rate": dilation}
        for inner in (4, 2):  # without groups and with two
            kernel = random.normal(size=(*(3, 2, 2)[:dims], inner, 6)).astype(np.float32)
            close(ours.conv(x, kernel, **steps), np.asarray(theirs.conv(x, kernel, **steps)))
        if dims < 3:
            depth = random.normal(size=(*(3, 2)[:dims], 4, 2)).astype(np.float32)
            found = ours.depthwise_conv(x, depth, **steps)
            close(found, np.asarray(theirs.depthwise_conv(x, depth, **steps)))
            points = random.normal(size=(*(1, 1)[:dims], 8, 3)).astype(np.float32)
            found = ours.separable_conv(x, depth, points, **steps)
            if dilation == 1:
                close(found, np.asarray(theirs.separable_conv(x, depth, points, **steps)))
        for pool in ("max_pool", "average_pool"):
            found = getattr(ours, pool)(x, 3, strides, **params)
            close(found, np.asarray(getattr(theirs, pool)(x, 3, strides, **params)))
            # Keras' own default for the strides, None, fails in that backend.
            whole = getattr(ours, pool)(x, 2, **params)
            close(whole, np.asarray(getattr(theirs, pool)(x, 2, 2, **params)))


# --- im2col of other frameworks, and channels last ----------------------------------------------


def test_the_columns_of_other_frameworks():
    """Each against the definition: the entry of every picture, channel, tap and position."""
    ours = page("coming-from-im2col.md")
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 6))
    taps, step, pad = (3, 2), 2, 1
    chainer = ours.chainer_im2col(x, taps, step, pad)
    dezero = ours.dezero_im2col(x, taps, step, pad)
    cs231n = ours.cs231n_im2col(x, taps, step, pad)
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    batch, _, _, _, high, wide = chainer.shape
    for n, c, i, j, row, column in np.ndindex(chainer.shape):
        value = padded[n, c, row * step + i, column * step + j]
        tap = (c * taps[0] + i) * taps[1] + j
        position = row * wide + column
        assert chainer[n, c, i, j, row, column] == value
        assert dezero[n * high * wide + position, tap] == value
        assert cs231n[tap, position * batch + n] == value
    assert chainer.size == dezero.size == cs231n.size


def test_the_measurement_of_channels_last_is_a_table():
    from docs.channels_last import cases, table

    lines = table(rounds=1).splitlines()
    assert len(lines) == 2 + len(cases())
    assert {line.count("|") for line in lines} == {7}
    shown = (DOCS / "channels-last.md").read_text(encoding="utf-8")
    assert all(f"| {name} | " in shown for name in cases())
    assert lines[0] in shown
