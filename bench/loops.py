"""The two ways of the lecture without im2col: nested loops, and a loop over output positions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from arrayconv import reference
from bench.cases import TO_INPUT, Array, Case, one_each

Call = Callable[[], Any]


class UnableError(Exception):
    """A provider that cannot compute a case; the message says why."""


def _reference_params(case: Case) -> dict[str, Any]:
    """Return the parameters as `arrayconv.reference` spells them."""
    params = dict(case.params)
    params.pop("return_indices", None)
    if case.family in ("unfold", "fold"):
        params["kernel_size"] = case.kernel_size
    return params


def _jacobian_of_plane(case: Case, params: dict[str, Any], sizes: tuple[int, ...]) -> Array:
    """Return what an average, which is linear, does to each cell of a plane: (cells, outputs)."""
    cells = int(np.prod(sizes))
    basis = np.eye(cells).reshape(cells, 1, *sizes)
    return getattr(reference, case.family)(basis, **params).reshape(cells, -1)


def _gradients(case: Case, arrays: tuple[Array, ...], cotangent: Array) -> Array:
    """Return the gradient in a case's direction, by the definitions alone."""
    params = _reference_params(case)
    if case.convolves:
        rule = getattr(reference, f"{case.family}_gradients")
        to_input, to_weight, _ = rule(*arrays[:2], cotangent, **params)
        return to_input if case.direction == TO_INPUT else to_weight
    if case.family == "unfold":
        return reference.fold(cotangent, case.input[2:], **params)
    if case.family == "fold":
        params.pop("output_size")
        return reference.unfold(cotangent, **params)
    x = arrays[0]
    if "max" in case.family:
        _, index = getattr(reference, case.family)(x, **params)
        gradient = np.zeros(x.shape, cotangent.dtype)
        flat = gradient.reshape(*x.shape[:2], -1)
        for at in np.ndindex(index.shape):
            flat[(*at[:2], index[at])] += cotangent[at]
        return gradient
    jacobian = _jacobian_of_plane(case, params, x.shape[2:])
    gradient = cotangent.reshape(*x.shape[:2], -1) @ jacobian.T
    return gradient.reshape(x.shape).astype(x.dtype)


def nested(case: Case, arrays: tuple[Array, ...], cotangent: Array | None) -> Any:
    """Return a case's result by the nested loops of `arrayconv.reference`."""
    if cotangent is not None:
        return _gradients(case, arrays, cotangent)
    result = getattr(reference, case.family)(*arrays, **_reference_params(case))
    if "max" in case.family and "return_indices" not in case.params:
        return result[0]
    return result


def _pairs(case: Case, sizes: tuple[int, ...]) -> list[tuple[int, int]]:
    padding = case.params.get("padding", 0)
    if padding == "same":
        totals = [k - 1 for k in case.kernel_size]
        return [(total // 2, total - total // 2) for total in totals]
    return [(p, p) for p in one_each(padding, len(sizes))]


def _positions(case: Case, x: Array, fill: float) -> Iterator[tuple[Any, Array]]:
    """Yield each output position, and what its window sees of all images: (N, C, *kernel)."""
    dims = x.ndim - 2
    pairs = [(0, 0), (0, 0), *_pairs(case, x.shape[2:])]
    padded = np.pad(x, pairs, constant_values=fill)
    default = case.kernel_size if case.family.endswith("pool") else 1
    stride = one_each(case.params.get("stride", default), dims)
    dilation = one_each(case.params.get("dilation", 1), dims)
    counts = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(padded.shape[2:], case.kernel_size, stride, dilation, strict=True)
    ]
    for position in product(*map(range, counts)):
        cells = tuple(
            slice(o * s, o * s + d * (k - 1) + 1, d)
            for o, k, s, d in zip(position, case.kernel_size, stride, dilation, strict=True)
        )
        yield position, padded[(slice(None), slice(None), *cells)]


def _by_position(case: Case, x: Array) -> Array:
    dims = tuple(range(2, x.ndim))
    if case.family == "unfold":
        columns = [seen.reshape(len(x), -1) for _, seen in _positions(case, x, 0)]
        return np.stack(columns, axis=-1)
    output: Array = np.empty(case.output, x.dtype)
    maximum = case.family == "max_pool"
    for position, seen in _positions(case, x, -np.inf if maximum else 0):
        output[(..., *position)] = seen.max(axis=dims) if maximum else seen.mean(axis=dims)
    return output


def by_position(case: Case, arrays: tuple[Array, ...]) -> Call:
    """Return the call that loops over a case's output positions, if one is written."""
    unwritten = case.direction != "forward" or case.params.get("ceil_mode", False)
    if unwritten or case.params.get("return_indices", False):
        raise UnableError("no loop over positions is written for it")
    if case.family == "conv":
        return partial(reference.conv_by_position, *arrays, **case.params)
    if case.family in ("unfold", "max_pool", "avg_pool"):
        return partial(_by_position, case, arrays[0])
    raise UnableError("no loop over positions is written for it")
