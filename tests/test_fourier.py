"""Convolution by the standard's fft extension, on the arrays of every library that has one."""

from __future__ import annotations

import numpy as np
import pytest

import arrayconv as ac
from arrayconv.primitives import fourier
from tests.cases import assert_close, draw

LAYERS = (
    ((2, 6, 40, 37), (8, 3, 7, 5), {"groups": 2, "padding": ((3, 0), (2, 4)), "dilation": (1, 2)}),
    ((1, 4, 300), (8, 1, 31), {"groups": 4, "padding": 15}),
    ((3, 2, 9, 10, 11), (5, 2, 3, 4, 3), {"padding": 1}),
    ((1, 2, 300, 20), (2, 2, 9, 9), {"padding": 4}),
    ((2, 3, 50, 50), (3, 3, 3, 3), {"padding": ((0, 7), (2, 0))}),
)


@pytest.mark.parametrize(("shape", "of_weight", "params"), LAYERS, ids=str)
def test_against_the_generic_body(library, shape, of_weight, params):
    """Outputs and the gradient to the input; several tiles along long axes, and their overlap."""
    rng, function = np.random.default_rng(0), getattr(ac, f"conv{len(shape) - 2}d")
    x, w = (draw(rng, each, "float64") for each in (shape, of_weight))
    with ac.options(algorithm="generic"):
        wanted, pullback = ac.vjp(function, x, w, **params)
        cotangent = draw(rng, wanted.shape, "float64")
        gradient = pullback(cotangent)[0]
    for dtype in ("float32", "float64"):
        given = [library.frozen(each, dtype) for each in (x, w)]
        if library.name == "dask":
            with pytest.raises(ValueError, match="lazy"):
                function(*given, **params, algorithm="fft")
            continue
        got = function(*given, **params, algorithm="fft")
        assert_close(library.to_numpy(got), wanted, dtype)
        with ac.options(algorithm="fft"):
            _, pullback = ac.vjp(function, *given, **params)
            (found, *_) = pullback(library.frozen(cotangent, dtype))
        assert_close(library.to_numpy(found), gradient, dtype)


def test_half_types_are_summed_in_float32():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, w = (draw(rng, shape, "float16") for shape in ((1, 8, 40, 40), (8, 8, 9, 9)))
    got = ac.conv2d(torch.from_numpy(x), torch.from_numpy(w), algorithm="fft")
    wanted = ac.conv2d(x.astype("float64"), w.astype("float64"), algorithm="generic")
    assert got.dtype == torch.float16
    np.testing.assert_allclose(got.numpy().astype("float64"), wanted, rtol=1e-3, atol=2e-1)


def test_what_it_does_not_serve():
    strict = pytest.importorskip("array_api_strict")

    def reason(dtype: str, batch: int = 1, **params: object) -> str:
        shapes = ((batch, 1, 64, 64), (1, 1, 64, 64))
        x, w = (strict.ones(shape, dtype=getattr(strict, dtype)) for shape in shapes)
        named = {each.name: each for each in ac.explain(ac.conv2d, x, w, **params).candidates}
        return named["fft"].reason

    assert "nothing to transform" in reason("float32", batch=0)
    assert "real floating" in reason("int64")
    assert "real floating" in reason("complex64")
    assert "stride of 1" in reason("float32", stride=2, padding=3)
    assert "float32 only" in reason("float64", padding=32)
    with ac.options(allow_reduced_precision=True):
        assert reason("float64", padding=32) == "fit"
    assert reason("float32", padding=32) == "fit"


def test_auto_takes_it_for_large_kernels():
    """On the arrays of a library that has no convolution of its own."""
    strict = pytest.importorskip("array_api_strict")
    x = strict.ones((1, 32, 56, 56), dtype=strict.float32)
    for kernel, chosen in ((31, "fft"), (3, "generic")):
        w = strict.ones((32, 1, kernel, kernel), dtype=strict.float32)
        found = ac.explain(ac.conv2d, x, w, padding=kernel // 2, groups=32)
        assert found.chosen == chosen, found


def test_tiles_cover_the_outputs_once():
    from arrayconv._window import sliding_window

    window = sliding_window((1000, 60), (9, 31), (1, 1), ((4, 4), (15, 15)), (1, 2))
    tile, steps, starts = fourier.plan(window)
    assert all(n % 2 == 0 for n in tile)
    seen = np.zeros((window[0].out, window[1].out), int)
    for first, second in starts:
        seen[first : first + steps[0], second : second + steps[1]] += 1
    assert (seen == 1).all()
