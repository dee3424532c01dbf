"""One run of the benchmark: every case checked, timed and shown, then kept in a folder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from threadpoolctl import threadpool_info, threadpool_limits

import arrayconv as ac
from bench import environment, pictures, report
from bench.cases import Array, Convolution, convolutions, photograph
from bench.providers import Provider, providers
from bench.timing import CROP, Effort, Result, check, machine, right_results, take_turns

FULL = Effort(rounds=40, seconds=4.0)
QUICK = Effort(rounds=12, seconds=0.5)

WRONG, INTERRUPTED = 1, 130
RECORDS, TIMES, MAPS = "records.jsonl", "times.png", "feature_maps.png"

LEGEND = f"""\
★ the fastest. Time is the median; the data are on the device already.
* timed on a crop of at most {CROP} × {CROP} cells, and extrapolated by the number of multiply-adds.
Max error is that from the loops in float64, as a share of the largest value. Every result was
checked before it was timed: the crop by the nested loops, the whole by the position loop.\
"""


class Progressing:
    """The bar of a run: one step for each check and each round, and no thread that draws it."""

    def __init__(self, console: Console, steps: int) -> None:
        columns = (TextColumn("{task.description:<48}"), BarColumn(), TimeElapsedColumn())
        self.bar = Progress(
            *columns,
            console=console,
            auto_refresh=False,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("starting", total=steps)

    def says(self, what: str) -> None:
        self.bar.update(self.task, description=what, refresh=True)

    def advance(self) -> None:
        self.bar.update(self.task, advance=1, refresh=True)


def measure(
    case: Convolution,
    offered: Sequence[Provider],
    effort: Effort,
    results: list[Result],
    progress: Progressing,
    console: Console,
) -> None:
    """Append and print what every provider gives at one case, an interrupted one too."""
    progress.says(f"{case.name}: the loops, to check against")
    expected = right_results(case)
    progress.advance()
    mine: list[Result] = []
    try:
        for provider in offered:
            progress.says(f"{case.name}: checking {provider.name}")
            mine.append(check(provider, case, expected))
            progress.advance()
        progress.says(f"{case.name}: timing")
        for _ in take_turns(mine, effort):
            progress.advance()
    finally:
        results += mine
        if mine:
            console.print(report.table(case, mine, console.width))


def feature_maps(cases: Sequence[Convolution], results: Sequence[Result]) -> dict[str, Array]:
    """Return what `arrayconv.conv2d` makes of the photograph in the cases where it was right."""
    right = {each.task.name for each in results if each.name == report.OURS and not each.wrong}
    return {
        case.name: ac.conv2d(
            case.input, case.weight, case.bias, padding=case.padding, groups=case.groups
        )
        for case in cases
        if case.name in right
    }


def facts(device: ac.Device) -> dict[str, str]:
    """Return the versions of what computes here, with the thread pools as they are set now."""
    found = environment.versions()
    if device.name != "cpu":
        found["gpu"] = environment.gpu(int(device.name.partition(":")[2]))
    found["thread pools"] = "; ".join(environment.pools(threadpool_info()))
    return found


def say(console: Console, line: str, style: str = "") -> None:
    """Print one line as it is, whatever the width: a program may read it."""
    console.print(line, style=style, soft_wrap=True, highlight=False, markup=False)


def write(
    output: Path,
    photo: Array,
    cases: Sequence[Convolution],
    results: Sequence[Result],
    about: report.Run,
) -> list[str]:
    """Replace the files of the run before, and return the names of those that there are now."""
    for name in (RECORDS, TIMES, MAPS):
        (output / name).unlink(missing_ok=True)
    report.write_records(output / RECORDS, report.records(results, about))
    pictures.times_picture(output / TIMES, cases, results)
    pictures.maps_picture(output / MAPS, photo, cases, feature_maps(cases, results))
    return [name for name in (RECORDS, TIMES, MAPS) if (output / name).exists()]


def run(device_name: str, effort: Effort, reduce: int, threads: int, output: Path) -> int:
    """Measure, report, and return the exit code; the photograph is ``reduce`` times smaller."""
    # Where no terminal sets a width, the tables' own.
    console = Console(width=None if sys.stdout.isatty() else 110)
    device = ac.get_device(device_name)
    offered, left_out = providers(device, device_name)
    grey, rgb = photograph(reduce)
    cases = convolutions(grey, rgb)
    results: list[Result] = []
    interrupted = False
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    with threadpool_limits(threads):
        versions = facts(device)
        for name, version in versions.items():
            say(console, f"{name}: {version}")
        for reason in left_out:
            say(console, f"LEFT OUT: {reason}")
        console.print()
        steps = effort.rounds + len(cases) * (1 + len(offered) + effort.rounds)
        progress = Progressing(console, steps)
        try:
            with progress.bar:
                progress.says("the machine's own copy and matrix product")
                for name in dict.fromkeys(("cpu", device.name)):
                    results += machine(device if name == device.name else ac.get_device(name))
                for _ in take_turns(results, effort):
                    progress.advance()
                for case in cases:
                    measure(case, offered, effort, results, progress, console)
        except KeyboardInterrupt:
            interrupted = True
        about = report.Run(threads, environment.commit(), versions, environment.timestamp())
        written = write(output, rgb, cases, results, about)
    for (name, op), rate in report.rates(results).items():
        unit = "GB/s copied" if op == "copy" else "GFLOP/s in a product of matrices"
        say(console, f"{name}: {rate / 1e9:,.0f} {unit}")
    say(console, LEGEND, "dim")
    say(console, f"Written into {output}: {', '.join(written)}")
    wrong = [result for result in results if result.wrong is not None]
    for result in wrong:
        where = f"{result.task.name} on {result.device}"
        say(console, f"WRONG: {result.name} at {where}: {result.wrong}", "bold red")
    if interrupted:
        say(console, "Interrupted: what was measured until then is kept.")
        return INTERRUPTED
    return WRONG if wrong else 0
