"""Depthwise convolution and its gradients by the raw kernels: groups of one input channel.

Arrays are read as they lie in memory, but for the weights, which are copied where their cells are
not in a row: they are few.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

from arrayconv._window import Window, adjoint_axis, input_sizes, kernel_sizes, output_sizes
from arrayconv.backends.cupy.geometry import (
    Description,
    Strided,
    described,
    largest,
    packed_groups,
    packed_layout,
    packed_window,
    special,
    strided,
)
from arrayconv.backends.cupy.launch import (
    INDICES,
    THREADS,
    Kernel,
    Plan,
    executor_of,
    plan,
    pointer,
    run,
    summand,
    wide,
)
from arrayconv.backends.cupy.windows import RUNS, bits_for, sliding_plan, window_unfit

FILE, WEIGHT_FILE = "depthwise", "depthwise_weight"
ITEMS = 16
"""Products that each thread of a weight's gradient adds before a second block pays."""
MOST_BLOCKS = 4096
"""Blocks that a weight's gradient is split into at the most: several for each multiprocessor."""


def _structs(
    array: Strided, window: Window, outputs: int, channels: int, bits: int
) -> tuple[Any, ...]:
    groups = packed_groups(outputs, outputs // channels, 1, bits)
    return packed_layout(array, bits, channels), packed_window(window, bits), groups


ROWS = 4
"""Positions below each other that a thread of depthwise_rows.cu computes."""
MOST_REGISTERS = 100
"""Registers of 32 bits that its weights may take."""
_REGISTERS = {"double": 2, "Long": 2, "Complex<float>": 2, "Complex<double>": 4}


def _in_rows(window: Window, kind: str) -> bool:
    """Whether several rows of a plane share what they see: a known kernel in two dimensions."""
    kernel, _ = special(window)
    registers = kernel * kernel * _REGISTERS.get(kind, 1)
    return len(window) == 2 and kernel > 1 and registers <= MOST_REGISTERS


def _taps_together(window: Window, kind: str) -> bool:
    """Whether a thread keeps the sums of all taps in registers: those of a known kernel."""
    registers = prod(kernel_sizes(window)) * _REGISTERS.get(kind, 1)
    return special(window)[0] > 0 and registers <= MOST_REGISTERS


def _rows_plan(x: Strided, window: Window, outputs: int, kind: str, flipped: bool) -> Plan:
    batch, channels = x.shape[:2]
    rows, columns = output_sizes(window)
    row_groups = -(-rows // ROWS)
    count = batch * outputs * row_groups * columns
    bits = bits_for(largest(window), x.furthest, count * ROWS)
    structs = (
        packed_layout(x, bits, channels),
        packed_window(window, bits),
        packed_groups(outputs, outputs // channels, row_groups, bits),
    )
    words = ("true" if each else "false" for each in (x.dense, flipped))
    known = (*map(str, (len(window), *special(window), ROWS)), *words)
    kernel = Kernel("depthwise_rows", "depthwise_rows", (kind, INDICES[bits], *known))
    return plan(kernel, bits, (batch, outputs, rows, columns), structs, count)


@lru_cache(maxsize=4096)
def _forward_plan(array: Description, window: Window, outputs: int) -> Plan:
    x, kind = strided(array), summand(array[2])
    if _in_rows(window, kind):
        return _rows_plan(x, window, outputs, kind, flipped=False)
    batch, channels = x.shape[:2]
    outs = output_sizes(window)
    count = batch * outputs * prod(outs)
    bits = bits_for(largest(window), x.furthest, count)
    structs = _structs(x, window, outputs, channels, bits)
    shape = (batch, outputs, *outs)
    numbers = prod(kernel_sizes(window)), prod(outs)
    return sliding_plan(
        "depthwise", kind, window, bits, shape, x.dense, structs, *numbers, file=FILE
    )


def conv(x: Any, w: Any, window: Window, groups: int, bias: Any = None) -> Any:
    """Return y (N, O, *positions)."""
    executor = executor_of(x)
    made = _forward_plan(described(x), window, w.shape[0])
    layout, *structs = made.structs
    y = executor.empty(x, made.shape, x.dtype)
    return run(made, y, x, layout, executor.contiguous(w), pointer(bias), *structs, y)


@lru_cache(maxsize=4096)
def _transpose_plan(array: Description, window: Window, groups: int) -> Plan:
    y, kind = strided(array), summand(array[2])
    batch, outputs = y.shape[:2]
    sizes = input_sizes(window)
    if outputs == groups and all(axis.stride == 1 for axis in window) and _in_rows(window, kind):
        adjoint = tuple(adjoint_axis(axis) for axis in window)
        if _in_rows(adjoint, kind):
            return _rows_plan(y, adjoint, groups, kind, flipped=True)
    count = batch * groups * prod(sizes)
    bits = bits_for(largest(window), y.furthest, count)
    structs = _structs(y, window, outputs, groups, bits)
    shape = (batch, groups, *sizes)
    numbers = prod(kernel_sizes(window)), prod(sizes)
    given = ("depthwise_transpose", kind, window, bits, shape, y.dense, structs, *numbers)
    return sliding_plan(*given, row=sizes[-1], file=FILE)


def conv_transpose(y: Any, w: Any, window: Window, groups: int, bias: Any = None) -> Any:
    """Return x (N, C, *sizes)."""
    executor = executor_of(y)
    made = _transpose_plan(described(y), window, groups)
    layout, *structs = made.structs
    x = executor.empty(y, made.shape, y.dtype)
    return run(made, x, y, layout, executor.contiguous(w), pointer(bias), *structs, x)


@lru_cache(maxsize=4096)
def _weight_plans(
    seen: Description, given: Description, window: Window, groups: int
) -> tuple[Plan, Plan]:
    """Return the launch that sums in blocks, and the one that adds the blocks' sums."""
    x, y, kind = strided(seen), strided(given), summand(seen[2])
    batch, outputs = y.shape[:2]
    kernel = kernel_sizes(window)
    taps, count = prod(kernel), batch * prod(output_sizes(window))
    weights, together = outputs * taps, _taps_together(window, kind)
    blocks = outputs if together else weights
    splits = max(1, min(count // (THREADS * ITEMS), MOST_BLOCKS // blocks))
    cells = next(n for n in RUNS if output_sizes(window)[-1] % n == 0) if together else 1
    reached = count + splits * THREADS * cells
    bits = bits_for(largest(window), x.furthest, y.furthest, reached, weights * splits)
    structs = (
        packed_layout(x, bits, groups),
        packed_layout(y, bits, outputs),
        packed_window(window, bits),
        packed_groups(outputs, outputs // groups, 1, bits),
    )
    arguments: tuple[str, ...] = (kind, INDICES[bits], str(len(window)))
    name, numbers = "depthwise_weight", [taps, splits, count]
    if together:
        dense = "true" if x.dense and y.dense else "false"
        arguments = (*arguments, *map(str, special(window)), dense, str(cells))
        name, numbers = "depthwise_weight_taps", [splits, count // cells]
    summing = plan(
        Kernel(WEIGHT_FILE, name, arguments),
        bits,
        (weights, splits),
        structs,
        *numbers,
        blocks=blocks * splits,
    )
    adding = Kernel(WEIGHT_FILE, "depthwise_weight_sum", arguments[:2])
    return summing, plan(adding, bits, (outputs, 1, *kernel), (), splits, weights)


def conv_weight(x: Any, y: Any, window: Window, groups: int) -> Any:
    """Return w (O, 1, *kernel)."""
    executor = executor_of(x)
    summing, adding = _weight_plans(described(x), described(y), window, groups)
    layout, y_layout, *structs = summing.structs
    partial = executor.empty(x, summing.shape, wide(x.dtype))
    run(summing, partial, x, layout, y, y_layout, *structs, partial)
    w = executor.empty(x, adding.shape, x.dtype)
    return run(adding, w, partial, w)


def _unfit(channels: int, groups: int, window: Window, *arrays: Any) -> str | None:
    if channels != groups:
        return f"the kernels convolve each channel alone, and a group has {channels // groups}"
    if arrays[0].dtype.kind == "b":
        return "bools have no product"
    return window_unfit(window, *arrays)


def conv_unfit(x: Any, w: Any, window: Window, groups: int) -> str | None:
    """Return why the kernel cannot serve a call; a transposed convolution asks the same."""
    return _unfit(w.shape[1] * groups, groups, window, x, w)


def conv_weight_unfit(x: Any, y: Any, window: Window, groups: int) -> str | None:
    """Return why the kernel cannot serve a call."""
    return _unfit(x.shape[1], groups, window, x, y)
