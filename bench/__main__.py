"""The command ``python -m bench``."""

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

DESCRIPTION = """\
Convolve a photograph with a few filters: by nested loops, by a loop over output positions, by
im2col and a product of matrices, and by the best that arrayconv has; with torch beside them where
it is installed. Every result is checked against the loops before it is timed.
"""
EPILOG = """\
exit code: 0; 1 where a result was wrong; 2 for a bad argument, a device that is not there or a
missing package; 130 after Ctrl-C, which keeps what was measured.
"""


def whole_number(text: str) -> int:
    """Return the number that a text is, if it is at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def parser() -> argparse.ArgumentParser:
    built = argparse.ArgumentParser("python -m bench", description=DESCRIPTION, epilog=EPILOG)
    built.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where arrayconv and torch compute, beside the CPU; auto: a GPU if CuPy sees one",
    )
    built.add_argument(
        "--quick",
        action="store_true",
        help="half the photograph's height and width, and fewer rounds: seconds, not minutes",
    )
    built.add_argument(
        "--threads",
        type=whole_number,
        metavar="N",
        help="threads for the matrix product of NumPy and for torch; default: "
        "ARRAYCONV_NUM_THREADS, else OMP_NUM_THREADS, else the CPUs that the process may use",
    )
    built.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        default=Path(__file__).parent / "output",
        help="folder for the records (JSON lines), the plot of the times and the feature maps, "
        "which replace those of the run before; default: %(default)s",
    )
    return built


def stop(message: str, code: int = BAD_ARGUMENT) -> int:
    print(f"python -m bench: {message}", file=sys.stderr)
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; without ``argv``, as the program that this process is."""
    arguments = parser().parse_args(argv)
    absent = [package for module, package in NEEDED.items() if not importlib.util.find_spec(module)]
    if absent:
        return stop(f"not installed: {', '.join(absent)}; python -m pip install -e '.[bench]'")
    if argv is None:
        environment.restart_in_clean_environment()
    try:
        # Only now: these load NumPy, which reads the environment once.
        import arrayconv
        from bench.run import FULL, QUICK, run

        try:
            threads = arguments.threads or environment.default_threads(os.environ)
            arrayconv.get_device(arguments.device)
            output = arguments.output.resolve()
            output.mkdir(parents=True, exist_ok=True)
        except (RuntimeError, ValueError, OSError) as error:
            return stop(str(error))
        effort, reduce = (QUICK, 2) if arguments.quick else (FULL, 1)
        return run(arguments.device, effort, reduce, threads, output)
    except KeyboardInterrupt:
        return stop("interrupted", INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
