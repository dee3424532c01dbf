"""Cells taken out of planes by index, and put or added into them, by the raw kernels.

Arrays (N, C, *) are read as they lie in memory. Results are contiguous.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from arrayconv.backends.cupy.geometry import Description, described, packed_layout, strided
from arrayconv.backends.cupy.launch import (
    INDICES,
    Kernel,
    Plan,
    executor_of,
    plan,
    run,
    summand,
    word,
)
from arrayconv.backends.cupy.windows import (
    arrays_unfit,
    bits_for,
    index_unfit,
    several_planes,
)

RUNS = {"place": 4096, "scatter_add": 2048}
"""Cells of a plane that a block writes: the constant RUN of each kernel's file."""

MOST_ADDED = 2**22
"""Values of a plane: the rounds of scatter_add.cu are counted in 32 bits, 256 bids in each."""


@lru_cache(maxsize=4096)
def _gather_plan(cells_of: Description, indices: Description) -> Plan:
    planes, index, kind = strided(cells_of), strided(indices), word(cells_of[2])
    batch, channels, cells = planes.shape
    number, every = index.shape[2], batch * channels
    several = several_planes(every, number)
    count = -(-every // several) * number
    bits = bits_for(planes.furthest, index.furthest, every * number, cells)
    structs = (packed_layout(planes, bits, channels), packed_layout(index, bits, channels))
    kernel = Kernel("gather", "gather", (kind, INDICES[bits], str(several)))
    return plan(kernel, bits, (batch, channels, number), structs, cells, number, every, count)


def gather(planes: Any, index: Any) -> Any:
    """Return the cells (N, C, n) that the indices name; 0 where one is outside of its plane."""
    made = _gather_plan(described(planes), described(index))
    layout, index_layout = made.structs
    taken = executor_of(planes).empty(planes, made.shape, planes.dtype)
    return run(made, taken, planes, layout, index, index_layout, taken)


def gather_unfit(planes: Any, index: Any) -> str | None:
    """Return why the kernel cannot serve a call."""
    return index_unfit(index) or arrays_unfit(planes, index)


@lru_cache(maxsize=4096)
def _put_plan(function: str, what: Description, indices: Description, cells: int) -> Plan:
    """Return the launch of a kernel whose blocks go through all values of a plane."""
    values, index = strided(what), strided(indices)
    kind = word(what[2]) if function == "place" else summand(what[2])
    batch, channels, number = values.shape
    length = RUNS[function]
    planes, runs = batch * channels, -(-cells // length)
    bits = bits_for(values.furthest, index.furthest, planes * runs * length, number)
    structs = (packed_layout(values, bits, channels), packed_layout(index, bits, channels))
    kernel = Kernel(function, function, (kind, INDICES[bits]))
    blocks = planes * runs
    # No more threads than a small plane has cells, in whole warps.
    threads = min(256, -(-min(cells, length) // 32) * 32)
    shape = (batch, channels, cells)
    return plan(kernel, bits, shape, structs, number, cells, runs, blocks=blocks, threads=threads)


def _put(function: str, values: Any, index: Any, cells: int) -> Any:
    made = _put_plan(function, described(values), described(index), cells)
    layout, index_layout = made.structs
    planes = executor_of(values).empty(values, made.shape, values.dtype)
    return run(made, planes, values, layout, index, index_layout, planes)


def place(values: Any, index: Any, cells: int) -> Any:
    """Return planes (N, C, cells) of 0 but where an index is: the last value of equal indices."""
    return _put("place", values, index, cells)


def place_unfit(values: Any, index: Any, cells: int) -> str | None:
    """Return why the kernel cannot serve a call."""
    if values.shape[2] >= 2**31:
        return "the values of a plane are numbered in 32 bits"
    return index_unfit(index) or arrays_unfit(values, index)


def scatter_add(values: Any, index: Any, cells: int) -> Any:
    """Return planes (N, C, cells), each cell the sum of the values whose index it is."""
    return _put("scatter_add", values, index, cells)


def scatter_add_unfit(values: Any, index: Any, cells: int) -> str | None:
    """Return why the kernel cannot serve a call."""
    if values.shape[2] > MOST_ADDED:
        return f"a plane has {values.shape[2]} values, and the kernel adds at most {MOST_ADDED}"
    return index_unfit(index) or arrays_unfit(values, index)
