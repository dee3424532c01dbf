"""Layers of a convolutional network, thin over the operations: no gradient is written here.

Constructors, parameters and state dicts are those of ``torch.nn``, so weights trained by torch
load unchanged. A layer in training mode keeps the pullback of its last call, and ``backward``
calls it.

Examples
--------
>>> import numpy as np
>>> import arrayconv as ac
>>> from arrayconv import nn
>>> nn.manual_seed(0)
>>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
...                     nn.Linear(36, 10))
>>> images, labels = np.ones((5, 1, 8, 8), np.float32), np.arange(5)
>>> loss = nn.CrossEntropyLoss()
>>> optimizer = nn.SGD(net.parameters(), lr=0.1)
>>> first = loss(net(images), labels)
>>> gradient = net.backward(loss.backward())
>>> optimizer.step()
>>> bool(loss(net(images), labels) < first)
True
"""

from arrayconv._random import manual_seed
from arrayconv.nn.fixed import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    Dropout,
    Flatten,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
    ReLU,
)
from arrayconv.nn.module import Module, Parameter, Sequential
from arrayconv.nn.normalization import BatchNorm1d, BatchNorm2d, BatchNorm3d
from arrayconv.nn.training import SGD, Adam, CrossEntropyLoss
from arrayconv.nn.weighted import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    Linear,
)

__all__ = [
    "SGD",
    "Adam",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "Linear",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "Module",
    "Parameter",
    "ReLU",
    "Sequential",
    "manual_seed",
]
