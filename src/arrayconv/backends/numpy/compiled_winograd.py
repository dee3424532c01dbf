"""`winograd` in one and two dimensions with its transforms compiled, where numba is installed.

The transforms are what the algorithm costs beside its products. Here those of a tile's rows and of
its columns follow one another, on vectors of neighbouring tiles, whose cells a stride of a tile's
size puts next to each other: see `layouts`. A dilated kernel is a plain one on each phase of the
cells: the outputs of each phase are made by themselves, and put in their order at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._integers import Ints
from arrayconv._window import Window, adjoint_axis, kernel_sizes, output_sizes
from arrayconv.backends.numpy import winograd
from arrayconv.backends.numpy.blocked import flip
from arrayconv.backends.numpy.compiled_convolution import biases
from arrayconv.backends.numpy.compiler import lanes_of, loops, missing
from arrayconv.backends.numpy.costs import Shape
from arrayconv.backends.numpy.loop_addresses import of_sums
from arrayconv.backends.numpy.orders import channels_first, whole_lines
from arrayconv.backends.numpy.threads import at_once, run_range
from arrayconv.backends.numpy.winograd_cuts import phases_of
from arrayconv.backends.numpy.winograd_maps import ROWS, SQUARES, Square, pieces
from arrayconv.backends.numpy.winograd_maps import square as square_of
from arrayconv.backends.numpy.winograd_plans import FLOAT, plan_of, sizes_of
from arrayconv.backends.numpy.winograd_points import Points, Seeing, addresses_to_see

VECTORS = 64
"""Vectors of kernels that a thread transforms at a time."""
LEAST, MOST = {SQUARES: 6, ROWS: 4}, 32
"""Taps of the longer side of a kernel that is taken apart into pieces; smaller ones have tiles of
their own."""
MOST_PHASES = 64
"""Phases of a dilation: how each of them lies is worked out by itself, which takes a while."""


def unfit(shape: Shape, tile: Ints) -> str | None:
    """Return why a convolution cannot be served."""
    if len(shape.window) > 2:
        return f"it has one or two spatial dimensions, got {len(shape.window)}"
    phases = prod(phases_of(shape.window))
    if phases > MOST_PHASES:
        return f"its dilation has {phases} phases of cells, more than {MOST_PHASES}"
    rows, taps = (1, *kernel_sizes(shape.window))[-2:]
    if tile == ROWS and rows == 1:
        return "the kernel has one row"
    if tile in LEAST and not LEAST[tile] <= max(rows, taps) <= MOST:
        return f"it is for kernels of {LEAST[tile]} to {MOST}, not of {max(rows, taps)}"
    plain = tuple(axis._replace(dilation=1) for axis in shape.window)
    return winograd.unfit(shape._replace(window=plain), tile) or missing()


class Parts(NamedTuple):
    """Parts of the outputs, and where the points of their weights are, as compiled code has it."""

    rows: Any
    """Of each the first output, and how many it has of a group; where the code is that sums them
    up; of the points of the weight the steps from group to group, from output to output, from
    channel to channel and from point to point, and where those of the part begin; and of the weight
    that is transformed the first number, the vectors of kernels, and the kernels of a row."""
    every: int
    """Numbers of the weight from one row of kernels to the next."""
    places: Any
    """Of each piece of a kernel where its taps are, or -1."""
    size: int
    """Taps of a kernel."""
    numbers: int
    """The most that the points of a weight are, with room for a vector more."""
    transform: Any
    """The loop that makes them."""


def _places(kernel: Ints, square: Square) -> Any:
    """Return where in a kernel the taps of each of its pieces are, or -1 for those beyond."""
    height, width = (1, *kernel)[-2:]
    found = []
    for below, beside in product(*map(range, pieces(kernel, square))):
        rows, columns = (
            range(start * line.kernel, (start + 1) * line.kernel)
            for start, line in zip((below, beside), square, strict=True)
        )
        found.append(
            [y * width + x if y < height and x < width else -1 for y in rows for x in columns]
        )
    return np.array(found, np.int64)


@lru_cache(maxsize=256)
def _parts(
    shape: Ints, groups: int, tile: Ints, is_flipped: bool, bounds: tuple[Ints, ...], apart: bool
) -> Parts:
    """Return parts of the outputs of a weight of a shape, given where each begins and ends.

    With a flipped weight the adjoint is a convolution; it is read so, and not made. The weight is
    transformed as a whole, or each part of it ``apart``.
    """
    compiled, square = loops("winograd_loops"), square_of(shape[2:], tile)
    size, lanes, places = prod(shape[2:]), lanes_of(FLOAT), _places(shape[2:], square)
    every, seen = (shape[1], shape[0] // groups) if is_flipped else (shape[0] // groups, shape[1])
    of_tile = compiled.tile(max(stop - start for start, stop in bounds))
    # Each piece of a kernel is a term of its own.
    terms = seen * len(places)
    rows, most = [], 0
    for start, stop in bounds:
        made = stop - start
        first, held = (start, made) if apart else (0, every)
        # Of all outputs rows follow one another, and so are one.
        in_rows = is_flipped and held < every
        count, length = (seen, held) if in_rows else (1, groups * held * terms)
        steps = (1, held) if is_flipped else (terms, 1)
        step = -(-count * length // lanes) * lanes + lanes
        most = max(most, square.points * step + lanes)
        rows.append(
            (
                *(start, made),
                of_sums(compiled.convolve(of_tile, made % of_tile.outputs, lanes), 4),
                *(held * terms, *steps, step, (start - first) * steps[0]),
                *(first * size * (1 if is_flipped else seen), count * -(-length // lanes), length),
            )
        )
    transform = compiled.weight_to_points(square, is_flipped, len(places) > 1)
    return Parts(np.array(rows, np.int64), shape[1] * size, places, size, most, transform)


def _flat(w: Any) -> Any:
    return np.ascontiguousarray(w).reshape(-1)


def transform_weight(weight: Any, parts: Parts) -> Any:
    """Return the points of a flat weight that is transformed as a whole."""
    points = whole_lines(parts.numbers, weight.dtype)
    step, _, first, vectors, length = map(int, parts.rows[0, 6:])
    known = (first, parts.every, length, step, parts.places, parts.size)
    run_range(parts.transform, (weight, points), vectors, known, each=VECTORS)
    return points


def _address(parts: Parts) -> int:
    """Return where the code is that makes the points of a weight."""
    weight = np.empty(1, FLOAT)
    arguments = (weight, weight, *[0] * 6, parts.places, 0)
    found: int = loops("addresses").address_of(parts.transform, *arguments)
    return found


@cache
def _addresses(square: Square) -> tuple[int, ...]:
    """Return where the code is that sees a block and makes a part, and their squares' points."""
    address_of, blocks = loops("addresses").address_of, loops("winograd_blocks")
    numbers, flat, table = np.empty(1, FLOAT), np.empty(1, np.int64), np.empty((1, 1), np.int64)
    from_points = loops("winograd_loops").from_points(square)
    buffers = (numbers, flat, numbers)
    see, to_points = addresses_to_see(square, False)
    return (
        see,
        address_of(blocks.make, *[numbers] * 6, *[flat] * 3, table, flat),
        to_points,
        address_of(from_points, numbers, *[0] * 4, numbers, 0, *buffers, 0, *[flat] * 3, 0),
    )


def run(
    x: Any,
    shape: Ints,
    window: Window,
    groups: int,
    tile: Ints,
    weight: Any,
    ready: Callable[[], Any] | None = None,
    is_flipped: bool = False,
    bias: Any = None,
) -> Any:
    """Return y (N, O, *positions), by a flat weight of a shape; ``ready`` returns its points."""
    batch, channels = x.shape[:2]
    outputs = groups * shape[1] if is_flipped else shape[0]
    phases, sizes = phases_of(window), sizes_of(window)
    # The outputs of each phase by themselves.
    y = np.empty((batch, outputs, *phases, *sizes), x.dtype)
    if y.size == 0:
        return _in_order(y, window)
    planned = plan_of(window, batch, channels, outputs, groups, tile, ready is not None)
    bounds, apart = tuple((part.start, part.stop) for part in planned.parts), planned.transforms
    parts = _parts(shape, groups, tile, is_flipped, bounds, apart)
    compiled, room = loops("winograd_blocks"), planned.room
    result = y.reshape(-1)
    start = biases(bias, outputs, x.dtype)
    shared = apart and len(planned.blocks) == 1
    jobs = len(bounds if shared else planned.blocks)
    # What each thread holds: its own cells' points, cells or then sums, and a part's weight.
    lanes = lanes_of(x.dtype)
    of_cells = -(-(room[2] if shared else max(room[1:])) // lanes) * lanes
    held = (0 if shared else room[0], of_cells)
    numbers = np.array(
        [
            *(*planned.tile.seen, lanes, channels, groups),
            *(x[0, 0].size, y[0, 0].size, sizes[1], *_addresses(planned.tile)),
            *(planned.tile.points, *held, _address(parts) if apart else 0, parts.every),
            *(*pieces(kernel_sizes(window), planned.tile), parts.size),
        ]
    )
    laid = planned.laid()
    known = (laid.blocks, parts.rows, laid.tables, parts.places, numbers)
    factors = weight if apart else ready() if ready else transform_weight(weight, parts)
    if shared:
        loop, points = compiled.convolve_parts, Points(x, planned, numbers)
        Seeing([points]).see(0)
        seen = points.points
    else:
        loop, seen = compiled.convolve_squares, channels_first(x).reshape(-1)
    threads, each = at_once(jobs), sum(held) + apart * parts.numbers
    workspace = whole_lines(threads * each, x.dtype).reshape(threads, each)
    before = (seen, factors, start, result)
    run_range(loop, before, jobs, (workspace, *known), each=1, least=1, numbered=True)
    return _in_order(y, window)


def _in_order(phased: Any, window: Window) -> Any:
    """Return y (N, O, *positions) of the outputs (N, O, *phases, *sizes) of each phase."""
    shape, (tall, wide) = (*phased.shape[:2], *output_sizes(window)), phases_of(window)
    if tall == wide == 1:
        return phased.reshape(shape)
    y = np.empty((*phased.shape[:2], *(1, *output_sizes(window))[-2:]), phased.dtype)
    for down, across in product(range(tall), range(wide)):
        to = y[:, :, down::tall, across::wide]
        to[...] = phased[:, :, down, across, : to.shape[2], : to.shape[3]]
    return y.reshape(shape)


def conv(x: Any, w: Any, window: Window, groups: int, bias: Any = None, *, tile: Ints) -> Any:
    """Return y (N, O, *positions)."""
    return run(x, w.shape, window, groups, tile, _flat(w), bias=bias)


def prepare(w: Any, groups: int, tile: Ints) -> Callable[[Any, Window, Any], Any]:
    """Return the convolution of an input by a window, with the weight transformed only once.

    That is done for the first input that needs it: to read the points of a large weight may take
    longer than to make them where the cache holds them.
    """
    shape, weight, whole = w.shape, _flat(w), ((0, w.shape[0] // groups),)

    @cache
    def points() -> Any:
        return transform_weight(weight, _parts(shape, groups, tile, False, whole, False))

    def convolve(x: Any, window: Window, bias: Any = None) -> Any:
        return run(x, shape, window, groups, tile, weight, points, bias=bias)

    return convolve


def conv_transpose(y: Any, w: Any, window: Window, groups: int, tile: Ints) -> Any:
    """Return x (N, C, *sizes), with a stride of 1."""
    adjoint = tuple(adjoint_axis(axis) for axis in window)
    if tile in LEAST:
        return conv(y, flip(w, groups), adjoint, groups, tile=tile)
    return run(y, w.shape, adjoint, groups, tile, _flat(w), is_flipped=True)
