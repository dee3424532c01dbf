"""Run blocks of work on several threads.

`run_blocks` calls a function of Python: NumPy gives up Python's lock in copies and products.
`run_range` calls a compiled loop, for which nobody needs that lock. Each number is computed in the
same order however work is cut, and each block writes what no other does; so the numbers are the
same, bit for bit, whatever the threads.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from contextvars import copy_context
from functools import cache
from itertools import count as numbers
from typing import Any

import numpy as np

from arrayconv._options import current
from arrayconv.backends.numpy.blas import Hold, one_thread
from arrayconv.backends.numpy.compiler import loops
from arrayconv.backends.numpy.workers import WatchfulWorker, Work, Worker, worker


class Team:
    """The threads of this process that run blocks: callers, and workers that help them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: list[Worker] = []
        self._numbers = numbers(1)
        self._busy = 0
        """Threads that run blocks now; never more than the option allows, but for callers."""
        self._here = threading.local()

    def join(self, wanted: int, threads: int) -> list[Worker]:
        """Enter the calling thread and return as many workers, of those wanted, as are free."""
        with self._lock:
            helpers = max(0, min(wanted, threads - 1 - self._busy))
            workers = self._free[-helpers:] if helpers else []
            del self._free[len(self._free) - len(workers) :]
            try:
                while len(workers) < helpers:
                    workers.append(worker(f"arrayconv-{next(self._numbers)}"))
            except RuntimeError:
                # No thread can be started, as while Python ends: the caller does more itself.
                pass
            self._busy += 1 + len(workers)
        self._here.works = True
        return workers

    def leave(self, workers: list[Worker]) -> None:
        """Give the calling thread and its workers back."""
        self._here.works = False
        with self._lock:
            self._free += workers
            self._busy -= 1 + len(workers)

    @property
    def is_here(self) -> bool:
        """Whether the calling thread runs a block: what it calls must not ask for more threads."""
        return getattr(self._here, "works", False)

    def in_context(self, work: Work) -> Work:
        """Return work for another thread in the caller's context: options, errstate."""
        context = copy_context()

        def settled() -> None:
            self._here.works = True
            context.run(work)

        return settled

    def end(self) -> None:
        """End the workers that have nothing to do."""
        with self._lock:
            free, self._free = self._free, []
        for each in free:
            each.end()


_team = Team()
_nothing = nullcontext()


def _forked() -> None:
    """Begin anew in a child process, which has none of its parent's threads."""
    global _team
    _team = Team()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)

atexit.register(lambda: _team.end())


def at_once(blocks: int) -> int:
    """Return how many threads at most run so many blocks."""
    return max(1, min(current().threads, blocks))


def run_blocks(
    function: Callable[..., object],
    blocks: Sequence[Any],
    *,
    products: bool = False,
    workspace: Callable[[], Any] | None = None,
    least: int = 1,
) -> None:
    """Call ``function(block)`` for each block, on as many threads as the options allow.

    The calling thread works too, so that nothing waits for a thread to begin. Helpers are taken
    from those that no other caller has: threads of the caller's own that all come here are not
    multiplied. A block that comes here itself stays on its thread.

    ``products`` says that blocks multiply matrices: the BLAS is then held to one thread, and where
    it cannot be, one worker runs all blocks, and the BLAS may use its threads. ``workspace`` makes
    what each thread needs once, for example a buffer: ``function(block, workspace)``. ``least`` is
    the number of blocks that make a thread worth its start.

    An exception ends the work and is raised here: that of the first block, in their order, which
    raised one.
    """
    hold: Any = _nothing
    threads = current().threads
    if products:
        found = one_thread()
        if isinstance(found, Hold):
            hold = found
        else:
            threads = 1
    team = _team
    wanted = min(threads, len(blocks) // least) - 1
    if wanted < 1 or team.is_here:
        with hold:
            own = () if workspace is None else (workspace(),)
            for block in blocks:
                function(block, *own)
        return
    waiting = deque(enumerate(blocks))
    failures: list[tuple[int, BaseException]] = []

    def work() -> None:
        own: tuple[Any, ...] | None = None
        while not failures:
            try:
                number, block = waiting.popleft()
            except IndexError:
                return
            try:
                if own is None:
                    own = () if workspace is None else (workspace(),)
                function(block, *own)
            except BaseException as problem:
                failures.append((number, problem))

    with hold:
        workers, asked = team.join(wanted, threads), 0
        try:
            for each in workers:
                each.ask(team.in_context(work))
                asked += 1
            work()
        finally:
            for each in workers[:asked]:
                each.settle()
            team.leave(workers)
    if failures:
        raise min(failures, key=lambda failure: failure[0])[1]


Arguments = tuple[Any, ...]


class _Memory:
    """The memory of an array that must not be written, as NumPy takes it for one that may be."""

    def __init__(self, array: Any) -> None:
        self.array = array
        interface = array.__array_interface__
        self.__array_interface__ = interface | {"data": (interface["data"][0], False)}


def _of_one_type(given: Any) -> Any:
    """Return an array of the type for which a loop is compiled, whether it may be written or not.

    To numba arrays that must not be are of another type, for which all would be compiled again.
    """
    if isinstance(given, np.ndarray) and not given.flags.writeable:
        return np.asarray(_Memory(given))
    return given


@cache
def _sharing() -> int:
    """Return where the code is by which threads share a loop's work."""
    words, parts = np.empty(1, np.int64), np.empty((1, 1), np.int64)
    share_frame = loops("worker_loops").share_frame
    found: int = loops("addresses").address_of(share_frame, words, 0, parts, 0, 0)
    return found


def run_range(
    loop: Any,
    before: Arguments,
    count: int,
    after: Arguments,
    *,
    each: int,
    least: int = 2,
    numbered: bool = False,
) -> None:
    """Call a compiled ``loop(*before, begin, end, *after)`` for ranges of ``each`` up to ``count``.

    Of the arrays ``before`` it writes results only.

    As `run_blocks`, but threads find their ranges without Python, and so without its lock: what
    Python does is one call for all. ``least`` is the number of ranges that make a thread worth it.
    Where ``numbered`` the loop takes, after its range, the number of the thread that calls it,
    less than that of the threads.
    """
    threads, team = current().threads, _team
    wanted = min(threads, -(-count // max(1, each)) // least) - 1
    before = tuple(map(_of_one_type, before))
    arguments = (*before, 0, count, *((0,) if numbered else ()), *after)
    if wanted < 1 or team.is_here:
        loop(*arguments)
        return
    address = loops("addresses").address_of(loop, *arguments)
    compiled = loops("worker_loops")
    share = compiled.share_numbered if numbered else compiled.share
    workers = team.join(wanted, threads)
    try:
        helpers = [each for each in workers if isinstance(each, WatchfulWorker)]
        for helper in helpers:
            helper.rouse()
        words = np.array([helper.word for helper in helpers], np.int64)
        done = share(words, _sharing(), address, count, each, before, after)
    finally:
        team.leave(workers)
    if not done:
        raise MemoryError("there is no room for what a compiled loop works with")
