"""The N-d primitives, closed under differentiation: what is done with a window."""

from arrayconv.primitives.columns import fold, unfold
from arrayconv.primitives.convolution import conv, conv_transpose, conv_weight
from arrayconv.primitives.indexing import gather, place, scatter_add
from arrayconv.primitives.padding import pad, pad_adjoint
from arrayconv.primitives.pooling import (
    max_pool,
    max_pool_grad,
    max_pool_indices,
    spread,
    sum_pool,
)

__all__ = [
    "conv",
    "conv_transpose",
    "conv_weight",
    "fold",
    "gather",
    "max_pool",
    "max_pool_grad",
    "max_pool_indices",
    "pad",
    "pad_adjoint",
    "place",
    "scatter_add",
    "spread",
    "sum_pool",
    "unfold",
]
