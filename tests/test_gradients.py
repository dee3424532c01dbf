"""Gradients: against the loops, by the dot-product test of adjoints, and under torch.autograd."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import arrayconv as ac
from arrayconv import reference
from tests.cases import CASES, COLUMNS, CONVOLUTIONS, TRANSPOSED, Case, assert_close, draw

PRODUCTS = (*CONVOLUTIONS, *TRANSPOSED)


def pulled_back(library, case: Case, arrays: list[Any], cotangent: Any, dtype: str) -> list[Any]:
    """Return the gradients as NumPy arrays, having checked what they are."""
    given = [library.frozen(array, dtype) for array in arrays]
    upstream = library.frozen(cotangent, dtype)
    with library.no_synchronisation():
        output, pullback = ac.vjp(getattr(ac, case.function), *given, **case.params)
        gradients = pullback(upstream)
    np.testing.assert_array_equal(
        library.to_numpy(output), library.to_numpy(case.run(*given)), "vjp's output is the call's"
    )
    assert len(gradients) == len(given)
    for gradient, array in zip(gradients, given, strict=True):
        assert (tuple(gradient.shape), gradient.dtype) == (tuple(array.shape), array.dtype)
    return [library.to_numpy(gradient) for gradient in gradients]


def output_shape(case: Case) -> tuple[int, ...]:
    return tuple(case.run(*(np.zeros(shape) for shape in case.shapes)).shape)


# The loops have no gradient of padding modes; `test_adjoint` has.
@pytest.mark.parametrize(
    "case",
    [case for case in PRODUCTS if "padding_mode" not in case.params],
    ids=lambda case: case.id,
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128", "float16", "bfloat16"])
def test_against_the_loops(library, case, dtype, skip_unless_supported):
    skip_unless_supported("vjp", library, dtype)
    arrays = [library.to_numpy(library.asarray(each, dtype)) for each in case.arrays(dtype)]
    cotangent = draw(np.random.default_rng(1), output_shape(case), dtype)
    cotangent = library.to_numpy(library.asarray(cotangent, dtype))
    got = pulled_back(library, case, arrays, cotangent, dtype)
    unbatched = arrays[0].ndim < arrays[1].ndim
    params = dict(case.params)
    wanted = list(
        getattr(reference, f"{case.operation}_gradients")(
            arrays[0][None] if unbatched else arrays[0],
            arrays[1],
            cotangent[None] if unbatched else cotangent,
            **params,
        )
    )
    wanted[0] = wanted[0][0] if unbatched else wanted[0]
    for gradient, right in zip(got, wanted, strict=False):
        assert_close(gradient, right, dtype, factor=4 if dtype == "bfloat16" else 1)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_adjoint(library, case, dtype):
    """<A d, c> = <d, A^H c> for each array, in which every operation is affine."""
    arrays = case.arrays(dtype)
    rng = np.random.default_rng(2)
    cotangent = draw(rng, output_shape(case), dtype)
    gradients = pulled_back(library, case, arrays, cotangent, dtype)

    def run(*given: Any) -> Any:
        return library.to_numpy(case.run(*(library.asarray(array, dtype) for array in given)))

    for position, gradient in enumerate(gradients):
        step = draw(rng, arrays[position].shape, dtype)
        moved = [each + step if at == position else each for at, each in enumerate(arrays)]
        left = np.vdot(cotangent, run(*moved) - run(*arrays))
        right = np.vdot(gradient, step)
        size = np.linalg.norm(cotangent) * np.linalg.norm(run(*moved)) + 1
        assert abs(left - right) <= 1e-13 * size


@pytest.mark.parametrize("case", PRODUCTS, ids=lambda case: case.id)
def test_by_blocks_of_a_few_positions(case):
    arrays = case.arrays("complex128")
    cotangent = draw(np.random.default_rng(3), output_shape(case), "complex128")
    whole = ac.vjp(getattr(ac, case.function), *arrays, **case.params)[1](cotangent)
    with ac.options(workspace_bytes=1):
        blocked = ac.vjp(getattr(ac, case.function), *arrays, **case.params)[1](cotangent)
    for got, wanted in zip(blocked, whole, strict=True):
        assert_close(got, wanted, "complex128")


def test_no_bias_has_no_gradient(library):
    x, w = library.frozen(np.ones((1, 1, 3)), "float64"), library.frozen(np.ones((1, 1, 2)))
    _, pullback = ac.vjp(ac.conv1d, x, w, None)
    assert pullback(library.frozen(np.ones((1, 1, 2)), "float64"))[2] is None


@pytest.mark.parametrize(
    ("arrays", "params", "said"),
    [
        (1, {}, "missing a required argument: 'weight'"),
        (2, {"input": None}, "multiple values for argument 'input'"),
        (2, {"strid": 1}, "got an unexpected keyword argument 'strid'"),
        (9, {}, "too many positional arguments"),
    ],
)
def test_what_cannot_be_called_is_said_in_pythons_words(arrays, params, said):
    """Also the keyword that would be the eighth argument."""
    given: list[Any] = [np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)), None, 1, 0, 1, 1, "zeros", 0]
    function = ac.vjp if arrays < 3 else ac.explain
    with pytest.raises(TypeError, match=rf"^conv2d\(input, weight, .*algorithm\): {said}"):
        function(ac.conv2d, *given[:arrays], **params)
    if arrays == 9:
        with pytest.raises(TypeError, match=said):
            ac.explain(ac.conv2d, *given[:8])


def test_a_pullback_can_be_called_twice(library):
    x, w = library.frozen(np.arange(9.0).reshape(1, 3, 3)), library.frozen(np.ones((2, 1, 2, 2)))
    _, pullback = ac.vjp(ac.conv2d, x, w)
    cotangent = library.frozen(np.ones((2, 2, 2)))
    for once, twice in zip(pullback(cotangent)[:2], pullback(cotangent)[:2], strict=True):
        np.testing.assert_array_equal(library.to_numpy(once), library.to_numpy(twice))


# --- torch.autograd through our operations ------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["auto", "generic", "native"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_torch_autograd(torch, case, dtype, algorithm):
    arrays = case.arrays(dtype)
    cotangent = draw(np.random.default_rng(4), output_shape(case), dtype)
    tensors = [torch.from_numpy(array).requires_grad_() for array in arrays]
    with ac.options(algorithm=algorithm):
        output = case.run(*tensors)
        got = torch.autograd.grad(output, tensors, torch.from_numpy(cotangent))
    _, pullback = ac.vjp(getattr(ac, case.function), *arrays, **case.params)
    for theirs, ours in zip(got, pullback(cotangent), strict=True):
        assert_close(theirs.resolve_conj().numpy(), ours, dtype)


SMALL = (
    Case("conv2d", ((1, 2, 4, 3), (2, 1, 2, 2), (2,)), {"stride": (2, 1), "groups": 2}),
    Case("conv_transpose2d", ((1, 2, 2, 3), (2, 1, 2, 2), (2,)), {"stride": (2, 1), "groups": 2}),
    COLUMNS[2],
    COLUMNS[9],
)


@pytest.mark.parametrize("algorithm", ["generic", "native"])
@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.id)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_torch_gradcheck(torch, case, dtype, algorithm):
    """Numerical derivatives, and those of the derivatives."""
    tensors = [torch.from_numpy(array).requires_grad_() for array in case.arrays(dtype)]
    with ac.options(algorithm=algorithm):
        assert torch.autograd.gradcheck(case.run, tensors)
        assert torch.autograd.gradgradcheck(case.run, tensors)


@pytest.mark.parametrize("case", PRODUCTS[3:9:2], ids=lambda case: case.id)
def test_a_pullback_is_differentiable_itself(torch, case):
    """Primitives are closed under differentiation: autograd goes through the pullback as well."""
    tensors = [torch.from_numpy(array).requires_grad_() for array in case.arrays("float64")]
    cotangent = torch.from_numpy(draw(np.random.default_rng(5), output_shape(case), "float64"))

    def gradients(*given: Any) -> Any:
        return ac.vjp(getattr(ac, case.function), *given, **case.params)[1](cotangent)[:2]

    with ac.options(algorithm="generic"):
        assert torch.autograd.gradcheck(gradients, tensors[:2])
