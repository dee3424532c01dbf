"""Maxima and sums of windows in the processor's vectors, as code for numba's compiler.

See `vectors`. One vector of results is made at a time, of neighbours in a row. Rows of cells are
taken first, so that of the cells of a row there are but a few vectors; those are taken apart by the
stride, such that a lane of each belongs to a result, and then taken together. What lies outside the
row is never read: in its place stands what changes no result.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from math import inf, nan
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from arrayconv.backends.numpy.orders import LINE
from arrayconv.backends.numpy.registers import VECTOR_BYTES
from arrayconv.backends.numpy.vectors import Vectors, number

AHEAD = 4096
"""Bytes: rows that are read by turns are no stream that a processor foresees, so the cells that lie
so far behind those that are taken are asked for."""

Groups = dict[tuple[int, ...], list[int]]
"""{which cells of a stride windows see: in which strides they see those}."""


class Along(NamedTuple):
    """What is written out in code: how windows lie along a row, and what is made of them."""

    kernel: int
    stride: int
    dilation: int
    maximum: bool

    @property
    def reach(self) -> int:
        """How many strides the last cell of a window is away."""
        return self.dilation * (self.kernel - 1) // self.stride


@intrinsic(prefer_literal=True)
def reduce_windows(
    context: Any,
    kernel: Any,
    stride: Any,
    dilation: Any,
    maximum: Any,
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
) -> Any:
    """Write the maxima, or the sums, of the windows of one vector of results.

    The windows' rows begin at ``cells[plane + offsets[n]]`` for n from ``begin`` to ``end``; lane
    0's window at the place ``first`` of a row of ``width``. Results go to ``out[to + lane]`` for
    lanes less than ``left``.
    """
    if any(array.layout != "C" for array in (cells, offsets, out)):
        return None
    given = (kernel, stride, dilation, maximum, cells, plane, offsets, begin, end)
    signature = types.void(*given, first, width, out, to, left)
    numbers = [each.literal_value for each in (kernel, stride, dilation)]
    shape = Along(numbers[0], numbers[1], numbers[2], bool(maximum.literal_value))

    def write(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        code = Windows(context, builder, signature.args[4:], given[4:])
        return code.write(shape, code.write_windows)

    return signature, write


class Windows(Vectors):
    """The code of one vector of results."""

    def __init__(self, context: Any, builder: Any, kinds: Any, given: Any) -> None:
        """Take the arguments from ``cells`` to ``left``, and their types."""
        super().__init__(context, builder, kinds[0].dtype)
        self.cells, self.offsets, self.out = (
            context.make_array(kinds[place])(context, builder, given[place]).data
            for place in (0, 2, 7)
        )
        self.plane, self.begin, self.end = given[1], given[3], given[4]
        self.first, self.width, self.to, self.left = given[5], given[6], given[8], given[9]

    def constant(self, value: float) -> Any:
        """Return a vector of one number."""
        return ir.Constant(self.vector, [value] * self.lanes)

    def write(self, shape: Along, windows: Callable[[Along, bool], None]) -> Any:
        """Write the code twice: where all that is loaded lies within the row, and for all else."""
        builder, reach = self.builder, shape.reach * shape.stride + shape.stride * self.lanes
        end = builder.add(self.first, number(reach))
        inside = builder.and_(
            builder.icmp_signed(">=", self.first, number(0)),
            builder.and_(
                builder.icmp_signed("<=", end, self.width),
                builder.icmp_signed(">=", self.left, number(self.lanes)),
            ),
        )
        with builder.if_else(inside) as (then, otherwise):
            with then:
                windows(shape, True)
            with otherwise:
                windows(shape, False)
        return self.nothing()

    def write_windows(self, shape: Along, inside: bool) -> None:
        """Write the code: all rows, then along the row."""
        groups = groups_of(shape)
        nothing = self.constant(-inf if shape.maximum else 0.0)
        places = [places_of(steps, shape.stride, self.lanes) for steps in groups.values()]
        masks = {} if inside else self.within(self.first, self.width, chain(*places))
        totals = self.over_rows(shape, groups, masks, nothing)
        result = None
        for phases, vectors in zip(groups, totals, strict=True):
            apart = self.apart(vectors)
            for phase in phases:
                seen = apart[phase]
                result = seen if result is None else self.together(result, seen, shape.maximum)
        self.write_out(inside, result, self.at(self.out, self.to))

    def write_out(self, inside: bool, vector: Any, pointer: Any) -> None:
        """Store a vector of results, of which some may lie beyond the row's end."""
        left = number(self.lanes) if inside else self.left
        self.store_between([(vector, pointer)], number(0), left)

    def over_rows(
        self,
        shape: Along,
        groups: Groups,
        masks: dict[int, Any],
        nothing: Any,
    ) -> list[list[Any]]:
        """Return, for each group, its vectors over all rows."""
        builder, before = self.builder, self.builder.block
        loop, body, after = map(builder.append_basic_block, ("rows", "row", "along"))
        builder.branch(loop)
        builder.position_at_end(loop)
        row = builder.phi(number)
        row.add_incoming(self.begin, before)
        totals = [[builder.phi(self.vector) for _ in range(shape.stride)] for _ in groups]
        odd = [[builder.phi(self.mask) for _ in range(shape.stride)] for _ in groups]
        builder.cbranch(builder.icmp_signed("<", row, self.end), body, after)
        builder.position_at_end(body)
        start = self.at(self.cells, self.plane, self.load(self.offsets, row), self.first)
        loaded: dict[int, Any] = {}
        for steps, of_group, nans in zip(groups.values(), totals, odd, strict=True):
            made, unordered = list(of_group), list(nans)
            for n, place in enumerate(places_of(steps, shape.stride, self.lanes)):
                if place not in loaded:
                    loaded[place] = self.seen(start, place, masks.get(place), nothing)
                v, value = n % shape.stride, loaded[place]
                if shape.maximum:
                    larger = builder.fcmp_ordered(">", value, made[v])
                    made[v] = builder.select(larger, value, made[v])
                    is_nan = builder.fcmp_unordered("uno", value, value)
                    unordered[v] = builder.or_(unordered[v], is_nan)
                else:
                    made[v] = builder.fadd(made[v], value)
            for total, nan_of, new, new_nan in zip(of_group, nans, made, unordered, strict=True):
                total.add_incoming(nothing, before)
                total.add_incoming(new, body)
                nan_of.add_incoming(ir.Constant(self.mask, [0] * self.lanes), before)
                nan_of.add_incoming(new_nan, body)
        row.add_incoming(builder.add(row, number(1)), body)
        builder.branch(loop)
        builder.position_at_end(after)
        if not shape.maximum:
            return [list(each) for each in totals]
        # A maximum of vectors passes over NaN: whoever met one is NaN.
        void = self.constant(nan)
        return [
            [builder.select(mask, void, total) for total, mask in zip(*pair, strict=True)]
            for pair in zip(totals, odd, strict=True)
        ]

    def seen(self, start: Any, place: int, mask: Any, nothing: Any) -> Any:
        """Return the vector of cells at a place of a row."""
        if mask is None:
            if place * VECTOR_BYTES // self.lanes % LINE == 0:
                self.fetch(self.at(start, number(place)), AHEAD)
            return self.load_vector(start, number(place))
        return self.load_lanes(self.at(start, number(place)), mask, nothing)

    def together(self, one: Any, other: Any, maximum: bool) -> Any:
        """Return the larger, or the sum; NaN is larger than any number."""
        if not maximum:
            return self.builder.fadd(one, other)
        return self.larger(one, other)


def phases_of(shape: Along) -> dict[int, tuple[int, ...]]:
    """Return {stride: which of its cells windows see}."""
    phases: dict[int, tuple[int, ...]] = {}
    for tap in range(shape.kernel):
        step, phase = divmod(tap * shape.dilation, shape.stride)
        phases[step] = (*phases.get(step, ()), phase)
    return phases


def groups_of(shape: Along) -> Groups:
    """Return the same by those cells, since what is seen by the same phases is taken together."""
    groups: Groups = {}
    for step, phases in phases_of(shape).items():
        groups.setdefault(phases, []).append(step)
    return groups


def places_of(steps: list[int], stride: int, lanes: int) -> list[int]:
    """Return where the vectors of some strides begin."""
    return [step * stride + v * lanes for step in steps for v in range(stride)]
