"""Run blocks of work on several threads: NumPy gives up Python's lock in copies and products.

How work is cut into blocks never depends on the number of threads, and each block writes what no
other block does; so the numbers are the same, bit for bit, whatever the threads.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from contextvars import copy_context
from typing import Any

from arrayconv._options import current
from arrayconv.backends.numpy.blas import Hold, one_thread


class Team:
    """The threads of this process that run blocks: callers, and a pool that helps them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._size = 0
        self._busy = 0
        """Threads that run blocks now; never more than the option allows, but for callers."""
        self._here = threading.local()

    def join(self, wanted: int, threads: int) -> int:
        """Enter the calling thread and as many helpers, of those wanted, as are free."""
        with self._lock:
            helpers = max(0, min(wanted, threads - 1 - self._busy))
            self._busy += 1 + helpers
        self._here.works = True
        return helpers

    def leave(self, helpers: int) -> None:
        """Give the calling thread and its helpers back."""
        self._here.works = False
        with self._lock:
            self._busy -= 1 + helpers

    @property
    def is_here(self) -> bool:
        """Whether the calling thread runs a block: what it calls must not ask for more threads."""
        return getattr(self._here, "works", False)

    def _settle(self) -> None:
        self._here.works = True

    def start(self, work: Callable[[], None], helpers: int) -> list[Future[None]]:
        """Have the pool's threads do some work in the caller's context: options, errstate."""
        started: list[Future[None]] = []
        with self._lock:
            if self._pool is None or self._size < helpers:
                if self._pool is not None:
                    self._pool.shutdown(wait=False)
                self._pool = ThreadPoolExecutor(helpers, "arrayconv", self._settle)
                self._size = helpers
            try:
                for _ in range(helpers):
                    started.append(self._pool.submit(copy_context().run, work))
            except RuntimeError:
                # No thread can be started, as while Python ends: the caller does the work alone.
                pass
        return started


_team = Team()
_nothing = nullcontext()


def _forked() -> None:
    """Begin anew in a child process, which has none of its parent's threads."""
    global _team
    _team = Team()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


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
    the number of blocks that make a thread worth its start, of about 30 microseconds.

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
        helpers = team.join(wanted, threads)
        try:
            started = team.start(work, helpers) if helpers else []
            work()
            for each in started:
                if not each.cancel():
                    each.result()
        finally:
            team.leave(helpers)
    if failures:
        raise min(failures, key=lambda failure: failure[0])[1]
