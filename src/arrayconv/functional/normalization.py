"""batch_norm: channels shifted and scaled to mean 0 and variance 1."""

from __future__ import annotations

from math import prod
from typing import Any

from arrayconv._arrays import Array, Library, library_of
from arrayconv.functional.arguments import common_library
from arrayconv.functional.operations import Pullback, define


def _over(input: Array) -> tuple[int, ...]:
    """Return all dimensions but that of the channels."""
    return (0, *range(2, input.ndim))


def _as_channels(library: Library, values: Array, like: Array) -> Array:
    """Return values (C,) that lie along the channels of an array (N, C, ...)."""
    return library.xp.reshape(values, (1, -1, *(1,) * (like.ndim - 2)))


def batch_statistics(input: Array) -> tuple[Array, Array]:
    """Return the mean and the (biased) variance (C,) of each channel of (N, C, ...).

    Half types are summed in float32, and the statistics are of that dtype.
    """
    library = library_of("input", input)
    xp, wide = library.xp, library.dtype(input.dtype).wide
    x = xp.astype(input, wide, copy=False)
    mean = xp.mean(x, axis=_over(input))
    apart = x - _as_channels(library, mean, x)
    return mean, xp.mean(apart * apart, axis=_over(input))


def _parse(
    input: Array,
    weight: Array | None,
    bias: Array | None,
    mean: Array | None,
    var: Array | None,
    eps: float,
) -> Library:
    given = {"input": input, "weight": weight, "mean": mean, "var": var}
    library, _ = common_library(
        "batch_norm", bias=bias, **{name: each for name, each in given.items() if each is not None}
    )
    if input.ndim < 2:
        raise ValueError(f"input must have the shape (N, C, ...), got {tuple(input.shape)}")
    for name, each in {**given, "bias": bias}.items():
        if name != "input" and each is not None and tuple(each.shape) != (input.shape[1],):
            raise ValueError(
                f"{name} must have the shape ({input.shape[1]},), one for each channel of input "
                f"{tuple(input.shape)}, got {tuple(each.shape)}"
            )
    if (mean is None) != (var is None):
        raise ValueError("mean and var must be given together, or neither")
    if isinstance(eps, bool) or not isinstance(eps, int | float):
        raise TypeError(f"eps must be a number, got {eps!r}")
    if mean is None and prod(input.shape[2:], start=input.shape[0]) < 2:
        raise ValueError(
            "input must have more than one value for each channel to be normalised by its own "
            f"statistics, got shape {tuple(input.shape)}"
        )
    return library


def _batch_norm_vjp(
    input: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    mean: Array | None = None,
    var: Array | None = None,
    eps: float = 1e-5,
) -> tuple[Array, Pullback]:
    library = _parse(input, weight, bias, mean, var, eps)
    xp, wide = library.xp, library.dtype(input.dtype).wide

    def channels(values: Array) -> Any:
        return _as_channels(library, xp.astype(values, wide, copy=False), input)

    x = xp.astype(input, wide, copy=False)
    own = mean is None
    centre, spread = batch_statistics(input) if own else (mean, var)
    scale = 1 / xp.sqrt(channels(spread) + eps)
    normal = (x - channels(centre)) * scale
    output = normal if weight is None else normal * channels(weight)
    if bias is not None:
        output = output + channels(bias)

    def pullback(cotangent: Array) -> tuple[Array | None, ...]:
        g = xp.astype(cotangent, wide, copy=False)
        dims = _over(input)
        to_weight, to_bias = xp.sum(g * normal, axis=dims), xp.sum(g, axis=dims)
        inner = g if weight is None else g * channels(weight)
        if own:
            # Through the mean and the variance too: S. Ioffe and C. Szegedy, "Batch
            # Normalization", 2015, section 3.
            along = xp.mean(inner * normal, axis=dims, keepdims=True)
            inner = inner - xp.mean(inner, axis=dims, keepdims=True) - normal * along
        to_input = xp.astype(inner * scale, input.dtype, copy=False)
        narrow = [xp.astype(each, input.dtype, copy=False) for each in (to_weight, to_bias)]
        return (to_input, *narrow)

    return xp.astype(output, input.dtype, copy=False), pullback


def batch_norm(
    input: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    mean: Array | None = None,
    var: Array | None = None,
    eps: float = 1e-5,
) -> Array:
    """Return ``(input - mean) / sqrt(var + eps) * weight + bias``, channel by channel.

    The order of arguments is not that of ``torch.nn.functional.batch_norm``, which changes its
    running statistics in place: `arrayconv.nn.BatchNorm2d` keeps them.

    Parameters
    ----------
    input : array, shape (N, C, ...)
        Real floating.
    weight, bias : array, shape (C,), optional
        1 and 0 where not given.
    mean, var : array, shape (C,), optional
        The statistics; those of the input itself where not given.
    eps : float, optional
        Keeps the divisor from 0.

    Returns
    -------
    array
        Of the input's shape, library, device and dtype.

    Raises
    ------
    ValueError
        Where shapes do not fit, or there is one value to take statistics of.
    TypeError
        Where an argument is of the wrong type.
    """
    return _batch_norm_vjp(input, weight, bias, mean, var, eps)[0]


define(batch_norm, ("input", "weight", "bias"), _batch_norm_vjp)
