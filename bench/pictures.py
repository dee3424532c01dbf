"""The two pictures of a run: the times as bars, and what the filters made of the photograph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bench.cases import Array, Convolution
from bench.report import duration_text, fastest, label
from bench.timing import Result

INK, PALE, PAPER = "#22313f", "#8a97a3", "#ffffff"
COLOURS = {"arrayconv": "#1f77b4", "torch": "#e07b39"}
LOOPS = "#a9b4be"

Tile = tuple[str, Array, Array | None]
"""A title, a picture and the kernel that made it."""


def colour(provider: str) -> str:
    return COLOURS.get(provider.partition(" ")[0], LOOPS)


def times_picture(path: Path, cases: Sequence[Convolution], results: Sequence[Result]) -> None:
    """Draw a panel of bars for each case, all on one logarithmic scale."""
    by_case = {
        case.title: [each for each in results if each.task is case and each.samples]
        for case in cases
    }
    by_case = {title: timed for title, timed in by_case.items() if timed}
    if not by_case:
        return
    rows = -(-len(by_case) // 2)
    bars = max(map(len, by_case.values()))
    figure = Figure(figsize=(12.5, rows * (0.36 * bars + 1.0) + 0.9), layout="constrained")
    panels = figure.subplots(rows, 2, sharex=True, squeeze=False).ravel()
    devices = len({result.device for timed in by_case.values() for result in timed})
    for panel, (title, timed) in zip(panels, by_case.items(), strict=False):
        draw_bars(panel, title, timed, devices)
    for panel in panels[len(by_case) :]:
        panel.set_axis_off()
    every = [result.seconds() or 0.0 for timed in by_case.values() for result in timed]
    # Room on the right for what is written behind the longest bar.
    panels[0].set_xlim(min(every) / 3, max(every) * 30)
    figure.suptitle(
        "Time to convolve a photograph (logarithmic; shorter is faster; line: p20 to p80; "
        "hatched: worked out from a crop)",
        color=INK,
        fontsize=11,
    )
    figure.savefig(path, dpi=130, facecolor=PAPER)


def draw_bars(panel: Any, title: str, timed: Sequence[Result], devices: int) -> None:
    winner = fastest(timed)
    for row, result in enumerate(timed):
        low, middle, high = (result.seconds(percentile) or 0.0 for percentile in (20, 50, 80))
        panel.barh(
            row,
            middle,
            height=0.72,
            color=colour(result.name),
            edgecolor=PAPER,
            hatch="////" if result.extrapolated_from else None,
        )
        panel.plot([low, high], [row, row], color=INK, linewidth=1.6, solid_capstyle="butt")
        text = duration_text(middle) + ("  ★" if result is winner else "")
        weight = "bold" if result is winner else "normal"
        panel.text(high * 1.2, row, text, va="center", fontsize=9, color=INK, fontweight=weight)
    panel.set_yticks(range(len(timed)), [label(result, devices) for result in timed], fontsize=9)
    panel.invert_yaxis()
    panel.set_xscale("log")
    panel.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=INK)
    panel.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: duration_text(seconds)))
    panel.tick_params(which="both", colors=INK, length=0, labelbottom=True)
    panel.grid(axis="x", color="#dfe4e8", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[:].set_visible(False)


def maps_picture(
    path: Path, photo: Array, cases: Sequence[Convolution], maps: dict[str, Array]
) -> None:
    """Draw the photograph and each feature map; a filter's numbers stand in its corner."""
    if not maps:
        return
    tiles: list[Tile] = [("the photograph", np.moveaxis(photo[0], 0, -1), None)]
    for case in cases:
        if case.name in maps:
            tiles += tiles_of(case, maps[case.name])
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


def tiles_of(case: Convolution, maps: Array) -> list[Tile]:
    """Return what is worth seeing of a case's maps (1, O, H, W)."""
    if case.groups > 1:
        picture = np.moveaxis(maps[0], 0, -1)
        return [(case.title, np.clip(picture, 0, 1), case.weight[0, 0])]
    titles = {
        "lecture": ["the lecture's filter 1", "the lecture's filter 2"],
        "sobel": ["Sobel x: vertical edges", "Sobel y: horizontal edges"],
    }[case.name]
    bias = np.zeros(len(titles)) if case.bias is None else case.bias
    tiles: list[Tile] = [
        (title, maps[0, o] - bias[o], case.weight[o, 0]) for o, title in enumerate(titles)
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
