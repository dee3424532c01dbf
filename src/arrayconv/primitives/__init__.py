"""The N-d primitives, closed under differentiation: what is done with a window."""

from arrayconv.primitives.columns import fold, unfold
from arrayconv.primitives.convolution import conv, conv_transpose, conv_weight
from arrayconv.primitives.padding import pad, pad_adjoint

__all__ = ["conv", "conv_transpose", "conv_weight", "fold", "pad", "pad_adjoint", "unfold"]
