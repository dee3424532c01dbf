"""Check first, then time: nobody's time is taken before the result was right.

Every provider computes the crop, and is held against the nested loops; then the whole photograph,
and is held against the loop over positions, which by then was held against the nested loops too.
Both loops run in float64 for that. Then all take turns, round by round, so that a slow moment of
the machine falls on everyone.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil
from time import perf_counter
from typing import Any

import numpy as np

import arrayconv as ac
from arrayconv import reference
from bench.cases import Array, Convolution, Copy, Product, Task
from bench.providers import Call, Provider, machine_calls, nothing_to_wait_for

TOLERANCE = 1e-5
"""The largest error that float32 may have, as a share of the largest value of the result."""
CROP = 64
"""Cells along the side of the crop that the nested loops compute."""


@dataclass(frozen=True)
class Effort:
    """How long to measure: at most so many rounds, and seconds, for each provider."""

    rounds: int
    seconds: float
    least: int = 3
    """Rounds that even the slowest provider takes part in."""
    sample: float = 0.002
    """Seconds that one sample lasts at least, by repeating a short call."""

    def samples(self, seconds_per_call: float) -> int:
        """Return how many samples to take of a call that lasts so long."""
        affordable = int(self.seconds / max(seconds_per_call, self.sample))
        return min(self.rounds, max(self.least, affordable))

    def calls(self, seconds_per_call: float) -> int:
        """Return how many calls make one sample."""
        return max(1, ceil(self.sample / max(seconds_per_call, 1e-9)))


@dataclass(eq=False)
class Result:
    """What was found out about one provider at one task."""

    task: Task
    name: str
    library: str
    algorithm: str
    device: str
    call: Call | None = None
    """What is timed; None for a provider that was wrong."""
    synchronize: Callable[[], None] = nothing_to_wait_for
    wrong: str | None = None
    """What is wrong with the result, where something is."""
    max_error: float | None = None
    peak_extra_bytes: int | None = None
    extrapolated_from: list[int] | None = None
    """The shape of the crop that was timed, where the time of the whole is worked out from it."""
    factor: float = 1.0
    """How many times the multiply-adds of what was timed the whole has."""
    samples: list[float] = field(default_factory=list)
    """Seconds for the whole."""

    def seconds(self, percentile: float = 50) -> float | None:
        """Return the median, or another percentile, of the samples; None where there is none."""
        return float(np.percentile(self.samples, percentile)) if self.samples else None


def compare(output: Array, expected: Array) -> tuple[float, str | None]:
    """Return the largest error as a share of the largest value, and what is wrong, or None."""
    if output.shape != expected.shape:
        return float("inf"), f"its shape is {output.shape}, and should be {expected.shape}"
    if output.dtype != np.float32:
        return float("inf"), f"its dtype is {output.dtype}, and should be float32"
    if not np.isfinite(output).all():
        return float("inf"), "it has values that are not finite"
    error = float(np.abs(output - expected).max() / np.abs(expected).max())
    return error, None if error <= TOLERANCE else f"its error is {error:.1e} of the largest value"


def peak_extra_bytes(call: Call) -> tuple[Any, int]:
    """Return a call's result, and what it had allocated at its peak beyond that result.

    Counts what Python and NumPy allocate; not what a BLAS keeps for itself.
    """
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        output = call()
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    return output, max(0, peak - output.nbytes)


def check(provider: Provider, case: Convolution, expected: dict[str, Array]) -> Result:
    """Return what a provider's results are worth, ready to be timed where they are right."""
    result = Result(case, provider.name, provider.library, "", provider.device)
    crop = case.crop(CROP)
    timed = crop if provider.cropped else case
    pictures = {"crop": crop} if provider.cropped else {"crop": crop, "photograph": case}
    errors = []
    try:
        result.algorithm = provider.algorithm(case)
        for where, picture in pictures.items():
            call = provider.prepare(picture)
            if provider.memory and picture is case:
                output, result.peak_extra_bytes = peak_extra_bytes(call)
            else:
                output = call()
            error, wrong = compare(provider.to_numpy(output), expected[where])
            errors.append(error)
            if wrong is not None:
                result.wrong = f"on the {where}, {wrong}"
                return result
    except Exception as problem:  # a provider that fails must not end the others' benchmark
        result.wrong = f"{type(problem).__name__}: {problem}"
        return result
    finally:
        result.max_error = max(errors, default=None)
    result.call, result.synchronize = call, provider.synchronize
    if timed is not case:
        result.extrapolated_from = list(timed.input.shape)
        result.factor = case.multiply_adds / timed.multiply_adds
    return result


def right_results(case: Convolution) -> dict[str, Array]:
    """Return what the loops say, in float64: the nested ones of the crop, the other of all."""
    crop, whole = case.crop(CROP).in_double(), case.in_double()
    return {
        "crop": reference.conv(
            crop.input, crop.weight, crop.bias, padding=crop.padding, groups=crop.groups
        ),
        "photograph": reference.conv_by_position(
            whole.input, whole.weight, whole.bias, padding=whole.padding, groups=whole.groups
        ),
    }


def duration(result: Result, calls: int) -> float:
    """Return the seconds of one call, of several in a row; the device has finished them all."""
    assert result.call is not None
    result.synchronize()
    start = perf_counter()
    for _ in range(calls):
        result.call()
    result.synchronize()
    return (perf_counter() - start) / calls


def take_turns(results: Sequence[Result], effort: Effort) -> Iterator[int]:
    """Time the results that were right, and yield after each round.

    A slow provider sits out rounds, evenly. A fast one is called once, untimed, before each
    sample: the one before it has left its own data in the caches, and its threads spinning.
    """
    plan = []
    for result in results:
        if result.call is not None:
            estimate = duration(result, 1)
            fast = estimate < 10 * effort.sample
            if fast:
                estimate = duration(result, 1)
            every = ceil(effort.rounds / effort.samples(estimate))
            plan.append((result, effort.calls(estimate), every, fast))
    for number in range(effort.rounds):
        first = number % max(1, len(plan))
        for result, calls, every, fast in plan[first:] + plan[:first]:
            if number % every == 0:
                if fast:
                    duration(result, calls)
                result.samples.append(duration(result, calls) * result.factor)
        yield number


def machine(device: ac.Device) -> list[Result]:
    """Return the device's own copy and matrix product, checked and ready to be timed."""
    on_cpu = device.name == "cpu"
    copy = Copy(16 << 20 if on_cpu else 64 << 20)
    product = Product(1024 if on_cpu else 4096)
    library = "numpy" if on_cpu else "cupy"
    results = []
    calls = machine_calls(device, copy.elements, product.size)
    tasks: tuple[Task, ...] = (copy, product)
    for task, (call, expected) in zip(tasks, calls, strict=True):
        error, wrong = compare(ac.to_numpy(call()), expected)
        result = Result(task, f"{library} {task.op}", library, task.op, device.name)
        result.max_error, result.wrong = error, wrong
        result.call = call if wrong is None else None
        result.synchronize = device.synchronize
        results.append(result)
    return results
