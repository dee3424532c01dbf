"""Layers without parameters: pools, activations, and what changes shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from arrayconv._arrays import Array
from arrayconv.functional import averages, maxima
from arrayconv.functional.activations import dropout, flatten, relu
from arrayconv.functional.arguments import IntOrInts, Padding
from arrayconv.functional.windows import Sizes, StrideOrNone
from arrayconv.nn.module import Module, Operation


class _Fixed(Module):
    """A layer without parameters: an operation and its arguments."""

    function: Callable[..., Array]

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        self.arguments = arguments

    def operation(self) -> Operation:
        """Return the operation and its arguments."""
        return type(self).function, self.arguments

    def description(self) -> str:
        """Return the layer's name with its first argument."""
        shown = ", ".join(repr(each) for each in list(self.arguments.values())[:1])
        return f"{type(self).__name__}({shown})" if shown else type(self).__name__


class _MaxPool(_Fixed):
    def __init__(
        self,
        kernel_size: IntOrInts,
        stride: StrideOrNone = None,
        padding: Padding = 0,
        dilation: IntOrInts = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            ceil_mode=ceil_mode,
        )


class MaxPool1d(_MaxPool):
    """`arrayconv.max_pool1d`: `MaxPool2d` in one dimension."""

    function = staticmethod(maxima.max_pool1d)


class MaxPool2d(_MaxPool):
    """`arrayconv.max_pool2d`; arguments of ``torch.nn.MaxPool2d``, without the indices.

    Parameters
    ----------
    kernel_size, stride, padding, dilation, ceil_mode
        As in `arrayconv.max_pool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from arrayconv import nn
    >>> nn.MaxPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4))[0, 0]
    array([[ 5.,  7.],
           [13., 15.]])
    """

    function = staticmethod(maxima.max_pool2d)


class MaxPool3d(_MaxPool):
    """`arrayconv.max_pool3d`: `MaxPool2d` in three dimensions."""

    function = staticmethod(maxima.max_pool3d)


class _AvgPool(_Fixed):
    def __init__(
        self,
        kernel_size: IntOrInts,
        stride: StrideOrNone = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        **divisor: int | None,
    ) -> None:
        super().__init__(
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
            **divisor,
        )


class AvgPool1d(_AvgPool):
    """`arrayconv.avg_pool1d`: `AvgPool2d` in one dimension."""

    function = staticmethod(averages.avg_pool1d)


class AvgPool2d(_AvgPool):
    """`arrayconv.avg_pool2d`; arguments of ``torch.nn.AvgPool2d``.

    Parameters
    ----------
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
        As in `arrayconv.avg_pool2d`; the last by its name.

    Examples
    --------
    >>> import numpy as np
    >>> from arrayconv import nn
    >>> nn.AvgPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4))[0, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    """

    function = staticmethod(averages.avg_pool2d)


class AvgPool3d(_AvgPool):
    """`arrayconv.avg_pool3d`: `AvgPool2d` in three dimensions."""

    function = staticmethod(averages.avg_pool3d)


class _AdaptiveAvgPool(_Fixed):
    def __init__(self, output_size: Sizes) -> None:
        super().__init__(output_size=output_size)


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """`arrayconv.adaptive_avg_pool1d`: `AdaptiveAvgPool2d` in one dimension."""

    function = staticmethod(averages.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """`arrayconv.adaptive_avg_pool2d`; arguments of ``torch.nn.AdaptiveAvgPool2d``.

    Parameters
    ----------
    output_size : int, None, or tuple of them
        As in `arrayconv.adaptive_avg_pool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from arrayconv import nn
    >>> nn.AdaptiveAvgPool2d(1)(np.arange(16.0).reshape(1, 1, 4, 4))
    array([[[[7.5]]]])
    """

    function = staticmethod(averages.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """`arrayconv.adaptive_avg_pool3d`: `AdaptiveAvgPool2d` in three dimensions."""

    function = staticmethod(averages.adaptive_avg_pool3d)


class ReLU(_Fixed):
    """`arrayconv.relu`: what is negative becomes 0.

    Examples
    --------
    >>> import numpy as np
    >>> from arrayconv import nn
    >>> nn.ReLU()(np.asarray([-1.0, 2.0]))
    array([0., 2.])
    """

    function = staticmethod(relu)


class Flatten(_Fixed):
    """`arrayconv.flatten`, of all dimensions but N.

    Parameters
    ----------
    start_dim, end_dim : int, optional
        As in `arrayconv.flatten`.

    Examples
    --------
    >>> import numpy as np
    >>> from arrayconv import nn
    >>> nn.Flatten()(np.ones((5, 2, 3, 3))).shape
    (5, 18)
    """

    function = staticmethod(flatten)

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__(start_dim=start_dim, end_dim=end_dim)

    def description(self) -> str:
        """Return the layer's name."""
        return "Flatten"


class Dropout(_Fixed):
    """`arrayconv.dropout` in training, and nothing at other times.

    Parameters
    ----------
    p : float, optional
        The probability of an element to be set to 0.

    Examples
    --------
    >>> import numpy as np
    >>> from arrayconv import nn
    >>> nn.Dropout(0.5).eval()(np.ones(3))
    array([1., 1., 1.])
    """

    function = staticmethod(dropout)

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p=p)

    def operation(self) -> Operation:
        """Return the operation, which does nothing but in training."""
        return dropout, {**self.arguments, "training": self.training}
