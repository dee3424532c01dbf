"""Compiled loops whose ranges several threads take, without Python's lock."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copytree, ignore_patterns
from time import monotonic
from typing import Any

import numpy as np
import pytest

import arrayconv as ac
from arrayconv.backends.numpy import threads as module
from arrayconv.backends.numpy import workers
from arrayconv.backends.numpy.compiler import loops
from arrayconv.backends.numpy.threads import run_range
from tests.test_threads import in_a_process

numba = pytest.importorskip("numba")
extending = pytest.importorskip("numba.extending")
worker_loops, borrowed = loops("worker_loops"), loops("borrowed")


@numba.njit(nogil=True)
def mark(seen: Any, begin: Any, end: Any, amount: Any) -> None:
    """Add to the cells of a range."""
    for n in range(begin, end):
        seen[n] += amount


@numba.njit(nogil=True)
def meet(here: Any, begin: Any, end: Any, thread: Any, callers: Any, expected: Any) -> None:
    """Say which thread has each range; wait a while until ``expected`` threads are here."""
    callers[begin:end] = thread
    worker_loops.add(here.ctypes.data, 1)
    for _ in range(1_000_000):
        if worker_loops.load(here.ctypes.data) >= expected:
            break
        worker_loops.pause()


@numba.njit(nogil=True)
def fail(seen: Any, begin: Any, end: Any) -> None:
    """Find no room in one range."""
    if begin <= 7 < end:
        raise MemoryError


@numba.njit(nogil=True)
def copy(cells: Any, seen: Any, begin: Any, end: Any) -> None:
    """Copy the cells of a range."""
    for n in range(begin, end):
        seen[n] = cells[n]


@extending.intrinsic
def owner(context: Any, array: Any) -> Any:
    """Return where what owns an array's memory is, or 0."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        held = context.make_array(array)(context, builder, given[0])
        return builder.ptrtoint(held.meminfo, context.get_value_type(numba.types.int64))

    return numba.types.int64(array), code


@pytest.mark.parametrize("threads", [1, 2])
def test_what_must_not_be_written_is_not_compiled_for_by_itself(threads):
    cells = np.arange(100.0)
    seen = np.zeros((2, 100))
    for row, writeable in zip(seen, (True, False), strict=True):
        cells.flags.writeable = writeable
        with ac.options(threads=threads):
            run_range(copy, (cells, row), 100, (), each=10)
    np.testing.assert_array_equal(seen, [cells, cells])
    assert len(copy.signatures) == 1
    assert not cells.flags.writeable


@numba.njit(nogil=True)
def tell_owners(found: Any, begin: Any, end: Any, pair: Any) -> None:
    """Write which owners a loop's arrays have."""
    for n in range(begin, end):
        found[n] = owner(found) + owner(pair[0])


@numba.njit(nogil=True)
def lend(array: Any) -> Any:
    """Return the owners of an array, and of the same as it is borrowed, and its sum then."""
    lent, (other, number) = borrowed.borrowed(array), borrowed.borrowed((array, 3))
    total = lent.sum() + other[0] * number
    borrowed.live_until_here(array)
    return owner(array), owner(lent) + owner(other), total


@pytest.fixture(autouse=True)
def team(monkeypatch):
    made = module.Team()
    monkeypatch.setattr(module, "_team", made)
    yield made
    assert made._busy == 0
    made.end()


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
@pytest.mark.parametrize(("count", "each"), [(1, 1), (2, 1), (100, 7), (97, 1), (12, 100)])
@pytest.mark.parametrize("patience", [0, workers.PATIENCE])
def test_every_range_is_run_once(threads, count, each, patience, monkeypatch):
    monkeypatch.setattr(workers, "PATIENCE", patience)
    seen = np.zeros(count + 1)
    with ac.options(threads=threads):
        for _ in range(20):
            run_range(mark, (seen,), count, (2.5,), each=each, least=1)
    np.testing.assert_array_equal(seen, [50.0] * count + [0])


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_threads_have_numbers_and_parts_of_their_own(threads, team):
    with ac.options(threads=threads):
        # A thread that fell asleep while the first call compiled the loop is not waited for, nor
        # one that a busy machine has not let run yet.
        until = monotonic() + 60
        while monotonic() < until:
            here, callers = np.zeros(1, np.int64), np.full(8, -1)
            more = (callers, threads)
            run_range(meet, (here,), 8, more, each=8 // threads, least=1, numbered=True)
            # Who waits in its first range until all are there takes nobody else's.
            if (callers == np.repeat(np.arange(threads), 8 // threads)).all():
                return
    states = [(each._words[:3].tolist(), each._looks) for each in team._free]
    raise AssertionError(f"ranges were taken by {callers}; workers: {states}")


def test_threads_share_arrays_that_nobody_counts():
    """Each count is an atomic step for which threads would wait on one another."""
    of_one, of_borrowed, total = lend(np.arange(5.0))
    assert of_one != 0
    assert of_borrowed == 0
    assert total == 10.0
    for threads in (1, 2):
        found = np.full(64, -1)
        with ac.options(threads=threads):
            run_range(tell_owners, (found,), 64, ((np.zeros(3), 1),), each=1, least=1)
        assert (found == 0).all() == (threads == 2)


def test_few_ranges_start_no_thread(team):
    seen = np.zeros(7)
    with ac.options(threads=4):
        run_range(mark, (seen,), 7, (1.0,), each=1, least=4)
    assert seen.all()
    assert team._free == []


@pytest.mark.parametrize("threads", [1, 2])
def test_no_room_is_said(threads):
    with ac.options(threads=threads), pytest.raises(MemoryError):
        run_range(fail, (np.zeros(10),), 10, (), each=1, least=1)
    seen = np.zeros(10)
    with ac.options(threads=threads):
        run_range(mark, (seen,), 10, (1.0,), each=1, least=1)
    assert seen.all()


def test_callers_at_once(team):
    """Threads of the caller's own share helpers, and each has its work done."""
    together = threading.Barrier(4, timeout=20)

    def caller(number: int) -> bool:
        seen = np.zeros(1000)
        with ac.options(threads=3):
            together.wait()
            for _ in range(200):
                run_range(mark, (seen,), 1000, (1.0,), each=10, least=1)
        return bool((seen == 200).all())

    with ThreadPoolExecutor(4) as callers:
        assert all(callers.map(caller, range(4)))
    assert len(team._free) <= 2


@pytest.mark.parametrize(
    ("said", "waits"), [("", True), ("active", True), ("passive", False), (" PASSIVE", False)]
)
def test_whether_helpers_wait(said, waits, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", said)
    assert (workers.patience() > 0) == waits


def test_blocks_of_python_and_compiled_ones_take_turns(team):
    seen = np.zeros(100)
    done: list[int] = []
    with ac.options(threads=2):
        for _ in range(100):
            run_range(mark, (seen,), 100, (1.0,), each=10, least=1)
            module.run_blocks(done.append, range(10))
    assert (seen == 100).all()
    assert sorted(done) == sorted([*range(10)] * 100)
    assert len(team._free) == 1


def test_workers_that_are_sent_to_sleep_are_woken(team):
    """Also those that did not wake up yet when they were."""
    seen, done = np.zeros(10), 0

    def rest() -> None:
        for each in team._free:
            loops("worker_loops").rest(each.word)

    with ac.options(threads=3):
        for n in range(600):
            run_range(mark, (seen,), 10, (1.0,), each=1, least=1)
            if n % 2:
                rest()
            if n % 3 == 0:
                rest()
                module.run_blocks(lambda block: None, range(10))
            done += 1
    assert (seen == done).all()


def test_where_no_thread_can_be_started_the_caller_does_all(monkeypatch):
    def refuse(*arguments: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    seen = np.zeros(10)
    with ac.options(threads=4):
        run_range(mark, (seen,), 10, (1.0,), each=1, least=1)
    assert seen.all()


def test_an_address_is_that_of_the_types():
    address_of = loops("addresses").address_of
    single, double = np.zeros(3, "float32"), np.zeros(3)
    of_single = address_of(mark, single, 0, 3, np.float32(1))
    assert of_single == address_of(mark, single + 1, 5, 7, np.float32(2))
    assert of_single != address_of(mark, double, 0, 3, 1.0)


AT_THE_END = """
import sys
import numpy as np
import arrayconv as ac

x = np.ones((1, 64, 128, 128), "float32")
with ac.options(threads=3):
    for _ in range(int(sys.argv[1])):
        y = ac.avg_pool2d(x, 2)
        z = ac.conv2d(x, x[:, :, :3, :3])
print(y.sum(), z.shape)
"""


@pytest.mark.parametrize("calls", [1, 20])
def test_a_program_ends_while_threads_wait(calls):
    done = subprocess.run(
        [sys.executable, "-c", AT_THE_END, str(calls)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == "262144.0 (1, 1, 126, 126)"


def convolution(shape: Any, weight: Any, algorithm: str, **params: Any) -> list[Any]:
    """Return a layer's output, its adjoint's, and both gradients."""
    rng = np.random.default_rng(0)
    shapes = (shape, weight, weight[:1])
    x, w, bias = (rng.standard_normal(each).astype("float32") for each in shapes)
    dims = len(shape) - 2
    y, pullback = ac.vjp(getattr(ac, f"conv{dims}d"), x, w, bias, algorithm=algorithm, **params)
    return [y, *pullback(y)]


def pools(shape: Any, *arguments: Any) -> list[Any]:
    """Return maxima with their places, averages, and the gradients of both."""
    x = np.random.default_rng(0).standard_normal(shape).astype("float32")
    kernel_size, stride, padding = arguments
    values, indices = ac.max_pool2d(x, kernel_size, stride, padding, return_indices=True)
    made = [values, indices]
    for function in (ac.max_pool2d, ac.avg_pool2d):
        y, pullback = ac.vjp(function, x, kernel_size=kernel_size, stride=stride, padding=padding)
        made += [y, *pullback(y)]
    return made


def columns(shape: Any, *arguments: Any, **params: Any) -> list[Any]:
    x = np.random.default_rng(0).standard_normal(shape).astype("float32")
    made = ac.unfold(x, *arguments, **params)
    return [made, ac.fold(made, shape[2:], *arguments, **params)]


LAYERS: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any]]] = {
    "one by one": (convolution, ((2, 24, 40, 41), (36, 24, 3, 3), "numba"), {"padding": 1}),
    "strided": (convolution, ((1, 32, 60, 60), (33, 32, 3, 3), "numba"), {"stride": 2}),
    "grouped": (convolution, ((2, 48, 40, 40), (72, 12, 3, 3), "numba"), {"groups": 4}),
    "depthwise": (
        convolution,
        ((1, 96, 50, 50), (96, 1, 5, 5), "numba_depthwise"),
        {"groups": 96, "padding": 2},
    ),
    "along a line": (convolution, ((2, 24, 5000), (24, 24, 9), "numba"), {"padding": 4}),
    "volumes": (convolution, ((1, 8, 12, 30, 30), (8, 8, 3, 3, 3), "numba"), {}),
    "blocks of squares": (
        convolution,
        ((1, 32, 90, 90), (32, 32, 3, 3), "numba_winograd_4x4"),
        {"padding": 1},
    ),
    "parts of outputs": (
        convolution,
        ((1, 128, 14, 14), (136, 128, 3, 3), "numba_winograd_4x4"),
        {"padding": 1},
    ),
    "parts of a large weight": (
        convolution,
        ((1, 256, 10, 10), (264, 256, 3, 3), "numba_winograd_2x2"),
        {"padding": 1},
    ),
    "groups of squares": (
        convolution,
        ((2, 64, 40, 40), (64, 32, 3, 3), "numba_winograd_4x4"),
        {"groups": 2, "padding": 1},
    ),
    "wide planes": (pools, ((1, 48, 90, 91), 3, 2, 1), {}),
    "narrow planes": (pools, ((8, 400, 9, 9), 3, 2, 1), {}),
    "columns": (columns, ((2, 32, 50, 50), 3), {"padding": 1}),
    "columns of narrow planes": (columns, ((2, 200, 8, 8), 3), {"padding": 1}),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_the_same_bits_on_any_number_of_threads(layer, monkeypatch):
    taken: list[int] = []

    def counting(share: Any) -> Any:
        def counted(words: Any, *arguments: Any) -> bool:
            taken.append(len(words))
            return bool(share(words, *arguments))

        return counted

    for name in ("share", "share_numbered"):
        monkeypatch.setattr(worker_loops, name, counting(getattr(worker_loops, name)))
    function, arguments, params = LAYERS[layer]
    with ac.options(threads=1):
        alone = function(*arguments, **params)
    assert taken == []
    for threads in (2, 3, 5):
        with ac.options(threads=threads):
            together = function(*arguments, **params)
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one, other)
    assert taken, "no loop was shared"


KEPT = """
import os
import numpy as np
import arrayconv as ac

x = np.random.default_rng(0).standard_normal((4, 40, 50, 50)).astype("float32")
for threads in (1, 2):
    for kernel_size in map(int, os.environ["KERNELS"].split()):
        with ac.options(algorithm="numba", threads=threads):
            got = ac.max_pool2d(x, kernel_size, 2)
        with ac.options(algorithm="generic"):
            assert (got == ac.max_pool2d(x, kernel_size, 2)).all()
print("right")
"""


def test_loops_that_other_processes_kept_are_told_apart(tmp_path):
    """Two processes keep the loop of a form each, and a third has both when it shares them.

    numba numbers functions in each process, so that the numbers of the two forms are the same.
    """
    for kernels in ("2", "3", "2 3"):
        program = {"KERNELS": kernels, "NUMBA_CACHE_DIR": str(tmp_path)}
        assert in_a_process(KEPT, **program) == "right"


ADDED = """
import numpy as np
import arrayconv as ac

x, w = np.ones((1, 1, 4), np.float32), np.ones((1, 1, 1), np.float32)
with ac.options(algorithm="numba", threads=1):
    print(ac.vjp(ac.conv1d, x, w)[1](x)[1].item())
"""


def test_loops_that_an_earlier_version_kept_are_not_taken(tmp_path):
    """What a loop is made of may lie in another file than the loop, which alone numba looks at."""
    package = tmp_path / "arrayconv"
    copytree(Path(ac.__file__).parent, package, ignore=ignore_patterns("__pycache__"))
    kept = {"NUMBA_CACHE_DIR": str(tmp_path / "kept"), "PYTHONPATH": str(tmp_path)}
    assert in_a_process(ADDED, **kept) == "4.0"
    code = package / "backends" / "numpy" / "tile_sums.py"
    line = "self.multiply_add(spread, value, total)"
    assert line in code.read_text()
    code.write_text(
        code.read_text().replace(line, "builder.fsub(total, builder.fmul(spread, value))")
    )
    assert in_a_process(ADDED, **kept) == "-4.0"
