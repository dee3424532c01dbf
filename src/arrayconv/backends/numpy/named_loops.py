"""Loops that call other loops, or have threads do so, compiled by numba: import this by need only.

A function that numba compiles may use another one that it finds where it was written. One that is
made for given numbers, as most of our loops are, would have to hold the other one in a variable:
then numba cannot tell from one run of Python to the next that it has compiled it already. So loops
are held by their names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numba import types
from numba.extending import intrinsic

LOOPS: dict[str, Any] = {}
"""Loops by their names."""


def name_of(loop: Any) -> str:
    """Return the name of a compiled loop, which then is in `LOOPS`."""
    function = loop.py_func
    known = [each.cell_contents for each in function.__closure__ or ()]
    # Another state of the code has other names.
    written = Path(function.__code__.co_filename).stat().st_mtime_ns
    name = f"{function.__module__}.{function.__qualname__} {known} {written}"
    LOOPS[name] = loop
    return name


def resolved(context: Any, name: Any, before: Any, after: Any) -> tuple[Any, Any]:
    """Return what numba made of a loop, for what it takes before and after its range, and its type.

    This is called while a function is compiled that calls the loop.
    """
    loop = LOOPS[name.literal_value]
    takes = (*before.types, types.int64, types.int64, *after.types)
    signature = types.Dispatcher(loop).get_call_type(context, takes, {})
    return loop.overloads[signature.args], signature


def members(builder: Any, value: Any) -> list[Any]:
    """Return the code that takes a tuple apart."""
    return [builder.extract_value(value, place) for place in range(len(value.type.elements))]


@intrinsic(prefer_literal=True)
def call(context: Any, name: Any, before: Any, begin: Any, end: Any, after: Any) -> Any:
    """Call a loop: ``loop(*before, begin, end, *after)``."""
    loop, inner = resolved(context, name, before, after)
    given = (name, before, types.int64, types.int64, after)

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        _, before, begin, end, after = given
        context.add_linking_libs([loop.library])
        takes = [*members(builder, before), begin, end, *members(builder, after)]
        context.call_internal(builder, loop.fndesc, inner, takes)
        return context.get_dummy_value()

    return types.void(*given), code
