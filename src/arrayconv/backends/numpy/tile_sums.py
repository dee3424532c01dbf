"""Sums of products in the processor's vectors, as code for numba's compiler: see `vectors`.

Each vector of cells that is loaded serves several outputs, and each weight several vectors. That is
how a fast product of matrices works (K. Goto, R. van de Geijn, "Anatomy of High-Performance Matrix
Multiplication", 2008); but the rows of the second matrix are found by a table, so that nobody needs
to lay it out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from arrayconv.backends.numpy.loop_forms import inlined
from arrayconv.backends.numpy.registers import REGISTERS
from arrayconv.backends.numpy.vectors import Vectors, number


class Tile(NamedTuple):
    """Sums that are held in registers at a time."""

    outputs: int
    vectors: int


def tile(outputs: int) -> Tile:
    """Return the tile for ``outputs`` outputs, of which it may take a part at a time."""
    most = 8 if REGISTERS == 32 else 4
    if outputs > most:
        # Tiles that are about alike are faster than whole ones and a small rest.
        outputs = -(-outputs // -(-outputs // most))
    # LLVM spills where sums take three quarters of the registers and each weight has four vectors.
    if 4 * outputs < REGISTERS * 3 // 4:
        return Tile(outputs, 4)
    return Tile(min(outputs, most), 3)


@inlined
def vectors_of(left: Any, most: Any) -> Any:
    """Return how many vectors to take of those that are left: one by itself is slow."""
    return most - 1 if left == most + 1 else min(left, most)


@intrinsic(prefer_literal=True)
def sum_products(
    context: Any,
    outputs: Any,
    vectors: Any,
    left: Any,
    cell: Any,
    which: Any,
    first: Any,
    bias: Any,
    place: Any,
    kept: Any,
    same: Any,
) -> Any:
    """Write sums of products for ``outputs`` outputs and the cells of ``vectors`` vectors.

    Where fewer are ``left``, it is for these.

    ``which`` is (begin, end, number, are_whole), and ``same`` is (cells, table, weight, step,
    biases, result, size, stores, ends, held, terms), the same for many tiles. Lane j of a vector v
    sums ``biases[bias + i]`` and ``weight[first + step * i + factor] * cells[cell + v * lanes +
    offset + j]`` over the rows (offset, factor) of ``table`` from ``begin``, one at least, to
    ``end``. The rows (place, low, high) of ``stores`` from ``ends[number + v]`` on, up to the next
    of ``ends``, say where it goes: for j from low to high, to ``result[place + size * i + j]``,
    counted from the argument ``place`` on. If vectors ``are_whole``, all their lanes go there, one
    behind the other. Where ``end`` is not ``terms``, it is kept in ``held`` from ``kept`` on
    instead; where ``begin`` is not 0, what was kept there is added, and no bias. All arrays are
    contiguous; cells may be read up to the end of a vector.
    """
    if any(each.layout != "C" for each in same if isinstance(each, types.Array)):
        return None
    signature = types.void(*(outputs, vectors, left, cell, which, first, bias, place, kept, same))
    shape = Tile(outputs.literal_value, vectors.literal_value)
    return signature, lambda *given: _SumProducts(*given).write(shape)


class _SumProducts(Vectors):
    """The code of one tile."""

    def __init__(self, context: Any, builder: Any, signature: Any, given: Any) -> None:
        self.left, self.cell, which, self.first, self.bias, self.place, self.kept, same = given[2:]
        super().__init__(context, builder, signature.args[9].types[0].dtype)
        self.begin, self.end, self.vector_number, self.are_whole = self.unpacked(
            signature.args[4], which
        )
        of_all = self.unpacked(signature.args[9], same)
        self.cells, self.table, self.weight, self.step, self.biases = of_all[:5]
        self.result, self.size, self.stores, self.ends, self.held, self.terms = of_all[5:]

    def write(self, shape: Tile) -> Any:
        """Write the code: that of the whole tile, and of each that has fewer vectors."""
        builder = self.builder
        every = [builder.append_basic_block(f"vectors{n}") for n in range(1, 1 + shape.vectors)]
        choice, after = builder.switch(self.left, every[-1]), builder.append_basic_block("after")
        for vectors, block in enumerate(every, 1):
            choice.add_case(number(vectors), block)
            builder.position_at_end(block)
            self.write_tile(shape._replace(vectors=vectors))
            builder.branch(after)
        builder.position_at_end(after)
        return self.nothing()

    def write_tile(self, shape: Tile) -> None:
        """Write the code of a tile: all products, and then all stores."""
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

    def write_out(self, shape: Tile, totals: list[list[Any]]) -> None:
        """Store the lanes of each vector where they belong."""
        every_row = [self.builder.mul(self.size, number(n)) for n in range(shape.outputs)]
        with self.builder.if_else(self.are_whole) as (then, otherwise):
            with then:
                self.write_lines(every_row, totals)
            with otherwise:
                self.write_lanes(every_row, totals)

    def write_lines(self, rows: list[Any], totals: list[list[Any]]) -> None:
        """Store whole vectors one behind the other, output by output."""
        first = self.builder.mul(self.load(self.ends, self.vector_number), number(3))
        place = self.load(self.stores, first)
        for line, row in zip(totals, rows, strict=True):
            start = self.at(self.result, self.place, place, row)
            for v, total in enumerate(line):
                self.store_vector(total, start, number(v * self.lanes))

    def write_lanes(self, rows: list[Any], totals: list[list[Any]]) -> None:
        """Store the lanes of each vector where `stores` says."""
        for v in range(len(totals[0])):
            each = self.builder.add(self.vector_number, number(v))
            start, stop = self.load(self.ends, each), self.load(self.ends, each, number(1))
            with cgutils.for_range_slice(self.builder, start, stop, number(1)) as (store, _):
                entry = self.builder.mul(store, number(3))
                place, low, high = (self.load(self.stores, entry, number(n)) for n in range(3))
                starts = [self.at(self.result, self.place, place, row) for row in rows]
                stores = [(line[v], start) for line, start in zip(totals, starts, strict=True)]
                self.store_between(stores, low, high)

    def sums(self, shape: Tile) -> list[list[Any]]:
        """Return the vectors of sums of products for each output."""
        builder, lanes = self.builder, self.lanes
        vector, each_output, each_vector = self.vector, range(shape.outputs), range(shape.vectors)
        rows = [builder.mul(self.step, number(n)) for n in each_output]
        is_first = builder.icmp_signed("==", self.begin, number(0))
        biases = [self.load(self.biases, self.bias, number(n)) for n in each_output]
        biases = [builder.select(is_first, each, ir.Constant(each.type, 0.0)) for each in biases]
        begun = [self.spread(each, vector) for each in biases]
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
        for totals, sums, start in zip(made, held, begun, strict=True):
            for total, value in zip(totals, sums, strict=True):
                value.add_incoming(start, before)
                value.add_incoming(total, loop)
        builder.cbranch(builder.icmp_signed("<", following, self.end), loop, after)
        builder.position_at_end(after)
        return made
