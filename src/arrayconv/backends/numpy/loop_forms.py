"""How loops are compiled by numba: import this by `compiler.loops` only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, wraps
from hashlib import sha256
from pathlib import Path
from typing import Any, ParamSpec, cast

import numba

Loop = Callable[..., None]
Form = ParamSpec("Form")

inlined = numba.njit(inline="always", error_model="numpy")


@cache
def _version() -> str:
    """Return what tells the modules of this folder from those of an earlier version."""
    modules = sorted(Path(__file__).parent.glob("*.py"))
    return sha256(b"".join(module.read_bytes() for module in modules)).hexdigest()[:8]


def compiled(loop: Callable[..., Any]) -> Callable[..., Any]:
    """Return a loop that numba compiles, and keeps on disk under a name of this version.

    numba looks whether the file of the loop has changed, and not at what the loop calls: the code
    of `vectors`, or loops of other modules.
    """
    loop.__qualname__ = f"{loop.__qualname__}_{_version()}"
    made: Loop = numba.njit(cache=True, nogil=True, error_model="numpy")(loop)
    return made


def compiled_by_form(factory: Callable[Form, Loop]) -> Callable[Form, Loop]:
    """Return a factory whose loops are compiled, one for each form, which its arguments say.

    Each has a name of its own. numba tells functions of one name apart by how many it has made
    before in the same run of Python; but what it keeps on disk comes from many, and where two that
    are loaded have one name, the address that it gives of one is that of the other.
    """

    @cache
    @wraps(factory)
    def loop_of(*form: Form.args, **named: Form.kwargs) -> Loop:
        run = factory(*form, **named)
        numbers = map(str, _numbers((form, tuple(sorted(named.items())))))
        run.__qualname__ = "_".join([factory.__name__, *numbers])
        return compiled(run)

    return cast(Callable[Form, Loop], loop_of)


def _numbers(form: Any) -> Iterator[Any]:
    """Return the numbers, and names of arguments, that a form consists of."""
    for each in form:
        if isinstance(each, tuple):
            yield from _numbers(each)
        else:
            yield int(each) if isinstance(each, bool) else each
