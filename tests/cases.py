"""The table of cases that forward, gradient and, later, kernel tests share."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import arrayconv as ac
from arrayconv import reference


class Case(NamedTuple):
    """One call: a public function, the shapes of its arrays, and its other arguments."""

    function: str
    shapes: tuple[tuple[int, ...], ...]
    params: dict[str, Any]

    @property
    def id(self) -> str:
        """A name for pytest: the function and what is not the default."""
        shapes = "-".join("x".join(map(str, shape)) for shape in self.shapes)
        params = ",".join(f"{name}={value}".replace(" ", "") for name, value in self.params.items())
        return f"{self.function}-{shapes}-{params}"

    @property
    def operation(self) -> str:
        """The capabilities table's name of the function."""
        return self.function.removesuffix("1d").removesuffix("2d").removesuffix("3d")

    def arrays(self, dtype: str, seed: int = 0) -> list[Any]:
        """Return NumPy arrays of small values, which sums of half types and int8 can hold."""
        rng = np.random.default_rng(seed)
        return [draw(rng, shape, dtype) for shape in self.shapes]

    def run(self, *arrays: Any, **more: Any) -> Any:
        """Call the public function."""
        return getattr(ac, self.function)(*arrays, **self.params, **more)

    def expected(self, *arrays: Any) -> Any:
        """Return what the oracle's loops give for the same call; it knows batches only."""
        params = dict(self.params)
        mode = params.pop("padding_mode", "zeros")
        if mode != "zeros":
            padding = params.pop("padding")
            flat = [n for pair in reversed(padding) for n in pair]
            arrays = (reference.pad(arrays[0], flat, mode), *arrays[1:])
        if self.operation in ("linear", "pad"):
            return getattr(reference, self.operation)(*arrays, **params)
        window = [name for name in ("kernel_size", "output_size") if name in params]
        dims = len(params[window[0]]) if window else len(self.shapes[1]) - 2
        batched = self.operation == "fold" and arrays[0].ndim == 3
        if batched or (self.operation != "fold" and arrays[0].ndim == dims + 2):
            return getattr(reference, self.operation)(*arrays, **params)
        return getattr(reference, self.operation)(arrays[0][None], *arrays[1:], **params)[0]


def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Any:
    """Return random values of a dtype: bools, small whole numbers, or reals around 0."""
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if "int" in dtype:
        return rng.integers(0 if dtype.startswith("u") else -4, 5, shape).astype(dtype)
    values = rng.standard_normal(shape)
    if dtype.startswith("complex"):
        values = values + 1j * rng.standard_normal(shape)
    return values.astype("float32" if dtype == "bfloat16" else dtype)


CONVOLUTIONS = (
    Case("conv1d", ((2, 3, 9), (4, 3, 3), (4,)), {}),
    Case("conv1d", ((3, 9), (4, 3, 4)), {"stride": 2, "padding": ((1, 2),), "dilation": 2}),
    Case("conv1d", ((1, 4, 8), (4, 1, 3)), {"groups": 4, "padding": "same_upper", "stride": 3}),
    Case("conv2d", ((2, 3, 6, 7), (4, 3, 3, 3), (4,)), {}),
    Case("conv2d", ((1, 3, 6, 7), (2, 3, 1, 1)), {}),
    Case("conv2d", ((3, 4, 7, 6), (6, 2, 3, 2), (6,)), {"stride": (2, 1), "groups": 2}),
    Case("conv2d", ((2, 2, 5, 6), (2, 2, 2, 3)), {"padding": "same", "dilation": (2, 1)}),
    Case("conv2d", ((2, 2, 8, 5), (3, 2, 3, 3)), {"padding": "same_lower", "stride": (3, 2)}),
    Case("conv2d", ((1, 1, 4, 4), (1, 1, 2, 2)), {"padding": ((0, 3), (4, 0)), "stride": 3}),
    Case("conv2d", ((2, 6, 6), (4, 2, 4, 4), (4,)), {"padding": 2, "stride": 2}),
    Case("conv2d", ((0, 2, 5, 5), (3, 2, 3, 3), (3,)), {"padding": 1}),
    Case("conv2d", ((1, 2, 3, 3), (2, 2, 7, 7)), {"padding": 4, "stride": 2}),
    Case(
        "conv2d",
        ((2, 2, 5, 4), (3, 2, 3, 2), (3,)),
        {"padding": ((1, 0), (2, 3)), "padding_mode": "reflect", "stride": (2, 1)},
    ),
    Case(
        "conv1d",
        ((2, 3, 4), (4, 3, 3)),
        {"padding": ((6, 1),), "padding_mode": "replicate", "dilation": 2},
    ),
    Case(
        "conv2d",
        ((2, 5, 4), (4, 1, 3, 3)),
        {"padding": ((1, 1), (4, 2)), "padding_mode": "circular", "groups": 2},
    ),
    Case("conv3d", ((1, 2, 4, 5, 4), (3, 2, 2, 3, 1), (3,)), {"padding": (1, 0, 2)}),
    Case("conv3d", ((2, 3, 4, 5), (2, 1, 2, 2, 2)), {"groups": 2, "stride": (1, 2, 2)}),
)
TRANSPOSED = (
    Case("conv_transpose1d", ((2, 3, 5), (3, 2, 4), (2,)), {"stride": 2, "padding": 1}),
    Case("conv_transpose1d", ((4, 6), (4, 2, 3)), {"groups": 2, "padding": ((2, 0),)}),
    Case("conv_transpose2d", ((2, 3, 4, 5), (3, 2, 3, 3), (2,)), {}),
    Case("conv_transpose2d", ((1, 2, 3, 4), (2, 2, 1, 1)), {}),
    Case(
        "conv_transpose2d",
        ((2, 4, 3, 4), (4, 3, 2, 3), (6,)),
        {"stride": (3, 2), "output_padding": (2, 1), "groups": 2},
    ),
    Case(
        "conv_transpose2d",
        ((2, 4, 4), (2, 5, 3, 2)),
        {"padding": ((2, 1), (0, 1)), "dilation": (1, 2), "stride": (1, 2)},
    ),
    Case("conv_transpose2d", ((0, 2, 3, 3), (2, 1, 3, 3), (1,)), {"stride": 2}),
    Case("conv_transpose2d", ((1, 5, 4, 4), (5, 1, 3, 3)), {"groups": 5, "padding": 1}),
    Case(
        "conv_transpose3d",
        ((1, 2, 2, 3, 2), (2, 2, 2, 1, 3), (2,)),
        {"stride": (2, 1, 1), "padding": (1, 0, 0), "dilation": (1, 1, 2)},
    ),
)
COLUMNS = (
    Case("unfold", ((2, 3, 9),), {"kernel_size": (3,), "stride": 2, "padding": ((2, 0),)}),
    Case("unfold", ((2, 3, 5, 6),), {"kernel_size": (2, 3)}),
    Case("unfold", ((3, 6, 5),), {"kernel_size": (3, 3), "padding": 1, "stride": (3, 1)}),
    Case("unfold", ((1, 2, 7, 6),), {"kernel_size": (2, 2), "dilation": (3, 2), "padding": 2}),
    Case("unfold", ((0, 2, 4, 4),), {"kernel_size": (2, 2)}),
    Case("unfold", ((1, 2, 3, 4, 3),), {"kernel_size": (2, 2, 3), "padding": "same"}),
    Case("unfold", ((1, 1, 3, 2, 3, 2),), {"kernel_size": (2, 1, 2, 2)}),
    Case("fold", ((2, 6, 4),), {"output_size": (9,), "kernel_size": (3,), "stride": 2}),
    Case("fold", ((2, 18, 16),), {"output_size": (5, 6), "kernel_size": (2, 3)}),
    Case(
        "fold",
        ((9, 12),),
        {"output_size": (5, 6), "kernel_size": (3, 3), "padding": ((1, 1), (0, 0))}
        | {"stride": (2, 1)},
    ),
    Case(
        "fold",
        ((1, 8, 4),),
        {"output_size": (4, 4), "kernel_size": (2, 2), "stride": 2},
    ),
    Case(
        "fold",
        ((1, 8, 8),),
        {"output_size": (3, 3, 3), "kernel_size": (2, 2, 2)},
    ),
)
DENSE = (
    Case("linear", ((2, 3, 5), (4, 5), (4,)), {}),
    Case("linear", ((5,), (4, 5)), {}),
    Case("linear", ((0, 5), (4, 5), (4,)), {}),
)
PADS = (
    Case("pad", ((2, 3, 4),), {"pad": (1, 2)}),
    Case("pad", ((2, 3, 4),), {"pad": (-1, 2, 0, -2), "value": 1}),
    Case("pad", ((3, 4),), {"pad": (0, 0, 2, 1)}),
    Case("pad", ((2, 3, 4),), {"pad": (3, 2, 1, -1), "mode": "reflect"}),
    Case("pad", ((2, 3, 4),), {"pad": (5, 1, -1, 7), "mode": "replicate"}),
    Case("pad", ((2, 3, 4),), {"pad": (4, 2, 2, -1), "mode": "circular"}),
    Case("pad", ((1, 4, 1),), {"pad": (0, 2, -3, 2), "mode": "replicate"}),
    Case("pad", ((2, 3, 4),), {"pad": (3, 2, 1, 2), "mode": "reflect"}),
    Case("pad", ((2, 3, 4),), {"pad": (5, 1, 0, 7), "mode": "replicate"}),
    Case("pad", ((2, 3, 4),), {"pad": (4, 2, 2, 3, 1, 0), "mode": "circular"}),
    Case("pad", ((2, 6),), {"pad": (-9, 5), "value": 3}),
)
CASES = (*CONVOLUTIONS, *TRANSPOSED, *COLUMNS, *DENSE, *PADS)
INEXACT = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")
TOLERANCES = {
    "float16": 2e-3,
    "bfloat16": 2e-2,
    "float32": 1e-5,
    "complex64": 1e-5,
    "float64": 1e-10,
    "complex128": 1e-10,
}
"""Largest difference, as a share of the largest magnitude of the right answer."""


def assert_close(got: Any, wanted: Any, dtype: str, factor: float = 1) -> None:
    """Compare two NumPy arrays: shapes, and values within the dtype's tolerance; else exactly."""
    assert got.shape == wanted.shape
    if dtype not in TOLERANCES:
        np.testing.assert_array_equal(got, wanted)
        return
    if wanted.dtype == np.float16:
        got, wanted = got.astype(np.float32), wanted.astype(np.float32)
    largest = np.max(np.abs(wanted), initial=1.0)
    error = np.max(np.abs(got - wanted), initial=0.0)
    assert error <= factor * TOLERANCES[dtype] * largest, f"{error} of {largest}"
