"""The command ``python -m bench``: run, list, report, compare."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import environment

NEEDED = {
    "arrayconv": "arrayconv",
    "numpy": "numpy",
    "matplotlib": "matplotlib",
    "PIL": "pillow",
    "rich": "rich",
    "threadpoolctl": "threadpoolctl",
}
BAD_ARGUMENT, INTERRUPTED = 2, 130
SUITE_NAMES = (
    *("photograph", "quick", "resnet50", "unfold", "pool", "conv", "bias", "grad", "dtypes"),
    *("small", "scaling", "gpu", "all"),
)

DESCRIPTION = """\
Measure convolutions, pools and im2col: by nested loops, by a loop over output positions, by each
implementation that arrayconv has, and by PyTorch, JAX and SciPy where they are installed. Every
result is checked against the loops before it is timed; a wrong one is shown, and not timed.
"""
EPILOG = """\
Without a command it is `run`, and without a suite that convolves a photograph with a few filters.
`python -m bench COMMAND --help` explains each. Exit code: 0; 1 where a result was wrong, or a page
is not what its records say (report --check); 2 for a bad argument, a device that is not there or a
missing package; 3 where a GPU does not work any more (see --go-on); 130 after Ctrl-C, which keeps
what was measured.
"""


def whole_number(text: str) -> int:
    """Return the number that a text is, if it is at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def seconds(text: str) -> float:
    """Return the seconds that a text is, if they are more than none."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be seconds, more than 0, got {text!r}")
    return number


def parser() -> argparse.ArgumentParser:
    built = argparse.ArgumentParser("python -m bench", description=DESCRIPTION, epilog=EPILOG)
    commands = built.add_subparsers(dest="command", metavar="COMMAND")
    run = commands.add_parser("run", help="measure a suite (the default)", epilog=EPILOG)
    add_run_arguments(run)
    commands.add_parser("list", help="the suites and their cases")
    report = commands.add_parser(
        "report",
        help="Markdown and plots of records, or the tables in README and docs",
        description="With FILE: write report.md and plots into a folder. Without: make the tables "
        "between the markers of README.md and docs/benchmarks.md anew from bench/results.",
    )
    report.add_argument("records", metavar="FILE", type=Path, nargs="?", help="JSON lines of a run")
    report.add_argument("--output", metavar="DIR", type=Path, help="default: the file's folder")
    report.add_argument(
        "--check",
        action="store_true",
        help="change nothing; end with 1 where README or docs are not what the records say",
    )
    compare = commands.add_parser(
        "compare",
        help="two files of records against each other",
        description="Print before / after for each provider and case that both files have; "
        "'faster' and 'slower' stand where the spreads do not meet.",
    )
    compare.add_argument("before", metavar="A", type=Path)
    compare.add_argument("after", metavar="B", type=Path)
    return built


def add_run_arguments(run: argparse.ArgumentParser) -> None:
    run.add_argument(
        "--suite",
        choices=SUITE_NAMES,
        default="photograph",
        help="what is measured; `python -m bench list` shows the cases; default: %(default)s",
    )
    run.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where to compute; auto: a GPU if CuPy sees one",
    )
    run.add_argument(
        "--quick",
        action="store_true",
        help="fewer rounds, and a smaller photograph: seconds, not minutes",
    )
    run.add_argument(
        "--threads",
        type=whole_number,
        metavar="N",
        help="threads for arrayconv, the matrix product of NumPy, and torch; default: "
        "ARRAYCONV_NUM_THREADS, else OMP_NUM_THREADS, else the CPUs that the process may use",
    )
    run.add_argument(
        "--batch", type=whole_number, metavar="N", help="images; default: 1, and 32 on a GPU"
    )
    run.add_argument(
        "--only", metavar="PATTERN", default="*", help="cases whose names fit, as 'vgg16*'"
    )
    run.add_argument(
        "--libraries",
        metavar="NAMES",
        default="",
        help="only these, with commas between: numpy, torch, jax, scipy, cupy; default: all",
    )
    run.add_argument(
        "--without",
        metavar="NAMES",
        default="",
        help="do as if these packages were not installed, with commas between: numba, say",
    )
    run.add_argument(
        "--implementations",
        choices=("all", "auto"),
        help="every implementation of arrayconv, or what it chooses; default: all of NumPy's and "
        "CuPy's, the choice on other libraries",
    )
    run.add_argument(
        "--seconds",
        type=seconds,
        metavar="S",
        help="begin no case after so many seconds: for a machine that is lent for a while",
    )
    run.add_argument(
        "--pause",
        type=seconds,
        metavar="S",
        default=0.0,
        help="sleep so many seconds before each call, and time each by itself: what it takes where "
        "an image comes now and then",
    )
    run.add_argument(
        "--go-on",
        action="store_true",
        help="keep the records that the output has and measure the other cases, without what ended "
        "the run before, as an error that breaks a GPU for its whole process does (exit code 3)",
    )
    run.add_argument("--no-plots", action="store_true", help="only records: plots take seconds")
    run.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        default=Path(__file__).parent / "output",
        help="folder for records.jsonl and plots, which replace those of the run before; "
        "default: %(default)s",
    )


def stop(message: str, code: int = BAD_ARGUMENT) -> int:
    print(f"python -m bench: {message}", file=sys.stderr)
    return code


def with_command(argv: Sequence[str]) -> list[str]:
    """Return the arguments with the command that goes without saying."""
    if argv and (argv[0] in RUNS or argv[0] in ("-h", "--help")):
        return list(argv)
    return ["run", *argv]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; without ``argv``, as the program that this process is."""
    arguments = parser().parse_args(with_command(sys.argv[1:] if argv is None else argv))
    absent = [package for module, package in NEEDED.items() if not importlib.util.find_spec(module)]
    if absent:
        return stop(f"not installed: {', '.join(absent)}; python -m pip install -e '.[bench]'")
    if argv is None and arguments.command == "run":
        environment.restart_in_clean_environment()
    try:
        return RUNS[arguments.command](arguments)
    except KeyboardInterrupt:
        return stop("interrupted", INTERRUPTED)


def run_command(arguments: argparse.Namespace) -> int:
    """Measure a suite."""
    for name in filter(None, arguments.without.split(",")):
        # What is None there cannot be found.
        sys.modules[name] = None  # type: ignore[assignment]
    # Only now: these load NumPy, which reads the environment once.
    import arrayconv
    from bench.run import Plan, run

    known = ("numpy", "torch", "jax", "scipy", "cupy")
    libraries = tuple(filter(None, arguments.libraries.split(",")))
    for name in libraries:
        if name not in known:
            return stop(f"--libraries: {name!r} is none of {', '.join(known)}")
    try:
        threads = arguments.threads or environment.default_threads(os.environ)
        arrayconv.get_device(arguments.device)
        output = arguments.output.resolve()
        output.mkdir(parents=True, exist_ok=True)
    except (RuntimeError, ValueError, OSError) as error:
        return stop(str(error))
    plan = Plan(
        suite=arguments.suite,
        device=arguments.device,
        threads=threads,
        output=output,
        batch=arguments.batch,
        quick=arguments.quick,
        libraries=libraries,
        only=arguments.only,
        implementations=arguments.implementations,
        seconds_in_all=arguments.seconds,
        pause=arguments.pause,
        go_on=arguments.go_on,
        plots=not arguments.no_plots,
    )
    try:
        return run(plan)
    except ValueError as error:
        return stop(str(error))


def list_command(arguments: argparse.Namespace) -> int:
    """Print the suites and their cases."""
    from bench.suites import SUITES, suite

    print("photograph: a few filters on a photograph (the default)")
    for name, (_, what) in SUITES.items():
        print(f"{name}: {what}")
        for case in suite(name, on_gpu=True):
            print(f"    {case.name}")
    print("all: every case of these")
    return 0


def report_command(arguments: argparse.Namespace) -> int:
    """Write Markdown and plots."""
    from bench.report import PAGES, rewritten, stale_pages, write_report

    try:
        if arguments.records is not None:
            output = arguments.output or arguments.records.parent
            written = write_report(arguments.records, output)
            print(f"Written into {output}: {', '.join(written)}")
            return 0
        pages = [environment.REPOSITORY / page for page in PAGES]
        if arguments.check:
            stale = stale_pages(pages)
            for page in stale:
                print(f"{page} is not what its records say: python -m bench report")
            return 1 if stale else 0
        for page in pages:
            page.write_text(rewritten(page), encoding="utf-8")
            print(f"Written: {page}")
    except (OSError, ValueError) as error:
        return stop(str(error))
    return 0


def compare_command(arguments: argparse.Namespace) -> int:
    """Print two files of records against each other."""
    from rich.console import Console

    from bench.records import read_records
    from bench.tables import comparison

    try:
        table, said = comparison(read_records(arguments.before), read_records(arguments.after))
    except (OSError, ValueError) as error:
        return stop(str(error))
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    print(said)
    return 0


RUNS = {
    "run": run_command,
    "list": list_command,
    "report": report_command,
    "compare": compare_command,
}

if __name__ == "__main__":
    sys.exit(main())
