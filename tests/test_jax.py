"""JAX's transformations through our operations: jit, grad and vmap, by each implementation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import arrayconv as ac
from tests.cases import COLUMNS, CONVOLUTIONS, PADS, TRANSPOSED, assert_close, draw

CASES = (CONVOLUTIONS[5], CONVOLUTIONS[8], TRANSPOSED[4], COLUMNS[2], COLUMNS[9], PADS[1])


@pytest.fixture(scope="module")
def jax() -> Any:
    module = pytest.importorskip("jax", reason="its transformations need JAX")
    module.config.update("jax_enable_x64", True)
    return module


@pytest.mark.parametrize("algorithm", ["auto", "generic"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_jit_and_grad(jax, case, algorithm):
    """jit gives what eager does, and jax.grad what `vjp` gives on NumPy."""
    arrays = case.arrays("float64")
    output, pullback = ac.vjp(getattr(ac, case.function), *arrays, **case.params)
    cotangent = draw(np.random.default_rng(1), output.shape, "float64")

    def loss(*given: Any) -> Any:
        return (case.run(*given) * cotangent).sum()

    with ac.options(algorithm=algorithm):
        given = [jax.numpy.asarray(array) for array in arrays]
        assert_close(np.asarray(jax.jit(case.run)(*given)), output, "float64")
        gradients = jax.jit(jax.grad(loss, tuple(range(len(given)))))(*given)
    for got, wanted in zip(gradients, pullback(cotangent), strict=True):
        assert_close(np.asarray(got), wanted, "float64")


@pytest.mark.parametrize("algorithm", ["auto", "generic"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_vmap(jax, case, algorithm):
    """A mapped axis is a loop."""
    several = [case.arrays("float64", seed) for seed in range(3)]
    stacked = [jax.numpy.stack(each) for each in zip(*several, strict=True)]
    with ac.options(algorithm=algorithm):
        mapped = np.asarray(jax.vmap(case.run)(*stacked))
    for got, arrays in zip(mapped, several, strict=True):
        assert_close(got, case.run(*arrays), "float64")


def test_our_vjp_under_jit(jax):
    case = CONVOLUTIONS[5]
    arrays = case.arrays("complex128")
    output, pullback = ac.vjp(ac.conv2d, *arrays, **case.params)

    @jax.jit
    def gradients(*given: Any) -> Any:
        return ac.vjp(ac.conv2d, *given, **case.params)[1](given[0].real.sum() + output)

    wanted = pullback(arrays[0].real.sum() + output)
    for got, right in zip(gradients(*arrays), wanted, strict=True):
        assert_close(np.asarray(got), right, "complex128")
