"""One command for all that a machine with a GPU owes: tests, sanitizer, benchmark, report.

It works from a plain checkout where nothing can be installed: the source by ``PYTHONPATH``, and the
packages that the machine lacks from wheels in the folder ``wheels/``, which git ignores. Each stage
saves what it has; a run that was cut off goes on with the stages that are not done.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from bench.gpu_run import FILES, REPOSITORY, Run, StageError, python
from bench.stages import STAGES, has_gpu

WHEELS = REPOSITORY / "wheels"
# What the tests and the benchmark need and a machine with CuPy and torch may lack.
PACKAGES = (
    *("array-api-compat", "array-api-strict", "threadpoolctl", "rich", "pillow", "hypothesis"),
    *("sortedcontainers", "markdown-it-py", "mdurl", "pygments", "pytest", "pluggy", "iniconfig"),
    # cuDNN itself comes with torch.
    "nvidia-cudnn-frontend<1.23",
)
MOST_BYTES = 15 << 20
CUT = b"\n... cut out ...\n"
FAILED, BAD_ARGUMENT, INTERRUPTED = 1, 2, 130


def environment_with_wheels(folder: Path) -> dict[str, str]:
    """Return the environment of the stages: the source, and the wheels that were brought along."""
    environment = dict(os.environ)
    # PYTHONPATH comes before what the machine has: so only what it lacks.
    paths = [str(REPOSITORY / "src"), str(REPOSITORY)]
    wheels = sorted(WHEELS.glob("*.whl"))
    if wheels:
        how = ("--quiet", "--no-index", "--no-deps", "--target", str(folder))
        for wheel in wheels:
            if not _installed(wheel):
                # One by one: what cannot be installed must not keep the others away.
                _install(wheel, *how)
        paths.append(str(folder))
    before = [environment["PYTHONPATH"]] if environment.get("PYTHONPATH") else []
    environment["PYTHONPATH"] = os.pathsep.join([*paths, *before])
    environment["ARRAYCONV_ALLOW_UNVERIFIED"] = "1"
    # Else JAX takes three quarters of the memory, and others share the process with it.
    environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    return environment


def _install(wheel: Path, *how: str) -> None:
    try:
        subprocess.run(python("-m", "pip", "install", *how, str(wheel)), check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as problem:
        print(f"LEFT OUT: {wheel.name}: {problem}", file=sys.stderr)


def _installed(wheel: Path) -> bool:
    """Return whether the machine has the package of a wheel, in whatever version."""
    try:
        metadata.version(wheel.name.partition("-")[0])
    except metadata.PackageNotFoundError:
        return False
    return True


def fetch_wheels() -> int:
    """Download the wheels for Linux and Python 3.12 into ``wheels/``."""
    platforms = [f"manylinux_2_{n}_x86_64" for n in (28, 27, 17)] + ["manylinux2014_x86_64"]
    flags = [flag for name in platforms for flag in ("--platform", name)]
    how = ("--quiet", "--no-deps", "--only-binary=:all:", "--python-version", "3.12")
    return subprocess.run(
        python("-m", "pip", "download", *how, *flags, "-d", str(WHEELS), *PACKAGES), check=False
    ).returncode


def parser() -> argparse.ArgumentParser:
    stages = "; ".join(
        f"{name}: {(stage.__doc__ or '').splitlines()[0].rstrip('.')}"
        for name, (stage, _) in STAGES.items()
    )
    built = argparse.ArgumentParser(
        "bash bench/gpu.sh",
        description=f"{__doc__.splitlines()[0] if __doc__ else ''} Stages: {stages}.",
        epilog="exit code: 0; 1 where a stage failed (the others still ran); 2 for a bad argument; "
        "130 after Ctrl-C. Run again with the same folder, it goes on where it was cut off. Where "
        "there is no git, ARRAYCONV_COMMIT names the commit for the records.",
    )
    built.add_argument("--seconds", type=float, default=540.0, help="in all; default: %(default)s")
    built.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        default=REPOSITORY / "bench" / "output" / "gpu",
        help="folder for at most eight files; default: %(default)s",
    )
    built.add_argument("--only", metavar="STAGE", choices=tuple(STAGES), help="this stage alone")
    built.add_argument("--again", action="store_true", help="begin anew: forget what is done")
    built.add_argument(
        "--fetch-wheels",
        action="store_true",
        help="only download what the GPU machine may lack into wheels/ (where there is a network)",
    )
    return built


def cut_to_size(path: Path) -> None:
    """Keep the beginning and the end of a text that is too large to be brought back."""
    if path.exists() and path.suffix == ".txt" and path.stat().st_size > MOST_BYTES:
        text, half = path.read_bytes(), (MOST_BYTES - len(CUT)) // 2
        path.write_bytes(text[:half] + CUT + text[-half:])


def what_is_done(run: Run) -> None:
    """Take over what an earlier run into the same folder has done."""
    try:
        state = json.loads(run.path("state").read_text(encoding="utf-8"))
        run.done, run.machine = state["done"], state["machine"]
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError) as problem:
        run.say(f"{FILES['state']} cannot be read, so all stages are run: {problem}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stages that are not done yet, within the time."""
    arguments = parser().parse_args(argv)
    if arguments.fetch_wheels:
        return fetch_wheels()
    if not arguments.seconds > 0:
        print("bench/gpu.sh: --seconds must be more than 0", file=sys.stderr)
        return BAD_ARGUMENT
    output = arguments.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    if arguments.again:
        for name in FILES.values():
            (output / name).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as packages:
        environment = environment_with_wheels(Path(packages))
        run = Run(output, time.monotonic() + arguments.seconds, environment)
        what_is_done(run)
        try:
            failed = stages(run, arguments.only)
        except KeyboardInterrupt:
            run.save()
            run.say("interrupted: what was done until then is kept")
            return INTERRUPTED
    for name in FILES:
        cut_to_size(run.path(name))
    for reason in run.skipped:
        run.say(f"LEFT OUT: {reason}")
    run.say(f"Written into {output}: {', '.join(sorted(p.name for p in output.iterdir()))}")
    return FAILED if failed else 0


def stages(run: Run, only: str | None) -> list[str]:
    """Run each stage that is not done; return those that failed."""
    gpu = has_gpu(run)
    failed = []
    for name, (stage, needs_gpu) in STAGES.items():
        if only not in (None, name) or (name in run.done and only is None):
            continue
        if needs_gpu and not gpu:
            run.skipped.append(f"stage {name}: there is no GPU here")
            continue
        if run.left() < 5:
            run.skipped.append(f"stage {name}: no time was left")
            continue
        run.say(f"== {name}: {(stage.__doc__ or '').splitlines()[0]}")
        started = time.monotonic()
        try:
            said = stage(run)
            if said is not None:
                run.done[name] = said
        except Exception as problem:
            # Whatever it is, the other stages go on.
            said = f"FAILED: {problem}"
            failed.append(name)
            if not isinstance(problem, StageError):
                run.say(traceback.format_exc())
        run.say(f"   {said or 'skipped'} ({time.monotonic() - started:.0f} s)")
        run.save()
    return failed


if __name__ == "__main__":
    sys.exit(main())
