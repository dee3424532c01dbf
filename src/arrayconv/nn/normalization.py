"""Batch normalisation, which keeps running statistics."""

from __future__ import annotations

from math import prod
from typing import Any

from arrayconv._arrays import Array, library_of
from arrayconv._device import Device, get_device
from arrayconv._integers import integer
from arrayconv.functional.normalization import batch_norm, batch_statistics
from arrayconv.nn.module import Module, Operation, Parameter


class _BatchNorm(Module):
    """Batch normalisation with running statistics; the dimensions are the input's."""

    ranks: tuple[int, ...]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        device: Device | str = "cpu",
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        self.features = integer("num_features", num_features, 1)
        self.eps, self.momentum = eps, momentum
        self._place = device if isinstance(device, Device) else get_device(device)
        xp = self._place.xp
        kind = getattr(xp, dtype) if isinstance(dtype, str) else dtype
        for name, number in (("weight", 1.0), ("bias", 0.0)):
            value = self._place.asarray([number] * self.features, dtype=kind)
            self.parameters_by_name[name] = Parameter(value) if affine else None
        self.buffers_by_name = {
            "running_mean": self._place.asarray([0.0] * self.features, dtype=kind),
            "running_var": self._place.asarray([1.0] * self.features, dtype=kind),
            "num_batches_tracked": self._place.asarray(0, dtype=xp.int64),
        }

    def operation(self) -> Operation:
        """Return the normalisation: by the batch in training, else by the running statistics."""
        if self.training:
            return batch_norm, {"eps": self.eps}
        mean, var = self.buffers_by_name["running_mean"], self.buffers_by_name["running_var"]
        return batch_norm, {"mean": mean, "var": var, "eps": self.eps}

    def forward(self, input: Array) -> Array:
        """Return the normalised input; in training the running statistics follow the batch."""
        if input.ndim not in self.ranks:
            raise ValueError(
                f"{type(self).__name__} takes arrays of {self.ranks} dimensions, got shape "
                f"{tuple(input.shape)}"
            )
        output = super().forward(input)
        if self.training:
            xp = library_of("input", input).xp
            count = input.shape[0] * prod(input.shape[2:])
            mean, var = batch_statistics(input)
            # The running variance is the unbiased one, as in torch.
            batch = {"running_mean": mean, "running_var": var * (count / (count - 1))}
            for name, new in batch.items():
                old = self.buffers_by_name[name]
                moved = (1 - self.momentum) * old + self.momentum * xp.astype(new, old.dtype)
                self.buffers_by_name[name] = moved
            self.buffers_by_name["num_batches_tracked"] = (
                self.buffers_by_name["num_batches_tracked"] + 1
            )
        return output

    def description(self) -> str:
        """Return the layer's name with its features."""
        return f"{type(self).__name__}({self.features})"


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (N, C) or (N, C, L): `BatchNorm2d` in one dimension."""

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of (N, C, H, W); arguments of ``torch.nn.BatchNorm2d``.

    In training each channel is normalised by the mean and the variance of the batch, which the
    running statistics follow; else by these.

    Parameters
    ----------
    num_features : int
        Channels of the input.
    eps : float, optional
        Added to the variance.
    momentum : float, optional
        How far the running statistics move to those of a batch.
    affine : bool, optional
        Whether a weight and a bias for each channel are learned.
    device, dtype
        As in `Conv2d`.

    References
    ----------
    .. [1] S. Ioffe and C. Szegedy, "Batch Normalization: Accelerating Deep Network Training by
       Reducing Internal Covariate Shift", 2015, arXiv:1502.03167.

    Examples
    --------
    >>> import numpy as np
    >>> from arrayconv import nn
    >>> layer = nn.BatchNorm2d(1, dtype="float64")
    >>> layer(np.asarray([0.0, 2.0]).reshape(1, 1, 1, 2)).round(3)
    array([[[[-1.,  1.]]]])
    """

    ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of (N, C, D, H, W): `BatchNorm2d` in three dimensions."""

    ranks = (5,)
