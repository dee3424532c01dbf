"""The algorithms of convolution and of its adjoints; "auto" takes the cheapest by `rule`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from arrayconv._integers import Ints
from arrayconv._registry import Implementation, never
from arrayconv._window import Window, adjoint_axis
from arrayconv.backends.numpy import (
    blocked,
    channel_shifts,
    compiled_gradient,
    compiled_im2col,
    compiled_winograd,
    compiled_winograd_gradient,
    converted,
    costs,
    depthwise_adjoint,
    depthwise_channels,
    depthwise_gradient,
    depthwise_rows,
    fourier,
    mec,
    pointwise,
    shifts,
    winograd,
    winograd_costs,
    winograd_gradient,
    workspaces,
)
from arrayconv.backends.numpy import compiled_convolution as compiled
from arrayconv.backends.numpy.compiler import missing
from arrayconv.backends.numpy.costs import Shape
from arrayconv.backends.numpy.orders import is_channels_last
from arrayconv.backends.numpy.rule import Algorithm, Rule
from arrayconv.backends.numpy.winograd_maps import ROWS, SQUARES

TILES = ((4, 4), (2, 2))
"""Outputs of Winograd's tiles for small kernels, in each of the last two dimensions."""


def _named(name: str, tile: Ints) -> str:
    tall, wide = tile
    return f"{name}_{tall}x{wide}"


def _in_numpy(
    own: Callable[..., float],
    compiled_one: Callable[..., float],
    unfit: Callable[[Shape, Ints], str | None],
    tile: Ints,
) -> Callable[..., float]:
    """Return the nanoseconds of squares whose transforms are NumPy's.

    Where these can be compiled they are no fewer than then.
    """

    def nanoseconds(shape: Shape, **ready: bool) -> float:
        alone = own(shape, tile, **ready)
        if unfit(shape, tile) is not None:
            return alone
        return max(alone, 1.01 * compiled_one(shape, tile, **ready))

    return nanoseconds


FORWARD = Rule(
    costs.forward,
    (
        Algorithm(
            *("numba", compiled.conv, compiled.unfit, costs.numba, workspaces.compiled),
            adds_bias=True,
        ),
        Algorithm(
            "channels_last",
            depthwise_channels.conv,
            depthwise_channels.unfit,
            costs.channels_last,
            workspaces.turned,
            adds_bias=True,
        ),
        Algorithm(
            "numba_depthwise",
            depthwise_rows.conv,
            depthwise_rows.unfit,
            depthwise_rows.nanoseconds,
            workspaces.nothing,
            adds_bias=True,
        ),
        Algorithm(
            "channel_shifts",
            channel_shifts.conv,
            channel_shifts.unfit,
            costs.channel_shifts,
            workspaces.channel_shifted,
        ),
        Algorithm("im2col", blocked.conv, never, costs.im2col, workspaces.im2col, adds_bias=True),
        Algorithm(
            "pointwise", pointwise.conv, pointwise.unfit, costs.pointwise, workspaces.pointwise
        ),
        Algorithm("mec", mec.conv, mec.unfit, costs.mec, workspaces.mec_rows),
        Algorithm("shifts", shifts.conv, shifts.unfit, costs.shifts, workspaces.shifted),
        Algorithm(
            *("fft", fourier.conv, fourier.unfit, costs.fft, workspaces.fft), rounds=fourier.rounds
        ),
        *(
            Algorithm(
                _named("winograd", tile),
                partial(winograd.conv, tile=tile),
                partial(winograd.unfit, tile=tile),
                _in_numpy(
                    winograd_costs.squares, winograd_costs.compiled, compiled_winograd.unfit, tile
                ),
                partial(workspaces.squares, tile=tile),
                partial(winograd.prepare, tile=tile),
                rounds=partial(winograd.rounds, tile=tile),
            )
            for tile in TILES
        ),
        *(
            Algorithm(
                _named("numba_winograd", tile),
                partial(compiled_winograd.conv, tile=tile),
                partial(compiled_winograd.unfit, tile=tile),
                partial(winograd_costs.compiled, tile=tile),
                partial(workspaces.compiled_squares, tile=tile),
                partial(compiled_winograd.prepare, tile=tile),
                adds_bias=True,
                rounds=partial(winograd.rounds, tile=tile, most=winograd.IN_PARTS),
            )
            for tile in (*TILES, SQUARES, ROWS)
        ),
    ),
    partial(converted.algorithms, method="conv", adds_bias=True),
)


def _sliding(conv: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``conv_transpose`` with a stride of 1, as a convolution with the kernel flipped."""

    def conv_transpose(y: Any, w: Any, window: Window, groups: int) -> Any:
        return conv(
            y, blocked.flip(w, groups), tuple(adjoint_axis(axis) for axis in window), groups
        )

    return conv_transpose


def _if_sliding(unfit: Callable[[Shape], str | None]) -> Callable[[Shape], str | None]:
    """Return why an adjoint cannot be served as a convolution."""

    def reason(shape: Shape) -> str | None:
        return "it needs a stride of 1" if costs.strided(shape.window) else unfit(shape)

    return reason


_ADJOINTS = {
    _named(name, tile): partial(module.conv_transpose, tile=tile)
    for name, module, tiles in (
        ("winograd", winograd, TILES),
        ("numba_winograd", compiled_winograd, (*TILES, SQUARES, ROWS)),
    )
    for tile in tiles
}
_OF_PIECES = {
    _named("numba_winograd", tile): partial(winograd_costs.of_pieces, tile=tile)
    for tile in (SQUARES, ROWS)
}
BACKWARD = Rule(
    costs.backward,
    (
        Algorithm(
            "im2col", blocked.conv_transpose, never, costs.im2col_adjoint, workspaces.im2col_adjoint
        ),
        Algorithm(
            *(
                "pointwise",
                pointwise.conv_transpose,
                pointwise.adjoint_unfit,
                costs.pointwise_adjoint,
            ),
            workspaces.pointwise_adjoint,
        ),
        Algorithm(
            "numba",
            compiled.conv_transpose,
            compiled.unfit,
            costs.numba_adjoint,
            workspaces.compiled_adjoint,
        ),
        Algorithm(
            "numba_im2col",
            compiled_im2col.conv_transpose,
            compiled_im2col.unfit,
            costs.numba_im2col_adjoint,
            workspaces.folded,
            adds_bias=True,
        ),
        Algorithm(
            "numba_depthwise",
            depthwise_adjoint.conv_transpose,
            depthwise_adjoint.unfit,
            depthwise_adjoint.nanoseconds,
            workspaces.nothing,
        ),
        *(
            each._replace(
                run=_ADJOINTS.get(each.name, _sliding(each.run)),
                unfit=_if_sliding(each.unfit),
                nanoseconds=_OF_PIECES.get(each.name, each.nanoseconds),
                prepare=None,
                adds_bias=False,
            )
            for each in FORWARD.algorithms
            if each.name not in ("im2col", "pointwise", "numba", "numba_depthwise")
            and each.name not in converted.NAMES
        ),
    ),
    partial(converted.algorithms, method="conv_transpose"),
)


TO_WEIGHT = Rule(
    costs.of_weight,
    (
        Algorithm("im2col", blocked.conv_weight, never, costs.im2col_weight),
        Algorithm("pointwise", pointwise.conv_weight, pointwise.unfit, costs.pointwise_weight),
        Algorithm(
            "numba",
            compiled_gradient.conv_weight,
            compiled_gradient.unfit,
            compiled_gradient.nanoseconds,
        ),
        Algorithm(
            "channels_last",
            depthwise_channels.conv_weight,
            depthwise_channels.unfit,
            costs.channels_last_weight,
        ),
        Algorithm(
            "numba_depthwise",
            depthwise_gradient.conv_weight,
            depthwise_rows.unfit,
            depthwise_gradient.nanoseconds,
        ),
        Algorithm(
            "channel_shifts",
            channel_shifts.conv_weight,
            channel_shifts.unfit,
            costs.channel_shifts,
        ),
        *(
            Algorithm(
                _named("winograd", tile),
                partial(winograd_gradient.conv_weight, tile=tile),
                partial(winograd_gradient.weight_unfit, tile=tile),
                _in_numpy(
                    winograd_costs.to_weight,
                    winograd_costs.compiled_to_weight,
                    compiled_winograd_gradient.unfit,
                    tile,
                ),
                rounds=partial(winograd.rounds, tile=tile),
            )
            for tile in TILES
        ),
        *(
            Algorithm(
                _named("numba_winograd", tile),
                partial(compiled_winograd_gradient.conv_weight, tile=tile),
                partial(compiled_winograd_gradient.unfit, tile=tile),
                partial(winograd_costs.compiled_to_weight, tile=tile),
                rounds=partial(winograd.rounds, tile=tile),
            )
            for tile in TILES
        ),
    ),
    partial(converted.algorithms, method="conv_weight"),
)


def _by_order(rule: Rule) -> tuple[Implementation, ...]:
    """Return a rule's implementations as they serve channels-last arrays too.

    Compiled loops for these never are slow for them; without numba, shifts of channels spare what
    it takes to turn an array over.
    """
    by_name = {each.name: each for each in rule.implementations()}
    compiled_one, other = by_name["channels_last"], by_name["channel_shifts"]

    def slow(a: Any, b: Any, window: Window, groups: int) -> str | None:
        return None if is_channels_last(a) else compiled_one.slow(a, b, window, groups)

    def slow_without(a: Any, b: Any, window: Window, groups: int) -> str | None:
        reason = other.slow(a, b, window, groups)
        if reason is None or not is_channels_last(a) or missing() is None:
            return reason
        shape, times = rule.estimates(a, b, window, groups)
        spared = costs.turned_by_numpy(shape)
        return None if times[other.name] - spared < min(times.values()) + spared else reason

    def best(prepared: bool, *call: Any) -> str:
        if is_channels_last(call[0]):
            if compiled_one.unfit(*call) is None:
                return compiled_one.name
            if other.unfit(*call) is None and slow_without(*call) is None:
                return other.name
        return rule.best(prepared, *call)

    by_name["channels_last"] = replace(compiled_one, slow=slow)
    by_name["channel_shifts"] = replace(other, slow=slow_without)
    return tuple(replace(each, best=best) for each in by_name.values())


conv = _by_order(FORWARD)
conv_transpose = _by_order(BACKWARD)
conv_weight = _by_order(TO_WEIGHT)
