"""What is computed: an operation of arrayconv on arrays of some shapes, and what it costs at least.

A case is one call of a public function, or of its gradient to one of its arrays. Its arithmetic
(sizes, multiply-adds, bytes) is worked out here; which layers people know are in `bench.suites`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from math import prod
from typing import Any, Protocol

import numpy as np

import arrayconv as ac

Array = Any
"""A NumPy array; its own type has much to say of shapes that are plain here."""
Ints = tuple[int, ...]

FORWARD, TO_INPUT, TO_WEIGHT = "forward", "input_gradient", "weight_gradient"
ENOUGH_WORK = 10_000
"""Steps of the nested loops that make a small case large enough: some hundredths of a second."""
ITEMSIZE = {
    **{"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8},
    **{"complex64": 8, "complex128": 16},
}


class Task(Protocol):
    """What a record needs to know of the thing that was timed."""

    @property
    def name(self) -> str: ...
    @property
    def op(self) -> str: ...
    @property
    def direction(self) -> str | None: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> dict[str, list[int]]: ...
    @property
    def params(self) -> dict[str, Any]: ...
    @property
    def flops(self) -> int: ...
    @property
    def bytes_min(self) -> int: ...


def one_each(numbers: int | Sequence[int], dims: int) -> Ints:
    """Return one number per spatial dimension."""
    return (numbers,) * dims if isinstance(numbers, int) else tuple(numbers)


@dataclass(frozen=True, eq=False)
class Case:
    """One call of a public function, ``op``, on arrays of given shapes: (N, C, *sizes) first.

    A convolution also has a weight, and may have a bias.
    """

    name: str
    op: str
    input: Ints
    params: dict[str, Any] = field(default_factory=dict)
    weight: Ints | None = None
    bias: bool = False
    direction: str = FORWARD
    dtype: str = "float32"
    small_call: bool = False
    """Whether its time is that of the call rather than of the work: timed end to end as well."""
    values: tuple[Array, ...] | None = None
    """The arrays themselves, where they are not random."""
    title: str = ""

    @property
    def family(self) -> str:
        """The operation without its number of dimensions: "conv", "max_pool", "unfold"."""
        return self.op.removesuffix("1d").removesuffix("2d").removesuffix("3d")

    @property
    def convolves(self) -> bool:
        return self.weight is not None

    @property
    def dims(self) -> int:
        if self.family == "fold":
            return len(self.params["output_size"])
        return len(self.input) - 2

    @property
    def groups(self) -> int:
        return int(self.params.get("groups", 1))

    @property
    def kernel_size(self) -> Ints:
        if self.weight is not None:
            return self.weight[2:]
        if self.family.startswith("adaptive"):
            outs = one_each(self.params["output_size"], self.dims)
            return tuple(-(-n // out) for n, out in zip(self.input[2:], outs, strict=True))
        return one_each(self.params["kernel_size"], self.dims)

    def _sizes(self, sizes: Ints) -> Ints:
        pools = self.family.endswith("pool")
        stride = self.params.get("stride", self.kernel_size if pools else 1)
        outs: Any = ac.output_size(
            sizes,
            self.kernel_size,
            stride,
            self.params.get("padding", 0),
            self.params.get("dilation", 1),
            self.params.get("ceil_mode", False),
        )
        return tuple(outs)

    @cached_property
    def output(self) -> Ints:
        """The shape of what the function returns (the values, where it returns a pair)."""
        batch, channels, *sizes = self.input
        if self.family == "conv":
            assert self.weight is not None
            return (batch, self.weight[0], *self._sizes(tuple(sizes)))
        if self.family == "conv_transpose":
            assert self.weight is not None
            more = ("stride", "padding", "output_padding", "dilation")
            given = {name: self.params[name] for name in more if name in self.params}
            outs: Any = ac.transposed_output_size(tuple(sizes), self.kernel_size, **given)
            return (batch, self.weight[1] * self.groups, *outs)
        if self.family == "unfold":
            positions = prod(self._sizes(tuple(sizes)))
            return (batch, channels * prod(self.kernel_size), positions)
        if self.family == "fold":
            return (batch, channels // prod(self.kernel_size), *self.params["output_size"])
        if self.family.startswith("adaptive"):
            return (batch, channels, *one_each(self.params["output_size"], self.dims))
        return (batch, channels, *self._sizes(tuple(sizes)))

    @property
    def shape(self) -> dict[str, list[int]]:
        shapes = {"input": list(self.input)}
        if self.weight is not None:
            shapes["weight"] = list(self.weight)
        return {**shapes, "output": list(self.output)}

    @property
    def work(self) -> int:
        """What the nested loops go through: multiply-adds, or cells seen by windows."""
        if self.family == "conv":
            assert self.weight is not None
            return prod(self.output) * prod(self.weight[1:])
        if self.family == "conv_transpose":
            assert self.weight is not None
            return prod(self.input) * prod(self.weight[1:])
        if self.family == "unfold":
            return prod(self.output)
        if self.family == "fold":
            return prod(self.input)
        return prod(self.output) * prod(self.kernel_size)

    @property
    def flops(self) -> int:
        """Floating-point operations of the definition: two a multiply-add, as papers count.

        A complex multiply-add has four of each; a window of ``k`` cells is summed or compared by
        ``k`` operations; a copy has none, and to add columns up takes one each.
        """
        if self.family == "unfold":
            return self.work if self.direction == TO_INPUT else 0
        if self.family == "fold":
            return 0 if self.direction == TO_INPUT else self.work
        per_step = 2 if self.convolves else 1
        return self.work * per_step * (4 if self.dtype.startswith("complex") else 1)

    @property
    def bytes_min(self) -> int:
        """Bytes that must move at least: what goes in read once, what comes out written once."""
        itemsize = ITEMSIZE[self.dtype]
        big = prod(self.input) + prod(self.output)
        weights = prod(self.weight) if self.weight is not None else 0
        bias = self.output[1] if self.bias and self.direction == FORWARD else 0
        indices = 8 * prod(self.output) if self._has_indices else 0
        return (big + weights + bias) * itemsize + indices

    @property
    def _has_indices(self) -> bool:
        maximum = self.family in ("max_pool", "adaptive_max_pool")
        return maximum and (self.direction == TO_INPUT or "return_indices" in self.params)

    def arrays(self) -> tuple[Array, ...]:
        """Return the input, the weight and the bias where there are, from a fixed seed.

        All that compute a case are given the same ones, which nobody may change.
        """
        if self.values is not None:
            return self.values
        shapes, scales = [self.input], [1.0]
        if self.weight is not None:
            # As layers are initialised: the output then is about as large as the input.
            shapes.append(self.weight)
            scales.append(prod(self.weight[1:]) ** -0.5)
        if self.bias:
            shapes.append((self.output[1],))
            scales.append(1.0)
        return drawn(0, tuple(shapes), tuple(scales), self.dtype)

    def cotangent(self) -> Array:
        """Return what the gradient is taken along, from a fixed seed."""
        return drawn(1, (self.output,), (1.0,), self.dtype)[0]

    def small(self) -> Case:
        """Return the same operation on few and small arrays, which nested loops can compute.

        Only sizes change: groups stay one, depthwise or a few; strides, paddings, dilations and
        kernels are the case's own.
        """
        # The loops have the gradient of an average from its Jacobian: once through for each cell.
        jacobian = "avg" in self.family and self.direction == TO_INPUT
        enough = ENOUGH_WORK // 20 if jacobian else ENOUGH_WORK
        smaller = self
        for strides in (2, 4, 8, 16, 32):
            smaller = self._of_strides(strides)
            if smaller.work >= enough:
                break
        return smaller

    def _of_strides(self, strides: int) -> Case:
        batch, channels = min(self.input[0], 2), self.input[1]
        params = dict(self.params)
        if self.family == "fold":
            sizes = params["output_size"] = self._small_sizes(params["output_size"], strides)
            positions = prod(self._sizes(sizes))
            return self._resized((batch, 2 * prod(self.kernel_size), positions), params)
        sizes = self._small_sizes(self.input[2:], strides)
        if self.family.startswith("adaptive"):
            outs = one_each(params["output_size"], self.dims)
            params["output_size"] = tuple(map(min, outs, sizes))
        if self.weight is None:
            return self._resized((batch, min(channels, 2), *sizes), params)
        groups = min(self.groups, 2)
        first = self.weight[0] if self.family == "conv_transpose" else self.weight[0] // self.groups
        first, second = min(first, 2), min(self.weight[1], 2)
        if "groups" in params:
            params["groups"] = groups
        weight = (groups * first, second, *self.kernel_size)
        channels = weight[0] if self.family == "conv_transpose" else groups * second
        return self._resized((batch, channels, *sizes), params, weight)

    def _small_sizes(self, sizes: Ints, strides: int) -> Ints:
        """Return sizes for so many strides and a bit more than what one window sees."""
        if self.family == "conv_transpose":
            return tuple(min(n, 2 + strides) for n in sizes)
        if self.family.startswith("adaptive"):
            return tuple(min(n, 5 + strides) for n in sizes)
        dilation = one_each(self.params.get("dilation", 1), self.dims)
        default = self.kernel_size if self.family.endswith("pool") else 1
        stride = one_each(self.params.get("stride", default), self.dims)
        return tuple(
            min(n, d * (k - 1) + 1 + strides * s + 1)
            for n, k, d, s in zip(sizes, self.kernel_size, dilation, stride, strict=True)
        )

    def cropped(self, side: int) -> Case:
        """Return the case on an input of at most ``side`` cells in each dimension."""
        sizes = tuple(min(n, side) for n in self.input[2:])
        return self._resized((*self.input[:2], *sizes), self.params, self.weight)

    def _resized(self, input: Ints, params: dict[str, Any], weight: Ints | None = None) -> Case:
        if self.values is None:
            return replace(self, input=input, weight=weight, params=params)
        # All of the filters, on the middle of the picture.
        picture, *filters = self.values
        middle = tuple(
            slice((n - size) // 2, (n - size) // 2 + size)
            for n, size in zip(picture.shape[2:], input[2:], strict=True)
        )
        crop = np.ascontiguousarray(picture[(slice(None), slice(None), *middle)])
        return replace(self, input=crop.shape, values=(crop, *filters))

    def with_batch(self, batch: int) -> Case:
        """Return the case for another number of images."""
        return replace(self, input=(batch, *self.input[1:]))


# Those of a case and of its small version.
@lru_cache(maxsize=4)
def drawn(
    seed: int, shapes: tuple[Ints, ...], scales: tuple[float, ...], dtype: str
) -> tuple[Array, ...]:
    """Return random arrays of these shapes, which are kept for whoever computes a case next."""
    random = np.random.default_rng(seed)
    arrays = tuple(
        draw(random, shape, dtype, scale) for shape, scale in zip(shapes, scales, strict=True)
    )
    for array in arrays:
        array.flags.writeable = False
    return arrays


PERIOD = 4_000_037
"""A prime number of random values, which repeat in larger arrays: to draw all would take longer
than to compute with them on a GPU."""


def draw(random: np.random.Generator, shape: Ints, dtype: str, scale: float = 1.0) -> Array:
    """Return random values of a dtype; bfloat16 as the float32 numbers that it has."""
    if prod(shape) > PERIOD:
        return np.resize(draw(random, (PERIOD,), dtype, scale), shape)
    part: Any = "float64" if dtype in ("float64", "complex128") else "float32"
    values = random.standard_normal(shape, dtype=part) * np.asarray(scale, part)
    if dtype.startswith("complex"):
        return (values + 1j * random.standard_normal(shape, dtype=part) * scale).astype(dtype)
    if dtype == "bfloat16":
        bits = values.view(np.uint32) & np.uint32(0xFFFF0000)
        return bits.view(np.float32)
    return values.astype(dtype)


@dataclass(frozen=True)
class Copy:
    """One array copied to another, both far larger than a cache: what memory can move."""

    elements: int
    name = "machine"
    op = "copy"
    direction = None
    dtype = "float32"
    flops = 0

    @property
    def shape(self) -> dict[str, list[int]]:
        return {"input": [self.elements]}

    @property
    def params(self) -> dict[str, Any]:
        return {}

    @property
    def bytes_min(self) -> int:
        return 2 * 4 * self.elements


@dataclass(frozen=True)
class Product:
    """A product of two square matrices: what the library's matrix product can compute."""

    size: int
    name = "machine"
    op = "product"
    direction = None
    dtype = "float32"

    @property
    def shape(self) -> dict[str, list[int]]:
        return {"input": [self.size, self.size], "weight": [self.size, self.size]}

    @property
    def params(self) -> dict[str, Any]:
        return {}

    @property
    def flops(self) -> int:
        return 2 * self.size**3

    @property
    def bytes_min(self) -> int:
        return 3 * 4 * self.size**2
