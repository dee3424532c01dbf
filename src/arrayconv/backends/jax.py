"""JAX's own convolution where it means the same, and compiled generic bodies for the rest.

Eager JAX compiles and launches each operation of a generic body by itself; under `jax.jit` a body
is one program.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from arrayconv import primitives
from arrayconv._registry import Implementation
from arrayconv._window import Axis, Window, kernel_sizes, needed_after

# A float32 product in float32 on every device, as on a CPU.
_PRECISION = lax.Precision.HIGHEST


def _unfit(a: Any, b: Any, window: Window, groups: int) -> str | None:
    if not jnp.issubdtype(a.dtype, jnp.inexact):
        return f"XLA convolves floating and complex arrays on every device, not {a.dtype}"
    if 0 in a.shape or 0 in b.shape:
        return f"XLA has no convolution of empty arrays, got {a.shape} and {b.shape}"
    return None


def _convolve(a: Any, b: Any, **how: Any) -> Any:
    """Return lax's convolution, with half types summed in float32."""
    half = a.dtype in (jnp.float16, jnp.bfloat16)
    left, right = (a.astype(jnp.float32), b.astype(jnp.float32)) if half else (a, b)
    return lax.conv_general_dilated(left, right, precision=_PRECISION, **how).astype(a.dtype)


def _padding(window: Window) -> list[tuple[int, int]]:
    """Return what makes the windows fit exactly; a negative number crops."""
    return [(axis.before, needed_after(axis)) for axis in window]


def conv(x: Any, w: Any, window: Window, groups: int) -> Any:
    """Return y (N, O, *positions)."""
    return _convolve(
        x,
        w,
        window_strides=[axis.stride for axis in window],
        padding=_padding(window),
        rhs_dilation=[axis.dilation for axis in window],
        feature_group_count=groups,
    )


def _spread_padding(axis: Axis) -> tuple[int, int]:
    """Return the padding by which a stride-1 convolution of spread-out positions has ``size``."""
    reach = axis.dilation * (axis.kernel - 1)
    before = reach - axis.before
    return before, axis.size - 1 - (axis.out - 1) * axis.stride - before + reach


def conv_transpose(y: Any, w: Any, window: Window, groups: int) -> Any:
    """Return x (N, C, *sizes): a convolution of positions spread by the stride, kernel flipped."""
    outputs, per_group = w.shape[:2]
    kernel = kernel_sizes(window)
    by_group = w.reshape(groups, outputs // groups, per_group, *kernel).swapaxes(1, 2)
    flipped = jnp.flip(by_group, tuple(range(3, by_group.ndim)))
    return _convolve(
        y,
        flipped.reshape(groups * per_group, outputs // groups, *kernel),
        window_strides=[1] * len(window),
        padding=[_spread_padding(axis) for axis in window],
        lhs_dilation=[axis.stride for axis in window],
        rhs_dilation=[axis.dilation for axis in window],
        feature_group_count=groups,
    )


def conv_weight(x: Any, y: Any, window: Window, groups: int) -> Any:
    """Return w (O, C / groups, *kernel): ``x`` convolved by ``y``, summed over the batch."""
    weight = _convolve(
        x.swapaxes(0, 1),
        y.swapaxes(0, 1),
        window_strides=[axis.dilation for axis in window],
        padding=_padding(window),
        rhs_dilation=[axis.stride for axis in window],
        batch_group_count=groups,
    )
    return weight.swapaxes(0, 1)


def _compiled(primitive: Any, *static: int) -> Implementation:
    return Implementation("jit", jax.jit(primitive.generic.run, static_argnums=static))


implementations = {
    "unfold": (_compiled(primitives.unfold, 1),),
    "fold": (_compiled(primitives.fold, 1),),
    "max_pool": (_compiled(primitives.max_pool, 1),),
    "max_pool_indices": (_compiled(primitives.max_pool_indices, 1),),
    "max_pool_grad": (_compiled(primitives.max_pool_grad, 2),),
    "sum_pool": (_compiled(primitives.sum_pool, 1, 2),),
    "spread": (_compiled(primitives.spread, 1, 2),),
    "gather": (_compiled(primitives.gather),),
    "place": (_compiled(primitives.place, 2),),
    "scatter_add": (_compiled(primitives.scatter_add, 2),),
    "pad": (_compiled(primitives.pad, 1, 2, 3),),
    "pad_adjoint": (_compiled(primitives.pad_adjoint, 1, 2),),
    "conv": (
        Implementation("native", jax.jit(conv, static_argnums=(2, 3)), _unfit),
        _compiled(primitives.conv, 2, 3),
    ),
    "conv_transpose": (
        Implementation("native", jax.jit(conv_transpose, static_argnums=(2, 3)), _unfit),
        _compiled(primitives.conv_transpose, 2, 3),
    ),
    "conv_weight": (
        Implementation("native", jax.jit(conv_weight, static_argnums=(2, 3)), _unfit),
        _compiled(primitives.conv_weight, 2, 3),
    ),
}
