"""Depthwise sums in the processor's vectors, as code for numba's compiler: see `vectors`.

One output sees one channel, so a vector of cells cannot serve several outputs; but it serves the
rows of one output whose windows it lies in. Nothing is laid out: cells are read where they are, by
lanes where a vector leaves their row, and a row outside the plane is one of zeros.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import types
from numba.extending import intrinsic

from arrayconv.backends.numpy.plane_rows import PlaneRows
from arrayconv.backends.numpy.vectors import number

Places = dict[tuple[int, int], Any]
"""{(row, vector): what is there}."""


class Rows(NamedTuple):
    """What is written out in code: how windows lie, and what is summed up at a time."""

    deep: int
    """Slices of a kernel of three dimensions; else 1."""
    tall: int
    wide: int
    down: int
    """The stride from row to row."""
    along: int
    """The stride within a row."""
    dilation_down: int
    dilation_along: int
    rows: int
    vectors: int
    taps: int
    """Taps of a row of the kernel that are written out; a loop goes over as many at a time."""

    @property
    def steps(self) -> list[int]:
        """The rows that are seen in one slice, behind the first one."""
        taps = [self.dilation_down * tap for tap in range(self.tall)]
        return sorted({self.down * row + tap for row in range(self.rows) for tap in taps})

    def users(self, step: int) -> list[tuple[int, int]]:
        """Return which rows of outputs see a row, and by which row of the kernel."""
        found = []
        for row in range(self.rows):
            tap, rest = divmod(step - self.down * row, self.dilation_down)
            if rest == 0 and 0 <= tap < self.tall:
                found.append((row, tap))
        return found


@intrinsic(prefer_literal=True)
def sum_rows(
    context: Any,
    shape: Any,
    plane: Any,
    entry: Any,
    first: Any,
    bias: Any,
    column: Any,
    place: Any,
    left: Any,
    same: Any,
) -> Any:
    """Write sums of products for some vectors of some rows of a depthwise output.

    ``shape`` has the numbers of `Rows`, ``same`` is (cells, offsets, weight, result, zeros, width,
    line). The rows of ``width`` cells that are seen begin at ``cells[plane + offset]`` for offsets
    from ``offsets[entry]`` on, slice after slice; those below 0 stand for rows of ``zeros``, as
    many as a row has cells. Lane 0's window begins at the place ``column`` of these rows, or before
    them. Weights lie from ``weight[first]`` on, and ``bias`` is added to each sum. Results of row r
    go to ``result[place + line * r]`` and on, for lanes less than ``left``; where a row has fewer,
    others are written behind them first, and then the rows that follow. All arrays are contiguous.
    """
    if any(each.layout != "C" for each in same if isinstance(each, types.Array)):
        return None
    signature = types.void(shape, plane, entry, first, bias, column, place, left, same)
    numbers = [each.literal_value for each in shape]
    return signature, lambda *given: _SumRows(*given).write(Rows(*numbers))


class _SumRows(PlaneRows):
    """The code of some vectors of some rows."""

    def __init__(self, context: Any, builder: Any, signature: Any, given: Any) -> None:
        super().__init__(context, builder, signature.args[8].types[0].dtype)
        self.plane, self.entry, self.first, self.bias = given[1:5]
        self.column, self.place, self.left = given[5:8]
        of_all = self.unpacked(signature.args[8], given[8])
        self.cells, self.offsets, self.weight, self.result = of_all[:4]
        self.zeros, self.width, self.line = of_all[4:]

    def write(self, shape: Rows) -> Any:
        """Write the code twice: where all that is loaded lies within the rows, and for all else."""
        builder = self.builder
        reach = shape.vectors * shape.along * self.lanes + shape.dilation_along * (shape.wide - 1)
        inside = builder.and_(
            builder.icmp_signed(">=", self.column, number(0)),
            builder.icmp_signed("<=", builder.add(self.column, number(reach)), self.width),
        )
        with builder.if_else(inside) as (then, otherwise):
            with then:
                self.write_out(shape, self.over_slices(shape, True))
            with otherwise:
                self.write_out(shape, self.over_slices(shape, False))
        return self.nothing()

    def over_slices(self, shape: Rows, inside: bool) -> Places:
        """Return the sums: of each slice of the kernel, and along its rows."""
        builder, before = self.builder, self.builder.block
        begun = self.spread(self.bias, self.vector)
        slices, taps, summed, after = map(
            builder.append_basic_block, ("slices", "taps", "slice", "after")
        )
        places = [(row, v) for row in range(shape.rows) for v in range(shape.vectors)]
        builder.branch(slices)
        builder.position_at_end(slices)
        piece = builder.phi(number)
        earlier = {each: builder.phi(self.vector) for each in places}
        entry = builder.add(self.entry, builder.mul(piece, number(len(shape.steps))))
        seen = [self.load(self.offsets, entry, number(n)) for n in range(len(shape.steps))]
        where = (self.zeros, self.column)
        starts = [self.row(self.cells, self.plane, offset, *where) for offset in seen]
        first = builder.add(self.first, builder.mul(piece, number(shape.tall * shape.wide)))
        builder.branch(taps)
        builder.position_at_end(taps)
        tap = builder.phi(number)
        sums = {each: builder.phi(self.vector) for each in places}
        made = dict(sums)
        self.add(shape, inside, starts, builder.add(first, tap), tap, made)
        next_tap, next_piece = builder.add(tap, number(shape.taps)), builder.add(piece, number(1))
        builder.cbranch(builder.icmp_signed("<", next_tap, number(shape.wide)), taps, summed)
        builder.position_at_end(summed)
        builder.cbranch(builder.icmp_signed("<", next_piece, number(shape.deep)), slices, after)
        builder.position_at_end(after)
        for counter, start, end, following in (
            (piece, before, summed, next_piece),
            (tap, slices, taps, next_tap),
        ):
            counter.add_incoming(number(0), start)
            counter.add_incoming(following, end)
        for each in places:
            earlier[each].add_incoming(begun, before)
            earlier[each].add_incoming(made[each], summed)
            sums[each].add_incoming(earlier[each], slices)
            sums[each].add_incoming(made[each], taps)
        return made

    def add(
        self, shape: Rows, inside: bool, starts: list[Any], first: Any, tap: Any, sums: Places
    ) -> None:
        """Add what the taps see that are written out: those from ``tap`` on in each row."""
        builder, lanes = self.builder, self.lanes
        for n in range(shape.taps):
            of_rows = [number(row * shape.wide + n) for row in range(shape.tall)]
            weights = [self.load(self.weight, first, each) for each in of_rows]
            factors = [self.spread(each, self.vector) for each in weights]
            cell = builder.mul(builder.add(tap, number(n)), number(shape.dilation_along))
            some = range(0, shape.vectors * shape.along * lanes, lanes)
            column = builder.add(self.column, cell)
            masks = {} if inside else self.within(column, self.width, some)
            for start, step in zip(starts, shape.steps, strict=True):
                begin = self.at(start, cell)
                seen = [self.seen(begin, each, masks.get(each)) for each in some]
                for v in range(shape.vectors):
                    value = self.apart(seen[v * shape.along : (v + 1) * shape.along])[0]
                    for row, of_kernel in shape.users(step):
                        total = sums[row, v]
                        sums[row, v] = self.multiply_add(factors[of_kernel], value, total)

    def write_out(self, shape: Rows, sums: Places) -> None:
        """Store what belongs to each row: what a vector has beyond the next row overwrites."""
        builder, last = self.builder, shape.rows - 1
        stores: Places = {}
        for row, v in sums:
            start = self.at(self.result, self.place, builder.mul(self.line, number(row)))
            stores[row, v] = self.at(start, number(v * self.lanes))
        left = builder.add(self.left, self.line)
        for chosen, end in ((range(last), left), (range(last, last + 1), self.left)):
            some = [(sums[each], stores[each]) for each in sums if each[0] in chosen]
            if some:
                self.store_between(some, number(0), end)
