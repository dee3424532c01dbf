"""What the filters made of the photograph, drawn with the filters' numbers in a corner."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import arrayconv as ac
from bench.cases import Array, Case

INK, PALE, PAPER = "#22313f", "#8a97a3", "#ffffff"

Tile = tuple[str, Array, Array | None]
"""A title, a picture and the kernel that made it."""


def draw_feature_maps(path: Path, cases: Sequence[Case]) -> None:
    """Draw the photograph and each feature map; a filter's numbers stand in its corner."""
    photo = max((case.arrays()[0] for case in cases), key=lambda array: array.shape[1])
    picture = np.moveaxis(photo[0], 0, -1)
    tiles: list[Tile] = [("the photograph", picture.squeeze(), None)]
    for case in cases:
        tiles += tiles_of(case, ac.conv2d(*case.arrays(), **case.params))
    columns = 4
    rows = -(-len(tiles) // columns)
    height, width = photo.shape[2:]
    size = 3.1
    figure = Figure(
        figsize=(columns * size, rows * (size * height / width + 0.34) + 0.4),
        layout="constrained",
    )
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels:
        panel.set_axis_off()
    for panel, (title, values, kernel) in zip(panels, tiles, strict=False):
        draw_map(panel, title, values, kernel)
    figure.suptitle(
        "Feature maps of arrayconv.conv2d   (grey: zero is mid-grey, dark below, light above)",
        color=INK,
        fontsize=11,
    )
    figure.savefig(path, dpi=110, facecolor=PAPER)


def tiles_of(case: Case, maps: Array) -> list[Tile]:
    """Return what is worth seeing of a case's maps (1, O, H, W)."""
    _, weight, *biases = case.arrays()
    if case.groups > 1:
        picture = np.moveaxis(maps[0], 0, -1)
        return [(case.title, np.clip(picture, 0, 1), weight[0, 0])]
    titles = {
        "lecture": ["the lecture's filter 1", "the lecture's filter 2"],
        "sobel": ["Sobel x: vertical edges", "Sobel y: horizontal edges"],
    }[case.name]
    bias = biases[0] if biases else np.zeros(len(titles))
    tiles: list[Tile] = [
        (title, maps[0, o] - bias[o], weight[o, 0]) for o, title in enumerate(titles)
    ]
    if case.name == "sobel":
        strength = np.hypot(maps[0, 0], maps[0, 1])
        tiles.append(("Sobel: strength of edges", strength, None))
    return tiles


def draw_map(panel: Any, title: str, values: Array, kernel: Array | None) -> None:
    panel.set_title(title, fontsize=10.5, color=INK)
    if values.ndim == 3:
        panel.imshow(values)
    else:
        # A few extreme cells would leave the rest flat.
        limit = float(np.percentile(np.abs(values), 99)) or 1.0
        signed = bool((values < 0).any())
        panel.imshow(values, cmap="gray", vmin=-limit if signed else 0, vmax=limit)
    if kernel is not None:
        parts = whole_parts(kernel)
        if parts > 1:
            panel.set_title(f"{title} (/ {parts})", fontsize=10.5, color=INK)
        draw_kernel(panel.inset_axes((0.02, 0.98 - 0.26, 0.30, 0.26)), kernel * parts)


def whole_parts(kernel: Array) -> int:
    """Return the power of two by which a kernel's binary fractions become whole numbers."""
    parts = 1
    while (kernel * parts != np.rint(kernel * parts)).any():
        parts *= 2
    return parts


def draw_kernel(inset: Any, kernel: Array) -> None:
    """Write a kernel's numbers in a small grid, positive ones on red and negative ones on blue."""
    limit = float(np.abs(kernel).max())
    inset.imshow(kernel, cmap="RdBu_r", vmin=-2 * limit, vmax=2 * limit, aspect="auto")
    size = 8 if len(kernel) <= 3 else 5.5
    for (row, column), value in np.ndenumerate(kernel):
        number = f"{value:.0f}".replace("-", "\N{MINUS SIGN}")
        inset.text(column, row, number, ha="center", va="center", fontsize=size)
    inset.set_xticks([])
    inset.set_yticks([])
    inset.spines[:].set_color(PALE)
