"""The gradient to a convolution's weight as sums in registers, compiled by numba.

Cells are laid out as for the convolution, and cotangents as its outputs are in that layout, with
zeros between rows: each number of the gradient is then an inner product of two runs. Where a cell
is not finite, so may be the gradient at every tap, since those zeros meet it too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._options import current
from arrayconv._parts import sliding_part
from arrayconv._window import Axis, Window, input_sizes, kernel_sizes, output_sizes, span
from arrayconv.backends.numpy import layouts
from arrayconv.backends.numpy.blocks import equal_parts
from arrayconv.backends.numpy.compiled_convolution import CHUNK, WORTH_A_THREAD
from arrayconv.backends.numpy.compiler import loops
from arrayconv.backends.numpy.layouts import Copies, Fill, Layout
from arrayconv.backends.numpy.orders import channels_first
from arrayconv.backends.numpy.threads import run_blocks


class Block(NamedTuple):
    """A range of images, or of the first dimension."""

    layout: Layout
    offsets: Any
    """For each term the offset of its cell."""
    cell: int
    """The first cell that it sees, in the first channel."""
    place: int
    """The first cotangent, of the first output."""
    fill: Fill
    """Cotangents, to where the layout has the outputs."""
    gaps: tuple[Any, Any]
    row: int
    """Numbers of an output."""


class Plan(NamedTuple):
    """What a gradient of given shapes needs, worked out once."""

    blocks: tuple[Block, ...]
    jobs: tuple[tuple[slice, slice], ...]
    """Groups, and outputs of each, that are worked on by themselves."""
    slack: int


@lru_cache(maxsize=256)
def plan(
    window: Window,
    batch: int,
    channels: int,
    outputs: int,
    groups: int,
    itemsize: int,
    threads: int,
    limit: int,
) -> Plan:
    """Return the plan of a gradient; its blocks are the same for any number of threads."""
    compiled = loops("gradient_loops")
    lanes = compiled.VECTOR_BYTES // itemsize
    sizes, positions = input_sizes(window), output_sizes(window)
    seen, made = channels // groups, outputs // groups
    source = (channels * prod(sizes), *layouts.steps(sizes))
    target = (outputs * prod(positions), *layouts.steps(positions))

    def block(images: tuple[int, int], part: tuple[int, int]) -> Block:
        count, cut = images[1] - images[0], sliding_part(window[0], *part)
        image = Axis(count, 1, 1, 1, 0, 0, count)
        layout = layouts.sliding((image, cut.axis, *window[1:]), source, target)
        (every,) = layout.passes
        offsets = np.arange(seen)[:, None] * layout.size + np.array(every.offsets)
        row = -(-every.length // lanes) * lanes
        copies = [Copies(every.crop.target, every.crop.source, every.crop.length, 1)]
        return Block(
            layout,
            offsets.reshape(-1),
            images[0] * source[0] + cut.low * source[1],
            images[0] * target[0] + part[0] * target[1],
            layouts.fill(copies),
            layouts.gaps(row, copies),
            row,
        )

    whole = block((0, 1), (0, positions[0]))
    of_image = (whole.layout.size * channels + whole.row * outputs) * itemsize
    images = -(-batch // max(1, limit // of_image))
    parts = min(-(-of_image // limit), max(1, 2 * positions[0] // span(window[0])))
    multiply_adds = batch * prod(positions) * outputs * seen * prod(kernel_sizes(window))
    wanted = min(threads, multiply_adds // WORTH_A_THREAD)
    some_groups = max(1, min(groups, wanted))
    some_outputs = max(1, min(made // compiled.OUTPUTS, -(-wanted // some_groups)))
    blocks = product(equal_parts(batch, images), equal_parts(positions[0], parts))
    jobs = product(equal_parts(groups, some_groups), equal_parts(made, some_outputs))
    return Plan(
        tuple(block(*each) for each in blocks),
        tuple((slice(*some), slice(*of)) for some, of in jobs),
        lanes,
    )


def conv_weight(x: Any, y: Any, window: Window, groups: int) -> Any:
    """Return w (O, C / groups, *kernel)."""
    (batch, channels, *sizes), outputs = x.shape, y.shape[1]
    seen, made, taps = channels // groups, outputs // groups, prod(kernel_sizes(window))
    result = np.zeros((outputs, seen, *kernel_sizes(window)), x.dtype)
    if x.size == 0 or y.size == 0:
        return result
    compiled = loops("gradient_loops")
    options = current()
    limit = max(1, min(CHUNK, options.workspace_bytes))
    planned = plan(window, batch, channels, outputs, groups, x.itemsize, options.threads, limit)
    cells_of, results_of, flat = prod(sizes), prod(y.shape[2:]), result.reshape(-1)
    source, cotangents = (channels_first(each).reshape(-1) for each in (x, y))
    terms, lanes = seen * taps, planned.slack

    def work(job: tuple[slice, slice]) -> None:
        some, of = job
        first, count = some.start, some.stop - some.start
        number, many = count * seen, of.stop - of.start
        add: Callable[..., None] = compiled.add_gradient(
            min(made, compiled.OUTPUTS), many, terms, lanes
        )
        for block in planned.blocks:
            size, row = block.layout.size, block.row
            cells = np.empty(number * size + row, x.dtype)
            compiled.clear(cells, size, number, *block.layout.gaps)
            cells[number * size :] = 0
            start = block.cell + first * seen * cells_of
            compiled.fill(source, start, cells_of, cells, size, number, *block.layout.fill)
            rows = np.empty(count * many * row, x.dtype)
            compiled.clear(rows, row, count * many, *block.gaps)
            # All outputs of all groups are neighbours, and those of a part of each are not.
            at_once = count if many == made else 1
            for group in range(0, count, at_once):
                start = block.place + ((first + group) * made + of.start) * results_of
                part = rows[group * many * row :]
                compiled.fill(cotangents, start, results_of, part, row, many * at_once, *block.fill)
            add(
                *(rows, row, cells, seen * size, block.offsets),
                *(flat, (first * made + of.start) * terms, made * terms, terms),
                *(count, many, row // lanes),
            )

    run_blocks(work, planned.jobs)
    return result
