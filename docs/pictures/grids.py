"""Small arrays as grids of cells: the window, im2col, products, pools and counts."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

import arrayconv as ac
from arrayconv import draw
from arrayconv.draw.grids import PADDING, PLAIN, SEEN

LECTURE = np.array(
    [
        [7, 6, 8, 5, 1, 3],
        [8, 6, 5, 3, 5, 5],
        [9, 1, 1, 5, 3, 5],
        [4, 5, 5, 9, 2, 6],
        [9, 5, 3, 1, 2, 2],
        [4, 4, 8, 8, 9, 8],
    ]
)

FILTERS = np.array(
    [[[[1, 1, 0], [-1, 1, -1], [0, -1, -1]]], [[[1, 1, 0], [-1, 1, -1], [-1, 0, -1]]]]
)

MAPS = ac.conv2d(LECTURE[None, None], FILTERS, np.ones(2, int))[0]


def sliding() -> list[Figure]:
    """The first filter of the lecture slides over its picture."""
    return [draw.window(LECTURE, 3, position=place, output=MAPS[0]) for place in range(16)]


def stride() -> Figure:
    """A window that moves by two cells."""
    output = ac.conv2d(LECTURE[None, None], FILTERS[:1], stride=2)[0, 0] + 1
    return draw.window(LECTURE, 3, stride=2, position=1, output=output)


def padding() -> Figure:
    """A window over the padded picture."""
    output = ac.conv2d(LECTURE[None, None], FILTERS[:1], padding=1)[0, 0] + 1
    return draw.window(LECTURE, 3, padding=1, position=0, output=output)


def dilation() -> Figure:
    """A window whose taps lie apart."""
    output = ac.conv2d(LECTURE[None, None], FILTERS[:1], dilation=2)[0, 0] + 1
    return draw.window(LECTURE, 3, dilation=2, position=3, output=output)


def im2col() -> Figure:
    """The im2col matrix of the lecture's picture."""
    return draw.columns(LECTURE, 3)


def im2col_channels() -> Figure:
    """The im2col matrix of two channels, with padding."""
    return draw.columns(np.arange(1, 19).reshape(2, 3, 3), 2, padding=1)


def filling() -> list[Figure]:
    """The im2col matrix fills up, a column for each position of the window."""
    small = LECTURE[:4, :5]
    matrix = ac.unfold(small[None, None], 3)[0].astype(float)
    meshes: Any = draw.columns(small, 3).axes[1].collections
    colours = meshes[0].get_array()
    frames = []
    for place in range(matrix.shape[1]):
        figure = draw.columns(small, 3)
        left, right = figure.axes
        seen = ac.unfold(np.arange(20).reshape(1, 1, 4, 5), 3)[0, :, place]
        meshes = left.collections
        faces = meshes[0].get_array().copy()
        dim = np.ones(20, bool)
        dim[seen] = False
        faces.reshape(-1, 4)[dim, 3] = 0.25
        left.clear()
        draw.cells(left, small, faces, "input 4 x 5")
        right.clear()
        shown, pale = matrix.copy(), np.array(colours)
        shown[:, place + 1 :] = np.nan
        pale[:, place + 1 :] = PADDING
        draw.cells(right, shown, pale, f"column {place + 1} of {matrix.shape[1]}")
        frames.append(figure)
    return frames


def product() -> Figure:
    """Convolution as one product of matrices."""
    matrix = ac.unfold(LECTURE[None, None], 3)[0]
    rows = FILTERS.reshape(2, 9)
    figure = Figure(figsize=(9.4, 3.6), layout="constrained")
    parts: Any = figure.subplots(2, 2, width_ratios=(9, 16), height_ratios=(9, 2))
    corner, above, left, result = parts.flat
    corner.set_axis_off()
    place = 5

    def marked(shape: tuple[int, int], row: Any, column: Any) -> Any:
        colours = np.broadcast_to(PLAIN, (*shape, 4)).copy()
        colours[row, column] = SEEN
        return colours

    draw.cells(above, matrix, marked(matrix.shape, slice(None), place), "columns 9 x 16")
    draw.cells(left, rows, marked(rows.shape, 0, slice(None)), "kernels 2 x 9")
    made = MAPS.reshape(2, 16)
    draw.cells(result, made, marked(made.shape, 0, place), "kernels @ columns + bias: maps 2 x 16")
    return figure


def counts() -> Figure:
    """How many 3 x 3 windows see each cell."""
    return draw.fold_counts(6, 3)


def counts_stride() -> Figure:
    """The same with a stride of two: uneven."""
    return draw.fold_counts(7, 3, stride=2)


def pooling() -> Figure:
    """What a 2 x 2 max pool takes of the lecture's first map."""
    return draw.pooling(MAPS[0], 2)


def adaptive() -> Figure:
    """Ten cells in four parts: from floor to ceiling, so that neighbours may share a cell."""
    size, parts = 10, 4
    figure = Figure(figsize=(6, 1.9), layout="constrained")
    axes = figure.subplots()
    values = np.arange(size)[None]
    draw.cells(axes, values, title=f"{size} cells, output_size={parts}")
    axes.set(ylim=(parts + 0.8, -0.6), aspect="auto")
    for part in range(parts):
        start, stop = part * size // parts, -(-(part + 1) * size // parts)
        row = part + 1
        axes.plot([start - 0.4, stop - 0.6], [row, row], lw=7, color="#00868b", alpha=0.8)
        words = f"part {part}: cells {start} to {stop - 1}"
        axes.text(
            stop - 0.2 if part < 3 else start - 0.7,
            row,
            words,
            va="center",
            fontsize=8,
            ha="left" if part < 3 else "right",
        )
    return figure
