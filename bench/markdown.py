"""Tables of records in Markdown, as the documentation and a report have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import median

from bench.aims import aim_rows, misses
from bench.families import FAMILIES, is_of_growth
from bench.records import (
    COPY,
    PRODUCT,
    Record,
    best_of,
    by_case,
    fastest,
    geometric_mean,
    in_best_layout,
    in_our_layout,
    machine_rates,
    our_choice,
    with_less_precision,
)
from bench.tables import headline_rows
from bench.words import amount_text, duration_text, error_text, memory_text, percent


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; numbers are set to the right."""
    aligned = [":--", *["--:"] * (len(headings) - 1)]
    lines = [headings, aligned, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _library(kept: Sequence[Record]) -> tuple[str, str]:
    """Return the library and device that a file is about: CuPy's on a GPU, else NumPy's."""
    gpus = sorted({each.device for each in kept if each.device.startswith("cuda")})
    return ("cupy", gpus[0]) if gpus else ("numpy", "cpu")


def machine_text(kept: Sequence[Record]) -> str:
    """Return what the records were taken on, as a list."""
    first = kept[0]
    threads = {each.threads for each in kept if each.threads is not None}
    lines = [f"- {name}: {value}" for name, value in first.versions.items() if value]
    for (device, op), rate in machine_rates(kept).items():
        unit = "GB/s copied" if op == "copy" else "GFLOP/s in a product of matrices"
        lines.append(f"- {device}: {rate / 1e9:,.0f} {unit}")
    lines.append(f"- threads: {', '.join(map(str, sorted(threads)))}")
    lines.append(f"- taken {first.timestamp} at commit `{(first.commit or 'unknown')[:12]}`")
    return "\n".join(lines)


def headline_text(kept: Sequence[Record]) -> str:
    """Return the mission's own table: loops, the Array API, the kernels."""
    return table(*headline_rows(kept))


def _ratio(peer: Record | None, ours: Record) -> str:
    return "" if peer is None else f"{peer.seconds / ours.seconds:.2f}"


RATIOS = ("torch / ours", "in their best layouts", "JAX / ours")
LESS = "with less precision"


def _choices(kept: Sequence[Record]) -> Iterator[tuple[Record, Sequence[Record]]]:
    """Yield for each case what "auto" took, where it was timed, and all records of the case."""
    library, device = _library(kept)
    for every in by_case(kept).values():
        ours = our_choice(every, library, device)
        if ours is not None and ours.seconds_median is not None:
            yield ours, every


def layers_text(kept: Sequence[Record]) -> str:
    """Return a row for each case: what "auto" runs, and the peers' times over its own."""
    rows = []
    for ours, each in _choices(kept):
        device = ours.device
        torch, jax = best_of(each, "torch", device), best_of(each, "jax", device)
        same, best = in_our_layout(each, device), in_best_layout(each, ours)
        limit = max(ours.share_of_copy or 0.0, ours.share_of_product or 0.0)
        low, high = ours.seconds_p20 or 0.0, ours.seconds_p80 or 0.0
        rows.append(
            [
                ours.case,
                ours.algorithm,
                f"{duration_text(ours.seconds)} ± {50 * (high - low) / ours.seconds:.0f} %",
                _ratio(same, ours),
                _ratio(torch, best),
                _ratio(jax, ours),
                percent(limit),
                memory_text(ours.peak_extra_bytes, ours.bytes_min),
                error_text(ours.max_error),
            ]
        )
    headings = ("case", "runs", "time", *RATIOS, "of the limit", "extra memory", "error")
    return table(headings, rows)


def _limit(record: Record, kept: Sequence[Record]) -> float:
    """Return the seconds that a case's least bytes and flops take at this machine's own rates."""
    rates = machine_rates(kept)
    amounts = {COPY: record.bytes_min, PRODUCT: record.flops}
    found = ((amounts[op], rates.get((record.device, op))) for op in amounts)
    return max((amount / rate for amount, rate in found if rate), default=0.0)


def _counted(kept: Sequence[Record], ours: Record, *others: Record) -> list[str]:
    """Return what a case must compute and move, what that takes, and how many times each takes."""
    limit = _limit(ours, kept)
    return [
        amount_text(ours.flops, "flop") if ours.flops else "",
        amount_text(ours.bytes_min, "B"),
        duration_text(limit) if limit else "",
        *(f"{r.seconds / limit:.2f}" if limit else "" for r in (ours, *others)),
    ]


Pair = tuple[Record | None, Record]


def _behind(kept: Sequence[Record], heading: str, compared: Callable[..., Pair]) -> str:
    """Return the cases in which torch is faster than ours, of two that are compared; worst first.

    With what must be computed and moved at least, how long the machine's own product and copy take
    for that, and how many times as long ours and torch take.
    """
    rows = []
    for choice, each in _choices(kept):
        torch, ours = compared(each, choice)
        if torch is None or torch.seconds >= ours.seconds:
            continue
        rows.append(
            (
                torch.seconds / ours.seconds,
                [ours.case, ours.algorithm, _ratio(torch, ours), *_counted(kept, ours, torch)],
            )
        )
    headings = ("case", "runs", heading, *("flops", "bytes", "limit"), *OF_LIMIT)
    return table(headings, [row for _, row in sorted(rows, key=lambda each: each[0])])


OF_LIMIT = ("ours / limit", "torch / limit")


def _in_our_layout(every: Sequence[Record], ours: Record) -> Pair:
    return in_our_layout(every, ours.device), ours


def _in_best_layouts(every: Sequence[Record], ours: Record) -> Pair:
    """Return both in the layout that is best for each, unless torch is ahead in ours already."""
    torch, found = best_of(every, "torch", ours.device), in_best_layout(every, ours)
    same = in_our_layout(every, ours.device)
    if same is not None and same.seconds < ours.seconds:
        torch = None
    return torch, found


def behind_text(kept: Sequence[Record]) -> str:
    """Return the cases in which torch is faster in the layout of our arrays."""
    return _behind(kept, RATIOS[0], _in_our_layout)


def layouts_text(kept: Sequence[Record]) -> str:
    """Return those in which it is so only where each has the layout that is best for it."""
    return _behind(kept, RATIOS[1], _in_best_layouts)


def algorithms_text(kept: Sequence[Record]) -> str:
    """Return, for each case with a choice, the time of every implementation; bold the fastest.

    The last column is what "auto" loses against the fastest: 1.00 where it chose right. What rounds
    more than it may is slanted, and not compared.
    """
    library, device = _library(kept)
    rows = []
    for case, each in by_case(kept).items():
        ours = [r for r in each if r.ours and r.library == library and r.device == device]
        in_order = [r for r in ours if r.forced and not r.in_tf32]
        forced = [r for r in in_order if r.seconds_median is not None]
        best = fastest(r for r in forced if not r.reduced)
        auto = our_choice(each, library, device)
        if best is None or auto is None or auto.seconds_median is None or len(forced) < 2:
            continue
        texts = []
        for record in sorted(forced, key=lambda record: record.seconds):
            text = f"{record.algorithm} {duration_text(record.seconds)}"
            style = "**" if record is best else "*" if record.reduced else ""
            texts.append(f"{style}{text}{style}")
        chosen = next((r for r in forced if r.algorithm == auto.algorithm), auto)
        rows.append(
            [case, ", ".join(texts), auto.algorithm, f"{chosen.seconds / best.seconds:.2f}"]
        )
    return table(("case", "implementations", "auto takes", "loss"), rows)


def precision_text(kept: Sequence[Record]) -> str:
    """Return a row for each case in which something else runs where less precision is allowed."""
    rows = []
    for ours, each in _choices(kept):
        other = with_less_precision(each, ours)
        if other is ours:
            continue
        torch = in_our_layout(each, ours.device)
        of_both = [
            [r.algorithm, duration_text(r.seconds), _ratio(torch, r), error_text(r.max_error)]
            for r in (ours, other)
        ]
        rows.append([ours.case, *of_both[0], *of_both[1]])
    of_each = ("time", RATIOS[0], "error")
    return table(("case", "runs", *of_each, LESS, *of_each), rows)


def tf32_text(kept: Sequence[Record]) -> str:
    """Return, for each case in TF32, the time of every implementation and of torch's layouts."""
    library, device = _library(kept)
    rows = []
    for case, each in by_case(kept).items():
        some = [r for r in each if r.in_tf32 and r.device == device]
        ours = fastest(r for r in some if r.ours and r.library == library)
        torch = fastest(r for r in some if not r.ours and r.library == "torch")
        if ours is None or torch is None:
            continue
        timed = [r for r in some if r.seconds_median is not None]
        texts = [
            f"{r.provider.replace(' tf32', '')} {duration_text(r.seconds)}"
            for r in sorted(timed, key=lambda r: r.seconds)
        ]
        rows.append([case, ", ".join(texts), _ratio(torch, ours)])
    return table(("case", "in TF32", "torch / ours"), rows)


def summary_text(kept: Sequence[Record]) -> str:
    """Return, for each family, the geometric mean of the peers' times over ours."""
    # Records of a time before there was that option have none.
    names = (*RATIOS, LESS) if any(each.reduced for each in kept) else RATIOS
    rows = []
    for family, belongs in FAMILIES.items():
        ratios: dict[str, list[float]] = {name: [] for name in names}
        for ours, each in _choices(kept):
            if ours.dtype != "float32" or not belongs(ours) or is_of_growth(ours):
                continue
            device = ours.device
            pairs = (
                (in_our_layout(each, device), ours),
                (best_of(each, "torch", device), in_best_layout(each, ours)),
                (best_of(each, "jax", device), ours),
                (in_our_layout(each, device), with_less_precision(each, ours)),
            )
            for (peer, held), found in zip(pairs, ratios.values(), strict=False):
                if peer is not None:
                    found.append(peer.seconds / held.seconds)
        middle = ratios[RATIOS[0]]
        if not middle:
            continue
        row = [family]
        for found in ratios.values():
            mean = geometric_mean(found)
            row.append("" if mean is None else f"{mean:.2f}")
        row += [f"{min(middle):.2f} – {max(middle):.2f}", f"{median(middle):.2f}", f"{len(middle)}"]
        rows.append(row)
    headings = ("family", *names, "torch / ours: least – most", "median", "cases")
    return table(headings, rows)


def aims_text(kept: Sequence[Record]) -> str:
    """Return what this project aims at on a CPU, what a run reached, and what missed it."""
    return table(("aim", "reached", "missed by"), list(aim_rows(kept)))


def misses_text(kept: Sequence[Record]) -> str:
    """Return each case that is not as fast as it is aimed at, with what it must do at least."""
    rows = [
        [said, ours.case, ours.algorithm, f"{value:.2f}", *_counted(kept, ours)]
        for said, value, ours in misses(kept)
    ]
    counted = ("flops", "bytes", "limit", OF_LIMIT[0])
    return table(("aim", "case", "runs", "torch / ours", *counted), rows)


TABLES: dict[str, Callable[[Sequence[Record]], str]] = {
    "machine": machine_text,
    "headline": headline_text,
    "summary": summary_text,
    "layers": layers_text,
    "behind": behind_text,
    "layouts": layouts_text,
    "aims": aims_text,
    "misses": misses_text,
    "algorithms": algorithms_text,
    "precision": precision_text,
    "tf32": tf32_text,
}
