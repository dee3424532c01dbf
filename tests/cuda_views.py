"""Checks of arrays that are not laid out in a row, for each kernel by itself."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import arrayconv as ac
from arrayconv import primitives
from arrayconv._window import PADDING_MODES
from tests.cuda_comparison import Check, asking_for, made
from tests.cuda_products import PRODUCTS


def _laid_out(xp: Any) -> Iterator[Any]:
    """Yield channels-last, reversed, every second, and broadcast: not laid out in a row."""
    last = xp.moveaxis(made(xp, (2, 8, 9, 3), "float32"), -1, 1)
    yield last
    yield _strided(xp)
    yield xp.broadcast_to(last[:1], (2, 3, 8, 9))


def _strided(xp: Any) -> Any:
    return made(xp, (4, 6, 16, 9), "float32")[::2, ::-2, ::2, ::-1]


def _unfold_views(some: Any, xp: Any) -> list[Any]:
    return [ac.unfold(x, 3, padding=1) for x in _laid_out(xp)]


def _max_pool_views(some: Any, xp: Any) -> list[Any]:
    results = []
    for x in _laid_out(xp):
        output, pullback = ac.vjp(ac.max_pool2d, x, kernel_size=3, stride=2)
        cotangent = xp.broadcast_to(some(1, 1, 1, 1), output.shape)
        results += [ac.max_pool2d(x, 3, 2), output, *pullback(cotangent)]
    return results


def _avg_pool_views(some: Any, xp: Any) -> list[Any]:
    results = []
    for x in _laid_out(xp):
        output, pullback = ac.vjp(ac.avg_pool2d, x, kernel_size=3, stride=2)
        cotangent = some(2, 3, 4, 3).transpose(0, 1, 3, 2)[:, ::-1]
        results += [ac.avg_pool2d(x, 2), output, *pullback(cotangent)]
    return results


def _depthwise_views(some: Any, xp: Any) -> list[Any]:
    weight, results = some(3, 3, 3, 1).transpose(0, 3, 2, 1), []
    for x in _laid_out(xp):
        output, pullback = ac.vjp(ac.conv2d, x, weight, None, groups=3)
        results += [output, *pullback(xp.moveaxis(some(2, 6, 7, 3), -1, 1))[:2]]
    return results


def _product_views(some: Any, xp: Any) -> list[Any]:
    weight, results = some(3, 3, 3, 5).transpose(3, 1, 2, 0), []
    with asking_for("cuda-implicit"):
        for x in _laid_out(xp):
            output, pullback = ac.vjp(ac.conv2d, x, weight, None)
            results += [output, *pullback(xp.moveaxis(some(2, 6, 7, 5), -1, 1)[..., ::-1])[:2]]
    return results


def _fold_views(some: Any, xp: Any) -> list[Any]:
    return [ac.fold(some(20, 27, 2).transpose(2, 1, 0)[:, ::-1], (6, 7), 3)]


def _indexed_views(name: str, some: Any, xp: Any) -> list[Any]:
    index = xp.arange(24).reshape(4, 3, 2).transpose(2, 1, 0) // 2
    if name == "gather":
        return [primitives.gather(some(12, 2, 3).transpose(1, 2, 0)[..., ::-1], index)]
    return [getattr(primitives, name)(some(4, 3, 2).transpose(2, 1, 0), index, 12)]


def _pad_views(some: Any, xp: Any) -> list[Any]:
    return [ac.pad(next(_laid_out(xp)), (1, 2, 3, 1), mode) for mode in PADDING_MODES]


def _pad_adjoint_views(some: Any, xp: Any) -> list[Any]:
    pairs = ((0, 0), (0, 0), (1, 2), (2, -1))
    return [primitives.pad_adjoint(_strided(xp), pairs, mode) for mode in PADDING_MODES]


VIEWS: tuple[tuple[Any, frozenset[str]], ...] = (
    (_unfold_views, frozenset({"unfold"})),
    (_max_pool_views, frozenset({"max_pool", "max_pool_grad"})),
    (_avg_pool_views, frozenset({"sum_pool", "spread"})),
    (
        _depthwise_views,
        frozenset({"depthwise_rows", "depthwise_weight_taps", "depthwise_weight_sum"}),
    ),
    (_product_views, PRODUCTS),
    (_fold_views, frozenset({"fold"})),
    *(
        (partial(_indexed_views, name), frozenset({name}))
        for name in ("place", "scatter_add", "gather")
    ),
    (_pad_views, frozenset({"pad"})),
    (_pad_adjoint_views, frozenset({"pad_adjoint"})),
)


def _view(call: Any, xp: Any) -> list[Any]:
    return list(call(lambda *shape: made(xp, shape, "float32"), xp))


def views() -> Iterator[Check]:
    """Channels-last, reversed, every second, broadcast."""
    for call, needed in VIEWS:
        yield Check(f"views-{min(needed)}", needed, partial(_view, call), "float32")
