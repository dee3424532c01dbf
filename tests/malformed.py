"""Calls that are right, for tests that spoil one thing each, and what a refusal must be."""

from __future__ import annotations

import re
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest

import arrayconv as ac


class Operation(NamedTuple):
    """A public function and a call of it that is right; each test spoils one thing."""

    function: Callable[..., Any]
    arrays: dict[str, tuple[int, ...]]
    params: dict[str, Any] = {}  # noqa: RUF012 (never modified)
    integers: dict[str, int] = {}  # noqa: RUF012
    """The parameters with one integer per spatial dimension, and the least of each."""
    dims: int = 2


def _operations() -> Iterator[tuple[str, Operation]]:
    window = {"stride": 1, "padding": 0, "dilation": 1}
    transposed = {**window, "output_padding": 0}
    for dims in (1, 2, 3):
        sizes, kernel = (6,) * dims, (3,) * dims
        shapes = {"input": (2, 4, *sizes), "weight": (6, 2, *kernel), "bias": (6,)}
        function = getattr(ac, f"conv{dims}d")
        yield f"conv{dims}d", Operation(function, shapes, {"groups": 2}, window, dims)
        shapes = {"input": (2, 4, *sizes), "weight": (4, 3, *kernel), "bias": (6,)}
        function = getattr(ac, f"conv_transpose{dims}d")
        yield (
            f"conv_transpose{dims}d",
            Operation(function, shapes, {"groups": 2}, transposed, dims),
        )
    kernel_of = {"kernel_size": 1, **window}
    yield "unfold", Operation(ac.unfold, {"input": (2, 4, 6, 6)}, {"kernel_size": 3}, kernel_of)
    yield (
        "fold",
        Operation(
            ac.fold,
            {"input": (2, 36, 16)},
            {"output_size": 6, "kernel_size": 3},
            {"output_size": 1, **kernel_of},
        ),
    )
    # A stride that is not given is the kernel's size.
    pooled, side = {"input": (2, 4, 6, 6)}, {"kernel_size": 3, "stride": 1}
    yield "max_pool2d", Operation(ac.max_pool2d, pooled, side, kernel_of)
    yield "avg_pool2d", Operation(ac.avg_pool2d, pooled, side, kernel_of)
    yield (
        "lp_pool2d",
        Operation(ac.lp_pool2d, pooled, {"norm_type": 2, **side}, kernel_of),
    )
    yield (
        "adaptive_avg_pool2d",
        Operation(ac.adaptive_avg_pool2d, pooled, {"output_size": 2}, {"output_size": 1}),
    )
    yield (
        "adaptive_max_pool2d",
        Operation(ac.adaptive_max_pool2d, pooled, {"output_size": 2}, {"output_size": 1}),
    )
    yield (
        "extract_patches",
        Operation(ac.extract_patches, pooled, side, kernel_of),
    )
    yield "linear", Operation(ac.linear, {"input": (2, 3, 5), "weight": (4, 5), "bias": (4,)})
    yield "pad", Operation(ac.pad, {"input": (2, 3, 4)}, {"pad": (1, 1)})
    calculated = {"size": 6, "kernel_size": 3}
    yield (
        "output_size",
        Operation(ac.output_size, {}, calculated, {"size": 1, **kernel_of}, 1),
    )
    yield (
        "transposed_output_size",
        Operation(
            ac.transposed_output_size,
            {},
            calculated,
            {"size": 1, "kernel_size": 1, **transposed},
            1,
        ),
    )


OPERATIONS = dict(_operations())
WITH_ARRAYS = [name for name, operation in OPERATIONS.items() if operation.arrays]
SHAPES_ONLY = [name for name in OPERATIONS if name not in WITH_ARRAYS]
CONVOLUTIONS = [name for name in OPERATIONS if name.startswith("conv")]
INTEGERS = [(name, each) for name in OPERATIONS for each in OPERATIONS[name].integers]
PADDED = [name for name in OPERATIONS if "padding" in OPERATIONS[name].integers]
CROPPED = [name for name in PADDED if "transpose" in name]


def arguments(name: str, **changes: Any) -> dict[str, Any]:
    """Return the arguments of a call that is right but for ``changes``."""
    operation = OPERATIONS[name]
    arrays = {each: np.ones(shape) for each, shape in operation.arrays.items()}
    return {**arrays, **operation.params, **changes}


def call(name: str, **changes: Any) -> Any:
    return OPERATIONS[name].function(**arguments(name, **changes))


@cache
def warm() -> None:
    """Import the backend and fill the tables, which takes memory once."""
    for name in OPERATIONS:
        call(name)


MEGABYTE = 1 << 20


@contextmanager
def refused(error: type[Exception], *words: str) -> Iterator[None]:
    """Expect just that error, at once, with every word in its message and nothing allocated."""
    warm()
    tracemalloc.start()
    started = time.perf_counter()
    try:
        with pytest.raises(error) as caught:
            yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    seconds = time.perf_counter() - started
    assert type(caught.value) is error
    for word in words:
        assert caught.match(re.escape(word))
    assert peak < MEGABYTE, f"{peak} bytes were allocated before {caught.value}"
    assert seconds < 2
