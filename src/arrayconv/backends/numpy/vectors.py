"""Sums of products in the processor's vectors, as code for numba's compiler: import by need only.

What numba makes of a loop keeps its sums in memory. Here the innermost loop is written in LLVM's
terms, with as many vectors of sums as the processor has registers for: each vector of cells that
is loaded serves several outputs, and each weight several vectors. That is how a fast product of
matrices works (K. Goto, R. van de Geijn, "Anatomy of High-Performance Matrix Multiplication",
2008); but the rows of the second matrix are found by a table, so that nobody needs to lay it out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_features = binding.get_host_cpu_features()
_WIDE = bool(_features.get("avx512f"))
VECTOR_BYTES = 64 if _WIDE else 32 if _features.get("avx") else 16
_REGISTERS = 32 if _WIDE or _features.get("neon") else 16


class Tile(NamedTuple):
    """Sums that are held in registers at a time."""

    outputs: int
    vectors: int


def tile(outputs: int) -> Tile:
    """Return the tile for ``outputs`` outputs, of which it may take a part at a time."""
    most = 8 if _REGISTERS == 32 else 4
    if outputs >= most - 1:
        return Tile(min(outputs, most), 3)
    return Tile(outputs, 4 if outputs > 1 else most)


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def sum_products(
    context: Any,
    cells: Any,
    cell: Any,
    table: Any,
    begin: Any,
    end: Any,
    weight: Any,
    first: Any,
    step: Any,
    sums: Any,
    place: Any,
    row: Any,
    outputs: Any,
    vectors: Any,
) -> Any:
    """Write sums of products to ``outputs`` rows of ``vectors`` vectors.

    ``sums[place + row * i + j]`` becomes the sum of ``weight[first + step * i + number] *
    cells[cell + offset + j]`` over the rows (offset, number) of ``table`` from ``begin``, one at
    least, to ``end``; where ``begin`` is not 0 it is added to what is there. All arrays are
    contiguous; cells may be read, and sums written, up to the end of a vector.
    """
    if any(array.layout != "C" for array in (cells, table, weight, sums)):
        return None
    signature = types.void(
        *(cells, cell, table, begin, end, weight, first, step, sums, place, row, outputs, vectors)
    )
    shape = Tile(outputs.literal_value, vectors.literal_value)
    return signature, lambda *given: _sum_products(*given, shape)


def _sum_products(context: Any, builder: Any, signature: Any, given: Any, shape: Tile) -> Any:
    number = ir.IntType(64)
    element = context.get_data_type(signature.args[0].dtype)
    lanes = VECTOR_BYTES * 8 // signature.args[0].dtype.bitwidth
    vector = ir.VectorType(element, lanes)
    # Fused where the processor can.
    multiply_add = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(vector, [vector] * 3),
        f"llvm.fmuladd.v{lanes}f{signature.args[0].dtype.bitwidth}",
    )

    def data(place: int) -> Any:
        return context.make_array(signature.args[place])(context, builder, given[place]).data

    def at(pointer: Any, *terms: Any) -> Any:
        place = terms[0]
        for term in terms[1:]:
            place = builder.add(place, term)
        return builder.gep(pointer, [place])

    def several(pointer: Any) -> Any:
        return builder.bitcast(pointer, vector.as_pointer())

    cells, table, weight, sums = (data(place) for place in (0, 2, 5, 8))
    cell, begin, end, first, step, target, row = (given[place] for place in (1, 3, 4, 6, 7, 9, 10))
    each_output, each_vector = range(shape.outputs), range(shape.vectors)
    before = builder.block
    names = ("products", "summed", "more", "done")
    loop, summed, more, done = (builder.append_basic_block(name) for name in names)
    rows = [builder.mul(step, number(output)) for output in each_output]
    builder.branch(loop)

    builder.position_at_end(loop)
    term = builder.phi(number)
    term.add_incoming(begin, before)
    held = [[builder.phi(vector) for _ in each_vector] for _ in each_output]
    entry = builder.mul(term, number(2))
    offset = builder.load(at(table, entry))
    factor = builder.load(at(table, entry, number(1)))
    start = at(cells, cell, offset)
    seen = [builder.load(several(at(start, number(v * lanes))), align=1) for v in each_vector]
    made = []
    for output in each_output:
        value = builder.load(at(weight, first, factor, rows[output]))
        spread = _spread(builder, value, vector)
        made.append(
            [builder.call(multiply_add, [spread, seen[v], held[output][v]]) for v in each_vector]
        )
    following = builder.add(term, number(1))
    term.add_incoming(following, loop)
    for output in each_output:
        for v in each_vector:
            held[output][v].add_incoming(ir.Constant(vector, None), before)
            held[output][v].add_incoming(made[output][v], loop)
    builder.cbranch(builder.icmp_signed("<", following, end), loop, summed)

    builder.position_at_end(summed)
    places = [
        several(at(sums, target, builder.mul(row, number(output)), number(v * lanes)))
        for output in each_output
        for v in each_vector
    ]
    totals = [value for line in made for value in line]
    builder.cbranch(builder.icmp_signed("==", begin, number(0)), done, more)
    builder.position_at_end(more)
    added = [
        builder.fadd(builder.load(place, align=1), value)
        for place, value in zip(places, totals, strict=True)
    ]
    builder.branch(done)
    builder.position_at_end(done)
    stored = [builder.phi(vector) for _ in places]
    for place, total, alone, together in zip(places, stored, totals, added, strict=True):
        total.add_incoming(alone, summed)
        total.add_incoming(together, more)
        builder.store(total, place, align=1)
    return context.get_dummy_value()


def _spread(builder: Any, value: Any, vector: Any) -> Any:
    """Return a vector of one value."""
    nothing = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(nothing, value, ir.IntType(32)(0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(one, nothing, lanes)
