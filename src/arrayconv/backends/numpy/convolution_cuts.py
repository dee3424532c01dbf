"""How `compiled_convolution` cuts its work into blocks."""

from __future__ import annotations

from math import prod

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
PART = 3
"""Times the vectors of a tile that a part has at least of a row that is read where it is."""

Range = tuple[int, int]


def cut(cells: Cells, batch: int, threads: int, limit: int) -> tuple[list[Range], ...]:
    """Return ranges of images, of the first dimension, of groups, and of outputs of each.

    A block of them lays out ``limit`` bytes, or what its least part needs.
    """
    cuts, length = _within(cells, batch, limit), cells.sizes[0]
    tiles = cells.made // cells.tile.outputs
    is_line = cells.in_place and len(cells.window) == 1
    most_parts = length // (PART * cells.slack if is_line else 2 * span(cells.window[0]))
    of_position = cells.groups * cells.made * cells.seen * cells.taps
    multiply_adds = batch * prod(output_sizes(cells.window)) * of_position
    wanted = min(threads, multiply_adds // WORTH_A_THREAD)
    some = min(threads * FEW, multiply_adds // WORTH_A_BLOCK) if threads > 1 else 1
    most_of = {"images": batch, "groups": cells.groups, "parts": most_parts, "outputs": tiles}
    names = ["images", "groups", "parts", "outputs"]
    if cells.in_place and cells.made > length:
        # Each part reads all weights, and each range of outputs all cells.
        names = ["images", "groups", "outputs", "parts"]
    for name in names:
        most = most_of[name]
        # What a cut by outputs lays out each block lays out again.
        blocks = max(wanted, some if cells.in_place or name != "outputs" else 1)
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
    return tuple(found)


def _within(cells: Cells, batch: int, limit: int) -> dict[str, int]:
    """Return into how many images, parts, groups and outputs a block's limit cuts."""
    length, reach = cells.sizes[0], span(cells.window[0])
    laid = cells.held(1, 1, 1, 0, length)[0]
    kept = cells.made * prod(cells.sizes) if cells.phases > 1 else 0
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
