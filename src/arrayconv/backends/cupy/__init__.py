"""CuPy's implementations: raw CUDA kernels, each in a ``.cu`` file of this folder, and cuDNN.

None is verified until a run on a GPU that found it right is on record: see `VERIFIED`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from arrayconv._registry import Implementation, never
from arrayconv.backends.cupy import cudnn, depthwise, implicit, indexing, padding, windows

VERIFIED: frozenset[tuple[str, str]] = frozenset()
"""(primitive, implementation) whose kernels a committed record shows to be right on a GPU."""


def _implementation(
    name: str,
    primitive: str,
    run: Callable[..., Any],
    unfit: Callable[..., str | None],
    slow: Callable[..., str | None] = never,
    *,
    adds_bias: bool = False,
) -> Implementation:
    verified = (primitive, name) in VERIFIED
    return Implementation(name, run, unfit, slow, verified, adds_bias=adds_bias)


def _cuda(primitive: str, *functions: Callable[..., Any]) -> tuple[Implementation, ...]:
    return (_implementation("cuda", primitive, *functions),)


def _convolution(primitive: str, *depthwise: Callable[..., Any]) -> tuple[Implementation, ...]:
    """Return the kernels for channels that are convolved alone, those for all others, and cuDNN."""
    on_tensor_cores = implicit.ON_TENSOR_CORES[primitive]
    run, adds_bias = getattr(implicit, primitive), primitive != "conv_weight"
    own = partial(_implementation, primitive=primitive, adds_bias=adds_bias)
    return (
        own("cuda", run=depthwise[0], unfit=depthwise[1]),
        own("cuda-tensor", run=on_tensor_cores, unfit=implicit.tensor_unfit),
        own("cuda-implicit", run=run, unfit=implicit.unfit),
        _implementation(
            "cudnn", primitive, partial(cudnn.run, primitive), partial(cudnn.unfit, primitive)
        ),
    )


implementations = {
    "unfold": _cuda("unfold", windows.unfold, windows.unfold_unfit),
    "fold": _cuda("fold", windows.fold, windows.unfold_unfit),
    "max_pool": _cuda("max_pool", windows.max_pool, windows.max_pool_unfit, windows.pool_slow),
    "max_pool_indices": _cuda(
        "max_pool_indices", windows.max_pool_indices, windows.max_pool_unfit, windows.pool_slow
    ),
    "max_pool_grad": _cuda("max_pool_grad", windows.max_pool_grad, windows.max_pool_grad_unfit),
    "sum_pool": _cuda("sum_pool", windows.sum_pool, windows.sum_pool_unfit, windows.pool_slow),
    "spread": _cuda("spread", windows.spread, windows.sum_pool_unfit),
    "place": _cuda("place", indexing.place, indexing.place_unfit),
    "gather": _cuda("gather", indexing.gather, indexing.gather_unfit),
    "scatter_add": _cuda("scatter_add", indexing.scatter_add, indexing.scatter_add_unfit),
    "pad": _cuda("pad", padding.pad, padding.pad_unfit),
    "pad_adjoint": _cuda("pad_adjoint", padding.pad_adjoint, padding.pad_adjoint_unfit),
    "conv": _convolution("conv", depthwise.conv, depthwise.conv_unfit),
    "conv_transpose": _convolution(
        "conv_transpose", depthwise.conv_transpose, depthwise.conv_unfit
    ),
    "conv_weight": _convolution("conv_weight", depthwise.conv_weight, depthwise.conv_weight_unfit),
}
