"""NumPy's implementations: they work in blocks, so that no column matrix is ever whole."""

from arrayconv._registry import Implementation
from arrayconv.backends.numpy import columns, convolution

implementations = {
    "unfold": (Implementation("strided", columns.unfold),),
    "fold": (Implementation("strided", columns.fold),),
    "conv": (Implementation("im2col", convolution.conv),),
    "conv_transpose": (Implementation("im2col", convolution.conv_transpose),),
    "conv_weight": (Implementation("im2col", convolution.conv_weight),),
}
