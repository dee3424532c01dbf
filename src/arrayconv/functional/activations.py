"""relu, dropout and flatten: what stands between convolutions in a network."""

from __future__ import annotations

from math import prod

from arrayconv._arrays import Array, device_of, library_of
from arrayconv._integers import integer
from arrayconv._random import kept
from arrayconv.functional.arguments import check_fits, common_library
from arrayconv.functional.operations import Pullback, define


def relu(input: Array) -> Array:
    """Return the larger of each element and 0; NaN stays NaN.

    Parameters
    ----------
    input : array, any shape
        Real or integer.

    Returns
    -------
    array
        Of the input's shape, library, device and dtype.

    Raises
    ------
    TypeError
        Where the input is no array, or bool or complex.

    Notes
    -----
    The gradient at 0 is 0, as in PyTorch.

    References
    ----------
    .. [1] V. Nair and G. Hinton, "Rectified Linear Units Improve Restricted Boltzmann Machines",
       2010.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.relu(np.asarray([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    """
    library, _ = common_library("relu", input=input)
    xp = library.xp
    if library.values_at_hand:
        # NumPy's choice between two, at random, takes ten times as long. No axes: it has a scalar.
        return xp.asarray(xp.maximum(input, xp.zeros((), dtype=input.dtype)))
    return xp.where(input <= 0, xp.zeros_like(input), input)


def _relu_vjp(input: Array) -> tuple[Array, Pullback]:
    library = library_of("input", input)
    xp = library.xp

    def pullback(cotangent: Array) -> tuple[Array]:
        if library.values_at_hand and bool(xp.all(xp.isfinite(cotangent))):
            # As above; but 0 times inf is none.
            return (xp.asarray(cotangent * xp.astype(~(input <= 0), cotangent.dtype)),)
        return (xp.where(input <= 0, xp.zeros_like(cotangent), cotangent),)

    return relu(input), pullback


def _scale(input: Array, p: float, training: bool) -> Array | None:
    """Return what elements are multiplied by: 0, or 1 / (1 - p); None where nothing is done."""
    library, _ = common_library("dropout", input=input)
    if isinstance(p, bool) or not isinstance(p, int | float):
        raise TypeError(f"p must be a number, got {p!r} of type {type(p).__name__}")
    if not 0 <= p <= 1:
        raise ValueError(f"p must be from 0 to 1, got {p!r}")
    if not isinstance(training, bool):
        raise TypeError(f"training must be True or False, got {training!r}")
    if library.dtype(input.dtype).kind not in ("real", "complex"):
        raise TypeError(f"input must be of a floating dtype, got {input.dtype}")
    if not training or p == 0:
        return None
    check_fits("the mask", input.shape, 1, f"input {tuple(input.shape)}")
    device = device_of(library, input)
    where = {} if device is None else {"device": device}
    mask = library.xp.asarray(kept(tuple(input.shape), p), **where)
    return library.xp.astype(mask, input.dtype) * (1 / (1 - p) if p < 1 else 0)


def dropout(input: Array, p: float = 0.5, training: bool = True) -> Array:
    """Return the array with elements set to 0 at random, the others scaled up to make up for it.

    Parameters
    ----------
    input : array, any shape
        Real or complex floating.
    p : float, optional
        The probability of an element to be set to 0.
    training : bool, optional
        Where False the array is returned as it is.

    Returns
    -------
    array
        Of the input's shape, library, device and dtype.

    Raises
    ------
    ValueError
        Where ``p`` is not from 0 to 1.
    TypeError
        Where an argument is of the wrong type.

    See Also
    --------
    arrayconv.nn.manual_seed : Makes the choice repeatable.

    Notes
    -----
    Differences from ``torch.nn.functional.dropout``: the choice comes from a generator of
    arrayconv's own, and there is no ``inplace``.

    References
    ----------
    .. [1] N. Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from
       Overfitting", 2014.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> sorted(set(ac.dropout(np.ones(100), 0.75).tolist()))
    [0.0, 4.0]
    """
    scale = _scale(input, p, training)
    return input if scale is None else input * scale


def _dropout_vjp(input: Array, p: float = 0.5, training: bool = True) -> tuple[Array, Pullback]:
    scale = _scale(input, p, training)
    if scale is None:
        return input, lambda cotangent: (cotangent,)
    return input * scale, lambda cotangent: (cotangent * scale,)


def flatten(input: Array, start_dim: int = 0, end_dim: int = -1) -> Array:
    """Return the array with the dimensions from ``start_dim`` to ``end_dim`` made into one.

    Parameters
    ----------
    input : array, any shape and dtype
        The array.
    start_dim, end_dim : int, optional
        The first and the last dimension to join; negative ones count from the end.

    Returns
    -------
    array
        Of the same elements; a view where the library makes one.

    Raises
    ------
    ValueError
        Where the array has no such dimensions, or the first comes after the last.
    TypeError
        Where an argument is of the wrong type.

    Notes
    -----
    As ``torch.flatten``; also the one operation whose result may share memory with its input.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.flatten(np.ones((2, 3, 4, 5)), 1).shape
    (2, 60)
    """
    xp, ndim = library_of("input", input).xp, max(input.ndim, 1)
    ends = [integer("start_dim", start_dim), integer("end_dim", end_dim)]
    first, last = (each + ndim if each < 0 else each for each in ends)
    if not 0 <= first <= last < ndim:
        raise ValueError(
            f"start_dim and end_dim must be dimensions of the input, in their order, got "
            f"{start_dim} and {end_dim} for shape {tuple(input.shape)}"
        )
    shape = tuple(input.shape) or (1,)
    joined = prod(shape[first : last + 1])
    return xp.reshape(input, (*shape[:first], joined, *shape[last + 1 :]))


def _flatten_vjp(input: Array, start_dim: int = 0, end_dim: int = -1) -> tuple[Array, Pullback]:
    xp = library_of("input", input).xp
    return flatten(input, start_dim, end_dim), lambda cotangent: (
        xp.reshape(cotangent, input.shape),
    )


define(relu, ("input",), _relu_vjp)
define(dropout, ("input",), _dropout_vjp)
define(flatten, ("input",), _flatten_vjp)
