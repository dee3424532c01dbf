"""Pad, and take cells by index, on Dask arrays."""

from __future__ import annotations

from functools import partial
from itertools import accumulate
from typing import Any

from arrayconv import primitives
from arrayconv._arrays import Array
from arrayconv._integers import Ints, Pairs
from arrayconv._parts import sliding_part
from arrayconv._window import Axis
from arrayconv.backends.dask.chunks import lengths, refined
from arrayconv.backends.dask.graph import Graph, Range, chunk_limit


def _grown(size: int, chunks: Ints, before: int, after: int) -> Ints:
    """Return the chunks of a padded axis: those of the axis, the first and last one grown or cut.

    What is added beyond a chunk's own length is chunks of its own.
    """
    total = size + before + after
    if total == 0:
        return (0,)
    most = max(chunks, default=1) or 1
    inner = [max(0, min(total, stop + before)) for stop in list(accumulate(chunks))[:-1]]
    bounds = sorted({0, *inner, total})
    grown = lengths(bounds)
    return tuple(
        part for chunk in grown for part in refined([(chunk,)], 1, max(most, 2 * most - 1))[0]
    )


def _pad_block(pairs: Pairs, value: Any, x: Array) -> Array:
    return primitives.pad(x, pairs, "constant", value)


def pad(x: Array, pairs: Pairs, mode: str, value: Any) -> Array:
    """Return the array padded or cropped; a block is padded where it is at an end of an axis."""
    chunks = tuple(
        _grown(n, each, *pair) for n, each, pair in zip(x.shape, x.chunks, pairs, strict=True)
    )
    if mode != "constant":
        return primitives.pad.generic.run(x, pairs, mode, value).rechunk(chunks)
    axes = [
        Axis(n, 1, 1, 1, before, after, n + before + after)
        for n, (before, after) in zip(x.shape, pairs, strict=True)
    ]
    graph = Graph("pad", [x], (), (pairs, value))

    def plan(*block: Range) -> Any:
        wanted, inside = [], []
        for axis, (start, stop) in zip(axes, block, strict=True):
            if axis.size == 0 or start == stop:
                wanted.append((0, 0))
                inside.append((0, stop - start))
                continue
            part = sliding_part(axis, start, stop)
            before, size = part.low - start + axis.before, part.high - part.low
            wanted.append((part.low, part.high))
            inside.append((before, stop - start - size - before))
        return [wanted], partial(_pad_block, tuple(inside), value)

    return graph.blocks(chunks, x.dtype, plan)


def pad_adjoint(y: Array, pairs: Pairs, mode: str) -> Array:
    """Return the array that was padded, each cell the sum of the cells that show it."""
    back = tuple((-before, -after) for before, after in pairs)
    if mode == "constant":
        return pad(y, back, mode, 0)
    chunks = tuple(
        _grown(n, each, *pair) for n, each, pair in zip(y.shape, y.chunks, back, strict=True)
    )
    return primitives.pad_adjoint.generic.run(y, pairs, mode).rechunk(chunks)


# --- by index -------------------------------------------------------------------------------------


def _plane_too_large(*planes: tuple[int, Array]) -> str | None:
    """Return why planes cannot be served: an index may point anywhere in its plane."""
    for cells, array in planes:
        needed = cells * array.dtype.itemsize
        if needed > chunk_limit():
            return (
                f"an index may point anywhere in its plane, and a plane of {cells} cells takes "
                f"{needed} bytes, more than a chunk may: raise Dask's array.chunk-size "
                f"({chunk_limit()} bytes) if it fits into memory"
            )
    return None


def _planes(array: Array, cells: int) -> Any:
    """Return the chunks (N, C) of planes that are whole, each within what a chunk may take."""
    return refined(list(array.chunks[:2]), max(1, cells) * array.dtype.itemsize, chunk_limit())


def _by_index(name: str, a: Array, index: Array, n: int, cells: int, *params: Any) -> Array:
    """Return (N, C, n) of whole planes of ``a`` and of the indices, which have their chunks."""
    images, channels = _planes(a, cells)
    a, index = (each.rechunk({0: images, 1: channels, 2: -1}) for each in (a, index))
    graph = Graph(name, [a, index], (), params)

    def plan(images: Range, channels: Range, _: Range) -> Any:
        wanted = [[images, channels, (0, each.shape[2])] for each in (a, index)]
        return wanted, partial(_index_block, name, params)

    return graph.blocks((images, channels, (n,)), a.dtype, plan)


def _index_block(name: str, params: tuple[Any, ...], a: Array, index: Array) -> Array:
    return getattr(primitives, name)(a, index, *params)


def gather(planes: Array, index: Array) -> Array:
    """Return the cells (N, C, n) of planes (N, C, cells) that the indices name."""
    cells = max(planes.shape[2], index.shape[2])
    return _by_index("gather", planes, index, index.shape[2], cells)


def gather_unfit(planes: Array, index: Array) -> str | None:
    """Return why the planes cannot be whole."""
    return _plane_too_large((planes.shape[2], planes), (index.shape[2], index))


def place(values: Array, index: Array, cells: int) -> Array:
    """Return planes (N, C, cells) of 0 but where an index is."""
    return _by_index("place", values, index, cells, max(cells, values.shape[2]), cells)


def scatter_add(values: Array, index: Array, cells: int) -> Array:
    """Return planes (N, C, cells), each cell the sum of the values whose index it is."""
    return _by_index("scatter_add", values, index, cells, max(cells, values.shape[2]), cells)


def put_unfit(values: Array, index: Array, cells: int) -> str | None:
    """Return why the planes cannot be whole."""
    return _plane_too_large((cells, values), (index.shape[2], index))
