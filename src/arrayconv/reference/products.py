"""Convolutions, columns and padding, from one list of multiply-adds.

Every operation with a kernel is made of it: which input cell, which weight and which output cell
meet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

Array = Any
"""A NumPy array; its own type has much to say of indices that are plain here."""
Numbers = int | Sequence[int]
Padding = int | str | Sequence[int] | Sequence[tuple[int, int]]
Index = tuple[int, ...]


class _Axis:
    """One spatial dimension: the cell that tap ``t`` of output position ``p`` sees."""

    def __init__(self, size: int, kernel: int, stride: int, padding: Any, dilation: int) -> None:
        reach = dilation * (kernel - 1) + 1
        if isinstance(padding, str):
            out = -(-size // stride) if padding.startswith("same") else None
            total = max(0, (out - 1) * stride + reach - size) if out else 0
            small, large = total // 2, total - total // 2
            padding = (large, small) if padding == "same_lower" else (small, large)
        before, after = padding if isinstance(padding, tuple | list) else (padding, padding)
        self.size, self.kernel, self.stride, self.dilation = size, kernel, stride, dilation
        self.before, self.after = before, after
        self.out = (size + before + after - reach) // stride + 1

    def meetings(self) -> list[Index]:
        """Return (position, tap, cell) wherever a tap sees a cell of the input, not padding."""
        return [
            (position, tap, cell)
            for position, tap in product(range(self.out), range(self.kernel))
            if 0 <= (cell := position * self.stride + tap * self.dilation - self.before) < self.size
        ]


def _one_each(numbers: Any, dims: int) -> list[Any]:
    """Return one entry for each spatial dimension."""
    if isinstance(numbers, int | str):
        return [numbers] * dims
    return list(numbers) * dims if len(numbers) == 1 else list(numbers)


def _axes(
    sizes: Sequence[int], kernel: Sequence[int], stride: Any, padding: Any, dilation: Any
) -> list[_Axis]:
    each = (_one_each(numbers, len(sizes)) for numbers in (stride, padding, dilation))
    return [_Axis(*numbers) for numbers in zip(sizes, kernel, *each, strict=True)]


def _transposed_axes(
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Any,
    padding: Any,
    output_padding: Any,
    dilation: Any,
) -> list[_Axis]:
    """Return the axes of the convolution over the *output* that a transposed one is adjoint to."""
    each = (_one_each(ns, len(sizes)) for ns in (stride, padding, output_padding, dilation))
    axes = []
    for n, k, s, p, more, d in zip(sizes, kernel, *each, strict=True):
        before, after = p if isinstance(p, tuple | list) else (p, p)
        size = (n - 1) * s - before - after + d * (k - 1) + more + 1
        axis = _Axis(size, k, s, (before, after), d)
        axis.out = n
        axes.append(axis)
    return axes


def _seen(axes: Sequence[_Axis]) -> Iterator[tuple[Index, Index, Index]]:
    """Yield (position, tap, cell), each with one number an axis, for all that is not padding."""
    for meetings in product(*(axis.meetings() for axis in axes)):
        position, tap, cell = zip(*meetings, strict=True)
        yield position, tap, cell


def _multiply_adds(
    axes: Sequence[_Axis], batch: int, weight: Sequence[int], groups: int
) -> Iterator[tuple[Index, Index, Index]]:
    """Yield the indices (x, w, y) of every multiply-add ``y += w * x`` of a convolution."""
    outputs, channels = weight[:2]
    for position, tap, cell in _seen(axes):
        for n, o in product(range(batch), range(outputs)):
            first = o // (outputs // groups) * channels
            for c in range(channels):
                yield (n, first + c, *cell), (o, c, *tap), (n, o, *position)


def _objects(array: Array) -> Array:
    """Return the array with Python's numbers in it."""
    return array.astype(object)


def _narrow(objects: Array, dtype: np.dtype[Any]) -> Array:
    """Return Python's numbers in a dtype; integers wrap around as that dtype does."""
    if dtype.kind in "iu":
        bits = 8 * dtype.itemsize
        return (objects % 2**bits).astype(f"u{dtype.itemsize}").astype(dtype)
    return objects.astype(dtype)


def _zeros(shape: Sequence[int]) -> Array:
    return np.full(tuple(shape), 0, dtype=object)


def _add_bias(output: Array, bias: Array | None) -> Array:
    if bias is None:
        return output
    for o in range(output.shape[1]):
        output[:, o] += bias[o].item()
    return output


def conv(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Numbers = 1,
    padding: Padding = 0,
    dilation: Numbers = 1,
    groups: int = 1,
) -> Array:
    """Return ``y[n, o, p] = bias[o] + sum of w[o, c, t] * x[n, c, p * s + t * d - padding]``.

    Nested loops, one multiply-add at a time: the textbook's definition. Arguments are those of
    `arrayconv.conv2d`, in as many spatial dimensions as ``weight`` has.

    Examples
    --------
    >>> conv(np.asarray([[[1, 2, 4, 8]]]), np.asarray([[[1, 1]]]), stride=2)
    array([[[ 3, 12]]])
    """
    axes = _axes(input.shape[2:], weight.shape[2:], stride, padding, dilation)
    output = _zeros((len(input), len(weight), *(axis.out for axis in axes)))
    x, w = _objects(input), _objects(weight)
    for i, j, k in _multiply_adds(axes, len(input), weight.shape, groups):
        output[k] += x[i] * w[j]
    return _narrow(_add_bias(output, bias), input.dtype)


def conv_by_position(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Numbers = 1,
    padding: Padding = 0,
    dilation: Numbers = 1,
    groups: int = 1,
) -> Array:
    """Return the same as `conv`, by the lecture's loop: one vectorised sum per output position.

    Examples
    --------
    >>> conv_by_position(np.asarray([[[1, 2, 4, 8]]]), np.asarray([[[1, 1]]]), stride=2)
    array([[[ 3, 12]]])
    """
    axes = _axes(input.shape[2:], weight.shape[2:], stride, padding, dilation)
    padded: Array = np.pad(input, [(0, 0), (0, 0), *((axis.before, axis.after) for axis in axes)])
    output: Array = np.zeros((len(input), len(weight), *(a.out for a in axes)), input.dtype)
    batch, outputs = len(input), len(weight)
    weights = weight.reshape(groups, outputs // groups, weight[0].size)
    for position in product(*(range(axis.out) for axis in axes)):
        window: Any = tuple(
            slice(p * a.stride, p * a.stride + a.dilation * (a.kernel - 1) + 1, a.dilation)
            for p, a in zip(position, axes, strict=True)
        )
        seen = padded[(..., *window)].reshape(batch, groups, 1, weight[0].size)
        sums = (seen * weights).sum(axis=-1, dtype=input.dtype)
        output[(..., *position)] = sums.reshape(batch, outputs)
    if bias is not None:
        output += bias.reshape(1, outputs, *(1,) * len(axes))
    return output


def conv_transpose(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Numbers = 1,
    padding: Padding = 0,
    output_padding: Numbers = 0,
    groups: int = 1,
    dilation: Numbers = 1,
) -> Array:
    """Return what `conv`'s multiply-adds give with input and output changing places.

    Examples
    --------
    >>> conv_transpose(np.asarray([[[1, 2]]]), np.asarray([[[1, 1, 1]]]), stride=2)
    array([[[1, 1, 3, 2, 2]]])
    """
    kernel = weight.shape[2:]
    axes = _transposed_axes(input.shape[2:], kernel, stride, padding, output_padding, dilation)
    output = _zeros((len(input), weight.shape[1] * groups, *(axis.size for axis in axes)))
    y, w = _objects(input), _objects(weight)
    for i, j, k in _multiply_adds(axes, len(input), weight.shape, groups):
        output[i] += y[k] * w[j]
    return _narrow(_add_bias(output, bias), input.dtype)


def conv_gradients(
    input: Array,
    weight: Array,
    cotangent: Array,
    stride: Numbers = 1,
    padding: Padding = 0,
    dilation: Numbers = 1,
    groups: int = 1,
) -> tuple[Array, Array, Array]:
    """Return the gradients of `conv` to the input, the weight and the bias.

    Each multiply-add ``y += w * x`` hands the cotangent of ``y`` back to both of its factors,
    times the (conjugated) other.

    Examples
    --------
    >>> ones = np.ones((1, 1, 3))
    >>> to_input, to_weight, to_bias = conv_gradients(ones, np.ones((1, 1, 2)), np.ones((1, 1, 2)))
    >>> to_input, to_weight, to_bias
    (array([[[1., 2., 1.]]]), array([[[2., 2.]]]), array([2.]))
    """
    axes = _axes(input.shape[2:], weight.shape[2:], stride, padding, dilation)
    x, w, g = _objects(input.conj()), _objects(weight.conj()), _objects(cotangent)
    to_input, to_weight = _zeros(input.shape), _zeros(weight.shape)
    for i, j, k in _multiply_adds(axes, len(input), weight.shape, groups):
        to_input[i] += g[k] * w[j]
        to_weight[j] += g[k] * x[i]
    dtype = input.dtype
    return _narrow(to_input, dtype), _narrow(to_weight, dtype), _narrow(_channel_sums(g), dtype)


def conv_transpose_gradients(
    input: Array,
    weight: Array,
    cotangent: Array,
    stride: Numbers = 1,
    padding: Padding = 0,
    output_padding: Numbers = 0,
    groups: int = 1,
    dilation: Numbers = 1,
) -> tuple[Array, Array, Array]:
    """Return the gradients of `conv_transpose` to the input, the weight and the bias.

    Examples
    --------
    >>> cotangent = np.ones((1, 1, 3))
    >>> to_input, _, _ = conv_transpose_gradients(np.ones((1, 1, 2)), np.ones((1, 1, 2)), cotangent)
    >>> to_input
    array([[[2., 2.]]])
    """
    kernel = weight.shape[2:]
    axes = _transposed_axes(input.shape[2:], kernel, stride, padding, output_padding, dilation)
    y, w, g = _objects(input.conj()), _objects(weight.conj()), _objects(cotangent)
    to_input, to_weight = _zeros(input.shape), _zeros(weight.shape)
    for i, j, k in _multiply_adds(axes, len(input), weight.shape, groups):
        to_input[k] += g[i] * w[j]
        to_weight[j] += g[i] * y[k]
    dtype = input.dtype
    return _narrow(to_input, dtype), _narrow(to_weight, dtype), _narrow(_channel_sums(g), dtype)


def _channel_sums(objects: Array) -> Array:
    sums = _zeros((objects.shape[1],))
    for n, c in product(range(objects.shape[0]), range(objects.shape[1])):
        sums[c] += sum(objects[n, c].ravel())
    return sums


def unfold(
    input: Array,
    kernel_size: Sequence[int],
    dilation: Numbers = 1,
    padding: Padding = 0,
    stride: Numbers = 1,
) -> Array:
    """Return the columns: each element copied to where its window and tap want it.

    Examples
    --------
    >>> unfold(np.asarray([[[1, 2, 3]]]), (2,))
    array([[[1, 2],
            [2, 3]]])
    """
    axes = _axes(input.shape[2:], kernel_size, stride, padding, dilation)
    batch, channels = input.shape[:2]
    counts = [axis.out for axis in axes]
    columns: Array = np.zeros((batch, channels, *kernel_size, *counts), input.dtype)
    for position, tap, cell in _seen(axes):
        columns[(slice(None), slice(None), *tap, *position)] = input[(..., *cell)]
    rows, count = channels * int(np.prod(kernel_size)), int(np.prod(counts))
    return columns.reshape(batch, rows, count)


def fold(
    input: Array,
    output_size: Sequence[int],
    kernel_size: Sequence[int],
    dilation: Numbers = 1,
    padding: Padding = 0,
    stride: Numbers = 1,
) -> Array:
    """Return the sum of the columns: each element added to the cell that its window and tap see.

    Examples
    --------
    >>> fold(np.asarray([[[1, 2], [2, 3]]]), (3,), (2,))
    array([[[1, 4, 3]]])
    """
    axes = _axes(output_size, kernel_size, stride, padding, dilation)
    batch, channels = len(input), input.shape[1] // int(np.prod(kernel_size))
    counts = [axis.out for axis in axes]
    columns = _objects(input).reshape(batch, channels, *kernel_size, *counts)
    output = _zeros((batch, channels, *output_size))
    for position, tap, cell in _seen(axes):
        output[(..., *cell)] += columns[(slice(None), slice(None), *tap, *position)]
    return _narrow(output, input.dtype)


def _shown(index: int, size: int, before: int, after: int, mode: str) -> int | None:
    """Return the cell that a place of a padded axis shows, counted from the first; None for none.

    ``before`` and ``after`` are what is cropped, where they are negative.
    """
    if 0 <= index < size or mode == "constant":
        return index if 0 <= index < size else None
    if mode == "reflect":
        return -index if index < 0 else 2 * (size - 1) - index
    if mode == "replicate":
        return 0 if index < 0 else size - 1
    first, stop = max(0, -before), size + min(0, after)
    return first + (index - first) % (stop - first)


def pad(input: Array, pad: Sequence[int], mode: str = "constant", value: Any = 0) -> Array:
    """Return the array with cells added or cropped, the last dimension's pair first.

    Examples
    --------
    >>> pad(np.asarray([[1, 2]]), (1, 0), value=7)
    array([[7, 1, 2]])
    """
    pairs = [(0, 0)] * input.ndim
    for dim in range(len(pad) // 2):
        pairs[input.ndim - 1 - dim] = (pad[2 * dim], pad[2 * dim + 1])
    shape = [n + before + after for n, (before, after) in zip(input.shape, pairs, strict=True)]
    output: Array = np.full(shape, value, input.dtype)
    for to in product(*map(range, shape)):
        cells = [
            _shown(i - pair[0], n, *pair, mode)
            for i, pair, n in zip(to, pairs, input.shape, strict=True)
        ]
        if None not in cells:
            output[to] = input[tuple(cells)]
    return output


def linear(input: Array, weight: Array, bias: Array | None = None) -> Array:
    """Return ``y[..., o] = bias[o] + sum of w[o, i] * x[..., i]``; one weight has no ``o``.

    Examples
    --------
    >>> linear(np.asarray([[1, 2]]), np.asarray([[3, 4], [5, 6]]), np.asarray([10, 20]))
    array([[21, 37]])
    """
    if weight.ndim == 1:
        return linear(input, weight[None], None if bias is None else bias[None])[..., 0]
    x, w = _objects(input), _objects(weight)
    output = _zeros((*input.shape[:-1], len(weight)))
    for row in product(*map(range, input.shape[:-1])):
        for o in range(len(weight)):
            total = sum(x[(*row, i)] * w[o, i] for i in range(input.shape[-1]))
            output[(*row, o)] = total + (0 if bias is None else bias[o].item())
    return _narrow(output, input.dtype)
