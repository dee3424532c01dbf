"""Primitives of windows on Dask arrays: lazy, and planned from the chunks of the output.

A block is a call of the same primitive on the pieces that it needs, with a window made for it; so
chunks of NumPy arrays run NumPy's implementations, and chunks of CuPy arrays those of CuPy.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

import array_api_compat

from arrayconv import primitives
from arrayconv._arrays import Array, index_dtype, library_of
from arrayconv._integers import Ints
from arrayconv._parts import Part, adjoint_part, sliding_part
from arrayconv._window import Axis, Table, Window, Windows, input_sizes, kernel_sizes, output_sizes
from arrayconv.backends.dask.chunks import cell_chunks, position_chunks, refined, runs_of_rows
from arrayconv.backends.dask.graph import Graph, Range, chunk_limit, whole
from arrayconv.primitives.pooling import Divisor, divide


def one_channel_chunk(x: Array) -> Array:
    """Return the array (N, C, ...) with all channels of a cell in one chunk."""
    return x.rechunk({1: -1}) if x.numblocks[1] != 1 else x


def _chunks(x: Array, channels: int, along: list[Ints], itemsize: int) -> tuple[Ints, ...]:
    """Return the chunks (N, C, ...) of an output, none larger than a chunk may be."""
    images = max(x.chunks[0], default=0)
    limit = chunk_limit(x)
    return (x.chunks[0], (channels,), *refined(along, images * channels * itemsize, limit))


def _wanted(images: Range, channels: int, parts: list[Part]) -> list[Range]:
    return [images, (0, channels), *((part.low, part.high) for part in parts)]


def _window(parts: list[Part]) -> Any:
    return tuple(part.axis for part in parts)


def _slid(
    name: str,
    run: Any,
    x: Array,
    window: Windows,
    channels: int,
    dtype: Any,
    wholes: tuple[Array, ...] = (),
    params: Any = (),
) -> Array:
    """Return an output (N, channels, *positions) whose blocks are ``run`` of what they see."""
    x = one_channel_chunk(x)
    along = [position_chunks(axis, each) for axis, each in zip(window, x.chunks[2:], strict=True)]
    graph = Graph(name, [x], wholes, (window, params))

    def plan(images: Range, _: Range, *block: Range) -> Any:
        parts = [sliding_part(axis, *each) for axis, each in zip(window, block, strict=True)]
        return [_wanted(images, x.shape[1], parts)], run(parts)

    return graph.blocks(_chunks(x, channels, along, dtype.itemsize), dtype, plan)


def _spread(
    name: str,
    run: Any,
    ys: list[Array],
    window: Windows,
    channels: int,
    dtype: Any,
    wholes: tuple[Array, ...] = (),
    params: Any = (),
) -> Array:
    """Return an output (N, channels, *sizes) whose blocks are ``run`` of the positions near."""
    first, *others = map(one_channel_chunk, ys)
    others = [each.rechunk({0: first.chunks[0]}) for each in others]
    along = [cell_chunks(axis, each) for axis, each in zip(window, first.chunks[2:], strict=True)]
    graph = Graph(name, [first, *others], wholes, (window, params))

    def plan(images: Range, _: Range, *block: Range) -> Any:
        parts = [adjoint_part(axis, *each) for axis, each in zip(window, block, strict=True)]
        return [_wanted(images, each.shape[1], parts) for each in (first, *others)], run(parts)

    return graph.blocks(_chunks(first, channels, along, dtype.itemsize), dtype, plan)


# --- what a block runs ----------------------------------------------------------------------------


def _of_window(name: str, window: Windows, *arrays: Array) -> Array:
    return getattr(primitives, name)(*arrays, window)


def _sums(name: str, window: Window, divisor: int, array: Array) -> Array:
    return getattr(primitives, name)(array, window, divisor)


def _of_groups(name: str, window: Window, groups: int, a: Array, b: Array) -> Array:
    return getattr(primitives, name)(a, b, window, groups)


def _part_of_weight(window: Window, groups: int, wide: Any, x: Array, y: Array) -> Array:
    xp = array_api_compat.array_namespace(x)
    x, y = (xp.astype(each, wide, copy=False) for each in (x, y))
    return primitives.conv_weight(x, y, window, groups)


def _moved(index: Array, sizes: Ints, starts: Ints, new_sizes: Ints) -> Array:
    """Return flat indices into a plane of ``sizes`` as those into a plane of ``new_sizes``.

    A cell moves by ``starts``; one that leaves the new plane, and -1, become -1.
    """
    xp = array_api_compat.array_namespace(index)
    inside, rest, moved = index >= 0, index, xp.zeros_like(index)
    for dim, (start, size) in enumerate(zip(starts, new_sizes, strict=True)):
        place = prod(sizes[dim + 1 :])
        cell = rest // place + start
        rest = rest % place
        inside = inside & (cell >= 0) & (cell < size)
        moved = moved + cell * prod(new_sizes[dim + 1 :])
    return xp.where(inside, moved, -1)


def _maxima(window: Windows, lows: Ints, sizes: Ints, x: Array) -> tuple[Array, Array]:
    values, index = primitives.max_pool_indices(x, window)
    return values, _moved(index, input_sizes(window), lows, sizes)


def _max_grad(window: Windows, starts: Ints, sizes: Ints, cotangent: Array, index: Array) -> Array:
    back = tuple(-start for start in starts)
    return primitives.max_pool_grad(
        cotangent, _moved(index, sizes, back, input_sizes(window)), window
    )


# --- the primitives -------------------------------------------------------------------------------


def conv(x: Array, w: Array, window: Window, groups: int) -> Array:
    """Return y (N, O, *positions)."""
    return _slid(
        "conv",
        lambda parts: partial(_of_groups, "conv", _window(parts), groups),
        x,
        window,
        w.shape[0],
        x.dtype,
        (whole(w),),
        groups,
    )


def conv_transpose(y: Array, w: Array, window: Window, groups: int) -> Array:
    """Return x (N, C, *sizes)."""
    return _spread(
        "conv_transpose",
        lambda parts: partial(_of_groups, "conv_transpose", _window(parts), groups),
        [y],
        window,
        w.shape[1] * groups,
        y.dtype,
        (whole(w),),
        groups,
    )


def conv_weight(x: Array, y: Array, window: Window, groups: int) -> Array:
    """Return w (O, C / groups, *kernel): a part for each chunk of positions, and a tree of sums."""
    x, y = one_channel_chunk(x), one_channel_chunk(y)
    y = y.rechunk({0: x.chunks[0]})
    graph = Graph("conv_weight", [x, y], (), (window, groups))
    wide = library_of("input", x).dtype(x.dtype).wide

    def plan(images: Range, *block: Range) -> Any:
        parts = [sliding_part(axis, *each) for axis, each in zip(window, block, strict=True)]
        seen = [images, (0, y.shape[1]), *block]
        run = partial(_part_of_weight, _window(parts), groups, wide)
        return [_wanted(images, x.shape[1], parts), seen], run

    shape = (y.shape[1], x.shape[1] // groups, *kernel_sizes(window))
    return graph.summed((y.chunks[0], *y.chunks[2:]), shape, x.dtype, plan)


def unfold(x: Array, window: Window) -> Array:
    """Return the columns (N, C * taps, positions): a block is some rows of positions."""
    x = one_channel_chunk(x)
    rows = x.shape[1] * prod(kernel_sizes(window))
    positions = output_sizes(window)
    dim, _ = runs_of_rows(positions, ())
    inner = prod(positions[dim + 1 :])
    along = position_chunks(window[dim], x.chunks[2 + dim])
    images = max(x.chunks[0], default=0)
    ((along),) = refined([along], images * rows * inner * x.dtype.itemsize, chunk_limit(x))
    graph = Graph("unfold", [x], (), (window,))

    def plan(images: Range, _: Range, flat: Range) -> Any:
        block = [(0, n) for n in positions]
        block[dim] = (flat[0] // inner, flat[1] // inner)
        parts = [sliding_part(axis, *each) for axis, each in zip(window, block, strict=True)]
        run = partial(_of_window, "unfold", _window(parts))
        return [_wanted(images, x.shape[1], parts)], run

    flat = tuple(n * inner for n in along)
    return graph.blocks((x.chunks[0], (rows,), flat), x.dtype, plan)


def fold(columns: Array, window: Window) -> Array:
    """Return the sum (N, C, *sizes) of columns: a block is some rows of the first dimension."""
    columns = one_channel_chunk(columns)
    taps, positions = prod(kernel_sizes(window)), output_sizes(window)
    channels = columns.shape[1] // taps
    dim, rows = runs_of_rows(positions, columns.chunks[2])
    inner = prod(positions[dim + 1 :])
    along: list[Ints] = [(n,) for n in input_sizes(window)]
    along[dim] = cell_chunks(window[dim], rows)
    graph = Graph("fold", [columns], (), (window,))

    def plan(images: Range, _: Range, *block: Range) -> Any:
        # All positions of the other dimensions, so that those of a block are one run.
        parts = [
            adjoint_part(axis, *each) if at == dim else Part(*each, 0, axis.out, axis)
            for at, (axis, each) in enumerate(zip(window, block, strict=True))
        ]
        flat = (parts[dim].low * inner, parts[dim].high * inner)
        run = partial(_of_window, "fold", _window(parts))
        return [[images, (0, columns.shape[1]), flat]], run

    cells = prod(n for at, n in enumerate(input_sizes(window)) if at != dim)
    images = max(columns.chunks[0], default=0)
    each = images * channels * cells * columns.dtype.itemsize
    along[dim : dim + 1] = refined([along[dim]], each, chunk_limit(columns))
    return graph.blocks((columns.chunks[0], (channels,), *along), columns.dtype, plan)


def _run_of_cells(axis: Axis | Table) -> slice | None:
    """Return the cells that the one window of an axis sees, if it has one and they are a run."""
    if isinstance(axis, Table) or axis.out != 1 or axis.dilation != 1:
        return None
    run = slice(max(0, -axis.before), min(axis.size, axis.kernel - axis.before))
    return run if run.start < run.stop else None


def _reduced(x: Array, window: Windows, reduce: Any) -> tuple[Array, Windows]:
    """Return the array and window left when the axes with one window are reduced, in a tree.

    No task then holds a whole axis, as global pooling would.
    """
    runs = [_run_of_cells(axis) for axis in window]
    dims = tuple(dim for dim, run in enumerate(runs, 2) if run is not None)
    if not dims or 0 in x.shape:
        return x, window
    x = x[(slice(None), slice(None), *(run or slice(None) for run in runs))]
    left = tuple(
        axis if run is None else Axis(1, 1, 1, 1, 0, 0, 1)
        for axis, run in zip(window, runs, strict=True)
    )
    return reduce(x, dims), left


def max_pool(x: Array, window: Windows) -> Array:
    """Return the maximum (N, C, *positions) of what each window sees."""
    x, window = _reduced(x, window, lambda x, dims: x.max(axis=dims, keepdims=True))

    def run(parts: list[Part]) -> Any:
        return partial(_of_window, "max_pool", _window(parts))

    return _slid("max_pool", run, x, window, x.shape[1], x.dtype)


def sum_pool(x: Array, window: Windows, divisor: Divisor = 1) -> Array:
    """Return the sum (N, C, *positions) of what each window sees, over ``divisor``."""
    if isinstance(divisor, tuple):
        return divide(sum_pool(x, window), divisor)
    wide = library_of("input", x).dtype(x.dtype).wide
    x, window = _reduced(x, window, lambda x, dims: x.sum(axis=dims, keepdims=True, dtype=wide))

    def run(parts: list[Part]) -> Any:
        return partial(_sums, "sum_pool", _window(parts), divisor)

    dtype = _numpy_dtype(x, wide)
    return _slid("sum_pool", run, x, window, x.shape[1], dtype, params=divisor)


def _numpy_dtype(x: Array, dtype: Any) -> Any:
    return x._meta.astype(dtype).dtype


def max_pool_indices(x: Array, window: Windows) -> tuple[Array, Array]:
    """Return the maxima, and where in the whole plane each one is."""
    sizes = input_sizes(window)

    def run(parts: list[Part]) -> Any:
        lows = tuple(part.low for part in parts)
        return partial(_maxima, _window(parts), lows, sizes)

    pairs = _slid("max_pool_indices", run, x, window, x.shape[1], x.dtype)
    indices = index_dtype(library_of("input", x))
    return tuple(
        pairs.map_blocks(_Component(number), dtype=dtype, meta=pairs._meta.astype(dtype))
        for number, dtype in enumerate((x.dtype, indices))
    )


class _Component:
    """One task: take one of the arrays that a block is a tuple of."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, pair: Any) -> Any:
        return pair[self.number]

    def __dask_tokenize__(self) -> Any:
        return "component", self.number


def max_pool_grad(cotangent: Array, index: Array, window: Windows) -> Array:
    """Return the gradient (N, C, *sizes): a block gathers from the positions near it."""
    sizes = input_sizes(window)

    def run(parts: list[Part]) -> Any:
        starts = tuple(part.start for part in parts)
        return partial(_max_grad, _window(parts), starts, sizes)

    channels = cotangent.shape[1]
    return _spread("max_pool_grad", run, [cotangent, index], window, channels, cotangent.dtype)


def spread(y: Array, window: Windows, divisor: Divisor = 1) -> Array:
    """Return (N, C, *sizes), each cell the sum of all windows that see it, over ``divisor``."""
    if isinstance(divisor, tuple):
        return spread(divide(y.copy(), divisor), window)

    def run(parts: list[Part]) -> Any:
        return partial(_sums, "spread", _window(parts), divisor)

    return _spread("spread", run, [y], window, y.shape[1], y.dtype, params=divisor)
