"""The gradient to a convolution's weight as sums in registers, compiled by numba.

Cells are laid out as for the convolution, and cotangents as its outputs are in that layout, with
zeros between rows: each number of the gradient is then an inner product of two runs. Where a cell
is not finite, so may be the gradient at every tap, since those zeros meet it too.
"""

from __future__ import annotations

from functools import cache, lru_cache
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._integers import Ints
from arrayconv._options import current
from arrayconv._parts import sliding_part
from arrayconv._window import Axis, Window, input_sizes, kernel_sizes, output_sizes, span
from arrayconv.backends.numpy import layouts
from arrayconv.backends.numpy.blocks import equal_parts
from arrayconv.backends.numpy.compiler import lanes_of, loops
from arrayconv.backends.numpy.convolution_plans import CHUNK, WORTH_A_THREAD
from arrayconv.backends.numpy.layouts import Copies
from arrayconv.backends.numpy.orders import channels_first
from arrayconv.backends.numpy.tables import Tables
from arrayconv.backends.numpy.threads import at_once, run_range


class Plan(NamedTuple):
    """What a gradient of given shapes needs, worked out once, as `add_blocks` takes it."""

    jobs: Any
    """What is worked on by itself: of each the first group and how many, the first output of a
    group and how many, and where the code is that adds up."""
    blocks: Any
    """Ranges of images, or of the first dimension: of each a channel's cells, the first cell that
    it sees and the first cotangent, an output's numbers, where `tables` have the offsets of the
    terms' cells, and where the layouts of cells and of cotangents are, of `layouts.placed`."""
    tables: Any
    numbers: Any
    """Channels and outputs of a group, terms, lanes, cells of a channel, results of an output, and
    the most numbers that cells are, which stand before cotangents in a workspace."""
    room: int
    """The most that both are."""


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
    lanes = lanes_of(np.dtype(f"f{itemsize}"))
    sizes, positions = input_sizes(window), output_sizes(window)
    seen, made = channels // groups, outputs // groups
    source = (channels * prod(sizes), *layouts.steps(sizes))
    target = (outputs * prod(positions), *layouts.steps(positions))

    packed = Tables()

    def block(images: tuple[int, int], part: tuple[int, int]) -> Ints:
        count, cut = images[1] - images[0], sliding_part(window[0], *part)
        image = Axis(count, 1, 1, 1, 0, 0, count)
        layout = layouts.sliding((image, cut.axis, *window[1:]), source, target)
        (every,) = layout.passes
        offsets = np.arange(seen)[:, None] * layout.size + np.array(every.offsets)
        row = -(-every.length // lanes) * lanes
        copies = [Copies(every.crop.target, every.crop.source, every.crop.length, 1)]
        return (
            layout.size,
            images[0] * source[0] + cut.low * source[1],
            images[0] * target[0] + part[0] * target[1],
            row,
            packed.place(offsets),
            *layout.placed(packed),
            # Cotangents, to where the layout has the outputs.
            *layouts.placed(layouts.gaps(row, copies), layouts.fill(copies, row), packed),
        )

    size, _, _, row, *_ = block((0, 1), (0, positions[0]))
    of_image = (size * channels + row * outputs) * itemsize
    images = -(-batch // max(1, limit // of_image))
    parts = min(-(-of_image // limit), max(1, 2 * positions[0] // span(window[0])))
    multiply_adds = batch * prod(positions) * outputs * seen * prod(kernel_sizes(window))
    wanted = min(threads, multiply_adds // WORTH_A_THREAD)
    some_groups = max(1, min(groups, wanted))
    some_outputs = max(1, min(made // compiled.OUTPUTS, -(-wanted // some_groups)))
    ranges = product(equal_parts(batch, images), equal_parts(positions[0], parts))
    blocks = np.array([block(*each) for each in ranges], np.int64)
    taps = prod(kernel_sizes(window))
    jobs = np.array(
        [
            (*some, *of, _address(made, of[1] - of[0], seen * taps, itemsize))
            for some, of in product(
                equal_parts(groups, some_groups), equal_parts(made, some_outputs)
            )
        ],
        np.int64,
    )
    # Both ends as a beginning and a number.
    jobs[:, [1, 3]] -= jobs[:, [0, 2]]
    most_groups, most_outputs = jobs[:, 1].max(), (jobs[:, 1] * jobs[:, 3]).max()
    cells = int((most_groups * seen * blocks[:, 0] + blocks[:, 3]).max())
    numbers = (seen, made, seen * taps, lanes, prod(sizes), prod(positions), cells)
    room = cells + int(most_outputs * blocks[:, 3].max())
    return Plan(jobs, blocks, packed.flat(), np.array(numbers, np.int64), room)


@cache
def _address(made: int, many: int, terms: int, itemsize: int) -> int:
    """Return where the code is that adds up the gradients of some of a group's outputs."""
    compiled = loops("gradient_loops")
    numbers, flat = np.empty(1, f"f{itemsize}"), np.empty(1, np.int64)
    found: int = loops("addresses").address_of(
        compiled.add_gradient(*compiled.tiles(made, many, terms), lanes_of(numbers.dtype)),
        *(numbers, 0, numbers, 0, flat, numbers, *[0] * 6),
    )
    return found


def conv_weight(x: Any, y: Any, window: Window, groups: int) -> Any:
    """Return w (O, C / groups, *kernel)."""
    (batch, channels), outputs = x.shape[:2], y.shape[1]
    result = np.zeros((outputs, channels // groups, *kernel_sizes(window)), x.dtype)
    if x.size == 0 or y.size == 0:
        return result
    options = current()
    limit = max(1, min(CHUNK, options.workspace_bytes))
    planned = plan(window, batch, channels, outputs, groups, x.itemsize, options.threads, limit)
    jobs = len(planned.jobs)
    workspace = np.empty((at_once(jobs), planned.room), x.dtype)
    run_range(
        loops("gradient_loops").add_blocks,
        (channels_first(x).reshape(-1), channels_first(y).reshape(-1), result.reshape(-1)),
        jobs,
        (workspace, *planned[:4]),
        each=1,
        least=1,
        numbered=True,
    )
    return result
