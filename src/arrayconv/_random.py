"""Random numbers for initial weights and dropout: drawn on the host, by one seeded generator."""

from __future__ import annotations

from typing import Any

import numpy as np

from arrayconv._integers import integer

_generator: Any = None


def _drawing() -> Any:
    """Return the generator; NumPy loads its own only when one is asked for."""
    global _generator
    if _generator is None:
        _generator = np.random.default_rng()
    return _generator


def manual_seed(seed: int) -> None:
    """Seed what draws initial weights and dropout, so that a run can be repeated.

    Parameters
    ----------
    seed : int
        Any non-negative integer.

    Raises
    ------
    TypeError, ValueError
        Where the seed is no integer, or negative.

    Examples
    --------
    >>> from arrayconv import nn
    >>> nn.manual_seed(0)
    >>> first = nn.Linear(2, 1).weight.value
    >>> nn.manual_seed(0)
    >>> bool((nn.Linear(2, 1).weight.value == first).all())
    True
    """
    global _generator
    _generator = np.random.default_rng(integer("seed", seed, 0))


def uniform(shape: tuple[int, ...], bound: float) -> Any:
    """Return numbers from -bound to bound, in the host's memory."""
    return _drawing().uniform(-bound, bound, shape)


def kept(shape: tuple[int, ...], p: float) -> Any:
    """Return 1 with the probability 1 - p and else 0, as bytes in the host's memory."""
    return (_drawing().random(shape) >= p).astype(np.uint8)


def permutation(count: int) -> Any:
    """Return the numbers below ``count`` in a random order, in the host's memory."""
    return _drawing().permutation(count)
