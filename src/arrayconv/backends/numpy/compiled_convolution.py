"""Convolution and its adjoint as sums in registers, compiled by numba where that is installed.

No column is laid out: `layouts` makes what a tap sees one run of cells, and `vectors` sums, for a
few runs at a time, products of weights and vectors of cells. Each output is one sum in the order of
channels and taps, so how the work is cut into blocks changes no number. What is compiled is kept
on disk.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from arrayconv.backends.numpy.tables import Tables
from arrayconv.backends.numpy.threads import at_once, run_range

CHUNK = 1 << 19
"""Bytes that a block lays out: the second cache should hold most of it."""
WORTH_A_THREAD = 1 << 20
"""Multiply-adds below which a block is not cut for another thread."""


def unfit(shape: Shape) -> str | None:
    """Return why a convolution cannot be served."""
    if shape.dtype not in (np.float32, np.float64) or not shape.dtype.isnative:
        return f"it is for float32 and float64, got {shape.dtype.str}"
    return missing()


class Plan(NamedTuple):
    """What a convolution of given shapes needs, worked out once, as `convolve_blocks` takes it."""

    blocks: Any
    """Ranges of images or of the first dimension, of groups, and of the outputs of each. Of a block
    a channel's cells, the first cell of the source that it sees, in the first channel; how many
    channels, groups, and outputs of a group it has; the first and last of its sums; and where
    `tables` have its layout, of `Layout.placed`."""
    sums: Any
    """Of one pass of a block the loop; where `tables` have, for each term, where its cell and its
    weight are, and the number of terms; the first weight and the first result; where, how many and
    of how many columns are the lanes of a vector of sums, of a depthwise one its rows; and where
    and how many say how many of these there are before each vector, or the steps from row to
    row."""
    tables: Any
    numbers: Any
    """Cells of a channel of the source, channels of a group, weights of a group and from output to
    output, results of a group and of an output, and numbers of vectors that may be past a cell."""
    cells: int
    """The most numbers that a block lays out, and those that vectors may see past the last one."""
    holes: bool
    """Whether some outputs, of an adjoint, see nothing."""


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

    packed = Tables()
    every_sum: list[Ints] = []
    every_block: list[Ints] = []

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

    def sums(where: tuple[int, int, int], count: int, weight: int, place: int) -> Iterator[Ints]:
        for rows, table, stores, ends in tables(*where):
            loop = (
                compiled.convolve(tile, count % tile.outputs, lanes)
                if rows is None
                else compiled.convolve_depthwise(rows, lanes)
            )
            yield (
                *(address(loop, itemsize), packed.place(table), len(table), weight, place),
                *(packed.place(stores), *stores.shape, packed.place(ends), len(ends)),
            )

    def block(
        images: tuple[int, int], part: tuple[int, int], some: tuple[int, int], of: tuple[int, int]
    ) -> None:
        where = images[1] - images[0], *part
        layout = laid(*where)
        count, first, low = of[1] - of[0], some[0] * made + of[0], len(every_sum)
        place = images[0] * target[0] + first * prod(to_sizes) + part[0] * target[1]
        every_sum.extend(sums(where, count, some[0] * made * seen * taps + of[0] * step, place))
        cells = images[0] * source[0] + some[0] * seen * prod(from_sizes)
        cells += part_of(window[0], *part).low * source[1]
        many = some[1] - some[0]
        every_block.append(
            (
                *(layout.size, cells, many * seen, many, count, low, len(every_sum)),
                *layout.placed(packed),
            )
        )

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
    for each in product(*cut):
        block(*each)
    slack = tile.vectors * lanes
    numbers = (prod(from_sizes), seen, made * taps * seen, step)
    numbers += (made * prod(to_sizes), prod(to_sizes), slack)
    blocks = np.array(every_block, np.int64)
    return Plan(
        blocks,
        np.array(every_sum, np.int64).reshape(len(every_sum), -1),
        packed.flat(),
        np.array(numbers, np.int64),
        int((blocks[:, 0] * blocks[:, 2]).max()) + slack,
        not all(each.taps for each in whole.passes),
    )


@cache
def address(loop: Any, itemsize: int) -> int:
    """Return where the code of one of the loops for sums is."""
    numbers = np.empty(1, f"f{itemsize}")
    flat, rows = np.empty(1, np.int64), np.empty((1, 1), np.int64)
    found: int = loops("addresses").address_of(
        loop,
        *(numbers, 0, rows, numbers, *[0] * 5),
        *(numbers, *[0] * 3, rows, flat),
    )
    return found


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
    batch, channels = source.shape[:2]
    planned = plan_of(window, batch, channels, shape[1], groups, w.itemsize, is_adjoint)
    flat, weight = channels_first(source).reshape(-1), np.ascontiguousarray(w).reshape(-1)
    target = (np.zeros if planned.holes else np.empty)(shape, source.dtype)
    result = target.reshape(-1)
    workspace = np.empty((at_once(len(planned.blocks)), planned.cells), w.dtype)
    compiled = loops("conv_loops")
    run_range(
        compiled.convolve_blocks,
        (flat, weight, result),
        len(planned.blocks),
        (workspace, *planned[:4]),
        each=1,
        least=1,
        numbered=True,
    )
    stride = window[-1].stride
    if not is_adjoint or stride == 1:
        return target
    # The phases of each row are one after the other.
    mixed = np.empty_like(target)
    rows = [each.reshape(-1, shape[-1]) for each in (target, mixed)]
    some = -(-len(rows[0]) * CHUNK // target.nbytes)
    run_range(compiled.interleave, tuple(rows), len(rows[0]), (stride,), each=some, least=1)
    return mixed
