"""PyTorch's own pools, where they mean the same; autograd follows through them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from arrayconv._arrays import library_of
from arrayconv._integers import Ints
from arrayconv._registry import Implementation
from arrayconv._window import (
    Axis,
    Table,
    Windows,
    adaptive_window,
    input_sizes,
    kernel_sizes,
    output_sizes,
    sliding_window,
    window_lengths,
)
from arrayconv.primitives.pooling import Divisor, cells_of, divide

_MAX_POOL: dict[int, Any] = {1: torch.max_pool1d, 2: torch.max_pool2d, 3: torch.max_pool3d}
"""What torch's functional ones call, when they have seen that no indices are wanted."""
_MAX_POOL_INDICES: dict[int, Any] = {
    1: F.max_pool1d_with_indices,
    2: F.max_pool2d_with_indices,
    3: F.max_pool3d_with_indices,
}
_AVG_POOL: dict[int, Any] = {2: F.avg_pool2d, 3: F.avg_pool3d}


class PoolArguments(NamedTuple):
    """How torch's pools are told of a window; their own order but for the dilation."""

    kernel: Ints
    stride: Ints
    padding: Ints
    ceil_mode: bool
    dilation: Ints


@lru_cache(maxsize=1024)
def _pool_arguments(window: Windows) -> PoolArguments | None:
    """Return what tells torch's pools of this very window, or None where they have no such one."""
    if any(
        isinstance(axis, Table) or axis.before < 0 or 2 * axis.before > axis.kernel
        for axis in window
    ):
        return None
    axes = [axis for axis in window if isinstance(axis, Axis)]
    wanted = output_sizes(window)
    for ceil_mode in (False, True):
        counts = tuple(
            sliding_window(
                (axis.size,),
                (axis.kernel,),
                (axis.stride,),
                ((axis.before, axis.before),),
                (axis.dilation,),
                ceil_mode,
            )[0].out
            for axis in axes
        )
        if counts == wanted:
            return PoolArguments(
                kernel_sizes(window),
                tuple(axis.stride for axis in axes),
                tuple(axis.before for axis in axes),
                ceil_mode,
                tuple(axis.dilation for axis in axes),
            )
    return None


_NO_SUCH_POOL = (
    "torch pools windows with the same padding on both sides, of at most half the kernel"
)


@lru_cache(maxsize=1024)
def _max_window_unfit(window: Windows) -> str | None:
    if len(window) not in _MAX_POOL:
        return f"torch pools in 1, 2 and 3 spatial dimensions, not {len(window)}"
    how = _pool_arguments(window)
    if how is None:
        return _NO_SUCH_POOL
    if any(p and d > 1 for p, d in zip(how.padding, how.dilation, strict=True)):
        return "torch has no index for a window that sees padding only"
    return None


def _max_pool_unfit(x: Any, window: Windows) -> str | None:
    if not x.dtype.is_floating_point:
        return f"torch's pools of {x.dtype} differ by dimension"
    if x.shape[0] == 0:
        return "torch refuses some pools of no images"
    return _max_window_unfit(window)


def _arguments(window: Windows) -> PoolArguments:
    """Return torch's arguments for a window that was found fit."""
    how = _pool_arguments(window)
    assert how is not None
    return how


def max_pool(x: Any, window: Windows) -> Any:
    """Return torch's maxima."""
    kernel, stride, padding, ceil_mode, dilation = _arguments(window)
    return _MAX_POOL[len(window)](x, kernel, stride, padding, dilation, ceil_mode)


def max_pool_indices(x: Any, window: Windows) -> Any:
    """Return torch's maxima and their indices."""
    kernel, stride, padding, ceil_mode, dilation = _arguments(window)
    return _MAX_POOL_INDICES[len(window)](x, kernel, stride, padding, dilation, ceil_mode)


@lru_cache(maxsize=1024)
def _sum_window_unfit(window: Windows) -> str | None:
    if len(window) not in _AVG_POOL:
        return f"torch has sums of windows in 2 and 3 dimensions, not {len(window)}"
    how = _pool_arguments(window)
    if how is None:
        return _NO_SUCH_POOL
    return "torch has no dilated average" if max(how.dilation) > 1 else None


def _sum_pool_unfit(x: Any, window: Windows, divisor: Divisor = 1) -> str | None:
    if not x.dtype.is_floating_point:
        return f"torch has sums of floating windows, not of {x.dtype}"
    if x.shape[0] == 0:
        return "torch refuses some pools of no images"
    return _sum_window_unfit(window)


def sum_pool(x: Any, window: Windows, divisor: Divisor = 1) -> Any:
    """Return torch's averages by a divisor, half types in float32."""
    if isinstance(divisor, tuple):
        return divide(sum_pool(x, window), divisor)
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    kernel, stride, padding, ceil_mode, _ = _arguments(window)
    return _AVG_POOL[len(window)](wide, kernel, stride, padding, ceil_mode, True, divisor)


_ADAPTIVE_MAX: dict[int, Any] = {
    1: F.adaptive_max_pool1d,
    2: F.adaptive_max_pool2d,
    3: F.adaptive_max_pool3d,
}
_ADAPTIVE_AVG: dict[int, Any] = {
    1: F.adaptive_avg_pool1d,
    2: F.adaptive_avg_pool2d,
    3: F.adaptive_avg_pool3d,
}


@lru_cache(maxsize=1024)
def _parts_unfit(window: Windows) -> str | None:
    if len(window) not in _ADAPTIVE_MAX:
        return f"torch pools in 1, 2 and 3 spatial dimensions, not {len(window)}"
    if window != adaptive_window(input_sizes(window), output_sizes(window)):
        return "torch's adaptive pools divide all dimensions into parts"
    return None


def _adaptive_unfit(x: Any, window: Windows, divisor: Divisor = 1) -> str | None:
    if not x.dtype.is_floating_point:
        return f"torch's pools of {x.dtype} differ by dimension"
    if x.shape[0] == 0:
        return "torch refuses some pools of no images"
    return _parts_unfit(window)


def adaptive_max_pool(x: Any, window: Windows) -> Any:
    """Return torch's maxima of parts."""
    return _ADAPTIVE_MAX[len(window)](x, output_sizes(window))


def adaptive_max_pool_indices(x: Any, window: Windows) -> Any:
    """Return torch's maxima of parts and their indices."""
    return _ADAPTIVE_MAX[len(window)](x, output_sizes(window), return_indices=True)


def adaptive_sum_pool(x: Any, window: Windows, divisor: Divisor = 1) -> Any:
    """Return torch's averages of parts, times their cells if not over these; halves in float32."""
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    averages = _ADAPTIVE_AVG[len(window)](wide, output_sizes(window))
    lengths = tuple(window_lengths(axis, padded=False) for axis in window)
    if divisor == lengths:
        return averages
    return divide(averages * cells_of(library_of("input", wide), wide, lengths), divisor)


implementations = {
    "max_pool": (
        Implementation("native", max_pool, _max_pool_unfit),
        Implementation("adaptive", adaptive_max_pool, _adaptive_unfit),
    ),
    "max_pool_indices": (
        Implementation("native", max_pool_indices, _max_pool_unfit),
        Implementation("adaptive", adaptive_max_pool_indices, _adaptive_unfit),
    ),
    "sum_pool": (
        Implementation("native", sum_pool, _sum_pool_unfit),
        Implementation("adaptive", adaptive_sum_pool, _adaptive_unfit),
    ),
}
