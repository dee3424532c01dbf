"""Random geometries against torch.nn.functional and torch.autograd, forward and backward."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import arrayconv as ac
from tests.cases import assert_close, draw

FUNCTIONS = (
    *(f"conv{dims}d" for dims in (1, 2, 3)),
    *(f"conv_transpose{dims}d" for dims in (1, 2, 3)),
    *("unfold", "fold"),
)
BLOCKS = (1, 4096, 2 << 20)


class Geometry(NamedTuple):
    """A call that torch may or may not accept."""

    shapes: list[tuple[int, ...]]
    params: dict[str, Any]


def geometry(rng: np.random.Generator, function: str) -> Geometry:
    """Return a random call; about one in ten has a window that does not fit."""

    def numbers(dims: int, low: int, high: int) -> tuple[int, ...]:
        return tuple(int(n) for n in rng.integers(low, high, dims))

    dims = int(function[-2]) if function.endswith("d") and function[-2].isdigit() else 2
    top = {1: 16, 2: 9, 3: 6}[dims]
    batch, groups = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    per_group, outputs = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    sizes, kernel = numbers(dims, 1, top), numbers(dims, 1, 5)
    params: dict[str, Any] = {
        "stride": numbers(dims, 1, 4),
        "dilation": numbers(dims, 1, 3),
        "padding": numbers(dims, 0, 4),
    }
    if function == "unfold":
        return Geometry([(batch, per_group, *sizes)], {**params, "kernel_size": kernel})
    if function == "fold":
        try:
            counts = ac.output_size(sizes, kernel, **params)
        except ValueError:
            counts = (1, 1)
        columns = (batch, per_group * int(np.prod(kernel)), int(np.prod(counts)))
        return Geometry([columns], {**params, "kernel_size": kernel, "output_size": sizes})
    params["groups"] = groups
    if function.startswith("conv_transpose"):
        weight = (groups * per_group, outputs, *kernel)
        params["padding"] = numbers(dims, 0, 3)
        below = [max(pair) for pair in zip(params["stride"], params["dilation"], strict=True)]
        too_large = rng.random() < 0.1
        params["output_padding"] = tuple(int(rng.integers(0, n)) + too_large for n in below)
    else:
        weight = (groups * outputs, per_group, *kernel)
        if rng.random() < 0.1:
            params |= {"padding": "same", "stride": 1}
    return Geometry([(batch, groups * per_group, *sizes), weight, (groups * outputs,)], params)


def compare(torch: Any, function: str, index: int) -> bool:
    """Compare one random call with torch; whether torch accepts it."""
    rng = np.random.default_rng([FUNCTIONS.index(function), index])
    dtype = ("float32", "float64", "complex128")[index % 3]
    shapes, params = geometry(rng, function)
    arrays = [draw(rng, shape, dtype) for shape in shapes]
    tensors = [torch.from_numpy(array).requires_grad_() for array in arrays]
    ours, theirs = getattr(ac, function), getattr(torch.nn.functional, function)
    with ac.options(workspace_bytes=BLOCKS[index % len(BLOCKS)]):
        try:
            wanted = theirs(*tensors, **params)
        except (RuntimeError, ValueError):
            with pytest.raises((ValueError, TypeError)):
                ours(*arrays, **params)
            return False
        if wanted.numel() == 0:
            # Cropped to nothing: torch returns an empty array from conv_transpose.
            with pytest.raises(ValueError, match="crops the output to 0 cells"):
                ours(*arrays, **params)
            return False
        got, pullback = ac.vjp(ours, *arrays, **params)
        cotangent = draw(rng, got.shape, dtype)
        gradients = pullback(cotangent)
    if function == "unfold":
        np.testing.assert_array_equal(got, wanted.detach().numpy())
    assert_close(got, wanted.detach().numpy(), dtype)
    expected = torch.autograd.grad(wanted, tensors, torch.from_numpy(cotangent))
    for gradient, right in zip(gradients, expected, strict=True):
        # Sums over all positions of a batch: their rounding is relative to what was added.
        assert_close(gradient, right.resolve_conj().numpy(), dtype, 1 if dtype == "float32" else 10)
    return True


def is_depthwise(function: str, index: int) -> bool:
    """Whether a random call has groups of one channel, whose windows are compiled one by one."""
    shapes, params = geometry(np.random.default_rng([FUNCTIONS.index(function), index]), function)
    return "groups" in params and shapes[1][1] == 1


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
@pytest.mark.parametrize("function", FUNCTIONS)
def test_random_geometries(torch, function, request, left_out):
    full = request.config.getoption("--full")
    calls = [
        index
        for index in range(1500 if full else 200)
        if full or index % 6 == 0 or not is_depthwise(function, index)
    ]
    if not full:
        left_out("random depthwise geometries against PyTorch, all but one in 6: --full")
    accepted = [compare(torch, function, index) for index in calls]
    assert sum(accepted) > len(calls) / 2, "most geometries must be ones that torch accepts"
