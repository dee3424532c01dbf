"""Times, ratios and amounts, as people say them."""

from __future__ import annotations


def times(baseline: float | None, seconds: float | None) -> str:
    """Return by how much faster than a baseline something is."""
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


def amount_text(amount: float, unit: str) -> str:
    """Return a number of bytes or flops, with three digits and the prefix that suits it."""
    larger = (each for each in (("G", 1e9), ("M", 1e6)) if amount >= each[1])
    prefix, size = next(larger, ("k", 1e3))
    return f"{amount / size:.3g} {prefix}{unit}"


def percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"


def error_text(error: float | None) -> str:
    return "" if error is None else f"{error:.0e}"


def memory_text(extra: int | None, moved: int) -> str:
    """Return bytes beyond input and output, as a multiple of what these hold."""
    return "" if extra is None else f"{extra / max(1, moved):.2g} ×"


def shape_text(shape: list[int]) -> str:
    return "×".join(map(str, shape))
