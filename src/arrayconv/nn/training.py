"""What training needs: a loss that hands its gradient back, and two optimizers."""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt
from typing import Any

from arrayconv._arrays import Array, library_of
from arrayconv.functional.gradients import vjp
from arrayconv.functional.losses import cross_entropy
from arrayconv.functional.operations import Pullback
from arrayconv.nn.module import Parameter


class CrossEntropyLoss:
    """`arrayconv.cross_entropy`, which keeps the pullback of its last call.

    Parameters
    ----------
    reduction : {"mean", "sum"}, optional
        What is made of the losses of a batch.

    Examples
    --------
    >>> import numpy as np
    >>> from arrayconv import nn
    >>> loss = nn.CrossEntropyLoss()
    >>> round(loss(np.zeros((1, 2)), np.asarray([1])).item(), 6)
    0.693147
    >>> loss.backward()
    array([[ 0.5, -0.5]])
    """

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in ("mean", "sum"):
            raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
        self.reduction = reduction
        self._kept: tuple[Array, Pullback] | None = None

    def __call__(self, input: Array, target: Array) -> Array:
        """Return the loss of scores (N, classes, ...) and right classes (N, ...)."""
        loss, pullback = vjp(cross_entropy, input, target=target, reduction=self.reduction)
        self._kept = loss, pullback
        return loss

    def backward(self) -> Array:
        """Return the gradient at the scores of the last call."""
        if self._kept is None:
            raise RuntimeError("CrossEntropyLoss.backward needs a call before it")
        loss, pullback = self._kept
        (gradient,) = pullback(library_of("loss", loss).xp.ones_like(loss))
        assert gradient is not None
        return gradient


def _number(name: str, value: Any, low: float, below: float = float("inf")) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not low <= value < below:
        raise ValueError(f"{name} must be at least {low} and less than {below}, got {value!r}")
    return float(value)


class _Optimizer:
    def __init__(self, parameters: Iterable[Parameter], lr: float, weight_decay: float) -> None:
        self.parameters = list(parameters)
        if not self.parameters:
            raise ValueError("parameters must hold at least one parameter")
        self.lr = _number("lr", lr, 0)
        self.weight_decay = _number("weight_decay", weight_decay, 0)
        self.state: dict[int, Any] = {}

    def zero_grad(self) -> None:
        """Forget the gradients that were added up."""
        for parameter in self.parameters:
            parameter.grad = None

    def step(self) -> None:
        """Change each parameter that has a gradient; no array is modified, new ones replace."""
        for number, parameter in enumerate(self.parameters):
            if parameter.grad is None:
                continue
            gradient = parameter.grad
            if self.weight_decay:
                gradient = gradient + self.weight_decay * parameter.value
            parameter.value = parameter.value - self._change(number, gradient)

    def _change(self, number: int, gradient: Array) -> Array:
        raise NotImplementedError


class SGD(_Optimizer):
    """Stochastic gradient descent, with momentum as ``torch.optim.SGD`` has it.

    Parameters
    ----------
    parameters : iterable of Parameter
        What is to be learned: ``net.parameters()``.
    lr : float, optional
        The length of a step.
    momentum : float, optional
        The share of the last step that is gone again.
    weight_decay : float, optional
        The share of a parameter that is added to its gradient.
    nesterov : bool, optional
        Whether to look ahead, as Nesterov does.

    References
    ----------
    .. [1] Y. Nesterov, "A method for solving the convex programming problem with convergence rate
       O(1/k^2)", 1983.
    .. [2] PyTorch, documentation of torch.optim.SGD: the order of the steps.

    Examples
    --------
    >>> import numpy as np
    >>> from arrayconv import nn
    >>> weight = nn.Parameter(np.asarray([1.0, 2.0]))
    >>> weight.accumulate(np.asarray([1.0, -1.0]))
    >>> nn.SGD([weight], lr=0.5).step()
    >>> weight.value
    array([0.5, 2.5])
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        self.momentum, self.nesterov = _number("momentum", momentum, 0), nesterov

    def _change(self, number: int, gradient: Array) -> Array:
        if self.momentum:
            last = self.state.get(number)
            velocity = gradient if last is None else self.momentum * last + gradient
            self.state[number] = velocity
            gradient = gradient + self.momentum * velocity if self.nesterov else velocity
        return self.lr * gradient


class Adam(_Optimizer):
    """Adam, which scales each step by the gradients so far; arguments of ``torch.optim.Adam``.

    Parameters
    ----------
    parameters : iterable of Parameter
        What is to be learned: ``net.parameters()``.
    lr : float, optional
        The length of a step.
    betas : tuple of two floats, optional
        How slowly the means of the gradients and of their squares move.
    eps : float, optional
        Keeps the divisor from 0.
    weight_decay : float, optional
        The share of a parameter that is added to its gradient.

    References
    ----------
    .. [1] D. Kingma and J. Ba, "Adam: A Method for Stochastic Optimization", 2014, arXiv:1412.6980.

    Examples
    --------
    >>> import numpy as np
    >>> from arrayconv import nn
    >>> weight = nn.Parameter(np.asarray([1.0, 2.0]))
    >>> weight.accumulate(np.asarray([1.0, -1.0]))
    >>> nn.Adam([weight], lr=0.5).step()
    >>> weight.value.round(6)
    array([0.5, 2.5])
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        self.betas = _number("betas", betas[0], 0, 1), _number("betas", betas[1], 0, 1)
        self.eps = _number("eps", eps, 0)

    def _change(self, number: int, gradient: Array) -> Array:
        xp = library_of("gradient", gradient).xp
        first, second = self.betas
        steps, mean, square = self.state.get(number, (0, 0, 0))
        steps += 1
        mean = first * mean + (1 - first) * gradient
        square = second * square + (1 - second) * (gradient * gradient)
        self.state[number] = steps, mean, square
        root = xp.sqrt(square) / sqrt(1 - second**steps)
        return self.lr / (1 - first**steps) * (mean / (root + self.eps))
