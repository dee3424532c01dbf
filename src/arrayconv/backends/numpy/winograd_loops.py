"""The loops of `compiled_winograd`, compiled by numba: import this by `compiler.loops` only.

A vector holds the same cell of neighbouring tiles of a row. Vectors are written whole: what is past
the end of a row is written again by the next one.
"""

from __future__ import annotations

from typing import Any

from arrayconv.backends.numpy.addresses import whole_lines
from arrayconv.backends.numpy.conv_loops import convolve, tile
from arrayconv.backends.numpy.linear_maps import (
    CELLS,
    COTANGENTS,
    IN_TURNS,
    OUTPUTS,
    WEIGHT,
    multiples,
    transform,
)
from arrayconv.backends.numpy.loop_forms import Loop, compiled_by_form
from arrayconv.backends.numpy.phase_copies import turns_apart
from arrayconv.backends.numpy.registers import VECTOR_BYTES
from arrayconv.backends.numpy.winograd_maps import Square

__all__ = [
    "VECTOR_BYTES",
    "convolve",
    "from_points",
    "tile",
    "to_points",
    "weight_to_points",
]


@compiled_by_form
def to_points(square: Square, of_outputs: bool) -> Loop:
    """Return what transforms the squares of cells that tiles see to points, or tiles of outputs.

    The cells of a channel are ``size``. A tile's row i of column j is ``places[j, i]`` from its
    start, and ``starts`` has those of the runs of ``across`` tiles. A channel has ``tiles``, and
    the points of a tile are ``step`` from one another. ``held`` is a buffer for a square of
    vectors, ``along`` where those of one of its rows are.
    """
    (down, tall), (over, wide) = square
    columns = square.made[1] if of_outputs else square.seen[1]
    points_down, points_across = square.seen
    which = COTANGENTS if of_outputs else CELLS

    def run(
        cells: Any,
        size: Any,
        places: Any,
        starts: Any,
        across: Any,
        channels: Any,
        held: Any,
        along: Any,
        points: Any,
        tiles: Any,
        step: Any,
    ) -> None:
        lanes = along[1]
        line = columns * lanes
        for channel in range(channels):
            for run in range(starts.shape[0]):
                for v in range(0, across, lanes):
                    seen = channel * size + starts[run] + v
                    made = channel * tiles + run * across + v
                    if points_down == 1:
                        one = places.reshape(-1)
                        transform(
                            which,
                            over,
                            wide,
                            cells,
                            one,
                            seen,
                            None,
                            points,
                            made,
                            step,
                        )
                    else:
                        for j in range(columns):
                            transform(
                                which,
                                down,
                                tall,
                                cells,
                                places[j],
                                seen,
                                None,
                                held,
                                j * lanes,
                                line,
                            )
                        for i in range(points_down):
                            to = made + i * points_across * step
                            transform(
                                which,
                                over,
                                wide,
                                held,
                                along,
                                i * line,
                                None,
                                points,
                                to,
                                step,
                            )

    return run


@compiled_by_form
def from_points(square: Square) -> Loop:
    """Return what transforms points to the outputs of tiles, and writes these where they belong.

    An output has ``every`` tiles, and the points of a tile are ``step`` from one another. Its bias
    is the one of ``biases`` from ``first`` on, its results are ``size``; rows of tiles begin with
    those that ``firsts`` has, and make ``width`` results of the given heights from ``starts`` on.
    Lines of results are ``apart`` from one another.
    """
    (down, tall), (over, wide) = square
    rows, columns = square.seen

    def run(
        points: Any,
        step: Any,
        apart: Any,
        every: Any,
        outputs: Any,
        biases: Any,
        first: Any,
        held: Any,
        along: Any,
        result: Any,
        size: Any,
        firsts: Any,
        starts: Any,
        heights: Any,
        width: Any,
    ) -> None:
        lanes = along[1]
        line = columns * lanes
        by_point = along // lanes * step
        by_row = multiples(rows, columns * step)
        tiles = -(-width // over)
        for output in range(outputs):
            bias = biases[first + output]
            for row in range(starts.shape[0]):
                if heights[row] == 0:
                    continue
                for v in range(0, tiles, lanes):
                    seen = output * every + firsts[row] + v
                    to, left = output * size + starts[row] + v * over, width - v * over
                    if rows == 1:
                        transform(
                            IN_TURNS,
                            over,
                            wide,
                            points,
                            by_point,
                            seen,
                            bias,
                            result,
                            to,
                            left,
                        )
                    else:
                        for j in range(columns):
                            transform(
                                OUTPUTS,
                                down,
                                tall,
                                points,
                                by_row,
                                seen + j * step,
                                None,
                                held,
                                j * lanes,
                                line,
                            )
                        for i in range(heights[row]):
                            transform(
                                IN_TURNS,
                                over,
                                wide,
                                held,
                                along,
                                i * line,
                                bias,
                                result,
                                to + i * apart,
                                left,
                            )

    return run


@compiled_by_form
def weight_to_points(square: Square, is_flipped: bool, in_pieces: bool) -> Loop:
    """Return what transforms the kernels of pairs of an output and a channel to points.

    Kernels are rows of ``length``, which begin ``every`` numbers apart in the flat ``weight``, from
    ``first`` on. They are counted by vectors, of each row as many as there are whole, and one for
    the rest. The points of a kernel are ``step`` from one another, and those of neighbours next to
    each other; behind the last there is room for a vector. Kernels ``in_pieces`` are more: of each
    piece ``places`` has a row, where its taps are among the ``size`` of a kernel, or -1.
    """
    (down, tall), (over, wide) = square
    rows, columns = square.seen
    taps = tall * wide

    def run(
        weight: Any,
        points: Any,
        begin: Any,
        end: Any,
        first: Any,
        every: Any,
        length: Any,
        step: Any,
        places: Any,
        size: Any,
    ) -> None:
        lanes = VECTOR_BYTES // weight.itemsize
        half, of_row = taps * lanes, -(-length // lanes)
        # The vectors of a kernel, before and after the map of its columns.
        held = whole_lines(half + rows * wide * lanes, weight)
        held[:] = 0
        by_row, along = multiples(tall, wide * lanes), multiples(columns, lanes)
        of_taps = multiples(taps, lanes)
        for tap in range(taps if is_flipped else 0):
            of_taps[tap] = (taps - 1 - tap) * lanes
        for n in range(begin, end):
            row, v = n // of_row, n % of_row * lanes
            some = min(lanes, length - v)
            # Variables of one branch only: what both share is slow to index by.
            if in_pieces:
                count = places.shape[0]
                kernel, piece = first + v // count * size, v % count
                for number in range(some):
                    for part in range(taps):
                        found = places[piece, part]
                        held[part * lanes + number] = weight[kernel + found] if found >= 0 else 0.0
                    piece += 1
                    if piece == count:
                        kernel, piece = kernel + size, 0
            elif some == lanes:
                turns_apart(taps, weight, first + row * every + v * taps, held, 0, of_taps, 0, None)
            else:
                seen = weight[first + row * every + v * taps :]
                for lane in range(some):
                    for tap in range(taps):
                        place = taps - 1 - tap if is_flipped else tap
                        held[place * lanes + lane] = seen[lane * taps + tap]
            made = row * length + v
            if rows == 1:
                transform(WEIGHT, over, wide, held, along, 0, None, points, made, step)
                continue
            for j in range(wide):
                at = half + j * lanes
                transform(WEIGHT, down, tall, held, by_row, j * lanes, None, held, at, wide * lanes)
            for i in range(rows):
                at, to = half + i * wide * lanes, made + i * columns * step
                transform(WEIGHT, over, wide, held, along, at, None, points, to, step)

    return run
