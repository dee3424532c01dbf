"""Checks of convolution and its gradients as implicit products."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest

import arrayconv as ac
from arrayconv.backends.cupy import implicit, tiles
from arrayconv.backends.cupy.launch import summand_name
from arrayconv.backends.cupy.tiles import TILES, TensorCores, Tile
from tests.cases import CONVOLUTIONS, TRANSPOSED, Case
from tests.cuda_comparison import COMPLEX, REAL, Check, asking_for, made, pulled

# More rows, columns and steps than any tile has, and none of them a multiple of its sizes.
TILED = Case("conv2d", ((2, 13, 11, 26), (131, 13, 3, 2)), {"padding": 1, "stride": (1, 2)})
# Weights and positions in runs of 16 bytes; more steps than a ring has stages for.
IN_RUNS = Case("conv2d", ((2, 16, 6, 12), (20, 16, 3, 3)), {"padding": 1})
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
            patch.setattr(tiles, "TILES", (tile,))
            patch.setattr(tiles, "LEAST_STEPS", 48)
        forget_plans(implicit)
        yield
    forget_plans(implicit)


def _product(case: Case, dtype: str, tile: Tile | None, algorithm: str, xp: Any) -> list[Any]:
    arrays = [made(xp, shape, dtype, seed) for seed, shape in enumerate(case.shapes)]
    function = getattr(ac, case.function)
    with only(tile), asking_for(algorithm, allow_tf32=algorithm == "cuda-tensor"):
        if np.dtype(arrays[0].dtype).kind in "iu":
            return [function(*arrays, **case.params)]
        return pulled(xp, function, *arrays, *[None] * (3 - len(arrays)), **case.params)


TENSOR = ("float32", "float16", "bfloat16")
"""What tensor cores multiply; float32 as TF32, which is no more exact than float16."""


def _forward(case: Case, dtype: str, xp: Any) -> list[Any]:
    arrays = [made(xp, shape, dtype, seed) for seed, shape in enumerate(case.shapes)]
    with only(None), asking_for("cuda-tensor", allow_tf32=True):
        return [getattr(ac, case.function)(*arrays, **case.params)]


def _not_a_number(xp: Any) -> list[Any]:
    """NaNs of all bits, as CUDA makes them, stay such where float32 is rounded to 10 bits."""
    x = np.arange(9, dtype=np.float32)
    x.view(np.uint32)[[3, 7]] = 0x7FFFFFFF, 0xFFFFFFFF
    w = xp.ones((1, 1, 2), np.float32)
    with only(None), asking_for("cuda-tensor", allow_tf32=True):
        return [ac.conv1d(xp.asarray(x.reshape(1, 1, -1)), w)]


def products() -> Iterator[Check]:
    """Convolution and its gradients as implicit products: every geometry, dtype and tile."""
    for case in (*CONVOLUTIONS, *TRANSPOSED):
        needed = PRODUCTS if np.prod(case.shapes[0]) else frozenset()
        some: tuple[str, ...] = ("float32",)
        if case is STRIDED:
            some = (*REAL, *COMPLEX, "uint8", "int16", "int32", "int64")
        for dtype in some:
            wanted = needed if dtype in (*REAL, *COMPLEX) else {"implicit_conv"}
            call = partial(_product, case, dtype, None, "cuda-implicit")
            yield Check(f"product-{case.id}-{dtype}", frozenset(wanted), call, dtype)
    for case, dtype in product((STRIDED, IN_RUNS), TENSOR):
        call = partial(_product, case, dtype, None, "cuda-tensor")
        exact = "float16" if dtype == "float32" else dtype
        yield Check(f"tensor-{case.id}-{dtype}", PRODUCTS, call, exact)
    for dtype in ("float32", "bfloat16"):
        call, exact = partial(_forward, IN_RUNS, dtype), {"float32": "float16"}.get(dtype, dtype)
        yield Check(f"tensor-forward-{dtype}", frozenset({"implicit_conv"}), call, exact)
    yield Check("tensor-not-a-number", frozenset({"implicit_conv"}), _not_a_number, "float32")
    for tile in TILES:
        tensor = isinstance(tile, TensorCores)
        for dtype in TENSOR if tensor else ("float32", "float16", "complex64"):
            if tile.fits(summand_name(dtype)):
                algorithm = "cuda-tensor" if tensor else "cuda-implicit"
                call = partial(_product, TILED, dtype, tile, algorithm)
                name = f"{'tensor' if tensor else 'tile'}-{tile.rows}x{tile.columns}-{dtype}"
                exact = "float16" if tensor and dtype == "float32" else dtype
                yield Check(name, PRODUCTS, call, exact)
