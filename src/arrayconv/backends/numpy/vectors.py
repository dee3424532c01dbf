"""The processor's vectors, as code for numba's compiler: import this by `compiler.loops` only.

What numba makes of a loop keeps its sums in memory. So the innermost loops are written in LLVM's
terms, with as many vectors of sums as the processor has registers for. Here is what they have in
common: `tile_sums` has those of convolutions, the modules of rows those of pools and of depthwise
ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from arrayconv.backends.numpy.registers import VECTOR_BYTES

number = ir.IntType(64)


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

    def load_parts(self, pointers: list[Any], count: Any) -> list[Any]:
        """Return the vectors that begin at some addresses, of which ``count`` lanes are read."""
        builder, nothing = self.builder, ir.Constant(self.vector, None)
        blocks = [builder.append_basic_block(name) for name in ("whole", "part", "loaded")]
        builder.cbranch(builder.icmp_signed(">=", count, number(self.lanes)), *blocks[:2])
        builder.position_at_end(blocks[0])
        whole = [self.load_vector(pointer, number(0)) for pointer in pointers]
        builder.branch(blocks[2])
        builder.position_at_end(blocks[1])
        mask = self.between(number(0), count)
        parts = [self.load_lanes(pointer, mask, nothing) for pointer in pointers]
        builder.branch(blocks[2])
        builder.position_at_end(blocks[2])
        found = []
        for pair in zip(whole, parts, strict=True):
            found.append(builder.phi(self.vector))
            for value, block in zip(pair, blocks[:2], strict=True):
                found[-1].add_incoming(value, block)
        return found

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


class Lanes:
    """Loads and stores of all lanes of vectors, or of the first ``left`` ones if that is given."""

    def __init__(self, code: Vectors, kind: Any, left: Any) -> None:
        self._code, self._mask = code, None
        if not isinstance(kind, types.NoneType):
            self._mask = code.between(number(0), left)

    def load(self, pointer: Any, *terms: Any) -> Any:
        """Return the vector that begins at an element; lanes that are not loaded are 0."""
        if self._mask is None:
            return self._code.load_vector(pointer, *terms)
        nothing = ir.Constant(self._code.vector, None)
        return self._code.load_lanes(self._code.at(pointer, *terms), self._mask, nothing)

    def store(self, value: Any, pointer: Any, *terms: Any) -> None:
        """Store a vector of any kind from an element on."""
        place = self._code.at(pointer, *terms)
        if self._mask is None:
            place = self._code.builder.bitcast(place, value.type.as_pointer())
            self._code.builder.store(value, place, align=1)
        else:
            self._code.store_lanes(value, place, self._mask)
