"""Checks of convolution and its gradients as implicit products."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest

import arrayconv as ac
from arrayconv.backends.cupy import implicit
from arrayconv.backends.cupy.implicit import TILES, Tile
from arrayconv.backends.cupy.launch import summand_name
from tests.cases import CONVOLUTIONS, TRANSPOSED, Case
from tests.cuda_comparison import COMPLEX, REAL, Check, made, pulled

# More rows, columns and steps than any tile has, and none of them a multiple of its sizes.
TILED = Case("conv2d", ((2, 13, 11, 26), (131, 13, 3, 2)), {"padding": 1, "stride": (1, 2)})
STRIDED = CONVOLUTIONS[5]
TO_INPUT, TO_WEIGHT = "implicit_conv_transpose", "implicit_conv_weight"
PRODUCTS = frozenset({"implicit_conv", TO_INPUT, TO_WEIGHT, "implicit_conv_weight_sum"})


def forget_plans(*modules: Any) -> None:
    """Forget launches that were planned under other constants."""
    for module in modules:
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()


@contextmanager
def only(tile: Tile | None) -> Iterator[None]:
    """Let products have tiles of one shape, and the weight's gradient more than one part."""
    with pytest.MonkeyPatch.context() as patch:
        if tile is not None:
            patch.setattr(implicit, "TILES", (tile,))
            patch.setattr(implicit, "LEAST_STEPS", 48)
        forget_plans(implicit)
        yield
    forget_plans(implicit)


def _product(case: Case, dtype: str, tile: Tile | None, xp: Any) -> list[Any]:
    arrays = [made(xp, shape, dtype, seed) for seed, shape in enumerate(case.shapes)]
    function = getattr(ac, case.function)
    with only(tile), ac.options(algorithm="cuda-implicit"):
        if np.dtype(arrays[0].dtype).kind in "iu":
            return [function(*arrays, **case.params)]
        return pulled(xp, function, *arrays, *[None] * (3 - len(arrays)), **case.params)


def products() -> Iterator[Check]:
    """Convolution and its gradients as implicit products: every geometry, dtype and tile."""
    for case in (*CONVOLUTIONS, *TRANSPOSED):
        needed = PRODUCTS if np.prod(case.shapes[0]) else frozenset()
        some: tuple[str, ...] = ("float32",)
        if case is STRIDED:
            some = (*REAL, *COMPLEX, "uint8", "int16", "int32", "int64")
        for dtype in some:
            wanted = needed if dtype in (*REAL, *COMPLEX) else {"implicit_conv"}
            call = partial(_product, case, dtype, None)
            yield Check(f"product-{case.id}-{dtype}", frozenset(wanted), call, dtype)
    for tile in TILES:
        for dtype in ("float32", "float16", "complex64"):
            if tile in implicit.tiles_of(summand_name(dtype)):
                call = partial(_product, TILED, dtype, tile)
                yield Check(f"tile-{tile.rows}x{tile.columns}-{dtype}", PRODUCTS, call, dtype)
