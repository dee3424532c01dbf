"""Convolutions of half and complex types as those of float32 and float64, some rows at a time.

NumPy has no products of matrices of 16-bit numbers, and of complex ones nothing but these. As
others they run on every algorithm that there is.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np

from arrayconv._options import current
from arrayconv._parts import Part, adjoint_part, sliding_part
from arrayconv._window import Axis, Window, input_sizes, kernel_sizes, output_sizes, span
from arrayconv.backends.numpy import complex_numbers, halves
from arrayconv.backends.numpy.blocks import budget, equal_parts
from arrayconv.backends.numpy.costs import Shape
from arrayconv.backends.numpy.orders import channels_first
from arrayconv.backends.numpy.rule import Algorithm, Rule

PART = 30_000.0
"""Nanoseconds that a part takes at least."""


class Numbers(NamedTuple):
    """A kind of numbers, and how they are made into others."""

    unfit: Callable[[Any], str | None]
    """Of a dtype, why it is no such kind."""
    dtype: Callable[[Any], Any]
    """Of a dtype, that of the others."""
    times: int
    """How many times as many channels, outputs and groups there are."""
    nanoseconds: Callable[[Any], tuple[float, float]]
    """Of a dtype, what a number takes to be converted, back and forth, and what a nanosecond of the
    others is in estimates of this kind."""
    reduced: Callable[[], bool]
    """Whether the others may round more than the definition does."""
    taken: Callable[[Any, slice, slice, int, bool], Any]
    """Some rows of some images (N, C, *sizes) of so many groups, as the first or second factor."""
    put: Callable[[Any, Any, slice, slice, int], None]
    """Write others into those rows."""
    weight: Callable[[Any, int], Any]
    """A weight (O, C / groups, *kernel), always the second factor."""
    bias: Callable[[Any, int], Any]
    of_weight: Callable[[Any, Any, int], None]
    """Write a gradient to a weight."""

    def shape(self, shape: Shape) -> Shape:
        """Return the shape of what runs."""
        return Shape(
            shape.window,
            shape.batch,
            self.times * shape.channels,
            self.times * shape.outputs,
            self.times * shape.groups,
            self.dtype(shape.dtype),
        )


HALVES = Numbers(
    halves.unfit,
    lambda dtype: halves.WIDE,
    1,
    lambda dtype: (halves.nanoseconds(dtype), 1.0),
    # What is rounded to 11 bits, or 8, is not seen to have lost one or two of 24 before.
    lambda: True,
    lambda x, images, rows, groups, is_second: halves.widened(x, images, rows),
    lambda made, y, images, rows, groups: halves.narrow(made, y, images, rows),
    lambda w, groups: halves.of_weight(w),
    lambda bias, groups: bias.astype(halves.WIDE),
    lambda made, weight, groups: halves.to_weight(made, weight),
)
COMPLEX = Numbers(
    complex_numbers.unfit,
    complex_numbers.real,
    3,
    # Estimates count a complex multiply-add as one, and it takes the time of four.
    lambda dtype: (complex_numbers.nanoseconds(), 0.25),
    lambda: current().allow_reduced_precision,
    complex_numbers.factors,
    complex_numbers.together,
    complex_numbers.of_weight,
    complex_numbers.biases,
    complex_numbers.to_weight,
)


def _cells(shape: Shape) -> int:
    """Return the numbers of an image, and of what is made of it."""
    sizes, positions = (prod(of(shape.window)) for of in (input_sizes, output_sizes))
    return shape.channels * sizes + shape.outputs * positions


def _cut(
    numbers: Numbers, shape: Shape, part_of: Callable[[Axis, int, int], Part], length: int
) -> list[tuple[slice, Part]]:
    """Return the images and rows of each part, so that what is converted is within the budget.

    ``length`` are the rows that are cut, of positions or, for an adjoint, of cells.
    """
    if shape.batch == 0:
        return []
    window, cells = shape.window, _cells(shape)
    weights = shape.outputs * shape.channels // shape.groups * shape.taps
    itemsizes = [np.dtype(each).itemsize for each in (shape.dtype, numbers.dtype(shape.dtype))]
    held = (shape.batch * cells + weights) * itemsizes[0]
    # What runs holds about as much beside its own arrays.
    limit = max(1, budget(held, current().workspace_bytes) // 2)
    converted = cells * numbers.times * itemsizes[1]
    images = -(-shape.batch // max(1, limit // max(1, converted)))
    rows = min(-(-converted // limit), max(1, 2 * length // span(window[0])))
    return [
        (slice(*some), part_of(window[0], *of))
        for some in equal_parts(shape.batch, images)
        for of in equal_parts(length, rows)
    ]


class Converted:
    """The algorithms of a kind of numbers, which run those of a rule."""

    def __init__(self, numbers: Numbers, rule: Rule) -> None:
        self.numbers, self.rule = numbers, rule

    def unfit(self, shape: Shape) -> str | None:
        """Return why a convolution cannot be served."""
        return self.numbers.unfit(shape.dtype)

    def nanoseconds(self, shape: Shape) -> float:
        """Return the nanoseconds of a call: see `costs`."""
        each, of_other = self.numbers.nanoseconds(shape.dtype)
        parts = len(_cut(self.numbers, shape, sliding_part, shape.window[0].out))
        others = self.rule.least(self.numbers.shape(shape), self.numbers.reduced())
        return of_other * others + shape.batch * _cells(shape) * each + parts * PART

    def conv(self, x: Any, w: Any, window: Window, groups: int, bias: Any = None) -> Any:
        """Return y (N, O, *positions)."""
        shape = Shape(window, x.shape[0], x.shape[1], w.shape[0], groups, x.dtype)
        y = np.empty((len(x), len(w), *output_sizes(window)), x.dtype)
        self._run(x, w, y, shape, _cut(self.numbers, shape, sliding_part, window[0].out), bias)
        return y

    def conv_transpose(self, y: Any, w: Any, window: Window, groups: int) -> Any:
        """Return x (N, C, *sizes)."""
        channels = w.shape[1] * groups
        shape = Shape(window, y.shape[0], channels, y.shape[1], groups, y.dtype)
        x = np.empty((len(y), channels, *input_sizes(window)), y.dtype)
        self._run(y, w, x, shape, _cut(self.numbers, shape, adjoint_part, window[0].size), None)
        return x

    def _run(
        self,
        source: Any,
        w: Any,
        target: Any,
        shape: Shape,
        parts: list[tuple[slice, Part]],
        bias: Any,
    ) -> None:
        """Write what is made of each part, by whichever algorithm is the fastest for that."""
        numbers, groups = self.numbers, shape.groups
        source, weight = channels_first(source), numbers.weight(np.ascontiguousarray(w), groups)
        added = None if bias is None else numbers.bias(bias, groups)
        for images, part in parts:
            seen = numbers.taken(source, images, slice(part.low, part.high), groups, False)
            window = (part.axis, *shape.window[1:])
            arguments = (seen, weight, window, numbers.times * groups)
            chosen = self.rule.chosen(*arguments, numbers.reduced())
            made = chosen.run(*arguments, *((added,) if chosen.adds_bias else ()))
            if added is not None and not chosen.adds_bias:
                made += added.reshape(-1, *(1 for _ in window))
            numbers.put(made, target, images, slice(part.start, part.stop), groups)

    def conv_weight(self, x: Any, y: Any, window: Window, groups: int) -> Any:
        """Return w (O, C / groups, *kernel), added up over parts as the others are."""
        numbers = self.numbers
        shape = Shape(window, x.shape[0], x.shape[1], y.shape[1], groups, x.dtype)
        weight = np.zeros((y.shape[1], x.shape[1] // groups, *kernel_sizes(window)), x.dtype)
        x, y, total = channels_first(x), channels_first(y), None
        for images, part in _cut(numbers, shape, sliding_part, window[0].out):
            arguments = (
                numbers.taken(x, images, slice(part.low, part.high), groups, False),
                numbers.taken(y, images, slice(part.start, part.stop), groups, True),
                (part.axis, *window[1:]),
                numbers.times * groups,
            )
            made = self.rule.chosen(*arguments, numbers.reduced()).run(*arguments)
            total = made if total is None else total + made
        if total is not None:
            numbers.of_weight(total, weight, groups)
        return weight


NAMES = {"as_float32": HALVES, "as_real": COMPLEX}


def algorithms(rule: Rule, method: str, adds_bias: bool = False) -> list[Algorithm]:
    """Return the algorithms of half and complex types that one of `Converted`'s methods is."""
    every = {name: Converted(numbers, rule) for name, numbers in NAMES.items()}
    return [
        Algorithm(name, getattr(each, method), each.unfit, each.nanoseconds, adds_bias=adds_bias)
        for name, each in every.items()
    ]
