"""The CUDA kernels' own source, compiled by g++ and launched on NumPy arrays by the same Python."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arrayconv.backends.cupy import depthwise, implicit, indexing, padding, windows
from tests.cuda_checks import added_in_order, every_check
from tests.cuda_on_host.executor import PLAIN, SANITIZED, HostExecutor, asked_for, on_host, verify
from tests.cuda_products import forget_plans

FLAGS = {"": PLAIN, "sanitized": SANITIZED}[os.environ.get("CUDA_ON_HOST", "")]
CHECKS = [
    each
    for each in every_check()
    if FLAGS is PLAIN or each.dtype == "float32" or each.id.startswith("tensor-conv")
]


MODULES = (windows, indexing, padding, depthwise, implicit)
VARIANTS = {"narrow": (32, 1), "several": (32, 4), "wide": (64, 4)}
"""Bits of an index, and planes that a thread works on."""


@contextmanager
def variant(name: str) -> Iterator[None]:
    """Make launches take indices of so many bits, and threads so many planes."""
    bits, planes = VARIANTS[name]
    with pytest.MonkeyPatch.context() as patch:
        if bits == 64:
            patch.setattr(windows, "NARROW", 0)
        # Planes that are left over, one to three, are then met as well.
        patch.setattr(windows, "MANY", 0 if planes > 1 else 2**62)
        forget_plans(*MODULES)
        yield
    forget_plans(*MODULES)


@pytest.fixture(scope="module", params=VARIANTS)
def host(
    request: pytest.FixtureRequest, host_compiler: None, tmp_path_factory: Any
) -> Iterator[HostExecutor]:
    folder: Path = tmp_path_factory.mktemp("kernels")
    # What was left out need not be compiled either.
    params = [getattr(each, "callspec", None) for each in request.session.items]
    asked = [each.params.get("check") for each in params if each is not None]
    checks = [check for check in CHECKS if any(check is each for each in asked)]
    with variant(request.param):
        executor = HostExecutor(folder, FLAGS)
        executor.build(asked_for(executor, checks))
        yield executor


@pytest.mark.parametrize("order", ["ascending", "descending"])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_as_numpy(host, check, order, request):
    host.descending = order == "descending"
    # All four of both orders and of copies that land early or late, in two of the variants.
    host.late = host.descending != ("several" in request.node.name)
    verify(host, check)


@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_added_in_order(host, order):
    host.descending = order == "descending"
    with on_host(host):
        added_in_order(np)
