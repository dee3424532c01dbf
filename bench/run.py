"""One run of the benchmark: every case checked, timed and shown, then kept in a folder."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from threadpoolctl import threadpool_info, threadpool_limits

import arrayconv as ac
from bench import environment, tables
from bench.cases import Case
from bench.expected import HOST, Referee, right_results
from bench.peers import jax_peer, ndimage_peer, torch_peer
from bench.photograph import photograph, photograph_cases
from bench.places import NUMPY, Place, cupy_place, jax_place, scipy_place, torch_place
from bench.providers import Provider, Source, arrayconv, loops
from bench.records import COPY, Record, Run, by_case, machine_rates, records, write_records
from bench.resuming import BrokenDeviceError, Unfinished, begin, recorded, to_come
from bench.suites import batched, suite
from bench.timing import Effort, Result, check, machine, take_turns

EFFORTS = {
    "photograph": Effort(rounds=40, seconds=2.0),
    "quick": Effort(rounds=9, seconds=0.25),
}
USUAL = Effort(rounds=15, seconds=0.6)
REST, SHARED_SAMPLE = 0.015, 0.01
"""Seconds where there are several threads: torch's look for work for 9 to 12 milliseconds after a
call, on the machine of docs/benchmarks.md. With a rest of 15 and as many calls, untimed and then
timed, as last for 10, eight of ten times were within 15 % of those in a process of its own, two
within 40 %; with less of either, one was more than three times as long.
"""
PAUSED_ROUNDS = 40
"""Calls that are timed where a pause is before each."""

WRONG, BROKEN, INTERRUPTED = 1, 3, 130
RECORDS = "records.jsonl"

LEGEND = """\
★ the fastest. Time is the median; the data are on the device already. vs: how many times faster.
* timed on a part, and extrapolated by the work. Of copy, of product: the share of this machine's
own rates at the least bytes, and the flops, of the definition. Extra memory: beyond input and
output, as a multiple of them. Max error: from double precision, as a share of the largest value;
every result was checked first: a small case by the nested loops, the whole by double precision."""


@dataclass(frozen=True)
class Plan:
    """What a run is asked for."""

    suite: str
    device: str
    threads: int
    output: Path
    batch: int | None = None
    quick: bool = False
    effort: Effort | None = None
    libraries: tuple[str, ...] = ()
    """Only these, where there are any."""
    only: str = "*"
    """The cases whose names this pattern fits."""
    implementations: str | None = None
    """"all" or "auto"; None: all of NumPy's and CuPy's, "auto" of the others."""
    seconds_in_all: float | None = None
    """After which no case is begun."""
    pause: float = 0.0
    """Seconds before each call that is timed."""
    go_on: bool = False
    """Behind the cases that the output has, and without what ended the run before."""
    plots: bool = True


class Progressing:
    """The bar of a run: one step for each check and each round, and no thread that draws it."""

    def __init__(self, console: Console, steps: int) -> None:
        columns = (TextColumn("{task.description:<60}"), BarColumn(), TimeElapsedColumn())
        self.bar = Progress(
            *columns,
            console=console,
            auto_refresh=False,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("starting", total=steps)

    def says(self, what: str) -> None:
        self.bar.update(self.task, description=what[:60], refresh=True)

    def advance(self, share: float = 1.0) -> None:
        self.bar.update(self.task, advance=share, refresh=True)


def sources(plan: Plan, device: ac.Device) -> tuple[list[Source], list[str], list[tuple[Any, Any]]]:
    """Return who can compute here, what was left out and why, and the places with their xp.

    On a GPU the CPU takes part in the small suites only, where the loops are the point.
    """
    found: list[Source] = []
    left_out: list[str] = []
    machines: list[tuple[Any, Any]] = []

    def wanted(library: str) -> bool:
        return not plan.libraries or library in plan.libraries

    def add(library: str, where: str, make: Callable[[], Iterable[Source]]) -> None:
        if not wanted(library):
            return
        try:
            found.extend(make())
        except Exception as problem:
            # Not there, or not as it should be: the others are measured all the same.
            left_out.append(f"{library} on {where}: {problem}")

    def both(place: Place, peer: Callable[[Place], Source], library: str) -> list[Source]:
        usual = "all" if library in ("numpy", "cupy") else "auto"
        return [arrayconv(place, plan.implementations or usual), peer(place)]

    def on(where: str) -> None:
        add("torch", where, lambda: both(torch_place(where), torch_peer, "torch"))
        add("jax", where, lambda: both(jax_place(where), jax_peer, "jax"))

    on_gpu = device.name != "cpu"
    if not on_gpu or plan.suite in ("photograph", "quick"):
        machines.append((NUMPY, ac.get_device("cpu").xp))
        if wanted("numpy"):
            found += [loops, arrayconv(NUMPY, plan.implementations or "all")]
        on("cpu")
        ndimage = partial(ndimage_peer, module="scipy.ndimage")
        add("scipy", "cpu", lambda: [ndimage(scipy_place())])
    if on_gpu:
        place = cupy_place(device)
        machines.append((place, device.xp))
        twin = partial(ndimage_peer, module="cupyx.scipy.ndimage")
        add("cupy", device.name, lambda: both(place, twin, "cupy"))
        on(device.name)
    elif plan.device == "auto":
        try:
            ac.get_device("cuda")
        except RuntimeError as error:
            left_out.append(f"CUDA: {error}")
    return found, left_out, machines


def cases_of(plan: Plan, on_gpu: bool) -> tuple[Case, ...]:
    """Return the cases of a plan, for its batch; the photograph's are one picture."""
    if plan.suite == "photograph":
        cases = photograph_cases(*photograph(2 if plan.quick else 1))
    else:
        cases = batched(suite(plan.suite, on_gpu), plan.batch or (32 if on_gpu else 1))
    chosen = tuple(case for case in cases if fnmatchcase(case.name, plan.only))
    if not chosen:
        raise ValueError(f"no case of suite {plan.suite} fits {plan.only!r}: python -m bench list")
    return chosen


def measure(
    case: Case,
    offered: Sequence[Provider],
    effort: Effort,
    progress: Progressing,
    unfinished: Unfinished,
    referee: Referee,
) -> list[Result]:
    """Return what every provider gives at one case; an interrupt keeps those that were timed."""
    mine: list[Result] = []
    progress.says(f"{case.name}: what is right")
    unfinished.at(case.name)
    expected = right_results(case, referee)
    try:
        for provider in offered:
            progress.says(f"{case.name}: checking {provider.name}")
            unfinished.at(case.name, provider.name)
            mine += check(provider, case, expected, referee)
            if mine[-1].wrong is not None:
                unfinished.survives(f"{provider.name} at {case.name}: {mine[-1].wrong}")
        progress.says(f"{case.name}: timing")
        unfinished.at(case.name)
        right = [each for each in mine if each.wrong is None]
        for _ in take_turns(mine, effort):
            progress.advance(1 / effort.rounds)
        for result in right:
            if result.wrong is not None:
                unfinished.at(case.name, result.name)
                unfinished.survives(f"{result.name} at {case.name}: {result.wrong}")
    except KeyboardInterrupt as stopped:
        stopped.args = (mine,)
        raise
    return mine


def facts(device: ac.Device) -> dict[str, str]:
    """Return the versions of what computes here, with the thread pools as they are set now."""
    found = environment.versions()
    if device.name != "cpu":
        found["gpu"] = environment.gpu(int(device.name.partition(":")[2]))
    found["thread pools"] = "; ".join(environment.pools(threadpool_info()))
    if sys.modules.get("torch") is not None:
        found["thread pools"] += f"; torch {sys.modules['torch'].get_num_threads()} threads"
    found["environment"] = " ".join(environment.in_force())
    return found


def say(console: Console, line: str, style: str = "") -> None:
    """Print one line as it is, whatever the width: a program may read it."""
    console.print(line, style=style, soft_wrap=True, highlight=False, markup=False)


def show(console: Console, case: Case, mine: Sequence[Result], about: Run) -> None:
    """Print the table of a case, and the reasons of those who are not in it.

    The results of the machine itself come with those of the case, for its shares of them.
    """
    for name, kept in by_case(records(mine, about)).items():
        console.print(tables.case_table(case.title or name, kept, console.width))
    for line in tables.unable_lines(mine):
        say(console, line, "dim")


def run(plan: Plan) -> int:
    """Measure, report, and return the exit code."""
    # Where no terminal sets a width, the tables' own.
    console = Console(width=None if sys.stdout.isatty() else 140)
    device = ac.get_device(plan.device)
    offered, left_out, machines = sources(plan, device)
    before = recorded(plan.output / RECORDS, plan.go_on)
    unfinished = begin(plan.output, plan.go_on, device.synchronize)
    referee = referee_of(device)
    every = cases_of(plan, device.name != "cpu")
    cases = to_come(every, before, plan.libraries, unfinished.behind)
    quick = plan.quick or plan.suite == "quick"
    effort = plan.effort or EFFORTS.get("quick" if quick else plan.suite, USUAL)
    if plan.threads > 1 and device.name == "cpu":
        effort = replace(effort, rest=REST, sample=SHARED_SAMPLE)
    if plan.pause:
        effort = replace(effort, pause=plan.pause, rounds=PAUSED_ROUNDS)
    results: list[Result] = []
    code = 0
    if sys.modules.get("torch") is not None:
        sys.modules["torch"].set_num_threads(plan.threads)
    with threadpool_limits(plan.threads), ac.options(threads=plan.threads):
        about = Run(
            plan.threads,
            environment.commit(),
            facts(device) | ({"pause": f"{plan.pause:g} s before each call"} if plan.pause else {}),
            environment.timestamp(),
        )
        for name, version in about.versions.items():
            say(console, f"{name}: {version}")
        for reason in [*left_out, *(f"{name}: it ended a run" for name in unfinished.without)]:
            say(console, f"LEFT OUT: {reason}")
        console.print()
        progress = Progressing(console, len(cases) + 1)
        try:
            with progress.bar:
                progress.says("the machine's own copy and matrix product")
                own = measured_machines(console, machines)
                for _ in take_turns(own, effort):
                    progress.advance(1 / effort.rounds)
                results += own
                started = monotonic()
                for number, case in enumerate(cases):
                    if plan.seconds_in_all and monotonic() - started > plan.seconds_in_all:
                        rest = len(cases) - number
                        say(console, f"LEFT OUT: {rest} cases, for which no time was left")
                        break
                    try:
                        found = [each for source in offered for each in source(case)]
                        able = [each for each in found if each.name not in unfinished.without]
                        mine = measure(case, able, effort, progress, unfinished, referee)
                    except BrokenDeviceError:
                        raise
                    except Exception as problem:
                        # One case must not end the others.
                        unfinished.survives(f"{case.name}: {problem}")
                        say(console, f"LEFT OUT: {case.name}: {type(problem).__name__}: {problem}")
                        code = WRONG
                        continue
                    results += mine
                    write_records(plan.output / RECORDS, [*before, *records(results, about)])
                    show(console, case, [*own, *mine], about)
        except KeyboardInterrupt as stopped:
            code = INTERRUPTED
            results += stopped.args[0] if stopped.args else []
        except BrokenDeviceError as problem:
            say(console, f"The device is broken: {problem}", "bold red")
            return BROKEN
    if code != INTERRUPTED:
        unfinished.ends()
    return finish(console, plan, every, results, [*before, *records(results, about)], code)


def measured_machines(console: Console, machines: Iterable[tuple[Place, Any]]) -> list[Result]:
    """Return the copy and the product of each place, ready to be timed."""
    found: list[Result] = []
    for place, xp in machines:
        try:
            found += machine(place, xp)
        except Exception as problem:
            # Then there are no shares of its rates; the cases are measured all the same.
            say(console, f"LEFT OUT: {place.library}'s own copy and product: {problem}")
    return found


def referee_of(device: ac.Device) -> Referee:
    """Return who works out what is right: the device itself."""
    if device.name == "cpu":
        return HOST
    cupy = importlib.import_module("cupy")
    return Referee(cupy, cupy.asarray)


def finish(
    console: Console,
    plan: Plan,
    cases: Sequence[Case],
    results: Sequence[Result],
    kept: list[Record],
    code: int,
) -> int:
    """Write the files, print what sums the run up, and return the exit code."""
    write_records(plan.output / RECORDS, kept)
    written = [RECORDS]
    if plan.plots:
        from bench.plots import draw_run

        written += draw_run(plan.output, cases, kept)
    console.print(tables.headline_table(kept))
    for (name, op), rate in machine_rates(kept).items():
        unit = "GB/s copied" if op == COPY else "GFLOP/s in a product of matrices"
        say(console, f"{name}: {rate / 1e9:,.0f} {unit}")
    say(console, LEGEND, "dim")
    say(console, f"Written into {plan.output}: {', '.join(written)}")
    wrong = [result for result in results if result.wrong is not None]
    for result in wrong:
        where = f"{result.task.name} on {result.device}"
        say(console, f"WRONG: {result.name} at {where}: {result.wrong}", "bold red")
    if code == INTERRUPTED:
        say(console, "Interrupted: what was measured until then is kept.")
        return INTERRUPTED
    return WRONG if wrong else code
