"""How `compiled_winograd` cuts tiles into blocks, and outputs into parts; and what that takes.

Sums hold whole vectors of tiles, three at a time: of 7 tiles a vector of 16 is half empty. So of
the ways to cut that its memory allows, the one is taken whose estimated time is the lowest. What
each way needs is whole numbers only, and no array is made; the estimates are those of `costs`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from math import inf, prod
from typing import NamedTuple

from arrayconv._integers import Ints
from arrayconv._window import Axis, Window, input_sizes, kernel_sizes, output_sizes
from arrayconv.backends.numpy import winograd
from arrayconv.backends.numpy.blocks import SMALLEST_BUDGET
from arrayconv.backends.numpy.winograd import SINGLE, part_of
from arrayconv.backends.numpy.winograd_maps import Line, Square, pieces
from arrayconv.backends.numpy.winograd_maps import square as square_of

ITEMSIZE = 4
CHUNK = 4 << 20
"""Bytes of points that a block holds, of cells and of outputs."""
WHOLE = 8
"""Outputs that are summed up together, at most; parts have multiples of them."""
PART = 512 << 10
"""Bytes of the transformed weight of a part: the second cache holds them until they were used."""
NEAR = 3 << 20
"""Bytes of a transformed weight up to which it is read fast, though it was made long before."""
FAR = 12 << 20
"""Bytes of a transformed weight from which on it is in memory before it is used."""
WORTH_A_THREAD = 1 << 21
"""Multiply-adds below which there is no block for another thread."""

POINT = (0.23, 0.23)
"""Nanoseconds for each of a tile's points: where they are made, and where outputs are made of them;
each row has whole vectors of tiles."""
CELL = {2: 0.35, 3: 0.55, 4: 0.75}
"""And of each cell, laid out by phases; by the outputs of a tile's side."""
WEIGHT_POINTS = (0.0205, 0.05, 0.1)
"""Nanoseconds of a multiply-add, to read a number of the transformed weight, and to make it."""
PIECE_TAP = 1.2
"""And to find a tap of a piece of a kernel, one by one."""
WEIGHT_AWAY, WEIGHT_FAR = 0.15, 0.5
"""And more to read one of a weight that is not near, and of one that is in memory in between."""
SHARED = (1.5, 0.8)
"""Nanoseconds to read a number of the transformed weight, or one of the points of cells, which
another thread has just written: each core has its own caches."""
ONE_LEFT = 0.5
"""Vectors that one takes longer which is left when all others are multiplied by threes."""


class Cut(NamedTuple):
    """How many images, rows of tiles and tiles of a row a block has, at most."""

    images: int
    rows: int
    columns: int


class Runs(NamedTuple):
    """How the tiles that a block sees follow one another in a channel."""

    number: int
    across: int
    """Tiles of a run."""
    pitch: int
    """From one row of tiles to the next."""
    tiles: int
    """Tiles from a channel to the next."""


class Way(NamedTuple):
    """A way to cut a convolution."""

    cut: Cut
    packed: bool
    """Whether all rows of tiles of an image are one run; else each is one by itself."""
    part: int
    """Outputs of a group that are made at a time."""
    transforms: bool
    """Whether the weight of a part is transformed where it is used, in each block anew; else all of
    the weight is before."""
    nanoseconds: float


def tiles_of(axis: Axis, line: Line) -> Axis:
    """Return the axis of a phase whose positions are tiles, and whose taps are a tile's cells."""
    of_phase = -(-axis.out // axis.dilation)
    stride = line.outputs * axis.dilation
    return axis._replace(kernel=line.cells, stride=stride, out=-(-of_phase // line.outputs))


def phases_of(window: Window) -> Ints:
    """Return how many phases of cells there are, of the last two dimensions."""
    return (1, *(axis.dilation for axis in window))[-2:]


def step_of(numbers: int, lanes: int) -> int:
    """Return the step from point to point of so many neighbours, with room for a vector more.

    It is an odd number of vectors, so that the cache has room for the points of a tile.
    """
    return (numbers // lanes | 1) * lanes + 2 * lanes


def pitch_of(square: Square, columns: int) -> int:
    """Return the tiles from one row to the next where rows of ``columns`` tiles are packed."""
    return columns - (-square.width.cells // square.width.outputs) - 1


def runs_of(seen: Cut, square: Square, phases: int, lanes: int, packed: bool) -> Runs:
    """Return how tiles follow one another.

    Where rows are packed into a run, what lies between two of them is counted: tiles of cells of
    both, whose results nobody asks for. Vectors are full then, but for the last one of the run; and
    where there is one run, all of them begin with a line of the cache.
    """
    if not packed:
        count = phases * seen.images * seen.rows
        return Runs(count, seen.columns, seen.columns, count * seen.columns)
    pitch = pitch_of(square, seen.columns)
    count, across = phases * seen.images, (seen.rows - 1) * pitch + seen.columns
    return Runs(count, across, pitch, -(-across // lanes) * lanes if count == 1 else count * across)


def packed_runs(window: Window, square: Square, batch: int, lanes: int) -> Runs:
    """Return how all tiles of a window follow one another where rows are packed."""
    whole = (SINGLE,) * (2 - len(window)) + window
    rows, columns = (tiles_of(*each).out for each in zip(whole, square, strict=True))
    return runs_of(Cut(batch, rows, columns), square, prod(phases_of(window)), lanes, True)


def _equal(count: int) -> list[int]:
    """Return the sizes of equal parts, the largest first."""
    found, parts = [], 1
    while parts <= count:
        size = -(-count // parts)
        found.append(size)
        # The next number of parts whose size is less.
        parts = -(-count // (size - 1)) if size > 1 else count + 1
    return found


class _Tiles(NamedTuple):
    """The tiles of a convolution, and what it sees and makes of them."""

    square: Square
    lengths: Ints
    """Images, rows of tiles and tiles of a row, of one phase."""
    pieces: Ints
    """Of the kernel. Tiles are seen for each, and so some more than there are of outputs."""
    phases: int
    channels: int
    outputs: int
    groups: int
    lanes: int

    @property
    def weights(self) -> int:
        """Return the points of the weight."""
        of_output = self.channels * prod(self.pieces) // self.groups
        return self.square.points * self.outputs * of_output

    def seen(self, cut: Cut) -> Cut:
        """Return the tiles that a block sees."""
        down, across = self.pieces
        return Cut(cut.images, cut.rows + down - 1, cut.columns + across - 1)

    def cuts(self) -> Iterator[Cut]:
        """Yield the ways to cut tiles."""
        batch, height, width = self.lengths
        for images in _equal(batch)[:-1]:
            yield Cut(images, height, width)
        # Rows of squares are not cut: where they meet, cells would be transformed twice.
        columns = [width]
        if self.square.seen[0] == 1:
            columns += [each * self.lanes for each in _equal(-(-width // self.lanes))[1:]]
        for each in columns:
            for rows in _equal(height):
                yield Cut(1, rows, each)

    def cells(self, cut: Cut) -> int:
        """Return the cells that a block sees of a channel, with as many in each phase of a tile."""
        lines = zip(self.square, self.seen(cut)[1:], strict=True)
        seen = ((count - 1 - (-line.cells // line.outputs)) * line.outputs for line, count in lines)
        return self.phases * cut.images * prod(seen)

    def runs(self, cut: Cut, packed: bool) -> Runs:
        """Return how the tiles that a block sees follow one another."""
        return runs_of(self.seen(cut), self.square, self.phases, self.lanes, packed)

    def numbers(self, cut: Cut, packed: bool, part: int, transforms: bool, workers: int) -> int:
        """Return the numbers that are held by blocks, of which each worker has one.

        They are points, and cells or then points of a part's outputs; and the weight of a part.
        """
        tiles, square = self.runs(cut, packed).tiles, self.square.points
        beyond = square * self.lanes
        points = square * step_of(self.channels * tiles, self.lanes) + beyond
        cells = self.channels * self.cells(cut) + beyond
        made = square * step_of(part * self.groups * tiles, self.lanes) + beyond
        pairs = part * self.channels * prod(self.pieces)
        weight = transforms * square * (pairs + 2 * self.lanes)
        if transforms and cut == self.lengths:
            # Threads share the parts; the cells are gone by then.
            workers = min(workers, -(-self.outputs // part))
            return points + max(cells, (made + weight) * workers)
        count = prod(-(-length // size) for length, size in zip(self.lengths, cut, strict=True))
        return (points + max(cells, made) + weight) * min(workers, count)

    def sizes(self, cut: Cut) -> Iterator[tuple[Cut, int]]:
        """Yield the sizes of blocks, and how many of them there are."""
        each = []
        for length, size in zip(self.lengths, cut, strict=True):
            whole, rest = divmod(length, size)
            each.append([(size, whole), (rest, 1)] if rest else [(size, whole)])
        for sizes in product(*each):
            yield Cut(*(size for size, _ in sizes)), prod(count for _, count in sizes)

    def block(self, cut: Cut, packed: bool) -> tuple[float, float]:
        """Return the nanoseconds of a block: to see its tiles, and to make its outputs."""
        points, lanes = self.square.points, self.lanes
        multiply_add, read, _ = WEIGHT_POINTS
        to_points, from_points = POINT
        seen, runs, (down, across) = self.seen(cut), self.runs(cut, packed), self.pieces
        # Those that later pieces alone see are not multiplied.
        beyond = (down - 1) * runs.pitch + across - 1
        vectors = -(-(runs.number * runs.across - beyond) // lanes)
        multiplied = (vectors + ONE_LEFT * (vectors % 3 == 1)) * lanes
        made = self.phases * seen.images * seen.rows * -(-seen.columns // lanes) * lanes * points
        transformed = runs.number * -(-runs.across // lanes) * lanes * points
        cells = self.channels * self.cells(cut) * CELL[self.square.width.outputs]
        return (
            transformed * self.channels * to_points + cells,
            made * self.outputs * from_points + self.weights * (multiplied * multiply_add + read),
        )

    def part(self, workers: int) -> int:
        """Return the outputs of a part whose transformed weight is small; each worker has some."""
        each = ITEMSIZE * self.weights * self.groups // self.outputs
        count = -(-self.outputs // (max(2, PART // each // WHOLE) * WHOLE))
        count = -(-count // workers) * workers
        return -(-self.outputs // count // WHOLE) * WHOLE

    def ways(
        self, bytes_in_and_out: int, workspace_bytes: int, prepared: bool, workers: int
    ) -> Iterator[tuple[int, bool, int]]:
        """Yield the outputs of a part, whether its weight is transformed there, and blocks' room.

        They may hold as much as input and output, together with a weight that is transformed; where
        the weight is larger, each worker a quarter of it, since each block reads all of it, or if
        it is not held here all of that too.
        """
        outputs, weights, part = (
            self.outputs // self.groups,
            ITEMSIZE * self.weights,
            self.part(workers),
        )
        part, most = min(part, outputs), min(CHUNK, workspace_bytes) * workers
        alone = max(min(most, max(SMALLEST_BUDGET, bytes_in_and_out)), weights * 5 // 4 * workers)
        left = max(SMALLEST_BUDGET, bytes_in_and_out - weights)
        room = alone if prepared else max(min(most, left), weights // 4 * workers)
        # A prepared weight is transformed anew too where that is faster than to read it.
        if self.groups == 1 and (part < outputs or workers > 1):
            yield part, True, alone
        if self.groups == 1 and part < outputs:
            yield part, False, room
        yield outputs, False, room

    def time(
        self, cut: Cut, packed: bool, part: int, transforms: bool, prepared: bool, workers: int
    ) -> float:
        """Return the nanoseconds of all blocks, and of the weight, if it is not prepared."""
        weights = self.weights
        ready = prepared and not transforms
        each = WEIGHT_POINTS[2]
        if prod(self.pieces) > 1:
            each += PIECE_TAP * prod(line.kernel for line in self.square) / self.square.points
        of_weight = 0.0 if ready else weights * each
        blocks = [(*self.block(each, packed), count) for each, count in self.sizes(cut)]
        count = sum(count for _, _, count in blocks)
        if not transforms and weights * ITEMSIZE > NEAR:
            blocks = [(see, make + weights * WEIGHT_AWAY, each) for see, make, each in blocks]
        if not transforms and weights * ITEMSIZE > FAR:
            # It is written and read, or if it is prepared read only.
            of_weight += weights * WEIGHT_FAR / (2 if ready else 1)
        if workers == 1:
            times = count if transforms else 1
            return sum((see + make) * each for see, make, each in blocks) + of_weight * times
        see, make, _ = blocks[0]
        if not transforms:
            each = (see + make) * -(-count // workers)
            return each + of_weight / workers + (0 if ready else weights * SHARED[0])
        if count > 1:
            return (see + make + of_weight) * -(-count // workers)
        # Threads share the parts.
        parts, points = -(-self.outputs // part), self.square.points * self.phases * prod(cut)
        each = (make + of_weight) * -(-parts // workers) / parts
        return see + each + self.channels * points * SHARED[1]


@lru_cache(maxsize=1024)
def way(
    window: Window,
    batch: int,
    channels: int,
    outputs: int,
    groups: int,
    tile: Ints,
    lanes: int,
    workspace_bytes: int,
    threads: int = 1,
    prepared: bool = False,
) -> Way:
    """Return the way to cut a convolution of float32 that is estimated to take the least time.

    If no way is within its memory, it is the smallest block.
    """
    kernel = kernel_sizes(window)
    square, whole = square_of(kernel, tile), (SINGLE,) * (2 - len(window)) + window
    lengths = (batch, *(tiles_of(*each).out for each in zip(whole, square, strict=True)))
    known = (prod(phases_of(window)), channels, outputs, groups, lanes)
    tiles = _Tiles(square, lengths, pieces(kernel, square), *known)
    multiply_adds = tiles.weights * tiles.phases * prod(lengths)
    workers = max(1, min(threads, multiply_adds // WORTH_A_THREAD))
    cells = batch * (channels * prod(input_sizes(window)) + outputs * prod(output_sizes(window)))
    cuts = list(tiles.cuts())
    best = Way(cuts[-1], False, outputs // groups, False, inf)
    for part, transforms, room in tiles.ways(ITEMSIZE * cells, workspace_bytes, prepared, workers):
        for cut, packed in product(cuts, (True, False)):
            if tiles.numbers(cut, packed, part, transforms, workers) * ITEMSIZE <= room:
                time = tiles.time(cut, packed, part, transforms, prepared, workers)
                if time < best.nanoseconds:
                    best = Way(cut, packed, part, transforms, time)
    if best.nanoseconds == inf:
        time = tiles.time(best.cut, False, best.part, False, prepared, workers)
        best = best._replace(nanoseconds=time)
    return best


def cut_of_gradient(window: Window, square: Square, batch: int, numbers: int, limit: int) -> Cut:
    """Return the cut whose blocks have ``numbers`` for each of a tile's points, and for each cell.

    That is no more than a limit, but for a row of tiles.
    """
    height, width = map(tiles_of, (SINGLE,) * (2 - len(window)) + window, square)
    cells, columns = prod(square.made), width.out
    of_point = numbers * prod(phases_of(window))
    if square.seen[0] == 1:
        # Whole vectors of tiles.
        per_tile = of_point * (square.points + cells)
        columns = min(columns, -(-part_of(columns, limit // per_tile) // 16) * 16)
        return Cut(max(1, min(batch, limit // (per_tile * columns))), 1, columns)
    pitch = pitch_of(square, columns)

    def held(rows: int) -> int:
        # Tiles between two rows count, in whole vectors; and cells of the rows behind the last.
        tiles = -(-rows * pitch // 16) * 16
        seen = (rows + pitch_of(square, 0)) * pitch
        return of_point * (square.points * tiles + cells * seen)

    images = max(1, min(batch, limit // held(height.out)))
    rows = next((each for each in _equal(height.out) if held(each) <= limit), 1)
    return Cut(images, rows, columns)


def limit_of_gradient(bytes_in_and_out: int, weights: int) -> int:
    """Return the numbers that a block may have where products are added to those of a weight.

    If these are many, it is done few times.
    """
    limit = min(winograd.room(bytes_in_and_out, weights * ITEMSIZE), CHUNK // ITEMSIZE)
    return max(limit, weights)
