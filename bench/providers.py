"""Who computes: the loops, and arrayconv on each library by each of its implementations.

A source offers its providers for a case: arrayconv has one for each implementation that the
registry names for the case's primitive, and "auto", which is the public call as people make it.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import arrayconv as ac
from arrayconv import primitives
from arrayconv.functional.operations import Call as PrimitiveCall
from arrayconv.functional.operations import operation_of
from bench.cases import FORWARD, TO_INPUT, Case
from bench.clocks import HOST, Call, Clock
from bench.loops import UnableError, by_position, nested
from bench.places import Place

POSITIONS = 20_000
"""Positions beyond which the loop over them is timed on a crop."""
CROP = 64
TF32 = 100.0
"""TF32 rounds what it multiplies to 10 bits: errors of a thousandth are right for it."""
CHANNELS_LAST = "channels last"
"""How a provider's name ends whose arrays have their channels next to one another."""
REDUCED = ", reduced precision"
"""How that of one ends that rounds more than "auto" may by default."""


class Ready(NamedTuple):
    """A case on a provider's device: the call that is checked and timed."""

    call: Call
    algorithm: str
    """What runs, in a word."""


@dataclass(frozen=True)
class Provider:
    """One way to compute a case."""

    name: str
    library: str
    prepare: Callable[[Case], Ready]
    """Move a case's arrays to where it is computed; `UnableError` where it cannot be."""
    to_numpy: Callable[[Any], Any] = ac.to_numpy
    plain: Callable[[Any], Any] = lambda array: array
    """What of a result other libraries can take over: bfloat16 as float32."""
    device: str = "cpu"
    clock: Clock = HOST
    host_clock: Clock = HOST
    """What times a call end to end, from the host and back."""
    timed: Callable[[Case], Case] = lambda case: case
    """The part of a case that is timed, where the whole would take too long."""
    tolerance: float = 1.0
    """How many times the dtype's own error is right for it: TF32 keeps 10 bits of float32's 23."""
    peak: Callable[[Call], tuple[Any, int]] | None = None
    """What runs a call and tells what it had allocated beyond its result."""


Source = Callable[[Case], list[Provider]]


# --- the loops --------------------------------------------------------------------------------


def _nested(case: Case) -> Ready:
    cotangent = None if case.direction == FORWARD else case.cotangent()
    return Ready(partial(nested, case, case.arrays(), cotangent), "nested loops")


def _position(case: Case) -> Ready:
    return Ready(by_position(case, case.arrays()), "position loop")


def _few_positions(case: Case) -> Case:
    positions = int(np.prod(case.output[2:]))
    return case.cropped(CROP) if positions > POSITIONS else case


def loops(case: Case) -> list[Provider]:
    """Return the nested loops and the loop over positions."""
    if case.dtype == "bfloat16":
        return []
    return [
        Provider("nested loops", "numpy", _nested, np.asarray, timed=Case.small),
        Provider("position loop", "numpy", _position, np.asarray, timed=_few_positions),
    ]


# --- arrayconv --------------------------------------------------------------------------------


def primitive_call(case: Case, arrays: tuple[Any, ...], cotangent: Any) -> PrimitiveCall:
    """Return the call of a primitive that a case comes down to."""
    operation = operation_of(getattr(ac, case.op), "the benchmark")
    assert operation.call is not None
    forward = operation.call(*arrays, **case.params)
    if case.direction == FORWARD:
        return forward
    first, *rest = forward.arguments
    to_input = case.direction == TO_INPUT
    if case.family == "conv":
        weight, *window = rest
        if to_input:
            return PrimitiveCall(primitives.conv_transpose, (cotangent, weight, *window))
        return PrimitiveCall(primitives.conv_weight, (first, cotangent, *window))
    if case.family == "conv_transpose":
        weight, *window = rest
        if to_input:
            return PrimitiveCall(primitives.conv, (cotangent, weight, *window))
        return PrimitiveCall(primitives.conv_weight, (cotangent, first, *window))
    if case.family in ("unfold", "fold"):
        other = primitives.fold if case.family == "unfold" else primitives.unfold
        return PrimitiveCall(other, (cotangent, *rest))
    window = rest[-1]
    if "max" in case.family:
        _, index = primitives.max_pool_indices(first, window)
        return PrimitiveCall(primitives.max_pool_grad, (cotangent, index, window))
    return PrimitiveCall(primitives.spread, (cotangent, window))


class Way(NamedTuple):
    """How arrayconv computes a case: by which implementation, on which arrays, and how exactly."""

    name: str
    algorithm: str
    channels_last: bool = False
    tf32: bool = False
    reduced: bool = False


def bound(
    case: Case, arrays: tuple[Any, ...], cotangent: Any, algorithm: str, tf32: bool = False
) -> Ready:
    """Return the call of a case by one implementation, or by the one that "auto" takes."""
    with ac.options(allow_tf32=tf32):
        return _bound(case, arrays, cotangent, algorithm)


def bound_with_less_precision(case: Case, arrays: tuple[Any, ...], cotangent: Any) -> Ready:
    """Return the call as "auto" runs it where reduced precision is allowed, if that is another."""
    usual = _bound(case, arrays, cotangent, "auto").algorithm
    with ac.options(allow_reduced_precision=True):
        ready, context = _bound(case, arrays, cotangent, "auto"), contextvars.copy_context()
    if ready.algorithm == usual:
        raise UnableError("where reduced precision is allowed the same runs")
    return Ready(partial(context.run, ready.call), ready.algorithm)


def _bound(case: Case, arrays: tuple[Any, ...], cotangent: Any, algorithm: str) -> Ready:
    call = primitive_call(case, arrays, cotangent)
    chosen = call.primitive.choose("auto", *call.arguments).name
    if algorithm != "auto":
        named = [
            e for e in call.primitive.implementations(call.arguments[0]) if e.name == algorithm
        ]
        reason = named[0].unfit(*call.arguments) if named else "there is none of that name"
        if reason is not None:
            raise UnableError(reason)
        chosen = algorithm
    if case.direction == FORWARD:
        run = partial(getattr(ac, case.op), *arrays, **case.params)
    elif case.convolves or case.family in ("unfold", "fold"):
        run = partial(call.primitive, *call.arguments)
    else:
        _, pullback = ac.vjp(getattr(ac, case.op), *arrays, **case.params)
        run = partial(_only_gradient, pullback, cotangent)
    if algorithm != "auto":
        # The options are those of a context of its own: to enter it costs a fifth of a microsecond.
        with ac.options(algorithm=algorithm, allow_unverified=True):
            context = contextvars.copy_context()
        return Ready(partial(context.run, run), chosen)
    return Ready(run, chosen)


def _only_gradient(pullback: Any, cotangent: Any) -> Any:
    return pullback(cotangent)[0]


def has_two_layouts(case: Case) -> bool:
    """Whether a case's arrays may have their channels next to one another too."""
    orders = case.dims > 1 and case.input[1] > 1
    return orders and case.family not in ("unfold", "fold")


def channels_last(array: Any) -> Any:
    """Return a NumPy array whose channels lie next to one another in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)


IN_TF32 = ("cuda-tensor", "cudnn")
"""The implementations that multiply float32 on tensor cores, where that is allowed."""


def arrayconv(place: Place, names: str = "all") -> Source:
    """Return the source of arrayconv on a place: all implementations, or "auto" alone."""

    def prepare(way: Way, case: Case) -> Ready:
        arrays = [place.asarray(array, case.dtype) for array in case.arrays()]
        cotangent = None
        if case.direction != FORWARD:
            cotangent = place.asarray(case.cotangent(), case.dtype)
        if way.channels_last:
            arrays[0] = channels_last(arrays[0])
            cotangent = None if cotangent is None else channels_last(cotangent)
        if way.reduced:
            return bound_with_less_precision(case, tuple(arrays), cotangent)
        return bound(case, tuple(arrays), cotangent, way.algorithm, way.tf32)

    def offered(case: Case) -> list[Way]:
        small = case.small()
        arrays = tuple(place.asarray(array, case.dtype) for array in small.arrays())
        cotangent = place.asarray(small.cotangent(), case.dtype)
        call = primitive_call(small, arrays, cotangent)
        listed, auto = [], [Way("auto", "auto")]
        for each in call.primitive.implementations(call.arguments[0]):
            fit = each.unfit(*call.arguments) is None
            rounds = fit and each.rounds(*call.arguments) is not None
            listed.append(Way(each.name + REDUCED * rounds, each.name))
            if rounds and len(auto) == 1 and place.library == "numpy" and case.dtype == "float32":
                auto.append(Way(f"auto{REDUCED}", "auto", reduced=True))
        # "generic" first: the plain Array API is what the rest is to be measured by.
        return auto if names == "auto" else [*reversed(listed), *auto]

    def providers(case: Case) -> list[Provider]:
        try:
            ways = offered(case)
        except (UnableError, TypeError) as problem:
            why = str(problem)
            return [Provider(f"arrayconv {place.library}", place.library, partial(_raise, why))]
        if place.library == "numpy" and has_two_layouts(case):
            ways.append(Way(CHANNELS_LAST, "auto", channels_last=True))
        if case.convolves and case.dtype == "float32":
            of_tf32 = [each.name for each in ways if each.name in IN_TF32]
            ways += [Way(f"{each} tf32", each, tf32=True) for each in of_tf32]
        return [
            Provider(
                f"arrayconv {place.library} {way.name}",
                place.library,
                partial(prepare, way),
                place.to_numpy,
                place.plain,
                place.device,
                place.clock,
                place.host_clock,
                tolerance=TF32 if way.tf32 else 1.0,
                peak=place.peak,
            )
            for way in ways
        ]

    return providers


def _raise(reason: str, case: Case) -> Ready:
    raise UnableError(reason)
