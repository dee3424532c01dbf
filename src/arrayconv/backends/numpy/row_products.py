"""Depthwise sums over positions in the processor's vectors, as code for numba's compiler.

See `vectors`. A row of cotangents is multiplied with the rows of cells that its windows see, by
some taps at a time, each of which has a vector of sums over all rows; lanes are added up at the
end. As in `row_sums` nothing is laid out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from arrayconv.backends.numpy.plane_rows import PlaneRows
from arrayconv.backends.numpy.vectors import number

Sums = list[list[Any]]
"""For each row of the kernel, and each of its taps, what is summed up."""


class Products(NamedTuple):
    """What is written out in code: how windows lie along a row, and which taps have sums."""

    rows: int
    """Rows of the kernel at a time."""
    taps: int
    """Taps of each at a time."""
    along: int
    """The stride within a row."""
    dilation: int

    @property
    def reach(self) -> int:
        """How many strides the last tap is away."""
        return self.dilation * (self.taps - 1) // self.along


@intrinsic(prefer_literal=True)
def add_rows(
    context: Any,
    shape: Any,
    plane: Any,
    given: Any,
    begin: Any,
    end: Any,
    start: Any,
    stop: Any,
    kernel_row: Any,
    column: Any,
    place: Any,
    done: Any,
    done_taps: Any,
    same: Any,
) -> Any:
    """Add sums of products over rows of cotangents to the gradients of some taps.

    ``shape`` has the numbers of `Products`, ``same`` is (cells, offsets, cotangents, result, zeros,
    width, outs, entries, wide). Rows of ``outs`` cotangents follow one another from
    ``cotangents[given]`` on; those from ``begin`` to ``end`` are taken, and of each what lies from
    ``start`` to ``stop``, which is whole vectors further on or the row's end. The row of ``width``
    cells that number n sees by row k of the kernel begins at ``cells[plane + offsets[entries * n +
    k]]``; an offset below 0 stands for a row of ``zeros``. The first of the kernel's rows is
    ``kernel_row``; its first tap sees, of the first cotangent, the place ``column`` of these rows,
    or one before them. Sums are added to ``result[place + wide * row + tap]``, but for the first
    ``done`` of the rows and ``done_taps`` of the taps. All arrays are contiguous.
    """
    if any(each.layout != "C" for each in same if isinstance(each, types.Array)):
        return None
    where = (plane, given, begin, end, start, stop, kernel_row, column, place, done, done_taps)
    signature = types.void(shape, *where, same)
    numbers = [each.literal_value for each in shape]
    return signature, lambda *given: _AddRows(*given).write(Products(*numbers))


class _AddRows(PlaneRows):
    """The code of some taps."""

    def __init__(self, context: Any, builder: Any, signature: Any, given: Any) -> None:
        super().__init__(context, builder, signature.args[12].types[0].dtype)
        self.plane, self.given, self.begin, self.end, self.start, self.stop = given[1:7]
        self.kernel_row, self.column, self.place, *self.done = given[7:12]
        of_all = self.unpacked(signature.args[12], given[12])
        self.cells, self.offsets, self.cotangents, self.result = of_all[:4]
        self.zeros, self.width, self.outs, self.entries, self.wide = of_all[4:]

    def write(self, shape: Products) -> Any:
        """Write the code: over all rows, over the vectors of each, and then the lanes of sums."""
        builder, before = self.builder, self.builder.block
        rows, row, columns, next_row, after = map(
            builder.append_basic_block, ("rows", "row", "columns", "next", "after")
        )
        builder.branch(rows)
        builder.position_at_end(rows)
        n = builder.phi(number)
        held = self.phis(shape)
        builder.cbranch(builder.icmp_signed("<", n, self.end), row, after)
        builder.position_at_end(row)
        entry = builder.add(builder.mul(n, self.entries), self.kernel_row)
        seen = [self.load(self.offsets, entry, number(each)) for each in range(shape.rows)]
        where = (self.zeros, self.column)
        starts = [self.row(self.cells, self.plane, offset, *where) for offset in seen]
        given = self.at(self.cotangents, self.given, builder.mul(n, self.outs))
        builder.branch(columns)
        builder.position_at_end(columns)
        at = builder.phi(number)
        sums = self.phis(shape)
        made = self.add(shape, starts, given, at, sums)
        last, following = builder.block, builder.add(at, number(self.lanes))
        builder.cbranch(builder.icmp_signed("<", following, self.stop), columns, next_row)
        builder.position_at_end(next_row)
        next_n = builder.add(n, number(1))
        builder.branch(rows)
        n.add_incoming(self.begin, before)
        n.add_incoming(next_n, next_row)
        at.add_incoming(self.start, row)
        at.add_incoming(following, last)
        nothing = [[ir.Constant(self.vector, None)] * shape.taps] * shape.rows
        self.joined(held, (nothing, before), (made, next_row))
        self.joined(sums, (held, row), (made, last))
        builder.position_at_end(after)
        self.write_out(held)
        return self.nothing()

    def phis(self, shape: Products) -> Sums:
        """Return sums that come from several blocks."""
        return [
            [self.builder.phi(self.vector) for _ in range(shape.taps)] for _ in range(shape.rows)
        ]

    def joined(self, sums: Sums, *sources: tuple[Sums, Any]) -> None:
        """Say from which blocks, and with which values, sums come."""
        for values, block in sources:
            for into, of in zip(sums, values, strict=True):
                for phi, value in zip(into, of, strict=True):
                    phi.add_incoming(value, block)

    def add(self, shape: Products, starts: list[Any], given: Any, at: Any, sums: Sums) -> Sums:
        """Return sums with a vector of cotangents: by lanes where it or its cells are not whole."""
        builder = self.builder
        cell = builder.mul(at, number(shape.along))
        column = builder.add(self.column, cell)
        left = builder.sub(self.outs, at)
        end = builder.add(column, number((shape.reach + self.lanes) * shape.along))
        inside = builder.and_(
            builder.icmp_signed(">=", column, number(0)),
            builder.and_(
                builder.icmp_signed("<=", end, self.width),
                builder.icmp_signed(">=", left, number(self.lanes)),
            ),
        )
        whole, some, both = map(builder.append_basic_block, ("whole", "some", "both"))
        builder.cbranch(inside, whole, some)
        found = []
        for block, masked in ((whole, False), (some, True)):
            builder.position_at_end(block)
            lanes = self.between(number(0), left) if masked else None
            values = self.seen(self.at(given, at), 0, lanes)
            begin = [self.at(start, cell) for start in starts]
            made = self.products(shape, begin, column if masked else None, lanes, values, sums)
            found.append((made, builder.block))
            builder.branch(both)
        builder.position_at_end(both)
        together = self.phis(shape)
        self.joined(together, *found)
        return together

    def products(
        self, shape: Products, starts: list[Any], column: Any, lanes: Any, values: Any, sums: Sums
    ) -> Sums:
        """Return sums with the products of a vector of cotangents and what its windows see."""
        every = [divmod(tap * shape.dilation, shape.along) for tap in range(shape.taps)]
        vectors = range(0, shape.along * self.lanes, self.lanes)
        steps = {step: [step * shape.along + n for n in vectors] for step, _ in every}
        masks: dict[int, Any] = {}
        if column is not None:
            masks = self.within(column, self.width, [n for each in steps.values() for n in each])
        if lanes is not None and shape.along == 1:
            masks = {n: self.builder.and_(mask, lanes) for n, mask in masks.items()}
        made = []
        for start, of_row in zip(starts, sums, strict=True):
            apart = {
                step: self.apart([self.seen(start, n, masks.get(n)) for n in places])
                for step, places in steps.items()
            }
            added = []
            for (step, phase), total in zip(every, of_row, strict=True):
                cells = apart[step][phase]
                if lanes is not None and shape.along > 1:
                    # Cells of no cotangent may be inf or NaN, of which 0 times is NaN.
                    cells = self.builder.select(lanes, cells, ir.Constant(self.vector, None))
                added.append(self.multiply_add(values, cells, total))
            made.append(added)
        return made

    def write_out(self, sums: Sums) -> None:
        """Add the lanes of each sum to the gradient of its tap, unless that is done."""
        builder, nothing = self.builder, ir.Constant(self.vector.element, 0.0)
        for row, of_row in enumerate(sums):
            line = self.at(self.result, self.place, builder.mul(self.wide, number(row)))
            for tap, value in enumerate(of_row):
                target = self.at(line, number(tap))
                is_new = builder.and_(
                    builder.icmp_signed(">=", number(row), self.done[0]),
                    builder.icmp_signed(">=", number(tap), self.done[1]),
                )
                total = builder.select(is_new, self.added(value), nothing)
                builder.store(builder.fadd(builder.load(target), total), target)
