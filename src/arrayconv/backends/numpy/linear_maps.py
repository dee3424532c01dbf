"""Products of vectors with constant matrices, as code for numba's compiler: see `vectors`."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from arrayconv.backends.numpy.loop_forms import inlined
from arrayconv.backends.numpy.vectors import Vectors, number
from arrayconv.backends.numpy.winograd_maps import Line, lines

CELLS, OUTPUTS, IN_TURNS, WEIGHT, COTANGENTS, TAPS = range(6)
"""Which map of a line."""


@inlined
def multiples(count: Any, step: Any) -> Any:
    """Return 0, ``step`` and so on: numpy.arange takes a third of a second to compile."""
    found = np.empty(count, np.int64)
    for n in range(count):
        found[n] = n * step
    return found


@intrinsic(prefer_literal=True)
def transform(
    context: Any,
    which: Any,
    outputs: Any,
    kernel: Any,
    source: Any,
    places: Any,
    first: Any,
    start: Any,
    target: Any,
    place: Any,
    step: Any,
) -> Any:
    """Multiply vectors by one of the maps of `winograd_maps.lines`, and add ``start``, if not None.

    ``which`` is `CELLS`, `OUTPUTS`, `IN_TURNS`, `WEIGHT` or, from outputs to points, `COTANGENTS`,
    or from points to the taps of a weight, `TAPS`.
    Vector ``j`` of the factor is at ``source[first + places[j]]``, and vector ``i`` of the product
    goes to ``target[place + step * i]``, whole. Of `IN_TURNS`, those of outputs, the product's
    vectors, a power of 2 of them, take turns with their lanes from ``target[place]`` on, and no
    more than ``step`` numbers are written.
    """
    if any(array.layout != "C" for array in (source, places, target)):
        return None
    given = (which, outputs, kernel, source, places, first, start, target, place, step)
    map_of, *line = (each.literal_value for each in given[:3])
    maps = lines(Line(*line))
    every = (maps.cells, maps.outputs, maps.outputs, maps.weight, maps.outputs.T, maps.weight.T)
    matrix = every[map_of]
    rows = [[float(factor) for factor in row] for row in matrix]
    mixed = map_of == IN_TURNS
    return types.void(*given), partial(_transform, rows=rows, mixed=mixed)


def _transform(
    context: Any, builder: Any, signature: Any, given: Any, rows: Any, mixed: bool
) -> Any:
    code = Vectors(context, builder, signature.args[3].dtype)
    source, places, target = (
        context.make_array(signature.args[place])(context, builder, given[place]).data
        for place in (3, 4, 7)
    )
    first, place, step = given[5], given[8], given[9]
    start = None if signature.args[6] == types.none else code.spread(given[6], code.vector)
    seen = [
        code.load_vector(source, first, code.load(places, number(j))) for j in range(len(rows[0]))
    ]
    made = []
    for row in rows:
        total = start
        for factor, vector in zip(row, seen, strict=True):
            if factor == 0:
                continue
            constant = ir.Constant(code.vector, [factor] * code.lanes)
            if total is None:
                total = vector if factor == 1 else builder.fmul(constant, vector)
            else:
                total = code.multiply_add(constant, vector, total)
        made.append(total)
    if mixed:
        for i, vector in enumerate(code.in_turns(made)):
            left = builder.sub(step, number(i * code.lanes))
            pointer = code.at(target, place, number(i * code.lanes))
            code.store_between([(vector, pointer)], number(0), left)
        return code.nothing()
    for i, vector in enumerate(made):
        code.store_vector(vector, target, place, builder.mul(step, number(i)))
    return code.nothing()
