"""Layers with a weight: convolutions and the dense layer.

The one-, two- and three-dimensional layer of a kind share one body; constructor arguments are
those of ``torch.nn``.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod, sqrt
from typing import Any

from arrayconv._arrays import Array
from arrayconv._device import Device, get_device
from arrayconv._integers import integer, integers
from arrayconv._random import uniform
from arrayconv.functional import convolution, transposed
from arrayconv.functional.arguments import IntOrInts, Padding
from arrayconv.functional.dense import linear
from arrayconv.functional.prepared import Prepared
from arrayconv.nn.module import Module, Operation, Parameter


class _Weighted(Module):
    """A layer with a weight and perhaps a bias, drawn as ``torch.nn`` draws them."""

    def _draw(
        self,
        weight: tuple[int, ...],
        outputs: int,
        fan_in: int,
        bias: bool,
        device: Device | str,
        dtype: Any,
    ) -> None:
        if not isinstance(bias, bool):
            raise TypeError(f"bias must be True or False, got {bias!r}")
        self._place = device if isinstance(device, Device) else get_device(device)
        kind = getattr(self._place.xp, dtype) if isinstance(dtype, str) else dtype
        # Kaiming's uniform distribution with a = sqrt(5), torch's default.
        bound = 1 / sqrt(fan_in)
        self.parameters_by_name["weight"] = Parameter(
            self._place.asarray(uniform(weight, bound), dtype=kind)
        )
        drawn = self._place.asarray(uniform((outputs,), bound), dtype=kind) if bias else None
        self.parameters_by_name["bias"] = None if drawn is None else Parameter(drawn)


class _Conv(_Weighted):
    """A convolution of ``dims`` spatial dimensions, transposed or not."""

    dims: int
    function: Callable[..., Array]
    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrInts,
        stride: IntOrInts = 1,
        padding: Padding = 0,
        dilation: IntOrInts = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Device | str = "cpu",
        dtype: Any = "float32",
    ) -> None:
        self._build(in_channels, out_channels, kernel_size, groups, bias, device, dtype)
        self.arguments = {
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "groups": self.groups,
            "padding_mode": padding_mode,
        }
        self._prepared = Prepared(type(self).function, self.arguments, None, None)

    def _build(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrInts,
        groups: int,
        bias: bool,
        device: Device | str,
        dtype: Any,
    ) -> None:
        super().__init__()
        self.groups = integer("groups", groups, 1)
        self.in_channels = integer("in_channels", in_channels, 1)
        self.out_channels = integer("out_channels", out_channels, 1)
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(
                f"in_channels {in_channels} and out_channels {out_channels} must be divisible by "
                f"groups {groups}"
            )
        self.kernel = integers("kernel_size", kernel_size, self.dims)
        first, second = self.out_channels, self.in_channels // self.groups
        if self.transposed:
            first, second = self.in_channels, self.out_channels // self.groups
        weight = (first, second, *self.kernel)
        self._draw(weight, self.out_channels, second * prod(self.kernel), bias, device, dtype)

    def operation(self) -> Operation:
        """Return the convolution and its arguments."""
        return type(self).function, self.arguments

    def forward(self, input: Array) -> Array:
        """Return the output; outside of training the weight is prepared once for many calls.

        Whatever was prepared is used only after a comparison with the weight as it is now, so that
        a weight that was replaced, loaded or changed in place counts at once.
        """
        if self.training or self.transposed:
            return super().forward(input)
        self._pullback = None
        weight, bias = (self.parameters_by_name[name] for name in ("weight", "bias"))
        assert weight is not None
        return self._prepared.run(input, weight.value, None if bias is None else bias.value)

    def multiply_adds(self, given: tuple[int, ...], made: tuple[int, ...]) -> int:
        """Return one for each weight that meets a cell, padding counted."""
        positions = given if self.transposed else made
        weights = self.in_channels * self.out_channels // self.groups * prod(self.kernel)
        return positions[0] * prod(positions[2:]) * weights

    def description(self) -> str:
        """Return the layer's name with its channels, kernel and what is not the default."""
        usual = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "padding_mode": "zeros"}
        usual["output_padding"] = 0
        extra = [f", {k}={v!r}" for k, v in self.arguments.items() if v != usual[k]]
        kernel = self.kernel[0] if len(set(self.kernel)) == 1 else self.kernel
        channels = f"{self.in_channels}, {self.out_channels}, {kernel}"
        return f"{type(self).__name__}({channels}{''.join(extra)})"


class Conv1d(_Conv):
    """`arrayconv.conv1d` with a weight and a bias: `Conv2d` in one dimension."""

    dims, function = 1, staticmethod(convolution.conv1d)


class Conv2d(_Conv):
    """`arrayconv.conv2d` with a weight and a bias; arguments of ``torch.nn.Conv2d``.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output.
    kernel_size : int or tuple of int
        Cells of the window.
    stride, padding, dilation, groups, padding_mode
        As in `arrayconv.conv2d`.
    bias : bool, optional
        Whether to add a bias.
    device : Device or str, optional
        Where the parameters live, as `get_device` takes it.
    dtype : dtype or str, optional
        The parameters' own.

    Notes
    -----
    Parameters are drawn as torch draws them: uniformly, within one over the root of the number of
    inputs of an output.

    Examples
    --------
    >>> import numpy as np
    >>> from arrayconv import nn
    >>> layer = nn.Conv2d(3, 8, 3, padding=1)
    >>> layer(np.ones((1, 3, 16, 16), np.float32)).shape
    (1, 8, 16, 16)
    >>> sorted(layer.state_dict())
    ['bias', 'weight']
    """

    dims, function = 2, staticmethod(convolution.conv2d)


class Conv3d(_Conv):
    """`arrayconv.conv3d` with a weight and a bias: `Conv2d` in three dimensions."""

    dims, function = 3, staticmethod(convolution.conv3d)


class _ConvTranspose(_Conv):
    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrInts,
        stride: IntOrInts = 1,
        padding: Padding = 0,
        output_padding: IntOrInts = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: IntOrInts = 1,
        device: Device | str = "cpu",
        dtype: Any = "float32",
    ) -> None:
        self._build(in_channels, out_channels, kernel_size, groups, bias, device, dtype)
        self.arguments = {
            "stride": stride,
            "padding": padding,
            "output_padding": output_padding,
            "groups": self.groups,
            "dilation": dilation,
        }


class ConvTranspose1d(_ConvTranspose):
    """`arrayconv.conv_transpose1d`: `ConvTranspose2d` in one dimension."""

    dims, function = 1, staticmethod(transposed.conv_transpose1d)


class ConvTranspose2d(_ConvTranspose):
    """`arrayconv.conv_transpose2d`; arguments of ``torch.nn.ConvTranspose2d``.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, bias, device, dtype
        As in `Conv2d`.
    stride, padding, output_padding, groups, dilation
        As in `arrayconv.conv_transpose2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from arrayconv import nn
    >>> layer = nn.ConvTranspose2d(8, 3, 4, stride=2, padding=1)
    >>> layer(np.ones((1, 8, 16, 16), np.float32)).shape
    (1, 3, 32, 32)
    """

    dims, function = 2, staticmethod(transposed.conv_transpose2d)


class ConvTranspose3d(_ConvTranspose):
    """`arrayconv.conv_transpose3d`: `ConvTranspose2d` in three dimensions."""

    dims, function = 3, staticmethod(transposed.conv_transpose3d)


class Linear(_Weighted):
    """`arrayconv.linear` with a weight and a bias; arguments of ``torch.nn.Linear``.

    Parameters
    ----------
    in_features, out_features : int
        Numbers that go in, and that come out.
    bias, device, dtype
        As in `Conv2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from arrayconv import nn
    >>> nn.Linear(8, 2)(np.ones((5, 8), np.float32)).shape
    (5, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Device | str = "cpu",
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        self.shape = (
            integer("out_features", out_features, 1),
            integer("in_features", in_features, 1),
        )
        self._draw(self.shape, self.shape[0], self.shape[1], bias, device, dtype)

    def operation(self) -> Operation:
        """Return the matrix product."""
        return linear, {}

    def multiply_adds(self, given: tuple[int, ...], made: tuple[int, ...]) -> int:
        """Return the products of the matrix product."""
        return prod(made) * self.shape[1]

    def description(self) -> str:
        """Return the layer's name with its features."""
        return f"Linear({self.shape[1]}, {self.shape[0]})"
