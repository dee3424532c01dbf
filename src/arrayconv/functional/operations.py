"""The table of operations: how each becomes a call of a primitive, and how it is differentiated.

Forward, gradient and explanation of an operation share one parse: its ``call``. `vjp` and
`explain` know this table only.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from arrayconv._arrays import Array
from arrayconv._registry import Primitive

Pullback = Callable[[Array], tuple[Array | None, ...]]


class Call(NamedTuple):
    """One validated call of a primitive."""

    primitive: Primitive
    arguments: tuple[Any, ...]
    algorithm: str = "auto"

    def run(self) -> Array:
        """Return what the primitive makes of its arguments."""
        return self.primitive(*self.arguments, algorithm=self.algorithm)


class Operation(NamedTuple):
    """What is known of a public function."""

    name: str
    parameters: frozenset[str]
    vjp: Callable[..., tuple[Array, Pullback]]
    call: Callable[..., Call] | None


_OPERATIONS: dict[Any, Operation] = {}


def define(
    function: Callable[..., Array],
    vjp: Callable[..., tuple[Array, Pullback]],
    call: Callable[..., Call] | None = None,
) -> None:
    """Enter a public function into the table; its rule and call take the function's arguments."""
    name = function.__name__
    parameters = frozenset(inspect.signature(function).parameters)
    _OPERATIONS[function] = Operation(name, parameters, vjp, call)


def operation_of(function: Any, asked: str) -> Operation:
    """Return the entry of a public function; TypeError, naming those there are, where none is."""
    try:
        found = _OPERATIONS.get(function)
    except TypeError:  # something that cannot be hashed is no function of ours
        found = None
    if found is None:
        names = sorted({operation.name for operation in _OPERATIONS.values()})
        raise TypeError(f"{asked} serves {', '.join(names)}; got {function!r}")
    return found
