"""Numbers of 16 bits made into float32, and back, in the processor's vectors: see `vectors`."""

from __future__ import annotations

from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from arrayconv.backends.numpy.vectors import Vectors


@intrinsic(prefer_literal=True)
def widen(
    context: Any, lanes: Any, bfloat16: Any, halves: Any, place: Any, wide: Any, to: Any
) -> Any:
    """Write ``lanes`` numbers, the bits of float16 or of bfloat16, as float32."""
    return _moved(lanes, bfloat16, (halves, place, wide, to), to_wide=True)


@intrinsic(prefer_literal=True)
def narrow(
    context: Any, lanes: Any, bfloat16: Any, wide: Any, place: Any, halves: Any, to: Any
) -> Any:
    """Write ``lanes`` numbers of float32 as the bits of the nearest float16 or bfloat16."""
    return _moved(lanes, bfloat16, (wide, place, halves, to), to_wide=False)


def _moved(lanes: Any, bfloat16: Any, given: tuple[Any, ...], to_wide: bool) -> Any:
    if any(each.layout != "C" for each in given if isinstance(each, types.Array)):
        return None
    signature = types.void(lanes, bfloat16, *given)
    made = _widened if to_wide else _narrowed
    return signature, partial(_move, made, lanes.literal_value, bool(bfloat16.literal_value))


def _move(
    made: Any, lanes: int, bfloat16: bool, context: Any, builder: Any, signature: Any, given: Any
) -> Any:
    code = Vectors(context, builder, types.float32)
    source, target = (
        context.make_array(signature.args[place])(context, builder, given[place]).data
        for place in (2, 4)
    )
    kind = ir.VectorType(source.type.pointee, lanes)
    pointer = builder.bitcast(code.at(source, given[3]), kind.as_pointer())
    value = made(builder, builder.load(pointer, align=1), lanes, bfloat16)
    pointer = builder.bitcast(code.at(target, given[5]), value.type.as_pointer())
    builder.store(value, pointer, align=1)
    return code.nothing()


def _vectors(lanes: int) -> tuple[Any, ...]:
    """Return vectors of whole numbers of 16 and of 32 bits, of float16 and of float32."""
    kinds = (ir.IntType(16), ir.IntType(32), ir.HalfType(), ir.FloatType())
    return tuple(ir.VectorType(kind, lanes) for kind in kinds)


def _widened(builder: Any, bits: Any, lanes: int, bfloat16: bool) -> Any:
    _, whole, half, wide = _vectors(lanes)
    if not bfloat16:
        return builder.fpext(builder.bitcast(bits, half), wide)
    # The upper half of a float32.
    shift = ir.Constant(whole, [16] * lanes)
    return builder.bitcast(builder.shl(builder.zext(bits, whole), shift), wide)


def _narrowed(builder: Any, value: Any, lanes: int, bfloat16: bool) -> Any:
    bits, whole, half, _ = _vectors(lanes)
    if not bfloat16:
        return builder.bitcast(builder.fptrunc(value, half), bits)

    def every(number: int) -> Any:
        return ir.Constant(whole, [number] * lanes)

    # Half of a last place is added, less a little where the last place is even: ties go there.
    given = builder.bitcast(value, whole)
    upper = builder.lshr(given, every(16))
    odd = builder.and_(upper, every(1))
    near = builder.lshr(builder.add(given, builder.add(odd, every(0x7FFF))), every(16))
    # What is added must not make NaN into something else.
    is_nan = builder.fcmp_unordered("uno", value, value)
    return builder.trunc(builder.select(is_nan, builder.or_(upper, every(0x40)), near), bits)
