"""Depthwise sums in the processor's vectors, as code for numba's compiler: see `vectors`.

One output sees one channel, so a vector of cells cannot serve several outputs; but it serves the
rows of one output whose windows it lies in.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import types
from numba.extending import intrinsic

from arrayconv.backends.numpy.registers import REGISTERS
from arrayconv.backends.numpy.vectors import Vectors, number

MOST = 1024
"""Products of vectors, written out, up to which code is small enough."""


class Rows(NamedTuple):
    """What is written out in code: a kernel, and for how many rows of outputs at a time."""

    tall: int
    wide: int
    stride: int
    """From row to row."""
    rows: int


def rows_of(tall: int, wide: int, stride: int, height: int) -> Rows | None:
    """Return what to write out for a kernel and ``height`` rows; None where that is too much."""
    rows = min(height, 8 if REGISTERS == 32 else 4)
    return None if tall * wide * rows > MOST else Rows(tall, wide, stride, rows)


@intrinsic(prefer_literal=True)
def sum_rows(
    context: Any,
    tall: Any,
    wide: Any,
    stride: Any,
    rows: Any,
    cell: Any,
    first: Any,
    place: Any,
    left: Any,
    same: Any,
) -> Any:
    """Write sums of products for one vector of each of ``rows`` rows of a depthwise output.

    ``same`` is (cells, table, weight, result, line, down). Lane j of row r sums over taps t the
    products ``weight[first + number] * cells[cell + offset + line * r + j]``, where (offset,
    number) is row t of ``table``; taps of one column of the kernel that are ``stride`` rows apart
    have offsets ``line`` apart. It goes to ``result[place + down * r + j]`` for j less than
    ``left``. All arrays are contiguous; cells may be read up to the end of a vector.
    """
    if any(each.layout != "C" for each in same if isinstance(each, types.Array)):
        return None
    signature = types.void(tall, wide, stride, rows, cell, first, place, left, same)
    shape = Rows(*(each.literal_value for each in (tall, wide, stride, rows)))

    def write(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return _write(Vectors(context, builder, same.types[0].dtype), signature, given, shape)

    return signature, write


def _write(code: Vectors, signature: Any, given: Any, shape: Rows) -> Any:
    builder = code.builder
    cell, first, place, left = given[4:8]
    cells, table, weight, result, line, down = code.unpacked(signature.args[8], given[8])
    sums: list[Any] = [None] * shape.rows
    for phase in range(min(shape.stride, shape.tall)):
        steps = range(phase, shape.tall, shape.stride)
        for column in range(shape.wide):
            entry = [number(2 * (tap * shape.wide + column)) for tap in steps]
            factors = [
                code.spread(
                    code.load(weight, first, code.load(table, each, number(1))), code.vector
                )
                for each in entry
            ]
            start = code.at(cells, cell, code.load(table, entry[0]))
            for row in range(len(factors) - 1 + shape.rows):
                seen = code.load_vector(start, builder.mul(line, number(row)))
                for step, factor in enumerate(factors):
                    output = row - step
                    if not 0 <= output < shape.rows:
                        continue
                    total = sums[output]
                    sums[output] = (
                        builder.fmul(factor, seen)
                        if total is None
                        else code.multiply_add(factor, seen, total)
                    )
    starts = [code.at(result, place, builder.mul(down, number(row))) for row in range(shape.rows)]
    code.store_between(list(zip(sums, starts, strict=True)), number(0), left)
    return code.nothing()
