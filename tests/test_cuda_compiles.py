"""Every CUDA kernel, type and index width compiles for each architecture, and nothing is spilled.

NVRTC needs no GPU. Where it is missing, that is among what a run leaves out.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from typing import Any
from zlib import crc32

import pytest

import arrayconv as ac
from arrayconv.__main__ import main
from arrayconv._capabilities import DTYPES
from arrayconv.backends.cupy import compilation, implicit, launch
from arrayconv.backends.cupy.compilation import ARCHITECTURES, Compiled
from arrayconv.backends.cupy.launch import Kernel
from arrayconv.backends.cupy.templates import TEMPLATES, Template, instances, is_for


@pytest.fixture
def nvrtc(left_out) -> None:
    """Skip where the kernels cannot be compiled here."""
    missing = compilation.why_no_compiler()
    if missing is not None:
        left_out(f"the CUDA kernels compiled for each architecture: {missing}")
        pytest.skip(missing)


def chosen(template: Template, architecture: str) -> Iterator[Kernel]:
    """Yield a sixth of all types and widths, one in 24 for the oldest architecture; products all.

    And, for one architecture and type, a twelfth of what may be known when a kernel is compiled.
    """
    for kernel in instances(template):
        kind, index, *rest = kernel.arguments
        is_product = template.function in implicit.FILES
        whole = architecture == "sm_90" and kind in ("float", "Int") and not is_product
        simplest = [*map(str, (template.dims[0], *sum(template.known[:1], ())))]
        general = not template.by_dims or rest[: len(simplest)] == simplest
        if is_product:
            # What needs the most registers: the largest tile, three dimensions, 64 bits.
            general = rest == ["3", *template.more[0]] and index == "long long"
        number = crc32(kernel.expression.encode())
        share = 24 if architecture == ARCHITECTURES[0] else 6
        general = general and (number % share == 0 or is_product)
        if (whole and number % 12 == 0) or (general and rest[3:4] != ["1"]):
            yield kernel


PLAIN = ("sm_75", "sm_90")
"""What a plain run compiles for: without and with tensor cores, and where the bars were set."""


def faults(results: list[Compiled]) -> list[str]:
    return [
        f"{each.kernel.expression} for {each.architecture}: {each.stack_bytes} bytes of stack, "
        f"{each.spill_bytes} spilled"
        for each in results
        if each.stack_bytes or each.spill_bytes
    ]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_kernel_compiles_without_spills(nvrtc, architecture, request, left_out):
    full = request.config.getoption("--full")
    if not (full or architecture in PLAIN):
        reason = f"CUDA kernels compiled for others than {', '.join(PLAIN)}: --full does so"
        left_out(reason)
        pytest.skip(reason)
    if not full:
        left_out("some types and widths of CUDA kernels, as they are compiled: --full")
    kernels = [
        kernel
        for template in TEMPLATES
        for kernel in (instances(template) if full else chosen(template, architecture))
        if is_for(kernel, architecture)
    ]
    results = compilation.compile_offline(kernels, architecture)
    assert {each.kernel for each in results} == set(kernels)
    assert faults(results) == []
    # A block of 256 threads finds room in the 65,536 registers of a multiprocessor.
    assert all(0 < each.registers <= 255 for each in results)


SPILLING = """
extern "C" __global__ void spilling(float* x, int n) {
    float held[64];
    for (int i = 0; i < 64; ++i) held[i] = x[i];
    for (int i = 0; i < n; ++i) held[i] += held[(i * 7) % 64];
    for (int i = 0; i < 64; ++i) x[i] = held[i];
}
template <typename T> __global__ void copy(T* x) { x[0] = x[1]; }
"""


def test_local_memory_is_found(nvrtc, monkeypatch):
    """An array that is indexed by what only the run knows lies in local memory."""
    text = SPILLING.replace('extern "C" ', "template <typename T> ").replace("float*", "T*")
    monkeypatch.setattr(compilation, "source", lambda file: text)
    kernels = [Kernel("x", name, ("float",)) for name in ("spilling", "copy")]
    spilling, copy = compilation.compile_offline(kernels, "sm_90")
    assert spilling.stack_bytes > 0
    assert faults([spilling, copy]) == faults([spilling]) != []


def test_every_type_is_in_the_table():
    """What a call of any dtype asks for is among the instances that are compiled here."""
    assert set(launch.TYPES) == set(DTYPES)
    for template in TEMPLATES:
        kinds = {kernel.arguments[0] for kernel in instances(template)}
        assert kinds == set(template.types)
        widths = {kernel.arguments[1] for kernel in instances(template)}
        assert widths == {"int", "long long"}


def test_cupy_compiles_them(nvrtc):
    """With CuPy's own options, as far as its compiler goes without a device."""
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("cupy is not installed")
    compiler = importlib.import_module("cupy.cuda.compiler")
    for template in TEMPLATES:
        kernel = next(instances(template))
        code, names = compiler.compile_using_nvrtc(
            launch.source(kernel.file),
            (*launch.OPTIONS, "-ftz=true", "-dlto"),
            arch="90",
            name_expressions=[kernel.expression],
            cache_in_memory=True,
            method="lto",
        )
        assert code
        assert kernel.expression in names


def test_the_command(nvrtc, capsys):
    asked = ["compile", "--kernel", "fold", "place", "--dtype", "float32", "int8"]
    assert main([*asked, "--architecture", "sm_90"]) == 0
    said = capsys.readouterr().out
    assert "fold<float, int, 2, 3, 1, 4, true>" in said
    assert "fold<Byte, int, 1, 0, 0, 1, false>" in said
    assert "place<Byte, int> " in said
    assert "long long" not in said
    assert said.split()[:5] == ["kernel", "for", "ms", "registers", "shared"]
    assert "0 of them with local memory" in said.splitlines()[-1]
    assert main([*asked, "--architecture", "sm_75", "--wide"]) == 0
    said = capsys.readouterr()
    assert "fold<float, long long, 2, 3, 1, 4, true>" in said.out
    assert said.err.startswith("compiling ")


def test_the_command_where_there_is_no_such_kernel(nvrtc, capsys):
    assert main(["compile", "--kernel", "max_pool", "--dtype", "complex64"]) == 1
    said = "compile: there is no instance of max_pool for arrays of complex64"
    assert said in capsys.readouterr().err


def test_what_is_compiled_for_without_a_gpu(monkeypatch):
    asked: list[str] = []

    def noted(kernels: list[Kernel], architecture: str) -> list[Compiled]:
        asked.append(architecture)
        return []

    monkeypatch.setattr(compilation, "cuda_devices", lambda: "CUDA needs a GPU")
    monkeypatch.setattr(compilation, "compile_offline", noted)
    kernels = compilation.selected(["fold"], ["float32"], wide=False)
    assert kernels
    assert compilation.compile_all(kernels, []) == []
    assert compilation.compile_all(kernels, ["sm_75", "sm_80"]) == []
    assert asked == ["sm_90", "sm_75", "sm_80"]


def test_the_command_without_a_compiler(monkeypatch, capsys):
    monkeypatch.setattr(compilation, "cuda_devices", lambda: "CUDA needs a GPU")
    monkeypatch.setattr(compilation, "why_no_compiler", lambda: "NVRTC is missing")
    assert main(["compile"]) == 1
    assert "compile: CUDA needs a GPU; NVRTC is missing" in capsys.readouterr().err


def test_a_missing_compiler_is_named(monkeypatch):
    def refuse(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    said = compilation.why_no_compiler()
    assert said is not None
    assert "arrayconv[cuda-compile]" in said


def test_compile_times_are_shown(monkeypatch, capsys):
    monkeypatch.setitem(launch._seconds, "fold<float, int, 2, 3, 1>", 0.25)
    shown = ac.show_config("dicts")
    assert shown is not None
    assert shown["kernels"] == {"fold<float, int, 2, 3, 1>": 0.25}
    ac.show_config()
    assert "0.250  fold<float, int, 2, 3, 1>" in capsys.readouterr().out
