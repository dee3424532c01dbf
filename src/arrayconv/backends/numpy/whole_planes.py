"""Planes in the processor's vectors, as code for numba's compiler: turned over, and reduced.

See `vectors`. As many planes as a vector has lanes are taken at a time.
"""

from __future__ import annotations

from math import inf
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from arrayconv.backends.numpy.vectors import Lanes, Vectors, number


@intrinsic
def turn_over(
    context: Any, source: Any, first: Any, step: Any, target: Any, place: Any, down: Any
) -> Any:
    """Write a square of numbers that is at one place to another, turned over.

    Line k begins at ``source[first + step * k]``, and column j goes to ``target[place + down * j]``
    and on, for as many lines and columns as a vector of the source has lanes. Whole numbers may go
    to wider ones.
    """
    if source.layout != "C" or target.layout != "C":
        return None
    both = (source.dtype, target.dtype)
    if both[0] != both[1] and not all(isinstance(each, types.Integer) for each in both):
        return None
    signature = types.void(source, first, step, target, place, down)

    def write(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        code = Vectors(context, builder, signature.args[0].dtype)
        source, target = (
            context.make_array(signature.args[at])(context, builder, given[at]).data
            for at in (0, 3)
        )
        _, first, step, _, place, down = given
        widened = signature.args[0].dtype != signature.args[3].dtype
        every = [number(lane) for lane in range(code.lanes)]
        lines = [code.load_vector(source, first, builder.mul(step, each)) for each in every]
        for each, column in zip(every, code.in_turns(lines), strict=True):
            pointer = code.at(target, place, builder.mul(down, each))
            if widened:
                column = builder.sext(column, ir.VectorType(pointer.type.pointee, code.lanes))
            pointer = builder.bitcast(pointer, column.type.as_pointer())
            builder.store(column, pointer, align=1)
        return code.nothing()

    return signature, write


@intrinsic(prefer_literal=True)
def reduce_planes(
    context: Any, maximum: Any, cells: Any, first: Any, count: Any, out: Any, to: Any, left: Any
) -> Any:
    """Write the maxima, or the sums, of planes of ``count`` cells that follow one another.

    The first begins at ``cells[first]``; its result goes to ``out[to]``, and that of the next ones
    behind it, of ``left`` planes or as many as a vector has lanes.
    """
    if cells.layout != "C" or out.layout != "C":
        return None
    signature = types.void(maximum, cells, first, count, out, to, left)
    is_maximum = bool(maximum.literal_value)

    def write(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        code = _Planes(context, builder, signature.args[1].dtype, is_maximum)
        cells, out = (
            context.make_array(signature.args[at])(context, builder, given[at]).data
            for at in (1, 4)
        )
        _, _, first, count, _, to, left = given
        result = code.across(code.over_cells(cells, first, count, left))
        code.store_between([(result, code.at(out, to))], number(0), left)
        return code.nothing()

    return signature, write


@intrinsic(prefer_literal=True)
def reduce_cells(
    context: Any,
    maximum: Any,
    vectors: Any,
    lanes: Any,
    first: Any,
    offsets: Any,
    begin: Any,
    end: Any,
    out: Any,
    to: Any,
    divisor: Any,
    left: Any,
) -> Any:
    """Write the maximum, or the sum over ``divisor``, of cells of planes that lie side by side.

    The cells are ``vectors`` vectors from ``lanes[first + offsets[n]]`` on, for n from ``begin`` to
    ``end``; the result goes to ``out[to]`` and on. With ``left``, which is None or less than the
    lanes of a vector, there is one, of so many planes.
    """
    if any(array.layout != "C" for array in (lanes, offsets, out)):
        return None
    if not isinstance(divisor, types.Float):
        return None
    kinds = (maximum, vectors, lanes, first, offsets, begin, end, out, to, divisor, left)
    signature = types.void(*kinds)
    is_maximum, count = bool(maximum.literal_value), vectors.literal_value

    def write(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        code = _Planes(context, builder, signature.args[2].dtype, is_maximum)
        lanes, offsets, out = (
            context.make_array(signature.args[at])(context, builder, given[at]).data
            for at in (2, 4, 7)
        )
        _, _, _, first, _, begin, end, _, to, divisor, left = given
        some = Lanes(code, signature.args[10], left)
        results = code.over_offsets(code.at(lanes, first), offsets, begin, end, count, some)
        divisor = context.cast(builder, divisor, signature.args[9], signature.args[2].dtype)
        for number_of, result in enumerate(results):
            if not is_maximum:
                result = builder.fdiv(result, code.spread(divisor, code.vector))
            some.store(result, out, to, number(number_of * code.lanes))
        return code.nothing()

    return signature, write


class _Planes(Vectors):
    """The code of one vector of results."""

    def __init__(self, context: Any, builder: Any, dtype: Any, maximum: bool) -> None:
        super().__init__(context, builder, dtype)
        self.maximum = maximum
        self.none = ir.Constant(self.vector, [-inf if maximum else 0.0] * self.lanes)

    def together(self, one: Any, other: Any) -> Any:
        """Return the larger, or the sum; NaN is larger than any number."""
        return self.larger(one, other) if self.maximum else self.builder.fadd(one, other)

    def over_cells(self, cells: Any, first: Any, count: Any, left: Any) -> list[Any]:
        """Return, for each plane, a vector that stands for all its cells."""
        builder, lanes = self.builder, number(self.lanes)
        starts = []
        last = builder.sub(left, number(1))
        for lane in range(self.lanes):
            # Where planes are too few the last one is read again.
            plane = number(lane)
            plane = builder.select(builder.icmp_signed("<", plane, last), plane, last)
            starts.append(self.at(cells, first, builder.mul(plane, count)))
        rest = builder.srem(count, lanes)
        whole, before = builder.sub(count, rest), builder.block
        loop, body, after = map(builder.append_basic_block, ("cells", "some", "rest"))
        builder.branch(loop)
        builder.position_at_end(loop)
        cell = builder.phi(number)
        totals = [builder.phi(self.vector) for _ in starts]
        builder.cbranch(builder.icmp_signed("<", cell, whole), body, after)
        builder.position_at_end(body)
        for total, start in zip(totals, starts, strict=True):
            total.add_incoming(self.none, before)
            total.add_incoming(self.together(total, self.load_vector(start, cell)), body)
        cell.add_incoming(number(0), before)
        cell.add_incoming(builder.add(cell, lanes), body)
        builder.branch(loop)
        builder.position_at_end(after)
        mask = self.between(number(0), rest)
        return [
            self.together(total, self.load_lanes(self.at(start, whole), mask, self.none))
            for total, start in zip(totals, starts, strict=True)
        ]

    def over_offsets(
        self, lanes: Any, offsets: Any, begin: Any, end: Any, count: int, some: Lanes
    ) -> list[Any]:
        """Return vectors of what the cells at some offsets make."""
        builder, before = self.builder, self.builder.block
        loop, body, after = map(builder.append_basic_block, ("cells", "cell", "reduced"))
        builder.branch(loop)
        builder.position_at_end(loop)
        n = builder.phi(number)
        totals = [builder.phi(self.vector) for _ in range(count)]
        builder.cbranch(builder.icmp_signed("<", n, end), body, after)
        builder.position_at_end(body)
        start = self.at(lanes, self.load(offsets, n))
        for v, total in enumerate(totals):
            cells = some.load(start, number(v * self.lanes))
            total.add_incoming(self.none, before)
            total.add_incoming(self.together(total, cells), body)
        n.add_incoming(begin, before)
        n.add_incoming(builder.add(n, number(1)), body)
        builder.branch(loop)
        builder.position_at_end(after)
        return totals

    def across(self, totals: list[Any]) -> Any:
        """Return a vector of what the lanes of each vector make."""
        if len(totals) == 1:
            return totals[0]
        halves = self.in_turns([self.across(totals[::2]), self.across(totals[1::2])])
        return self.together(*halves)
