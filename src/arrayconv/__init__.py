"""Convolution and im2col for any Python array library.

Every operation is a window that slides over an array, and a reduction of what it sees. The
functions take the arguments of ``torch.nn.functional`` and the arrays of NumPy, CuPy, PyTorch
and any other library of the Array API standard, and return arrays of the same kind.
"""

from arrayconv import backends as _backends  # noqa: F401  (enters the backends into the registry)
from arrayconv._device import Device, get_device, to_numpy
from arrayconv._images import from_image, to_image
from arrayconv._options import Options, options
from arrayconv._version import __version__
from arrayconv.functional.activations import dropout, flatten, relu
from arrayconv.functional.averages import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
)
from arrayconv.functional.columns import col2im, fold, im2col, unfold
from arrayconv.functional.configuration import show_config
from arrayconv.functional.convolution import conv1d, conv2d, conv3d
from arrayconv.functional.correlation import convolve, correlate
from arrayconv.functional.dense import linear
from arrayconv.functional.explanation import Explanation, explain
from arrayconv.functional.fractional import fractional_max_pool2d, fractional_max_pool3d
from arrayconv.functional.gradients import vjp
from arrayconv.functional.losses import cross_entropy
from arrayconv.functional.maxima import (
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
)
from arrayconv.functional.norms import lp_pool1d, lp_pool2d, lp_pool3d
from arrayconv.functional.padding import pad
from arrayconv.functional.patches import extract_patches, merge_patches
from arrayconv.functional.prepared import Prepared, prepare
from arrayconv.functional.shapes import output_size, transposed_output_size
from arrayconv.functional.transposed import conv_transpose1d, conv_transpose2d, conv_transpose3d
from arrayconv.functional.unpooling import max_unpool1d, max_unpool2d, max_unpool3d

__all__ = [
    "Device",
    "Explanation",
    "Options",
    "Prepared",
    "__version__",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "col2im",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "convolve",
    "correlate",
    "cross_entropy",
    "dropout",
    "explain",
    "extract_patches",
    "flatten",
    "fold",
    "fractional_max_pool2d",
    "fractional_max_pool3d",
    "from_image",
    "get_device",
    "im2col",
    "linear",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "merge_patches",
    "options",
    "output_size",
    "pad",
    "prepare",
    "relu",
    "show_config",
    "to_image",
    "to_numpy",
    "transposed_output_size",
    "unfold",
    "vjp",
]
