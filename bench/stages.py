"""What a machine with a GPU is asked to do, stage by stage, within a time.

Imports nothing but Python's own library: what a stage starts brings the rest.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
SUITES = ("quick", "unfold", "pool", "conv", "grad", "small", "dtypes")
FILES = {
    "state": "stages.json",
    "log": "log.txt",
    "kernels": "kernels.jsonl",
    "tests": "tests.xml",
    "sanitizer": "sanitizer.txt",
    "records": "records.jsonl",
    "report": "report.md",
    "plots": "plots.tar.gz",
}
"""All that comes of a run: eight files at the most."""

MACHINE = """\
import json, platform, importlib.metadata as metadata
names = "numpy cupy-cuda13x cupy-cuda12x torch jax scipy pytest array-api-compat".split()
names += "nvidia-cudnn-frontend nvidia-cudnn-cu13 nvidia-cudnn-cu12".split()
found = {"python": platform.python_version(), "platform": platform.platform()}
for name in names:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
try:
    import cupy
    found["NVRTC"] = ".".join(map(str, cupy.cuda.nvrtc.getVersion()))
    found["GPUs"] = []
    for number in range(cupy.cuda.runtime.getDeviceCount()):
        about = cupy.cuda.runtime.getDeviceProperties(number)
        found["GPUs"].append({"name": about["name"].decode(), "major": about["major"],
            "minor": about["minor"], "memory": about["totalGlobalMem"],
            "L2": about["l2CacheSize"], "processors": about["multiProcessorCount"]})
    found["driver"] = cupy.cuda.runtime.driverGetVersion()
    found["runtime"] = cupy.cuda.runtime.runtimeGetVersion()
except Exception as problem:
    found["no GPU"] = f"{type(problem).__name__}: {problem}"
print(json.dumps(found, indent=1))
"""


@dataclass
class Run:
    """A run of all stages: where it writes, and until when."""

    output: Path
    deadline: float
    environment: dict[str, str]
    done: dict[str, str] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def left(self) -> float:
        return self.deadline - time.monotonic()

    def path(self, name: str) -> Path:
        return self.output / FILES[name]

    def say(self, line: str) -> None:
        print(line, flush=True)
        with self.path("log").open("a", encoding="utf-8") as log:
            log.write(line + "\n")

    def call(self, command: Sequence[str], seconds: float, into: Path | None = None) -> int:
        """Run a command for at most so many seconds, its output into the log or a file of its own.

        Returns its exit code, or 124 where it ran out of time.
        """
        path = self.path("log") if into is None else into
        with path.open("a", encoding="utf-8") as file:
            file.write(f"$ {' '.join(command)}\n")
            file.flush()
            try:
                done = subprocess.run(
                    command,
                    cwd=REPOSITORY,
                    env=self.environment,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    timeout=max(1.0, min(seconds, self.left())),
                    check=False,
                )
            except subprocess.TimeoutExpired:
                file.write("ran out of time\n")
                return 124
            return done.returncode

    def save(self) -> None:
        state = {"done": self.done, "skipped": self.skipped, "machine": self.machine}
        self.path("state").write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def has_gpu(environment: dict[str, str]) -> bool:
    """Return whether CuPy sees a GPU."""
    asked = "import sys, cupy; sys.exit(0 if cupy.cuda.is_available() else 1)"
    done = subprocess.run(
        python("-c", asked), env=environment, capture_output=True, check=False, cwd=REPOSITORY
    )
    return done.returncode == 0


# --- the stages: each returns what it says of itself, or None where it could not be ---------------


def machine(run: Run) -> str | None:
    """Versions, devices, driver, commit."""
    done = subprocess.run(
        python("-c", MACHINE),
        env=run.environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    failed = done.returncode != 0
    run.machine = {"problem": done.stderr[-2000:]} if failed else json.loads(done.stdout)
    revision = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    run.machine["commit"] = revision.stdout.strip() or "unknown"
    gpus = [gpu["name"] for gpu in run.machine.get("GPUs", [])]
    return ", ".join(gpus) or "no GPU"


def compilation(run: Run) -> str | None:
    """Every kernel compiled, with registers, shared memory and spills."""
    code = run.call(python("-m", "arrayconv", "compile"), 60)
    if code not in (0, 124):
        raise StageError(f"python -m arrayconv compile ended with {code}")
    return "compiled" if code == 0 else "cut off"


ON_GPU = ("--library", "cupy", "--device", "cuda")
KERNEL_TESTS = "tests/test_cuda_on_gpu.py"


def kernels(run: Run) -> str | None:
    """Every check of the kernels; their record, if all pass, is what makes them verified."""
    record = f"--kernel-record={run.path('kernels')}"
    code = run.call(python("-m", "pytest", "-q", *ON_GPU, record, KERNEL_TESTS), 220)
    if code == 124:
        return "cut off: there is no record"
    if code != 0:
        raise StageError(f"pytest ended with {code}: the log has the failures")
    return "passed"


def tests(run: Run) -> str | None:
    """The suite on CuPy arrays: generic bodies and kernels, against the loops."""
    report = f"--junit-xml={run.path('tests')}"
    code = run.call(python("-m", "pytest", "-q", "--maxfail=50", *ON_GPU, report, "tests"), 150)
    if code == 124:
        return "cut off: the report holds nothing"
    if code != 0:
        raise StageError(f"pytest ended with {code}: the log has the failures")
    return "passed"


def sanitizer(run: Run) -> str | None:
    """Memory errors and races, by compute-sanitizer, on a small set of tests."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        run.skipped.append("compute-sanitizer is not installed")
        return None
    said = []
    for kind in ("memcheck", "racecheck"):
        small = python("-m", "pytest", "-q", "-k", "small", *ON_GPU, KERNEL_TESTS)
        command = [tool, "--tool", kind, "--error-exitcode", "9", *small]
        code = run.call(command, 60, into=run.path("sanitizer"))
        text = run.path("sanitizer").read_text(encoding="utf-8")
        if "Device not supported" in text:
            run.skipped.append("compute-sanitizer: Device not supported")
            return None
        if code == 9:
            raise StageError(f"compute-sanitizer {kind} found errors: {FILES['sanitizer']}")
        said.append(f"{kind}: {'clean' if code == 0 else f'ended with {code}'}")
    return ", ".join(said)


def tiles(run: Run) -> str | None:
    """Each convolution of ResNet-50 with each tile and number of stages, into the log."""
    code = run.call(python("-m", "bench.tiles"), 80)
    if code not in (0, 124):
        raise StageError(f"python -m bench.tiles ended with {code}")
    return "measured" if code == 0 else "cut off: the log has the first layers"


def benchmark(run: Run) -> str | None:
    """Every suite, each case checked before it is timed; kept suite by suite."""
    measured = 0
    for suite in SUITES:
        if f"suite {suite}" in run.done:
            continue
        seconds = run.left() - 25
        if seconds < 20:
            run.skipped.append(f"suite {suite}: no time was left")
            continue
        with tempfile.TemporaryDirectory() as folder:
            command = python("-m", "bench", "--suite", suite, "--device", "cuda")
            limit = seconds / 2 if suite == "conv" else seconds / 3
            how = ("--seconds", f"{limit:.0f}", "--output", folder)
            code = run.call([*command, *how], seconds)
            found = Path(folder) / "records.jsonl"
            if found.exists():
                text = found.read_text(encoding="utf-8")
                measured += text.count("\n")
                with run.path("records").open("a", encoding="utf-8") as records:
                    records.write(text)
            if code not in (0, 1, 124):
                raise StageError(f"suite {suite} ended with {code}")
            run.done[f"suite {suite}"] = {0: "done", 1: "something was wrong"}.get(code, "cut off")
            run.save()
    return f"{measured} records"


def report(run: Run) -> str | None:
    """Tables and plots of the records."""
    if not run.path("records").exists():
        run.skipped.append("the report: there are no records")
        return None
    with tempfile.TemporaryDirectory() as folder:
        command = python("-m", "bench", "report", str(run.path("records")), "--output", folder)
        if run.call(command, 60) != 0:
            raise StageError("python -m bench report failed: see the log")
        shutil.copy(Path(folder) / "report.md", run.path("report"))
        with tarfile.open(run.path("plots"), "w:gz") as archive:
            for picture in sorted(Path(folder).glob("*.svg")):
                archive.add(picture, picture.name)
    return "written"


class StageError(Exception):
    """A stage that did not end well; the others go on."""


STAGES: dict[str, tuple[Callable[[Run], str | None], bool]] = {
    "machine": (machine, False),
    "compilation": (compilation, False),
    "kernels": (kernels, True),
    "tests": (tests, True),
    "sanitizer": (sanitizer, True),
    "tiles": (tiles, True),
    "benchmark": (benchmark, True),
    "report": (report, False),
}
"""Each stage, and whether it needs a GPU."""
