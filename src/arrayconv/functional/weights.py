"""The weight and the bias of convolutions: checked, added, and summed for the gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from arrayconv._arrays import Array, library_of
from arrayconv._integers import Ints
from arrayconv._registry import Implementation
from arrayconv.functional.operations import Call

CONVOLVED = ("input", "weight", "bias")
"""The arrays of a convolution, in order."""


def check_weight(
    operation: str, input: Ints, weight: Ints, bias: Ints | None, groups: int, transposed: bool
) -> None:
    """Raise ValueError where channels, groups, weight and bias do not fit together."""
    dims = len(input) - 2
    layout = "(in, out / groups" if transposed else "(out, in / groups"
    shapes = f"input {input}, weight {weight}, groups {groups}"
    if len(weight) != dims + 2:
        raise ValueError(
            f"weight of {operation} must have {dims + 2} dimensions {layout}, *kernel): {shapes}"
        )
    if min(weight) < 1 or input[1] < 1:
        raise ValueError(f"{operation} needs at least one channel and one kernel tap: {shapes}")
    if weight[0] % groups:
        raise ValueError(
            f"the first dimension of weight, {weight[0]}, must be divisible by groups: {shapes}"
        )
    channels = weight[0] if transposed else weight[1] * groups
    if input[1] != channels:
        raise ValueError(
            f"input has {input[1]} channels where weight {layout}, *kernel) wants {channels}: "
            f"{shapes}"
        )
    outputs = weight[1] * groups if transposed else weight[0]
    if bias is not None and bias != (outputs,):
        raise ValueError(f"bias must have the shape ({outputs},), got {bias}: {shapes}")


def finish(call: Call, bias: Array | None, unbatched: bool) -> Array:
    """Run a parsed convolution: the primitive, the bias, and no N where the input had none."""
    chosen = call.primitive.choose(call.algorithm, *call.arguments)
    output = with_bias(chosen, chosen.run, call.arguments, bias)
    return output[0, ...] if unbatched else output


def with_bias(
    chosen: Implementation,
    run: Callable[..., Array],
    arguments: tuple[Any, ...],
    bias: Array | None,
) -> Array:
    """Return what an implementation, or what it prepared, makes of arguments, with the bias."""
    if chosen.adds_bias:
        return run(*arguments, bias)
    output = run(*arguments)
    return output if bias is None else _add_bias(output, bias)


def _add_bias(output: Array, bias: Array) -> Array:
    """Return the output (N, C, *sizes), which nobody else holds, with its channel's bias added."""
    library = library_of("bias", bias)
    spread = library.xp.reshape(bias, (1, output.shape[1], *(1,) * (output.ndim - 2)))
    if library.adds_in_place:
        output += spread
        return output
    return output + spread


def sum_channels(cotangent: Array, like: Array) -> Array:
    """Return the sum (C,) of (N, C, *sizes): the gradient of a bias, summed in the wide dtype."""
    library = library_of("cotangent", cotangent)
    dims: tuple[int, ...] = (0, *range(2, cotangent.ndim))
    wide = library.dtype(cotangent.dtype).wide
    return library.xp.astype(library.xp.sum(cotangent, axis=dims, dtype=wide), like.dtype)
