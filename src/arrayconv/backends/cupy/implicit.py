"""Convolution and its gradients as products of matrices, the unfold fused into what they read.

No column matrix is made. Arrays are read as they lie in memory, but for the weights, which are
copied where their cells are not in a row.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

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
    THREADS,
    Kernel,
    Plan,
    executor_of,
    plan,
    run,
    summand,
    wide,
)
from arrayconv.backends.cupy.windows import bits_for, window_unfit

FILES = {
    "implicit_conv": "implicit",
    "implicit_conv_transpose": "implicit_transpose",
    "implicit_conv_weight": "implicit",
}
"""The templates that take a tile, and their files."""
QUAD = 4
STEPS = 8
"""The constants of product.cuh."""


class Tile(NamedTuple):
    """The shape of what a block computes, as the template takes it."""

    row_threads: int
    row_quads: int
    column_quads: int

    @property
    def rows(self) -> int:
        """Rows of the product in a tile."""
        return self.row_threads * QUAD * self.row_quads

    @property
    def columns(self) -> int:
        """Columns of the product in a tile."""
        return THREADS // self.row_threads * QUAD * self.column_quads

    @property
    def argument(self) -> str:
        """The arguments of the template."""
        return ", ".join(map(str, self))

    @property
    def cost(self) -> float:
        """The time of a step, in products: one for each, and for each number that is read."""
        reads = 1 / (QUAD * self.row_quads) + 1 / (QUAD * self.column_quads)
        return self.rows * self.columns * (1 + 2 * reads)


TILES = (Tile(16, 2, 2), Tile(16, 1, 2), Tile(16, 1, 1), Tile(4, 1, 1))
"""128 x 128, 64 x 128, 64 x 64, and 16 x 256 for groups of few outputs."""
_BYTES = {"double": 8, "Long": 8, "Complex<float>": 8, "Complex<double>": 16}
"""Of the numbers that are summed; all others have 4."""
MOST_SUMS = 256
"""Bytes of a thread's sums that its registers have room for beside the rest."""
MOST_SHARED = 48 << 10
"""Bytes of shared memory that every GPU gives to a block."""
MULTIPROCESSORS = 132
"""Blocks that run at once on the GPU that tiles are chosen for (an H200)."""
LEAST_STEPS = 512
"""Steps of a part of a sum: fewer are not worth a block of their own."""


def tiles_of(kind: str) -> tuple[Tile, ...]:
    """Return the tiles that have room in a thread's registers and a block's shared memory."""
    size = _BYTES.get(kind, 4)

    def fits(tile: Tile) -> bool:
        sums = QUAD * tile.row_quads * QUAD * tile.column_quads * size
        # Twice a run of steps, and a few bytes for the steps themselves.
        shared = 2 * STEPS * ((tile.rows + tile.columns) * size + 64)
        return sums <= MOST_SUMS and shared <= MOST_SHARED

    return tuple(filter(fits, TILES))


def _chosen(kind: str, rows: int, columns: int, repeats: int, in_parts: bool) -> Tile:
    """Return the tile of least time, by an estimate that counts whole waves of blocks.

    ``in_parts``, the blocks are divided further until they fill the GPU.
    """

    def time(tile: Tile) -> float:
        blocks = -(-rows // tile.rows) * -(-columns // tile.columns) * repeats
        waves = blocks if in_parts else -(-blocks // MULTIPROCESSORS) * MULTIPROCESSORS
        return waves * tile.cost

    return min(tiles_of(kind), key=time)


def divided(
    kind: str,
    rows: int,
    columns: int,
    steps: int,
    groups: int,
    phases: int = 1,
    in_parts: bool = False,
) -> tuple[Tile, Tiled]:
    """Return the tile, and how it divides a product."""
    tile = _chosen(kind, rows, columns, groups * phases, in_parts)
    row_tiles, column_tiles = -(-rows // tile.rows), -(-columns // tile.columns)
    parts = 1
    if in_parts:
        tiles = row_tiles * column_tiles * groups
        parts = max(1, min(2 * MULTIPROCESSORS // tiles, steps // LEAST_STEPS))
    steps_each = max(1, -(-steps // (parts * STEPS))) * STEPS
    parts = max(1, -(-steps // steps_each))
    sizes = (rows, columns, steps, steps_each, groups, parts, phases, row_tiles, column_tiles)
    return tile, Tiled(*sizes)


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
        return (self.tiled.steps + 4 * STEPS) // prod(self.step) + 1

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


def _kernel(function: str, kind: str, bits: int, window: Window, tile: Tile) -> Kernel:
    arguments = (kind, INDICES[bits], str(len(window)), tile.argument)
    return Kernel(FILES[function], function, arguments)


@lru_cache(maxsize=4096)
def _forward_plan(array: Description, window: Window, outputs: int, groups: int) -> Plan:
    x, kind = strided(array), summand(array[2])
    batch, channels = x.shape[0], x.shape[1] // groups
    outs, kernel = output_sizes(window), kernel_sizes(window)
    positions, steps = prod(outs), channels * prod(kernel)
    tile, tiled = divided(kind, outputs // groups, batch * positions, steps, groups)
    sizes = _Sizes(tile, tiled, outs, kernel)
    bits = bits_for(
        largest(window),
        _reached(x, window, sizes.column_planes, x.shape[1] + sizes.step_planes),
        sizes.column_planes * outputs * positions,
        outputs * (steps + 4 * STEPS),
        tiled.blocks,
    )
    structs = (packed_layout(x, bits, x.shape[1]), packed_window(window, bits), sizes.struct(bits))
    made = _kernel("implicit_conv", kind, bits, window, tile)
    shape = (batch, outputs, *outs)
    return plan(made, bits, shape, structs, channels, positions, blocks=tiled.blocks)


def conv(x: Any, w: Any, window: Window, groups: int) -> Any:
    """Return y (N, O, *positions)."""
    executor = executor_of(x)
    made = _forward_plan(described(x), window, w.shape[0], groups)
    layout, *structs = made.structs
    y = executor.empty(x, made.shape, x.dtype)
    return run(made, y, x, layout, executor.contiguous(w), *structs, y)


@lru_cache(maxsize=4096)
def _transpose_plan(array: Description, window: Window, channels: int, groups: int) -> Plan:
    y, kind = strided(array), summand(array[2])
    batch, outputs = y.shape[0], y.shape[1] // groups
    cells, taps = input_sizes(window), prod(kernel_sizes(window))
    # Cells of the same phase of each axis have a product of their own: see implicit_transpose.cu.
    phases = prod(min(axis.stride, axis.size) for axis in window)
    column = tuple(-(-axis.size // axis.stride) for axis in window)
    step = tuple(sight(axis).rounds for axis in window)
    columns, steps = batch * prod(column), outputs * prod(step)
    tile, tiled = divided(kind, channels, columns, steps, groups, phases)
    sizes = _Sizes(tile, tiled, column, step)
    bits = bits_for(
        largest(window),
        _reached(y, window, sizes.column_planes, y.shape[1] + sizes.step_planes),
        sizes.column_planes * groups * channels * phases * prod(column),
        (y.shape[1] + sizes.step_planes) * channels * (taps + phases),
        tiled.blocks,
    )
    structs = (packed_layout(y, bits, y.shape[1]), packed_window(window, bits), sizes.struct(bits))
    made = _kernel("implicit_conv_transpose", kind, bits, window, tile)
    shape = (batch, groups * channels, *cells)
    return plan(made, bits, shape, structs, outputs, taps, blocks=tiled.blocks)


def conv_transpose(y: Any, w: Any, window: Window, groups: int) -> Any:
    """Return x (N, C, *sizes)."""
    executor = executor_of(y)
    made = _transpose_plan(described(y), window, w.shape[1], groups)
    layout, *structs = made.structs
    x = executor.empty(y, made.shape, y.dtype)
    return run(made, x, y, layout, executor.contiguous(w), *structs, x)


@lru_cache(maxsize=4096)
def _weight_plans(
    array: Description, cotangent: Description, window: Window, groups: int
) -> tuple[Plan, Plan]:
    """Return the launch that sums in parts, and the one that adds the parts."""
    x, y, kind = strided(array), strided(cotangent), summand(array[2])
    batch, outputs = y.shape[:2]
    channels, outs, kernel = x.shape[1] // groups, output_sizes(window), kernel_sizes(window)
    columns, steps = channels * prod(kernel), batch * prod(outs)
    tile, tiled = divided(kind, outputs // groups, columns, steps, groups, in_parts=True)
    sizes, weights = _Sizes(tile, tiled, kernel, outs), outputs * columns
    bits = bits_for(
        largest(window),
        _reached(x, window, sizes.step_planes, x.shape[1] + sizes.column_planes),
        _reached(y, window, sizes.step_planes, outputs + tile.rows),
        steps + 4 * STEPS,
        tiled.parts * weights,
        tiled.blocks,
    )
    structs = (
        packed_layout(x, bits, x.shape[1]),
        packed_layout(y, bits, outputs),
        packed_window(window, bits),
        sizes.struct(bits),
    )
    summing = plan(
        _kernel("implicit_conv_weight", kind, bits, window, tile),
        bits,
        (tiled.parts, weights),
        structs,
        channels,
        blocks=tiled.blocks,
    )
    adding = Kernel("implicit", "implicit_conv_weight_sum", (kind, INDICES[bits]))
    shape = (outputs, channels, *kernel)
    return summing, plan(adding, bits, shape, (), tiled.parts, weights)


def conv_weight(x: Any, y: Any, window: Window, groups: int) -> Any:
    """Return w (O, C / groups, *kernel)."""
    executor = executor_of(x)
    summing, adding = _weight_plans(described(x), described(y), window, groups)
    layout, y_layout, *structs = summing.structs
    partial = executor.empty(x, summing.shape, wide(x.dtype))
    run(summing, partial, x, layout, y, y_layout, *structs, partial)
    w = executor.empty(x, adding.shape, x.dtype)
    return run(adding, w, partial, w)


def unfit(a: Any, b: Any, window: Window, groups: int) -> str | None:
    """Return why the kernels cannot serve a call of any of the three."""
    if a.dtype.kind == "b":
        return "bools have no product"
    return window_unfit(window, a, b)
