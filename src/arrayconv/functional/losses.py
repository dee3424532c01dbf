"""cross_entropy: how far scores are from the right classes."""

from __future__ import annotations

from math import prod

from arrayconv._arrays import Array, Library, integers_like, library_of
from arrayconv.functional.arguments import common_library, one_of
from arrayconv.functional.operations import Pullback, define

REDUCTIONS = ("mean", "sum", "none")


def _check(input: Array, target: Array, reduction: str) -> Library:
    one_of("reduction", reduction, REDUCTIONS)
    library, _ = common_library("cross_entropy", input=input)
    if library_of("target", target) is not library:
        raise TypeError(
            f"input and target must be arrays of one library, got {library.name} and "
            f"{library_of('target', target).name}"
        )
    if library.dtype(target.dtype, "target").kind != "integer":
        raise TypeError(f"target must be integers, the right classes, got dtype {target.dtype}")
    if input.ndim < 2 or tuple(target.shape) != (input.shape[0], *input.shape[2:]):
        raise ValueError(
            f"input must be (N, classes, ...) and target (N, ...), got {tuple(input.shape)} and "
            f"{tuple(target.shape)}"
        )
    return library


def _hit(library: Library, scores: Array, place: Array) -> Array:
    """Return where in (N, classes, ...) the class is that of ``place`` (N, 1, ...)."""
    xp = library.xp
    classes = integers_like(library, scores, range(scores.shape[1]))
    along = xp.reshape(classes, (1, -1, *(1,) * (scores.ndim - 2)))
    return xp.astype(along, place.dtype) == place


def _taken(library: Library, shares: Array, place: Array) -> Array:
    """Return the shares (N, 1, ...) of the classes that ``place`` names."""
    xp = library.xp
    if not library.lazy:
        return xp.take_along_axis(shares, place, axis=1)
    # Chunk by chunk there is no taking by index; one of these is not 0.
    alone = xp.where(_hit(library, shares, place), shares, xp.zeros_like(shares))
    return xp.sum(alone, axis=1, keepdims=True)


def _cross_entropy_vjp(
    input: Array, target: Array, reduction: str = "mean"
) -> tuple[Array, Pullback]:
    library = _check(input, target, reduction)
    xp, wide = library.xp, library.dtype(input.dtype).wide
    x = xp.astype(input, wide, copy=False)
    shifted = x - xp.max(x, axis=1, keepdims=True)
    log_total = xp.log(xp.sum(xp.exp(shifted), axis=1, keepdims=True))
    log_share = shifted - log_total
    place = xp.expand_dims(target, axis=1)
    losses = -_taken(library, log_share, place)[:, 0, ...]
    count = prod(losses.shape)
    loss = losses
    if reduction != "none":
        loss = xp.sum(losses) / (count if reduction == "mean" else 1)

    def pullback(cotangent: Array) -> tuple[Array]:
        g = xp.astype(cotangent, wide, copy=False)
        each = xp.expand_dims(g, axis=1) if reduction == "none" else g
        if reduction == "mean":
            each = each / count
        hit = xp.astype(_hit(library, input, place), wide)
        return (xp.astype((xp.exp(log_share) - hit) * each, input.dtype, copy=False),)

    return xp.astype(loss, input.dtype, copy=False), pullback


def cross_entropy(input: Array, target: Array, reduction: str = "mean") -> Array:
    """Return minus the logarithm of the softmax share of the right class.

    Parameters
    ----------
    input : array, shape (N, classes, ...)
        Scores, of any size; real floating.
    target : array of integers, shape (N, ...)
        The right classes, from 0. They are not checked against the number of classes on devices
        where that means to wait.
    reduction : {"mean", "sum", "none"}, optional
        What is made of the losses.

    Returns
    -------
    array, shape (), or (N, ...) with "none"
        Of the input's library, device and dtype.

    Raises
    ------
    ValueError
        Where shapes do not fit.
    TypeError
        Where an argument is of the wrong type.

    Notes
    -----
    Difference from ``torch.nn.functional.cross_entropy``: classes as integers only, without
    weights or smoothing.

    References
    ----------
    .. [1] J. Bridle, "Probabilistic Interpretation of Feedforward Classification Network Outputs",
       1990: the softmax and this loss.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> round(float(ac.cross_entropy(np.zeros((4, 10)), np.asarray([0, 3, 3, 9]))), 4)
    2.3026
    """
    return _cross_entropy_vjp(input, target, reduction)[0]


define(cross_entropy, ("input",), _cross_entropy_vjp)
