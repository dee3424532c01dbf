"""Depthwise sums of cells whose channels lie next to one another, as code for numba's compiler.

See `vectors`. A vector holds channels, and their weights are vectors too: each that is loaded
serves some positions, whose windows lie alike.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from arrayconv.backends.numpy.vectors import Lanes, Vectors, number


@intrinsic(prefer_literal=True)
def sum_channels(
    context: Any,
    positions: Any,
    vectors: Any,
    cell: Any,
    weight: Any,
    place: Any,
    count: Any,
    left: Any,
    same: Any,
) -> Any:
    """Write sums of products for ``vectors`` vectors of channels of ``positions`` positions.

    ``same`` is (cells, weights, biases, seen, taps, result, step, size). Position p sums
    ``biases[weight + j]`` and, for n less than ``count``, ``weights[weight + taps[n] + j] *
    cells[cell + step * p + seen[n] + j]``; that goes to ``result[place + size * p + j]``. All
    arrays are contiguous. With ``left``, which is None or less than the lanes, there is one vector,
    of so many channels.
    """
    if any(each.layout != "C" for each in same if isinstance(each, types.Array)):
        return None
    signature = types.void(positions, vectors, cell, weight, place, count, left, same)
    numbers = positions.literal_value, vectors.literal_value

    def write(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        code = Vectors(context, builder, same.types[0].dtype)
        return _write(code, signature, given, *numbers)

    return signature, write


def _write(code: Vectors, signature: Any, given: Any, positions: int, vectors: int) -> Any:
    builder, before = code.builder, code.builder.block
    cell, weight, place, count, left = given[2:7]
    lanes = Lanes(code, signature.args[6], left)
    of_all = code.unpacked(signature.args[7], given[7])
    cells, weights, biases, seen, taps, result, step, size = of_all
    places = [(p, v) for p in range(positions) for v in range(vectors)]
    steps = [builder.mul(step, number(p)) for p in range(positions)]
    each_vector = [number(v * code.lanes) for v in range(vectors)]
    begun = [lanes.load(biases, weight, each) for each in each_vector]
    loop, body, after = map(builder.append_basic_block, ("taps", "tap", "summed"))
    builder.branch(loop)
    builder.position_at_end(loop)
    n = builder.phi(number)
    totals = {each: builder.phi(code.vector) for each in places}
    builder.cbranch(builder.icmp_signed("<", n, count), body, after)
    builder.position_at_end(body)
    start, factors = code.at(cells, cell, code.load(seen, n)), code.load(taps, n)
    of_tap = [lanes.load(weights, weight, factors, each) for each in each_vector]
    for p, v in places:
        seen_there = lanes.load(start, steps[p], each_vector[v])
        total = totals[p, v]
        total.add_incoming(begun[v], before)
        total.add_incoming(code.multiply_add(of_tap[v], seen_there, total), body)
    n.add_incoming(number(0), before)
    n.add_incoming(builder.add(n, number(1)), body)
    builder.branch(loop)
    builder.position_at_end(after)
    for (p, v), total in totals.items():
        row = builder.mul(size, number(p))
        lanes.store(total, result, place, row, each_vector[v])
    return code.nothing()


@intrinsic(prefer_literal=True)
def add_along(
    context: Any,
    vectors: Any,
    cell: Any,
    position: Any,
    place: Any,
    count: Any,
    left: Any,
    same: Any,
) -> Any:
    """Add sums of products over ``count`` positions, for ``vectors`` vectors of channels.

    ``same`` is (cells, positions, result, step, size). To ``result[place + j]`` the sum over n of
    ``cells[cell + step * n + j] * positions[position + size * n + j]`` is added. All arrays are
    contiguous; ``left`` is as in `sum_channels`.
    """
    if any(each.layout != "C" for each in same if isinstance(each, types.Array)):
        return None
    signature = types.void(vectors, cell, position, place, count, left, same)
    number_of = vectors.literal_value

    def write(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        code = Vectors(context, builder, same.types[0].dtype)
        _, cell, position, place, count, left, _ = given
        lanes = Lanes(code, signature.args[5], left)
        cells, positions, result, step, size = code.unpacked(signature.args[6], given[6])
        before = builder.block
        loop, body, after = map(builder.append_basic_block, ("positions", "position", "summed"))
        builder.branch(loop)
        builder.position_at_end(loop)
        n = builder.phi(number)
        totals = [builder.phi(code.vector) for _ in range(number_of)]
        builder.cbranch(builder.icmp_signed("<", n, count), body, after)
        builder.position_at_end(body)
        one = code.at(cells, cell, builder.mul(step, n))
        other = code.at(positions, position, builder.mul(size, n))
        for v, total in enumerate(totals):
            seen, given_it = (lanes.load(at, number(v * code.lanes)) for at in (one, other))
            total.add_incoming(ir.Constant(code.vector, None), before)
            total.add_incoming(code.multiply_add(seen, given_it, total), body)
        n.add_incoming(number(0), before)
        n.add_incoming(builder.add(n, number(1)), body)
        builder.branch(loop)
        builder.position_at_end(after)
        for v, total in enumerate(totals):
            place_of = (place, number(v * code.lanes))
            held = lanes.load(result, *place_of)
            lanes.store(builder.fadd(held, total), result, *place_of)
        return code.nothing()

    return signature, write
