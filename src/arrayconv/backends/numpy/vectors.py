"""Sums of products in the processor's vectors, as code for numba's compiler: import by need only.

What numba makes of a loop keeps its sums in memory. Here the innermost loop is written in LLVM's
terms, with as many vectors of sums as the processor has registers for: each vector of cells that
is loaded serves several outputs, and each weight several vectors. That is how a fast product of
matrices works (K. Goto, R. van de Geijn, "Anatomy of High-Performance Matrix Multiplication",
2008); but the rows of the second matrix are found by a table, so that nobody needs to lay it out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from arrayconv.backends.numpy.registers import REGISTERS, VECTOR_BYTES

number = ir.IntType(64)


class Tile(NamedTuple):
    """Sums that are held in registers at a time."""

    outputs: int
    vectors: int


def tile(outputs: int) -> Tile:
    """Return the tile for ``outputs`` outputs, of which it may take a part at a time."""
    most = 8 if REGISTERS == 32 else 4
    if outputs >= most - 1:
        return Tile(min(outputs, most), 3)
    return Tile(outputs, 4)


class Vectors:
    """What the code of vectors of one dtype is made of."""

    def __init__(self, context: Any, builder: Any, dtype: Any) -> None:
        self.builder, self._context = builder, context
        element, bits = context.get_data_type(dtype), dtype.bitwidth
        self.lanes = VECTOR_BYTES * 8 // bits
        self.vector = ir.VectorType(element, self.lanes)
        self.mask = ir.VectorType(ir.IntType(1), self.lanes)
        self.suffix = f"v{self.lanes}f{bits}"

    def unpacked(self, kind: Any, value: Any) -> list[Any]:
        """Return the members of a tuple; of an array its data."""
        members = []
        for place, each in enumerate(kind.types):
            member = self.builder.extract_value(value, place)
            if isinstance(each, types.Array):
                member = self._context.make_array(each)(self._context, self.builder, member).data
            members.append(member)
        return members

    def nothing(self) -> Any:
        """Return what code without a result returns."""
        return self._context.get_dummy_value()

    def multiply_add(self, one: Any, other: Any, total: Any) -> Any:
        """Return a vector of products added to a vector: fused where the processor can."""
        name = f"fmuladd.{self.suffix}"
        return self.builder.call(self.function(name, *[self.vector] * 4), [one, other, total])

    def function(self, name: str, result: Any, *arguments: Any) -> Any:
        """Return one of LLVM's own functions."""
        kind = ir.FunctionType(result, arguments)
        return cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.{name}")

    def at(self, pointer: Any, *terms: Any) -> Any:
        """Return the address of an element, whose index is a sum."""
        place = terms[0]
        for term in terms[1:]:
            place = self.builder.add(place, term)
        return self.builder.gep(pointer, [place])

    def load(self, pointer: Any, *terms: Any) -> Any:
        """Return an element, whose index is a sum."""
        return self.builder.load(self.at(pointer, *terms))

    def load_vector(self, pointer: Any, *terms: Any) -> Any:
        """Return the vector that begins at an element."""
        place = self.builder.bitcast(self.at(pointer, *terms), self.vector.as_pointer())
        return self.builder.load(place, align=1)

    def fetch(self, pointer: Any, ahead: int) -> None:
        """Have the cache fetch the line that lies so many bytes behind an address."""
        byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        place = self.builder.gep(self.builder.bitcast(pointer, byte), [number(ahead)])
        prefetch = self.function("prefetch.p0", ir.VoidType(), byte, flag, flag, flag)
        # To read, into all caches, and it is no code.
        self.builder.call(prefetch, [place, flag(0), flag(3), flag(1)])

    def load_lanes(self, pointer: Any, mask: Any, nothing: Any) -> Any:
        """Return the vector that begins at an address, of which only some lanes are read."""
        kind, align = self.vector.as_pointer(), ir.IntType(32)(1)
        name = f"masked.load.{self.suffix}.p0"
        load = self.function(name, self.vector, kind, align.type, self.mask, self.vector)
        return self.builder.call(load, [self.builder.bitcast(pointer, kind), align, mask, nothing])

    def larger(self, one: Any, other: Any) -> Any:
        """Return the larger numbers of two vectors; NaN is larger than any number."""
        is_larger = self.builder.or_(
            self.builder.fcmp_ordered(">", other, one),
            self.builder.fcmp_unordered("uno", other, other),
        )
        return self.builder.select(is_larger, other, one)

    def spread(self, value: Any, vector: Any) -> Any:
        """Return a vector of one value."""
        nothing = ir.Constant(vector, ir.Undefined)
        one = self.builder.insert_element(nothing, value, ir.IntType(32)(0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
        return self.builder.shuffle_vector(one, nothing, lanes)

    def between(self, low: Any, high: Any) -> Any:
        """Return which lanes are at least ``low`` and less than ``high``."""
        builder, small = self.builder, ir.IntType(32)
        numbers = ir.VectorType(small, self.lanes)
        lanes = ir.Constant(numbers, list(range(self.lanes)))
        # As many of these numbers as there are lanes fit a vector, of 64 bits they may not.
        ends = []
        for end in (low, high):
            end = builder.select(builder.icmp_signed("<", end, number(0)), number(0), end)
            most = number(self.lanes)
            end = builder.select(builder.icmp_signed(">", end, most), most, end)
            ends.append(self.spread(builder.trunc(end, small), numbers))
        least = builder.icmp_signed(">=", lanes, ends[0])
        return builder.and_(least, builder.icmp_signed("<", lanes, ends[1]))

    def within(self, first: Any, width: Any, places: Iterable[int]) -> dict[int, Any]:
        """Return which lanes of the vectors that lie at some places behind ``first`` are in a row.

        A row has ``width`` cells, fewer than 2**31.
        """
        builder, found = self.builder, {}
        kind = ir.VectorType(ir.IntType(32), self.lanes)
        start, end = (
            self.spread(builder.trunc(each, kind.element), kind) for each in (first, width)
        )
        for place in places:
            lanes = ir.Constant(kind, [place + lane for lane in range(self.lanes)])
            # Without a sign, a place before the row is one far behind it.
            found[place] = builder.icmp_unsigned("<", builder.add(start, lanes), end)
        return found

    def store_between(self, stores: list[tuple[Any, Any]], low: Any, high: Any) -> None:
        """Store the lanes from ``low`` to ``high`` of (vectors, addresses)."""
        builder = self.builder
        all_lanes = builder.and_(
            builder.icmp_signed("<=", low, number(0)),
            builder.icmp_signed(">=", high, number(self.lanes)),
        )
        # On many processors a store of some lanes takes far longer.
        with builder.if_else(all_lanes, likely=True) as (then, otherwise):
            with then:
                for value, pointer in stores:
                    place = builder.bitcast(pointer, value.type.as_pointer())
                    builder.store(value, place, align=1)
            with otherwise:
                mask = self.between(low, high)
                for value, pointer in stores:
                    self.store_lanes(value, pointer, mask)

    def store_lanes(self, value: Any, pointer: Any, mask: Any) -> None:
        """Store some lanes of a vector of any kind."""
        kind, align, nothing = value.type, ir.IntType(32)(1), ir.VoidType()
        pointer = self.builder.bitcast(pointer, kind.as_pointer())
        element = kind.element
        bits = f"i{element.width}" if isinstance(element, ir.IntType) else self.suffix[-3:]
        name = f"masked.store.v{kind.count}{bits}.p0"
        store = self.function(name, nothing, kind, pointer.type, align.type, self.mask)
        self.builder.call(store, [value, pointer, align, mask])

    def store_vector(self, value: Any, pointer: Any, *terms: Any) -> None:
        """Store a vector from an element on."""
        place = self.builder.bitcast(self.at(pointer, *terms), self.vector.as_pointer())
        self.builder.store(value, place, align=1)

    def added(self, vector: Any) -> Any:
        """Return the sum of a vector's lanes, in any order: by halves."""
        element = vector.type.element
        reduce = self.function(f"vector.reduce.fadd.{self.suffix}", element, element, vector.type)
        start = ir.Constant(element, -0.0)
        return self.builder.call(reduce, [start, vector], fastmath=("reassoc",))

    def in_turns(self, vectors: list[Any]) -> list[Any]:
        """Return vectors with the first lanes of all, the second lanes of all, and so on."""
        count = len(vectors)
        if count % 2:
            # One after the other: that takes more shuffles than pairs do.
            return [self._turn(vectors, n * self.lanes) for n in range(count)]
        half = self.lanes // 2
        pairs = zip(self.in_turns(vectors[::2]), self.in_turns(vectors[1::2]), strict=True)
        made = []
        for one, other in pairs:
            for start in (0, half):
                lanes = [lane for n in range(start, start + half) for lane in (n, n + self.lanes)]
                kind = ir.VectorType(ir.IntType(32), self.lanes)
                made.append(self.builder.shuffle_vector(one, other, ir.Constant(kind, lanes)))
        return made

    def _turn(self, vectors: list[Any], first: int) -> Any:
        """Return the vector whose lanes are those from ``first`` on of some vectors by turns."""
        count, kind = len(vectors), ir.VectorType(ir.IntType(32), self.lanes)
        places = [divmod(first + lane, count) for lane in range(self.lanes)]
        made = vectors[0]
        for n, vector in enumerate(vectors):
            lanes = [
                self.lanes + at if whose == n else at if n == 0 else lane
                for lane, (at, whose) in enumerate(places)
            ]
            made = self.builder.shuffle_vector(made, vector, ir.Constant(kind, lanes))
        return made

    def apart(self, vectors: list[Any]) -> list[Any]:
        """Return the lanes of vectors in a row in as many vectors, by turns.

        What nobody asks for afterwards the compiler leaves out.
        """
        stride = len(vectors)
        if stride % 2:
            return [self.every(vectors, phase) for phase in range(stride)]
        # The even lanes of pairs, and the odd ones, and these again: that takes fewer shuffles.
        halves = [
            self.apart([self.every(vectors[n : n + 2], odd) for n in range(0, stride, 2)])
            for odd in (0, 1)
        ]
        return [each for pair in zip(*halves, strict=True) for each in pair]

    def every(self, vectors: list[Any], phase: int) -> Any:
        """Return every ``stride``-th lane of as many vectors in a row, from ``phase`` on."""
        stride, found = len(vectors), vectors[0]
        for n, vector in enumerate(vectors):
            # The lanes that are in this vector join those that were in the vectors before.
            order = list(range(self.lanes))
            for lane in order:
                whose, which = divmod(stride * lane + phase, self.lanes)
                if whose == n:
                    order[lane] = self.lanes + which
            lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), order)
            found = self.builder.shuffle_vector(found, vector, lanes)
        return found


@intrinsic(prefer_literal=True)
def sum_products(
    context: Any,
    outputs: Any,
    vectors: Any,
    cell: Any,
    begin: Any,
    end: Any,
    first: Any,
    place: Any,
    number: Any,
    kept: Any,
    same: Any,
) -> Any:
    """Write sums of products for ``outputs`` outputs and the cells of ``vectors`` vectors.

    ``same`` is (cells, table, weight, step, result, size, stores, ends, held, terms), the same for
    many tiles. Lane j of a vector v sums ``weight[first + step * i + factor] * cells[cell + v *
    lanes + offset + j]`` over the rows (offset, factor) of ``table`` from ``begin``, one at least,
    to ``end``. The rows (place, low, high) of ``stores`` from ``ends[number + v]`` on, up to the
    next of ``ends``, say where it goes: for j from low to high, to ``result[place + size * i +
    j]``, counted from the argument ``place`` on. Where ``end`` is not ``terms``, it is kept in
    ``held`` from ``kept`` on instead; where ``begin`` is not 0, what was kept there is added. All
    arrays are contiguous; cells may be read up to the end of a vector.
    """
    if any(each.layout != "C" for each in same if isinstance(each, types.Array)):
        return None
    signature = types.void(outputs, vectors, cell, begin, end, first, place, number, kept, same)
    shape = Tile(outputs.literal_value, vectors.literal_value)
    return signature, lambda *given: _SumProducts(*given).write(shape)


class _SumProducts(Vectors):
    """The code of one tile."""

    def __init__(self, context: Any, builder: Any, signature: Any, given: Any) -> None:

        self.cell, self.begin, self.end, self.first, self.place = given[2:7]
        self.vector_number, self.kept = given[7:9]
        super().__init__(context, builder, signature.args[9].types[0].dtype)
        of_all = self.unpacked(signature.args[9], given[9])
        self.cells, self.table, self.weight, self.step = of_all[:4]
        self.result, self.size, self.stores, self.ends, self.held, self.terms = of_all[4:]

    def write(self, shape: Tile) -> Any:
        """Write the code: all products, and then all stores."""
        builder, lanes = self.builder, self.lanes
        sums = self.sums(shape)
        places = [
            [number((output * shape.vectors + v) * lanes) for v in range(shape.vectors)]
            for output in range(shape.outputs)
        ]
        # What was summed up before is added.
        summed, (more, ready) = builder.block, map(builder.append_basic_block, ("more", "ready"))
        builder.cbranch(builder.icmp_signed("==", self.begin, number(0)), ready, more)
        builder.position_at_end(more)
        added = [
            [
                builder.fadd(self.load_vector(self.held, self.kept, place), value)
                for place, value in zip(*each, strict=True)
            ]
            for each in zip(places, sums, strict=True)
        ]
        builder.branch(ready)
        builder.position_at_end(ready)
        totals = [[builder.phi(self.vector) for _ in line] for line in sums]
        for line, alone, together in zip(totals, sums, added, strict=True):
            for total, one, other in zip(line, alone, together, strict=True):
                total.add_incoming(one, summed)
                total.add_incoming(other, more)
        is_last = builder.icmp_signed("==", self.end, self.terms)
        with builder.if_else(is_last) as (then, otherwise):
            with then:
                self.write_out(shape, totals)
            with otherwise:
                for line, of_line in zip(totals, places, strict=True):
                    for total, place in zip(line, of_line, strict=True):
                        self.store_vector(total, self.held, self.kept, place)
        return self.nothing()

    def write_out(self, shape: Tile, totals: list[list[Any]]) -> None:
        """Store the lanes of each vector where they belong."""
        every_row = [self.builder.mul(self.size, number(n)) for n in range(shape.outputs)]
        for v in range(shape.vectors):
            each = self.builder.add(self.vector_number, number(v))
            start, stop = self.load(self.ends, each), self.load(self.ends, each, number(1))
            with cgutils.for_range_slice(self.builder, start, stop, number(1)) as (store, _):
                entry = self.builder.mul(store, number(3))
                place, low, high = (self.load(self.stores, entry, number(n)) for n in range(3))
                starts = [self.at(self.result, self.place, place, row) for row in every_row]
                stores = [(line[v], start) for line, start in zip(totals, starts, strict=True)]
                self.store_between(stores, low, high)

    def sums(self, shape: Tile) -> list[list[Any]]:
        """Return the vectors of sums of products for each output."""
        builder, lanes = self.builder, self.lanes
        vector, each_output, each_vector = self.vector, range(shape.outputs), range(shape.vectors)
        rows = [builder.mul(self.step, number(n)) for n in each_output]
        before = builder.block
        loop, after = (builder.append_basic_block(name) for name in ("products", "summed"))
        builder.branch(loop)
        builder.position_at_end(loop)
        term = builder.phi(number)
        term.add_incoming(self.begin, before)
        held = [[builder.phi(vector) for _ in each_vector] for _ in each_output]
        entry = builder.mul(term, number(2))
        start = self.at(self.cells, self.cell, self.load(self.table, entry))
        factor = self.load(self.table, entry, number(1))
        seen = [self.load_vector(start, number(v * lanes)) for v in each_vector]
        made = []
        for row, sums in zip(rows, held, strict=True):
            spread = self.spread(self.load(self.weight, self.first, factor, row), vector)
            made.append(
                [
                    self.multiply_add(spread, value, total)
                    for value, total in zip(seen, sums, strict=True)
                ]
            )
        following = builder.add(term, number(1))
        term.add_incoming(following, loop)
        for totals, sums in zip(made, held, strict=True):
            for total, value in zip(totals, sums, strict=True):
                value.add_incoming(ir.Constant(vector, None), before)
                value.add_incoming(total, loop)
        builder.cbranch(builder.icmp_signed("<", following, self.end), loop, after)
        builder.position_at_end(after)
        return made
