"""The record that makes a kernel verified: who ran which source on which GPU, and was right.

A line of JSON for each primitive in ``bench/results/kernels*.jsonl``. It holds for the source that
it names by its hash: a kernel that has changed since is no longer verified.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from arrayconv.backends.cupy import launch

RESULTS = Path(__file__).parents[1] / "bench" / "results"
FILES = {
    "unfold": ("unfold",),
    "fold": ("fold",),
    "max_pool": ("max_pool",),
    "max_pool_indices": ("max_pool",),
    "max_pool_grad": ("max_pool_grad",),
    "sum_pool": ("sum_pool",),
    "spread": ("spread",),
    "place": ("place",),
    "gather": ("gather",),
    "scatter_add": ("scatter_add",),
    "pad": ("pad",),
    "pad_adjoint": ("pad",),
    "conv": ("depthwise", "depthwise_rows"),
    "conv_transpose": ("depthwise", "depthwise_rows"),
    "conv_weight": ("depthwise_weight",),
}
"""The ``.cu`` files of each primitive."""


def source_hash(files: Iterable[str]) -> str:
    return hashlib.sha256("".join(map(launch.source, files)).encode()).hexdigest()


def records(checked: int, device: str, versions: dict[str, str]) -> list[dict[str, Any]]:
    """Return the lines that say that all checks passed on a device."""
    return [
        {
            "primitive": primitive,
            "implementation": "cuda",
            "source_sha256": source_hash(files),
            "correct": True,
            "checks": checked,
            "device": device,
            "versions": versions,
        }
        for primitive, files in FILES.items()
    ]


def read(folder: Path = RESULTS) -> list[dict[str, Any]]:
    lines = (
        line
        for path in sorted(folder.glob("kernels*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    )
    return [json.loads(line) for line in lines if line]


def shown_right(found: Iterable[dict[str, Any]]) -> set[str]:
    """Return the primitives that records show to be right, as their source is now."""
    return {
        each["primitive"]
        for each in found
        if each["implementation"] == "cuda"
        and each["correct"] is True
        and each["checks"] > 0
        and each["device"].startswith("NVIDIA")
        and each["source_sha256"] == source_hash(FILES[each["primitive"]])
    }
