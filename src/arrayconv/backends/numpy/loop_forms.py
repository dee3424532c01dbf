"""How loops are compiled by numba: import this by `compiler.loops` only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, wraps
from typing import Any, ParamSpec, cast

import numba

Loop = Callable[..., None]
Form = ParamSpec("Form")

compiled = numba.njit(cache=True, nogil=True, error_model="numpy")
inlined = numba.njit(inline="always", error_model="numpy")


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
        loop: Loop = compiled(run)
        return loop

    return cast(Callable[Form, Loop], loop_of)


def _numbers(form: Any) -> Iterator[Any]:
    """Return the numbers, and names of arguments, that a form consists of."""
    for each in form:
        if isinstance(each, tuple):
            yield from _numbers(each)
        else:
            yield int(each) if isinstance(each, bool) else each
