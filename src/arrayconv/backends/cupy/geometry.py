"""A window as the kernels take it: the structs of geometry.cuh, filled field by field.

The names of the fields are those of the structs, and a launch checks nothing more: what is packed
here is what a kernel reads, by value.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._window import Axis, Table, Windows, adaptive_window, sight, span

NARROW = 2**31 - 2**16
"""What numbers of 32 bits must stay below; the last block of threads may count a little further."""

WIDE = 2**62
"""What numbers of 64 bits must stay below."""

DIMS = 3
"""Spatial dimensions of every struct; leading ones may be of one cell."""

PARTS = -1
"""The kernel size of a template whose windows are those of adaptive pooling."""


def _divisor(index: Any) -> np.dtype[Any]:
    return np.dtype([("multiplier", index), ("shift", index)])


class Tiled(NamedTuple):
    """A product of matrices, one for each group, and how blocks divide it: see tiles.cuh."""

    rows: int
    columns: int
    steps: int
    steps_each: int
    groups: int
    parts: int
    phases: int
    row_tiles: int
    column_tiles: int

    @property
    def blocks(self) -> int:
        """The number of tiles in all."""
        return self.row_tiles * self.column_tiles * self.phases * self.parts * self.groups


@lru_cache(maxsize=2)
def structs(bits: int) -> dict[str, np.dtype[Any]]:
    """Return the dtypes that mirror the structs of the kernels, for indices of so many bits."""
    index, divisor = np.dtype(f"int{bits}"), _divisor(np.dtype(f"int{bits}"))
    plain = "size kernel stride dilation before out common tap_step position_step inverse rounds"
    divided = "by_size by_out by_stride by_common by_tap_step"
    axis = [(name, index) for name in plain.split()]
    axis += [(name, divisor) for name in divided.split()]
    layout = [("channels", index), ("image", index), ("channel", index), ("cell", index, (DIMS,))]
    groups = [("outputs", index), ("multiplier", index), ("row_groups", index)]
    groups += [(f"by_{name}", divisor) for name, _ in groups]
    counter = np.dtype([("sizes", index, (DIMS,)), ("by_sizes", divisor, (DIMS,))])
    product = [(name, index) for name in Tiled._fields]
    product += [("column", counter), ("step", counter)]
    return {
        "Window": np.dtype([("axes", axis, (DIMS,))]),
        "Layout": np.dtype([*layout, ("by_channels", divisor)]),
        "Groups": np.dtype(groups),
        "Product": np.dtype(product),
    }


def divided_by(divisor: int, bits: int) -> tuple[int, int]:
    """Return the multiplier and the shift by which a kernel divides numbers of ``bits - 1`` bits.

    The multiplier's bits are those of an unsigned number, given as the signed one that has them.
    """
    shift = (divisor - 1).bit_length()
    multiplier = ((1 << bits) * ((1 << shift) - divisor)) // divisor + 1
    return multiplier - (1 << bits if multiplier >> (bits - 1) else 0), shift


ONE_CELL = Axis(1, 1, 1, 1, 0, 0, 1)


def regular(axis: Axis | Table) -> Axis:
    """Return an axis as such; of a table, which has no numbers of its own, its sizes."""
    if isinstance(axis, Table):
        return Axis(axis.size, axis.kernel, 1, 1, 0, 0, axis.out)
    return axis


def in_three(window: Windows) -> tuple[Axis, ...]:
    """Return the window with leading axes of one cell."""
    return (*(ONE_CELL,) * (DIMS - len(window)), *map(regular, window))


def in_parts(window: Windows) -> bool:
    """Whether all axes divide their sizes as adaptive pooling does, which a kernel can work out."""
    return all(adaptive_window((axis.size,), (axis.out,))[0] == axis for axis in window)


def largest(window: Windows) -> int:
    """Return the largest number that the arithmetic of a window's axes may come to."""
    numbers = [0]
    for axis in map(regular, window):
        step = sight(axis).tap_step
        numbers += [
            axis.size + abs(axis.before) + span(axis) + axis.out * axis.stride,
            (axis.size + 1) * (axis.out + 1),
            step * step,
        ]
    return max(numbers)


@lru_cache(maxsize=4096)
def packed_window(window: Windows, bits: int) -> Any:
    """Return the struct Window."""
    struct = np.zeros(1, structs(bits)["Window"])
    for to, axis in zip(struct["axes"][0], in_three(window), strict=True):
        seen = sight(axis)
        for name, number in (*axis._asdict().items(), *seen._asdict().items()):
            if name != "after":
                to[name] = number
        for name, divisor in (
            ("by_size", axis.size),
            ("by_out", axis.out),
            ("by_stride", axis.stride),
            ("by_common", seen.common),
            ("by_tap_step", seen.tap_step),
        ):
            to[name] = divided_by(divisor, bits)
    return struct


class Strided(NamedTuple):
    """How an array (N, C, *cells) lies in memory: its shape, and its strides in elements."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def furthest(self) -> int:
        """The furthest cell from the first one."""
        reaches = (abs(step) * (n - 1) for n, step in zip(self.shape, self.strides, strict=True))
        return sum(reaches)

    @property
    def plane_step(self) -> int | None:
        """How far apart planes are, where that is always the same."""
        (batch, channels), (image, channel) = self.shape[:2], self.strides[:2]
        if batch == 1 or channels == 1:
            return channel if batch == 1 else image
        return channel if image == channels * channel else None

    @property
    def dense(self) -> bool:
        """Whether planes are equally far apart, and the cells of a row follow each other."""
        in_row = self.strides[-1] == 1 or self.shape[-1] == 1
        return in_row and self.plane_step is not None


Description = tuple[tuple[int, ...], tuple[int, ...], Any]
"""An array's shape, its strides in bytes, and its dtype: what plans are kept by."""


def described(array: Any) -> Description:
    """Return what a plan must know of an array, as the array has it."""
    return array.shape, array.strides, array.dtype


def strided(array: Description) -> Strided:
    """Return how an array lies in memory; an axis of one cell has no stride worth keeping."""
    shape, strides, dtype = array
    steps = zip(shape, strides, strict=True)
    return Strided(shape, tuple(step // dtype.itemsize if n > 1 else 0 for n, step in steps))


@lru_cache(maxsize=4096)
def packed_layout(array: Strided, bits: int, channels: int) -> Any:
    """Return the struct Layout of an array (N, C, *cells) of up to three dimensions of cells."""
    struct = np.zeros(1, structs(bits)["Layout"])
    image, channel, *cells = array.strides
    step = array.plane_step
    struct["channels"], struct["image"] = channels, image
    # Of one channel only, any distance to the next one is right: then that of the images.
    struct["channel"] = channel if step is None else step
    struct["cell"] = [0] * (DIMS - len(cells)) + cells
    struct["by_channels"] = divided_by(channels, bits)
    return struct


@lru_cache(maxsize=256)
def packed_groups(outputs: int, multiplier: int, row_groups: int, bits: int) -> Any:
    """Return the struct Groups of a depthwise convolution."""
    struct = np.zeros(1, structs(bits)["Groups"])
    for name, number in (
        ("outputs", outputs),
        ("multiplier", multiplier),
        ("row_groups", row_groups),
    ):
        struct[name], struct[f"by_{name}"] = number, divided_by(number, bits)
    return struct


@lru_cache(maxsize=4096)
def packed_product(tiled: Tiled, column: tuple[int, ...], step: tuple[int, ...], bits: int) -> Any:
    """Return the struct Product, whose columns and steps count in up to three axes."""
    struct = np.zeros(1, structs(bits)["Product"])
    for name, number in tiled._asdict().items():
        struct[name] = number
    for name, sizes in (("column", column), ("step", step)):
        in_dims = (*(1,) * (DIMS - len(sizes)), *sizes)
        struct[name]["sizes"] = in_dims
        struct[name]["by_sizes"] = [[divided_by(size, bits) for size in in_dims]]
    return struct


SPECIAL = tuple((kernel, stride) for kernel in (1, 2, 3, 5, 7) for stride in (1, 2, 3, 5, 7))
"""Kernel sizes and strides that are templates of their own, where they are those of every axis."""

MOST_TAPS = 49
"""Taps beyond which a loop that the compiler lays out whole is no better than one that turns."""


def special(window: Windows) -> tuple[int, int]:
    """Return what the compiler may know: (kernel, stride), (0, 0), or (PARTS, 0)."""
    if any(isinstance(axis, Table) for axis in window):
        return PARTS, 0
    kernels = {axis.kernel for axis in map(regular, window)}
    strides = {axis.stride for axis in map(regular, window) if axis.out > 1}
    dilated = any(regular(axis).dilation > 1 for axis in window)
    pair = (min(kernels), min(strides, default=1))
    alike = len(kernels) == 1 and len(strides) <= 1 and not dilated
    few = prod(axis.kernel for axis in window) <= MOST_TAPS
    return pair if alike and few and pair in SPECIAL else (0, 0)
