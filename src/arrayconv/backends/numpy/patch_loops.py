"""Columns of windows side by side, in vectors: import this by `compiler.loops` only.

What they see of a row of cells is a matrix (positions, taps), whose lines follow one another; in
the columns it is turned over. A square of it is held in registers at a time.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic

from arrayconv.backends.numpy.borrowed import borrowed
from arrayconv.backends.numpy.loop_forms import compiled
from arrayconv.backends.numpy.registers import VECTOR_BYTES
from arrayconv.backends.numpy.vectors import Vectors, number


@intrinsic
def turn_part(
    context: Any,
    source: Any,
    first: Any,
    step: Any,
    lines: Any,
    target: Any,
    place: Any,
    down: Any,
    length: Any,
) -> Any:
    """Write a matrix of numbers that is at one place to another, turned over.

    Its ``lines`` begin at ``source[first + step * k]``, its ``length`` columns go to
    ``target[place + down * j]`` and on; of both there is one at least, and as many as a vector has
    lanes at most. Nothing else is read or written.
    """
    if source.layout != "C" or target.layout != "C" or source.dtype != target.dtype:
        return None
    signature = types.void(source, first, step, lines, target, place, down, length)

    def write(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        code = Vectors(context, builder, signature.args[0].dtype)
        source, target = (
            context.make_array(signature.args[at])(context, builder, given[at]).data
            for at in (0, 4)
        )
        _, first, step, lines, _, place, down, length = given
        every, last = range(code.lanes), builder.sub(lines, number(1))
        places = []
        for each in every:
            # What there is no line for is the last one again, and goes nowhere.
            is_line = builder.icmp_signed("<", number(each), lines)
            line = builder.select(is_line, number(each), last)
            places.append(code.at(source, first, builder.mul(step, line)))
        seen = code.load_parts(places, length)
        for each, column in zip(every, code.in_turns(seen), strict=True):
            with builder.if_then(builder.icmp_signed("<", number(each), length), likely=True):
                to = code.at(target, place, builder.mul(down, number(each)))
                code.store_between([(column, to)], number(0), lines)
        return code.nothing()

    return signature, write


@compiled
def turn(
    cells: Any,
    columns: Any,
    to_columns: Any,
    begin: Any,
    end: Any,
    shape: Any,
    ranges: Any,
    strides: Any,
) -> None:
    """Copy what windows without padding see to columns, or columns to cells that one window sees.

    For all taps of the last axis, whose dilation is 1, and for those of the others from ``begin``
    to ``end``, numbered through all planes. The window is what `compiled_columns.geometry_of`
    returns.
    """
    cells, columns, ranges = borrowed((cells, columns, ranges))
    deep, tall, wide = shape[0], shape[1], shape[2]
    outs_z, outs_y, outs_x = shape[3], shape[4], shape[5]
    depth, height, width = shape[6], shape[7], shape[8]
    places, lanes = outs_z * outs_y * outs_x, VECTOR_BYTES // cells.itemsize
    lines, length = min(lanes, outs_x), min(lanes, wide)
    for taps in range(begin, end):
        n, tap_z, tap_y = taps // (deep * tall), taps // tall % deep, taps % tall
        for row in range(outs_z * outs_y):
            z = ranges[0, tap_z, 2] + row // outs_y * strides[0]
            y = ranges[1, tap_y, 2] + row % outs_y * strides[1]
            first = ((n * depth + z) * height + y) * width + ranges[2, 0, 2]
            for some in range(0, outs_x, lanes):
                # The last square may overlap the one before.
                position = min(some, outs_x - lines)
                for tap in range(0, wide, lanes):
                    tap_x = min(tap, wide - length)
                    cell = first + position * strides[2] + tap_x
                    column = (taps * wide + tap_x) * places + row * outs_x + position
                    if to_columns:
                        turn_part(cells, cell, strides[2], lines, columns, column, places, length)
                    else:
                        turn_part(columns, column, places, length, cells, cell, strides[2], lines)
