"""Pools against the loops and torch, on every library: values, borders, ties, NaN, gradients."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import arrayconv as ac
from arrayconv import reference
from tests.cases import assert_close, draw
from tests.lecture import MAPS

WINDOWS = (
    ((2, 3, 9), {"kernel_size": 2}),
    ((2, 3, 9), {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    ((1, 2, 6, 7), {"kernel_size": (3, 2), "stride": (2, 1)}),
    ((2, 2, 7, 6), {"kernel_size": 3, "stride": 2, "padding": ((2, 0), (1, 4))}),
    ((1, 2, 8, 8), {"kernel_size": 2, "stride": 3, "ceil_mode": True}),
    ((2, 1, 5, 6), {"kernel_size": (5, 6)}),
    ((0, 2, 4, 4), {"kernel_size": 2}),
    ((1, 2, 4, 5, 4), {"kernel_size": 2, "stride": 1, "padding": 1}),
    ((1, 1, 20, 20), {"kernel_size": 9, "stride": 1}),
)
DILATED = (
    ((2, 2, 11), {"kernel_size": 3, "dilation": 3, "stride": 2}),
    ((1, 2, 7, 8), {"kernel_size": (2, 3), "dilation": (3, 2), "padding": 1}),
)
PARTS = (
    ((2, 3, 9), 4),
    ((2, 2, 8, 6), (4, 3)),
    ((1, 2, 7, 5), (3, None)),
    ((1, 2, 3, 4), (5, 7)),
    ((1, 2, 4, 5, 6), (1, 2, 4)),
)
ORDERED = ("int8", "uint8", "int64", "float16", "bfloat16", "float32", "float64")


def function(name: str, x: Any) -> Any:
    return getattr(ac, f"{name}{x.ndim - 2}d")


def oracle(params: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name not in names}


@pytest.mark.parametrize("algorithm", ["auto", "generic"])
@pytest.mark.parametrize("dtype", ORDERED)
@pytest.mark.parametrize(("shape", "window"), [*WINDOWS, *DILATED], ids=str)
def test_max_pool(library, shape, window, dtype, algorithm, skip_unless_supported):
    skip_unless_supported("max_pool", library, dtype)
    x = library.frozen(draw(np.random.default_rng(0), shape, dtype), dtype)
    values, indices = reference.max_pool(library.to_numpy(x), **window)
    with ac.options(algorithm=algorithm), library.no_synchronisation():
        got, at = function("max_pool", x)(x, **window, return_indices=True)
        alone = function("max_pool", x)(x, **window)
    assert got.dtype == alone.dtype == x.dtype
    np.testing.assert_array_equal(library.to_numpy(got), values)
    np.testing.assert_array_equal(library.to_numpy(alone), values)
    np.testing.assert_array_equal(library.to_numpy(at), indices)


@pytest.mark.parametrize("algorithm", ["auto", "generic"])
@pytest.mark.parametrize("count_include_pad", [True, False])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize(("shape", "window"), WINDOWS, ids=str)
def test_avg_pool(
    library, shape, window, dtype, count_include_pad, algorithm, skip_unless_supported
):
    skip_unless_supported("avg_pool", library, dtype)
    x = library.frozen(draw(np.random.default_rng(0), shape, dtype), dtype)
    how = {**window, "count_include_pad": count_include_pad}
    with ac.options(algorithm=algorithm), library.no_synchronisation():
        got = function("avg_pool", x)(x, **how)
    assert got.dtype == x.dtype
    assert_close(library.to_numpy(got), reference.avg_pool(library.to_numpy(x), **how), dtype)
    if x.ndim > 3 and dtype != "uint8":
        got = function("avg_pool", x)(x, **how, divisor_override=-3)
        wanted = reference.avg_pool(library.to_numpy(x), **how, divisor_override=-3)
        assert_close(library.to_numpy(got), wanted, dtype)


@pytest.mark.parametrize("dtype", ["int64", "float16", "float32"])
@pytest.mark.parametrize(("shape", "output_size"), PARTS, ids=str)
def test_adaptive_pools(library, shape, output_size, dtype, skip_unless_supported):
    skip_unless_supported("avg_pool", library, dtype)
    x = library.frozen(draw(np.random.default_rng(0), shape, dtype), dtype)
    with library.no_synchronisation():
        got, at = function("adaptive_max_pool", x)(x, output_size, return_indices=True)
        averages = function("adaptive_avg_pool", x)(x, output_size)
    values, indices = reference.adaptive_max_pool(library.to_numpy(x), output_size)
    np.testing.assert_array_equal(library.to_numpy(got), values)
    np.testing.assert_array_equal(library.to_numpy(at), indices)
    wanted = reference.adaptive_avg_pool(library.to_numpy(x), output_size)
    assert_close(library.to_numpy(averages), wanted, dtype)


@pytest.mark.parametrize("norm_type", [1, 2, 2.5, 4.0, -1.0])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "window"), [each for each in WINDOWS if "padding" not in each[1]], ids=str
)
def test_lp_pool(library, shape, window, dtype, norm_type, skip_unless_supported):
    skip_unless_supported("lp_pool", library, dtype)
    x = np.abs(draw(np.random.default_rng(0), shape, dtype)) + 0.5
    given = library.frozen(x, dtype)
    got = function("lp_pool", given)(given, norm_type, **window)
    assert got.dtype == given.dtype
    wanted = reference.lp_pool(library.to_numpy(given), norm_type, **window)
    assert_close(library.to_numpy(got), wanted, dtype)


@pytest.mark.parametrize("norm_type", [2, 3, 4.0, 1, float("inf"), -float("inf")])
@pytest.mark.parametrize(
    ("shape", "window"), [each for each in WINDOWS[:6] if "padding" not in each[1]], ids=str
)
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_lp_pool_is_torchs(torch, library, shape, window, norm_type):
    """Odd norms of negative sums, gradients, zeros: what torch gives."""
    x = draw(np.random.default_rng(0), shape, "float64")
    x[:, :, :3] = 0
    tensor = torch.from_numpy(x).requires_grad_()
    name = f"lp_pool{len(shape) - 2}d"
    wanted = getattr(torch.nn.functional, name)(tensor, norm_type, **window)
    cotangent = draw(np.random.default_rng(1), tuple(wanted.shape), "float64")
    (slope,) = torch.autograd.grad(wanted, tensor, torch.from_numpy(cotangent))
    output, pullback = ac.vjp(getattr(ac, name), library.frozen(x), norm_type=norm_type, **window)
    got = library.to_numpy(output)
    np.testing.assert_allclose(got, wanted.detach().numpy(), rtol=1e-12, atol=1e-12)
    (gradient,) = pullback(library.frozen(cotangent))
    np.testing.assert_allclose(library.to_numpy(gradient), slope.numpy(), rtol=1e-9, atol=1e-12)


def special(shape: tuple[int, ...], seed: int = 0) -> Any:
    """Return an array of ties, NaNs, infinities and a plane of -inf."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 3, shape).astype(np.float64)
    x[rng.random(shape) < 0.15] = np.nan
    x[rng.random(shape) < 0.2] = -np.inf
    x[rng.random(shape) < 0.05] = np.inf
    x[0, 0] = -np.inf
    return x


@pytest.mark.parametrize("algorithm", ["auto", "generic"])
@pytest.mark.parametrize(("shape", "window"), [*WINDOWS, *DILATED], ids=str)
def test_what_is_not_finite(library, shape, window, algorithm):
    if 0 in shape:
        pytest.skip("an empty batch holds nothing")
    x = special(shape)
    values, indices = reference.max_pool(x, **window)
    with ac.options(algorithm=algorithm):
        given = library.frozen(x)
        got, at = function("max_pool", x)(given, **window, return_indices=True)
        alone = function("max_pool", x)(given, **window)
    np.testing.assert_array_equal(library.to_numpy(got), values)
    np.testing.assert_array_equal(library.to_numpy(at), indices)
    np.testing.assert_array_equal(library.to_numpy(alone), values)


@pytest.mark.parametrize("algorithm", ["auto", "generic"])
@pytest.mark.parametrize(("shape", "window"), [*WINDOWS, *DILATED], ids=str)
def test_gradients_are_adjoints(library, shape, window, algorithm):
    """A maximum is linear while its indices stay: <taken, c> = <x, scattered c>."""
    x = draw(np.random.default_rng(0), shape, "float64")
    with ac.options(algorithm=algorithm):
        given = library.frozen(x)
        output, pullback = ac.vjp(function("max_pool", x), given, return_indices=True, **window)
        values, indices = map(library.to_numpy, output)
        cotangent = draw(np.random.default_rng(1), values.shape, "float64")
        (gradient,) = pullback(library.frozen(cotangent))
    wanted = np.zeros((*shape[:2], int(np.prod(shape[2:]))))
    for at in np.ndindex(values.shape):
        if indices[at] >= 0:
            wanted[(*at[:2], indices[at])] += cotangent[at]
    assert_close(library.to_numpy(gradient), wanted.reshape(shape), "float64")
    if "dilation" in window:
        return
    with ac.options(algorithm=algorithm):
        output, pullback = ac.vjp(function("avg_pool", x), given, **window)
        (gradient,) = pullback(library.frozen(cotangent))
    left = np.vdot(library.to_numpy(output), cotangent)
    assert np.isclose(left, np.vdot(library.to_numpy(gradient), x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("shape", "output_size"), PARTS, ids=str)
def test_gradients_of_adaptive_pools(library, shape, output_size):
    x = draw(np.random.default_rng(0), shape, "float64")
    for name in ("adaptive_avg_pool", "adaptive_max_pool"):
        given = library.frozen(x)
        output, pullback = ac.vjp(function(name, x), given, output_size=output_size)
        cotangent = draw(np.random.default_rng(1), tuple(output.shape), "float64")
        (gradient,) = pullback(library.frozen(cotangent))
        left = np.vdot(library.to_numpy(output), cotangent)
        assert np.isclose(left, np.vdot(library.to_numpy(gradient), x), rtol=1e-12)


@pytest.mark.parametrize("algorithm", ["auto", "generic"])
def test_ties_give_one_gradient(library, algorithm):
    """All of a window's gradient goes to the first of equal maxima: by vjp, torch and JAX."""
    x = np.zeros((1, 1, 4, 4))
    x[0, 0, 1:3] = 2
    wanted = np.zeros((1, 1, 4, 4))
    wanted[0, 0, 1, 0] = wanted[0, 0, 1, 2] = wanted[0, 0, 2, 0] = wanted[0, 0, 2, 2] = 1
    with ac.options(algorithm=algorithm):
        _, pullback = ac.vjp(ac.max_pool2d, library.frozen(x), kernel_size=2)
        (gradient,) = pullback(library.frozen(np.ones((1, 1, 2, 2))))
        np.testing.assert_array_equal(library.to_numpy(gradient), wanted)
        if library.name == "torch":
            tensor = library.asarray(x).requires_grad_()
            ac.max_pool2d(tensor, 2).sum().backward()
            np.testing.assert_array_equal(library.to_numpy(tensor.grad), wanted)
        if library.name == "jax":
            import jax

            slope = jax.grad(lambda each: ac.max_pool2d(each, 2).sum())(library.asarray(x))
            np.testing.assert_array_equal(library.to_numpy(slope), wanted)


@pytest.mark.parametrize("algorithm", ["auto", "generic"])
@pytest.mark.parametrize("dtype", ["bool", "int16", "float16", "float64", "complex64"])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_max_unpool(library, dims, dtype, algorithm, skip_unless_supported):
    skip_unless_supported("max_unpool", library, dtype)
    skip_unless_supported("unfold", library, dtype)
    rng = np.random.default_rng(0)
    values = draw(rng, (2, 3, *(3, 2, 4)[:dims]), dtype)
    sizes = tuple(2 * n for n in values.shape[2:])
    # Fewer places than values: some repeat, and the last of them stays.
    indices = rng.integers(0, int(np.prod(sizes)) // 2, values.shape)
    with ac.options(algorithm=algorithm):
        got = getattr(ac, f"max_unpool{dims}d")(
            library.frozen(values, dtype), library.frozen(indices, "int64"), 2
        )
    wanted = reference.max_unpool(values, indices, sizes)
    np.testing.assert_array_equal(library.to_numpy(got), wanted)


def test_unpooling_undoes_pooling(library):
    x = library.frozen(draw(np.random.default_rng(0), (2, 3, 7, 8), "float64"))
    values, indices = ac.max_pool2d(x, 2, return_indices=True)
    back = library.to_numpy(ac.max_unpool2d(values, indices, 2, output_size=(2, 3, 7, 8)))
    again = library.to_numpy(values)
    np.testing.assert_array_equal(reference.max_pool(np.where(back == 0, -9, back), 2)[0], again)
    assert back.shape == (2, 3, 7, 8)


def test_an_index_out_of_range(library):
    values = library.frozen(np.ones((1, 1, 2, 2)))
    for wrong in (-1, 16):
        indices = library.frozen(np.asarray([[[[0, 1], [2, wrong]]]]), "int64")
        with ac.options(validate=True), pytest.raises(ValueError, match=f"got {wrong}"):
            ac.max_unpool2d(values, indices, 2)
    if library.name == "strict":
        with library.no_synchronisation():
            dropped = ac.max_unpool2d(values, indices, 2)
        assert library.to_numpy(dropped).sum() == 3


@pytest.mark.parametrize("algorithm", ["auto", "generic"])
def test_places_and_sums_by_index(library, algorithm):
    """scatter_add adds what place overwrites; gather is its adjoint; what is outside is dropped."""
    from arrayconv import primitives

    rng = np.random.default_rng(0)
    values, index = draw(rng, (2, 3, 50), "float64"), rng.integers(-3, 13, (2, 3, 50))
    wanted = np.zeros((2, 3, 10))
    for at in np.ndindex(values.shape):
        if 0 <= index[at] < 10:
            wanted[(*at[:2], index[at])] += values[at]
    with ac.options(algorithm=algorithm):
        places = library.frozen(index, "int64")
        added = primitives.scatter_add(library.frozen(values), places, 10)
        assert_close(library.to_numpy(added), wanted, "float64")
        planes = draw(rng, (2, 3, 10), "float64")
        taken = library.to_numpy(primitives.gather(library.frozen(planes), places))
    assert np.isclose(np.vdot(taken, values), np.vdot(planes, wanted))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fractional_max_pool_is_torchs(torch, library, dims, dtype):
    rng = np.random.default_rng(0)
    run = getattr(torch.nn.functional, f"fractional_max_pool{dims}d")
    for trial in range(12):
        sizes = tuple(int(n) for n in rng.integers(6, 14, dims))
        outs = tuple(int(n) for n in rng.integers(1, 6, dims))
        x = rng.integers(0, 9, (2, 3, *sizes)).astype(dtype)
        samples = rng.random((2, 3, dims)).astype(dtype)
        tensor = torch.from_numpy(x).requires_grad_()
        wanted, at = run(
            tensor, 2, outs, return_indices=True, _random_samples=torch.from_numpy(samples)
        )
        cotangent = rng.standard_normal(wanted.shape).astype(dtype)
        (slope,) = torch.autograd.grad(wanted, tensor, torch.from_numpy(cotangent))
        (got, place), pullback = ac.vjp(
            getattr(ac, f"fractional_max_pool{dims}d"),
            library.frozen(x, dtype),
            kernel_size=2,
            output_size=outs,
            return_indices=True,
            _random_samples=library.frozen(samples, dtype),
        )
        np.testing.assert_array_equal(library.to_numpy(got), wanted.detach().numpy(), str(trial))
        np.testing.assert_array_equal(library.to_numpy(place), at.numpy())
        (gradient,) = pullback(library.frozen(cotangent, dtype))
        assert_close(library.to_numpy(gradient), slope.numpy(), dtype)


def test_fractional_windows_are_drawn(library):
    import random

    x = library.frozen(draw(np.random.default_rng(0), (2, 2, 20, 20), "float64"))
    random.seed(3)
    first = library.to_numpy(ac.fractional_max_pool2d(x, 2, output_ratio=(0.5, 0.7)))
    second = library.to_numpy(ac.fractional_max_pool2d(x, 2, output_ratio=(0.5, 0.7)))
    random.seed(3)
    again = library.to_numpy(ac.fractional_max_pool2d(x, 2, output_ratio=(0.5, 0.7)))
    assert first.shape == (2, 2, 10, 14)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second)


def test_the_lectures_pooling_by_im2col(library):
    """The lecture reduces columns, with indices in the window; ours are flat in the plane."""
    maps = library.frozen(MAPS.astype(np.float64))
    columns = ac.unfold(maps, 2, stride=2)
    assert tuple(columns.shape) == (1, 8, 4)
    windows = library.xp.reshape(columns, (1, 2, 4, 4))
    in_window = library.to_numpy(library.xp.argmax(windows, axis=2))
    values, in_plane = ac.max_pool2d(maps, 2, return_indices=True)
    np.testing.assert_array_equal(library.to_numpy(values)[0, 0], [[5, -1], [-1, 6]])
    np.testing.assert_array_equal(library.to_numpy(values)[0, 1], [[5, 3], [-4, 4]])
    # Window p is at (p // 2, p % 2); tap t of it is the cell (t // 2, t % 2) further on.
    p = np.arange(4)
    rows, columns_of = 2 * (p // 2) + in_window // 2, 2 * (p % 2) + in_window % 2
    flat = (rows * 4 + columns_of).reshape(1, 2, 2, 2)
    np.testing.assert_array_equal(library.to_numpy(in_plane), flat)


REFUSALS = [
    ("max_pool2d", ValueError, "half of kernel_size (3, 3)", {"kernel_size": 3, "padding": 2}),
    ("max_pool2d", ValueError, "half", {"kernel_size": 3, "dilation": 2, "padding": 2}),
    ("avg_pool2d", ValueError, "half", {"kernel_size": 2, "padding": (1, 2)}),
    ("max_pool2d", ValueError, "kernel_size", {"kernel_size": 0}),
    ("max_pool2d", TypeError, "kernel_size", {"kernel_size": None}),
    ("max_pool2d", ValueError, "stride", {"kernel_size": 2, "stride": 0}),
    ("max_pool2d", ValueError, "kernel_size (7, 7)", {"kernel_size": 7}),
    ("max_pool2d", TypeError, "ceil_mode", {"kernel_size": 2, "ceil_mode": 1}),
    ("max_pool2d", TypeError, "return_indices", {"kernel_size": 2, "return_indices": 1}),
    ("avg_pool2d", ValueError, "divisor_override", {"kernel_size": 2, "divisor_override": 0}),
    ("avg_pool2d", TypeError, "divisor_override", {"kernel_size": 2, "divisor_override": 1.0}),
    ("avg_pool2d", TypeError, "count_include_pad", {"kernel_size": 2, "count_include_pad": 0}),
    ("lp_pool2d", ValueError, "norm_type", {"norm_type": 0, "kernel_size": 2}),
    ("lp_pool2d", TypeError, "norm_type", {"norm_type": "2", "kernel_size": 2}),
    ("adaptive_avg_pool2d", ValueError, "output_size", {"output_size": (1, 2, 3)}),
    ("adaptive_avg_pool2d", ValueError, "output_size", {"output_size": 0}),
    ("adaptive_max_pool2d", TypeError, "output_size", {"output_size": 2.0}),
    ("fractional_max_pool2d", ValueError, "exactly one", {"kernel_size": 2}),
    ("fractional_max_pool2d", ValueError, "more cells", {"kernel_size": 3, "output_size": 5}),
    ("fractional_max_pool2d", ValueError, "between 0", {"kernel_size": 2, "output_ratio": 1.5}),
]


@pytest.mark.parametrize(("name", "error", "said", "params"), REFUSALS)
def test_refusals(name, error, said, params):
    with pytest.raises(error, match=re.escape(said)):
        getattr(ac, name)(np.ones((1, 2, 6, 6)), **params)


@pytest.mark.parametrize(
    ("name", "error", "said", "dtype"),
    [
        ("max_pool2d", TypeError, "no order", "complex64"),
        ("max_pool2d", TypeError, "bools", "bool"),
        ("avg_pool2d", TypeError, "bools", "bool"),
    ],
)
def test_refused_dtypes(name, error, said, dtype):
    with pytest.raises(error, match=said):
        getattr(ac, name)(np.ones((1, 2, 6, 6), dtype), 2)
    with pytest.raises(TypeError, match="real and floating"):
        ac.lp_pool2d(np.ones((1, 2, 6, 6), int), 2, 2)
    with pytest.raises(ValueError, match="at least one channel"):
        ac.max_pool2d(np.ones((1, 0, 6, 6)), 2)


@pytest.mark.parametrize(
    ("error", "said", "indices", "params"),
    [
        (TypeError, "indices must be integers", np.ones((1, 1, 2, 2)), {}),
        (TypeError, "indices must be an array", [[0]], {}),
        (ValueError, "indices must have the input's shape", np.ones((1, 1, 2, 1), int), {}),
        (ValueError, "from 0 to 15", np.full((1, 1, 2, 2), 16), {}),
        (
            ValueError,
            "by less than the stride",
            np.ones((1, 1, 2, 2), int),
            {"output_size": (6, 4)},
        ),
        (ValueError, "output_size must have 2", np.ones((1, 1, 2, 2), int), {"output_size": (4,)}),
        (TypeError, "output_size", np.ones((1, 1, 2, 2), int), {"output_size": 4}),
        (ValueError, "leaves no cells", np.ones((1, 1, 2, 2), int), {"padding": 2}),
    ],
)
def test_refused_unpooling(error, said, indices, params):
    with pytest.raises(error, match=said):
        ac.max_unpool2d(np.ones((1, 1, 2, 2)), indices, 2, **params)
