"""What the measured process runs in: environment variables, threads, versions, the commit.

Imports no array library: the variables must be right before the first of them is loaded.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]

# Each of these holds one of the libraries, and not the others, below what the processor can do.
HOLDS_BACK = (
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "ATEN_CPU_CAPABILITY",
    "DNNL_MAX_CPU_ISA",
    "ONEDNN_MAX_CPU_ISA",
    "NPY_DISABLE_CPU_FEATURES",
    "BLIS_ARCH_TYPE",
)
# OpenBLAS's threads wait for more work by spinning, some 20 ms long, on the cores that the next
# library is timed on; and wake up no slower where they may sleep.
LETS_SLEEP = {"OPENBLAS_THREAD_TIMEOUT": "4"}
# glibc hands large arrays back to the system at once, and every new one then costs page faults: by
# luck, several times what is measured. With these it keeps them, for all libraries alike.
KEEPS_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
}
RESTARTED = "ARRAYCONV_BENCH_RESTARTED"


def clean_environment(
    environment: Mapping[str, str], system: str = sys.platform
) -> tuple[dict[str, str], list[str]]:
    """Return an environment that holds no library back, and what was changed in words."""
    clean = dict(environment)
    changes = [f"without {name}={clean.pop(name)}" for name in HOLDS_BACK if name in clean]
    for name, value in {**LETS_SLEEP, **(KEEPS_MEMORY if system == "linux" else {})}.items():
        if name not in clean:
            clean[name] = value
            changes.append(f"with {name}={value}")
    return clean, changes


def restart_in_clean_environment() -> None:
    """Start this process again, once, where its environment would spoil the measurement."""
    clean, changes = clean_environment(os.environ)
    if not changes:
        return
    if RESTARTED in os.environ:
        print("Something sets these variables again, so they stay: " + ", ".join(changes))
        return
    print("Starting again " + ", ".join(changes), flush=True)
    clean[RESTARTED] = "1"
    if os.name == "posix":
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], clean)
    # Elsewhere execve would return to the shell at once; no library is loaded yet, so this does.
    os.environ.clear()
    os.environ.update(clean)


def default_threads(environment: Mapping[str, str]) -> int:
    """Return what ARRAYCONV_NUM_THREADS or OMP_NUM_THREADS says, else the CPUs there are for us."""
    for name in ("ARRAYCONV_NUM_THREADS", "OMP_NUM_THREADS"):
        text = environment.get(name, "")
        if text:
            if not text.isdecimal() or int(text) < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {text!r}")
            return int(text)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """Return the processor's name, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def pools(libraries: list[dict[str, Any]]) -> list[str]:
    """Return one line for each thread pool of ``threadpoolctl.threadpool_info()``."""
    return [
        " ".join(
            str(part)
            for part in (
                library["internal_api"],
                library.get("version"),
                library.get("architecture"),
                f"{library['num_threads']} threads",
            )
            if part is not None
        )
        for library in libraries
    ]


def in_force() -> list[str]:
    """Return the variables of this process that change what is measured, as NAME=value."""
    names = (*HOLDS_BACK, *LETS_SLEEP, *KEEPS_MEMORY)
    return [f"{name}={os.environ[name]}" for name in names if name in os.environ]


def versions() -> dict[str, str]:
    """Return the versions of what is loaded, and what it runs on."""
    found = {"python": platform.python_version(), "cpu": processor()}
    for name in ("arrayconv", "numpy", "scipy", "torch", "jax", "numba", "cupy"):
        if sys.modules.get(name) is not None:
            found[name] = str(sys.modules[name].__version__)
    return found


def gpu(number: int) -> str:
    """Return the name of a GPU, from CuPy."""
    properties = sys.modules["cupy"].cuda.runtime.getDeviceProperties(number)
    return str(properties["name"].decode())


def commit() -> str | None:
    """Return the commit of the repository, marked where files were changed; None without git.

    ARRAYCONV_COMMIT says it where the files have travelled without their history.
    """
    if os.environ.get("ARRAYCONV_COMMIT"):
        return os.environ["ARRAYCONV_COMMIT"]
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip() or None


def timestamp() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
