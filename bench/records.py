"""What is kept: one line of JSON for each provider at each case."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from math import exp, isfinite, log
from pathlib import Path
from typing import Any

from bench.providers import CHANNELS_LAST, REDUCED
from bench.timing import Result

COPY, PRODUCT = "copy", "product"


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

    @property
    def seconds(self) -> float:
        """The median; infinite for what was not timed."""
        return float("inf") if self.seconds_median is None else self.seconds_median

    @property
    def ours(self) -> bool:
        return self.provider.startswith("arrayconv")

    @property
    def auto(self) -> bool:
        """Whether it is the public call, as people make it, rather than a forced implementation."""
        return self.ours and self.provider.endswith(" auto")

    @property
    def in_tf32(self) -> bool:
        """Whether float32 is rounded to 10 bits: only compared with what is so too."""
        return "tf32" in self.provider

    @property
    def reduced(self) -> bool:
        """Whether it rounds more than "auto" may by default."""
        return self.provider.endswith(REDUCED)

    @property
    def forced(self) -> bool:
        """Whether it is an implementation of ours that was asked for by its name."""
        of_auto = self.auto or self.channels_last or self.provider.endswith(f" auto{REDUCED}")
        return self.ours and not of_auto

    @property
    def channels_last(self) -> bool:
        return self.provider.endswith(CHANNELS_LAST)


@dataclass(frozen=True)
class Run:
    """What all records of a run have in common."""

    threads: int
    commit: str | None
    versions: dict[str, str]
    timestamp: str


def rates(results: Iterable[Result]) -> dict[tuple[str, str], float]:
    """Return bytes per second of each device's copy, and flops per second of its product."""
    found = {}
    for result in results:
        seconds = result.seconds()
        if seconds and result.task.op in (COPY, PRODUCT):
            amount = result.task.bytes_min if result.task.op == COPY else result.task.flops
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
        dtype=task.dtype,
        shape=task.shape,
        params={name: list(v) if isinstance(v, tuple) else v for name, v in task.params.items()},
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
        share_of_copy=share(task.bytes_min, seconds, machine.get((result.device, COPY))),
        share_of_product=share(task.flops, seconds, machine.get((result.device, PRODUCT))),
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


def write_records(path: Path, kept: Iterable[Record]) -> None:
    """Write records in one step: whoever is ended while it writes leaves those before."""
    lines = [json.dumps(asdict(each), allow_nan=False) + "\n" for each in kept]
    beside = path.with_name(f"{path.name}.new")
    beside.write_text("".join(lines), encoding="utf-8")
    beside.replace(path)


def read_records(path: Path) -> list[Record]:
    """Return the records of a file; ValueError, naming the line, where one is none."""
    names = {field.name for field in fields(Record)}
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            given = json.loads(line)
        except json.JSONDecodeError as problem:
            raise ValueError(f"{path}, line {number} is no JSON: {problem}") from None
        if not isinstance(given, dict) or set(given) != names:
            wrong = names.symmetric_difference(given if isinstance(given, dict) else ())
            raise ValueError(f"{path}, line {number} is no record: {', '.join(sorted(wrong))}")
        found.append(Record(**given))
    return found


# --- what is made of them -----------------------------------------------------------------------


def machine_rates(kept: Iterable[Record]) -> dict[tuple[str, str], float]:
    """Return bytes per second of each device's copy, and flops per second of its product."""
    return {
        (each.device, each.op): (each.bytes_min if each.op == COPY else each.flops) / each.seconds
        for each in kept
        if each.op in (COPY, PRODUCT) and each.seconds_median
    }


def by_case(kept: Iterable[Record]) -> dict[str, list[Record]]:
    """Return the records of each case, in order, without the machine's own."""
    found: dict[str, list[Record]] = {}
    for each in kept:
        if each.op not in (COPY, PRODUCT):
            found.setdefault(each.case, []).append(each)
    return found


def fastest(kept: Iterable[Record]) -> Record | None:
    timed = [each for each in kept if each.seconds_median is not None]
    return min(timed, key=lambda each: each.seconds, default=None)


def best_of(kept: Iterable[Record], library: str, device: str) -> Record | None:
    """Return the fastest of a peer's providers on a device; TF32 is another precision's."""
    named = (each for each in kept if each.library == library and each.device == device)
    return fastest(each for each in named if not each.ours and not each.in_tf32)


def in_our_layout(kept: Iterable[Record], device: str) -> Record | None:
    """Return torch's record for the layout that arrayconv's arrays have: (N, C, *spatial)."""
    named = (each for each in kept if each.provider == "torch" and each.device == device)
    return next((each for each in named if each.seconds_median is not None), None)


def in_best_layout(kept: Iterable[Record], ours: Record) -> Record:
    """Return arrayconv's record, or the one for channels-last arrays where that is faster."""
    others = [r for r in kept if r.channels_last and r.ours and r.library == ours.library]
    found = fastest([ours, *(r for r in others if r.device == ours.device)])
    assert found is not None
    return found


def our_choice(kept: Iterable[Record], library: str, device: str) -> Record | None:
    """Return the record of arrayconv's public call on a library's arrays."""
    named = (each for each in kept if each.library == library and each.device == device)
    return fastest(each for each in named if each.auto)


def with_less_precision(kept: Iterable[Record], ours: Record) -> Record:
    """Return arrayconv's record, or that where reduced precision was allowed, if there is one."""
    named = (each for each in kept if each.provider == f"{ours.provider}{REDUCED}")
    found = fastest(each for each in named if each.device == ours.device)
    return ours if found is None else found


def geometric_mean(ratios: Sequence[float]) -> float | None:
    """Return the geometric mean, the one by which a ratio and its inverse cancel."""
    return exp(sum(map(log, ratios)) / len(ratios)) if ratios else None
