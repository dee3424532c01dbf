"""The record that makes a kernel verified: who ran which source on which GPU, and was right.

A line of JSON for each implementation of a primitive in ``bench/results/kernels*.jsonl``. It holds
for the source that it names by its hash: a kernel that has changed since is no longer verified.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from arrayconv.backends.cupy import cudnn, launch

RESULTS = Path(__file__).parents[1] / "bench" / "results"
FILES = {
    ("unfold", "cuda"): ("unfold",),
    ("fold", "cuda"): ("fold",),
    ("max_pool", "cuda"): ("max_pool",),
    ("max_pool_indices", "cuda"): ("max_pool",),
    ("max_pool_grad", "cuda"): ("max_pool_grad",),
    ("sum_pool", "cuda"): ("sum_pool",),
    ("spread", "cuda"): ("spread",),
    ("place", "cuda"): ("place",),
    ("gather", "cuda"): ("gather",),
    ("scatter_add", "cuda"): ("scatter_add",),
    ("pad", "cuda"): ("pad",),
    ("pad_adjoint", "cuda"): ("pad",),
    ("conv", "cuda"): ("depthwise", "depthwise_rows"),
    ("conv_transpose", "cuda"): ("depthwise", "depthwise_rows"),
    ("conv_weight", "cuda"): ("depthwise_weight",),
    ("conv", "cuda-tensor"): ("implicit",),
    ("conv_transpose", "cuda-tensor"): ("implicit_transpose",),
    ("conv_weight", "cuda-tensor"): ("implicit",),
    ("conv", "cuda-implicit"): ("implicit",),
    ("conv_transpose", "cuda-implicit"): ("implicit_transpose",),
    ("conv_weight", "cuda-implicit"): ("implicit",),
}
FILES |= {(primitive, "cudnn"): ("cudnn.py",) for primitive in cudnn.OPERATIONS}
"""The ``.cu`` files of each primitive's implementations; cuDNN is called from a Python file."""


def text(file: str) -> str:
    if file.endswith(".py"):
        return (Path(launch.__file__).parent / file).read_text(encoding="utf-8")
    return launch.source(file)


def source_hash(files: Iterable[str]) -> str:
    return hashlib.sha256("".join(map(text, files)).encode()).hexdigest()


def records(
    checked: int, device: str, versions: dict[str, str], without: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Return the lines that say that all checks passed on a device.

    ``without`` the implementations that could not run there.
    """
    return [
        {
            "primitive": primitive,
            "implementation": implementation,
            "source_sha256": source_hash(files),
            "correct": True,
            "checks": checked,
            "device": device,
            "versions": versions,
        }
        for (primitive, implementation), files in FILES.items()
        if implementation not in without
    ]


def read(folder: Path = RESULTS) -> list[dict[str, Any]]:
    lines = (
        line
        for path in sorted(folder.glob("kernels*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    )
    return [json.loads(line) for line in lines if line]


def shown_right(found: Iterable[dict[str, Any]]) -> set[tuple[str, str]]:
    """Return the (primitive, implementation) that records show right, as their source is now."""
    return {
        name
        for each in found
        if (name := (each["primitive"], each["implementation"])) in FILES
        and each["correct"] is True
        and each["checks"] > 0
        and each["device"].startswith("NVIDIA")
        and each["source_sha256"] == source_hash(FILES[name])
    }
