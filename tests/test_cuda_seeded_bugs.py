"""Bugs put into the kernels on purpose, each of which the tests on the CPU must catch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from arrayconv.backends.cupy import launch
from tests.cuda_checks import added_in_order, every_check
from tests.cuda_comparison import Check
from tests.cuda_on_host.executor import PLAIN, HostExecutor, on_host, verify
from tests.test_cuda_beyond_32_bits import check_spread
from tests.test_cuda_on_host import variant

REPOSITORY = Path(__file__).parents[1]
CHECKS = every_check()


class Bug(NamedTuple):
    """A line of a kernel, what becomes of it, and the word in the checks that should notice."""

    file: str
    right: str
    wrong: str
    noticed_by: str


IN_RUNS, HALVES = "tensor-forward-float32", "tensor-forward-bfloat16"
WAIT_AND_BEGIN = """wait_for_groups<STAGES - 2>();
        __syncthreads();
        const int furthest = stage == 0 ? STAGES - 1 : stage - 1;
        begin(furthest);"""

BUGS = (
    # A bound that is one too far: at the borders of the input, and at the end of the array.
    Bug("unfold", "(number) < static_cast", "(number) <= static_cast", "unfold-3x6x5"),
    Bug("fold", "if (first + p < planes)", "if (first + p <= planes)", "fold-2x18x16"),
    Bug("spread", "number) < static_cast", "number) <= static_cast", "avg-(2, 3, 9)"),
    Bug("max_pool", "return a > b", "return a >= b", "special-(2, 3, 9)"),
    Bug("max_pool", "|| a != a", "", "special-(2, 3, 9)"),
    Bug("max_pool", "|| (Indexed && where < 0)", "", "special-(2, 3, 9)"),
    Bug("max_pool", "axis.size + axis.out - 1", "axis.size", "adaptive-(1, 2, 3, 4)"),
    Bug("spread", "axis.out + axis.size - 1", "axis.out", "adaptive-(1, 2, 3, 4)"),
    Bug("fold", "(high + static_cast<Number>(n)) >>", "high >>", "fold-2x18x16"),
    Bug("pad", "cell < 0 ? -cell : cell", "cell", "mode=reflect-float32"),
    Bug("pad", "mirrored > last ?", "mirrored >= axis.size + 1 ?", "mode=reflect-float32"),
    Bug("pad", "place >= circle.length ?", "place > circle.length ?", "mode=circular-float32"),
    Bug("pad", "axis.before < 0 ? -axis.before : 0", "0", "mode=circular-float32"),
    Bug(
        "pad", "cell > 0 ? axis.before - cell", "true ? axis.before - cell", "mode=reflect-float32"
    ),
    Bug("pad", "cell == last || here", "here", "mode=replicate-float32"),
    Bug("gather", "cell >= 0 && cell < cells", "cell >= 0", "gather-(2, 3, 50)"),
    Bug("scatter_add", "plane * cells + first +", "plane * cells +", "scatter_add-(1, 2, 700)"),
    Bug("scatter_add", "< RUN ? cells - first : RUN", "< RUN ? RUN : RUN", "scatter_add-(1, 2, 9)"),
    Bug("depthwise_rows", "if (first + row < height.out)", "", "conv2d-2x4x6x7"),
    Bug("depthwise_rows", "TAPS - 1 - tap : tap", "tap : tap", "conv2d-2x4x6x7"),
    Bug("depthwise", "bias_of(bias, output)", "bias_of(bias, image)", "conv1d-2x3x9"),
    Bug("depthwise", "bias_of(bias, channel)", "bias_of(bias, output)", "conv1d-2x3x9-6x1x4"),
    Bug("depthwise_rows", "bias_of(bias, output)", "bias_of(bias, channel)", "conv2d-2x2x7x6"),
    Bug("spread", "place.at[2] + Cells - 1 +", "place.at[2] + Cells +", "runs-8-3-2"),
    Bug("spread", "(Kernel + Cells - 2) / Stride", "(Kernel - 1) / Stride", "runs-8-3-2"),
    Bug("spread", "tap - (Cells - 1 - c)", "tap - c", "runs-8-3-2"),
    Bug("max_pool_grad", "named == number + c", "named == number", "runs-8-3-2"),
    Bug("max_pool_grad", "cell_of<Dims>(item * Cells", "cell_of<Dims>(item", "runs-8-3-2"),
    Bug("depthwise", "weights + its", "weights + tap", "runs-8-3-1"),
    Bug("unfold", "seen[c * Stride + tap]", "seen[c + tap]", "runs-8-2-2"),
    Bug("unfold", "if (first + p >= planes) continue", "if (false) continue", "runs-8-2-2"),
    Bug("depthwise", "rest * axis.inverse", "rest", "conv2d-1x1x22x19"),
    Bug("fold", "0x7fffu + ((bits >> 16) & 1u)", "0u", "halves"),
    Bug("max_pool", "(0xff800000u)", "(0u)", "max-(2, 2, 7, 6)"),
    # A missing barrier: threads read what others have not written yet.
    Bug(
        "place", "__syncthreads();\n    const Index index_plane", "const Index index_plane", "place"
    ),
    Bug(
        "place", "__syncthreads();\n    const Index value_plane", "const Index value_plane", "place"
    ),
    Bug("depthwise_weight", "mine;\n    __syncthreads();", "mine;", "conv2d-9x2x24x24"),
    Bug("depthwise_weight", "        }\n        __syncthreads();", "        }", "conv2d-9x2x24x24"),
    Bug("depthwise_weight", "(c - tap) / Stride >= Cells", "false", "runs-8-3-1"),
    Bug(
        "depthwise_weight", "position_of<Dims>(item * Cells", "position_of<Dims>(item", "runs-8-3-1"
    ),
    # Products: a column, row, step, tap or cell that is none; a barrier or a step is missing.
    Bug(
        "implicit",
        "number < product.columns ? (",
        "number <= product.columns ? (",
        "product-conv2d-2x3x6x7",
    ),
    Bug(
        "implicit",
        "number < product.columns ? row",
        "number <= product.columns ? row",
        "tile-64x64-float32",
    ),
    Bug(
        "implicit",
        "output = tile.group * product.rows + row",
        "output = row",
        "product-conv2d-3x4x7x6",
    ),
    Bug(
        "implicit_transpose",
        "channel = tile.group * product.rows + row",
        "channel = row",
        "product-conv_transpose2d-2x4x3x4",
    ),
    Bug("implicit", "left : product.steps_each)", "left : left)", "tile-64x64-float32"),
    Bug("implicit", "row >= product.rows", "row > product.rows", "product-conv2d-2x3x6x7"),
    Bug("implicit", "part < parts; ++part", "part < 1; ++part", "tile-64x64-float32"),
    Bug("implicit", "lane / 4 + i % 2 * 8", "lane / 4 + i % 2 * 4", IN_RUNS),
    Bug("implicit", "lane % 4 + i * 4", "lane % 4 + i * 2", IN_RUNS),
    Bug("implicit", "lane % 4 * 2 + i % 2", "lane % 4 + i % 2 * 4", IN_RUNS),
    Bug("implicit", "values[i]", "values[0]", HALVES),
    Bug("implicit_transpose", "number < tile.last_step", "true", "product-conv2d-3x4x7x6"),
    Bug("implicit_transpose", "&& tap < first[dim].kernel", "", "product-conv2d-3x4x7x6"),
    Bug("implicit_transpose", "p.at[dim] < first[dim].rounds", "true", "product-conv1d-3x9"),
    Bug("implicit_transpose", "cell < axis.size", "cell <= axis.size", "product-conv2d-3x4x7x6"),
    Bug("implicit_transpose", "sights.position -= later;", "", "product-conv2d-3x4x7x6"),
    Bug("implicit", "__syncthreads();\n\n    const auto begin", "const auto begin", IN_RUNS),
    # Copies under way: a wait that is too weak, or missing; a barrier that is; terms, or a stage of
    # the ring, that are written too early; what is not brought, or not as zeros, or not in line.
    Bug("implicit", "wait_for_groups<STAGES - 2>", "wait_for_groups<STAGES - 1>", IN_RUNS),
    Bug("implicit", "wait_for_groups<STAGES - 2>();", "", IN_RUNS),
    Bug("implicit", "        end_group();", "", IN_RUNS),
    Bug("implicit", "2>();\n        __syncthreads();", "2>();", IN_RUNS),
    Bug("implicit", "2>();\n        __syncthreads();", "2>();", HALVES),
    Bug(
        "implicit",
        WAIT_AND_BEGIN,
        "const int furthest = stage == 0 ? STAGES - 1 : stage - 1;\n        begin(furthest);\n"
        "        wait_for_groups<STAGES - 2>();\n        __syncthreads();",
        IN_RUNS,
    ),
    Bug("implicit", "stage == 0 ? STAGES - 1 : stage - 1", "stage", IN_RUNS),
    Bug("implicit", "stage + 1 == STAGES ?", "stage + 2 == STAGES ?", IN_RUNS),
    Bug("implicit", "step + STAGES * STEPS", "step + (STAGES - 1) * STEPS", IN_RUNS),
    Bug("implicit", "stage < STAGES - 1; ++stage", "stage < STAGES - 2; ++stage", IN_RUNS),
    Bug("implicit", "first.from, first.counts", "first.from, true", IN_RUNS),
    Bug("implicit", "one.counts ? *one.from : T()", "*one.from", HALVES),
    Bug("implicit", "COUNT + 4", "COUNT + 3", IN_RUNS),
    Bug("implicit", "STAGES = Stages", "STAGES = Stages + 1", IN_RUNS),
    Bug("implicit", "value == value ? bits", "true ? bits", "tensor-not-a-number"),
)


def sources(bug: Bug) -> Callable[[str], str]:
    """Return what gives the kernels' source with a bug in one file."""

    def source(file: str) -> str:
        text = launch.source(file)
        if file != bug.file:
            return text
        assert text.count(bug.right) >= 1, f"{bug.right!r} is no longer in {file}.cu"
        return text.replace(bug.right, bug.wrong)

    return source


def fails(executor: HostExecutor, check: Check) -> bool:
    """Whether a check fails in one of the two orders of threads, if copies land early or late."""
    copies = any(name.startswith("implicit_") for name in check.kernels)
    for executor.late in (False, True) if copies else (False,):
        for executor.descending in (False, True):
            try:
                verify(executor, check)
            except AssertionError:
                return True
    return False


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: f"{bug.file}: {bug.right}"[:60])
def test_a_bug_is_caught(bug, tmp_path, host_compiler):
    executor = HostExecutor(tmp_path, PLAIN, sources(bug))
    checks = [check for check in CHECKS if bug.noticed_by in check.id]
    assert checks
    with variant("several"):
        assert any(fails(executor, check) for check in checks)


def test_32_bits_that_overflow_are_caught(tmp_path, host_compiler):
    product = "static_cast<Index>(blockIdx.x) * static_cast<Index>(blockDim.x)"
    bug = Bug("spread", product, "static_cast<Index>(blockIdx.x * blockDim.x)", "")
    executor = HostExecutor(tmp_path, PLAIN, sources(bug))
    executor.last_blocks = 2
    with pytest.raises(AssertionError):
        check_spread(executor)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("bid);\n            __syncthreads();", "bid);"),
        ("waits && bids[cell] == bid", "waits"),
        ("blockDim.x - threadIdx.x", "blockDim.x + threadIdx.x"),
    ],
)
def test_another_order_of_addition_is_caught(right, wrong, tmp_path, host_compiler):
    executor = HostExecutor(tmp_path, PLAIN, sources(Bug("scatter_add", right, wrong, "")))
    for executor.descending in (False, True):
        try:
            with on_host(executor):
                added_in_order(np)
        except AssertionError:
            return
    raise AssertionError("nobody noticed")


def test_under_sanitizers(left_out, host_compiler):
    """AddressSanitizer must be loaded before Python: so an interpreter of its own."""
    found = subprocess.run(
        ["g++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not os.path.isabs(found):
        left_out("the CUDA kernels under AddressSanitizer and UBSan: g++ has no libasan here")
        pytest.skip("g++ has no libasan")
    arguments = ["-k", "several and ascending", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, "tests/test_cuda_on_host.py"],
        cwd=REPOSITORY,
        # Python itself leaks.
        env={
            **os.environ,
            # Each worker would build the kernels for itself.
            "PYTEST_ADDOPTS": "",
            "CUDA_ON_HOST": "sanitized",
            "LD_PRELOAD": found,
            "ASAN_OPTIONS": "detect_leaks=0",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
