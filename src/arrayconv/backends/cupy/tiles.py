"""How blocks of threads divide a product of matrices into tiles, and into which."""

from __future__ import annotations

from typing import NamedTuple

from arrayconv.backends.cupy.geometry import Tiled
from arrayconv.backends.cupy.launch import THREADS

QUAD = 4
COPY = 16
"""Bytes of the largest copy, and of what is left over at the end of a line in shared memory."""
WORD = 4
"""Bytes of what tensor cores take at once."""


class CudaCores(NamedTuple):
    """A tile whose threads multiply in registers: see cuda_cores.cuh."""

    row_threads: int
    row_quads: int
    column_quads: int
    stages: int = 2
    """Of the ring in shared memory; what is on its way is for all but one of them."""

    @property
    def rows(self) -> int:
        """Rows of the product in a tile."""
        return self.row_threads * QUAD * self.row_quads

    @property
    def columns(self) -> int:
        """Columns of the product in a tile."""
        return THREADS // self.row_threads * QUAD * self.column_quads

    @property
    def argument(self) -> str:
        """The argument of the template."""
        return f"CudaCores<{', '.join(map(str, self))}>"

    @property
    def cost(self) -> float:
        """The time of a step, in products: one for each, and for each number that is read."""
        reads = 1 / (QUAD * self.row_quads) + 1 / (QUAD * self.column_quads)
        return self.rows * self.columns * (1 + 2 * reads)

    @property
    def steps(self) -> int:
        """Steps of the reduction that are brought into shared memory at once."""
        return 8

    def ring(self, kind: str, along_steps: bool) -> int:
        """Return the bytes of the ring in shared memory: lines of rows and of columns."""
        line = (self.rows + self.columns) * _BYTES.get(kind, 4) + 2 * COPY
        return self.stages * self.steps * line

    def run(self, kind: str, most: int) -> int:
        """Return how many steps of a row a copy brings: they are not in one line of the ring."""
        return 1

    def fits(self, kind: str) -> bool:
        """Whether a thread's registers and a block's shared memory have room."""
        sums = QUAD * self.row_quads * QUAD * self.column_quads * _BYTES.get(kind, 4)
        return sums <= MOST_SUMS and self.ring(kind, False) + _terms(self) <= MOST_SHARED


class TensorCores(NamedTuple):
    """A tile that is multiplied by tensor cores: see tensor_cores.cuh."""

    row_tiles: int
    column_tiles: int
    stages: int = 3
    """Of the ring in shared memory; what is on its way is for all but one of them."""

    @property
    def rows(self) -> int:
        """Rows of the product in a tile."""
        return 2 * 16 * self.row_tiles

    @property
    def columns(self) -> int:
        """Columns of the product in a tile."""
        return 4 * 8 * self.column_tiles

    @property
    def argument(self) -> str:
        """The argument of the template."""
        return f"TensorCores<{', '.join(map(str, self))}>"

    @property
    def cost(self) -> float:
        """The time of a step: a product is short, and most of it is to read what it needs."""
        return self.rows * self.columns / 8 + 12 * (self.rows + self.columns)

    @property
    def steps(self) -> int:
        """Steps of the reduction that are brought into shared memory at once."""
        return 16

    def ring(self, kind: str, along_steps: bool) -> int:
        """Return the bytes of the ring in shared memory: the steps of rows and of columns."""
        words = self.steps * _MULTIPLIED[kind] // WORD
        by_place, by_word = COPY + words * WORD, words * (self.columns + 8) * WORD
        of_columns = self.columns * by_place if along_steps else by_word
        return self.stages * (self.rows * by_place + of_columns)

    def run(self, kind: str, most: int) -> int:
        """Return how many steps of a row a copy brings, of runs of ``most`` in memory."""
        whole = COPY // _MULTIPLIED[kind]
        return whole if most % whole == 0 else 1

    def fits(self, kind: str) -> bool:
        """Whether tensor cores multiply this type, and a block's shared memory has room."""
        if kind not in _MULTIPLIED:
            return False
        ring = max(self.ring(kind, along_steps) for along_steps in (False, True))
        return ring + _terms(self) <= MOST_SHARED_ASKED


Tile = CudaCores | TensorCores


def _terms(tile: Tile) -> int:
    """Return the bytes of shared memory beside the ring: the largest terms of columns and steps."""
    return 32 * tile.columns + 48 * tile.stages * tile.steps


TILES: tuple[Tile, ...] = (
    *(CudaCores(16, 2, 2), CudaCores(16, 1, 2), CudaCores(16, 1, 1), CudaCores(4, 1, 1)),
    *(TensorCores(4, 4), TensorCores(2, 4), TensorCores(2, 2), TensorCores(1, 4)),
)
"""128 x 128, 64 x 128, 64 x 64, and 16 x 256 (or 32 x 128) for groups of few outputs."""
AHEAD = 128
"""Steps beyond the last one that threads look at, and more."""
_SMALL = {"Byte": 1, "Short": 2}
_BYTES = {**_SMALL, "double": 8, "Long": 8, "Complex<float>": 8, "Complex<double>": 16}
"""Of the numbers that are summed; all others have 4."""
_MULTIPLIED = {"float": 4, "Float16": 2, "BFloat16": 2}
"""Bytes of the numbers that tensor cores multiply."""
MOST_SUMS = 256
"""Bytes of a thread's sums that its registers have room for beside the rest."""
MOST_SHARED = 48 << 10
"""Bytes of shared memory that every GPU gives to a block."""
MOST_SHARED_ASKED = 99 << 10
"""Bytes that every GPU from sm_80 on gives to a block that asks for them."""
MULTIPROCESSORS = 132
"""Blocks that run at once on the GPU that tiles are chosen for (an H200)."""
LEAST_STEPS = 512
"""Steps of a part of a sum: fewer are not worth a block of their own."""


def tiles_of(kind: str, tensor: bool) -> tuple[Tile, ...]:
    """Return the tiles that a type may have, on tensor cores or on CUDA cores."""
    wanted = TensorCores if tensor else CudaCores
    return tuple(each for each in TILES if isinstance(each, wanted) and each.fits(kind))


def divided(
    tensor: bool,
    kind: str,
    rows: int,
    columns: int,
    steps: int,
    groups: int,
    phases: int = 1,
    in_parts: bool = False,
) -> tuple[Tile, Tiled]:
    """Return the tile of least time, and how it divides a product.

    The time is an estimate that counts whole waves of blocks; ``in_parts``, sums are divided
    further until the blocks fill the GPU.
    """

    def time(tile: Tile) -> float:
        blocks = -(-rows // tile.rows) * -(-columns // tile.columns) * groups * phases
        waves = blocks if in_parts else -(-blocks // MULTIPROCESSORS) * MULTIPROCESSORS
        return waves * tile.cost

    tile = min(tiles_of(kind, tensor), key=time)
    row_tiles, column_tiles = -(-rows // tile.rows), -(-columns // tile.columns)
    parts, run = 1, tile.steps
    if in_parts:
        blocks = row_tiles * column_tiles * groups
        parts = max(1, min(2 * MULTIPROCESSORS // blocks, steps // LEAST_STEPS))
    steps_each = max(1, -(-steps // (parts * run))) * run
    parts = max(1, -(-steps // steps_each))
    sizes = (rows, columns, steps, steps_each, groups, parts, phases, row_tiles, column_tiles)
    return tile, Tiled(*sizes)
