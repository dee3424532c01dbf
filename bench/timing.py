"""Check first, then time: nobody's time is taken before the result was right.

Every provider computes a small version of the case, and is held against the nested loops of
`arrayconv.reference`; then the whole case, and is held against the generic body in double
precision, which by then was held against the nested loops too (`bench.expected`). Then all take
turns, round by round, so that a slow moment of the machine falls on everyone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil
from typing import Any

import numpy as np

from bench.cases import Case, Copy, Product, Task
from bench.clocks import Call, Clock, HostClock
from bench.expected import HOST, TOLERANCE, Expected, Referee, as_tuple, compare
from bench.loops import UnableError
from bench.places import Place
from bench.providers import Provider

END_TO_END = " · end to end"
"""Behind the name of a case whose time is the host's, from the call to the finished result."""


@dataclass(frozen=True)
class Effort:
    """How long to measure: at most so many rounds, and seconds, for each provider."""

    rounds: int
    seconds: float
    least: int = 3
    """Rounds that even the slowest provider takes part in."""
    sample: float = 0.002
    """Seconds that one sample lasts at least, by repeating a short call."""
    rest: float = 0.0
    """Seconds before each provider's turn, in which the threads of the one before fall asleep."""
    pause: float = 0.0
    """Seconds before each call, where each call is a sample: as where an image comes now and then.
    """

    def samples(self, seconds_per_call: float) -> int:
        """Return how many samples to take of a call that lasts so long."""
        affordable = int(self.seconds / max(seconds_per_call, self.sample))
        return min(self.rounds, max(self.least, affordable))

    def calls(self, seconds_per_call: float) -> int:
        """Return how many calls make one sample."""
        if self.pause:
            return 1
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
    """What is timed; None for a provider that was wrong or unable."""
    clock: Clock = field(default_factory=HostClock)
    wrong: str | None = None
    """What is wrong with the result, where something is."""
    unable: str | None = None
    """Why the provider cannot compute the case, where it cannot."""
    max_error: float | None = None
    peak_extra_bytes: int | None = None
    extrapolated_from: list[int] | None = None
    """The shape of the part that was timed, where the time of the whole is worked out from it."""
    factor: float = 1.0
    """How many times the work of what was timed the whole has."""
    samples: list[float] = field(default_factory=list)
    """Seconds for the whole."""

    def seconds(self, percentile: float = 50) -> float | None:
        """Return the median, or another percentile, of the samples; None where there is none."""
        return float(np.percentile(self.samples, percentile)) if self.samples else None


# --- checking ---------------------------------------------------------------------------------


def check(
    provider: Provider, case: Case, expected: dict[str, Expected], referee: Referee = HOST
) -> list[Result]:
    """Return what a provider's results are worth, ready to be timed where they are right.

    On a GPU a small call is timed twice: by the GPU's clock, and by the host's.
    """
    result = Result(case, provider.name, provider.library, "", provider.device)
    timed = provider.timed(case)
    small = case.small()
    parts = {"small case": small}
    if timed is case:
        parts["whole case"] = case
    tolerance = TOLERANCE[case.dtype] * provider.tolerance
    call: Call | None = None
    errors: list[float] = []
    try:
        for where, part in parts.items():
            try:
                call, result.algorithm = provider.prepare(part)
            except UnableError as reason:
                # What cannot serve a small case, an algorithm for large kernels say, may serve it.
                if part is case or len(parts) == 1:
                    result.unable = str(reason)
                    return [result]
                continue
            if part is case and provider.peak is not None:
                output, result.peak_extra_bytes = provider.peak(call)
            else:
                output = call()
            outputs = [referee.takes(provider, each) for each in as_tuple(output)]
            error, wrong = compare(outputs, expected[where], tolerance, case.dtype, referee.xp)
            errors.append(error)
            if wrong is not None:
                result.wrong = f"at the {where}, {wrong}"
                return [result]
        if timed is not case and timed is not small:
            call, result.algorithm = provider.prepare(timed)
    except Exception as problem:  # a provider that fails must not end the others' benchmark
        result.wrong = f"{type(problem).__name__}: {problem}"
        return [result]
    finally:
        result.max_error = max(errors, default=None)
    result.call, result.clock = call, provider.clock
    if timed is not case:
        result.extrapolated_from = list(timed.input)
        result.factor = case.work / timed.work
    if not case.small_call or isinstance(provider.clock, HostClock):
        return [result]
    task = replace(case, name=case.name + END_TO_END)
    return [result, replace(result, task=task, clock=provider.host_clock, samples=[])]


# --- timing -----------------------------------------------------------------------------------


def take_turns(results: Sequence[Result], effort: Effort) -> Iterator[int]:
    """Time the results that were right, and yield after each round.

    A slow provider sits out rounds, evenly. A fast one is called once, untimed, before each
    sample: the one before it has left its own data in the caches. The threads of that may still
    look for work, and take a processor meanwhile: so there may be a rest before. With a pause each
    call is timed by itself, and finds caches and threads as that has left them.
    """
    plan = []
    for result in results:
        estimate = _seconds(result, 1)
        if estimate is not None:
            fast = estimate < 10 * effort.sample and not effort.pause
            if fast:
                estimate = _seconds(result, 1) or estimate
            every = ceil(effort.rounds / effort.samples(estimate))
            plan.append((result, effort.calls(estimate), every, fast))
    for number in range(effort.rounds):
        first = number % max(1, len(plan))
        for result, calls, every, fast in plan[first:] + plan[:first]:
            if number % every == 0:
                time.sleep(effort.pause or effort.rest)
                if fast:
                    _seconds(result, calls)
                seconds = _seconds(result, calls)
                if seconds is not None:
                    result.samples.append(seconds * result.factor)
        yield number


def _seconds(result: Result, calls: int) -> float | None:
    """Return the seconds of a call; None where it fails, which must not end the others' turns."""
    if result.call is None:
        return None
    try:
        return result.clock.seconds(result.call, calls)
    except Exception as problem:
        result.wrong, result.call = f"when timed, {type(problem).__name__}: {problem}", None
        result.samples.clear()
        return None


# --- the machine ------------------------------------------------------------------------------


def _copy_into(target: Any, source: Any) -> Any:
    target[...] = source
    return target


def machine(place: Place, xp: Any) -> list[Result]:
    """Return a place's own copy and matrix product, checked and ready to be timed."""
    on_cpu = place.device == "cpu"
    copy, product = Copy((16 if on_cpu else 256) << 20), Product(1024 if on_cpu else 8192)
    random = np.random.default_rng(0)
    source = place.asarray(np.arange(copy.elements, dtype=np.float32), "float32")
    square = (product.size, product.size)
    a, b = (place.asarray(random.random(square, dtype=np.float32), "float32") for _ in range(2))
    sums = xp.matmul(xp.astype(a, xp.float64), xp.astype(b, xp.float64))
    calls: tuple[tuple[Task, Callable[[], Any], Any], ...] = (
        (copy, partial(_copy_into, xp.zeros_like(source), source), source),
        (product, partial(xp.matmul, a, b), sums),
    )
    results = []
    for task, call, expected in calls:
        right, found = xp.astype(expected, xp.float64), call()
        error, wrong = compare((found,), (right,), TOLERANCE["float32"], "float32", xp)
        result = Result(task, f"{place.library} {task.op}", place.library, task.op, place.device)
        result.max_error, result.wrong, result.clock = error, wrong, place.clock
        result.call = call if wrong is None else None
        results.append(result)
    return results
