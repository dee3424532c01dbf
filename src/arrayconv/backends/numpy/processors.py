"""On which processor a thread wakes: not on that of the thread that wakes it.

A system may put it there though others idle, and leave both there for milliseconds, in which two
threads take longer than one. Linux did so where that was seen, on two processors after a pause.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from contextlib import suppress

MANY = 32
"""Processors from which on a system is left to find one itself: there it has more that idle, and to
name them all takes its time."""


def _finder() -> Callable[[], int] | None:
    """Return what tells the number of the processor that the calling thread runs on."""
    if not hasattr(os, "sched_setaffinity") or (os.cpu_count() or MANY) >= MANY:
        return None
    # Python's lock is kept: the call takes less time than to give it up and to get it back.
    found: Callable[[], int] | None = getattr(ctypes.PyDLL(None), "sched_getcpu", None)
    return found


_processor = _finder()


class Processors:
    """Those that a thread may run on."""

    def __init__(self) -> None:
        self._all: set[int] = set()
        self._some: set[int] = set()
        """Where it may wake on some of them only; it may run on all again once it is awake."""

    def _of(self, thread: int) -> set[int]:
        """Return those of a thread, but for what was changed here; others may have changed more."""
        every = os.sched_getaffinity(thread)
        return self._all if every == self._some else every

    def keep_away(self, thread: int | None) -> None:
        """Have a thread that sleeps wake on another processor than the caller's, if it may."""
        if _processor is None or thread is None:
            return
        # A system may allow none of this. Then all stays as it is.
        with suppress(OSError):
            every = self._of(thread)
            others = every - {_processor()}
            if others:
                os.sched_setaffinity(thread, others)
                self._all, self._some = every, others

    def free(self) -> None:
        """Have the calling thread, which is awake, run on any of its processors again."""
        if self._some:
            # What a system allowed it may forbid meanwhile: then the thread runs where it may.
            with suppress(OSError):
                os.sched_setaffinity(0, self._of(0))
            self._all = self._some = set()
