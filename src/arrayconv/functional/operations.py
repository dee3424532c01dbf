"""The table of operations: how each becomes a call of a primitive, and how it is differentiated.

Forward, gradient and explanation of an operation share one parse: its ``call``. `vjp` and
`explain` know this table only.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
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
    signature: inspect.Signature
    positional: tuple[str, ...]
    """Its parameters that can be given by their place, in order."""
    known: frozenset[str]
    """All of them, each of which can be given by its name."""
    needed: frozenset[str]
    """Those without a default."""
    arrays: tuple[str, ...]
    """The parameters to differentiate by, in the function's order."""
    vjp: Callable[..., tuple[Array, Pullback]]
    call: Callable[..., Call] | None


_OPERATIONS: dict[Any, Operation] = {}


def define(
    function: Callable[..., Array],
    arrays: tuple[str, ...],
    vjp: Callable[..., tuple[Array, Pullback]],
    call: Callable[..., Call] | None = None,
) -> None:
    """Enter a public function into the table; its rule and call take the function's arguments."""
    signature = inspect.signature(function)
    every = signature.parameters.values()
    _OPERATIONS[function] = Operation(
        function.__name__,
        signature,
        tuple(each.name for each in every if each.kind is each.POSITIONAL_OR_KEYWORD),
        frozenset(each.name for each in every),
        frozenset(each.name for each in every if each.default is each.empty),
        arrays,
        vjp,
        call,
    )


def check_arguments(
    operation: Operation, arrays: Sequence[Array], params: Mapping[str, Any]
) -> None:
    """Raise TypeError where an operation cannot be called so, in Python's own words."""
    given = {*operation.positional[: len(arrays)], *params}
    if len(given) == len(arrays) + len(params) and operation.needed <= given <= operation.known:
        # They can be bound: to see it so takes a fraction of the time that it takes to bind them.
        return
    try:
        operation.signature.bind(*arrays, **params)
    except TypeError as problem:
        names = ", ".join(operation.signature.parameters)
        raise TypeError(f"{operation.name}({names}): {problem}") from None


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
