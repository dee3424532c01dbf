"""Products of vectors with constant matrices, as code for numba's compiler: see `vectors`."""

from __future__ import annotations

from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from arrayconv.backends.numpy.vectors import Vectors, number


def transform(matrix: Any, mixed: bool = False) -> Any:
    """Return a function for compiled code that multiplies vectors by a constant matrix.

    ``call(source, places, first, target, place, step)``: vector ``j`` of the factor is at
    ``source[first + places[j]]``, and vector ``i`` of the product goes to ``target[place + step *
    i]``, whole. With ``mixed`` the product's vectors, 2 or 4, take turns with their lanes from
    ``target[place]`` on, and no more than ``step`` numbers are written.
    """
    rows = [[float(factor) for factor in row] for row in matrix]

    @intrinsic
    def call(
        context: Any, source: Any, places: Any, first: Any, target: Any, place: Any, step: Any
    ) -> Any:
        if any(array.layout != "C" for array in (source, places, target)):
            return None
        signature = types.void(source, places, first, target, place, step)
        return signature, partial(_transform, rows=rows, mixed=mixed)

    return call


def _transform(
    context: Any, builder: Any, signature: Any, given: Any, rows: Any, mixed: bool
) -> Any:
    code = Vectors(context, builder, signature.args[0].dtype)
    source, places, target = (
        context.make_array(signature.args[place])(context, builder, given[place]).data
        for place in (0, 1, 3)
    )
    _, _, first, _, place, step = given
    seen = [
        code.load_vector(source, first, code.load(places, number(j))) for j in range(len(rows[0]))
    ]
    made = []
    for row in rows:
        total = None
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
