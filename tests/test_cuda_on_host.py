"""The CUDA kernels' own source, compiled by g++ and launched on NumPy arrays by the same Python."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arrayconv.backends.cupy import depthwise, windows
from tests.cases import assert_close
from tests.cuda_on_host.checks import Check, every_check
from tests.cuda_on_host.executor import PLAIN, SANITIZED, HostExecutor, on_host

if shutil.which("g++") is None:
    pytest.skip("g++ is not installed: no CUDA kernel on the CPU", allow_module_level=True)

CHECKS = every_check()
FLAGS = {"": PLAIN, "sanitized": SANITIZED}[os.environ.get("CUDA_ON_HOST", "")]


def forget_plans() -> None:
    """Forget launches whose index width was chosen under another limit."""
    for module in (windows, depthwise):
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()


@contextmanager
def index_bits(bits: int) -> Iterator[None]:
    """Make launches take indices of so many bits."""
    with pytest.MonkeyPatch.context() as patch:
        if bits == 64:
            patch.setattr(windows, "NARROW", 0)
        forget_plans()
        yield
    forget_plans()


def plain(array: Any) -> Any:
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def compare(check: Check, got: list[Any], wanted: list[Any]) -> None:
    assert len(got) == len(wanted)
    for ours, right in zip(got, wanted, strict=True):
        assert ours.dtype == right.dtype
        dtype = check.dtype if right.dtype.kind in "fcV" else "int64"
        exact = np.isfinite(plain(right)).all()
        if exact:
            assert_close(plain(ours), plain(right), dtype, factor=2)
        else:
            np.testing.assert_array_equal(ours, right)


def verify(executor: HostExecutor, check: Check) -> None:
    wanted = check.call()
    executor.launched.clear()
    with on_host(executor):
        got = check.call()
    assert check.kernels <= {kernel.function for kernel in executor.launched}
    compare(check, got, wanted)


def prepared(executor: HostExecutor, checks: list[Check]) -> HostExecutor:
    """Compile all kernels that the checks take, at once."""
    with executor.recording(), on_host(executor), np.errstate(all="ignore"):
        for check in checks:
            check.call()
    return executor


@pytest.fixture(scope="module", params=[32, 64])
def host(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[HostExecutor]:
    folder: Path = tmp_path_factory.mktemp("kernels")
    with index_bits(request.param):
        yield prepared(HostExecutor(folder, FLAGS), CHECKS)


@pytest.mark.parametrize("order", ["ascending", "descending"])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_as_numpy(host, check, order):
    host.descending = order == "descending"
    verify(host, check)
