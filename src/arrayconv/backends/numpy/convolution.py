"""The algorithms of convolution and of its adjoints; "auto" takes the cheapest by `costs`."""

from __future__ import annotations

from functools import partial

from arrayconv._registry import Implementation, never
from arrayconv.backends.numpy import blocked, compiled, costs, mec, pointwise, shifts, winograd
from arrayconv.backends.numpy.costs import Algorithm, Rule

RULE = Rule(
    Algorithm("im2col", blocked.conv, never, costs.im2col),
    Algorithm("pointwise", pointwise.conv, pointwise.unfit, costs.pointwise),
    Algorithm("mec", mec.conv, mec.unfit, costs.mec),
    Algorithm("numba", compiled.conv, compiled.unfit, costs.numba),
    Algorithm("shifts", shifts.conv, shifts.unfit, costs.shifts),
    *(
        Algorithm(
            f"winograd_{tile}x{tile}",
            partial(winograd.conv, tile=tile),
            winograd.unfit,
            partial(costs.winograd, tile=tile),
        )
        for tile in (4, 2)
    ),
)

conv = tuple(
    Implementation(each.name, each.run, each.unfit, RULE.slow(each.name))
    for each in RULE.algorithms
)
conv_transpose = (
    Implementation("pointwise", pointwise.conv_transpose, pointwise.unfit),
    Implementation("im2col", blocked.conv_transpose),
)
conv_weight = (
    Implementation("pointwise", pointwise.conv_weight, pointwise.unfit),
    Implementation("im2col", blocked.conv_weight),
)
