"""In which order an array lies in memory, and copies from one order to the other.

NumPy's own copies of transposed arrays go element by element.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from arrayconv._integers import Ints
from arrayconv.backends.numpy.compiler import loops, missing
from arrayconv.backends.numpy.threads import run_range

SMALL = 1 << 15
"""Bytes up to which NumPy's own copy is done before a compiled loop begins."""
FEW_CHANNELS = 8
"""Channels below which that is as fast, however large the array."""
LINE = 64
"""Bytes of a line of the cache: of each channel that much is copied before the next channels, and
that much of a cell's channels a thread should have by itself."""
CHUNK = 1 << 19
"""Bytes that are copied at a time."""


def whole_lines(count: int, dtype: Any) -> Any:
    """Return an empty flat array that begins with a line of the cache.

    So do then the vectors that are written one after the other: else each is written to two lines,
    and where many places are written by turns that takes up to twice as long.
    """
    size = count * np.dtype(dtype).itemsize
    room = np.empty(size + LINE, np.uint8)
    start = -room.ctypes.data % LINE
    return room[start : start + size].view(dtype)


def is_channels_last(x: Any) -> bool:
    """Whether the channels of a cell are next to one another in memory, and not its neighbours."""
    return bool(x.shape[1] > 1 and x.strides[1] == x.itemsize and not x.flags.c_contiguous)


def flattened(x: Any) -> Any:
    """Return the numbers (N, *sizes, C) as they lie in memory; only rows that do not are copied."""
    return np.ascontiguousarray(x.transpose(0, *range(2, x.ndim), 1)).reshape(-1)


def unflattened(flat: Any, batch: int, sizes: Ints, channels: int) -> Any:
    """Return an array (N, C, *sizes) of numbers (N, *sizes, C)."""
    last = 1 + len(sizes)
    return flat.reshape(batch, *sizes, channels).transpose(0, last, *range(1, last))


def turns_fast(x: Any) -> bool:
    """Whether `channels_first` copies by vectors, several times as fast as NumPy does."""
    return bool(
        x.nbytes >= SMALL
        and x.dtype in (np.float32, np.float64)
        and is_channels_last(x)
        and x.shape[1] >= FEW_CHANNELS
        and missing() is None
    )


def channels_first(x: Any) -> Any:
    """Return an array (N, C, *sizes) that lies so in memory: the same one, or a copy."""
    if x.flags.c_contiguous:
        return x
    if not turns_fast(x):
        return np.ascontiguousarray(x)
    made = np.empty(x.shape, x.dtype)
    _turn_over(flattened(x), made.reshape(-1), False, x)
    return made


def channels_last(x: Any) -> Any:
    """Return an array (N, C, *sizes) whose channels are next to one another in memory: a copy."""
    return unflattened(turned(x), x.shape[0], x.shape[2:], x.shape[1])


def turned(x: Any) -> Any:
    """Return the numbers (N, *sizes, C) of an array (N, C, *sizes): a flat copy."""
    made = np.empty(x.size, x.dtype)
    _turn_over(np.ascontiguousarray(x).reshape(-1), made, True, x)
    return made


def _turn_over(source: Any, target: Any, to_last: bool, x: Any) -> None:
    """Copy images of the shape of ``x`` from one order to the other."""
    (batch, channels), cells = x.shape[:2], prod(x.shape[2:])
    if x.size == 0:
        return
    # Whole lines of the cache.
    some = -(-CHUNK // (channels * LINE)) * LINE // x.itemsize
    turn_planes = loops("order_loops").turn_planes
    run_range(
        *(turn_planes, (source, target, to_last), batch * cells, (cells, channels)), each=some
    )
