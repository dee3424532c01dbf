"""The definitions, as plain Python loops: slow, and simple enough to be believed at a glance.

This package is the oracle of the tests and the baseline of the benchmark. It works out its own
sizes and shares nothing with the rest of arrayconv. NumPy arrays go in, with a batch, and come out
in the input's dtype; sums are kept in Python's own numbers, so integers are exact and floats are
summed in double precision.

Examples
--------
>>> import numpy as np
>>> from arrayconv import reference
>>> reference.conv(np.asarray([[[1.0, 2.0, 4.0]]]), np.asarray([[[-1.0, 1.0]]]))
array([[[1., 2.]]])
"""

from arrayconv.reference.pools import (
    adaptive_avg_pool,
    adaptive_max_pool,
    avg_pool,
    lp_pool,
    max_pool,
    max_unpool,
)
from arrayconv.reference.products import (
    conv,
    conv_by_position,
    conv_gradients,
    conv_transpose,
    conv_transpose_gradients,
    fold,
    linear,
    pad,
    unfold,
)

__all__ = [
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "avg_pool",
    "conv",
    "conv_by_position",
    "conv_gradients",
    "conv_transpose",
    "conv_transpose_gradients",
    "fold",
    "linear",
    "lp_pool",
    "max_pool",
    "max_unpool",
    "pad",
    "unfold",
]
