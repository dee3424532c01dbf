"""What is shown and kept: the table on the screen, and the records in a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from bench.cases import Convolution
from bench.timing import Result

BASELINES = ("nested loops", "position loop")
OURS, PEERS = "arrayconv conv2d", "torch"


@dataclass(frozen=True)
class Record:
    """One line of the records: a provider at a case. None is "does not apply"."""

    case: str
    op: str
    direction: str | None
    dtype: str
    shape: dict[str, list[int]]
    params: dict[str, Any]
    provider: str
    library: str
    algorithm: str
    device: str
    threads: int | None
    rounds: int
    seconds_median: float | None
    seconds_p20: float | None
    seconds_p80: float | None
    bytes_min: int
    flops: int
    peak_extra_bytes: int | None
    share_of_copy: float | None
    share_of_product: float | None
    checked: bool
    max_error: float | None
    extrapolated_from: list[int] | None
    commit: str | None
    versions: dict[str, str]
    timestamp: str


@dataclass(frozen=True)
class Run:
    """What all records of a run have in common."""

    threads: int
    commit: str | None
    versions: dict[str, str]
    timestamp: str


def rates(results: Sequence[Result]) -> dict[tuple[str, str], float]:
    """Return bytes per second of each device's copy, and flops per second of its product."""
    found = {}
    for result in results:
        seconds = result.seconds()
        if seconds and result.task.op in ("copy", "product"):
            amount = result.task.bytes_min if result.task.op == "copy" else result.task.flops
            found[result.device, result.task.op] = amount / seconds
    return found


def share(amount: int, seconds: float | None, rate: float | None) -> float | None:
    """Return the share of a rate that moving or computing an amount in some seconds reaches."""
    return amount / seconds / rate if seconds and rate and amount else None


def record(result: Result, machine: dict[tuple[str, str], float], run: Run) -> Record:
    """Return the record of a result."""
    task, seconds = result.task, result.seconds()
    error = result.max_error
    return Record(
        case=task.name,
        op=task.op,
        direction=task.direction,
        dtype="float32",
        shape=task.shape,
        params=task.params,
        provider=result.name,
        library=result.library,
        algorithm=result.algorithm,
        device=result.device,
        threads=run.threads if result.device == "cpu" else None,
        rounds=len(result.samples),
        seconds_median=seconds,
        seconds_p20=result.seconds(20),
        seconds_p80=result.seconds(80),
        bytes_min=task.bytes_min,
        flops=task.flops,
        peak_extra_bytes=result.peak_extra_bytes,
        share_of_copy=share(task.bytes_min, seconds, machine.get((result.device, "copy"))),
        share_of_product=share(task.flops, seconds, machine.get((result.device, "product"))),
        checked=result.wrong is None,
        max_error=error if error is not None and isfinite(error) else None,
        extrapolated_from=result.extrapolated_from,
        commit=run.commit,
        versions=run.versions,
        timestamp=run.timestamp,
    )


def records(results: Sequence[Result], run: Run) -> list[Record]:
    """Return the records of what was timed, and of what was wrong."""
    machine = rates(results)
    kept = [result for result in results if result.samples or result.wrong]
    return [record(result, machine, run) for result in kept]


def write_records(path: Path, kept: Sequence[Record]) -> None:
    lines = [json.dumps(asdict(each), allow_nan=False) + "\n" for each in kept]
    path.write_text("".join(lines), encoding="utf-8")


def fastest(results: Sequence[Result]) -> Result | None:
    timed = [result for result in results if result.samples]
    return min(timed, key=lambda result: result.seconds() or 0.0, default=None)


def times(baseline: float | None, seconds: float | None) -> str:
    """Return by how much faster than a baseline something is, as people say it."""
    if not baseline or not seconds:
        return ""
    ratio = baseline / seconds
    return f"{ratio:,.0f} ×" if ratio >= 10 else f"{ratio:.2g} ×"


def unit_of(seconds: float) -> tuple[str, float]:
    """Return the unit that suits a time, and its seconds."""
    larger = (each for each in (("s", 1.0), ("ms", 1e-3)) if seconds >= each[1])
    return next(larger, ("µs", 1e-6))


def duration_text(*seconds: float) -> str:
    """Return a time, or a range of times, with three digits and the unit that suits it."""
    unit, size = unit_of(max(seconds))
    texts = (f"{t / size:,.0f}" if t >= 100 * size else f"{t / size:.3g}" for t in seconds)
    return " – ".join(texts) + f" {unit}"


def label(result: Result, devices: int) -> str:
    """Return the provider's name, with its device where there are several."""
    return result.name if devices == 1 else f"{result.name} · {result.device}"


def ratio_to_peer(results: Sequence[Result]) -> str:
    """Return in words how ours compares with torch, in the faster of its layouts."""
    said = []
    for device in dict.fromkeys(result.device for result in results):
        here = [result for result in results if result.device == device]
        ours = fastest([result for result in here if result.name == OURS])
        peer = fastest([result for result in here if result.name.startswith(PEERS)])
        if ours and peer:
            ratio = (peer.seconds() or 0.0) / (ours.seconds() or 1.0)
            said.append(f"{peer.name} takes {ratio:.2f} × the time of {OURS} on {device}")
    return "\n".join(said)


def table(case: Convolution, results: Sequence[Result], width: int) -> Table:
    """Return the table of one case; a star marks the fastest; a narrow one has no spread."""
    shapes = " under ".join("×".join(map(str, each.shape)) for each in (case.input, case.weight))
    spread = width >= 92
    built = Table(
        title=f"[bold]{case.title}[/bold] ({shapes})",
        caption=ratio_to_peer(results) + "\n",
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
    )
    built.add_column("\nprovider", no_wrap=True)
    headings = ("\ntime", "from p20\nto p80", "vs nested\nloops", "vs position\nloop", "max\nerror")
    for heading in headings:
        if spread or "p20" not in heading:
            built.add_column(heading, justify="right", no_wrap=True)
    devices = len({result.device for result in results})
    baselines = [
        next((each.seconds() for each in results if each.name == name), None) for name in BASELINES
    ]
    winner = fastest(results)
    for result in results:
        median = result.seconds()
        ratios = (times(baseline, median) for baseline in baselines)
        mark = "*" if result.extrapolated_from else " "
        cells = [
            ("★ " if result is winner else "  ") + label(result, devices),
            "not timed" if median is None else duration_text(median) + mark,
            *([spread_text(result)] if spread else []),
            *ratios,
            "WRONG" if result.wrong else error_text(result),
        ]
        styles = {"bold red": result.wrong is not None, "bold green": result is winner}
        style = next((name for name, holds in styles.items() if holds), "")
        built.add_row(*map(Text, cells), style=style)
    return built


def spread_text(result: Result) -> str:
    low, high = result.seconds(20), result.seconds(80)
    return "" if low is None or high is None else duration_text(low, high)


def error_text(result: Result) -> str:
    return "" if result.max_error is None else f"{result.max_error:.0e}"
