"""Markdown of records: tables and plots, into a file of their own or between markers in the docs.

A page of the docs holds ``<!-- bench: NAME TABLE -->`` and ``<!-- end of bench -->``; what stands
between them is made anew from ``bench/results/NAME.jsonl``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from bench.environment import REPOSITORY
from bench.markdown import TABLES
from bench.records import Record, read_records

RESULTS = REPOSITORY / "bench" / "results"
PAGES = ("README.md", "docs/benchmarks.md")
IMAGES = REPOSITORY / "docs" / "images"
MARKED = re.compile(r"(<!-- bench: (\S+) (\S+) -->\n).*?(<!-- end of bench -->)", re.DOTALL)


def _plot_text(drawing: str, name: str, kept: Sequence[Record], page: Path, draw: bool) -> str:
    path = IMAGES / f"bench-{name}-{drawing}.svg"
    if draw:
        from bench.plots import DRAWN

        IMAGES.mkdir(exist_ok=True)
        DRAWN[drawing](path, kept)
    elif not path.exists():
        raise ValueError(f"{page} shows {path}, which is not there: python -m bench report")
    return f"![{drawing} of {name}]({os.path.relpath(path, page.parent)})"


PLOTS = ("ratios", "roofline", "scaling")


def rewritten(page: Path, results: Path = RESULTS, draw: bool = True) -> str:
    """Return a page with what stands between its markers made anew; ValueError for a bad one.

    Its plots are drawn too, or, without ``draw``, only looked for.
    """

    def made(match: re.Match[str]) -> str:
        opening, name, what, closing = match.groups()
        source = results / f"{name}.jsonl"
        if not source.exists():
            raise ValueError(f"{page} names the records {name}, and there is no {source}")
        kept = read_records(source)
        if what in TABLES:
            return f"{opening}{TABLES[what](kept)}\n{closing}"
        if what in PLOTS:
            return f"{opening}{_plot_text(what, name, kept, page, draw)}\n{closing}"
        raise ValueError(f"{page} asks for {what!r}: {', '.join((*TABLES, *PLOTS))}")

    return MARKED.sub(made, page.read_text(encoding="utf-8"))


def stale_pages(pages: Sequence[Path]) -> list[Path]:
    """Return the pages whose tables are not those of the committed records; write nothing."""
    return [
        page for page in pages if rewritten(page, draw=False) != page.read_text(encoding="utf-8")
    ]


def write_report(records: Path, output: Path) -> list[str]:
    """Write ``report.md`` and its plots of one file of records; return the files' names."""
    from bench.plots import DRAWN

    kept = read_records(records)
    if not kept:
        raise ValueError(f"{records} holds no record")
    output.mkdir(parents=True, exist_ok=True)
    parts = [f"# Benchmark: {records.stem}"]
    titles = {
        "machine": "The machine",
        "headline": "Loops, the Array API, kernels",
        "summary": "Against the peers",
        "layers": "Case by case",
        "behind": "Where torch is faster",
        "layouts": "Where torch is faster in another layout",
        "aims": "What is aimed at",
        "misses": "What misses that",
        "algorithms": "What auto chooses",
        "precision": "Where less precision is allowed",
        "tf32": "In TF32, where that is allowed",
    }
    for name, render in TABLES.items():
        parts += [f"## {titles[name]}", render(kept)]
    written = ["report.md"]
    for drawing, draw in DRAWN.items():
        path = output / f"{drawing}.svg"
        draw(path, kept)
        parts.append(f"![{drawing}]({path.name})")
        written.append(path.name)
    (output / "report.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return written
