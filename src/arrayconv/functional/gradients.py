"""vjp: the gradient of any operation, as a function of the output's cotangent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from arrayconv._arrays import Array, library_of
from arrayconv._capabilities import unsupported
from arrayconv.functional.arguments import check_cotangent
from arrayconv.functional.operations import Pullback, check_arguments, operation_of


def vjp(fun: Callable[..., Array], *arrays: Array, **params: Any) -> tuple[Array, Pullback]:
    """Return an operation's output and its pullback, the vector-Jacobian product.

    For real arrays ``pullback(cotangent)`` is what reverse-mode differentiation gives:
    the gradient of ``sum(output * cotangent)``. For complex arrays it is the adjoint,
    ``<A x, y> = <x, A^H y>``, as in PyTorch.

    Parameters
    ----------
    fun : callable
        A function of arrayconv, as ``arrayconv.conv2d``.
    *arrays : array
        The arrays to differentiate by, in the function's order: real or complex floating. A
        bias may be None.
    **params
        The function's other arguments, by name. An array given by name is held constant.

    Returns
    -------
    output : array
        ``fun(*arrays, **params)``; with ``return_indices=True`` the pair that it returns, and the
        cotangent is for the values.
    pullback : callable
        Takes a cotangent of the output's library, device, dtype and shape, and returns one
        gradient for each positional array (None for a None), of that array's shape. It may be
        called again.

    Raises
    ------
    TypeError
        Where ``fun`` is not a function of arrayconv, a positional argument is not a floating
        array, a parameter is unknown, or the cotangent is of another library, device or dtype.
    ValueError
        Where ``fun`` would raise it, or the cotangent has another shape.

    References
    ----------
    .. [1] A. Griewank and A. Walther, "Evaluating Derivatives", 2008, chapter 3: the reverse mode.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> image, kernel = np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2))
    >>> output, pullback = ac.vjp(ac.conv2d, image, kernel)
    >>> image_gradient, kernel_gradient = pullback(np.ones_like(output))
    >>> image_gradient[0, 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    """
    operation = operation_of(fun, "vjp")
    if len(arrays) > len(operation.arrays):
        raise TypeError(
            f"{operation.name} differentiates by {', '.join(operation.arrays)}, got {len(arrays)} "
            "positional arguments: give all others by name"
        )
    check_arguments(operation, arrays, params)
    for name, array in zip(operation.arrays, arrays, strict=False):
        if array is None and name == "bias":
            continue
        library = library_of(name, array)
        reason = unsupported("vjp", library.name, library.dtype(array.dtype).name)
        if reason is not None:
            raise TypeError(f"{name} has dtype {array.dtype}: {reason}")
    output, rule = operation.vjp(*arrays, **params)

    def pullback(cotangent: Array) -> tuple[Array | None, ...]:
        check_cotangent(output[0] if isinstance(output, tuple) else output, cotangent)
        return rule(cotangent)[: len(arrays)]

    return output, pullback
