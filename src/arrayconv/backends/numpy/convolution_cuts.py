"""How `compiled_convolution` cuts its work into blocks."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from arrayconv._window import output_sizes, span
from arrayconv.backends.numpy.blocks import equal_parts
from arrayconv.backends.numpy.convolution_cells import Cells

WORTH_A_THREAD = 1 << 19
"""Multiply-adds below which a block is not cut for another thread."""
WORTH_A_BLOCK = 1 << 21
"""And below which one is cut only if a thread had none."""
FEW = 4
"""Blocks of a thread below which all should have as many; so many each should have, for another
program may slow a processor down, and some are slower than others."""
PLANE = 1 << 16
"""Cells of a channel in a block: of each vector of them tables say where it goes."""
WORTH_SHARING = 1 << 24
"""And below which blocks do not wait for cells that all of them share."""
MANY_WEIGHTS = 2
"""Times these cells that weights are at least; they take half of the room of all threads' blocks at
most."""
PART = 3
"""Times the vectors of a tile that a part has at least of a row that is read where it is."""

Range = tuple[int, int]


class Cut(NamedTuple):
    """Ranges of what blocks have."""

    ranges: tuple[list[Range], ...]
    """Of images, of the first dimension, of groups, and of outputs of each."""
    shared: bool
    """Whether cells are laid out for all blocks beforehand, and not by each block for itself."""


def cut(cells: Cells, batch: int, threads: int, limit: int) -> Cut:
    """Return the blocks of which each lays out ``limit`` bytes, or what its least part needs."""
    cuts, length = _within(cells, batch, limit), cells.sizes[0]
    tiles = cells.made // cells.tile.outputs
    is_line = cells.in_place and len(cells.window) == 1
    most_parts = length // (PART * cells.slack if is_line else 2 * span(cells.window[0]))
    weights = cells.groups * cells.made * cells.seen * cells.taps
    multiply_adds = batch * prod(output_sizes(cells.window)) * weights
    wanted = min(threads, multiply_adds // WORTH_A_THREAD)
    some = min(threads * FEW, multiply_adds // WORTH_A_BLOCK) if threads > 1 else 1
    most_of = {"images": batch, "groups": cells.groups, "parts": most_parts, "outputs": tiles}
    names = ["images", "groups", "parts", "outputs"]
    shared = (
        wanted > 1
        and multiply_adds >= WORTH_SHARING
        and _is_shared(cells, batch, weights, limit * wanted)
    )
    if shared:
        pieces = -(-batch * _kept(cells) * cells.itemsize // limit)
        cuts = dict.fromkeys(names, 1) | {"outputs": max(1, min(tiles, pieces))}
        most_of |= {"images": 1, "parts": 1}
    elif cells.in_place and cells.made > length:
        # Each part reads all weights, and each range of outputs all cells.
        names = ["images", "groups", "outputs", "parts"]
    for name in names:
        most = most_of[name]
        # What a cut by outputs lays out each block lays out again.
        blocks = max(wanted, some if shared or cells.in_place or name != "outputs" else 1)
        lacking = -(-blocks // prod(cuts.values()))
        cuts[name] = max(cuts[name], min(most, cuts[name] * lacking))
    for name, most in most_of.items():
        # As many for each thread, where they are few.
        others = prod(cuts.values()) // cuts[name]
        more = range(cuts[name], min(most, 2 * cuts[name]) + 1)
        if others * cuts[name] < FEW * wanted:
            fair = (count for count in more if others * count % wanted == 0)
            cuts[name] = next(fair, cuts[name])
    # Parts of an adjoint begin with the first of the phases, and parts of a line with a vector.
    unit = (cells.window[0].stride if cells.is_adjoint else 1) * (cells.lanes if is_line else 1)
    of_each = {
        "images": (batch, 1),
        "parts": (length, unit),
        "groups": (cells.groups, 1),
        "outputs": (cells.made, cells.tile.outputs),
    }
    found = []
    for name, (many, unit) in of_each.items():
        parts = equal_parts(-(-many // unit), cuts[name])
        found.append([(low * unit, min(high * unit, many)) for low, high in parts])
    return Cut(tuple(found), shared)


def _kept(cells: Cells) -> int:
    """Return how many results of an image and a group are kept until they are put in turns."""
    return cells.made * prod(cells.sizes) if cells.phases > 1 else 0


def _within(cells: Cells, batch: int, limit: int) -> dict[str, int]:
    """Return into how many images, parts, groups and outputs a block's limit cuts."""
    length, reach = cells.sizes[0], span(cells.window[0])
    laid, kept = cells.held(1, 1, 1, 0, length)[0], _kept(cells)
    of_group, plane = max(1, (laid + kept) * cells.itemsize), prod(cells.from_sizes)
    # A part of which its neighbours see most costs more than the cache gives.
    most, tiles = max(1, 2 * length // reach), max(1, cells.made // cells.tile.outputs)
    images = max(1, min(limit // (of_group * cells.groups), PLANE // max(1, plane)))
    cuts = {
        "images": -(-batch // images),
        "parts": min(max(-(-laid * cells.itemsize // limit), -(-plane // PLANE)), most),
        "groups": -(-cells.groups // max(1, limit // of_group)),
        "outputs": 1,
    }
    if kept > 0:
        # Each part reads all weights again, and each range of outputs all cells.
        weights = cells.made * cells.seen * cells.taps
        seen = cells.phases * cells.seen * plane
        pieces = -(-kept * cells.itemsize // limit)
        ways = [
            (parts * weights + -(-pieces // parts) * seen, parts, -(-pieces // parts))
            for parts in range(cuts["parts"], most + 1)
            if -(-pieces // parts) <= tiles or parts == most
        ]
        _, cuts["parts"], outputs = min(ways)
        cuts["outputs"] = min(outputs, tiles)
    return cuts


def _is_shared(cells: Cells, batch: int, weights: int, room: int) -> bool:
    """Whether blocks should share the cells: then each of many weights is read by one of them."""
    if cells.in_place or batch * prod(cells.from_sizes) > PLANE:
        return False
    laid = cells.held(cells.groups, 1, batch, 0, cells.sizes[0])[0]
    return laid * MANY_WEIGHTS <= weights and laid * cells.itemsize <= room // 2
