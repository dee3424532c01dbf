"""Adjoints of strided depthwise sums in the processor's vectors, as code for numba's compiler.

See `vectors`. What `row_sums` reads is written here, in the same order: a group of as many cells as
the stride has one lane in each of as many vectors, and some rows of cells are made at a time. Of
each phase only those taps are written out that meet it; phases take turns at the end, in registers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from arrayconv.backends.numpy.plane_rows import PlaneRows
from arrayconv.backends.numpy.vectors import number

Places = dict[tuple[int, int, int], Any]
"""{(row, vector, phase): what is there}."""


class Spread(NamedTuple):
    """What is written out in code: how windows lie, and which cells are made at a time."""

    deep: int
    """Slices of the kernel that meet a slice of cells, at most."""
    tall: int
    wide: int
    down: int
    """The stride from row to row."""
    along: int
    """The stride within a row."""
    dilation_down: int
    dilation_along: int
    before_down: int
    """Padding beyond whole strides, before the first row, and before the first cell of one."""
    before_along: int
    rows: int
    """Whole strides of them."""
    vectors: int
    """Of groups of a row."""

    def meets(self) -> tuple[dict[int, list[tuple[int, int]]], dict[int, list[tuple[int, int]]]]:
        """Return, for rows and along them, {position: the cells that see it, and by which tap}.

        Positions are counted from that whose window would begin at the first cell.
        """
        down = _met(self.rows, self.tall, self.down, self.dilation_down, self.before_down)
        along = _met(self.along, self.wide, self.along, self.dilation_along, self.before_along)
        return down, along


def _met(
    cells: int, kernel: int, stride: int, dilation: int, before: int
) -> dict[int, list[tuple[int, int]]]:
    found: dict[int, list[tuple[int, int]]] = {}
    for cell in range(cells):
        for tap in range(kernel):
            position, rest = divmod(cell + before - tap * dilation, stride)
            if rest == 0:
                found.setdefault(position, []).append((cell, tap))
    return dict(sorted(found.items()))


@intrinsic(prefer_literal=True)
def spread_rows(
    context: Any,
    shape: Any,
    plane: Any,
    entry: Any,
    first: Any,
    column: Any,
    place: Any,
    left: Any,
    rows: Any,
    same: Any,
) -> Any:
    """Write the cells that some positions are spread to by a depthwise weight.

    ``shape`` has the numbers of `Spread`, ``same`` is (positions, table, weight, cells, zeros,
    width, line, more). From ``table[entry]`` on are, for each slice of the kernel, where its
    weights lie behind ``weight[first]``, and where the rows of ``width`` positions that are met
    begin behind ``positions[plane]``; those below 0 stand for rows of ``zeros``. Lane 0's group of
    cells is met by the place ``column`` of these rows. Cells of row r go to ``cells[place + line *
    r]`` and on, of ``rows`` rows, and of each the first ``left``; but ``more`` cells may be written
    behind all but the last row, before those that belong there.
    """
    if any(each.layout != "C" for each in same if isinstance(each, types.Array)):
        return None
    signature = types.void(shape, plane, entry, first, column, place, left, rows, same)
    numbers = [each.literal_value for each in shape]
    return signature, lambda *given: _SpreadRows(*given).write(Spread(*numbers))


class _SpreadRows(PlaneRows):
    """The code of some vectors of some rows."""

    def __init__(self, context: Any, builder: Any, signature: Any, given: Any) -> None:
        super().__init__(context, builder, signature.args[8].types[0].dtype)
        self.plane, self.entry, self.first, self.column = given[1:5]
        self.place, self.left, self.rows = given[5:8]
        of_all = self.unpacked(signature.args[8], given[8])
        self.positions, self.table, self.weight, self.cells = of_all[:4]
        self.zeros, self.width, self.line, self.more = of_all[4:]

    def write(self, shape: Spread) -> Any:
        """Write the code twice: where all that is loaded lies within the rows, and for all else."""
        builder, (_, along) = self.builder, shape.meets()
        low, high = min(along, default=0), max(along, default=0)
        end = builder.add(self.column, number(high + shape.vectors * self.lanes))
        inside = builder.and_(
            builder.icmp_signed(">=", builder.add(self.column, number(low)), number(0)),
            builder.icmp_signed("<=", end, self.width),
        )
        with builder.if_else(inside) as (then, otherwise):
            with then:
                self.write_out(shape, self.over_slices(shape, True))
            with otherwise:
                self.write_out(shape, self.over_slices(shape, False))
        return self.nothing()

    def over_slices(self, shape: Spread, inside: bool) -> Places:
        """Return the sums over the slices of the kernel."""
        builder, before = self.builder, self.builder.block
        down, along = shape.meets()
        places = [
            (row, v, phase)
            for row in range(shape.rows)
            for v in range(shape.vectors)
            for phase in range(shape.along)
        ]
        slices, after = map(builder.append_basic_block, ("slices", "after"))
        builder.branch(slices)
        builder.position_at_end(slices)
        piece = builder.phi(number)
        sums = {each: builder.phi(self.vector) for each in places}
        made = dict(sums)
        entry = builder.add(self.entry, builder.mul(piece, number(1 + len(down))))
        first = builder.add(self.first, self.load(self.table, entry))
        met = [self.load(self.table, entry, number(1 + n)) for n in range(len(down))]
        where = (self.zeros, self.column)
        starts = [self.row(self.positions, self.plane, offset, *where) for offset in met]
        some = [v * self.lanes for v in range(shape.vectors)]
        for shift, phases in along.items():
            taps = {(k, t) for users in down.values() for _, k in users for _, t in phases}
            factors = {
                (k, t): self.spread(
                    self.load(self.weight, first, number(k * shape.wide + t)), self.vector
                )
                for k, t in sorted(taps)
            }
            column = builder.add(self.column, number(shift))
            masks = {} if inside else self.within(column, self.width, some)
            for start, users in zip(starts, down.values(), strict=True):
                for v, at in enumerate(some):
                    seen = self.seen(self.at(start, number(shift)), at, masks.get(at))
                    for row, k in users:
                        for phase, t in phases:
                            total = made[row, v, phase]
                            made[row, v, phase] = self.multiply_add(factors[k, t], seen, total)
        following = builder.add(piece, number(1))
        piece.add_incoming(number(0), before)
        piece.add_incoming(following, slices)
        for each in places:
            sums[each].add_incoming(ir.Constant(self.vector, None), before)
            sums[each].add_incoming(made[each], slices)
        builder.cbranch(builder.icmp_signed("<", following, number(shape.deep)), slices, after)
        builder.position_at_end(after)
        return made

    def write_out(self, shape: Spread, sums: Places) -> None:
        """Store the cells of each row, phases by turns."""
        builder, whole = self.builder, number(shape.vectors * shape.along * self.lanes)
        stores = []
        for row in range(shape.rows):
            start = self.at(self.cells, self.place, builder.mul(self.line, number(row)))
            cells: list[Any] = []
            for v in range(shape.vectors):
                cells += self.in_turns([sums[row, v, phase] for phase in range(shape.along)])
            pointers = [self.at(start, number(n * self.lanes)) for n in range(len(cells))]
            stores.append(list(zip(cells, pointers, strict=True)))
        all_cells = builder.and_(
            builder.icmp_signed(">=", self.left, whole),
            builder.icmp_signed(">=", self.rows, number(shape.rows)),
        )
        with builder.if_else(all_cells, likely=True) as (then, otherwise):
            with then:
                for of_row in stores:
                    for value, pointer in of_row:
                        self.store_vector(value, pointer, number(0))
            with otherwise:
                for row, of_row in enumerate(stores):
                    behind = builder.sub(self.rows, number(row + 1))
                    end = builder.add(self.left, builder.mul(self.more, behind))
                    is_row = builder.icmp_signed(">=", behind, number(0))
                    end = builder.select(is_row, end, number(0))
                    for n, each in enumerate(of_row):
                        left = builder.sub(end, number(n * self.lanes))
                        self.store_between([each], number(0), left)
