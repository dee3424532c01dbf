"""numba, the optional compiler: whether it is there, and modules of loops that need it.

Nothing here imports it; a module of loops is imported by the first call that runs one.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from typing import Any


@cache
def missing() -> str | None:
    """Return why nothing can be compiled, or None where numba is installed."""
    if importlib.util.find_spec("numba") is None:
        return 'numba is not installed: pip install "arrayconv[numba]"'
    return None


def lanes_of(dtype: Any) -> int:
    """Return how many numbers of a dtype one of the processor's vectors holds."""
    return int(loops("registers").VECTOR_BYTES // dtype.itemsize)


@cache
def loops(module: str) -> Any:
    """Return a module of this package whose functions numba compiles."""
    return importlib.import_module(f"arrayconv.backends.numpy.{module}")
