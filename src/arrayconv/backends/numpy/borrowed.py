"""Arrays whose references compiled code does not count: import this by `compiler.loops` only.

numba counts references to an array wherever a loop hands it on. Each count is an atomic step, and
threads that count the same array wait for one another. An array without an owner is not counted;
whoever borrows it must see to it that it lives.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def without_owner(builder: Any, kind: Any, value: Any) -> Any:
    """Return the code of a value of a numba type, all arrays in it without an owner."""
    if isinstance(kind, types.BaseTuple):
        for place, each in enumerate(kind.types):
            member = without_owner(builder, each, builder.extract_value(value, place))
            value = builder.insert_value(value, member, place)
    elif isinstance(kind, types.Array):
        # The first member of numba's arrays says who owns the memory.
        value = builder.insert_value(value, ir.Constant(value.type.elements[0], None), 0)
    return value


@intrinsic
def borrowed(context: Any, value: Any) -> Any:
    """Return an array, or a tuple, without owners: for as long as whoever calls holds it."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return without_owner(builder, value, given[0])

    return value(value), code


@intrinsic
def live_until_here(context: Any, values: Any) -> Any:
    """Keep arrays that are borrowed alive: numba frees one after the last line that names it."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return context.get_dummy_value()

    return types.void(values), code
