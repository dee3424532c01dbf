"""Blocks on several threads: who runs them, and how the BLAS is held meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import arrayconv as ac
from arrayconv._options import current
from arrayconv.backends.numpy import threads as module
from arrayconv.backends.numpy import workers
from arrayconv.backends.numpy.blas import Hold, one_thread
from arrayconv.backends.numpy.compiler import missing
from arrayconv.backends.numpy.processors import MANY, Processors, _processor
from arrayconv.backends.numpy.threads import run_blocks

KINDS = ("sleeping", "watchful", "impatient")
"""Of workers: without numba; with it; and ones that fall asleep at once, and so are woken often."""


@pytest.fixture(params=KINDS)
def kind(request, monkeypatch):
    """A team of its own for each test, of one kind of workers."""
    if request.param == "sleeping":
        monkeypatch.setattr(workers, "missing", lambda: "numba is not installed")
    elif missing() is not None:
        pytest.skip(f"workers that look for work are compiled: {missing()}")
    if request.param == "impatient":
        monkeypatch.setattr(workers, "PATIENCE", 0)
    team = module.Team()
    monkeypatch.setattr(module, "_team", team)
    yield request.param
    assert team._busy == 0
    team.end()


class Meeting:
    """Blocks that wait for each other: they end only if ``expected`` threads run at once."""

    def __init__(self, expected: int) -> None:
        self.barrier = threading.Barrier(expected, timeout=20)
        self.threads: set[int] = set()

    def __call__(self, block: int) -> None:
        self.threads.add(threading.get_ident())
        self.barrier.wait()


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_as_many_threads_as_the_option_says(count):
    meet = Meeting(count)
    with ac.options(threads=count):
        run_blocks(meet, range(3 * count))
    assert len(meet.threads) == count
    assert threading.get_ident() in meet.threads


@pytest.mark.usefixtures("kind")
def test_every_block_runs_once_and_one_thread_keeps_their_order():
    for count in (1, 4):
        done: list[int] = []
        with ac.options(threads=count):
            run_blocks(done.append, range(100))
        assert sorted(done) == list(range(100))
        if count == 1:
            assert done == list(range(100))
    run_blocks(done.append, [])
    assert len(done) == 100


@pytest.mark.usefixtures("kind")
def test_a_block_that_has_blocks_keeps_to_its_thread():
    meet = Meeting(2)
    inner: list[bool] = []

    def outer(block: int) -> None:
        meet(block)
        seen: set[int] = set()
        run_blocks(lambda each: seen.add(threading.get_ident()), range(10))
        inner.append(seen == {threading.get_ident()})

    with ac.options(threads=2):
        run_blocks(outer, range(4))
    assert inner == [True] * 4


@pytest.mark.usefixtures("kind")
def test_threads_of_the_caller_are_not_multiplied():
    """Four callers that may use four threads each run on four threads in all."""
    lock, running, most = threading.Lock(), set(), []

    def block(number: int) -> None:
        with lock:
            running.add(threading.get_ident())
            most.append(len(running))
        time.sleep(0.002)
        with lock:
            running.discard(threading.get_ident())

    together = threading.Barrier(4, timeout=20)

    def caller() -> None:
        with ac.options(threads=4):
            together.wait()
            run_blocks(block, range(40))

    with ThreadPoolExecutor(4) as callers:
        for future in [callers.submit(caller) for _ in range(4)]:
            future.result()
    # A caller cannot be refused; helpers that came before the last caller may still be there.
    assert max(most) <= 7
    assert module._team._busy == 0


@pytest.mark.usefixtures("kind")
def test_the_callers_options_and_errstate_hold_in_every_thread():
    meet = Meeting(3)
    seen = []

    def block(number: int) -> None:
        meet(number)
        seen.append((current().workspace_bytes, np.geterr()["over"]))

    with ac.options(threads=3, workspace_bytes=12345), np.errstate(over="raise"):
        run_blocks(block, range(3))
    assert seen == [(12345, "raise")] * 3


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_first_blocks_exception_is_raised_and_work_ends(count):
    done = []

    def block(number: int) -> None:
        if number >= 5:
            if number == 5:
                time.sleep(0.02)
            raise ValueError(f"block {number}")
        done.append(number)

    with ac.options(threads=count), pytest.raises(ValueError, match=r"^block 5$"):
        run_blocks(block, range(1000))
    assert done[:5] == sorted(done[:5]) or count > 1
    assert len(done) == 5
    assert module._team._busy == 0
    with ac.options(threads=count):
        run_blocks(done.append, range(3))
    assert len(done) == 8


@pytest.mark.usefixtures("kind")
def test_each_thread_has_one_workspace():
    meet = Meeting(2)
    spaces: list[int] = []

    def block(number: int, space: list[int]) -> None:
        meet(number)
        space.append(number)
        spaces.append(id(space))

    with ac.options(threads=2):
        run_blocks(block, range(8), workspace=list)
    assert len(set(spaces)) == 2


def held() -> Hold:
    found = one_thread()
    if isinstance(found, str):
        pytest.skip(f"NumPy's BLAS cannot be held to one thread: {found}")
    return found


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize("count", [1, 3])
def test_products_hold_the_blas(count):
    hold = held()
    before, inside = hold._get(), []
    meet = Meeting(count)

    def block(number: int) -> None:
        meet(number)
        inside.append(hold._get())

    try:
        hold._set(2)
        with ac.options(threads=count):
            run_blocks(block, range(count), products=True)
            assert hold._get() == 2
            with pytest.raises(ZeroDivisionError):
                run_blocks(lambda number: 1 / 0, range(count), products=True)
            assert hold._get() == 2
            run_blocks(block, range(count))
    finally:
        hold._set(before)
    assert inside == [1] * count + [2] * count


def test_holds_overlap_and_a_change_by_others_stays():
    number = [7]

    def set_to(value: int) -> None:
        number[0] = value

    hold = Hold(lambda: number[0], set_to)
    hold.__enter__()
    hold.__enter__()
    hold.__exit__()
    assert number == [1]
    hold.__exit__()
    assert number == [7]
    with hold:
        number[0] = 5
    assert number == [5]


def test_a_blas_that_cannot_be_held_has_one_worker(monkeypatch):
    monkeypatch.setattr(module, "one_thread", lambda: "it has a mind of its own")
    seen = set()
    with ac.options(threads=4):
        run_blocks(lambda number: seen.add(threading.get_ident()), range(50), products=True)
    assert seen == {threading.get_ident()}


@pytest.mark.usefixtures("kind")
def test_no_thread_can_be_started(monkeypatch):
    def refuse(*arguments: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    done: list[int] = []
    with ac.options(threads=4):
        run_blocks(done.append, range(50))
    assert done == list(range(50))


def in_a_process(program: str, **variables: str) -> str:
    environment = {
        name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()


SHOW = "from arrayconv._options import current; print(current().threads)"


@pytest.mark.parametrize(
    ("variables", "threads"),
    [
        ({"ARRAYCONV_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, "3"),
        ({"OMP_NUM_THREADS": "5"}, "5"),
        ({"OMP_NUM_THREADS": "6,2"}, "6"),
    ],
)
def test_the_variables(variables, threads):
    assert in_a_process(SHOW, **variables) == threads


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_the_cpus_that_the_process_may_use():
    one = min(os.sched_getaffinity(0))
    assert in_a_process(f"import os; os.sched_setaffinity(0, [{one}]); {SHOW}") == "1"


FORK = """
import os, threading, warnings
import arrayconv as ac
from arrayconv.backends.numpy.blas import one_thread
from arrayconv.backends.numpy.threads import run_blocks

warnings.simplefilter("ignore", DeprecationWarning)  # a fork of a process with threads
hold = one_thread()
get = (lambda: 0) if isinstance(hold, str) else hold._get
before = get()

def meet_in_two_threads():
    barrier = threading.Barrier(2, timeout=20)
    with ac.options(threads=2):
        run_blocks(lambda block: barrier.wait(), range(4), products=not isinstance(hold, str))

def forks(block):
    child = os.fork()
    if child == 0:
        meet_in_two_threads() if block else None
        os._exit(0 if get() == before else 1)
    assert os.waitpid(child, 0)[1] == 0

meet_in_two_threads()
run_blocks(forks, range(1), products=True)
forks(1)
meet_in_two_threads()
print("well")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_begins_anew():
    assert in_a_process(FORK) == "well"


def test_work_at_the_end_of_the_program():
    program = """
import atexit
import arrayconv as ac
from arrayconv.backends.numpy.threads import run_blocks

def last():
    done = []
    with ac.options(threads=3):
        run_blocks(done.append, range(10))
    print(sorted(done) == list(range(10)))

atexit.register(last)
"""
    assert in_a_process(program) == "True"


def test_what_cannot_be_held_is_shown(monkeypatch):
    import arrayconv.backends.numpy as backend

    monkeypatch.setattr(backend, "one_thread", lambda: "it has a mind of its own")
    found = ac.show_config("dicts")
    assert found is not None
    said = found["remarks"]["numpy"]
    assert "products run on one worker, since it has a mind of its own" in said


def test_few_blocks_do_not_start_a_thread():
    seen: set[int] = set()
    with ac.options(threads=4):
        run_blocks(lambda block: seen.add(threading.get_ident()), range(7), least=4)
    assert seen == {threading.get_ident()}


@pytest.fixture
def sleeper():
    """The system's number of a thread that sleeps, what wakes it, and its processors then."""
    if _processor is None:
        pytest.skip(f"the system tells no processor, or there are {MANY} and more")
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("this process may use one processor only")
    asleep, processors, seen = threading.Lock(), Processors(), []
    asleep.acquire()

    def sleep() -> None:
        asleep.acquire()
        seen.append(os.sched_getaffinity(0))
        processors.free()
        seen.append(os.sched_getaffinity(0))

    thread = threading.Thread(target=sleep, daemon=True)
    thread.start()
    yield thread, asleep, processors, seen
    if asleep.locked():
        asleep.release()
    thread.join()


def wake(sleeper: Any, heres: list[int]) -> list[set[int]]:
    """Keep a sleeper away from some processors, one after the other, and wake it.

    Return those that it could run on at first, and then.
    """
    thread, asleep, processors, seen = sleeper
    found: list[set[int]] = seen
    before = os.sched_getaffinity(0)
    try:
        for here in heres:
            os.sched_setaffinity(0, {here})
            processors.keep_away(thread.native_id)
    finally:
        os.sched_setaffinity(0, before)
    asleep.release()
    thread.join()
    return found


@pytest.mark.parametrize("times", [1, 2])
def test_a_thread_wakes_on_another_processor_than_the_callers(sleeper, times):
    """And may run on all of them again, also if it was called off and then called again."""
    every = os.sched_getaffinity(0)
    heres = sorted(every)[:times]
    assert wake(sleeper, heres) == [every - {heres[-1]}, every]


def test_a_thread_that_has_one_processor_stays_there(sleeper):
    here = min(os.sched_getaffinity(0))
    os.sched_setaffinity(sleeper[0].native_id, {here})
    assert wake(sleeper, [here]) == [{here}, {here}]


def test_what_others_changed_meanwhile_stays(sleeper):
    """As where somebody gives the process other processors while its threads sleep."""
    thread, asleep, processors, seen = sleeper
    processors.keep_away(thread.native_id)
    given = {max(os.sched_getaffinity(0) - os.sched_getaffinity(thread.native_id))}
    os.sched_setaffinity(thread.native_id, given)
    asleep.release()
    thread.join()
    assert seen == [given, given]


def test_where_the_system_allows_nothing_all_goes_on(kind, monkeypatch):
    def refuse(*arguments: object) -> None:
        raise PermissionError("not here")

    monkeypatch.setattr(os, "sched_setaffinity", refuse, raising=False)
    done: list[int] = []
    with ac.options(threads=2):
        run_blocks(done.append, range(10))
    assert sorted(done) == list(range(10))
    # A thread that no longer is there.
    Processors().keep_away(2**30)
