"""Threads that wait for work, and do it beside those who ask for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import cache
from time import perf_counter_ns

import numpy as np

from arrayconv.backends.numpy.compiler import loops, missing
from arrayconv.backends.numpy.processors import Processors

PATIENCE, GRACE = 200, 10
"""Microseconds for which a thread looks for work before it falls asleep, and which one that was
asked leaves to who asked it: see `worker_loops.wait`."""
LINE = 128
"""Bytes that are for one thread only: two lines of the cache, which are fetched together."""

Work = Callable[[], object]
"""It must not raise."""


def patience() -> int:
    """Return these microseconds, or 0 where OpenMP's variable for this says so."""
    passive = os.environ.get("OMP_WAIT_POLICY", "").strip().lower() == "passive"
    return 0 if passive else PATIENCE


class Worker:
    """A thread that sleeps until it is asked for work."""

    def __init__(self, name: str) -> None:
        self._called, self._done = threading.Lock(), threading.Lock()
        self._called.acquire()
        self._done.acquire()
        self._work: Work | None = None
        self._processors = Processors()
        self._over = False
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._thread.start()

    def _live(self) -> None:
        self._called.acquire()
        while not self._over:
            self._processors.free()
            self._do()
            self._done.release()
            self._called.acquire()

    def _do(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            work()

    def ask(self, work: Work) -> None:
        """Ask for some work; `settle` has to follow."""
        self._work = work
        self._processors.keep_away(self._thread.native_id)
        self._called.release()

    def settle(self) -> None:
        """Take the work back if it has not begun, or wait until it is done."""
        if self._called.acquire(blocking=False):
            self._work = None
        else:
            self._done.acquire()

    def end(self) -> None:
        """End the thread, if it has nothing to do."""
        self._over = True
        self._called.release()
        self._thread.join()


class WatchfulWorker(Worker):
    """A thread that looks for work for a while, in compiled code, before it sleeps."""

    def __init__(self, name: str) -> None:
        self._compiled = loops("worker_loops")
        words = np.zeros(2 * LINE // 8, np.int64)
        start = -words.ctypes.data % LINE // 8
        self._words = words[start : start + LINE // 8]
        self.word = self._words.ctypes.data
        """Where the word of the thread is in memory."""
        self._looks = looks_a_microsecond()
        super().__init__(name)

    def _live(self) -> None:
        looks, grace = patience() * self._looks, GRACE * self._looks
        self._called.acquire()
        while not self._over:
            self._processors.free()
            while self._compiled.wait(self.word, looks, grace):
                self._do()
            self._called.acquire()

    def _wake(self) -> None:
        """Wake the thread, after its word said what for; it may have been woken already."""
        if self._called.locked():
            self._processors.keep_away(self._thread.native_id)
            self._called.release()

    def ask(self, work: Work) -> None:
        """Ask for some work; `settle` has to follow."""
        self._work = work
        if self._compiled.ask(self.word):
            self._wake()

    def settle(self) -> None:
        """Take the work back if it has not begun, or wait until it is done."""
        self._compiled.settle(self.word, self._compiled.ASKED)
        self._work = None

    def rouse(self) -> None:
        """Have the thread look for work, if it sleeps."""
        if self._words[0] == self._compiled.ASLEEP:
            self._words[0] = self._compiled.WAITING
            self._wake()

    def end(self) -> None:
        """End the thread, if it has nothing to do."""
        if self._compiled.rest(self.word):
            self._over = True
            self._wake()
            self._thread.join()


@cache
def looks_a_microsecond() -> int:
    """Return how often a thread that waits looks at its word in a microsecond."""
    wait, looks = loops("worker_loops").wait, 10_000
    word = np.zeros(1, np.int64)
    times = []
    for _ in range(4):
        word[0] = loops("worker_loops").WAITING
        start = perf_counter_ns()
        wait(word.ctypes.data, looks, 0)
        times.append(perf_counter_ns() - start)
    # The first call may have compiled the loop.
    return max(1, 1000 * looks // min(times[1:]))


def worker(name: str) -> Worker:
    """Return a new thread; a RuntimeError says that none can be started."""
    return Worker(name) if missing() else WatchfulWorker(name)
