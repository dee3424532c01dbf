"""Numbers of float16 and bfloat16 as float32, and back: some rows of some images at a time.

NumPy converts numbers of 16 bits one by one. Where numba is installed, and the processor has an
instruction for it, vectors of them are converted.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from arrayconv._arrays import library_of
from arrayconv.backends.numpy.compiler import lanes_of, loops, missing
from arrayconv.backends.numpy.costs import converted_by_numpy
from arrayconv.backends.numpy.row_parts import planes_of, shape_of
from arrayconv.backends.numpy.threads import run_range

WIDE, BITS = np.dtype(np.float32), np.dtype(np.uint16)
PART = 1 << 15
"""Numbers that a thread converts at a time, about."""


def unfit(dtype: Any) -> str | None:
    """Return why numbers are none of 16 bits."""
    if not library_of("input", np.empty(0)).dtype(dtype).half or not dtype.isnative:
        return f"it is for float16 and bfloat16 of this machine's byte order, not for {dtype}"
    return None


@cache
def no_instruction(kind: str) -> str | None:
    """Return why float16, of the kind "f", cannot be made into float32; bfloat16 is a shift."""
    if kind == "f" and not loops("registers").CONVERTS_HALVES:
        return "this processor has no instruction that makes float16 into float32"
    return None


def _is_compiled(dtype: Any) -> bool:
    return missing() is None and no_instruction(dtype.kind) is None


def nanoseconds(dtype: Any) -> float:
    """Return the nanoseconds that a number takes to be converted."""
    return 0.15 if _is_compiled(dtype) else converted_by_numpy(dtype)


def widened(x: Any, images: slice, rows: slice) -> Any:
    """Return some rows, of the first spatial dimension, of (N, C, *sizes) as float32."""
    if not _is_compiled(x.dtype):
        return x[images, :, rows].astype(WIDE)
    number, *where = planes_of(x, images, rows)
    wide = np.empty(shape_of(x, images, rows), WIDE)
    loop = loops("half_copies").widen_planes(x.dtype.kind != "f", lanes_of(WIDE))
    arrays = (x.reshape(-1).view(BITS), wide.reshape(-1))
    run_range(loop, arrays, number, tuple(where), each=-(-PART // max(1, where[2])))
    return wide


def narrow(wide: Any, y: Any, images: slice, rows: slice) -> None:
    """Write rows of float32 into those of (N, C, *sizes), which is contiguous."""
    if not _is_compiled(y.dtype):
        # As the compiled loops: what is too large is inf, and NaN is NaN.
        with np.errstate(over="ignore", invalid="ignore"):
            y[images, :, rows] = wide
        return
    number, *where = planes_of(y, images, rows)
    loop = loops("half_copies").narrow_planes(y.dtype.kind != "f", lanes_of(WIDE))
    arrays = (np.ascontiguousarray(wide).reshape(-1), y.reshape(-1).view(BITS))
    run_range(loop, arrays, number, tuple(where), each=-(-PART // max(1, where[2])))


def of_weight(w: Any) -> Any:
    """Return a weight (O, C, *kernel), which is contiguous, as float32."""
    return widened(w[None], slice(0, 1), slice(0, w.shape[1]))[0]


def to_weight(wide: Any, w: Any) -> None:
    """Write a weight of float32 into one of 16 bits."""
    narrow(wide[None], w[None], slice(0, 1), slice(0, w.shape[1]))
