"""Build a Dask graph from its output: each block of it knows the pieces of the inputs it needs.

A piece that is a small share of its chunk is cut out, and copied, by a task of its own: so a chunk
can be let go of as soon as its own block is done, while the strips at its edges wait for the
neighbours, and only strips travel between machines.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate, product
from math import prod
from operator import add
from typing import Any, NamedTuple

import array_api_compat
import dask
import dask.array as da
from dask.array.utils import meta_from_array
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph
from dask.utils import parse_bytes

from arrayconv._integers import Ints
from arrayconv._options import current, options
from arrayconv.backends.dask.chunks import ranges

Slices = tuple[slice, ...]
Range = tuple[int, int]

CUT_BELOW = 0.5
"""The share of its chunk below which a piece is cut out by a task of its own."""
SUMMED_AT_ONCE = 8
"""Blocks that one task of a tree of sums adds up."""


class Piece(NamedTuple):
    """Where a piece lies in what its task hands over, and where in the block that it is part of."""

    source: Slices
    target: Slices


@dataclass(frozen=True, slots=True)
class Gathered:
    """How pieces make up the array that a block needs."""

    shape: Ints
    pieces: tuple[Piece, ...]

    def array(self, given: Sequence[Any]) -> Any:
        """Return the pieces as one array; one alone stays a view of its chunk."""
        if len(self.pieces) == 1:
            return given[0][self.pieces[0].source]
        xp = array_api_compat.array_namespace(given[0])
        whole = xp.empty(self.shape, dtype=given[0].dtype)
        for array, piece in zip(given, self.pieces, strict=True):
            whole[piece.target] = array[piece.source]
        return whole


@dataclass(frozen=True, slots=True)
class Block:
    """One task: gather what the block needs, and run a primitive on it, with these options."""

    run: Callable[..., Any]
    gathered: tuple[Gathered, ...]
    options: dict[str, Any]

    def __call__(self, *given: Any) -> Any:
        """Return the block of the lists of pieces, and of inputs that are one whole chunk."""
        count = len(self.gathered)
        arrays = [
            gathered.array(pieces)
            for gathered, pieces in zip(self.gathered, given[:count], strict=True)
        ]
        with options(**self.options):
            return self.run(*arrays, *given[count:])


@dataclass(frozen=True, slots=True)
class Cut:
    """One task: copy a part of a chunk, so that it does not keep the chunk alive."""

    part: Slices

    def __call__(self, chunk: Any) -> Any:
        """Return the copy."""
        return chunk[self.part].copy()


def _inherited() -> dict[str, Any]:
    """Return the options in force here; a block has one thread, since Dask runs several at once."""
    now = current()
    return {
        "algorithm": now.algorithm,
        "workspace_bytes": now.workspace_bytes,
        "allow_tf32": now.allow_tf32,
        "allow_reduced_precision": now.allow_reduced_precision,
        "allow_unverified": now.allow_unverified,
        "validate": now.validate,
        "threads": 1,
    }


class Source:
    """An input of a graph, of which blocks need pieces; ``tasks`` gets what is cut out of it."""

    def __init__(self, array: Any, token: str, tasks: dict[Any, Any]) -> None:
        self.array, self._tasks, self._cut = array, tasks, f"cut-{token}"
        self._ranges = [ranges(chunks) for chunks in array.chunks]
        self._stops = [list(accumulate(chunks)) for chunks in array.chunks]
        self._known: dict[tuple[int, Range], list[tuple[int, slice, slice]]] = {}

    def _overlaps(self, dim: int, wanted: Range) -> list[tuple[int, slice, slice]]:
        """Return, for each chunk in a range, its number, the part of it, and where that goes."""
        found = self._known.get((dim, wanted))
        if found is None:
            low, high = wanted
            first = bisect_right(self._stops[dim], low)
            last = bisect_left(self._stops[dim], high)
            found = []
            for number in range(first, last + 1):
                start, stop = self._ranges[dim][number] if low < high else (low, low)
                begin, end = max(low, start), min(high, stop)
                if begin < end or low == high:
                    part = slice(begin - start, end - start)
                    found.append((number, part, slice(begin - low, end - low)))
            if not found:  # nothing of an axis that is empty, as an empty batch is
                found = [(0, slice(0, 0), slice(0, 0))]
            self._known[dim, wanted] = found
        return found

    def pieces(self, wanted: Sequence[Range]) -> tuple[list[Any], Gathered]:
        """Return the keys of the tasks that hold a range of the array, and how they make it up."""
        along = [self._overlaps(dim, each) for dim, each in enumerate(wanted)]
        keys, pieces = [], []
        for at in product(*along):
            numbers = tuple(number for number, _, _ in at)
            source = tuple(part for _, part, _ in at)
            key: tuple[Any, ...] = (self.array.name, *numbers)
            cells = prod(chunks[n] for chunks, n in zip(self.array.chunks, numbers, strict=True))
            if prod(part.stop - part.start for part in source) < CUT_BELOW * cells:
                bounds = [bound for part in source for bound in (part.start, part.stop)]
                key = (self._cut, self.array.name, *numbers, *bounds)
                if key not in self._tasks:
                    self._tasks[key] = (Cut(source), (self.array.name, *numbers))
                source = (slice(None),) * len(source)
            keys.append(key)
            pieces.append(Piece(source, tuple(place for _, _, place in at)))
        return keys, Gathered(tuple(high - low for low, high in wanted), tuple(pieces))


Plan = Callable[..., tuple[Sequence[Sequence[Range]], Callable[..., Any]]]
"""From an output block's range in each dimension to the range of each source, and what to run."""


class Graph:
    """A graph in the making: its sources, the tasks so far, and the name of its output."""

    def __init__(
        self, name: str, sources: Sequence[Any], wholes: Sequence[Any], params: object
    ) -> None:
        self.options = _inherited()
        self.given = [*sources, *wholes]
        self.token = tokenize(name, [each.name for each in self.given], params, self.options)
        self.name = f"{name}-{self.token}"
        self.tasks: dict[Any, Any] = {}
        self._sources = [Source(each, self.token, self.tasks) for each in sources]
        self._wholes = [(each.name, *(0,) * each.ndim) for each in wholes]

    def add(self, key: Any, plan: Plan, block: Sequence[Range]) -> None:
        """Add the task of one block."""
        wanted, run = plan(*block)
        found = [source.pieces(each) for source, each in zip(self._sources, wanted, strict=True)]
        task = Block(run, tuple(gathered for _, gathered in found), self.options)
        self.tasks[key] = (task, *(keys for keys, _ in found), *self._wholes)

    def blocks(self, chunks: tuple[Ints, ...], dtype: Any, plan: Plan) -> Any:
        """Return the lazy array of these chunks, a task for each."""
        for block in product(*(enumerate(ranges(each)) for each in chunks)):
            numbers = tuple(number for number, _ in block)
            self.add((self.name, *numbers), plan, [each for _, each in block])
        return self._array(chunks, dtype)

    def summed(self, parts: tuple[Ints, ...], shape: Ints, dtype: Any, plan: Plan) -> Any:
        """Return the lazy sum of a block for each part: a tree, added in an order that is fixed."""
        level: list[tuple[Any, ...]] = []
        for number, block in enumerate(product(*map(ranges, parts))):
            level.append((f"part-{self.token}", number))
            self.add(level[-1], plan, block)
        height = 0
        while len(level) > 1:
            height += 1
            above: list[tuple[Any, ...]] = []
            for start in range(0, len(level), SUMMED_AT_ONCE):
                above.append((f"sum-{self.token}", height, start))
                self.tasks[above[-1]] = (_sum, level[start : start + SUMMED_AT_ONCE])
            level = above
        self.tasks[(self.name, *(0,) * len(shape))] = (_Astype(dtype), level[0])
        return self._array(tuple((n,) for n in shape), dtype)

    def _array(self, chunks: tuple[Ints, ...], dtype: Any) -> Any:
        graph = HighLevelGraph.from_collections(self.name, self.tasks, dependencies=self.given)
        meta = meta_from_array(self.given[0]._meta, len(chunks), dtype)
        return da.Array(graph, self.name, chunks, dtype=dtype, meta=meta)


def _sum(parts: Sequence[Any]) -> Any:
    return reduce(add, parts)


@dataclass(frozen=True, slots=True)
class _Astype:
    dtype: Any

    def __call__(self, total: Any) -> Any:
        return total.astype(self.dtype, copy=False)


def chunk_limit(*arrays: Any) -> int:
    """Return the bytes that a chunk of a result may take.

    Dask's own ``array.chunk-size`` (128 MiB), or those of the largest chunk that was given.
    """
    limit = int(parse_bytes(dask.config.get("array.chunk-size", "128MiB")))
    for array in arrays:
        given = prod(max(chunks, default=0) for chunks in array.chunks) * array.dtype.itemsize
        limit = max(limit, int(given))
    return limit


def whole(array: Any) -> Any:
    """Return an array, a plain one too, as a Dask array of one chunk."""
    if isinstance(array, da.Array):
        return array.rechunk(-1) if any(n > 1 for n in array.numblocks) else array
    return da.from_array(array, chunks=-1, asarray=False)
