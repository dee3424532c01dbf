"""Convolution and its adjoint as sums in registers, compiled by numba where that is installed.

No column is laid out: `layouts` makes what a tap sees one run of cells, and `vectors` sums, for a
few runs at a time, products of weights and vectors of cells. Each output is one sum in the order of
channels and taps, so how the work is cut into blocks changes no number. What is compiled is kept
on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._integers import Ints
from arrayconv._options import current
from arrayconv._parts import adjoint_part, sliding_part
from arrayconv._window import Axis, Window, input_sizes, kernel_sizes, output_sizes, span
from arrayconv.backends.numpy import layouts
from arrayconv.backends.numpy.blocks import equal_parts
from arrayconv.backends.numpy.compiler import loops, missing
from arrayconv.backends.numpy.costs import Shape
from arrayconv.backends.numpy.layouts import Copies, Layout, Pass
from arrayconv.backends.numpy.orders import channels_first
from arrayconv.backends.numpy.threads import run_blocks

CHUNK = 1 << 19
"""Bytes that a block lays out: the second cache should hold most of it."""
WORTH_A_THREAD = 1 << 20
"""Multiply-adds below which a block is not cut for another thread."""


def unfit(shape: Shape) -> str | None:
    """Return why a convolution cannot be served."""
    if shape.dtype not in (np.float32, np.float64) or not shape.dtype.isnative:
        return f"it is for float32 and float64, got {shape.dtype.str}"
    return missing()


class Sums(NamedTuple):
    """What one pass of a block sums up: the arguments of compiled loops."""

    convolve: Callable[..., None]
    table: Any
    """Where each term finds its cell and its weight (terms, 2)."""
    weight: int
    """The first weight."""
    place: int
    """The first result."""
    stores: Any
    """Which lanes of a vector of sums go where (place, low, high); of a depthwise one its rows."""
    ends: Any
    """How many of these there are before each vector, and in all; or steps from row to row."""


class Block(NamedTuple):
    """A range of images or of the first dimension, of groups, and of the outputs of each."""

    layout: Layout
    source: int
    """The first cell of the source that it sees, in the first channel."""
    channels: int
    groups: int
    outputs: int
    sums: tuple[Sums, ...]


class Plan(NamedTuple):
    """What a convolution of given shapes needs, worked out once."""

    blocks: tuple[Block, ...]
    cells: int
    """The most numbers that a block lays out, and those that vectors may see past the last one."""
    slack: int
    step: int
    """Weights from one output to the next."""
    holes: bool
    """Whether some outputs, of an adjoint, see nothing."""
    clear: Callable[..., None]
    fill: Callable[..., None]
    interleave: Callable[..., None]


@lru_cache(maxsize=256)
def plan(
    window: Window,
    batch: int,
    channels: int,
    outputs: int,
    groups: int,
    itemsize: int,
    is_adjoint: bool,
    threads: int,
    limit: int,
) -> Plan:
    """Return the plan from ``channels`` to ``outputs``, by a convolution or by its adjoint.

    A block lays out ``limit`` bytes, or what its least part needs.
    """
    compiled = loops("conv_loops")
    lanes = compiled.VECTOR_BYTES // itemsize
    from_sizes, to_sizes = input_sizes(window), output_sizes(window)
    lay_out, part_of = layouts.sliding, sliding_part
    if is_adjoint:
        from_sizes, to_sizes = to_sizes, from_sizes
        lay_out, part_of = layouts.adjoint, adjoint_part
    seen, made, taps = channels // groups, outputs // groups, prod(kernel_sizes(window))
    tile = compiled.tile(made)
    source = (channels * prod(from_sizes), *layouts.steps(from_sizes))
    target = (outputs * prod(to_sizes), *layouts.steps(to_sizes))
    # From an output, and from a channel, to the next one's weights.
    step, weights = (taps, made * taps) if is_adjoint else (seen * taps, taps)

    @cache
    def laid(images: int, start: int, stop: int) -> Layout:
        image = Axis(images, 1, 1, 1, 0, 0, images)
        axis = part_of(window[0], start, stop).axis
        return lay_out((image, axis, *window[1:]), source, target)

    @cache
    def tables(images: int, start: int, stop: int) -> list[tuple[Any, ...]]:
        layout = laid(images, start, stop)
        found = []
        for each in layout.passes:
            if not each.taps:
                continue
            table = _table(each, seen, layout.size, weights)
            rows = _rows(window, stop - start, is_adjoint) if seen == 1 else None
            if rows is None:
                found.append((rows, table, *_stores(each.crop, lanes)))
            else:
                # Taps from the first row that is seen to the last.
                table = table[::-1].copy() if is_adjoint else table
                starts = _row_starts(each.crop, stop - start, rows.rows)
                steps = np.array([layout.line, to_sizes[-1], each.crop.length])
                found.append((rows, table, starts, steps))
        return found

    def block(
        images: tuple[int, int], part: tuple[int, int], some: tuple[int, int], of: tuple[int, int]
    ) -> Block:
        where = images[1] - images[0], *part
        layout = laid(*where)
        count, first = of[1] - of[0], some[0] * made + of[0]
        place = images[0] * target[0] + first * prod(to_sizes) + part[0] * target[1]
        sums = tuple(
            Sums(
                compiled.convolve(tile, count % tile.outputs, lanes)
                if rows is None
                else compiled.convolve_depthwise(rows, lanes),
                table,
                some[0] * made * seen * taps + of[0] * step,
                place,
                stores,
                ends,
            )
            for rows, table, stores, ends in tables(*where)
        )
        low = part_of(window[0], *part).low
        start = images[0] * source[0] + some[0] * seen * prod(from_sizes) + low * source[1]
        many = some[1] - some[0]
        return Block(layout, start, many * seen, many, count, sums)

    whole = laid(1, 0, to_sizes[0])
    of_group = whole.size * seen * itemsize
    cuts = {
        "images": -(-batch // max(1, limit // (of_group * groups))),
        # A part of which its neighbours see most costs more than the cache gives.
        "parts": min(-(-of_group // limit), max(1, 2 * to_sizes[0] // span(window[0]))),
        "groups": -(-groups // max(1, limit // of_group)),
        "outputs": 1,
    }
    # The phases of a whole row of an adjoint are one after the other.
    whole_rows = is_adjoint and len(window) == 1 and window[0].stride > 1
    if whole_rows:
        cuts["parts"] = 1
    multiply_adds = batch * prod(output_sizes(window)) * outputs * seen * taps
    wanted = min(threads, multiply_adds // WORTH_A_THREAD)
    # What a cut by outputs lays out each block lays out again.
    most_parts = 1 if whole_rows else to_sizes[0] // (2 * span(window[0]))
    most_of = {"images": batch, "groups": groups, "parts": most_parts}
    for name, most in (*most_of.items(), ("outputs", made // tile.outputs)):
        lacking = -(-wanted // prod(cuts.values()))
        cuts[name] = max(cuts[name], min(most, cuts[name] * lacking))
    lengths = (batch, to_sizes[0], groups, made)
    cut = (equal_parts(*each) for each in zip(lengths, cuts.values(), strict=True))
    blocks = tuple(block(*each) for each in product(*cut))
    return Plan(
        blocks,
        max(each.channels * each.layout.size for each in blocks) + tile.vectors * lanes,
        tile.vectors * lanes,
        step,
        not all(each.taps for each in whole.passes),
        compiled.clear,
        compiled.fill,
        compiled.interleave,
    )


def plan_of(
    window: Window,
    batch: int,
    channels: int,
    outputs: int,
    groups: int,
    itemsize: int,
    is_adjoint: bool,
) -> Plan:
    """Return the plan that the options have room and threads for."""
    options = current()
    limit = max(1, min(CHUNK, options.workspace_bytes))
    return plan(
        *(window, batch, channels, outputs, groups, itemsize, is_adjoint), options.threads, limit
    )


def _table(each: Pass, channels: int, size: int, weights: int) -> Any:
    """Return for each channel and tap the offsets of the cell and of the weight."""
    of_taps = np.array([each.offsets, each.taps], np.int64).T
    of_channels = np.arange(channels)[:, None] * np.array([size, weights])
    return np.ascontiguousarray((of_channels[:, None] + of_taps).reshape(-1, 2))


def _rows(window: Window, height: int, is_adjoint: bool) -> Any:
    """Return how a depthwise convolution sums by rows, or None where it does not."""
    strides = [axis.stride for axis in window]
    if len(window) != 2 or window[0].dilation != 1 or (is_adjoint and strides != [1, 1]):
        return None
    rows_of = loops("conv_loops").rows_of
    return rows_of(window[0].kernel, window[1].kernel, strides[0], height)


def _row_starts(crop: Copies, height: int, rows: int) -> Any:
    """Return the first cell and result of each ``rows`` rows; the last ones may do some again."""
    firsts = np.minimum(np.arange(0, height, rows), height - rows)
    chosen = (np.arange(0, len(crop.source), height)[:, None] + firsts).reshape(-1)
    return np.stack([crop.source[chosen], crop.target[chosen]], axis=1)


def _stores(crop: Copies, lanes: int) -> tuple[Any, Any]:
    """Return where the lanes of each vector go that begins ``lanes`` cells after the last one."""
    first, last = crop.source // lanes, (crop.source + crop.length - 1) // lanes
    counts = last - first + 1
    run = np.repeat(np.arange(len(counts)), counts)
    vector = np.arange(len(run)) - np.repeat(np.cumsum(counts) - counts, counts) + first[run]
    low = crop.source[run] - vector * lanes
    high = np.minimum(low + crop.length, lanes)
    stores = np.stack([crop.target[run] - low, np.maximum(low, 0), high], axis=1)
    # Runs follow one another, and so do their vectors.
    return stores, np.searchsorted(vector, np.arange(last.max() + 2))


def conv(x: Any, w: Any, window: Window, groups: int) -> Any:
    """Return y (N, O, *positions)."""
    return _run(x, w, (len(x), len(w), *output_sizes(window)), window, groups, is_adjoint=False)


def conv_transpose(y: Any, w: Any, window: Window, groups: int) -> Any:
    """Return x (N, C, *sizes): for each phase of the stride a convolution with some of the taps."""
    shape = (len(y), groups * w.shape[1], *input_sizes(window))
    return _run(y, w, shape, window, groups, is_adjoint=True)


def _run(source: Any, w: Any, shape: Ints, window: Window, groups: int, is_adjoint: bool) -> Any:
    """Return the convolution of ``source``, or its adjoint."""
    if 0 in shape:
        return np.empty(shape, source.dtype)
    batch, channels, *sizes = source.shape
    planned = plan_of(window, batch, channels, shape[1], groups, w.itemsize, is_adjoint)
    flat, weight = channels_first(source).reshape(-1), np.ascontiguousarray(w).reshape(-1)
    target = (np.zeros if planned.holes else np.empty)(shape, source.dtype)
    result, cells_of, results_of = target.reshape(-1), prod(sizes), prod(shape[2:])
    clear, fill, step = planned.clear, planned.fill, planned.step
    seen, of_group, results = channels // groups, len(weight) // groups, len(result) // batch
    results //= groups

    def workspace() -> Any:
        cells = np.empty(planned.cells, w.dtype)
        # What vectors see past the last cell is dropped, but some numbers would be slow to add.
        cells[-planned.slack :] = 0
        return cells

    def work(block: Block, cells: Any) -> None:
        layout, first, channels, groups, outputs, sums = block
        size = layout.size
        clear(cells, size, channels, *layout.gaps)
        fill(flat, first, cells_of, cells, size, channels, *layout.fill)
        every = seen * size
        for convolve, table, factor, place, stores, ends in sums:
            convolve(
                *(cells, every, table, weight, factor, of_group, step, groups, outputs),
                *(result, place, results, results_of, stores, ends),
            )

    if len(planned.blocks) == 1:
        work(planned.blocks[0], workspace())
    else:
        run_blocks(work, planned.blocks, workspace=workspace)
    stride = window[-1].stride
    if not is_adjoint or stride == 1:
        return target
    # The phases of each row are one after the other.
    mixed = np.empty_like(target)
    rows, made = (each.reshape(-1, shape[-1]) for each in (target, mixed))
    parts = [slice(*each) for each in equal_parts(len(rows), -(-target.nbytes // CHUNK))]
    run_blocks(lambda part: planned.interleave(rows[part], made[part], stride), parts)
    return mixed
