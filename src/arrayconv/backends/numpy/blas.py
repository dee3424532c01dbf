"""Hold the BLAS under NumPy to one thread, while threads of our own run products.

OpenBLAS keeps one number of threads for the whole process. It is set by a call of a sixth of a
microsecond, looked up once in the library that NumPy itself has loaded.
"""

from __future__ import annotations

import ctypes
import importlib
import os
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from threading import Lock

import numpy as np

_PTHREADS = 1
"""What OpenBLAS answers where its threads are its own, and not OpenMP's (2), or none (0)."""


class Hold:
    """A context in which the BLAS has one thread; it may be entered again, and by many threads."""

    def __init__(self, get: Callable[[], int], set_to: Callable[[int], object]) -> None:
        self._get, self._set = get, set_to
        self._lock, self._holders, self._before = Lock(), 0, 1
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

    def __enter__(self) -> None:
        """Hold the BLAS; the first holder keeps the number of threads there was."""
        with self._lock:
            if self._holders == 0:
                self._before = self._get()
                if self._before != 1:
                    self._set(1)
            self._holders += 1

    def __exit__(self, *error: object) -> None:
        """Let go; the last holder restores, unless somebody else has set the number since."""
        with self._lock:
            # A child forked inside of the context has let go already.
            if self._holders:
                self._holders -= 1
                if self._holders == 0:
                    self._restore()

    def _restore(self) -> None:
        if self._before != 1 and self._get() == 1:
            self._set(self._before)

    def _forked(self) -> None:
        """Let go in a child process: the threads that held the BLAS are not in it."""
        self._lock = Lock()
        if self._holders:
            self._holders = 0
            self._restore()


@cache
def one_thread() -> Hold | str:
    """Return the context that holds NumPy's BLAS, or the reason why there is none."""
    numpys_own = importlib.import_module("numpy._core._multiarray_umath").__file__
    # Where a look-up in a library does not go on in those it was linked to: Windows.
    beside = Path(np.__file__).parent.parent.glob("numpy.libs/*openblas*")
    for file in (numpys_own, *map(str, beside)):
        try:
            library = ctypes.CDLL(file)
        except OSError:
            continue
        for prefix, suffix in product(("scipy_openblas", "openblas"), ("64_", "")):
            names = [f"{prefix}_{each}{suffix}" for each in ("get_parallel", "get_num_threads")]
            names.append(f"{prefix}_set_num_threads{suffix}")
            if all(hasattr(library, name) for name in names):
                parallel, get, set_to = (getattr(library, name) for name in names)
                if parallel() <= _PTHREADS:
                    return Hold(get, set_to)
                return "its OpenBLAS runs on OpenMP, whose threads each have a number of their own"
    return "its BLAS is not an OpenBLAS that can be found"
