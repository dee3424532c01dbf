"""First calls of common layers: numba compiles what they need, and keeps it for all that follow."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter
from typing import Any, NamedTuple

import arrayconv
from arrayconv._integers import Ints


class Layer(NamedTuple):
    """A call of a public function."""

    function: str
    shapes: tuple[Ints, ...]
    """Of the input, and of the weight if there is one."""
    params: dict[str, Any]

    def __str__(self) -> str:
        """Return the call, as one would write it."""
        shapes = ["x".join(map(str, shape)) for shape in self.shapes]
        params = [f"{name}={value}" for name, value in self.params.items()]
        return f"{self.function}({', '.join([*shapes, *params])})"


def _convolved(side: int, channels: int, outputs: int, kernel: int, **params: Any) -> Layer:
    weight = (outputs, channels // params.get("groups", 1), kernel, kernel)
    return Layer("conv2d", ((1, channels, side, side), weight), {"padding": kernel // 2, **params})


def _pooled(function: str, side: int, **params: Any) -> Layer:
    return Layer(function, ((1, 32, side, side),), params)


DTYPES = ("float16", "float32", "float64")
"""Those for which all of these are compiled."""
LAYERS = (
    _convolved(16, 8, 8, 3),
    _convolved(112, 3, 64, 7, stride=2),
    _convolved(56, 64, 64, 3),
    _convolved(14, 256, 256, 3),
    _convolved(56, 64, 64, 3, stride=2),
    _convolved(28, 64, 64, 5),
    _convolved(56, 64, 128, 1),
    *(_convolved(28, 64, 64, kernel, groups=64) for kernel in (3, 5, 7)),
    _convolved(56, 64, 64, 3, groups=64, stride=2),
    Layer("conv1d", ((1, 64, 1000), (64, 64, 3)), {"padding": 1}),
    Layer("conv3d", ((1, 16, 16, 16, 16), (16, 16, 3, 3, 3)), {"padding": 1}),
    Layer("conv_transpose2d", ((1, 64, 32, 32), (64, 32, 2, 2)), {"stride": 2}),
    Layer("conv_transpose2d", ((1, 64, 16, 16), (64, 32, 4, 4)), {"stride": 2, "padding": 1}),
    *(_pooled(f"{name}_pool2d", 56, kernel_size=2) for name in ("max", "avg")),
    _pooled("max_pool2d", 56, kernel_size=3, stride=2, padding=1),
    _pooled("avg_pool2d", 56, kernel_size=3, stride=1, padding=1),
    *(_pooled("adaptive_avg_pool2d", 14, output_size=size) for size in (1, 7)),
    _pooled("unfold", 56, kernel_size=3, padding=1),
)
"""With their gradients they are what networks for images are made of."""


def first_calls(xp: Any, dtype: str) -> Iterator[tuple[Layer, float]]:
    """Call each layer and its gradients, and yield it with the seconds that took."""
    for layer in LAYERS:
        arrays = [xp.ones(shape, dtype=getattr(xp, dtype)) for shape in layer.shapes]
        function = getattr(arrayconv, layer.function)
        start = perf_counter()
        # A pool that is to be differentiated runs another loop than one that is not.
        function(*arrays, **layer.params)
        output, pullback = arrayconv.vjp(function, *arrays, **layer.params)
        pullback(output)
        yield layer, perf_counter() - start
