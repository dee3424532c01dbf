"""The tables on the screen: a case with all who computed it, and two files against each other."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from bench.records import (
    Record,
    best_of,
    by_case,
    fastest,
    geometric_mean,
    machine_rates,
    our_choice,
)
from bench.timing import Result
from bench.words import duration_text, error_text, memory_text, percent, shape_text, times

BASELINES = ("nested loops", "position loop")
HEADINGS = (
    *("\nprovider", "\ntime", "from p20\nto p80", "vs nested\nloops", "vs position\nloop"),
    *("vs\ntorch", "of\ncopy", "of\nproduct", "extra\nmemory", "max\nerror"),
)
SPREAD = 2
"""Which heading a narrow table goes without."""


def label(record: Record, devices: int) -> str:
    """Return the provider's name, with its device where there are several, and what ran."""
    name = record.provider if devices == 1 else f"{record.provider} · {record.device}"
    return f"{name} ({record.algorithm})" if record.auto else name


def _text(record: Record) -> str:
    if record.seconds_median is None:
        return "not timed"
    return duration_text(record.seconds) + ("*" if record.extrapolated_from else " ")


def spread_text(record: Record) -> str:
    low, high = record.seconds_p20, record.seconds_p80
    return "" if low is None or high is None else duration_text(low, high)


def baseline(kept: Sequence[Record], name: str) -> float | None:
    return next((each.seconds_median for each in kept if each.provider == name), None)


def cells(record: Record, kept: Sequence[Record], winner: Record | None) -> list[str]:
    """Return a record's row."""
    devices = len({each.device for each in kept})
    torch = best_of(kept, "torch", record.device)
    mark = "★ " if record is winner else "  "
    return [
        mark + label(record, devices),
        _text(record),
        spread_text(record),
        *(times(baseline(kept, name), record.seconds_median) for name in BASELINES),
        times(torch.seconds_median if torch else None, record.seconds_median),
        percent(record.share_of_copy),
        percent(record.share_of_product),
        memory_text(record.peak_extra_bytes, record.bytes_min),
        error_text(record.max_error) if record.checked else "WRONG",
    ]


def ratio_to_peer(kept: Sequence[Record]) -> str:
    """Return in words how our public call compares with torch, in the faster of its layouts."""
    said = []
    for device, library in dict.fromkeys((each.device, each.library) for each in kept):
        ours, peer = our_choice(kept, library, device), best_of(kept, "torch", device)
        if ours and peer and library in ("numpy", "cupy"):
            ratio = peer.seconds / ours.seconds
            said.append(
                f"{peer.provider} takes {ratio:.2f} × the time of {ours.provider} on {device}"
            )
    return "\n".join(said)


def case_table(title: str, kept: Sequence[Record], width: int) -> Table:
    """Return the table of one case; a star marks the fastest; a narrow one has no spread."""
    shapes = " under ".join(
        shape_text(kept[0].shape[name]) for name in ("input", "weight") if name in kept[0].shape
    )
    built = Table(
        title=f"[bold]{title}[/bold] ({shapes})",
        caption=ratio_to_peer(kept) + "\n",
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
    )
    shown = [n for n in range(len(HEADINGS)) if width >= 120 or n != SPREAD]
    for n in shown:
        built.add_column(HEADINGS[n], justify="left" if n == 0 else "right", no_wrap=True)
    winner = fastest(kept)
    for record in kept:
        styles = {"bold red": not record.checked, "bold green": record is winner}
        style = next((name for name, holds in styles.items() if holds), "")
        row = cells(record, kept, winner)
        built.add_row(*(Text(row[n]) for n in shown), style=style)
    return built


def unable_lines(results: Sequence[Result]) -> list[str]:
    """Return a line for each provider that could not compute a case, with its reason."""
    return [f"  not {each.name}: {each.unable}" for each in results if each.unable is not None]


HEADLINE = {
    "nested loops": ("nested loops", "cpu"),
    "position loop": ("position loop", "cpu"),
    "Array API on NumPy": ("arrayconv numpy generic", "cpu"),
    "arrayconv on NumPy": ("arrayconv numpy auto", "cpu"),
    "Array API on CuPy": ("arrayconv cupy generic", "cuda"),
    "CUDA kernels": ("arrayconv cupy cuda", "cuda"),
}


def headline_rows(kept: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    """Return the mission's own table: each case by loops, by the Array API, by the kernels."""
    cases = by_case(kept)

    def found(name: str, device: str, each: Sequence[Record]) -> Record | None:
        return next((r for r in each if r.provider == name and r.device.startswith(device)), None)

    ways = {
        way: how
        for way, how in HEADLINE.items()
        if any(found(*how, each) is not None for each in cases.values())
    }
    rows = []
    for case, each in cases.items():
        loops = baseline(each, "nested loops")
        row = [case]
        for way in ways:
            record = found(*ways[way], each)
            if record is None or record.seconds_median is None:
                row.append("")
                continue
            text = duration_text(record.seconds) + ("*" if record.extrapolated_from else "")
            faster = "" if way == "nested loops" else f" ({times(loops, record.seconds_median)})"
            row.append(text + (faster if loops else ""))
        if any(row[1:]):
            rows.append(row)
    return ["case", *ways], rows


def headline_table(kept: Sequence[Record]) -> Table:
    """Return the mission's own table for the screen."""
    headings, rows = headline_rows(kept)
    built = Table(
        title="[bold]Loops, the Array API, kernels[/bold] (time, and how much faster than the "
        "nested loops)",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    for n, heading in enumerate(headings):
        built.add_column(heading, justify="left" if n == 0 else "right")
    for row in rows:
        built.add_row(*map(Text, row))
    return built


# --- two files ----------------------------------------------------------------------------------


def comparison(before: Sequence[Record], after: Sequence[Record]) -> tuple[Table, str]:
    """Return the table of what both files have, and one sentence that sums it up.

    A difference counts only where the two spreads, from p20 to p80, do not meet.
    """
    held = {(each.case, each.provider, each.device): each for each in before}
    built = Table(box=SIMPLE_HEAD)
    for heading in ("case", "provider", "before", "after", "before / after", ""):
        built.add_column(heading, justify="left" if heading in ("case", "provider") else "right")
    ratios, clear = [], {"faster": 0, "slower": 0}
    for new in after:
        old = held.get((new.case, new.provider, new.device))
        if old is None or old.seconds_median is None or new.seconds_median is None:
            continue
        ratio = old.seconds / new.seconds
        ratios.append(ratio)
        apart = (old.seconds_p20 or 0) > (new.seconds_p80 or 0) or (old.seconds_p80 or 0) < (
            new.seconds_p20 or 0
        )
        verdict = ("faster" if ratio > 1 else "slower") if apart else ""
        if verdict:
            clear[verdict] += 1
        texts = (duration_text(old.seconds), duration_text(new.seconds), f"{ratio:.2f}", verdict)
        style = {"faster": "green", "slower": "red"}.get(verdict, "")
        built.add_row(*map(Text, (new.case, label(new, 1), *texts)), style=style)
    mean = geometric_mean(ratios)
    if mean is None:
        return built, "The two files have no timed case of one provider in common."
    said = (
        f"{len(ratios)} times in both: geometric mean of before / after {mean:.3f}; "
        f"{clear['faster']} clearly faster, {clear['slower']} clearly slower (spreads apart)."
    )
    devices = {each.device for each in (*before, *after)}
    for device in sorted(devices):
        old_rates, new_rates = machine_rates(before), machine_rates(after)
        for op in ("copy", "product"):
            if (device, op) in old_rates and (device, op) in new_rates:
                change = new_rates[device, op] / old_rates[device, op]
                said += f" {device}'s own {op} rate changed by {change:.2f}."
    return built, said
