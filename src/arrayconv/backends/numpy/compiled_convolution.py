"""Convolution and its adjoint as sums in registers, compiled by numba where that is installed.

No column is laid out: `layouts` makes what a tap sees one run of cells, and `vectors` sums, for a
few runs at a time, products of weights and vectors of cells. Each output is one sum in the order of
channels and taps, so how the work is cut into blocks changes no number. What is compiled is kept
on disk.
"""

from __future__ import annotations

from functools import cache, lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._integers import Ints
from arrayconv._options import current
from arrayconv._parts import adjoint_part, sliding_part
from arrayconv._window import Axis, Window, input_sizes, kernel_sizes, output_sizes, span
from arrayconv.backends.numpy import layouts
from arrayconv.backends.numpy.compiler import loops, missing
from arrayconv.backends.numpy.costs import Shape
from arrayconv.backends.numpy.layouts import Copies, Pass
from arrayconv.backends.numpy.threads import run_blocks

CHUNK = 1 << 20
"""Bytes that a block lays out and sums: the second cache should hold most of it."""
WORTH_A_THREAD = 1 << 20
"""Multiply-adds below which a block is not cut for another thread."""


def unfit(shape: Shape) -> str | None:
    """Return why a convolution cannot be served."""
    if shape.dtype not in (np.float32, np.float64) or not shape.dtype.isnative:
        return f"it is for float32 and float64, got {shape.dtype.str}"
    return missing()


class Step(NamedTuple):
    """A pass of a layout, with all that its sums need."""

    table: Any
    """Where each term finds its cell and its weight (terms, 2)."""
    stores: Any
    """Which lanes of a vector of sums go where (place, low, high)."""
    ends: Any
    """How many of these there are before each vector, and in all."""
    stride: int


class Work(NamedTuple):
    """A layout, and what is done with it."""

    size: int
    """Cells of a channel."""
    gaps: tuple[Any, Any]
    fill: tuple[Copies, ...]
    steps: tuple[Step, ...]


class Block(NamedTuple):
    """A range of images or of the first dimension, of groups, and of the outputs of each."""

    work: Work
    source: int
    """The first cell of the source that it sees, in the first channel."""
    target: int
    groups: slice
    outputs: slice


class Plan(NamedTuple):
    """What a convolution of given shapes needs, worked out once."""

    blocks: tuple[Block, ...]
    cells: int
    """The most numbers that a block lays out."""
    slack: int
    """Of these, what vectors may see past the last cell."""
    step: int
    """Weights from one output to the next."""
    holes: bool
    """Whether some outputs, of an adjoint, see nothing."""


def _cut(length: int, parts: int) -> list[tuple[int, int]]:
    """Return equal ranges of ``length``, so that none is a small rest."""
    each = -(-length // max(1, min(length, parts)))
    return [(start, min(length, start + each)) for start in range(0, length, each)]


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
) -> Plan:
    """Return the plan from ``channels`` to ``outputs``, by a convolution or by its adjoint."""
    compiled = loops("conv_loops")
    from_sizes, to_sizes = input_sizes(window), output_sizes(window)
    if is_adjoint:
        from_sizes, to_sizes = to_sizes, from_sizes
    seen, made, taps = channels // groups, outputs // groups, prod(kernel_sizes(window))
    tile = compiled.tile(made)
    wide = tile.vectors * compiled.VECTOR_BYTES // itemsize
    source = (channels * prod(from_sizes), *layouts.steps(from_sizes))
    target = (outputs * prod(to_sizes), *layouts.steps(to_sizes))

    @cache
    def laid(images: int, start: int, stop: int) -> Work:
        image = Axis(images, 1, 1, 1, 0, 0, images)
        part = (adjoint_part if is_adjoint else sliding_part)(window[0], start, stop)
        lay_out = layouts.adjoint if is_adjoint else layouts.sliding
        layout = lay_out((image, part.axis, *window[1:]), source, target)
        steps = tuple(
            Step(
                _table(each, seen, layout.size, made * taps if is_adjoint else taps),
                *_stores(each.crop, compiled.VECTOR_BYTES // itemsize),
                each.crop.step,
            )
            for each in layout.passes
        )
        return Work(layout.size, layout.gaps, layout.fill, steps)

    whole = laid(1, 0, to_sizes[0])
    of_group = whole.size * seen * itemsize
    cuts = {
        "images": -(-batch // max(1, CHUNK // (of_group * groups))),
        "groups": -(-groups // max(1, CHUNK // of_group)),
        # A part of which its neighbours see most costs more than the cache gives.
        "parts": min(-(-of_group // CHUNK), max(1, 2 * to_sizes[0] // span(window[0]))),
        "outputs": 1,
    }
    multiply_adds = batch * prod(output_sizes(window)) * outputs * seen * taps
    wanted = min(threads, multiply_adds // WORTH_A_THREAD)
    for name, most in (("images", batch), ("groups", groups), ("outputs", made // tile.outputs)):
        lacking = -(-wanted // prod(cuts.values()))
        cuts[name] = max(cuts[name], min(most, cuts[name] * lacking))
    blocks = [
        Block(
            laid(images[1] - images[0], *part),
            images[0] * source[0] + low * source[1],
            images[0] * target[0] + part[0] * target[1],
            slice(*some_groups),
            slice(*some_outputs),
        )
        for images in _cut(batch, cuts["images"])
        for part in _cut(to_sizes[0], cuts["parts"])
        for low in [(adjoint_part if is_adjoint else sliding_part)(window[0], *part).low]
        for some_groups in _cut(groups, cuts["groups"])
        for some_outputs in _cut(made, cuts["outputs"])
    ]
    held = [(b, b.groups.stop - b.groups.start) for b in blocks]
    return Plan(
        tuple(blocks),
        max(n * seen * b.work.size for b, n in held) + wide,
        wide,
        taps if is_adjoint else seen * taps,
        any(len(step.table) == 0 for step in whole.steps),
    )


def _table(each: Pass, channels: int, size: int, weights: int) -> Any:
    """Return for each channel and tap the offsets of the cell and of the weight."""
    of_taps = np.array([each.offsets, each.taps], np.int64).T
    of_channels = np.arange(channels)[:, None] * np.array([size, weights])
    return np.ascontiguousarray((of_channels[:, None] + of_taps).reshape(-1, 2))


def _stores(crop: Copies, lanes: int) -> tuple[Any, Any]:
    """Return where the lanes of each vector go that begins ``lanes`` cells after the last one."""
    first, last = crop.source // lanes, (crop.source + crop.length - 1) // lanes
    counts = last - first + 1
    run = np.repeat(np.arange(len(counts)), counts)
    vector = np.arange(len(run)) - np.repeat(np.cumsum(counts) - counts, counts) + first[run]
    low = crop.source[run] - vector * lanes
    stores = np.stack(
        [
            crop.target[run] - low * crop.step,
            np.maximum(low, 0),
            np.minimum(low + crop.length, lanes),
        ],
        axis=1,
    )
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
    if prod(shape) == 0:
        return np.empty(shape, source.dtype)
    batch, channels = source.shape[:2]
    outputs, seen = shape[1] // groups, channels // groups
    threads = current().threads
    planned = plan(
        *(window, batch, channels, outputs * groups, groups, w.itemsize, is_adjoint, threads)
    )
    compiled = loops("conv_loops")
    cells_of = prod(source.shape[2:])
    results_of = prod(shape[2:])
    flat, weight = (np.ascontiguousarray(each).reshape(-1) for each in (source, w))
    result = (np.zeros if planned.holes else np.empty)(prod(shape), source.dtype)
    of_group = w.size // groups
    lanes = compiled.VECTOR_BYTES // w.itemsize
    tile = compiled.tile(outputs)

    def workspace() -> Any:
        cells = np.empty(planned.cells, w.dtype)
        # Nobody asks for what vectors see past the last cell, but to add it up could be slow.
        cells[-planned.slack :] = 0
        return cells

    def run(block: Block, cells: Any) -> None:
        work, first, groups = block.work, block.groups.start, block.groups.stop - block.groups.start
        number = groups * seen
        one, count = block.outputs.start, block.outputs.stop - block.outputs.start
        compiled.clear(cells, work.size, number, *work.gaps)
        for each in work.fill:
            start = block.source + first * seen * cells_of
            compiled.fill(flat, start, cells_of, cells, work.size, number, *each)
        for step in work.steps:
            if not len(step.table):
                continue
            convolve = compiled.convolve(tile, count % tile.outputs, lanes, step.stride)
            convolve(
                *(cells, seen * work.size, step.table),
                *(weight, first * of_group + one * planned.step, of_group, planned.step),
                *(groups, count, result, block.target + (first * outputs + one) * results_of),
                *(outputs * results_of, results_of, step.stores, step.ends),
            )

    run_blocks(run, planned.blocks, workspace=workspace)
    return result.reshape(shape)
