"""How operations may run: one object, one context manager, the same names as variables.

An option set by ``with options(...)`` holds for the block, in this thread or task; outside of any
block the ``ARRAYCONV_*`` environment variables hold, and else the defaults.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields, replace
from typing import Any

from arrayconv._integers import integer


def usable_threads() -> int:
    """Return OMP_NUM_THREADS, else the number of CPUs that this process may use."""
    # OpenMP's variable may be a list, one number for each level of nesting.
    text = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if text.isdecimal() and int(text) > 0:
        return int(text)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Options:
    """The values in force; see `arrayconv.options` for what they mean.

    Attributes
    ----------
    algorithm, workspace_bytes, threads
        As `arrayconv.options` takes them.
    allow_unverified, allow_tf32, allow_reduced_precision, validate
        As it takes them: what is allowed, and whether indices are looked at.

    Examples
    --------
    >>> import arrayconv as ac
    >>> with ac.options(workspace_bytes=1 << 20) as in_force:
    ...     in_force.workspace_bytes
    1048576
    """

    algorithm: str = "auto"
    workspace_bytes: int = 2 << 20
    allow_unverified: bool = False
    validate: bool = False
    threads: int = field(default_factory=usable_threads)
    allow_tf32: bool = False
    allow_reduced_precision: bool = False


_VARIABLES = {"threads": "ARRAYCONV_NUM_THREADS"}
"""The environment variables that are not named like their option."""


def _checked(name: str, value: Any) -> Any:
    """Return the value of an option, or say what it must be."""
    if name == "algorithm":
        if not isinstance(value, str) or not value:
            raise TypeError(f"algorithm must be the name of an algorithm, got {value!r}")
        return value
    if name in ("workspace_bytes", "threads"):
        return integer(name, value, minimum=1)
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return value


_FLAGS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def _from_environment() -> Options:
    """Return the defaults, as the ARRAYCONV_* variables change them."""
    found: dict[str, Any] = {}
    for each in fields(Options):
        variable = _VARIABLES.get(each.name, f"ARRAYCONV_{each.name.upper()}")
        text = os.environ.get(variable)
        if text is None or text == "":
            continue
        value: Any = text
        if each.type == "bool":
            value = _FLAGS.get(text.lower())
            if value is None:
                raise ValueError(f"{variable} must be one of {sorted(_FLAGS)}, got {text!r}")
        elif each.type == "int":
            if not text.isdecimal():
                raise ValueError(f"{variable} must be a whole number, got {text!r}")
            value = integer(variable, int(text), minimum=1)
        found[each.name] = _checked(each.name, value)
    return Options(**found)


DEFAULT = _from_environment()
"""The options of this process, outside of any block."""
_current: ContextVar[Options] = ContextVar("arrayconv_options", default=DEFAULT)
current = _current.get
"""Return the options in force here."""


@contextmanager
def options(**changes: Any) -> Iterator[Options]:
    """Change, for a ``with`` block, how operations run.

    Each option can also be set for a whole process by the environment variable of its name in
    capitals behind ``ARRAYCONV_``, read when arrayconv is imported; ``threads`` by
    ``ARRAYCONV_NUM_THREADS``.

    Parameters
    ----------
    algorithm : str, optional
        The implementation to prefer wherever one of that name exists ("auto": the first that is
        fit, not slow and verified). Unlike the keyword of the same name this is a preference: an
        operation that has no such implementation, or cannot use it, runs as with "auto".
    workspace_bytes : int, optional
        Bytes that a blocked implementation may use beyond its input and output. Default: 2 MiB.
    allow_unverified : bool, optional
        Whether an implementation may run that no committed record has shown to be right.
    validate : bool, optional
        Whether indices out of range raise also where looking at them means to wait for a device;
        else they are dropped there.
    threads : int, optional
        Threads that a blocked implementation may run on, the calling one included; results are the
        same, bit for bit, with any number. Each may use ``workspace_bytes``. Default:
        ``OMP_NUM_THREADS``, else the CPUs that the process may use.
    allow_tf32 : bool, optional
        Whether tensor cores may multiply float32, of which they round each factor to 10 bits
        (TF32); sums are float32.
    allow_reduced_precision : bool, optional
        Whether "auto" may take an algorithm that rounds more than the definition does, in the same
        dtype: Winograd's larger tiles, with up to five times the error of im2col in float32; and
        transforms (FFT) of float64, whose error depends on all that a transform spans. By default
        it takes what rounds about as im2col. An algorithm that is asked for by name needs no leave;
        half types are rounded more at the end in any case.

    Yields
    ------
    Options
        The options in force in the block.

    Raises
    ------
    TypeError
        Where an option is unknown or its value is of another type.
    ValueError
        Where a value is out of range.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> image, kernel = np.ones((1, 1, 4, 4)), np.ones((1, 1, 3, 3))
    >>> with ac.options(algorithm="generic"):
    ...     ac.conv2d(image, kernel).shape
    (1, 1, 2, 2)
    """
    names = [each.name for each in fields(Options)]
    for name, value in changes.items():
        if name not in names:
            raise TypeError(f"unknown option {name!r}; the options are {', '.join(names)}")
        changes[name] = _checked(name, value)
    chosen = replace(_current.get(), **changes)
    token = _current.set(chosen)
    try:
        yield chosen
    finally:
        _current.reset(token)
