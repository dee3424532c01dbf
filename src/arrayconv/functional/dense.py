"""linear: the dense layer, one matrix product."""

from __future__ import annotations

from math import prod

from arrayconv._arrays import Array, Library
from arrayconv.functional.arguments import check_fits, common_library, conjugate
from arrayconv.functional.operations import Pullback, define


def _check(input: Array, weight: Array, bias: Array | None) -> Library:
    library, dtype = common_library("linear", input=input, weight=weight, bias=bias)
    shapes = f"input {tuple(input.shape)}, weight {tuple(weight.shape)}"
    if weight.ndim not in (1, 2):
        raise ValueError(f"weight must have the shape (out, in), or (in,): {shapes}")
    if input.ndim < 1 or input.shape[-1] != weight.shape[-1]:
        raise ValueError(f"the last dimension of input must be that of weight: {shapes}")
    outputs = tuple(weight.shape[:-1])
    if bias is not None and tuple(bias.shape) != outputs:
        raise ValueError(f"bias must have the shape {outputs}, got {tuple(bias.shape)}: {shapes}")
    check_fits("the output", (*input.shape[:-1], *outputs), dtype.held, shapes)
    return library


def _product(library: Library, left: Array, right: Array) -> Array:
    """Return the matrix product, summed in float32 for half types."""
    xp, dtype = library.xp, library.dtype(left.dtype)
    if not dtype.half:
        product = xp.matmul(left, right)
        # Dask adds up the parts of a product of small integers in wider ones.
        return product if product.dtype == left.dtype else xp.astype(product, left.dtype)
    wide = xp.matmul(xp.astype(left, dtype.wide), xp.astype(right, dtype.wide))
    return xp.astype(wide, left.dtype)


def linear(input: Array, weight: Array, bias: Array | None = None) -> Array:
    """Return ``input @ weight.T + bias``.

    Parameters
    ----------
    input : array, shape (..., in)
        Any numeric dtype.
    weight : array, shape (out, in) or (in,)
        Of the input's library, device and dtype.
    bias : array, shape (out,), or () for a weight of shape (in,), optional
        Added to each output.

    Returns
    -------
    array, shape (..., out), or (...) for a weight of shape (in,)
        Of the input's library, device and dtype; half types are summed in float32.

    Raises
    ------
    ValueError
        Where shapes do not fit.
    TypeError
        Where the arrays differ in library, device or dtype, or are bools.

    Notes
    -----
    Difference from ``torch.nn.functional.linear``: none in what it accepts and returns, but
    errors are ValueError or TypeError.

    References
    ----------
    .. [1] PyTorch, documentation of torch.nn.Linear.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.linear(np.asarray([[1.0, 2.0]]), np.asarray([[3.0, 4.0], [5.0, 6.0]]))
    array([[11., 17.]])
    """
    library = _check(input, weight, bias)
    output = _product(library, input, weight.T if weight.ndim == 2 else weight)
    return output if bias is None else output + bias


def _linear_vjp(input: Array, weight: Array, bias: Array | None = None) -> tuple[Array, Pullback]:
    output = linear(input, weight, bias)
    library = _check(input, weight, bias)
    xp = library.xp
    rows, width = prod(input.shape[:-1]), weight.shape[-1]
    outputs = prod(weight.shape[:-1])

    def pullback(cotangent: Array) -> tuple[Array | None, ...]:
        upstream = xp.reshape(cotangent, (rows, outputs))
        matrix = xp.reshape(conjugate(weight), (outputs, width))
        seen = xp.reshape(conjugate(input), (rows, width))
        to_input = xp.reshape(_product(library, upstream, matrix), tuple(input.shape))
        to_weight = xp.reshape(_product(library, upstream.T, seen), tuple(weight.shape))
        to_bias = None
        if bias is not None:
            wide = library.dtype(input.dtype).wide
            total = xp.sum(upstream, axis=0, dtype=wide)
            to_bias = xp.reshape(xp.astype(total, input.dtype), tuple(bias.shape))
        return to_input, to_weight, to_bias

    return output, pullback


define(linear, ("input", "weight", "bias"), _linear_vjp)
