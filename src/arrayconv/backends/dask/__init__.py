"""Dask's implementation: each primitive by blocks, on chunks of NumPy or CuPy arrays."""

from collections.abc import Callable
from typing import Any

from arrayconv._registry import Implementation, never
from arrayconv.backends.dask import cells, windows


def _blockwise(
    run: Callable[..., Any], unfit: Callable[..., str | None] = never
) -> tuple[Implementation]:
    return (Implementation("blockwise", run, unfit),)


implementations = {
    "unfold": _blockwise(windows.unfold),
    "fold": _blockwise(windows.fold),
    "conv": _blockwise(windows.conv),
    "conv_transpose": _blockwise(windows.conv_transpose),
    "conv_weight": _blockwise(windows.conv_weight),
    "max_pool": _blockwise(windows.max_pool),
    "max_pool_indices": _blockwise(windows.max_pool_indices),
    "max_pool_grad": _blockwise(windows.max_pool_grad),
    "sum_pool": _blockwise(windows.sum_pool),
    "spread": _blockwise(windows.spread),
    "pad": _blockwise(cells.pad),
    "pad_adjoint": _blockwise(cells.pad_adjoint),
    "gather": _blockwise(cells.gather, cells.gather_unfit),
    "place": _blockwise(cells.place, cells.put_unfit),
    "scatter_add": _blockwise(cells.scatter_add, cells.put_unfit),
}
