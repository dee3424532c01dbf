"""NumPy's implementations: they work in blocks, so that no column matrix is ever whole."""

from arrayconv._registry import Implementation
from arrayconv.backends.numpy import (
    channels_last,
    columns,
    convolution,
    half_planes,
    half_pooling,
    padding,
    pooling,
    separable,
)
from arrayconv.backends.numpy import compiled_columns as folding
from arrayconv.backends.numpy import compiled_pooling as compiled
from arrayconv.backends.numpy.blas import Hold, one_thread
from arrayconv.backends.numpy.compiler import missing

implementations = {
    "unfold": (
        Implementation("numba", folding.unfold, folding.unfold_unfit, folding.unfold_slow),
        Implementation("strided", columns.unfold),
    ),
    "fold": (
        Implementation("numba", folding.fold, folding.unfit, folding.slow),
        Implementation("as_float32", half_planes.fold, half_planes.unfit),
        Implementation("strided", columns.fold),
    ),
    "conv": convolution.conv,
    "conv_transpose": convolution.conv_transpose,
    "conv_weight": convolution.conv_weight,
    "max_pool": (
        Implementation("channels_last", channels_last.max_pool, channels_last.unfit),
        Implementation("numba", compiled.max_pool, compiled.unfit, compiled.slow),
        Implementation("numba_half", half_pooling.max_pool, half_pooling.unfit, half_pooling.slow),
        Implementation("separable", separable.max_pool),
    ),
    "sum_pool": (
        Implementation("channels_last", channels_last.sum_pool, channels_last.unfit),
        Implementation("numba", compiled.sum_pool, compiled.unfit, compiled.slow),
        Implementation("numba_half", half_pooling.sum_pool, half_pooling.unfit, half_pooling.slow),
        Implementation("separable", separable.sum_pool),
    ),
    "spread": (
        Implementation("channels_last", channels_last.spread, channels_last.spread_unfit),
        Implementation("numba", compiled.spread, compiled.spread_unfit, compiled.spread_slow),
    ),
    "max_pool_indices": (
        Implementation("channels_last", channels_last.max_pool_indices, channels_last.unfit),
        Implementation("numba", compiled.max_pool_indices, compiled.unfit),
        Implementation(
            "numba_half",
            half_pooling.max_pool_indices,
            half_pooling.unfit,
            half_pooling.located_slow,
        ),
        Implementation("numbered", pooling.max_pool_indices),
    ),
    "max_pool_grad": (
        Implementation("channels_last", channels_last.max_pool_grad, channels_last.grad_unfit),
        Implementation("numba", compiled.max_pool_grad, compiled.grad_unfit),
        Implementation("as_float32", half_planes.max_pool_grad, half_planes.unfit),
        Implementation("scatter", pooling.max_pool_grad),
    ),
    "pad": (Implementation("numpy_pad", padding.pad, padding.unfit),),
    "pad_adjoint": (Implementation("added", padding.pad_adjoint, padding.unfit),),
    "place": (Implementation("assign", pooling.place),),
    "scatter_add": (Implementation("add_at", pooling.scatter_add),),
}


def remarks() -> list[str]:
    """Return what holds back the implementations on this machine."""
    held = one_thread()
    found = [] if isinstance(held, Hold) else [f"products run on one worker, since {held}"]
    absent = missing()
    return found if absent is None else [*found, absent]
