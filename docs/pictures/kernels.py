"""What the threads of a CUDA kernel do."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from arrayconv.backends.cupy.tiles import QUAD, CudaCores

TILE, STEPS = CudaCores(16, 2, 2), 8
WARP, ONE, PLAIN = "#8ab17d", "#e76f51", (0.5, 0.6, 0.8, 0.22)


def _quads(thread: int) -> tuple[list[int], list[int]]:
    """Return the first rows and columns of a thread's quads, as cuda_cores.cuh has them."""
    across = 256 // TILE.row_threads
    warp, lane = divmod(thread, 32)
    row = warp // (across // 8) * 4 + lane // 8
    column = warp % (across // 8) * 8 + lane % 8
    rows = [(quad * TILE.row_threads + row) * QUAD for quad in range(TILE.row_quads)]
    return rows, [(quad * across + column) * QUAD for quad in range(TILE.column_quads)]


def product_tile() -> Figure:
    """A tile of an implicit product: what a warp and one of its threads compute."""
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    parts: Any = figure.subplots(
        2, 2, width_ratios=(1, 4), height_ratios=(1, 4), sharex="col", sharey="row"
    )
    corner, right, left, result = parts.flat
    corner.set_axis_off()

    def box(axes: Any, x: int, y: int, width: int, height: int, colour: Any) -> None:
        axes.add_patch(Rectangle((x, y), width, height, fc=colour, ec="none"))

    # A step is drawn three cells wide: there are 8 of them.
    wide = 3
    for axes, columns, rows in (
        (right, TILE.columns, STEPS * wide),
        (left, STEPS * wide, TILE.rows),
        (result, TILE.columns, TILE.rows),
    ):
        box(axes, 0, 0, columns, rows, PLAIN)
        axes.set(xlim=(0, columns), ylim=(rows, 0), xticks=[], yticks=[])
    for colour, threads in ((WARP, range(64, 96)), (ONE, (77,))):
        firsts = [_quads(thread) for thread in threads]
        for row in {row for rows, _ in firsts for row in rows}:
            box(left, 0, row, STEPS * wide, QUAD, colour)
        for column in {column for _, columns in firsts for column in columns}:
            box(right, column, 0, QUAD, STEPS * wide, colour)
        for of_rows, of_columns in firsts:
            for row in of_rows:
                for column in of_columns:
                    box(result, column, row, QUAD, QUAD, colour)
    for step in range(1, STEPS):
        right.axhline(step * wide, lw=0.4, color="gray")
        left.axvline(step * wide, lw=0.4, color="gray")
    right.set_title(f"{STEPS} taps of {TILE.columns} positions, read from x", fontsize=9)
    left.set_xlabel(f"{STEPS} weights of\n{TILE.rows} outputs")
    result.set_xlabel(
        f"{TILE.rows} outputs at {TILE.columns} positions; green: a warp; red: a thread"
    )
    return figure
