"""What a machine with a GPU is asked to do, stage by stage, the most important first.

Imports no array library: what a stage starts brings it.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import environment
from bench.gpu_run import FILES, OUT_OF_TIME, Run, StageError, python

BENCHMARK, REPORT = 200.0, 30.0
"""Seconds that the stages before them leave for the benchmark and the report."""
NO_POOL = "--no-memory-pool"
UNFINISHED = "unfinished.json"
"""Where `python -m bench` writes what it is at; it is gone where that has come to its end."""
MEASURED = (("cupy,torch", 0.8), ("jax", 1.0))
"""Which libraries are measured, and in which share of the time that is left.

None on the CPU, where a layer of a batch of 32 would take most of that time.
"""
MOST_RESTARTS = 10
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


def has_gpu(run: Run) -> bool:
    """Return whether CuPy sees a GPU."""
    try:
        return run.ask("import cupy; print(cupy.cuda.is_available())").strip() == "True"
    except (StageError, OSError, subprocess.SubprocessError) as problem:
        run.say(f"no GPU: {problem}")
        return False


# --- the stages: each returns what it says of itself, or None where it could not be ---------------


def machine(run: Run) -> str | None:
    """Versions, devices, driver, commit."""
    run.machine = {"commit": environment.commit() or "unknown", **json.loads(run.ask(MACHINE))}
    gpus = [gpu["name"] for gpu in run.machine.get("GPUs", [])]
    return ", ".join(gpus) or "no GPU"


LAUNCHES = """\
import torch
from torch.profiler import ProfilerActivity, profile
images = torch.rand(32, 64, 56, 56, device="cuda")
unfold = torch.nn.functional.unfold
unfold(images, 3, padding=1)
torch.cuda.synchronize()
with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
    unfold(images, 3, padding=1)
    torch.cuda.synchronize()
kinds = [each for each in seen.key_averages() if each.device_type.name == "CUDA"]
print(sum(each.count for each in kinds))
"""


def launches(run: Run) -> str | None:
    """Count the kernels that torch launches for one unfold of 32 images; ours is one."""
    run.machine["kernels of one unfold of torch's"] = count = int(run.ask(LAUNCHES))
    return f"{count} kernels"


# A warning of a library that has never been met on a GPU must not cost what is measured.
ON_GPU = (
    "--library",
    "cupy",
    "--device",
    "cuda",
    "-W",
    "default",
    "--tb=short",
    "-p",
    "no:benchmark",
)
KERNEL_TESTS = "tests/test_cuda_on_gpu.py"


def _recorded(run: Run, selected: str, seconds: float) -> str:
    """Run checks of the kernels, again and again behind what ended the process; return a summary.

    What hangs, or breaks the device for all that come after it, needs a new process.
    """
    until, size, codes = time.monotonic() + seconds, -1, []
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "journal.jsonl"
        kept = (f"--kernel-record={run.path('kernels')}", f"--kernel-journal={journal}")
        # What a process says when it is ended from outside must not wait in a captured stream.
        how = ("-q", "--capture=sys", "-k", selected, *ON_GPU, *kept, KERNEL_TESTS)
        while (left := until - time.monotonic()) > 5:
            codes.append(run.call(python("-m", "pytest", *how), left))
            text = journal.read_text(encoding="utf-8") if journal.exists() else ""
            if '"ends"' in text or len(text) == size:
                break
            size = len(text)
    lines = run.path("kernels").read_text(encoding="utf-8") if run.path("kernels").exists() else ""
    said = f"{lines.count('correct')} implementations are on record"
    if codes != [0]:
        raise StageError(f"{said}; pytest ended with {codes}: the log has the failures")
    return said


def kernels(run: Run) -> str | None:
    """Every check of the kernels; the record of those that are right makes them verified."""
    return _recorded(run, "not cudnn", run.limit(240, BENCHMARK + REPORT))


def cudnn(run: Run) -> str | None:
    """Check cuDNN's convolutions in the same way."""
    return _recorded(run, "cudnn", run.limit(60, REPORT))


def tests(run: Run) -> str | None:
    """The suite on CuPy arrays: generic bodies and kernels, against the loops."""
    several = ("-n", "8") if importlib.util.find_spec("xdist") else ()
    chosen = ("-k", "cupy", f"--ignore={KERNEL_TESTS}", "--maxfail=50")
    report = f"--junit-xml={run.path('tests')}"
    command = python("-m", "pytest", "-q", *several, *chosen, *ON_GPU, report, "tests")
    code = run.call(command, run.limit(60, REPORT))
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
        small = python("-m", "pytest", "-q", "-k", "small", *ON_GPU, NO_POOL, KERNEL_TESTS)
        command = [tool, "--tool", kind, "--error-exitcode", "9", *small]
        code = run.call(command, run.limit(60, REPORT), into=run.path("sanitizer"))
        text = run.path("sanitizer").read_text(encoding="utf-8", errors="replace")
        if "Device not supported" in text:
            run.skipped.append("compute-sanitizer: Device not supported")
            return None
        if code == 9:
            raise StageError(f"compute-sanitizer {kind} found errors: {FILES['sanitizer']}")
        said.append(f"{kind}: {'clean' if code == 0 else f'ended with {code}'}")
    return ", ".join(said)


def tiles(run: Run) -> str | None:
    """Each convolution of ResNet-50 with each tile and number of stages, into the log."""
    code = run.call(python("-m", "bench.tiles"), run.limit(60, REPORT))
    if code not in (0, OUT_OF_TIME):
        raise StageError(f"python -m bench.tiles ended with {code}")
    return "measured" if code == 0 else "cut off: the log has the first layers"


def benchmark(run: Run) -> str | None:
    """Cases, the most important first, each checked before it is timed, and kept at once."""
    until = time.monotonic() + run.limit(260, REPORT)
    codes = []
    for libraries, share in MEASURED:
        enough = time.monotonic() + share * (until - time.monotonic())
        codes.append(_measured(run, libraries, enough))
    lines = run.path("records").read_text(encoding="utf-8") if run.path("records").exists() else ""
    said = f"{lines.count(chr(10))} records"
    if not {*codes} <= {0, OUT_OF_TIME}:
        raise StageError(f"{said}; python -m bench ended with {codes}: the log has what was wrong")
    return said


def _measured(run: Run, libraries: str, until: float) -> int:
    """Measure until a time, again and again behind what broke the device; return the last code."""
    how = ("--suite", "gpu", "--device", "cuda", "--go-on", "--no-plots")
    command = python("-m", "bench", *how, "--libraries", libraries, "--output", str(run.output))
    code = 0
    for _ in range(MOST_RESTARTS):
        seconds = until - time.monotonic()
        if seconds < 20:
            break
        code = run.call(command, seconds, watched=run.path("records"))
        if code == OUT_OF_TIME or not (run.output / UNFINISHED).exists():
            break
    (run.output / UNFINISHED).unlink(missing_ok=True)
    return code


def report(run: Run) -> str | None:
    """Tables and plots of the records."""
    if not run.path("records").exists():
        run.skipped.append("the report: there are no records")
        return None
    with tempfile.TemporaryDirectory() as folder:
        command = python("-m", "bench", "report", str(run.path("records")), "--output", folder)
        if run.call(command, run.left()) != 0:
            raise StageError("python -m bench report failed: see the log")
        shutil.copy(Path(folder) / "report.md", run.path("report"))
        with tarfile.open(run.path("plots"), "w:gz") as archive:
            for picture in sorted(Path(folder).glob("*.svg")):
                archive.add(picture, picture.name)
    return "written"


STAGES: dict[str, tuple[Callable[[Run], str | None], bool]] = {
    "machine": (machine, False),
    "kernels": (kernels, True),
    "benchmark": (benchmark, True),
    "launches": (launches, True),
    "cudnn": (cudnn, True),
    "tiles": (tiles, True),
    "tests": (tests, True),
    "sanitizer": (sanitizer, True),
    "report": (report, False),
}
"""Each stage, in the order of what it is worth, and whether it needs a GPU."""
