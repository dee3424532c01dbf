"""extract_patches and merge_patches: the windows of an array as arrays, and back by averaging."""

from __future__ import annotations

from math import prod

from arrayconv import primitives
from arrayconv._arrays import Array, Library, from_numbers, library_of
from arrayconv._integers import integers
from arrayconv._window import Window, kernel_sizes, sight_counts
from arrayconv.functional.arguments import IntOrInts, Padding, as_batch, common_library, like_input
from arrayconv.functional.columns import fold_call, unfold_call
from arrayconv.functional.operations import Call, Pullback, define


def _as_patches(columns: Array, window: Window) -> Array:
    """Return (N, positions, C, *kernel) of columns (N, C * taps, positions)."""
    xp = library_of("input", columns).xp
    batch, rows, positions = columns.shape
    kernel = kernel_sizes(window)
    moved = xp.permute_dims(columns, (0, 2, 1))
    return xp.reshape(moved, (batch, positions, rows // prod(kernel), *kernel))


def _as_columns(patches: Array, dims: int) -> Array:
    """Return columns (N, C * taps, positions) of patches (N, positions, C, *kernel)."""
    xp = library_of("patches", patches).xp
    batch, positions = patches.shape[:2]
    rows = prod(patches.shape[2 : 3 + dims])
    return xp.permute_dims(xp.reshape(patches, (batch, positions, rows)), (0, 2, 1))


def _extract_call(
    input: Array,
    kernel_size: IntOrInts,
    stride: IntOrInts | None = None,
    padding: Padding = 0,
    dilation: IntOrInts = 1,
) -> Call:
    return unfold_call(
        input, kernel_size, dilation, padding, kernel_size if stride is None else stride
    )


def _extract_vjp(input: Array, **params: object) -> tuple[Array, Pullback]:
    call = _extract_call(input, **params)  # type: ignore[arg-type]
    x, window = call.arguments
    unbatched = input.ndim < x.ndim

    def pullback(cotangent: Array) -> tuple[Array]:
        columns = _as_columns(cotangent[None, ...] if unbatched else cotangent, len(window))
        return (like_input(primitives.fold(columns, window), unbatched),)

    return like_input(_as_patches(call.run(), window), unbatched), pullback


def extract_patches(
    input: Array,
    kernel_size: IntOrInts,
    stride: IntOrInts | None = None,
    padding: Padding = 0,
    dilation: IntOrInts = 1,
) -> Array:
    """Cut an array into patches (N, positions, C, *kernel_size), overlapping or not.

    `unfold` with each column shaped as the patch that it is.

    Parameters
    ----------
    input : array, shape (N, C, *sizes) or (C, *sizes)
        Any dtype.
    kernel_size : int or tuple of int
        Cells of a patch, as in `unfold`: the length of a tuple sets the number of spatial
        dimensions; an int is for pictures.
    stride : int or tuple of int, optional
        Cells between patches. Default: ``kernel_size``, patches side by side.
    padding : int, tuple of int, tuple of (before, after) pairs, or str, optional
        Zeros around the input, as in `unfold`. ``"same_upper"`` adds what the last patch of a
        size that is no multiple of the stride lacks; else the cells beyond the last patch are
        in none.
    dilation : int or tuple of int, optional
        Cells between the taps of a patch.

    Returns
    -------
    array, shape (N, positions, C, *kernel_size), or without the N
        Positions counted with the last dimension fastest. Of the input's library, device and
        dtype.

    Raises
    ------
    ValueError
        Where shapes and sizes do not fit.
    TypeError
        Where an argument is of the wrong type.

    See Also
    --------
    merge_patches : The way back.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> picture = np.arange(16).reshape(1, 1, 4, 4)
    >>> patches = ac.extract_patches(picture, 2)
    >>> patches.shape
    (1, 4, 1, 2, 2)
    >>> patches[0, 1, 0]
    array([[2, 3],
           [6, 7]])
    """
    call = _extract_call(input, kernel_size, stride, padding, dilation)
    x, window = call.arguments
    return like_input(_as_patches(call.run(), window), input.ndim < x.ndim)


def _merge_call(
    patches: Array,
    output_size: IntOrInts,
    stride: IntOrInts | None = None,
    padding: Padding = 0,
    dilation: IntOrInts = 1,
) -> Call:
    library, dtype = common_library("unfold", patches=patches)
    if dtype.kind not in ("real", "complex"):
        raise TypeError(
            f"patches must be of a floating dtype, since overlaps are averaged; got {dtype.name}"
        )
    dims = len(output_size) if isinstance(output_size, tuple | list) else 2
    if dims < 1 or patches.ndim not in (dims + 2, dims + 3):
        raise ValueError(
            f"patches must have {dims + 3} dimensions (N, positions, C and {dims} of the patch), "
            f"or {dims + 2} without N, for output_size {output_size!r}; got shape "
            f"{tuple(patches.shape)}"
        )
    sizes = integers("output_size", output_size, dims)
    kernel = tuple(patches.shape[-dims:])
    if min(kernel) < 1:
        raise ValueError(f"patches must have at least one cell, got shape {tuple(patches.shape)}")
    batched = patches if patches.ndim == dims + 3 else patches[None, ...]
    columns = library.xp.astype(_as_columns(batched, dims), dtype.wide, copy=False)
    return fold_call(
        columns, sizes, kernel, dilation, padding, kernel if stride is None else stride
    )


def _averaged(library: Library, total: Array, window: Window) -> Array:
    """Return (N, C, *sizes) divided by how often each cell is seen; a cell in no patch is 0."""
    for dim, axis in enumerate(window):
        counts = [max(1, count) for count in sight_counts(axis)]
        if max(counts) > 1:
            divisor = from_numbers(library, total, counts)
            shape = (-1, *(1,) * (len(window) - 1 - dim))
            total = total / library.xp.reshape(divisor, shape)
    return total


def _merged(patches: Array, call: Call) -> Array:
    library = library_of("patches", patches)
    window = call.arguments[1]
    merged = library.xp.astype(_averaged(library, call.run(), window), patches.dtype, copy=False)
    return like_input(merged, patches.ndim == len(window) + 2)


def _merge_vjp(patches: Array, output_size: IntOrInts, **params: object) -> tuple[Array, Pullback]:
    call = _merge_call(patches, output_size, **params)  # type: ignore[arg-type]
    library, window = library_of("patches", patches), call.arguments[1]
    unbatched = patches.ndim == len(window) + 2

    def pullback(cotangent: Array) -> tuple[Array]:
        wide = library.dtype(cotangent.dtype).wide
        shared = library.xp.astype(as_batch(cotangent, len(window)), wide, copy=False)
        back = primitives.unfold(_averaged(library, shared, window), window)
        gradient = library.xp.astype(_as_patches(back, window), patches.dtype, copy=False)
        return (like_input(gradient, unbatched),)

    return _merged(patches, call), pullback


def merge_patches(
    patches: Array,
    output_size: IntOrInts,
    stride: IntOrInts | None = None,
    padding: Padding = 0,
    dilation: IntOrInts = 1,
) -> Array:
    """Put patches (N, positions, C, *kernel_size) together, averaging where they overlap.

    The inverse of `extract_patches` with the same arguments, but for cells that are in no patch,
    which are 0. It is `fold`, divided by the number of patches that each cell is in.

    Parameters
    ----------
    patches : array, shape (N, positions, C, *kernel_size), or without the N
        Real or complex floating; half types are summed in float32.
    output_size : int or tuple of int
        Spatial sizes of the output. The length of a tuple sets the number of spatial dimensions;
        an int is for pictures.
    stride, padding, dilation
        As they were given to `extract_patches`; what patches hold for padding is dropped.

    Returns
    -------
    array, shape (N, C, *output_size), or without the N
        Of the input's library, device and dtype.

    Raises
    ------
    ValueError
        Where shapes and sizes do not fit.
    TypeError
        Where an argument is of the wrong type, or the patches are integers or bools.

    See Also
    --------
    extract_patches : The way there.

    References
    ----------
    .. [1] PyTorch, documentation of torch.nn.Fold: the sum over overlapping windows, and its
       divisor.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> picture = np.arange(30.0).reshape(1, 1, 5, 6)
    >>> patches = ac.extract_patches(picture, 3, stride=1)
    >>> np.allclose(ac.merge_patches(patches, (5, 6), stride=1), picture)
    True
    """
    return _merged(patches, _merge_call(patches, output_size, stride, padding, dilation))


define(extract_patches, ("input",), _extract_vjp, _extract_call)
define(merge_patches, ("patches",), _merge_vjp, _merge_call)
