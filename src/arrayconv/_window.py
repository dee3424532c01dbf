"""The one idea: a window slides over an array. Its geometry, in pure integers.

Every operation of arrayconv is a window that slides over an array and a reduction of what it
sees. A window is a tuple of axes, one per spatial dimension. At output position ``o``, kernel tap
``t`` of an axis sees the input cell ``o * stride + t * dilation - before``; a cell outside of
``range(size)`` is padding.

This module knows no array: it makes windows of sizes, answers how long an output is, and words
every message about sizes.
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd
from typing import NamedTuple

from arrayconv._integers import Ints, Pairs


class Axis(NamedTuple):
    """One spatial dimension of a window.

    ``out`` is stored rather than derived, so that a cropped, ceiled or ``output_padding``-ed
    window needs no case of its own; ``after`` is the padding that was asked for, whether or not
    a window reaches it.
    """

    size: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int
    out: int


Window = tuple[Axis, ...]


class Table(NamedTuple):
    """One spatial dimension whose windows follow no rule: those of adaptive pooling.

    ``cells[o][t]`` is the cell that tap ``t`` of position ``o`` sees; -1 where its window has
    fewer taps.
    """

    size: int
    kernel: int
    out: int
    cells: tuple[Ints, ...]


Windows = tuple[Axis | Table, ...]
"""A window whose dimensions may be tables: what the pools take."""


class Tap(NamedTuple):
    """Where one kernel tap of an axis sees the input.

    Output positions ``first .. last - 1`` see the cells ``start, start + stride, ..., stop - 1``;
    all other positions see padding through this tap.
    """

    first: int
    last: int
    start: int
    stop: int


@lru_cache(maxsize=4096)
def tap_range(axis: Axis, tap: int) -> Tap:
    """Return the one strided slice of the input that kernel tap ``tap`` sees."""
    offset = tap * axis.dilation - axis.before
    first = min(axis.out, max(0, -(offset // axis.stride)))
    last = min(axis.out, (axis.size - 1 - offset) // axis.stride + 1)
    if last <= first:
        return Tap(first, first, 0, 0)
    start = first * axis.stride + offset
    return Tap(first, last, start, start + (last - first - 1) * axis.stride + 1)


def span(axis: Axis) -> int:
    """Return the number of cells from a window's first tap to its last."""
    return axis.dilation * (axis.kernel - 1) + 1


def reach(axis: Axis) -> int:
    """Return the number of cells from the first window's start to the last one's end."""
    return (axis.out - 1) * axis.stride + span(axis)


def needed_after(axis: Axis) -> int:
    """Return the padding after the input that the windows touch; negative where they stop short."""
    return reach(axis) - axis.before - axis.size


class Sight(NamedTuple):
    """How the taps that see one cell follow each other: see `sight`."""

    common: int
    tap_step: int
    position_step: int
    inverse: int
    rounds: int


@lru_cache(maxsize=4096)
def sight(axis: Axis) -> Sight:
    """Return how to list the taps that see a cell without trying them all.

    Tap ``t`` of position ``o`` sees the cell ``i`` where ``o * stride + t * dilation == i +
    before``. With ``common = gcd(stride, dilation)`` that has solutions only if ``common`` divides
    ``i + before``; the first tap is then ``(i + before) / common * inverse`` modulo ``tap_step``,
    and each one ``tap_step`` further on belongs to the position ``position_step`` before: at most
    ``rounds`` of them.
    """
    common = gcd(axis.stride, axis.dilation)
    tap_step, position_step = axis.stride // common, axis.dilation // common
    inverse = pow(position_step, -1, tap_step)
    return Sight(common, tap_step, position_step, inverse, -(-axis.kernel // tap_step))


def index_table(axis: Axis) -> tuple[Ints, ...]:
    """Return the input cell that each ``[output position][tap]`` sees, with -1 for padding."""
    cells = (
        [o * axis.stride + t * axis.dilation - axis.before for t in range(axis.kernel)]
        for o in range(axis.out)
    )
    return tuple(tuple(cell if 0 <= cell < axis.size else -1 for cell in row) for row in cells)


@lru_cache(maxsize=1024)
def sight_counts(axis: Axis) -> Ints:
    """Return, for each cell of the input, how many taps of how many positions see it."""
    counts = [0] * axis.size
    for tap in range(axis.kernel):
        _, _, start, stop = tap_range(axis, tap)
        for cell in range(start, stop, axis.stride):
            counts[cell] += 1
    return tuple(counts)


def index_columns(axis: Axis | Table) -> tuple[Ints, ...]:
    """Return, for each tap, the input cell that each output position sees; -1 for padding."""
    table = axis.cells if isinstance(axis, Table) else index_table(axis)
    return tuple(zip(*table, strict=True))


@lru_cache(maxsize=256)
def inverse_table(table: Table) -> tuple[Ints, ...]:
    """Return, for each cell of the input, the ``tap * out + position`` that see it; -1 fills up."""
    seen: list[list[int]] = [[] for _ in range(table.size)]
    for position, row in enumerate(table.cells):
        for tap, cell in enumerate(row):
            if cell >= 0:
                seen[cell].append(tap * table.out + position)
    slots = max(map(len, seen))
    return tuple(tuple(each + [-1] * (slots - len(each))) for each in seen)


@lru_cache(maxsize=1024)
def window_lengths(axis: Axis | Table, padded: bool) -> Ints:
    """Return how many cells each window has: of the padded input, or of the input alone.

    Cells beyond the padding that was asked for, which ``ceil_mode`` may reach, never count.
    """
    if isinstance(axis, Table):
        return tuple(sum(cell >= 0 for cell in row) for row in axis.cells)
    low, high = (-axis.before, axis.size + axis.after) if padded else (0, axis.size)

    def length(position: int) -> int:
        start = position * axis.stride - axis.before
        first = max(0, -((start - low) // axis.dilation))
        last = min(axis.kernel, -((start - high) // axis.dilation))
        return max(0, last - first)

    # Only windows at the ends can be cut; all between them are whole.
    whole = min(axis.out, max(0, -(-(low + axis.before) // axis.stride)))
    cut = min(axis.out, max(whole, (high - span(axis) + axis.before) // axis.stride + 1))
    return (
        *map(length, range(whole)),
        *(axis.kernel,) * (cut - whole),
        *map(length, range(cut, axis.out)),
    )


def adjoint_axis(axis: Axis) -> Axis:
    """Return the axis by which the adjoint of a stride-1 convolution is itself a convolution.

    Cell ``i`` is seen by tap ``t`` of position ``o = i - t * dilation + before``. With the kernel
    flipped, ``t -> kernel - 1 - t``, that is a window over the output positions.
    """
    if axis.stride != 1:
        raise ValueError(f"only a stride of 1 has a sliding adjoint, got {axis}")
    before = axis.dilation * (axis.kernel - 1) - axis.before
    flipped = Axis(axis.out, axis.kernel, 1, axis.dilation, before, 0, axis.size)
    return flipped._replace(after=needed_after(flipped))


# --- padding that repeats the input ---------------------------------------------------------------


class Run(NamedTuple):
    """The ``length`` cells ``start, start + step, ...`` of an axis; a step of 0 repeats one."""

    start: int
    step: int
    length: int


class Kept(NamedTuple):
    """Which cells of an axis a padding by a constant keeps, and how many it adds at the ends."""

    start: int
    stop: int
    before: int
    after: int


def padding_kept(size: int, before: int, after: int) -> Kept:
    """Return what becomes of an axis that is padded, or cropped where a number is negative."""
    start, stop = max(0, -before), size - max(0, -after)
    if start >= stop:
        # A crop may take some of the cells that the other end has.
        return Kept(0, 0, 0, size + before + after)
    return Kept(start, stop, max(0, before), max(0, after))


PADDING_MODES = ("constant", "reflect", "replicate", "circular")


@lru_cache(maxsize=4096)
def padding_runs(size: int, before: int, after: int, mode: str) -> tuple[Run, ...]:
    """Return the cells of an axis that, laid end to end, are the axis padded in a ``mode``.

    "reflect" mirrors at the first and last cell without repeating them, "replicate" repeats them,
    "circular" goes on at the other end. Negative numbers crop: what is cropped may still be
    mirrored, but is gone before the axis is wrapped around (as in PyTorch).
    """
    most = max(before, after)
    cropped = size + min(before, 0) + min(after, 0)
    room = {"reflect": size - 1, "replicate": most if size else 0, "circular": cropped}[mode]
    if most > max(0, room):
        raise ValueError(
            f"padding of ({before}, {after}) in mode {mode!r} needs an axis of more cells: it can "
            f"add at most {max(0, room)} to an axis of {size} cells"
        )
    last = size - 1
    head, tail = max(0, -before), last - max(0, -after)
    ends = {
        "reflect": (Run(before, -1, before), Run(last - 1, -1, after)),
        "replicate": (Run(0, 0, before), Run(last, 0, after)),
        "circular": (Run(tail - before + 1, 1, before), Run(head, 1, after)),
    }
    left, right = ends[mode]
    # Each part with the place in the padded axis that it starts at, before anything is cropped.
    parts = ((left, 0), (Run(0, 1, size), before), (right, before + size))
    total = before + size + after
    clipped = []
    for run, place in parts:
        first, stop = max(0, -place), min(run.length, total - place)
        if first < stop:
            clipped.append(Run(run.start + first * run.step, run.step, stop - first))
    return tuple(clipped)


# --- windows ----------------------------------------------------------------------------------


def _same_padding(word: str, size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Return the pair by which ``out = ceil(size / stride)``, the odd cell after or before."""
    if word == "same" and stride != 1:
        raise ValueError(
            f"padding='same' needs a stride of 1, got stride {stride}; 'same_upper' and "
            "'same_lower' take any stride (output = ceil(size / stride), as in ONNX)"
        )
    out = -(-size // stride)
    total = max(0, (out - 1) * stride + dilation * (kernel - 1) + 1 - size)
    small = total // 2
    return (total - small, small) if word == "same_lower" else (small, total - small)


def _axis(
    size: int, kernel: int, stride: int, dilation: int, before: int, after: int, out: int
) -> Axis:
    """Return an axis whose meaningless numbers are tamed, so that no arithmetic can overflow.

    With one position the stride, and with one tap the dilation, has no effect.
    """
    if out == 1:
        stride = min(stride, size + before + after + 1)
    if kernel == 1:
        dilation = 1
    return Axis(size, kernel, stride, dilation, before, after, out)


@lru_cache(maxsize=4096)
def sliding_window(
    sizes: Ints,
    kernel: Ints,
    stride: Ints,
    padding: Pairs | str,
    dilation: Ints,
    ceil_mode: bool = False,
) -> Window:
    """Return the window of a convolution, pool or unfold over an input of ``sizes``.

    ``out = floor((size + before + after - dilation * (kernel - 1) - 1) / stride) + 1``; with
    ``ceil_mode`` the division rounds up, and a last window that would start beyond the input and
    its left padding is dropped.
    """
    axes = []
    for dim, (n, k, s, d) in enumerate(zip(sizes, kernel, stride, dilation, strict=True)):
        if n < 1:
            raise ValueError(f"the input has no cells in spatial dimension {dim}: sizes {sizes}")
        pair = _same_padding(padding, n, k, s, d) if isinstance(padding, str) else padding[dim]
        before, after = pair
        room = n + before + after - d * (k - 1) - 1
        out = (room + (s - 1 if ceil_mode else 0)) // s + 1
        if ceil_mode and (out - 1) * s >= n + before:
            out -= 1
        if out < 1:
            raise ValueError(
                f"kernel_size {kernel} with dilation {dilation} spans {d * (k - 1) + 1} cells in "
                f"spatial dimension {dim}, more than the {n + before + after} of the padded input: "
                f"sizes {sizes}, padding {padding}"
            )
        axes.append(_axis(n, k, s, d, before, after, out))
    return tuple(axes)


@lru_cache(maxsize=4096)
def transposed_window(
    sizes: Ints, kernel: Ints, stride: Ints, padding: Pairs, output_padding: Ints, dilation: Ints
) -> Window:
    """Return the window of the convolution that ``conv_transpose`` of an input of ``sizes`` undoes.

    It slides over the *output* of the transposed convolution, of size
    ``(n - 1) * stride - before - after + dilation * (kernel - 1) + output_padding + 1``, and has
    the ``n`` positions of its input.
    """
    axes = []
    for dim, (n, k, s, d) in enumerate(zip(sizes, kernel, stride, dilation, strict=True)):
        if n < 1:
            raise ValueError(f"the input has no cells in spatial dimension {dim}: sizes {sizes}")
        before, after = padding[dim]
        extra = output_padding[dim]
        if extra >= max(s, d):
            raise ValueError(
                f"output_padding {output_padding} must be smaller than stride {stride} or "
                f"dilation {dilation} in each spatial dimension, and is not in dimension {dim}"
            )
        size = (n - 1) * s - before - after + d * (k - 1) + extra + 1
        if size < 1:
            raise ValueError(
                f"padding {padding} crops the output to {size} cells in spatial dimension {dim}: "
                f"sizes {sizes}, kernel_size {kernel}, stride {stride}, dilation {dilation}, "
                f"output_padding {output_padding}"
            )
        axes.append(_axis(size, k, s, d, before, after, n))
    return tuple(axes)


@lru_cache(maxsize=4096)
def adaptive_window(sizes: Ints, outs: Ints) -> Windows:
    """Return windows that divide ``sizes`` into ``outs`` parts: from floor to ceiling, as torch's.

    Part ``o`` is ``floor(o * size / out) .. ceil((o + 1) * size / out)``; where ``out`` divides
    ``size`` that is a regular axis.
    """
    axes: list[Axis | Table] = []
    for size, out in zip(sizes, outs, strict=True):
        if size % out == 0:
            length = size // out
            axes.append(_axis(size, length, length, 1, 0, 0, out))
            continue
        parts = [range(o * size // out, -(-(o + 1) * size // out)) for o in range(out)]
        kernel = max(map(len, parts))
        cells = tuple((*part, *(-1,) * (kernel - len(part))) for part in parts)
        axes.append(Table(size, kernel, out, cells))
    return tuple(axes)


def kernel_sizes(window: Windows) -> Ints:
    """Return the kernel's size in each dimension."""
    return tuple(axis.kernel for axis in window)


def input_sizes(window: Windows) -> Ints:
    """Return the size of the array the window slides over, in each dimension."""
    return tuple(axis.size for axis in window)


def output_sizes(window: Windows) -> Ints:
    """Return the number of window positions in each dimension."""
    return tuple(axis.out for axis in window)
