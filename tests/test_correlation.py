"""correlate and convolve: equal to SciPy where SciPy has them, on every library, and adjoint."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import arrayconv as ac
from tests.cases import assert_close, draw

SHAPES = (((9,), (4,)), ((7, 8), (3, 4)), ((5, 6, 4), (2, 3, 3)), ((4, 1, 5), (1, 1, 5)))
MODES = ("full", "same", "valid")
BOUNDARIES = {
    "zeros": "constant",
    "reflect": "mirror",
    "replicate": "nearest",
    "circular": "wrap",
}
FUNCTIONS = ("correlate", "convolve")


def arrays(shapes: Any, dtype: str) -> list[Any]:
    rng = np.random.default_rng(0)
    return [draw(rng, shape, dtype) for shape in shapes]


def by_definition(function: str, array: Any, kernel: Any, mode: str) -> Any:
    """Return the sum over taps, for libraries and dtypes that SciPy does not have."""
    taps = kernel.shape
    weight = np.flip(kernel) if function == "convolve" else kernel.conj()
    before = {"full": [k - 1 for k in taps], "same": [k // 2 for k in taps]}.get(mode, [0] * 9)
    after = [k - 1 - b if mode == "same" else b for k, b in zip(taps, before, strict=False)]
    pairs = list(zip(before, after, strict=False))[: len(taps)]
    padded = np.pad(array, pairs)
    views = np.lib.stride_tricks.sliding_window_view(padded, taps)
    return np.sum(views * weight, axis=tuple(range(-len(taps), 0)), dtype=array.dtype)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float32", "complex128", "int32", "uint8"])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_by_definition(library, function, shapes, dtype, mode):
    array, kernel = arrays(shapes, dtype)
    given = (library.frozen(array, dtype), library.frozen(kernel, dtype))
    with library.no_synchronisation():
        got = getattr(ac, function)(*given, mode)
    assert got.dtype == given[0].dtype
    assert_close(library.to_numpy(got), by_definition(function, array, kernel, mode), dtype)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float64", "complex128", "int64"])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_as_scipy_signal(function, shapes, dtype, mode):
    signal = pytest.importorskip("scipy.signal", reason="the comparison is with SciPy")
    array, kernel = arrays(shapes, dtype)
    wanted = getattr(signal, function)(array, kernel, mode, method="direct")
    assert_close(getattr(ac, function)(array, kernel, mode), wanted, dtype)


@pytest.mark.parametrize("padding_mode", BOUNDARIES)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("shapes", SHAPES[:3], ids=str)
def test_as_scipy_ndimage(shapes, dtype, padding_mode):
    ndimage = pytest.importorskip("scipy.ndimage", reason="the comparison is with SciPy")
    array, kernel = arrays(shapes, dtype)
    wanted = ndimage.correlate(array, kernel, mode=BOUNDARIES[padding_mode])
    assert_close(ac.correlate(array, kernel, padding_mode=padding_mode), wanted, dtype)
    odd = kernel[tuple(slice(k - 1 + k % 2) for k in kernel.shape)]
    wanted = ndimage.convolve(array, odd, mode=BOUNDARIES[padding_mode])
    assert_close(ac.convolve(array, odd, padding_mode=padding_mode), wanted, dtype)


@pytest.mark.parametrize("axes", [(0, 2), (2, 0), (-1, 1), None])
def test_axes_and_leading_dimensions(library, axes):
    array, kernel = arrays(((4, 5, 6), (2, 3)), "float64")
    got = ac.correlate(library.frozen(array), library.frozen(kernel), "valid", axes=axes)
    chosen = (1, 2) if axes is None else tuple(axis % 3 for axis in axes)
    moved = np.moveaxis(array, chosen, (1, 2))
    each = np.stack([by_definition("correlate", plane, kernel, "valid") for plane in moved])
    assert_close(library.to_numpy(got), np.moveaxis(each, (1, 2), chosen), "float64")


def test_one_axis(library):
    array, kernel = arrays(((3, 7), (3,)), "float64")
    got = ac.convolve(library.frozen(array), library.frozen(kernel), "full", axes=0)
    wanted = np.stack([np.convolve(column, kernel, "full") for column in array.T], axis=1)
    assert_close(library.to_numpy(got), wanted, "float64")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float64", "complex128", "int16"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_factors_are_their_outer_product(library, function, dtype, mode):
    array, first, second, third = arrays(((2, 6, 7, 6), (3,), (4,), (2,)), dtype)
    product = first[:, None, None] * second[:, None] * third
    factors = [library.frozen(each, dtype) for each in (first, second, third)]
    got = getattr(ac, function)(library.frozen(array, dtype), factors, mode)
    wanted = getattr(ac, function)(array, product, mode, algorithm="generic")
    assert_close(library.to_numpy(got), wanted, dtype)


def passes(array: Any, kernel: Any) -> int:
    """Return 1 where the first pass has the whole kernel, else the number of its dimensions."""
    title = ac.explain(ac.correlate, array, kernel).title
    whole = str((1, 1, *kernel.shape))
    return 1 if whole in title else kernel.ndim


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "int32", "int8"])
def test_a_separable_kernel_is_noticed(dtype):
    array, first, second, third = arrays(((9, 9, 9), (5,), (6,), (4,)), dtype)
    first[0], second[1], third[-1] = 3, 2, -1
    product = (first[:, None, None] * second[:, None] * third).astype(dtype)
    assert passes(array, product) == 3
    assert_close(
        ac.correlate(array, product), by_definition("correlate", array, product, "same"), dtype
    )
    product[2, 3, 1] += 1
    assert passes(array, product) == 1
    assert_close(
        ac.correlate(array, product), by_definition("correlate", array, product, "same"), dtype
    )


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_kernels_of_one_value(value):
    array, kernel = np.ones((8, 8)), np.full((5, 5), value)
    got = ac.correlate(array, kernel, "valid")
    np.testing.assert_array_equal(got, np.full((4, 4), 25 * value))


def test_the_least_integer_is_no_factor():
    """abs(-128) is -128 in int8: a check by magnitudes would call any such kernel separable."""
    kernel = np.zeros((5, 5), np.int8)
    kernel[0, 0] = kernel[2, 2] = -128
    array = np.ones((5, 5), np.int8)
    assert passes(array, kernel) == 1


@pytest.mark.parametrize("padding_mode", BOUNDARIES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_adjoint(library, function, mode, padding_mode):
    """The dot-product test, in the array and in the kernel."""
    rng = np.random.default_rng(3)
    array, kernel = arrays(((2, 6, 7), (3, 4)), "complex128")
    how = {"mode": mode, "padding_mode": padding_mode, "axes": (2, 1)}
    run = getattr(ac, function)
    output, pullback = ac.vjp(run, library.frozen(array), library.frozen(kernel), **how)
    cotangent = draw(rng, tuple(output.shape), "complex128")
    gradients = pullback(library.frozen(cotangent))
    for place, gradient in enumerate(gradients):
        step = draw(rng, (array, kernel)[place].shape, "complex128")
        given = [array, kernel]
        given[place] = step
        moved = library.to_numpy(run(*map(library.frozen, given), **how))
        left, right = np.vdot(cotangent, moved), np.vdot(library.to_numpy(gradient), step)
        # correlate conjugates its kernel, in which it is linear over the reals only.
        assert abs((left - right).real) <= 1e-12 * np.linalg.norm(cotangent) * np.linalg.norm(moved)


def test_gradient_through_factors(library):
    array, first, second = arrays(((6, 7), (3,), (5,)), "float64")
    factors = [library.frozen(first), library.frozen(second)]
    output, pullback = ac.vjp(ac.correlate, library.frozen(array), kernel=factors)
    cotangent = draw(np.random.default_rng(1), tuple(output.shape), "float64")
    (got,) = pullback(library.frozen(cotangent))
    _, whole = ac.vjp(ac.correlate, array, kernel=np.outer(first, second))
    assert_close(library.to_numpy(got), whole(cotangent)[0], "float64")


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("error", "said", "arguments", "params"),
    [
        (TypeError, "array must be an array", ([1.0], np.ones(1)), {}),
        (TypeError, "kernel must be an array", (np.ones(3), 1.0), {}),
        (TypeError, "kernel[1] must be an array", (np.ones((3, 3)), [np.ones(1), 2.0]), {}),
        (TypeError, "one dtype", (np.ones(3), np.ones(1, "f4")), {}),
        (TypeError, "bool", (np.ones(3, bool), np.ones(1, bool)), {}),
        (ValueError, "got shapes ((1, 1),)", (np.ones(3), [np.ones((1, 1))]), {}),
        (ValueError, "kernel as a sequence", (np.ones(3), []), {}),
        (ValueError, "kernel ()", (np.ones(3), np.ones(())), {}),
        (ValueError, "kernel (0,)", (np.ones(3), np.ones(0)), {}),
        (ValueError, "array of 1 dimensions", (np.ones(3), np.ones((1, 1))), {}),
        (ValueError, "axes", (np.ones((3, 3)), np.ones((1, 1))), {"axes": (0, -2)}),
        (ValueError, "(2,)", (np.ones((3, 3)), np.ones(1)), {"axes": (2,)}),
        (TypeError, "axes", (np.ones((3, 3)), np.ones(1)), {"axes": "0"}),
        (ValueError, "mode must be one of", (np.ones(3), np.ones(1)), {"mode": "center"}),
        (TypeError, "mode must be one of", (np.ones(3), np.ones(1)), {"mode": 1}),
        (ValueError, "padding_mode", (np.ones(3), np.ones(1)), {"padding_mode": "wrap"}),
        (ValueError, "algorithm", (np.ones(3), np.ones(1)), {"algorithm": "fastest"}),
        (ValueError, "more than the 3", (np.ones(3), np.ones(4)), {"mode": "valid"}),
        (ValueError, "no cells", (np.ones(0), np.ones(1)), {}),
    ],
)
def test_refusals(function, error, said, arguments, params):
    with pytest.raises(error, match=re.escape(said)):
        getattr(ac, function)(*arguments, **params)
