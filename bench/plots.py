"""The plots of a run and of its records: bars of times, ratios to the peers, roofline, scaling."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from bench.cases import Case
from bench.feature_maps import INK, PAPER, draw_feature_maps
from bench.records import Record, best_of, by_case, fastest, machine_rates, our_choice
from bench.tables import label
from bench.words import duration_text

COLOURS = {"arrayconv": "#1f77b4", "torch": "#e07b39", "jax": "#6a9f58", "scipy": "#9467bd"}
LOOPS = "#a9b4be"
TIMES, MAPS = "times.png", "feature_maps.png"
FARTHEST = 5
"""Powers of two beyond which a ratio's bar does not grow."""
SIDE_BY_SIDE = 12
"""Cases up to which a run draws a panel of bars for each."""


def colour(provider: str) -> str:
    return COLOURS.get(provider.partition(" ")[0], LOOPS)


def _clean(panel: Any) -> None:
    panel.tick_params(which="both", colors=INK, length=0)
    panel.grid(color="#dfe4e8", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[:].set_visible(False)


def _save(figure: Figure, path: Path) -> None:
    # Without a date and with a fixed salt the same records give the same file.
    metadata = {"Date": None} if path.suffix == ".svg" else None
    with rc_context({"svg.hashsalt": "arrayconv"}):
        figure.savefig(path, dpi=130, facecolor=PAPER, metadata=metadata)


def draw_run(output: Path, cases: Sequence[Case], kept: Sequence[Record]) -> list[str]:
    """Draw what a run shows of itself, in place of the run before; return the files' names."""
    for name in (TIMES, MAPS):
        (output / name).unlink(missing_ok=True)
    groups = by_case(kept)
    if groups and len(groups) <= SIDE_BY_SIDE:
        titles = {case.name: case.title or case.name for case in cases}
        draw_times(output / TIMES, {titles.get(name, name): r for name, r in groups.items()})
    right = {each.case for each in kept if each.checked and each.provider == "arrayconv numpy auto"}
    pictures = [case for case in cases if case.values is not None and case.name in right]
    if pictures:
        draw_feature_maps(output / MAPS, pictures)
    return [name for name in (TIMES, MAPS) if (output / name).exists()]


def draw_times(path: Path, groups: dict[str, Sequence[Record]]) -> None:
    """Draw a panel of bars for each case, all on one logarithmic scale."""
    timed = {
        title: [each for each in kept if each.seconds_median is not None]
        for title, kept in groups.items()
    }
    timed = {title: kept for title, kept in timed.items() if kept}
    if not timed:
        return
    rows = -(-len(timed) // 2)
    bars = max(map(len, timed.values()))
    figure = Figure(figsize=(12.5, rows * (0.36 * bars + 1.0) + 0.9), layout="constrained")
    panels = figure.subplots(rows, 2, sharex=True, squeeze=False).ravel()
    devices = len({each.device for kept in timed.values() for each in kept})
    for panel, (title, kept) in zip(panels, timed.items(), strict=False):
        _draw_bars(panel, title, kept, devices)
    for panel in panels[len(timed) :]:
        panel.set_axis_off()
    every = [each.seconds for kept in timed.values() for each in kept]
    # Room on the right for what is written behind the longest bar.
    panels[0].set_xlim(min(every) / 3, max(every) * 30)
    figure.suptitle(
        "Time of a call (logarithmic; shorter is faster; line: p20 to p80; "
        "hatched: worked out from a part)",
        color=INK,
        fontsize=11,
    )
    _save(figure, path)


def _draw_bars(panel: Any, title: str, kept: Sequence[Record], devices: int) -> None:
    winner = fastest(kept)
    for row, record in enumerate(kept):
        low, high = record.seconds_p20 or 0.0, record.seconds_p80 or 0.0
        panel.barh(
            row,
            record.seconds,
            height=0.72,
            color=colour(record.provider),
            edgecolor=PAPER,
            hatch="////" if record.extrapolated_from else None,
        )
        panel.plot([low, high], [row, row], color=INK, linewidth=1.6, solid_capstyle="butt")
        text = duration_text(record.seconds) + ("  ★" if record is winner else "")
        weight = "bold" if record is winner else "normal"
        panel.text(high * 1.2, row, text, va="center", fontsize=9, color=INK, fontweight=weight)
    panel.set_yticks(range(len(kept)), [label(each, devices) for each in kept], fontsize=9)
    panel.invert_yaxis()
    panel.set_xscale("log")
    panel.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=INK)
    panel.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: duration_text(seconds)))
    _clean(panel)
    panel.tick_params(labelbottom=True)


def _our_library(kept: Sequence[Record]) -> tuple[str, str]:
    """Return the library and device whose calls a file is about: CuPy's on a GPU, else NumPy's."""
    gpus = sorted({each.device for each in kept if each.device.startswith("cuda")})
    return ("cupy", gpus[0]) if gpus else ("numpy", "cpu")


def draw_ratios(path: Path, kept: Sequence[Record]) -> None:
    """Draw how many times the time of our public call each peer takes, case by case."""
    library, device = _our_library(kept)
    rows: list[tuple[str, dict[str, float]]] = []
    for case, each in by_case(kept).items():
        ours = our_choice(each, library, device)
        peers = {peer: best_of(each, peer, device) for peer in ("torch", "jax")}
        ratios = {name: r.seconds / ours.seconds for name, r in peers.items() if r and ours}
        if ratios and not case.startswith("scaling"):
            rows.append((case, ratios))
    figure = Figure(figsize=(9.5, 0.3 * len(rows) + 1.3), layout="constrained")
    panel = figure.subplots()
    for row, (_, ratios) in enumerate(rows):
        for at, (name, ratio) in enumerate(ratios.items()):
            place = row + (at - 0.5) * 0.38
            length = min(FARTHEST, max(-FARTHEST, log2(ratio)))
            panel.barh(place, length, height=0.34, color=COLOURS[name])
            text = f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.0f}"
            side = "left" if ratio >= 1 else "right"
            panel.text(length, place, f" {text} ", va="center", ha=side, fontsize=7, color=INK)
    panel.axvline(0, color=INK, linewidth=1.2)
    panel.set_yticks(range(len(rows)), [case for case, _ in rows], fontsize=8)
    panel.set_ylim(len(rows) - 0.4, -0.6)
    panel.set_xlim(-FARTHEST - 0.7, FARTHEST + 0.9)
    labels = {tick: f"1/{2**-tick}" if tick < 0 else f"{2**tick}" for tick in range(-5, 6)}
    panel.set_xticks(list(labels), list(labels.values()))
    title = f"Time of a peer / time of arrayconv on {library} (right of 1: arrayconv is faster)"
    panel.set_title(title, loc="left", fontsize=10, color=INK)
    handles = [panel.barh(-9, 0, color=COLOURS[name], label=name) for name in ("torch", "jax")]
    panel.legend(handles=handles, loc="lower right", frameon=False, fontsize=8)
    _clean(panel)
    _save(figure, path)


def draw_roofline(path: Path, kept: Sequence[Record]) -> None:
    """Draw each case's rate against its flops a byte, below the machine's own two rates."""
    library, device = _our_library(kept)
    rates = machine_rates(kept)
    copy, product = rates.get((device, "copy")), rates.get((device, "product"))
    figure = Figure(figsize=(7.5, 4.8), layout="constrained")
    panel = figure.subplots()
    points: list[float] = []
    for each in by_case(kept).values():
        named = {
            "arrayconv": our_choice(each, library, device),
            "torch": best_of(each, "torch", device),
        }
        for name, record in named.items():
            if record and record.flops and record.dtype == "float32":
                x, y = record.flops / record.bytes_min, record.flops / record.seconds
                panel.plot(x, y, "o", ms=5, color=COLOURS[name], alpha=0.75, mew=0)
                points.append(x)
    if copy and product and points:
        xs = np.geomspace(min(points) / 2, max(points) * 2, 200)
        panel.plot(xs, np.minimum(xs * copy, product), color=INK, linewidth=1.2)
        panel.text(
            xs[0], xs[0] * copy * 1.4, f"copy: {copy / 1e9:,.0f} GB/s", fontsize=8, color=INK
        )
        text = f"product: {product / 1e9:,.0f} GFLOP/s"
        panel.text(xs[-1], product * 1.15, text, fontsize=8, color=INK, ha="right")
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xlabel("flops of the definition per byte that must move", fontsize=9, color=INK)
    panel.set_ylabel("flops per second", fontsize=9, color=INK)
    title = f"Roofline on {device}: arrayconv on {library} (blue), torch (orange)"
    panel.set_title(title, loc="left", fontsize=10, color=INK)
    _clean(panel)
    _save(figure, path)


def draw_scaling(path: Path, kept: Sequence[Record]) -> None:
    """Draw the time of a 3 x 3 layer as batch, channels, image and kernel grow."""
    curves: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for case, each in by_case(kept).items():
        if not case.startswith("scaling "):
            continue
        _, axis, value = case.split(" ")
        for record in each:
            wanted = record.auto or record.provider in ("nested loops", "torch", "jax")
            if wanted and record.seconds_median is not None:
                named = curves.setdefault(axis, {}).setdefault(
                    label(record, 1).partition(" (")[0], []
                )
                named.append((int(value), record.seconds))
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    panels = figure.subplots(1, max(1, len(curves)), sharey=True, squeeze=False).ravel()
    styles = {"numpy": "-", "torch": "--", "jax": ":", "cupy": "-"}
    for panel, (axis, lines) in zip(panels, curves.items(), strict=False):
        for name, found in lines.items():
            xs, ys = zip(*sorted(found), strict=True)
            style = styles.get(name.split(" ")[1], "-") if name.startswith("arrayconv") else "-"
            panel.plot(
                xs, ys, style, marker="o", ms=3, color=colour(name), label=name, linewidth=1.4
            )
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.set_xticks(xs, [str(x) for x in xs])
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.yaxis.set_major_formatter(FuncFormatter(lambda seconds, _: duration_text(seconds)))
        panel.set_title(axis, loc="left", fontsize=10, color=INK)
        _clean(panel)
    if curves:
        panels[-1].legend(fontsize=7, frameon=False)
    _save(figure, path)


DRAWN = {"ratios": draw_ratios, "roofline": draw_roofline, "scaling": draw_scaling}
