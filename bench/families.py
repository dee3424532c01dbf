"""Cases by what they compute: each family's ratios are averaged by themselves."""

from __future__ import annotations

from collections.abc import Callable

from bench.records import Record


def _kind(record: Record) -> str:
    if record.case.endswith(", bias"):
        return "biased"
    if record.op.startswith("conv_transpose"):
        return "transposed"
    if not record.op.startswith("conv"):
        return ""
    return "depthwise" if record.params.get("groups", 1) > 1 else "dense"


FAMILIES: dict[str, Callable[[Record], bool]] = {
    "dense convolutions": lambda r: _kind(r) == "dense" and r.direction == "forward",
    "depthwise and grouped convolutions": lambda r: (
        _kind(r) == "depthwise" and r.direction == "forward"
    ),
    "transposed convolutions": lambda r: _kind(r) == "transposed" and r.direction == "forward",
    "convolutions with a bias": lambda r: _kind(r) == "biased",
    "pools": lambda r: "pool" in r.op and r.direction == "forward",
    "unfold": lambda r: r.op == "unfold" and r.direction == "forward",
    "fold": lambda r: r.op == "fold" and r.direction == "forward",
    "gradients": lambda r: r.direction != "forward",
}


def is_of_growth(record: Record) -> bool:
    """Whether a case is one of a layer that grows: no layer of a network."""
    return record.case.startswith("scaling")
