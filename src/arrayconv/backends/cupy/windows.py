"""unfold, fold, the pools and their gradients by the raw kernels.

Arrays (N, C, *cells) are read as they lie in memory, whatever their strides: channels-last views
and broadcast cotangents are not copied. Results are contiguous.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from arrayconv._window import Table, Windows, input_sizes, kernel_sizes, output_sizes
from arrayconv.backends.cupy.geometry import (
    DIMS,
    NARROW,
    WIDE,
    Description,
    Strided,
    described,
    in_parts,
    largest,
    packed_layout,
    packed_window,
    special,
    strided,
)
from arrayconv.backends.cupy.launch import (
    INDICES,
    Kernel,
    Plan,
    element,
    executor_of,
    known,
    plan,
    run,
    summand,
    wide,
    word,
)
from arrayconv.primitives.pooling import Divisor, divide


def bits_for(*numbers: int) -> int:
    """Return the width of the indices that hold all numbers."""
    return 32 if max(numbers) < NARROW else 64


def arrays_unfit(*arrays: Any) -> str | None:
    """Return why no kernel can read these arrays."""
    executor = executor_of(arrays[0])
    for array in arrays:
        dtype = array.dtype
        reason = _no_type(dtype, array.strides)
        if reason is not None:
            return reason
        if executor.address(array) % dtype.itemsize:
            return _between(dtype)
    return executor.objection(arrays)


@lru_cache(maxsize=4096)
def _no_type(dtype: Any, strides: tuple[int, ...]) -> str | None:
    if not known(dtype):
        return f"the kernels have no type for {dtype}"
    return _between(dtype) if any(step % dtype.itemsize for step in strides) else None


def _between(dtype: Any) -> str:
    return f"an array of {dtype} does not lie on multiples of {dtype.itemsize} bytes"


def window_unfit(window: Windows, *arrays: Any) -> str | None:
    """Return why no kernel can slide this window over these arrays."""
    return _no_window(window) or arrays_unfit(*arrays)


@lru_cache(maxsize=4096)
def _no_window(window: Windows) -> str | None:
    if len(window) > DIMS:
        return f"the kernels slide in 1, 2 and 3 spatial dimensions, not {len(window)}"
    if any(isinstance(axis, Table) for axis in window) and not in_parts(window):
        return "the kernels know no windows that follow no rule but adaptive pooling's"
    if largest(window) >= WIDE:
        return "the window's sizes are beyond 62 bits"
    return None


SEVERAL = 4
"""Planes that a thread works on where there are many: the window's arithmetic is done once."""
MANY = 2**20
"""Results of a plane's size, from which on so many threads fewer still keep a GPU busy."""


def several_planes(planes: int, items: int) -> int:
    """Return how many planes a thread works on, of so many with so many results in each."""
    return SEVERAL if planes >= SEVERAL and planes * items >= MANY else 1


RUNS = {4: 2, 2: 4, 1: SEVERAL}
"""Results in a row that a thread works on, and in how many planes it does."""


def shared(planes: int, items: int, row: int) -> tuple[int, int]:
    """Return how many planes, and results of a row of so many, a thread works on."""
    if planes * items < MANY:
        return 1, 1
    cells = next(cells for cells in RUNS if row % cells == 0)
    return RUNS[cells] if planes >= RUNS[cells] else 1, cells


def sliding_plan(
    function: str,
    kind: str,
    window: Windows,
    bits: int,
    shape: tuple[int, ...],
    dense: bool,
    structs: tuple[Any, ...],
    *numbers: int,
    row: int | None = None,
    more: tuple[str, ...] = (),
    file: str | None = None,
) -> Plan:
    """Return the launch of a template that slides a window, for a result (N, C, *cells).

    ``numbers`` are the product of the cells, after what else the kernel takes before it; ``dense``
    is that of what is read; ``row`` the length of a row of results, where threads take runs of it.
    """
    planes, items, known_size = shape[0] * shape[1], numbers[-1], special(window)
    several, cells = several_planes(planes, items), 1
    if row is not None:
        # What a run of results has in common, the compiler must know.
        several, cells = shared(planes, items, row if known_size[0] > 0 else 1)
        more = (str(cells), *more)
    words = (*map(str, (len(window), *known_size, several)), "true" if dense else "false")
    kernel = Kernel(file or function, function, (kind, INDICES[bits], *words, *more))
    count = -(-planes // several) * items // cells
    return plan(kernel, bits, shape, structs, *numbers, planes, count)


# --- unfold and fold ------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _unfold_plan(array: Description, window: Windows) -> Plan:
    x, kind = strided(array), word(array[2])
    batch, channels = x.shape[:2]
    rows, positions = prod(kernel_sizes(window)), prod(output_sizes(window))
    count = batch * channels * positions
    bits = bits_for(largest(window), x.furthest, count * rows)
    structs = (packed_layout(x, bits, channels), packed_window(window, bits))
    shape = (batch, channels, rows, positions)
    numbers, row = (rows, positions), output_sizes(window)[-1]
    made = sliding_plan("unfold", kind, window, bits, shape, x.dense, structs, *numbers, row=row)
    return made._replace(shape=(batch, channels * rows, positions))


def unfold(x: Any, window: Windows) -> Any:
    """Return the columns (N, C * taps, positions)."""
    made = _unfold_plan(described(x), window)
    columns = executor_of(x).empty(x, made.shape, x.dtype)
    return run(made, columns, x, *made.structs, columns)


def unfold_unfit(x: Any, window: Windows) -> str | None:
    """Return why the kernel cannot serve a call."""
    return window_unfit(window, x)


@lru_cache(maxsize=4096)
def _fold_plan(array: Description, window: Windows) -> Plan:
    columns, kind = strided(array), summand(array[2])
    rows, sizes = prod(kernel_sizes(window)), input_sizes(window)
    batch, channels = columns.shape[0], columns.shape[1] // rows
    count = batch * channels * prod(sizes)
    bits = bits_for(largest(window), columns.furthest, count, prod(columns.shape))
    image, row, position = columns.strides
    by_rows = Strided((batch, channels, rows, columns.shape[2]), (image, rows * row, row, position))
    structs = (packed_layout(by_rows, bits, channels), packed_window(window, bits))
    shape = (batch, channels, *sizes)
    return sliding_plan("fold", kind, window, bits, shape, by_rows.dense, structs, prod(sizes))


def fold(columns: Any, window: Windows) -> Any:
    """Return the sum (N, C, *sizes) of the columns."""
    made = _fold_plan(described(columns), window)
    x = executor_of(columns).empty(columns, made.shape, columns.dtype)
    return run(made, x, columns, *made.structs, x)


# --- pools ----------------------------------------------------------------------------------------

MANY_TAPS = 1024
"""Taps beyond which a thread that reads its whole window alone is too slow."""


def pool_slow(x: Any, window: Windows, divisor: Divisor = 1) -> str | None:
    """Return why "auto" passes the kernels by: few long windows leave most of a GPU idle."""
    taps = prod(kernel_sizes(window))
    if taps > MANY_TAPS:
        return f"each thread would read {taps} cells, one after the other"
    return None


@lru_cache(maxsize=4096)
def _pool_plan(
    function: str,
    array: Description,
    window: Windows,
    kind_of: Callable[[Any], str],
    more: str,
    *shares: Any,
) -> Plan:
    x, kind = strided(array), kind_of(array[2])
    batch, channels = x.shape[:2]
    outs = output_sizes(window)
    count = batch * channels * prod(outs)
    bits = bits_for(largest(window), x.furthest, count, prod(input_sizes(window)))
    structs = (packed_layout(x, bits, channels), packed_window(window, bits), *shares)
    given = (function, kind, window, bits, (batch, channels, *outs), x.dense, structs)
    return sliding_plan(*given, prod(outs), more=tuple(more.split()))


def _ordered(dtype: Any) -> str:
    """Return the C++ type by which elements are compared: bools as the bytes 0 and 1."""
    return "Byte" if dtype.kind == "b" else element(dtype)


def max_pool(x: Any, window: Windows) -> Any:
    """Return the maximum of what each window sees."""
    made = _pool_plan("max_pool", described(x), window, _ordered, "false")
    values = executor_of(x).empty(x, made.shape, x.dtype)
    # No indices are written: any pointer does.
    return run(made, values, x, *made.structs, values, values)


def max_pool_indices(x: Any, window: Windows) -> tuple[Any, Any]:
    """Return the maxima, and where in the plane each one is."""
    made = _pool_plan("max_pool", described(x), window, _ordered, "true")
    executor = executor_of(x)
    values = executor.empty(x, made.shape, x.dtype)
    indices = executor.empty(x, made.shape, np.int64)
    run(made, values, x, *made.structs, values, indices)
    return values, indices


def max_pool_unfit(x: Any, window: Windows) -> str | None:
    """Return why the kernel cannot serve a call."""
    if x.dtype.kind == "c":
        return "complex numbers have no order"
    return window_unfit(window, x)


def sum_pool(x: Any, window: Windows, divisor: Divisor = 1) -> Any:
    """Return the sum of what each window sees, in the wide dtype, over ``divisor``."""
    if isinstance(divisor, tuple):
        return divide(sum_pool(x, window), divisor)
    made = _pool_plan("sum_pool", described(x), window, summand, "", np.float64(1 / divisor))
    sums = executor_of(x).empty(x, made.shape, wide(x.dtype))
    return run(made, sums, x, *made.structs, sums)


def sum_pool_unfit(x: Any, window: Windows, divisor: Divisor = 1) -> str | None:
    """Return why the kernel cannot serve a call."""
    return window_unfit(window, x)


@lru_cache(maxsize=4096)
def _spread_plan(array: Description, window: Windows, divisor: int) -> Plan:
    y, kind = strided(array), summand(array[2])
    batch, channels = y.shape[:2]
    sizes = input_sizes(window)
    count = batch * channels * prod(sizes)
    bits = bits_for(largest(window), y.furthest, count)
    share = np.float64(1 / divisor)
    structs = (packed_layout(y, bits, channels), packed_window(window, bits), share)
    shape = (batch, channels, *sizes)
    numbers, row = (prod(sizes),), sizes[-1]
    return sliding_plan("spread", kind, window, bits, shape, y.dense, structs, *numbers, row=row)


def spread(y: Any, window: Windows, divisor: Divisor = 1) -> Any:
    """Return (N, C, *sizes), each cell the sum of all windows that see it, over ``divisor``."""
    if isinstance(divisor, tuple):
        y, divisor = divide(y.copy(), divisor), 1
    made = _spread_plan(described(y), window, divisor)
    x = executor_of(y).empty(y, made.shape, y.dtype)
    return run(made, x, y, *made.structs, x)


@lru_cache(maxsize=4096)
def _max_pool_grad_plan(values: Description, indices: Description, window: Windows) -> Plan:
    cotangent, index, kind = strided(values), strided(indices), summand(values[2])
    batch, channels = cotangent.shape[:2]
    sizes = input_sizes(window)
    count = batch * channels * prod(sizes)
    bits = bits_for(largest(window), cotangent.furthest, index.furthest, count)
    structs = (
        packed_layout(cotangent, bits, channels),
        packed_layout(index, bits, channels),
        packed_window(window, bits),
    )
    shape = (batch, channels, *sizes)
    dense = cotangent.dense and index.dense
    given = ("max_pool_grad", kind, window, bits, shape, dense, structs, prod(sizes))
    return sliding_plan(*given, row=sizes[-1])


def max_pool_grad(cotangent: Any, index: Any, window: Windows) -> Any:
    """Return the gradient: each cell gathers from the windows whose maximum it is."""
    made = _max_pool_grad_plan(described(cotangent), described(index), window)
    layout, index_layout, geometry = made.structs
    gradient = executor_of(cotangent).empty(cotangent, made.shape, cotangent.dtype)
    return run(made, gradient, cotangent, layout, index, index_layout, geometry, gradient)


def index_unfit(index: Any) -> str | None:
    """Return why no kernel can read these indices."""
    return None if index.dtype == np.int64 else f"indices must be int64, got {index.dtype}"


def max_pool_grad_unfit(cotangent: Any, index: Any, window: Windows) -> str | None:
    """Return why the kernel cannot serve a call."""
    return index_unfit(index) or window_unfit(window, cotangent, index)
