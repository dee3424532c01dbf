"""correlate and convolve: a bare array and a bare kernel, as NumPy and SciPy have them."""

from __future__ import annotations

from cmath import isfinite
from collections.abc import Sequence
from functools import lru_cache, partial
from math import gcd, prod
from typing import Any, NamedTuple

from arrayconv import primitives
from arrayconv._arrays import Array, Library, library_of
from arrayconv._integers import Ints, integer
from arrayconv._window import Window, output_sizes, sliding_window
from arrayconv.functional.arguments import check_fits, common_library, conjugate, one_of
from arrayconv.functional.operations import Call, Pullback, define
from arrayconv.functional.padding import padded_input, padded_input_adjoint

Axes = int | Sequence[int] | None
MODES = ("full", "same", "valid")

WORTH_SEPARATING = 2
"""How many times as many taps a kernel must have as its factors, to be taken apart (measured)."""


class _Pass(NamedTuple):
    """One sliding of a kernel over (N, 1, *sizes): the only one, or one for each factor."""

    weight: Array
    window: Window


class _Sliding(NamedTuple):
    """A parsed call: the array as (N, 1, *sizes), the passes over it, and how to undo the shape."""

    x: Array
    passes: tuple[_Pass, ...]
    padding_mode: str
    algorithm: str
    leading: Ints
    order: Ints
    """Where each dimension of the array went: the batch first, then the kernel's."""


@lru_cache(maxsize=1024)
def _window(sizes: Ints, kernel: Ints, mode: str) -> Window:
    """Return the window whose positions are those of a mode; "same" begins half a kernel early."""
    if mode == "full":
        pairs = tuple((k - 1, k - 1) for k in kernel)
    elif mode == "same":
        pairs = tuple((k // 2, k - 1 - k // 2) for k in kernel)
    else:
        pairs = ((0, 0),) * len(kernel)
    ones = (1,) * len(kernel)
    return sliding_window(sizes, kernel, ones, pairs, ones)


def _axes(axes: Axes, ndim: int, dims: int) -> Ints:
    """Return the axes of the array that the kernel slides along, none negative."""
    if axes is None:
        chosen = tuple(range(ndim - dims, ndim))
    else:
        given = (axes,) if not isinstance(axes, tuple | list) else tuple(axes)
        chosen = tuple(integer(f"each entry of axes {axes!r}", axis) for axis in given)
    if len(chosen) != dims or dims > ndim:
        raise ValueError(
            f"axes must name one axis of the array for each of the kernel's {dims} dimensions, "
            f"got axes {axes!r} for an array of {ndim} dimensions"
        )
    if any(not -ndim <= axis < ndim for axis in chosen) or len({a % ndim for a in chosen}) < dims:
        raise ValueError(
            f"axes must be different axes of an array of {ndim} dimensions, got {axes!r}"
        )
    return tuple(axis % ndim for axis in chosen)


def _parse(
    flip: bool,
    array: Array,
    kernel: Array | Sequence[Array],
    mode: str = "same",
    *,
    axes: Axes = None,
    padding_mode: str = "zeros",
    algorithm: str = "auto",
    take_apart: bool = True,
) -> _Sliding:
    one_of("mode", mode, MODES)
    factors = list(kernel) if isinstance(kernel, tuple | list) else None
    named: dict[str, Array] = {"kernel": kernel}
    if factors is not None:
        named = {f"kernel[{place}]": factor for place, factor in enumerate(factors)}
    library, dtype = common_library("correlate", array=array, **named)
    shapes = tuple(tuple(each.shape) for each in named.values())
    if factors is not None and (not factors or any(len(shape) != 1 for shape in shapes)):
        raise ValueError(
            f"kernel as a sequence must hold one array of one dimension for each axis, got shapes "
            f"{shapes}"
        )
    taps: Ints = shapes[0] if factors is None else tuple(shape[0] for shape in shapes)
    about = f"array {tuple(array.shape)}, kernel {taps}"
    if not taps or min(taps) < 1:
        raise ValueError(f"kernel must have one dimension and one tap at least: {about}")
    along = _axes(axes, array.ndim, len(taps))
    batch = tuple(axis for axis in range(array.ndim) if axis not in along)
    leading = tuple(array.shape[axis] for axis in batch)
    sizes = tuple(array.shape[axis] for axis in along)
    whole = _window(sizes, taps, mode)
    check_fits("the output", (*leading, *output_sizes(whole)), dtype.held, about)
    xp, order = library.xp, (*batch, *along)
    x = xp.reshape(xp.permute_dims(array, order), (prod(leading), 1, *sizes))
    if factors is None:
        factors = _factors(library_of("kernel", kernel), kernel, taps) if take_apart else [kernel]
    passes = []
    for place, factor in enumerate(factors):
        single = len(factors) == 1 and len(taps) > 1
        shape = taps if single else tuple(k if at == place else 1 for at, k in enumerate(taps))
        window = _window(sizes, shape, mode)
        own = library_of("kernel", factor).xp
        used = own.flip(factor) if flip else conjugate(factor)
        passes.append(_Pass(own.reshape(used, (1, 1, *shape)), window))
        sizes = output_sizes(window)
    return _Sliding(x, tuple(passes), padding_mode, algorithm, leading, order)


def _factors(library: Library, kernel: Array, taps: Ints) -> list[Array]:
    """Return a kernel's one-dimensional factors, whose outer product it is; else the kernel.

    Looked for only where the values are at hand without a wait, and the sums stay exact enough.
    """
    dtype = library.dtype(kernel.dtype)
    worth = prod(taps) >= WORTH_SEPARATING * sum(taps)
    if not worth or dtype.half or not library.values_at_hand:
        return [kernel]
    xp, factors, rest = library.xp, [], kernel
    while rest.ndim > 1:
        # (first dimension, the others); of rank 1 where each row is a multiple of one of them.
        rows = xp.reshape(rest, (rest.shape[0], -1))
        place = divmod(int(xp.argmax(xp.abs(rows))), rows.shape[1])
        row, column = rows[place[0], :], rows[:, place[1]]
        if dtype.kind == "integer":
            divisor = gcd(*(int(each) for each in row))
            if divisor > int(xp.iinfo(kernel.dtype).max):
                return [kernel]
            row = row // (divisor or 1)
            column = column // (int(row[place[1]]) or 1)
            same = rows == column[:, None] * row[None, :]
        else:
            pivot = complex(row[place[1]])
            if not isfinite(pivot):
                return [kernel]
            column = column / (row[place[1]] if pivot else 1)
            rounding = 2 * float(xp.finfo(kernel.dtype).eps) * abs(pivot)
            same = xp.abs(rows - column[:, None] * row[None, :]) <= rounding
        if not bool(xp.all(same)):
            return [kernel]
        factors.append(column)
        rest = xp.reshape(row, rest.shape[1:])
    return [*factors, rest]


def _restored(x: Array, sliding: _Sliding) -> Array:
    """Return (N, 1, *sizes) in the shape and the order of axes that the array came in."""
    xp = library_of("array", x).xp
    apart = xp.reshape(x, (*sliding.leading, *x.shape[2:]))
    back = tuple(sliding.order.index(axis) for axis in range(len(sliding.order)))
    return xp.permute_dims(apart, back)


def _slide(sliding: _Sliding) -> tuple[Array, list[tuple[Array, Window]]]:
    """Return the result of all passes, and what each one's window slid over."""
    x, seen = sliding.x, []
    for weight, window in sliding.passes:
        seen.append(padded_input(x, window, sliding.padding_mode))
        padded, bare = seen[-1]
        x = primitives.conv(padded, weight, bare, 1, algorithm=sliding.algorithm)
    return x, seen


def _result(sliding: _Sliding) -> Array:
    return _restored(_slide(sliding)[0], sliding)


def _first_pass(flip: bool, *arguments: Any, **params: Any) -> Call:
    """Return the first of the passes, which is what `explain` speaks of."""
    sliding = _parse(flip, *arguments, **params)
    weight, window = sliding.passes[0]
    padded, bare = padded_input(sliding.x, window, sliding.padding_mode)
    return Call(primitives.conv, (padded, weight, bare, 1), sliding.algorithm)


def _vjp(
    flip: bool, array: Array, kernel: Array | Sequence[Array], **params: Any
) -> tuple[Array, Pullback]:
    sliding = _parse(flip, array, kernel, **params, take_apart=False)
    output, seen = _slide(sliding)
    xp = library_of("array", array).xp

    def pullback(cotangent: Array) -> tuple[Array, Array]:
        y = xp.reshape(xp.permute_dims(cotangent, sliding.order), output.shape)
        for (weight, window), (padded, bare) in reversed(
            list(zip(sliding.passes, seen, strict=True))
        ):
            by_weight = primitives.conv_weight(conjugate(padded), y, bare, 1)[0, 0, ...]
            to_padded = primitives.conv_transpose(y, conjugate(weight), bare, 1)
            y = padded_input_adjoint(to_padded, window, sliding.padding_mode)
        # The kernel was flipped, or conjugated, to be the weight.
        return _restored(y, sliding), xp.flip(by_weight) if flip else conjugate(by_weight)

    return _restored(output, sliding), pullback


def correlate(
    array: Array,
    kernel: Array | Sequence[Array],
    mode: str = "same",
    *,
    axes: Axes = None,
    padding_mode: str = "zeros",
    algorithm: str = "auto",
) -> Array:
    """Slide a kernel along a bare array, as `numpy.correlate`, in any number of dimensions.

    ``output[p] = sum over t of array[p + t - before] * conj(kernel[t])``, with ``before`` 0
    ("valid"), ``k - 1`` ("full") or ``k // 2`` ("same") along each axis of ``k`` taps. There are
    no channels, and no N: dimensions that the kernel does not have are so many arrays of their
    own.

    Parameters
    ----------
    array : array
        Real, complex or integer (exact in that dtype, wrapping as it wraps).
    kernel : array, or sequence of arrays of one dimension
        Of the array's library, device and dtype. A sequence has one factor for each axis, and
        stands for their outer product: ``k1 + k2`` multiply-adds a cell instead of ``k1 * k2``.
        A NumPy kernel that is such a product is taken apart without being asked, which changes
        floating results by rounding only.
    mode : {"same", "full", "valid"}, optional
        Which positions there are: as many as cells; all where the kernel touches the array;
        those where it lies within.
    axes : int or tuple of int, optional
        The axes of the array that the kernel's dimensions slide along. Default: the last ones.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}, optional
        What is seen beyond the array, as `pad` explains.
    algorithm : str, optional
        The implementation to use; `explain` lists them.

    Returns
    -------
    array
        Of the array's library, device and dtype; half types are summed in float32.

    Raises
    ------
    ValueError
        Where axes, shapes, the mode or the algorithm do not fit, or with "valid" the kernel is
        larger than the array.
    TypeError
        Where an argument is of the wrong type, the arrays differ in library, device or dtype, or
        are bools.

    See Also
    --------
    convolve : With the kernel flipped.
    conv2d : With channels, strides and groups.

    Notes
    -----
    Equal to `scipy.signal.correlate` (whose "valid" swaps its arguments where the second is the
    larger) and, with "same", to `scipy.ndimage.correlate`, whose ``mode`` "constant" is "zeros"
    here, "mirror" is "reflect", "nearest" is "replicate" and "wrap" is "circular".

    References
    ----------
    .. [1] SciPy, documentation of scipy.signal.correlate: the sum and the modes.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> slope = np.asarray([-1, 0, 1])
    >>> ac.correlate(np.asarray([1, 2, 4, 8]), slope, padding_mode="replicate")
    array([1, 3, 6, 4])
    >>> blur = np.asarray([0.25, 0.5, 0.25])
    >>> ac.correlate(np.eye(3), [blur, blur])
    array([[0.3125, 0.25  , 0.0625],
           [0.25  , 0.375 , 0.25  ],
           [0.0625, 0.25  , 0.3125]])
    """
    return _result(
        _parse(
            False,
            array,
            kernel,
            mode,
            axes=axes,
            padding_mode=padding_mode,
            algorithm=algorithm,
        )
    )


def convolve(
    array: Array,
    kernel: Array | Sequence[Array],
    mode: str = "same",
    *,
    axes: Axes = None,
    padding_mode: str = "zeros",
    algorithm: str = "auto",
) -> Array:
    """Convolve a bare array with a kernel, flipped: `numpy.convolve` in any number of dimensions.

    `correlate` with the kernel flipped along each of its dimensions, and not conjugated.

    Parameters
    ----------
    array, kernel, mode, axes, padding_mode, algorithm
        As in `correlate`.

    Returns
    -------
    array
        Of the array's library, device and dtype; half types are summed in float32.

    Raises
    ------
    ValueError, TypeError
        As `correlate`.

    Notes
    -----
    Equal to `scipy.signal.convolve`; `scipy.ndimage.convolve` puts the centre of a kernel with an
    even number of taps one cell further on.

    References
    ----------
    .. [1] SciPy, documentation of scipy.signal.convolve: the sum and the modes.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.convolve(np.asarray([1, 2, 3]), np.asarray([1, 10]), "full")
    array([ 1, 12, 23, 30])
    """
    return _result(
        _parse(
            True,
            array,
            kernel,
            mode,
            axes=axes,
            padding_mode=padding_mode,
            algorithm=algorithm,
        )
    )


for _flip, _function in ((False, correlate), (True, convolve)):
    define(_function, ("array", "kernel"), partial(_vjp, _flip), partial(_first_pass, _flip))
