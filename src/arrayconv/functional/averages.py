"""avg_pool, lp_pool and adaptive_avg_pool in 1, 2 and 3 dimensions: all stand on a windowed sum."""

from __future__ import annotations

from functools import lru_cache, partial
from math import prod
from typing import Any

from arrayconv import primitives
from arrayconv._arrays import Array, Library, from_numbers, library_of
from arrayconv._integers import Ints, integer
from arrayconv._window import Windows, window_lengths
from arrayconv.functional.arguments import (
    IntOrInts,
    Padding,
    as_batch,
    like_input,
)
from arrayconv.functional.operations import Call, Pullback, define
from arrayconv.functional.windows import Sizes, StrideOrNone, adaptive_pool_window, pool_window


@lru_cache(maxsize=1024)
def _counts(window: Windows, padded: bool) -> int | tuple[Ints, ...]:
    """Return how many cells each window has, as one number, or as factors by dimension."""
    lengths = [tuple(max(1, n) for n in window_lengths(axis, padded)) for axis in window]
    if all(len(set(each)) == 1 for each in lengths):
        return prod(each[0] for each in lengths)
    return tuple(lengths)


def _divided(total: Array, window: Windows, padded: bool, divisor: int | None) -> Array:
    """Return windowed sums divided by ``divisor``, else by how many cells each window has.

    A window that sees padding only, and does not count it, has a sum of 0 and an average of 0.
    """
    library = library_of("input", total)
    count: Any = _counts(window, padded) if divisor is None else divisor
    if isinstance(count, tuple):
        lengths, count = count, 1
        for dim, each in enumerate(lengths):
            along = from_numbers(library, total, each)
            count = count * library.xp.reshape(along, (-1, *(1,) * (len(window) - 1 - dim)))
    return _quotient(library, total, count)


def _quotient(library: Library, total: Array, count: Any) -> Array:
    """Return the quotient; of integers towards zero, as in C."""
    if library.dtype(total.dtype).kind != "integer":
        return total / count
    xp = library.xp
    down = total // count
    short = (down * count != total) & ((total < 0) != (count < 0))
    return down + xp.astype(short, total.dtype)


def _summed(x: Array, window: Windows) -> Array:
    """Return the windowed sums: those of integers in 64 bits, where no window overflows."""
    library = library_of("input", x)
    dtype = library.dtype(x.dtype)
    if dtype.kind == "integer" and dtype.name not in ("int64", "uint64"):
        x = library.xp.astype(x, library.xp.int64)
    return primitives.sum_pool(x, window)


class Averaging:
    """An average pool whose window and divisor are known."""

    def __init__(self, window: Windows, padded: bool, divisor: int | None) -> None:
        self.window, self.padded, self.divisor = window, padded, divisor

    def run(self, x: Array) -> Array:
        """Return the averages (N, C, *positions) of ``x`` (N, C, *sizes)."""
        averages = _divided(_summed(x, self.window), self.window, self.padded, self.divisor)
        if averages.dtype == x.dtype:
            return averages
        return library_of("input", x).xp.astype(averages, x.dtype)

    def adjoint(self, y: Array) -> Array:
        """Return (N, C, *sizes): each cell its share of the windows that see it."""
        library = library_of("cotangent", y)
        wide = library.xp.astype(y, library.dtype(y.dtype).wide, copy=False)
        shares = _divided(wide, self.window, self.padded, self.divisor)
        return library.xp.astype(primitives.spread(shares, self.window), y.dtype, copy=False)


def _avg(
    dims: int,
    input: Array,
    kernel_size: IntOrInts,
    stride: StrideOrNone = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    dilation: IntOrInts = 1,
) -> Averaging:
    window = pool_window("avg_pool", dims, input, kernel_size, stride, padding, dilation, ceil_mode)
    if not isinstance(count_include_pad, bool):
        raise TypeError(f"count_include_pad must be True or False, got {count_include_pad!r}")
    if divisor_override is not None and integer("divisor_override", divisor_override) == 0:
        raise ValueError("divisor_override must not be 0, got 0")
    return Averaging(window, count_include_pad, divisor_override)


def _adaptive(dims: int, input: Array, output_size: Sizes) -> Averaging:
    window = adaptive_pool_window("avg_pool", dims, input, output_size)
    return Averaging(window, False, None)


def _run(parse: Any, dims: int, input: Array, *arguments: Any, **params: Any) -> Array:
    averaging = parse(dims, input, *arguments, **params)
    return like_input(averaging.run(as_batch(input, dims)), input.ndim == dims + 1)


def _vjp(parse: Any, dims: int, input: Array, **params: Any) -> tuple[Array, Pullback]:
    averaging = parse(dims, input, **params)
    unbatched = input.ndim == dims + 1

    def pullback(cotangent: Array) -> tuple[Array]:
        return (like_input(averaging.adjoint(as_batch(cotangent, dims)), unbatched),)

    return like_input(averaging.run(as_batch(input, dims)), unbatched), pullback


def _call(parse: Any, dims: int, input: Array, *arguments: Any, **params: Any) -> Call:
    window = parse(dims, input, *arguments, **params).window
    return Call(primitives.sum_pool, (as_batch(input, dims), window))


def avg_pool1d(
    input: Array,
    kernel_size: IntOrInts,
    stride: StrideOrNone = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    *,
    dilation: IntOrInts = 1,
) -> Array:
    """Return the average of each window of signals (N, C, L): `avg_pool2d` in one dimension.

    Parameters
    ----------
    input : array, shape (N, C, L) or (C, L)
        The signals.
    kernel_size, stride, padding, ceil_mode, count_include_pad, dilation
        As in `avg_pool2d`.

    Returns
    -------
    array, shape (N, C, positions), or without the N
        As `avg_pool2d`.

    Raises
    ------
    ValueError, TypeError
        As `avg_pool2d`.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.avg_pool1d(np.asarray([[[1.0, 3.0, 5.0, 9.0]]]), 2)
    array([[[2., 7.]]])
    """
    return _run(
        _avg,
        1,
        input,
        kernel_size,
        stride,
        padding,
        ceil_mode,
        count_include_pad,
        dilation=dilation,
    )


def avg_pool2d(
    input: Array,
    kernel_size: IntOrInts,
    stride: StrideOrNone = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    dilation: IntOrInts = 1,
) -> Array:
    """Return the average of each window of images (N, C, H, W).

    Parameters
    ----------
    input : array, shape (N, C, H, W) or (C, H, W)
        Real, complex or integer; integers are divided towards zero.
    kernel_size, stride, padding, ceil_mode
        As in `max_pool2d`; padding is of zeros.
    count_include_pad : bool, optional
        Whether padding counts in the divisor. What ``ceil_mode`` reaches beyond it never does.
    divisor_override : int, optional
        Divide by this number.
    dilation : int or tuple of int, optional
        Cells between the taps of the window.

    Returns
    -------
    array, shape (N, C, *positions), or without the N
        Of the input's library, device and dtype; half types are summed in float32, integers in 64
        bits.

    Raises
    ------
    ValueError
        Where shapes and sizes do not fit, a number is out of range, or the divisor is 0.
    TypeError
        Where an argument is of the wrong type, or the input is of bools.

    Notes
    -----
    Differences from ``torch.nn.functional.avg_pool2d``: padding in pairs and words, complex and
    every integer dtype, the keyword ``dilation``.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.avg_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2)[0, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    """
    return _run(
        _avg,
        2,
        input,
        kernel_size,
        stride,
        padding,
        ceil_mode,
        count_include_pad,
        divisor_override,
        dilation=dilation,
    )


def avg_pool3d(
    input: Array,
    kernel_size: IntOrInts,
    stride: StrideOrNone = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    dilation: IntOrInts = 1,
) -> Array:
    """Return the average of each window of volumes (N, C, D, H, W).

    `avg_pool2d` in three dimensions.

    Parameters
    ----------
    input : array, shape (N, C, D, H, W) or (C, D, H, W)
        The volumes.
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, dilation
        As in `avg_pool2d`.

    Returns
    -------
    array, shape (N, C, *positions), or without the N
        As `avg_pool2d`.

    Raises
    ------
    ValueError, TypeError
        As `avg_pool2d`.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.avg_pool3d(np.ones((1, 2, 4, 4, 4)), 2).shape
    (1, 2, 2, 2, 2)
    """
    return _run(
        _avg,
        3,
        input,
        kernel_size,
        stride,
        padding,
        ceil_mode,
        count_include_pad,
        divisor_override,
        dilation=dilation,
    )


def adaptive_avg_pool1d(input: Array, output_size: Sizes) -> Array:
    """Divide signals (N, C, L) into parts, and return the average of each.

    `adaptive_avg_pool2d` in one dimension.

    Parameters
    ----------
    input : array, shape (N, C, L) or (C, L)
        The signals.
    output_size : int or None
        As in `adaptive_avg_pool2d`.

    Returns
    -------
    array, shape (N, C, output_size), or without the N
        As `adaptive_avg_pool2d`.

    Raises
    ------
    ValueError, TypeError
        As `adaptive_avg_pool2d`.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.adaptive_avg_pool1d(np.asarray([[[1.0, 2.0, 3.0, 4.0, 5.0]]]), 2)
    array([[[2., 4.]]])
    """
    return _run(_adaptive, 1, input, output_size)


def adaptive_avg_pool2d(input: Array, output_size: Sizes) -> Array:
    """Divide images (N, C, H, W) into ``output_size`` parts, and return the average of each.

    The parts are those of `adaptive_max_pool2d`.

    Parameters
    ----------
    input : array, shape (N, C, H, W) or (C, H, W)
        Real, complex or integer.
    output_size : int, None, or tuple of them
        Parts in each spatial dimension; None keeps a dimension as it is. 1 is global pooling.

    Returns
    -------
    array, shape (N, C, *output_size), or without the N
        Of the input's library, device and dtype; half types are summed in float32.

    Raises
    ------
    ValueError
        Where a size does not fit.
    TypeError
        Where an argument is of the wrong type, or the input is of bools.

    See Also
    --------
    avg_pool2d : The average of windows of a given size.

    Notes
    -----
    Difference from ``torch.nn.functional.adaptive_avg_pool2d``: integers too, averaged towards
    zero.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.adaptive_avg_pool2d(np.arange(25.0).reshape(1, 1, 5, 5), 2)[0, 0]
    array([[ 6.,  8.],
           [16., 18.]])
    """
    return _run(_adaptive, 2, input, output_size)


def adaptive_avg_pool3d(input: Array, output_size: Sizes) -> Array:
    """Divide volumes (N, C, D, H, W) into parts, and return the average of each.

    `adaptive_avg_pool2d` in three dimensions.

    Parameters
    ----------
    input : array, shape (N, C, D, H, W) or (C, D, H, W)
        The volumes.
    output_size : int, None, or tuple of them
        As in `adaptive_avg_pool2d`.

    Returns
    -------
    array, shape (N, C, *output_size), or without the N
        As `adaptive_avg_pool2d`.

    Raises
    ------
    ValueError, TypeError
        As `adaptive_avg_pool2d`.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.adaptive_avg_pool3d(np.ones((2, 3, 5, 6, 7)), (2, None, 1)).shape
    (2, 3, 2, 6, 1)
    """
    return _run(_adaptive, 3, input, output_size)


for _dims, _pool, _adapted in (
    (1, avg_pool1d, adaptive_avg_pool1d),
    (2, avg_pool2d, adaptive_avg_pool2d),
    (3, avg_pool3d, adaptive_avg_pool3d),
):
    for _function, _parse in ((_pool, _avg), (_adapted, _adaptive)):
        define(_function, ("input",), partial(_vjp, _parse, _dims), partial(_call, _parse, _dims))
