"""How blocks of threads divide a product of matrices into tiles, and into which."""

from __future__ import annotations

from typing import NamedTuple

from arrayconv.backends.cupy.geometry import Tiled
from arrayconv.backends.cupy.launch import THREADS

QUAD = 4


class CudaCores(NamedTuple):
    """A tile whose threads multiply in registers: see cuda_cores.cuh."""

    row_threads: int
    row_quads: int
    column_quads: int

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
        return f"CudaCores<{self.row_threads}, {self.row_quads}, {self.column_quads}>"

    @property
    def cost(self) -> float:
        """The time of a step, in products: one for each, and for each number that is read."""
        reads = 1 / (QUAD * self.row_quads) + 1 / (QUAD * self.column_quads)
        return self.rows * self.columns * (1 + 2 * reads)

    @property
    def steps(self) -> int:
        """Steps of the reduction that are brought into shared memory at once."""
        return 8

    def fits(self, kind: str) -> bool:
        """Whether a thread's registers and a block's shared memory have room."""
        size = _BYTES.get(kind, 4)
        sums = QUAD * self.row_quads * QUAD * self.column_quads * size
        # Twice a run of steps, and a few bytes for the steps themselves.
        shared = 2 * self.steps * ((self.rows + self.columns) * size + 64)
        return sums <= MOST_SUMS and shared <= MOST_SHARED


class TensorCores(NamedTuple):
    """A tile that is multiplied by tensor cores: see tensor_cores.cuh."""

    row_tiles: int
    column_tiles: int

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
        return f"TensorCores<{self.row_tiles}, {self.column_tiles}>"

    @property
    def cost(self) -> float:
        """The time of a step: a product is short, and most of it is to read what it needs."""
        return self.rows * self.columns / 8 + 12 * (self.rows + self.columns)

    @property
    def steps(self) -> int:
        """Steps of the reduction that are brought into shared memory at once."""
        return 16

    def fits(self, kind: str) -> bool:
        """Whether tensor cores multiply this type."""
        return kind in ("float", "Float16", "BFloat16")


Tile = CudaCores | TensorCores
TILES: tuple[Tile, ...] = (
    *(CudaCores(16, 2, 2), CudaCores(16, 1, 2), CudaCores(16, 1, 1), CudaCores(4, 1, 1)),
    *(TensorCores(4, 4), TensorCores(2, 4), TensorCores(2, 2), TensorCores(1, 4)),
)
"""128 x 128, 64 x 128, 64 x 64, and 16 x 256 (or 32 x 128) for groups of few outputs."""
AHEAD = 64
"""Steps beyond the last one that threads look at, and more."""
_BYTES = {"double": 8, "Long": 8, "Complex<float>": 8, "Complex<double>": 16}
"""Of the numbers that are summed; all others have 4."""
MOST_SUMS = 256
"""Bytes of a thread's sums that its registers have room for beside the rest."""
MOST_SHARED = 48 << 10
"""Bytes of shared memory that every GPU gives to a block."""
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
