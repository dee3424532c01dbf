"""Compile the kernels: into CuPy's cache where there is a GPU, else for a look at what they need.

NVRTC is a library, and compiles for any architecture on any machine; with the package cuda-core it
needs neither CuPy nor a driver.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import os
import re
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from arrayconv._device import cuda_devices
from arrayconv.backends.cupy.launch import (
    OPTIONS,
    Kernel,
    compiled,
    compiled_kernels,
    source,
)
from arrayconv.backends.cupy.templates import TEMPLATES, instances, is_for

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")
LIKELIEST = "sm_90"
"""What is compiled for where there is no GPU and no architecture is named."""


class Compiled(NamedTuple):
    """What the compiler says of an instance."""

    kernel: Kernel
    architecture: str
    seconds: float
    """Its own, or those of the file that it was compiled with, divided among its instances."""
    registers: int
    shared_bytes: int
    stack_bytes: int
    spill_bytes: int


def why_no_compiler() -> str | None:
    """Return the sentence that says what is missing, or None where NVRTC can be called."""
    try:
        importlib.import_module("cuda.core")
        importlib.import_module("cuda.pathfinder").load_nvidia_dynamic_lib("nvrtc")
    except (ImportError, RuntimeError) as problem:
        return (
            "compiling without a GPU needs NVRTC and the package cuda-core: pip install "
            f"'arrayconv[cuda-compile]' ({type(problem).__name__})"
        )
    return None


_FUNCTION = re.compile(r"Compiling entry function '(?P<name>\w+)' for '(?P<architecture>\w+)'")
_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")


def _parsed(log: str) -> dict[str, tuple[int, int, int, int]]:
    """Return (registers, shared, stack, spilled bytes) of each function in a log of ptxas."""
    found = {}
    for part in re.split(r"(?=Compiling entry function)", log)[1:]:
        name, stack, used = _FUNCTION.match(part), _STACK.search(part), _USED.search(part)
        shared = _SHARED.search(part)
        if name is None or stack is None or used is None:
            raise RuntimeError(f"the compiler's log has changed its form: {part}")
        frame, stored, loaded = map(int, stack.groups())
        memory = int(shared[1]) if shared else 0
        found[name["name"]] = (int(used[1]), memory, frame, stored + loaded)
    return found


def compile_offline(kernels: Iterable[Kernel], architecture: str) -> list[Compiled]:
    """Compile instances for an architecture, those of one file at once, and throw them away."""
    by_file: dict[str, list[Kernel]] = {}
    for kernel in kernels:
        by_file.setdefault(kernel.file, []).append(kernel)
    # Two threads must not import it at once.
    importlib.import_module("cuda.core")
    # The compiler lets go of Python's lock.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        batches = pool.map(lambda file: _compile_file(file, by_file[file], architecture), by_file)
    return [compiled for batch in batches for compiled in batch]


def _compile_file(file: str, kernels: list[Kernel], architecture: str) -> list[Compiled]:
    core = importlib.import_module("cuda.core")
    start = time.perf_counter()
    log = io.StringIO()
    standard = OPTIONS[0].removeprefix("-std=")
    options = core.ProgramOptions(arch=architecture, std=standard, ftz=True, ptxas_options="-v")
    program = core.Program(source(file), "c++", options)
    names = tuple(kernel.expression for kernel in kernels)
    code = program.compile("cubin", name_expressions=names, logs=log)
    seconds = (time.perf_counter() - start) / len(kernels)
    parsed = _parsed(log.getvalue())
    results = []
    for kernel in kernels:
        mangled = code.symbol_mapping[kernel.expression]
        name = mangled.decode() if isinstance(mangled, bytes) else mangled
        results.append(Compiled(kernel, architecture, seconds, *parsed[name]))
    return results


def compile_for_gpu(kernels: Iterable[Kernel]) -> list[Compiled]:
    """Compile instances for the current device, each by itself as a call would, into CuPy's cache.

    As many at once as there are CPUs; where one cannot be compiled, after all others are.
    """
    cuda = importlib.import_module("cupy").cuda
    device = cuda.Device()

    def one(kernel: Kernel) -> Compiled:
        # A thread starts on the first device.
        with cuda.Device(device.id):
            function = compiled(kernel)
            needs = (function.num_regs, function.shared_size_bytes, function.local_size_bytes)
        seconds = compiled_kernels()[kernel.expression]
        return Compiled(kernel, f"sm_{device.compute_capability}", seconds, *needs, 0)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(one, kernel) for kernel in kernels]
    return [job.result() for job in jobs]


def why_no_compilation() -> str | None:
    """Return why there is neither a GPU nor a compiler for others, or None."""
    devices = cuda_devices()
    if not isinstance(devices, str):
        return None
    missing = why_no_compiler()
    return None if missing is None else f"{devices}; {missing}"


def selected(functions: Iterable[str], dtypes: Iterable[str], wide: bool) -> list[Kernel]:
    """Return the instances of templates (all, if none is named) for dtypes."""
    wanted, names = set(functions), tuple(dtypes)
    bits = (32, 64) if wide else (32,)
    return [
        kernel
        for template in TEMPLATES
        if not wanted or template.function in wanted
        for kernel in instances(template, names, bits)
    ]


def compile_all(kernels: Iterable[Kernel], architectures: Iterable[str]) -> list[Compiled]:
    """Compile instances: for the GPU where there is one and no architecture is named."""
    chosen, wanted = tuple(architectures), list(kernels)
    if not chosen and not isinstance(cuda_devices(), str):
        device = importlib.import_module("cupy").cuda.Device()
        here = f"sm_{device.compute_capability}"
        return compile_for_gpu(each for each in wanted if is_for(each, here))
    return [
        each
        for architecture in chosen or (LIKELIEST,)
        for each in compile_offline((k for k in wanted if is_for(k, architecture)), architecture)
    ]


def table(results: Iterable[Compiled]) -> str:
    """Return a line for each instance: its time, registers, shared and local memory, spills."""
    rows: list[tuple[str, ...]] = [
        ("kernel", "for", "ms", "registers", "shared", "local", "spilled")
    ]
    for each in results:
        numbers = (each.registers, each.shared_bytes, each.stack_bytes, each.spill_bytes)
        name, took = each.kernel.expression, f"{each.seconds * 1e3:.0f}"
        rows.append((name, each.architecture, took, *map(str, numbers)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            text.ljust(width) if place < 2 else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
