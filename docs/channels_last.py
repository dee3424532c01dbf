"""Measure what channels-last arrays cost: ``python -m docs.channels_last`` prints a table.

Each operation runs on the same numbers in three layouts: (N, C, H, W) in memory; a `moveaxis` view
of (N, H, W, C); and that view copied into (N, C, H, W) first. They take turns in one process.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

import arrayconv as ac

ROUNDS = 60


def cases() -> dict[str, tuple[tuple[int, ...], Callable[[Any], Any]]]:
    """Return, by name, the shape (N, C, H, W) of the input and the operation."""
    random = np.random.default_rng(0)

    def weight(*shape: int) -> Any:
        return random.random(shape, dtype=np.float32)

    wide, narrow, first, depth, blur = (
        weight(64, 64, 3, 3),
        weight(64, 256, 1, 1),
        weight(64, 3, 7, 7),
        weight(64, 1, 3, 3),
        weight(3, 1, 5, 5),
    )
    return {
        "conv2d 3x3, 64 channels": ((1, 64, 56, 56), lambda x: ac.conv2d(x, wide, padding=1)),
        "conv2d 1x1, 256 channels": ((1, 256, 56, 56), lambda x: ac.conv2d(x, narrow)),
        "conv2d 7x7, 3 channels, stride 2": (
            (1, 3, 224, 224),
            lambda x: ac.conv2d(x, first, stride=2, padding=3),
        ),
        "conv2d 3x3, depthwise": (
            (1, 64, 56, 56),
            lambda x: ac.conv2d(x, depth, padding=1, groups=64),
        ),
        "conv2d 5x5, depthwise, 3 channels": (
            (1, 3, 224, 224),
            lambda x: ac.conv2d(x, blur, padding=2, groups=3),
        ),
        "max_pool2d 2x2": ((1, 64, 56, 56), lambda x: ac.max_pool2d(x, 2)),
        "max_pool2d 2x2, 3 channels": ((1, 3, 224, 224), lambda x: ac.max_pool2d(x, 2)),
        "avg_pool2d 3x3, stride 2": ((1, 64, 56, 56), lambda x: ac.avg_pool2d(x, 3, 2, 1)),
        "unfold 3x3": ((1, 64, 56, 56), lambda x: ac.unfold(x, 3, padding=1)),
    }


def seconds(layouts: dict[str, Callable[[], Any]], rounds: int = ROUNDS) -> dict[str, float]:
    """Return the least time of each, taken in turns: what else the machine does only adds to it."""
    times: dict[str, list[float]] = {name: [] for name in layouts}
    for call in layouts.values():
        call()
    for _ in range(rounds):
        for name, call in layouts.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: min(taken) for name, taken in times.items()}


def extra(operation: Callable[[Any], Any], x: Any) -> str:
    """Return the memory that it held at most beside its output, as a multiple of its input."""
    operation(x)
    tracemalloc.start()
    output = operation(x)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return f"{max(0, peak - output.nbytes) / x.nbytes:.2f}"


def table(rounds: int = ROUNDS) -> str:
    """Return the measurements as Markdown."""
    lines = [
        "| | channels first | view | copy of the view | extra memory, channels first "
        "| extra memory, view |",
        "|:--|--:|--:|--:|--:|--:|",
    ]
    for name, (shape, operation) in cases().items():
        x = np.random.default_rng(1).random(shape, dtype=np.float32)
        last = np.ascontiguousarray(np.moveaxis(x, 1, -1))
        view = np.moveaxis(last, -1, 1)
        np.testing.assert_allclose(operation(view), operation(x), rtol=1e-4)
        taken = seconds(
            {
                "first": lambda x=x, run=operation: run(x),  # type: ignore[misc]
                "view": lambda x=view, run=operation: run(x),  # type: ignore[misc]
                "copied": lambda x=view, run=operation: run(np.ascontiguousarray(x)),  # type: ignore[misc]
            },
            rounds,
        )
        base = taken["first"]
        lines.append(
            f"| {name} | {base * 1e3:.2f} ms | {taken['view'] / base:.2f} | "
            f"{taken['copied'] / base:.2f} | {extra(operation, x)} | "
            f"{extra(operation, view)} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
