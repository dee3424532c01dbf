"""Compiled loops that are called by their addresses: import this by `compiler.loops` only.

What numba compiles holds a copy of each function that it calls, and where that is made for given
numbers, as most of our loops are, numba cannot tell from one run of Python to the next that it has
compiled both already. A loop's address is one more number, and so its caller is compiled once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import typeof, types
from numba._dispatcher import compute_fingerprint
from numba.core import cgutils
from numba.extending import intrinsic

from arrayconv.backends.numpy.loop_forms import inlined
from arrayconv.backends.numpy.orders import LINE

number = ir.IntType(64)

_addresses: dict[tuple[Any, bytes], int] = {}


def address_of(loop: Any, *arguments: Any) -> int:
    """Return where the code is that numba makes of a loop for arguments of the types of these."""
    key = loop, compute_fingerprint(arguments)
    if key not in _addresses:
        takes = tuple(map(typeof, arguments))
        loop.compile(takes)
        made = loop.overloads[takes]
        _addresses[key] = made.library.get_pointer_to_function(made.fndesc.llvm_func_name)
    return _addresses[key]


@inlined
def whole_lines(count: Any, like: Any) -> Any:
    """Return the same as `orders.whole_lines`, of the dtype of an array."""
    room = np.empty(count + LINE // like.itemsize, like.dtype)
    return room[-room.ctypes.data % LINE // like.itemsize :]


def members(builder: Any, value: Any) -> list[Any]:
    """Return the code that takes a tuple apart."""
    return [builder.extract_value(value, place) for place in range(len(value.type.elements))]


def call(context: Any, builder: Any, address: Any, takes: Any, arguments: list[Any]) -> Any:
    """Return the status of a call, in code, of a loop that takes arguments of given types."""
    convention = context.call_conv
    kind = convention.get_function_type(types.none, takes)
    loop = builder.inttoptr(address, kind.as_pointer())
    return convention.call_function(builder, loop, types.none, takes, arguments)[0]


@intrinsic
def call_at(context: Any, address: Any, arguments: Any) -> Any:
    """Call the loop at an address, which `address_of` gave for arguments of the same types."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        address, values = given
        status = call(context, builder, address, arguments.types, members(builder, values))
        with cgutils.if_unlikely(builder, status.is_error):
            context.call_conv.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.void(types.int64, arguments), code
