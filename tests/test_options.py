"""The options: what holds where, and what is refused."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

import arrayconv as ac
from arrayconv._options import current


def test_defaults():
    assert current() == ac.Options(algorithm="auto", workspace_bytes=2 << 20)


def test_blocks_nest_and_end():
    before = current()
    with ac.options(workspace_bytes=5) as outer:
        with ac.options(algorithm="generic") as inner:
            assert current() is inner
            assert (inner.workspace_bytes, inner.algorithm) == (5, "generic")
        assert current() is outer
    assert current() is before


def test_an_error_ends_a_block():
    with pytest.raises(ZeroDivisionError), ac.options(workspace_bytes=5):
        raise ZeroDivisionError
    assert current().workspace_bytes == 2 << 20


def test_a_block_holds_for_its_own_thread():
    with ac.options(workspace_bytes=5), ThreadPoolExecutor(1) as threads:
        assert threads.submit(current).result().workspace_bytes == 2 << 20


def test_a_block_holds_for_its_own_task():
    async def task(number: int) -> int:
        with ac.options(workspace_bytes=number):
            await asyncio.sleep(0)
            return current().workspace_bytes

    async def both() -> tuple[int, int]:
        return await asyncio.gather(task(7), task(8))

    assert tuple(asyncio.run(both())) == (7, 8)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("speed", 1, TypeError),
        ("algorithm", None, TypeError),
        ("algorithm", "", TypeError),
        ("workspace_bytes", 0, ValueError),
        ("workspace_bytes", 1.5, TypeError),
        ("workspace_bytes", True, TypeError),
        ("allow_unverified", 1, TypeError),
        ("allow_tf32", "yes", TypeError),
        ("allow_reduced_precision", 1, TypeError),
        ("threads", 0, ValueError),
        ("threads", "2", TypeError),
    ],
)
def test_refused(name, value, error):
    with pytest.raises(error, match=name), ac.options(**{name: value}):
        pass


def in_a_process(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"import arrayconv as ac; {program}"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_variables():
    done = in_a_process(
        "from arrayconv._options import current; print(current())",
        ARRAYCONV_WORKSPACE_BYTES="4096",
        ARRAYCONV_ALGORITHM="generic",
        ARRAYCONV_ALLOW_UNVERIFIED="yes",
        ARRAYCONV_NUM_THREADS="3",
        ARRAYCONV_ALLOW_TF32="1",
        ARRAYCONV_ALLOW_REDUCED_PRECISION="true",
    )
    wanted = ac.Options(
        "generic", 4096, True, threads=3, allow_tf32=True, allow_reduced_precision=True
    )
    assert done.stdout.strip() == str(wanted)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORKSPACE_BYTES", "many"),
        ("WORKSPACE_BYTES", "0"),
        ("ALLOW_UNVERIFIED", "perhaps"),
        ("NUM_THREADS", "0"),
    ],
)
def test_variables_refused(name, value):
    done = in_a_process("pass", **{f"ARRAYCONV_{name}": value})
    assert done.returncode == 1
    assert name.lower() in done.stderr.lower()
    assert done.stderr.strip().splitlines()[-1].startswith("ValueError")
