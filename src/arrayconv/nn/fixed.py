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
    """`arrayconv.max_pool1d`; arguments of ``torch.nn.MaxPool1d``, without the indices."""

    function = staticmethod(maxima.max_pool1d)


class MaxPool2d(_MaxPool):
    """`arrayconv.max_pool2d`; arguments of ``torch.nn.MaxPool2d``, without the indices."""

    function = staticmethod(maxima.max_pool2d)


class MaxPool3d(_MaxPool):
    """`arrayconv.max_pool3d`; arguments of ``torch.nn.MaxPool3d``, without the indices."""

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
    """`arrayconv.avg_pool1d`; arguments of ``torch.nn.AvgPool1d``."""

    function = staticmethod(averages.avg_pool1d)


class AvgPool2d(_AvgPool):
    """`arrayconv.avg_pool2d`; arguments of ``torch.nn.AvgPool2d``."""

    function = staticmethod(averages.avg_pool2d)


class AvgPool3d(_AvgPool):
    """`arrayconv.avg_pool3d`; arguments of ``torch.nn.AvgPool3d``."""

    function = staticmethod(averages.avg_pool3d)


class _AdaptiveAvgPool(_Fixed):
    def __init__(self, output_size: Sizes) -> None:
        super().__init__(output_size=output_size)


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """`arrayconv.adaptive_avg_pool1d`."""

    function = staticmethod(averages.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """`arrayconv.adaptive_avg_pool2d`."""

    function = staticmethod(averages.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """`arrayconv.adaptive_avg_pool3d`."""

    function = staticmethod(averages.adaptive_avg_pool3d)


class ReLU(_Fixed):
    """`arrayconv.relu`."""

    function = staticmethod(relu)


class Flatten(_Fixed):
    """`arrayconv.flatten`, of all dimensions but N."""

    function = staticmethod(flatten)

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__(start_dim=start_dim, end_dim=end_dim)

    def description(self) -> str:
        """Return the layer's name."""
        return "Flatten"


class Dropout(_Fixed):
    """`arrayconv.dropout` in training, nothing else."""

    function = staticmethod(dropout)

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p=p)

    def operation(self) -> Operation:
        """Return the operation, which does nothing but in training."""
        return dropout, {**self.arguments, "training": self.training}
