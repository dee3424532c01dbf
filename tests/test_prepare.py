"""prepare: the same results, the weight transformed once, and never a weight that is outdated."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest

import arrayconv as ac
from arrayconv import nn
from arrayconv.backends.numpy import compiled_winograd, winograd
from arrayconv.backends.numpy.compiler import missing
from tests.cases import CONVOLUTIONS, assert_close


@pytest.fixture
def transformed(monkeypatch) -> Iterator[list[int]]:
    """A list that grows with each weight that one thread transforms as a whole."""
    calls: list[int] = []

    def counted(original):
        def transform_weight(*arguments):
            calls.append(1)
            return original(*arguments)

        return transform_weight

    for module in (winograd, compiled_winograd):
        monkeypatch.setattr(module, "transform_weight", counted(module.transform_weight))
    with ac.options(threads=1):
        yield calls


def layer() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return an input, a weight and a bias for which Winograd is the fastest."""
    rng = np.random.default_rng(0)
    arrays = (rng.standard_normal(shape) for shape in ((1, 96, 56, 56), (64, 96, 3, 3), (64,)))
    x, w, b = (array.astype("float32") for array in arrays)
    return x, w, b


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=lambda case: case.id)
def test_every_case(library, case):
    x, w, *bias = (library.frozen(array, "float32") for array in case.arrays("float32"))
    prepared = ac.prepare(getattr(ac, case.function), w, *bias, **case.params)
    wanted = library.to_numpy(case.run(x, w, *bias))
    for _ in range(2):
        assert_close(library.to_numpy(prepared(x)), wanted, "float32")


@pytest.mark.parametrize(
    "algorithm",
    [
        *("winograd_4x4", "winograd_2x2", "im2col"),
        pytest.param(
            "numba_winograd_4x4",
            marks=pytest.mark.skipif(missing() is not None, reason=f"{missing()}"),
        ),
    ],
)
def test_the_weight_is_transformed_once(transformed, algorithm):
    x, w, b = layer()
    wanted = ac.conv2d(x, w, b, padding=1, algorithm=algorithm)
    transformed.clear()
    prepared = ac.prepare(ac.conv2d, w, b, padding=1, algorithm=algorithm)
    for _ in range(3):
        np.testing.assert_array_equal(prepared(x), wanted)
    np.testing.assert_array_equal(prepared(x[:, :, :20]).shape, (1, 64, 20, 56))
    assert len(transformed) == (0 if algorithm == "im2col" else 1)


@pytest.mark.skipif(missing() is not None, reason=f"{missing()}")
@pytest.mark.parametrize("algorithm", ["numba_winograd_3x3", "numba_winograd_1x3"])
def test_pieces_of_a_weight_are_prepared(algorithm):
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s).astype("float32") for s in ((1, 8, 20, 23), (5, 8, 7, 8)))
    prepared = ac.prepare(ac.conv2d, w, padding=3, algorithm=algorithm)
    wanted = ac.conv2d(x, w, padding=3, algorithm=algorithm)
    np.testing.assert_array_equal(prepared(x), wanted)


def test_winograd_pays_earlier_where_the_weight_is_prepared():
    """For which layers, the processor's vectors decide: with each kind it is for some of these."""
    earlier = []
    for channels, size in product((64, 128, 256), range(8, 30, 2)):
        x = np.ones((1, channels, size, size), "float32")
        w = np.ones((channels, channels, 3, 3), "float32")
        prepared = ac.prepare(ac.conv2d, w, padding=1)
        prepared(x)
        chosen = ac.explain(ac.conv2d, x, w, padding=1).chosen
        is_winograd = "winograd" in chosen
        takes_winograd = any("winograd" in name for name in prepared._ready)
        assert takes_winograd or not is_winograd
        if takes_winograd and not is_winograd:
            earlier.append((channels, size))
    assert earlier


def test_the_weight_is_a_copy():
    x, w, b = layer()
    prepared = ac.prepare(ac.conv2d, w, b)
    before = prepared(x)
    w *= 2
    b += 1
    np.testing.assert_array_equal(prepared(x), before)


def test_refused():
    x, w, _ = layer()
    with pytest.raises(TypeError, match="prepare serves conv1d, conv2d and conv3d"):
        ac.prepare(ac.conv_transpose2d, w)
    with pytest.raises(TypeError, match="strides"):
        ac.prepare(ac.conv2d, w, strides=2)
    with pytest.raises(TypeError, match="weight must be an array"):
        ac.prepare(ac.conv2d, [[1.0]])
    with pytest.raises(ValueError, match="channels"):
        ac.prepare(ac.conv2d, w)(x[:, :3])
    with pytest.raises(TypeError, match="one dtype"):
        ac.prepare(ac.conv2d, w)(x.astype("float64"))


def test_layers_outside_of_training(transformed):
    x, w, b = layer()
    convolution = nn.Conv2d(96, 64, 3, padding=1)
    convolution.load_state_dict({"weight": w, "bias": b})
    convolution.eval()
    wanted = ac.conv2d(x, w, b, padding=1)
    transformed.clear()
    for _ in range(3):
        assert_close(convolution(x), wanted, "float32")
    assert len(transformed) == 1
    # In place, replaced, and of another dtype: each counts at the next call.
    convolution.weight.value[0] *= 2
    wanted[:, 0] = 2 * (wanted[:, 0] - b[0]) + b[0]
    assert_close(convolution(x), wanted, "float32")
    convolution.weight.value = w
    assert_close(convolution(x), ac.conv2d(x, w, b, padding=1), "float32")
    assert len(transformed) == 4
    convolution.weight.value = w.astype("float64")
    convolution.bias.value = b.astype("float64")
    assert convolution(x.astype("float64")).dtype == np.float64


def test_a_prepared_convolution_can_be_copied():
    x, w, b = layer()
    prepared = ac.prepare(ac.conv2d, w, b, padding=1)
    wanted = prepared(x)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(prepared))(x), wanted)
    assert repr(prepared) == "<conv2d by a weight (64, 96, 3, 3), padding=1>"
