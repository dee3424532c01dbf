"""Convolution and its gradients as products of matrices, the unfold fused into what they read.

No column matrix is made. Arrays are read as they lie in memory, but for the weights, which are
copied where their cells are not in a row.
"""

from __future__ import annotations

from functools import lru_cache, partial
from math import gcd, prod
from typing import Any, NamedTuple

from arrayconv._options import current
from arrayconv._window import Window, input_sizes, kernel_sizes, output_sizes, sight
from arrayconv.backends.cupy.geometry import (
    Description,
    Strided,
    Tiled,
    described,
    largest,
    packed_layout,
    packed_product,
    packed_window,
    strided,
)
from arrayconv.backends.cupy.launch import (
    INDICES,
    Kernel,
    Plan,
    executor_of,
    plan,
    pointer,
    run,
    summand,
    wide,
)
from arrayconv.backends.cupy.tiles import AHEAD, COPY, Tile, divided
from arrayconv.backends.cupy.windows import bits_for, window_unfit

FILES = {
    "implicit_conv": "implicit",
    "implicit_conv_transpose": "implicit_transpose",
    "implicit_conv_weight": "implicit",
}
"""The templates that take a tile, and their files."""
TENSOR_ARCHITECTURE = 80
"""The first architecture whose tensor cores are made use of."""


class _Sizes(NamedTuple):
    """A product as a launch needs it: its tiles, and in what axes its columns and steps count."""

    tile: Tile
    tiled: Tiled
    column: tuple[int, ...]
    step: tuple[int, ...]

    @property
    def column_planes(self) -> int:
        """Images (or channels) that the columns of all tiles count, those beyond the last too."""
        return self.tiled.column_tiles * self.tile.columns // prod(self.column) + 1

    @property
    def step_planes(self) -> int:
        """Channels (or images) that the steps count, with those that are looked at in advance."""
        return (self.tiled.steps + AHEAD) // prod(self.step) + 1

    def struct(self, bits: int) -> Any:
        """Return the struct Product."""
        return packed_product(self.tiled, self.column, self.step, bits)


def _reached(array: Strided, window: Window, images: int, channels: int) -> int:
    """Return how far from an array's first cell a thread may compute, without reading there."""
    image, channel, *cells = map(abs, array.strides)
    far = images * image + channels * channel
    for axis, step in zip(window, cells, strict=True):
        taps = (axis.kernel + 1) * axis.dilation + axis.stride * (axis.dilation + 1)
        far += 2 * step * (axis.size + abs(axis.before) + axis.out * axis.stride + taps)
    return far


def _kernel(function: str, kind: str, bits: int, window: Window, tile: Tile, run: int) -> Kernel:
    arguments = (kind, INDICES[bits], str(len(window)), str(run), tile.argument)
    return Kernel(FILES[function], function, arguments)


def _aligned(array: Any, tensor: bool) -> bool:
    """Whether runs of elements may be copied at once, as tensor cores take them."""
    return tensor and executor_of(array).address(array) % COPY == 0


def _in_runs(array: Strided) -> int:
    """Return a number that divides where runs of positions, in memory too, begin and end."""
    image, channel, *cells = array.strides
    sizes = array.shape[2:]
    in_row = all(
        size == 1 or step == prod(sizes[place + 1 :])
        for place, (size, step) in enumerate(zip(sizes, cells, strict=True))
    )
    return gcd(prod(sizes), image, channel) if in_row else 1


@lru_cache(maxsize=4096)
def _forward_plan(
    array: Description, window: Window, outputs: int, groups: int, tensor: bool, aligned: bool
) -> Plan:
    x, kind = strided(array), summand(array[2])
    batch, channels = x.shape[0], x.shape[1] // groups
    outs, kernel = output_sizes(window), kernel_sizes(window)
    positions, steps = prod(outs), channels * prod(kernel)
    tile, tiled = divided(tensor, kind, outputs // groups, batch * positions, steps, groups)
    sizes = _Sizes(tile, tiled, outs, kernel)
    bits = bits_for(
        largest(window),
        _reached(x, window, sizes.column_planes, x.shape[1] + sizes.step_planes),
        sizes.column_planes * outputs * positions,
        outputs * (steps + AHEAD),
        tiled.blocks,
    )
    structs = (packed_layout(x, bits, x.shape[1]), packed_window(window, bits), sizes.struct(bits))
    run = tile.run(kind, steps if aligned else 1)
    made = _kernel("implicit_conv", kind, bits, window, tile, run)
    shape, blocks, shared = (batch, outputs, *outs), tiled.blocks, tile.ring(kind, False)
    return plan(made, bits, shape, structs, channels, positions, blocks=blocks, shared=shared)


def conv(
    x: Any, w: Any, window: Window, groups: int, bias: Any = None, *, tensor: bool = False
) -> Any:
    """Return y (N, O, *positions)."""
    executor = executor_of(x)
    w = executor.contiguous(w)
    aligned = _aligned(w, tensor)
    made = _forward_plan(described(x), window, w.shape[0], groups, tensor, aligned)
    layout, *structs = made.structs
    y = executor.empty(x, made.shape, x.dtype)
    return run(made, y, x, layout, w, pointer(bias), *structs, y)


@lru_cache(maxsize=4096)
def _transpose_plan(
    array: Description, window: Window, channels: int, groups: int, tensor: bool
) -> Plan:
    y, kind = strided(array), summand(array[2])
    batch, outputs = y.shape[0], y.shape[1] // groups
    cells, taps = input_sizes(window), prod(kernel_sizes(window))
    # Cells of the same phase of each axis have a product of their own: see implicit_transpose.cu.
    phases = prod(min(axis.stride, axis.size) for axis in window)
    column = tuple(-(-axis.size // axis.stride) for axis in window)
    step = tuple(sight(axis).rounds for axis in window)
    columns, steps = batch * prod(column), outputs * prod(step)
    tile, tiled = divided(tensor, kind, channels, columns, steps, groups, phases)
    sizes = _Sizes(tile, tiled, column, step)
    bits = bits_for(
        largest(window),
        _reached(y, window, sizes.column_planes, y.shape[1] + sizes.step_planes),
        sizes.column_planes * groups * channels * phases * prod(column),
        (y.shape[1] + sizes.step_planes) * channels * (taps + phases),
        tiled.blocks,
    )
    structs = (packed_layout(y, bits, y.shape[1]), packed_window(window, bits), sizes.struct(bits))
    # The steps of a row are taps and outputs: far from each other.
    made = _kernel("implicit_conv_transpose", kind, bits, window, tile, 1)
    shape, blocks, shared = (batch, groups * channels, *cells), tiled.blocks, tile.ring(kind, False)
    return plan(made, bits, shape, structs, outputs, taps, blocks=blocks, shared=shared)


def conv_transpose(
    y: Any, w: Any, window: Window, groups: int, bias: Any = None, *, tensor: bool = False
) -> Any:
    """Return x (N, C, *sizes)."""
    executor = executor_of(y)
    made = _transpose_plan(described(y), window, w.shape[1], groups, tensor)
    layout, *structs = made.structs
    x = executor.empty(y, made.shape, y.dtype)
    return run(made, x, y, layout, executor.contiguous(w), pointer(bias), *structs, x)


@lru_cache(maxsize=4096)
def _weight_plans(
    array: Description,
    cotangent: Description,
    window: Window,
    groups: int,
    tensor: bool,
    aligned: bool,
) -> tuple[Plan, Plan]:
    """Return the launch that sums in parts, and the one that adds the parts."""
    x, y, kind = strided(array), strided(cotangent), summand(array[2])
    batch, outputs = y.shape[:2]
    channels, outs, kernel = x.shape[1] // groups, output_sizes(window), kernel_sizes(window)
    columns, steps = channels * prod(kernel), batch * prod(outs)
    tile, tiled = divided(tensor, kind, outputs // groups, columns, steps, groups, in_parts=True)
    sizes, weights = _Sizes(tile, tiled, kernel, outs), outputs * columns
    bits = bits_for(
        largest(window),
        _reached(x, window, sizes.step_planes, x.shape[1] + sizes.column_planes),
        _reached(y, window, sizes.step_planes, outputs + tile.rows),
        steps + AHEAD,
        tiled.parts * weights,
        tiled.blocks,
    )
    structs = (
        packed_layout(x, bits, x.shape[1]),
        packed_layout(y, bits, outputs),
        packed_window(window, bits),
        sizes.struct(bits),
    )
    run = tile.run(kind, _in_runs(y) if aligned else 1)
    summing = plan(
        _kernel("implicit_conv_weight", kind, bits, window, tile, run),
        bits,
        (tiled.parts, weights),
        structs,
        channels,
        blocks=tiled.blocks,
        shared=tile.ring(kind, True),
    )
    adding = Kernel("implicit", "implicit_conv_weight_sum", (kind, INDICES[bits]))
    shape = (outputs, channels, *kernel)
    return summing, plan(adding, bits, shape, (), tiled.parts, weights)


def conv_weight(x: Any, y: Any, window: Window, groups: int, tensor: bool = False) -> Any:
    """Return w (O, C / groups, *kernel)."""
    executor = executor_of(x)
    aligned = _aligned(y, tensor)
    summing, adding = _weight_plans(described(x), described(y), window, groups, tensor, aligned)
    layout, y_layout, *structs = summing.structs
    partial = executor.empty(x, summing.shape, wide(x.dtype))
    run(summing, partial, x, layout, y, y_layout, *structs, partial)
    w = executor.empty(x, adding.shape, x.dtype)
    return run(adding, w, partial, w)


def forget_plans() -> None:
    """Forget all launches: they were planned with the tiles that there were."""
    for planned in (_forward_plan, _transpose_plan, _weight_plans):
        planned.cache_clear()


def unfit(a: Any, b: Any, window: Window, groups: int) -> str | None:
    """Return why the kernels cannot serve a call of any of the three."""
    if a.dtype.kind == "b":
        return "bools have no product"
    return window_unfit(window, a, b)


ON_TENSOR_CORES = {
    "conv": partial(conv, tensor=True),
    "conv_transpose": partial(conv_transpose, tensor=True),
    "conv_weight": partial(conv_weight, tensor=True),
}
"""The same on tensor cores, by primitive."""


def tensor_unfit(a: Any, b: Any, window: Window, groups: int) -> str | None:
    """Return why tensor cores cannot serve a call of any of the three."""
    name = a.dtype.name
    if name == "float32" and not current().allow_tf32:
        return "tensor cores round float32 to 10 bits: options(allow_tf32=True) lets them"
    if name not in ("float32", "float16", "bfloat16"):
        return f"tensor cores multiply float32 (as TF32), float16 and bfloat16, not {name}"
    if executor_of(a).architecture() < TENSOR_ARCHITECTURE:
        return f"the GPU has no tensor cores for it: that takes sm_{TENSOR_ARCHITECTURE} or later"
    return unfit(a, b, window, groups)
