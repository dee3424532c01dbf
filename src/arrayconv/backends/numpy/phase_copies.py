"""Copies of numbers that take turns, as code for numba's compiler: see `vectors`."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic

from arrayconv.backends.numpy.vectors import Vectors, number


def _stored(code: Vectors, vectors: list[Any], target: Any, place: Any, most: Any) -> Any:
    """Write vectors one behind the other, no more than ``most`` numbers if that is not None."""
    for n, vector in enumerate(vectors):
        at = number(n * code.lanes)
        if most is None:
            code.store_vector(vector, target, place, at)
        else:
            pointer = code.at(target, place, at)
            code.store_between([(vector, pointer)], number(0), code.builder.sub(most, at))
    return code.nothing()


@intrinsic(prefer_literal=True)
def copy_vectors(
    context: Any, count: Any, source: Any, first: Any, target: Any, start: Any, most: Any
) -> Any:
    """Copy ``count`` vectors, or no more than ``most`` numbers of them if that is not None."""
    if source.layout != "C" or target.layout != "C":
        return None

    def write(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        code = Vectors(context, builder, signature.args[1].dtype)
        seen, made = (
            context.make_array(signature.args[n])(context, builder, given[n]).data for n in (1, 3)
        )
        places = [number(n * code.lanes) for n in range(count.literal_value)]
        vectors = [code.load_vector(seen, given[2], place) for place in places]
        return _stored(code, vectors, made, given[4], None if most == types.none else given[5])

    return types.void(count, source, first, target, start, most), write


@intrinsic(prefer_literal=True)
def turns_apart(
    context: Any,
    count: Any,
    source: Any,
    first: Any,
    target: Any,
    start: Any,
    table: Any,
    places: Any,
    most: Any,
) -> Any:
    """Copy numbers that take turns so that those of each turn are next to each other.

    They are read as ``count`` vectors from ``source[first]`` on. Numbers n, n + count, n + 2 count
    of them and so on go to ``target[start + table[places + n]]``: a vector of them, or so many that
    no more than ``most`` numbers are written, if that is not None.
    """
    if any(each.layout != "C" for each in (source, target, table)):
        return None
    turns = count.literal_value

    def write(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        code = Vectors(context, builder, signature.args[1].dtype)
        seen, made, placed = (
            context.make_array(signature.args[n])(context, builder, given[n]).data
            for n in (1, 3, 5)
        )
        vectors = [code.load_vector(seen, given[2], number(n * code.lanes)) for n in range(turns)]
        for n, vector in enumerate(code.apart(vectors)):
            place = code.load(placed, given[6], number(n))
            if most == types.none:
                code.store_vector(vector, made, given[4], place)
            else:
                left = builder.sdiv(builder.add(given[7], number(turns - 1 - n)), number(turns))
                code.store_between([(vector, code.at(made, given[4], place))], number(0), left)
        return code.nothing()

    return types.void(count, source, first, target, start, table, places, most), write


@intrinsic(prefer_literal=True)
def turns_together(
    context: Any, count: Any, source: Any, target: Any, place: Any, most: Any
) -> Any:
    """Write numbers of each of ``count`` vectors, which ``source`` has in a row, by turns.

    They go to ``target[place]`` and on, no more than ``most`` of them.
    """
    if source.layout != "C" or target.layout != "C":
        return None
    turns = count.literal_value

    def write(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        code = Vectors(context, builder, signature.args[1].dtype)
        seen, made = (
            context.make_array(signature.args[n])(context, builder, given[n]).data for n in (1, 2)
        )
        places = [number(n * code.lanes) for n in range(turns)]
        mixed = code.in_turns([code.load_vector(seen, at) for at in places])
        return _stored(code, mixed, made, given[3], given[4])

    return types.void(count, source, target, place, most), write


@intrinsic(prefer_literal=True)
def runs_together(
    context: Any,
    count: Any,
    source: Any,
    first: Any,
    starts: Any,
    target: Any,
    place: Any,
    most: Any,
) -> Any:
    """Write numbers of ``count`` runs by turns: a vector of each, which starts behind ``first``.

    They go to ``target[place]`` and on, no more than ``most`` of them if that is not None.
    """
    if any(each.layout != "C" for each in (source, starts, target)):
        return None
    turns = count.literal_value

    def write(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        code = Vectors(context, builder, signature.args[1].dtype)
        seen, begin, made = (
            context.make_array(signature.args[n])(context, builder, given[n]).data
            for n in (1, 3, 4)
        )
        runs = [code.load(begin, number(n)) for n in range(turns)]
        mixed = code.in_turns([code.load_vector(seen, given[2], start) for start in runs])
        return _stored(code, mixed, made, given[5], None if most == types.none else given[6])

    return types.void(count, source, first, starts, target, place, most), write
