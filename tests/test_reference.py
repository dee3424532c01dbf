"""The oracle against the lecture's numbers, counting by hand, and torch."""

from __future__ import annotations

import numpy as np
import pytest

from arrayconv import reference
from tests.lecture import FILTERS, LECTURE, MAPS


@pytest.mark.parametrize("loop", [reference.conv, reference.conv_by_position])
@pytest.mark.parametrize("dtype", ["int64", "float32", "float64", "int8", "complex128"])
def test_the_lectures_numbers(loop, dtype):
    got = loop(LECTURE.astype(dtype), FILTERS.astype(dtype), np.ones(2, dtype))
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, MAPS)


def test_the_lectures_product_of_matrices():
    columns = reference.unfold(LECTURE, (3, 3))
    assert columns.shape == (1, 9, 16)
    np.testing.assert_array_equal(
        (FILTERS.reshape(2, 9) @ columns[0] + 1).reshape(MAPS.shape), MAPS
    )


def test_the_lectures_dense_layer():
    np.testing.assert_array_equal(
        reference.linear(
            np.array([[5, -1, -1, 6, 5, 3, -4, 4]]), np.ones((1, 8), int), np.ones(1, int)
        ),
        [[18]],
    )


def test_integers_wrap_as_their_dtype_does():
    x = np.full((1, 1, 2), 100, np.int8)
    assert reference.conv(x, np.ones((1, 1, 2), np.int8)).item() == 200 - 256
    y = np.full((1, 1, 2), 200, np.uint8)
    assert reference.conv(y, np.ones((1, 1, 2), np.uint8)).item() == 400 - 256


def test_fold_of_bools_is_or():
    columns = np.array([[[True, False], [False, False]]])
    np.testing.assert_array_equal(reference.fold(columns, (3,), (2,)), [[[True, False, False]]])


@pytest.mark.parametrize(("word", "first"), [("same_upper", [1, 2]), ("same_lower", [0, 1])])
def test_onnx_same_words_by_hand(word, first):
    # Size 4, kernel 2, stride 1: one cell of padding, after (upper) or before (lower).
    columns = reference.unfold(np.array([[[1, 2, 3, 4]]]), (2,), padding=word)
    assert columns.shape == (1, 2, 4)
    assert columns[0, :, 0].tolist() == first


@pytest.mark.parametrize("word", ["same_upper", "same_lower"])
@pytest.mark.parametrize(("size", "stride"), [(5, 2), (6, 3), (7, 3), (1, 4)])
def test_onnx_same_words_keep_ceil_of_size_over_stride(word, size, stride):
    columns = reference.unfold(np.ones((1, 1, size)), (3,), padding=word, stride=stride)
    assert columns.shape[-1] == -(-size // stride)


GEOMETRIES = [
    ((7,), (3,), {}),
    ((8,), (3,), {"stride": 2, "padding": 1}),
    ((7,), (2,), {"padding": "same", "dilation": 3}),
    ((6, 5), (3, 2), {"stride": (2, 1), "padding": (1, 2)}),
    ((7, 6), (2, 3), {"dilation": (3, 2), "groups": 2}),
    ((5, 5), (1, 1), {"stride": 3, "padding": "valid"}),
    ((4, 5, 3), (2, 3, 2), {"padding": (1, 0, 1), "groups": 4}),
]


@pytest.fixture
def functional():
    why = "torch is not installed: the oracle is not checked against it"
    return pytest.importorskip("torch.nn.functional", reason=why)


def torch_of(array: np.ndarray, *, grad: bool = False):
    import torch

    tensor = torch.tensor(array)
    return tensor.requires_grad_() if grad else tensor


def arrays(seed: int, dtype: str, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    values = [random.normal(size=shape) + 1j * random.normal(size=shape) for shape in shapes]
    return [v.astype(dtype) if dtype == "complex128" else v.real.astype(dtype) for v in values]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize(("sizes", "kernel", "params"), GEOMETRIES)
def test_conv_and_its_gradients_against_torch(functional, sizes, kernel, params, dtype):
    groups = params.get("groups", 1)
    x, w, b = arrays(1, dtype, (2, 4, *sizes), (4, 4 // groups, *kernel), (4,))
    tx, tw, tb = (torch_of(each, grad=True) for each in (x, w, b))
    expected = getattr(functional, f"conv{len(sizes)}d")(tx, tw, tb, **params)
    for loop in (reference.conv, reference.conv_by_position):
        got = loop(x, w, b, **params)
        np.testing.assert_allclose(got, expected.detach().numpy(), rtol=1e-10, atol=1e-12)
    (g,) = arrays(2, dtype, tuple(expected.shape))
    expected.backward(torch_of(g))
    gradients = reference.conv_gradients(x, w, g, **params)
    for got, leaf in zip(gradients, (tx, tw, tb), strict=True):
        np.testing.assert_allclose(got, leaf.grad.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize(("sizes", "kernel", "params"), GEOMETRIES)
def test_conv_transpose_and_its_gradients_against_torch(functional, sizes, kernel, params, dtype):
    params = {key: value for key, value in params.items() if value not in ("same", "valid")}
    if params.get("stride", 1) == 2:
        params["output_padding"] = 1
    groups = params.get("groups", 1)
    x, w, b = arrays(3, dtype, (2, 4, *sizes), (4, 3, *kernel), (3 * groups,))
    tx, tw, tb = (torch_of(each, grad=True) for each in (x, w, b))
    expected = getattr(functional, f"conv_transpose{len(sizes)}d")(tx, tw, tb, **params)
    got = reference.conv_transpose(x, w, b, **params)
    np.testing.assert_allclose(got, expected.detach().numpy(), rtol=1e-10, atol=1e-12)
    (g,) = arrays(4, dtype, tuple(expected.shape))
    expected.backward(torch_of(g))
    gradients = reference.conv_transpose_gradients(x, w, g, **params)
    for got, leaf in zip(gradients, (tx, tw, tb), strict=True):
        np.testing.assert_allclose(got, leaf.grad.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "params", [{}, {"stride": 2, "padding": 1}, {"dilation": (2, 1), "padding": (1, 2)}]
)
def test_unfold_and_fold_against_torch(functional, params):
    (x,) = arrays(5, "float64", (2, 3, 6, 5))
    tx = torch_of(x)
    columns = functional.unfold(tx, (3, 2), **params)
    np.testing.assert_array_equal(reference.unfold(x, (3, 2), **params), columns.numpy())
    folded = functional.fold(columns, (6, 5), (3, 2), **params)
    got = reference.fold(columns.numpy(), (6, 5), (3, 2), **params)
    np.testing.assert_allclose(got, folded.numpy(), rtol=1e-12)


def test_pad_and_linear_against_torch(functional):
    x, w, b = arrays(6, "float64", (2, 3, 4), (5, 4), (5,))
    tx, tw, tb = torch_of(x), torch_of(w), torch_of(b)
    np.testing.assert_array_equal(
        reference.pad(x, (1, -2, 0, 3), value=7), functional.pad(tx, (1, -2, 0, 3), value=7).numpy()
    )
    np.testing.assert_allclose(
        reference.linear(x, w, b), functional.linear(tx, tw, tb).numpy(), rtol=1e-12
    )
