"""Sums over positions in the processor's vectors, as code for numba's compiler: see `vectors`.

A vector of an output's cotangents serves several terms of the weight, and a vector of cells several
outputs; lanes are added up at the end.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from arrayconv.backends.numpy.registers import REGISTERS
from arrayconv.backends.numpy.vectors import Vectors, number


def terms_of(outputs: int) -> int:
    """Return for how many terms, with so many outputs, sums are held in registers at a time."""
    return (24 if REGISTERS == 32 else 12) // max(outputs, 1)


@intrinsic(prefer_literal=True)
def add_inner_products(
    context: Any,
    outputs: Any,
    terms: Any,
    row: Any,
    cell: Any,
    begin: Any,
    vectors: Any,
    place: Any,
    same: Any,
) -> Any:
    """Add inner products of rows and cells to ``outputs`` by ``terms`` results.

    ``same`` is (rows, next_row, cells, offsets, result, next_result). To ``result[place +
    next_result * i + j]`` the sum of ``rows[row + next_row * i + p] * cells[cell + offsets[begin +
    j] + p]`` is added, over as many p as ``vectors`` vectors have lanes, one vector at least.
    """
    if any(each.layout != "C" for each in same if isinstance(each, types.Array)):
        return None
    signature = types.void(outputs, terms, row, cell, begin, vectors, place, same)
    shape = outputs.literal_value, terms.literal_value
    return signature, lambda context, builder, signature, given: _add(
        Vectors(context, builder, same.types[0].dtype), signature, given, *shape
    )


def _add(code: Vectors, signature: Any, given: Any, outputs: int, terms: int) -> Any:
    builder, lanes = code.builder, number(code.lanes)
    _, _, row, cell, begin, vectors, place, _ = given
    rows, next_row, cells, offsets, result, next_result = code.unpacked(signature.args[7], given[7])
    of_rows = [code.at(rows, row, builder.mul(next_row, number(i))) for i in range(outputs)]
    of_cells = [code.at(cells, cell, code.load(offsets, begin, number(j))) for j in range(terms)]
    before = builder.block
    loop, after = (builder.append_basic_block(name) for name in ("products", "summed"))
    builder.branch(loop)
    builder.position_at_end(loop)
    count = builder.phi(number)
    count.add_incoming(number(0), before)
    held = [[builder.phi(code.vector) for _ in of_cells] for _ in of_rows]
    first = builder.mul(count, lanes)
    ys = [code.load_vector(pointer, first) for pointer in of_rows]
    xs = [code.load_vector(pointer, first) for pointer in of_cells]
    following = builder.add(count, number(1))
    count.add_incoming(following, loop)
    for y, sums in zip(ys, held, strict=True):
        for x, value in zip(xs, sums, strict=True):
            value.add_incoming(ir.Constant(code.vector, None), before)
            value.add_incoming(code.multiply_add(y, x, value), loop)
    totals = [[value.incomings[1][0] for value in sums] for sums in held]
    builder.cbranch(builder.icmp_signed("<", following, vectors), loop, after)
    builder.position_at_end(after)
    for i, sums in enumerate(totals):
        line = code.at(result, place, builder.mul(next_result, number(i)))
        for j in range(0, terms, code.lanes):
            total = code.totals(sums[j : j + code.lanes])
            target = builder.bitcast(code.at(line, number(j)), total.type.as_pointer())
            before = builder.load(target, align=1)
            builder.store(builder.fadd(before, total), target, align=1)
    return code.nothing()
