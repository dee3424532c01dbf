"""Calls that the kernels must serve as NumPy's own implementations do: on the CPU and on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any

import numpy as np

import arrayconv as ac
from arrayconv import primitives
from arrayconv._capabilities import DTYPES
from arrayconv._window import sliding_window
from tests.cases import COLUMNS, PADS, Case
from tests.cuda_comparison import COMPLEX, REAL, Check, made, ml_dtypes, pulled
from tests.cuda_products import products
from tests.cuda_views import views
from tests.test_pooling import DILATED, ORDERED, PARTS, WINDOWS, special


def _columns(case: Case, dtype: str, xp: Any) -> list[Any]:
    (array,) = (made(xp, shape, dtype) for shape in case.shapes)
    if dtype in ("float32", "float64", *COMPLEX):
        return pulled(xp, getattr(ac, case.function), array, **case.params)
    return [case.run(array)]


LEAST_BFLOAT16 = 2.0**-118
"""Multiples of 2^-125 alone lie above it: the sum of two is 0, or a normal number of float32."""


def halves(dtype: str) -> tuple[Any, Any]:
    """Return the numbers of a half type in their order, and in a random one.

    Those of bfloat16 without the least ones, whose sums are subnormal in float32: CuPy compiles
    with -ftz=true, and a GPU then gives 0 where NumPy gives such a number.
    """
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.float16
    every = np.arange(2**16, dtype=np.uint16).view(kind)
    if dtype == "bfloat16":
        every[np.abs(every.astype(np.float32)) < LEAST_BFLOAT16] = 0
    return every, np.random.default_rng(0).permutation(every)


def _halves(dtype: str, xp: Any) -> list[Any]:
    """Every number of a half type, and sums of two: exact but for the one rounding at the end."""
    every, shuffled = halves(dtype)
    alone, pair = xp.asarray(every.reshape(1, 1, -1)), xp.asarray(np.stack([every, shuffled])[None])
    with np.errstate(all="ignore"):
        return [ac.fold(alone, (2**16,), (1,)), ac.fold(pair, (2**16 + 1,), (2,))]


def columns() -> Iterator[Check]:
    """Unfold and fold, of every dtype."""
    for case in COLUMNS:
        if len(case.params["kernel_size"]) > 3:
            continue
        some = DTYPES if case in (COLUMNS[2], COLUMNS[9]) else ("float32", "complex128")
        for dtype in some:
            needed = {case.function} if case.shapes[0][0] else set()
            call = partial(_columns, case, dtype)
            yield Check(f"{case.id}-{dtype}", frozenset(needed), call, dtype)
    for dtype in ("float16", "bfloat16"):
        yield Check(f"halves-{dtype}", frozenset({"fold"}), partial(_halves, dtype), dtype)


def _max_pool(shape: Any, window: Any, dtype: str, ordinary: bool, xp: Any) -> list[Any]:
    x = made(xp, shape, dtype) if ordinary else xp.asarray(special(shape).astype(dtype))
    dims = len(shape) - 2
    pool, unpool = getattr(ac, f"max_pool{dims}d"), getattr(ac, f"max_unpool{dims}d")
    results = [pool(x, **window), *pool(x, **window, return_indices=True)]
    if dtype in REAL and ordinary:
        results += pulled(xp, pool, x, **window, return_indices=True)
        plain = window.keys() <= {"kernel_size", "stride"}
        if plain:
            stride = {"stride": window["stride"]} if "stride" in window else {}
            results.append(
                unpool(*results[1:3], window["kernel_size"], **stride, output_size=shape[2:])
            )
    return results


def _avg_pool(shape: Any, window: Any, dtype: str, xp: Any) -> list[Any]:
    pool = getattr(ac, f"avg_pool{len(shape) - 2}d")
    x = made(xp, shape, dtype)
    if dtype in (*REAL, *COMPLEX):
        return pulled(xp, pool, x, **window, count_include_pad=False)
    return [pool(x, **window)]


def _adaptive(shape: Any, output_size: Any, dtype: str, xp: Any) -> list[Any]:
    dims, x = len(shape) - 2, made(xp, shape, dtype)
    results = []
    for name in ("adaptive_max_pool", "adaptive_avg_pool"):
        results += pulled(xp, getattr(ac, f"{name}{dims}d"), x, output_size=output_size)
    return results


def pools() -> Iterator[Check]:
    """Pools and their gradients: borders, ties, NaN, every dtype, adaptive windows."""
    for shape, window in (*WINDOWS, *DILATED):
        some = ORDERED if shape == WINDOWS[3][0] else ("float32", "float64")
        full = shape[0] > 0
        for dtype in some:
            name, call = f"{shape}-{window}-{dtype}", partial(_max_pool, shape, window, dtype, True)
            needed = {"max_pool"} if full else set()
            yield Check(f"max-{name}", frozenset(needed), call, dtype)
            if "dilation" not in window:
                call = partial(_avg_pool, shape, window, dtype)
                needed = {"sum_pool"} if full else set()
                yield Check(f"avg-{name}", frozenset(needed), call, dtype)
        if full:
            for dtype in ("float64", "float16"):
                call = partial(_max_pool, shape, window, dtype, False)
                id_ = f"special-{shape}-{window}-{dtype}"
                yield Check(id_, frozenset({"max_pool"}), call, dtype)
    for shape, size in PARTS:
        call = partial(_adaptive, shape, size, "float32")
        needed = {"max_pool", "sum_pool", "spread", "max_pool_grad"}
        yield Check(f"adaptive-{shape}-{size}", frozenset(needed), call, "float32")


def _spread(dtype: str, xp: Any) -> list[Any]:
    window = sliding_window((7, 9), (3, 2), (2, 1), ((1, 1), (0, 1)), (1, 2))
    y = made(xp, (2, 3, window[0].out, window[1].out), dtype)
    x = made(xp, (2, 3, 7, 9), dtype)
    found = [primitives.spread(y, window), primitives.sum_pool(x, window)]
    if y.dtype.kind in "fc":
        found += [primitives.spread(y, window, 6), primitives.sum_pool(x, window, -6)]
    return found


def _place(shape: Any, cells: int, dtype: str, xp: Any) -> list[Any]:
    rng = np.random.default_rng(3)
    index = rng.integers(-2, cells + 2, shape)
    index[..., ::3] = index[..., :1]
    return [primitives.place(made(xp, shape, dtype), xp.asarray(index), cells)]


def _gather(shape: Any, cells: int, dtype: str, xp: Any) -> list[Any]:
    index = np.random.default_rng(3).integers(-2, cells + 2, shape)
    planes = made(xp, (*shape[:2], cells), dtype)
    return [primitives.gather(planes, xp.asarray(index))]


def _scatter_add(shape: Any, cells: int, dtype: str, xp: Any) -> list[Any]:
    rng = np.random.default_rng(3)
    index = rng.integers(-2, cells + 2, shape)
    # Some cells get many values: more than one of each run of threads.
    index[..., ::3] = index[..., :1]
    return [primitives.scatter_add(made(xp, shape, dtype), xp.asarray(index), cells)]


def added_in_order(xp: Any) -> None:
    """Check that the values of a cell are added one after the other: to the last bit."""
    rng = np.random.default_rng(5)
    values, index = made(np, (1, 2, 700), "float32"), rng.integers(0, 7, (1, 2, 700))
    wanted = np.zeros((1, 2, 7), np.float32)
    for plane in range(2):
        np.add.at(wanted[0, plane], index[0, plane], values[0, plane])
    got = primitives.scatter_add(xp.asarray(values), xp.asarray(index), 7)
    np.testing.assert_array_equal(got if xp is np else got.get(), wanted)


def _fractional(dtype: str, xp: Any) -> list[Any]:
    samples = xp.asarray(np.random.default_rng(4).random((2, 3, 2)).astype(dtype))
    x, how = made(xp, (2, 3, 9, 11), dtype), {"output_size": (4, 5), "_random_samples": samples}
    return pulled(xp, ac.fractional_max_pool2d, x, kernel_size=3, return_indices=True, **how)


def indexed() -> Iterator[Check]:
    """Values put, added or taken by index, some of them repeated or out of range; all sums."""
    for dtype in DTYPES:
        if dtype not in ("bool", "float16", "bfloat16"):
            yield Check(f"spread-{dtype}", frozenset({"spread"}), partial(_spread, dtype), dtype)
    for dtype in ("bool", "int16", "float32", "complex64", "complex128"):
        for shape, cells in (((2, 3, 50), 10), ((1, 2, 9), 33), ((1, 2, 700), 9000)):
            call = partial(_place, shape, cells, dtype)
            yield Check(f"place-{shape}-{cells}-{dtype}", frozenset({"place"}), call, dtype)
            call = partial(_gather, shape, cells, dtype)
            yield Check(f"gather-{shape}-{cells}-{dtype}", frozenset({"gather"}), call, dtype)
    for dtype in DTYPES:
        for shape, cells in (((2, 3, 50), 10), ((1, 2, 9), 33), ((1, 2, 700), 5000)):
            name, call = f"{shape}-{cells}-{dtype}", partial(_scatter_add, shape, cells, dtype)
            yield Check(f"scatter_add-{name}", frozenset({"scatter_add"}), call, dtype)
    for dtype in ("float32", "float64"):
        needed = frozenset({"gather", "scatter_add"})
        yield Check(f"fractional-{dtype}", needed, partial(_fractional, dtype), dtype)


MORE_PADS = (
    Case("pad", ((2, 3, 4, 5),), {"pad": (1, 2, 0, 3), "value": -1.5}),
    Case("pad", ((2, 3, 4, 5),), {"pad": (-1, -2, 3, -3, 1, 1), "value": 7}),
    Case("pad", ((2, 3, 4, 5),), {"pad": (0, 0, 0, 0, 2, 1)}),
    Case("pad", ((3, 2, 4, 5, 6),), {"pad": (3, 4, 2, 1, 1, 3), "mode": "reflect"}),
    Case("pad", ((3, 2, 4, 5, 6),), {"pad": (3, -4, -1, 7, 2, 0), "mode": "replicate"}),
    Case("pad", ((3, 2, 4, 5, 6),), {"pad": (6, 5, -2, 3, 2, -1), "mode": "circular"}),
    Case("pad", ((2, 3, 7),), {"pad": (6, -2), "mode": "reflect"}),
    Case("pad", ((2, 3, 7),), {"pad": (-3, 4), "mode": "circular"}),
    Case("pad", ((6,),), {"pad": (-9, 5), "value": 3}),
    Case("pad", ((9, 2, 24, 24),), {"pad": (1, 1, 1, 1), "mode": "circular"}),
    Case("pad", ((5, 1, 3),), {"pad": (0, 0, 4, 2), "mode": "replicate"}),
    Case("pad", ((0, 2, 5),), {"pad": (1, 1)}),
)


def _pad(case: Case, dtype: str, xp: Any) -> list[Any]:
    (x,) = (made(xp, shape, dtype) for shape in case.shapes)
    if dtype in (*REAL, *COMPLEX):
        return pulled(xp, ac.pad, x, **case.params)
    mode = case.params.get("mode", "constant")
    padded = ac.pad(x, case.params["pad"], mode)
    pairs = list(zip(case.params["pad"][::2], case.params["pad"][1::2], strict=True))[::-1]
    pairs = [(0, 0)] * (x.ndim - len(pairs)) + pairs
    return [padded, primitives.pad_adjoint(padded, tuple(pairs), mode)]


def padded() -> Iterator[Check]:
    """Every mode, crops, and axes that are seen as one; every dtype."""
    for case in (*PADS, *MORE_PADS):
        kinds = DTYPES if case in MORE_PADS[:1] + MORE_PADS[3:6] else ("float32", "complex128")
        needed = {"pad"} if case.shapes[0][0] else set()
        if "mode" in case.params:
            needed.add("pad_adjoint")
        for dtype in kinds:
            if dtype == "bool" and "mode" in case.params:
                # Bools have no sum.
                continue
            if "value" in case.params and dtype not in (*REAL, *COMPLEX):
                case = case._replace(params={"pad": case.params["pad"]})
            yield Check(f"{case.id}-{dtype}", frozenset(needed), partial(_pad, case, dtype), dtype)


DEPTHWISE = (
    Case("conv1d", ((2, 3, 9), (3, 1, 3)), {"padding": 1}),
    Case("conv1d", ((2, 3, 9), (6, 1, 4)), {"stride": 2, "dilation": 2, "padding": ((1, 3),)}),
    Case("conv2d", ((2, 4, 6, 7), (4, 1, 3, 3)), {"padding": 1}),
    Case("conv2d", ((2, 2, 7, 6), (6, 1, 3, 3)), {"stride": 2, "padding": ((0, 2), (3, 1))}),
    Case("conv2d", ((2, 2, 9, 8), (4, 1, 2, 3)), {"stride": (4, 2), "dilation": (2, 3)}),
    Case("conv2d", ((1, 1, 22, 19), (1, 1, 4, 5)), {"stride": (5, 4), "dilation": (2, 3)}),
    Case("conv2d", ((0, 2, 5, 5), (2, 1, 3, 3)), {}),
    Case("conv2d", ((9, 2, 24, 24), (2, 1, 3, 3)), {}),
    Case("conv3d", ((1, 2, 4, 5, 4), (4, 1, 2, 3, 1)), {"padding": (1, 0, 2)}),
)
IN_ROWS = (DEPTHWISE[2], DEPTHWISE[3], DEPTHWISE[7])
TAPS_TOGETHER = (DEPTHWISE[0], *IN_ROWS)
GRADIENTS = {"depthwise", "depthwise_transpose", "depthwise_weight", "depthwise_weight_sum"}


def _arrays_of_depthwise(case: Case, dtype: str, xp: Any) -> list[Any]:
    shapes = (*case.shapes, case.shapes[1][:1])
    return [made(xp, shape, dtype, seed) for seed, shape in enumerate(shapes)]


def _depthwise(case: Case, dtype: str, xp: Any) -> list[Any]:
    x, w, bias = _arrays_of_depthwise(case, dtype, xp)
    groups = {**case.params, "groups": x.shape[1]}
    results = pulled(xp, getattr(ac, case.function), x, w, bias, **groups)
    transpose = getattr(ac, case.function.replace("conv", "conv_transpose"))
    # With padding cells would be cropped, of which enough are known by the gradient.
    groups["padding"] = 0
    return [*results, transpose(results[0], w, bias[: x.shape[1]], **groups)]


def _depthwise_forward(case: Case, dtype: str, xp: Any) -> list[Any]:
    x, w, bias = _arrays_of_depthwise(case, dtype, xp)
    return [getattr(ac, case.function)(x, w, bias, groups=x.shape[1], **case.params)]


def depthwise() -> Iterator[Check]:
    """Depthwise convolution and its gradients."""
    for case in DEPTHWISE:
        some: tuple[str, ...] = ("float32", "float64")
        if case is DEPTHWISE[3]:
            some = (*some, "float16", "bfloat16", *COMPLEX)
            for dtype in ("int8", "uint16", "int32", "int64"):
                call = partial(_depthwise_forward, case, dtype)
                yield Check(f"{case.id}-{dtype}", frozenset({"depthwise_rows"}), call, dtype)
        for dtype in some:
            needed = GRADIENTS if case.shapes[0][0] else set()
            if case in IN_ROWS:
                needed = needed - {"depthwise"} | {"depthwise_rows"}
            if case in TAPS_TOGETHER:
                needed = needed - {"depthwise_weight"} | {"depthwise_weight_taps"}
            if case in (DEPTHWISE[2], DEPTHWISE[7]):
                needed = needed - {"depthwise_transpose"}
            call = partial(_depthwise, case, dtype)
            yield Check(f"{case.id}-{dtype}", frozenset(needed), call, dtype)


def _runs(width: int, kernel: int, stride: int, before: int, dtype: str, xp: Any) -> list[Any]:
    pairs, sizes = ((before, 1),) * 2, (7, width)
    window = sliding_window(sizes, (kernel,) * 2, (stride,) * 2, pairs, (1, 1))
    outs = tuple(axis.out for axis in window)
    x, y = made(xp, (1, 5, *sizes), dtype), made(xp, (1, 5, *outs), dtype, 1)
    _, index = primitives.max_pool_indices(x, window)
    grad = primitives.max_pool_grad(y, index, window)
    results = [primitives.unfold(x, window), primitives.spread(y, window), grad]
    two = made(xp, (1, 10, *outs), dtype, 2)
    w = made(xp, (10, 1, kernel, kernel), dtype, 3)
    results.append(primitives.conv_transpose(two, w, window, 5))
    return [*results, primitives.conv_weight(x, two, window, 5)]


def runs() -> Iterator[Check]:
    """Rows that threads share out in runs of four and two, at every phase of the stride."""
    needed = frozenset({"unfold", "spread", "max_pool_grad", "depthwise_transpose"})
    needed |= {"depthwise_weight_taps"}
    for width, kernel, before in product((8, 6), (2, 3, 5), (0, 1, -1, 2)):
        for stride in (1, 2, 3):
            dtype = "float16" if (width, kernel, stride) == (8, 3, 2) else "float32"
            call = partial(_runs, width, kernel, stride, before, dtype)
            if -7 < before < kernel <= min(width, 7) + before + 1:
                yield Check(f"runs-{width}-{kernel}-{stride}-{before}-{dtype}", needed, call, dtype)


def every_check() -> list[Check]:
    """Return all checks."""
    kernels = [*columns(), *pools(), *indexed(), *padded(), *depthwise(), *runs()]
    return [*kernels, *products(), *views()]
