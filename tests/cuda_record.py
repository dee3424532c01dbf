"""The record that makes a kernel verified: who ran which source on which GPU, and was right.

A line of JSON for each implementation of a primitive in ``bench/results/kernels*.jsonl``. It holds
for the source that it names by its hash: a kernel that has changed since is no longer verified.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from arrayconv.backends.cupy import cudnn, launch
from arrayconv.backends.cupy.templates import TEMPLATES

Name = tuple[str, str]
"""A primitive, and the name of one of its implementations."""

RESULTS = Path(__file__).parents[1] / "bench" / "results"
FILES: dict[Name, tuple[str, ...]] = {
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


@cache
def source_hash(files: tuple[str, ...]) -> str:
    return hashlib.sha256("".join(map(text, files)).encode()).hexdigest()


def functions(name: Name) -> frozenset[str]:
    """Return the kernels in an implementation's files, as checks name them; cuDNN is its own."""
    if name[1] == "cudnn":
        return frozenset({"cudnn"})
    return frozenset(each.function for each in TEMPLATES if each.file in FILES[name])


def record(name: Name, checks: int, device: str, versions: dict[str, str]) -> dict[str, Any]:
    """Return the line that says that so many checks of an implementation passed on a device."""
    primitive, implementation = name
    return {
        "primitive": primitive,
        "implementation": implementation,
        "source_sha256": source_hash(FILES[name]),
        "correct": True,
        "checks": checks,
        "device": device,
        "versions": versions,
    }


def write(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Write lines in one step: whoever is ended while it writes leaves what was there before."""
    beside = path.with_name(f"{path.name}.new")
    beside.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    beside.replace(path)


def read_file(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line]


def read(folder: Path = RESULTS) -> list[dict[str, Any]]:
    return [line for path in sorted(folder.glob("kernels*.jsonl")) for line in read_file(path)]


def shown_right(found: Iterable[dict[str, Any]]) -> set[Name]:
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
