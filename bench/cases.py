"""What is computed: a photograph under a few filters, and the machine's own two measures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, Any]

# The two filters of the lecture, with its biases.
LECTURE = (
    ((1, 1, 0), (-1, 1, -1), (0, -1, -1)),
    ((1, 1, 0), (-1, 1, -1), (-1, 0, -1)),
)
LECTURE_BIAS = (1, 1)
SOBEL = (
    ((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)),
    ((-1, -2, -1), (0, 0, 0), (1, 2, 1)),
)
GAUSSIAN = np.outer((1, 4, 6, 4, 1), (1, 4, 6, 4, 1)) / 256
SHARPEN = ((0, -1, 0), (-1, 5, -1), (0, -1, 0))


class Task(Protocol):
    """What a record needs to know of the thing that was timed."""

    @property
    def name(self) -> str: ...
    @property
    def op(self) -> str: ...
    @property
    def direction(self) -> str | None: ...
    @property
    def shape(self) -> dict[str, list[int]]: ...
    @property
    def params(self) -> dict[str, Any]: ...
    @property
    def flops(self) -> int: ...
    @property
    def bytes_min(self) -> int: ...


@dataclass(frozen=True, eq=False)
class Convolution:
    """A picture (N, C, H, W) under filters (O, C / groups, KH, KW); stride and dilation 1."""

    name: str
    title: str
    input: Array
    weight: Array
    bias: Array | None = None
    padding: int = 0
    groups: int = 1
    op = "conv2d"
    direction = "forward"

    @property
    def output_shape(self) -> tuple[int, ...]:
        sizes = zip(self.input.shape[2:], self.weight.shape[2:], strict=True)
        positions = (size + 2 * self.padding - kernel + 1 for size, kernel in sizes)
        return (self.input.shape[0], self.weight.shape[0], *positions)

    @property
    def shape(self) -> dict[str, list[int]]:
        return {
            "input": list(self.input.shape),
            "weight": list(self.weight.shape),
            "output": list(self.output_shape),
        }

    @property
    def params(self) -> dict[str, Any]:
        return {
            "bias": self.bias is not None,
            "stride": 1,
            "padding": self.padding,
            "dilation": 1,
            "groups": self.groups,
        }

    @property
    def multiply_adds(self) -> int:
        """Each output element takes one per weight of its filter, those on padding too."""
        taps: int = prod(self.weight.shape[1:])
        return prod(self.output_shape) * taps

    @property
    def flops(self) -> int:
        return 2 * self.multiply_adds

    @property
    def bytes_min(self) -> int:
        """Bytes that must move at least: input and weights read once, the output written once."""
        arrays = [array for array in (self.input, self.weight, self.bias) if array is not None]
        output: int = prod(self.output_shape) * self.input.dtype.itemsize
        return sum(array.nbytes for array in arrays) + output

    def crop(self, side: int) -> Convolution:
        """Return the same filters on the middle of the picture, at most ``side`` cells square."""
        rows, columns = (
            slice((size - min(size, side)) // 2, (size + min(size, side)) // 2)
            for size in self.input.shape[2:]
        )
        return replace(self, input=np.ascontiguousarray(self.input[..., rows, columns]))

    def in_double(self) -> Convolution:
        """Return the same in float64, for the loops that everyone is checked against."""
        bias = None if self.bias is None else self.bias.astype(np.float64)
        return replace(
            self,
            input=self.input.astype(np.float64),
            weight=self.weight.astype(np.float64),
            bias=bias,
        )


@dataclass(frozen=True)
class Copy:
    """One array copied to another, both far larger than a cache: what memory can move."""

    elements: int
    name = "machine"
    op = "copy"
    direction = None
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


def photograph(reduce: int = 1) -> tuple[Array, Array]:
    """Return the photograph that ships with matplotlib, (1, 1, H, W) grey and (1, 3, H, W) RGB."""
    from matplotlib.cbook import get_sample_data
    from PIL import Image

    file: Any = get_sample_data("grace_hopper.jpg")
    with file, Image.open(file) as opened:
        picture = opened.convert("RGB").reduce(reduce)
    grey = np.asarray(picture.convert("L"), dtype=np.float32) / 255
    rgb = np.asarray(picture, dtype=np.float32) / 255
    photo = grey[np.newaxis, np.newaxis], np.ascontiguousarray(np.moveaxis(rgb, -1, 0)[np.newaxis])
    for array in photo:
        # Everyone gets the same one.
        array.flags.writeable = False
    return photo


def filters(*kernels: Any) -> Array:
    """Return kernels (KH, KW) as weights (O, 1, KH, KW)."""
    weight = np.asarray(kernels, dtype=np.float32)[:, np.newaxis]
    weight.flags.writeable = False
    return weight


def convolutions(grey: Array, rgb: Array) -> list[Convolution]:
    """Return the cases: what each filter does to the photograph."""
    return [
        Convolution(
            "lecture",
            "the lecture's two filters, grey",
            grey,
            filters(*LECTURE),
            np.asarray(LECTURE_BIAS, dtype=np.float32),
        ),
        Convolution(
            "gaussian",
            "Gaussian blur, each colour",
            rgb,
            filters(GAUSSIAN, GAUSSIAN, GAUSSIAN),
            padding=2,
            groups=3,
        ),
        Convolution("sobel", "Sobel's two filters, grey", grey, filters(*SOBEL), padding=1),
        Convolution(
            "sharpen",
            "sharpening, each colour",
            rgb,
            filters(SHARPEN, SHARPEN, SHARPEN),
            padding=1,
            groups=3,
        ),
    ]
