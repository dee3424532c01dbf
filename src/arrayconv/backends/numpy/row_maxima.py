"""Maxima of windows and their cells, in the processor's vectors: see `row_windows`.

Cells of a column are met in their order, so that the first of equal ones stays; of those of a row
the lower place is taken. NaN is larger than any number, and of several the one with the higher
place is taken, as if cells were met one by one.
"""

from __future__ import annotations

from functools import partial
from itertools import chain
from math import inf
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from arrayconv.backends.numpy.row_windows import Along, Windows, phases_of, places_of
from arrayconv.backends.numpy.vectors import Lanes, Vectors, number

NOWHERE = 1 << 29
"""A place behind that of any cell of a plane that is served; outside it all places are."""


OUTSIDE = ir.IntType(32)(2 * NOWHERE)


@intrinsic(prefer_literal=True)
def locate_windows(
    context: Any,
    kernel: Any,
    stride: Any,
    dilation: Any,
    cells: Any,
    plane: Any,
    offsets: Any,
    begin: Any,
    end: Any,
    first: Any,
    width: Any,
    out: Any,
    to: Any,
    left: Any,
    indices: Any,
) -> Any:
    """Write the maxima as `row_windows.reduce_windows` does, and their places in the plane.

    The places go to ``indices``, of 64 bits, where the maxima go in ``out``: -1 for no cell.
    """
    if any(array.layout != "C" for array in (cells, offsets, out, indices)):
        return None
    given = (kernel, stride, dilation, cells, plane, offsets, begin, end)
    signature = types.void(*given, first, width, out, to, left, indices)
    numbers = [each.literal_value for each in (kernel, stride, dilation)]
    shape = Along(numbers[0], numbers[1], numbers[2], maximum=True)

    def write(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        code = _Maxima(context, builder, signature.args[3:13], given[3:13])
        made = context.make_array(signature.args[13])(context, builder, given[13])
        return code.write(shape, partial(code.write_located, made.data))

    return signature, write


@intrinsic(prefer_literal=True)
def locate_cells(
    context: Any,
    vectors: Any,
    beside: Any,
    lanes: Any,
    first: Any,
    cells: Any,
    begin: Any,
    end: Any,
    number_of_first: Any,
    out: Any,
    to: Any,
    places: Any,
    left: Any,
) -> Any:
    """Write the maximum of some cells of planes that lie side by side, and which cell it is.

    A cell of ``lanes`` is ``beside`` numbers, of which ``vectors`` vectors are seen, from ``first``
    on; those of the cells ``cells[n]`` behind it, for n from ``begin`` to ``end``. The maxima go to
    ``out[to]`` and on; where they go in ``places``, ``number_of_first`` more than ``cells[n]``, or
    -1 for no cell. ``left`` is as in `reduce_cells`.
    """
    if any(array.layout != "C" for array in (lanes, cells, out, places)):
        return None
    given = (vectors, beside, lanes, first, cells, begin, end)
    signature = types.void(*given, number_of_first, out, to, places, left)
    count = vectors.literal_value

    def write(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        code = Vectors(context, builder, signature.args[2].dtype)
        lanes, cells, out, places = (
            context.make_array(signature.args[at])(context, builder, given[at]).data
            for at in (2, 4, 8, 10)
        )
        _, beside, _, first, _, begin, end, number_of_first, _, to, _, left = given
        start, some = code.at(lanes, first), Lanes(code, signature.args[11], left)
        seen = (cells, begin, end, number_of_first, some)
        for n, (best, at) in enumerate(_over_cells(code, start, beside, *seen, count)):
            there = builder.add(to, number(n * code.lanes))
            some.store(best, out, there)
            whole = places.type.pointee
            if whole.width > 32:
                at = builder.sext(at, ir.VectorType(whole, code.lanes))
            some.store(at, places, there)
        return code.nothing()

    return signature, write


def _over_cells(
    code: Vectors,
    lanes: Any,
    beside: Any,
    cells: Any,
    begin: Any,
    end: Any,
    number_of_first: Any,
    some_lanes: Lanes,
    vectors: int,
) -> list[tuple[Any, Any]]:
    """Return the vectors of the best of some cells, met one after the other, and which they are."""
    builder, before, small = code.builder, code.builder.block, ir.IntType(32)
    integers, none = ir.VectorType(small, code.lanes), ir.Constant(code.vector, [-inf] * code.lanes)

    def which(cell: Any) -> Any:
        return builder.trunc(builder.add(cell, number_of_first), small)

    # The first cell is that of a window of which none is larger than nothing.
    some = builder.icmp_signed("<", begin, end)
    top = builder.select(some, which(code.load(cells, begin)), small(-1))
    top = code.spread(top, integers)
    loop, body, after = map(builder.append_basic_block, ("cells", "cell", "located"))
    builder.branch(loop)
    builder.position_at_end(loop)
    n = builder.phi(number)
    best = [builder.phi(code.vector) for _ in range(vectors)]
    at = [builder.phi(integers) for _ in range(vectors)]
    builder.cbranch(builder.icmp_signed("<", n, end), body, after)
    builder.position_at_end(body)
    cell = code.load(cells, n)
    start = code.at(lanes, builder.mul(cell, beside))
    this = code.spread(which(cell), integers)
    for v in range(vectors):
        value = some_lanes.load(start, number(v * code.lanes))
        taken = builder.or_(
            builder.fcmp_ordered(">", value, best[v]), builder.fcmp_unordered("uno", value, value)
        )
        best[v].add_incoming(none, before)
        best[v].add_incoming(builder.select(taken, value, best[v]), body)
        at[v].add_incoming(top, before)
        at[v].add_incoming(builder.select(taken, this, at[v]), body)
    n.add_incoming(begin, before)
    n.add_incoming(builder.add(n, number(1)), body)
    builder.branch(loop)
    builder.position_at_end(after)
    return list(zip(best, at, strict=True))


class _Maxima(Windows):
    """The code of one vector of maxima and their places."""

    def __init__(self, context: Any, builder: Any, kinds: Any, given: Any) -> None:
        super().__init__(context, builder, kinds, given)
        self.integers = ir.VectorType(ir.IntType(32), self.lanes)
        self.long = ir.VectorType(number, self.lanes)

    def write_located(self, indices: Any, shape: Along, inside: bool) -> None:
        """Write the code: all rows, then along the row."""
        builder, phases = self.builder, phases_of(shape)
        places = [places_of([step], shape.stride, self.lanes) for step in phases]
        masks = {} if inside else self.within(self.first, self.width, chain(*places))
        first, best, at = self.spread(self.small(self.first), self.integers), None, None
        for step, (values, rows) in self.over_rows_located(shape, masks).items():
            seen_by_phase, rows_by_phase = self.apart(values), self.apart(rows)
            for phase in phases[step]:
                seen = seen_by_phase[phase]
                column = builder.add(first, self.columns(shape.stride, step * shape.stride + phase))
                place = builder.add(rows_by_phase[phase], column)
                best, at = (seen, place) if best is None else self.better(best, at, seen, place)
        nowhere = builder.icmp_signed(">=", at, self.whole(NOWHERE))
        places = builder.sext(builder.select(nowhere, self.whole(-1), at), self.long)
        self.write_out(inside, best, self.at(self.out, self.to))
        self.write_out(inside, places, self.at(indices, self.to))

    def over_rows_located(
        self, shape: Along, masks: dict[int, Any]
    ) -> dict[int, tuple[list[Any], list[Any]]]:
        """Return, for each stride, its vectors over all rows, and the rows where those are."""
        builder, before = self.builder, self.builder.block
        loop, body, after = map(builder.append_basic_block, ("rows", "row", "along"))
        steps, nothing = list(phases_of(shape)), self.constant(-inf)
        # The first row is that of a column of which no cell is larger than nothing.
        some = builder.icmp_signed("<", self.begin, self.end)
        top = builder.select(some, self.small(self.load(self.offsets, self.begin)), OUTSIDE)
        top = self.spread(top, self.integers)
        builder.branch(loop)
        builder.position_at_end(loop)
        row = builder.phi(number)
        row.add_incoming(self.begin, before)
        # Far steps may see what others do.
        places = sorted(set(places_of(steps, shape.stride, self.lanes)))
        best = {place: builder.phi(self.vector) for place in places}
        at = {place: builder.phi(self.integers) for place in places}
        builder.cbranch(builder.icmp_signed("<", row, self.end), body, after)
        builder.position_at_end(body)
        offset = self.load(self.offsets, row)
        start = self.at(self.cells, self.plane, offset, self.first)
        this = self.spread(self.small(offset), self.integers)
        for place in places:
            value = self.seen(start, place, masks.get(place), nothing)
            taken = builder.or_(
                builder.fcmp_ordered(">", value, best[place]),
                builder.fcmp_unordered("uno", value, value),
            )
            best[place].add_incoming(nothing, before)
            best[place].add_incoming(builder.select(taken, value, best[place]), body)
            at[place].add_incoming(top, before)
            at[place].add_incoming(builder.select(taken, this, at[place]), body)
        row.add_incoming(builder.add(row, number(1)), body)
        builder.branch(loop)
        builder.position_at_end(after)
        outside = self.whole(OUTSIDE.constant)
        found = {}
        for step in steps:
            of_step = places_of([step], shape.stride, self.lanes)
            rows = [
                builder.select(masks[place], at[place], outside) if masks else at[place]
                for place in of_step
            ]
            found[step] = ([best[place] for place in of_step], rows)
        return found

    def columns(self, stride: int, start: int) -> Any:
        """Return whole numbers, a stride apart."""
        return ir.Constant(self.integers, [start + stride * lane for lane in range(self.lanes)])

    def small(self, value: Any) -> Any:
        """Return a whole number in 32 bits."""
        return self.builder.trunc(value, ir.IntType(32))

    def whole(self, value: int) -> Any:
        """Return a vector of one whole number."""
        return ir.Constant(self.integers, [value] * self.lanes)

    def better(self, best: Any, at: Any, value: Any, place: Any) -> tuple[Any, Any]:
        """Return the better of two vectors of values, and their places."""
        builder = self.builder
        is_nan = builder.fcmp_unordered("uno", value, value)
        equal = builder.fcmp_ordered("==", value, best)
        lower = builder.icmp_signed("<", place, at)
        both_nan = builder.and_(is_nan, builder.fcmp_unordered("uno", best, best))
        taken = builder.or_(builder.fcmp_ordered(">", value, best), builder.and_(equal, lower))
        # The higher of two places of NaN, and NaN before any number.
        higher = builder.and_(both_nan, lower)
        taken = builder.or_(taken, builder.and_(is_nan, builder.not_(higher)))
        return builder.select(taken, value, best), builder.select(taken, place, at)
