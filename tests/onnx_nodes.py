"""ONNX's nodes as calls of arrayconv: a thin adapter for its own tests and its networks.

Each function takes what calls ours on some library's arrays, a node's inputs and attributes as ONNX
names them. ONNX's indices count the cells of the whole tensor, ours those of a plane; its padding
is all the befores, then all the afters.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

import arrayconv as ac

WORDS = {"VALID": "valid", "SAME_UPPER": "same_upper", "SAME_LOWER": "same_lower"}
Attributes = dict[str, Any]
Run = Callable[..., Any]
"""Calls a function of arrayconv with NumPy arrays, as arrays of the library under test."""


def padding(attributes: Attributes, dims: int) -> Any:
    """Return a word or (before, after) pairs."""
    word = attributes.get("auto_pad", "NOTSET")
    if word != "NOTSET":
        return WORDS[word]
    pads = attributes.get("pads", [0] * 2 * dims)
    return tuple(zip(pads[:dims], pads[dims:], strict=True))


def window(attributes: Attributes, dims: int) -> dict[str, Any]:
    """Return what convolutions and pools share."""
    return {
        "stride": tuple(attributes.get("strides", [1] * dims)),
        "padding": padding(attributes, dims),
        "dilation": tuple(attributes.get("dilations", [1] * dims)),
    }


def of(name: str, x: Any) -> Callable[..., Any]:
    """Return the function for an array (N, C, *sizes)."""
    found: Callable[..., Any] = getattr(ac, f"{name}{x.ndim - 2}d")
    return found


def conv(run: Run, attributes: Attributes, x: Any, w: Any, b: Any = None) -> Any:
    groups = attributes.get("group", 1)
    return run(of("conv", x), x, w, b, groups=groups, **window(attributes, x.ndim - 2))


def conv_integer(
    run: Run, attributes: Attributes, x: Any, w: Any, zero: Any = None, w_zero: Any = 0
) -> Any:
    left = x.astype(np.int32) - (0 if zero is None else zero.astype(np.int32))
    # One zero for all outputs, or one for each.
    zeros = np.asarray(w_zero).astype(np.int32).reshape(-1, *(1,) * (w.ndim - 1))
    right = w.astype(np.int32) - zeros
    return conv(run, attributes, left, right)


def conv_transpose(run: Run, attributes: Attributes, x: Any, w: Any, b: Any = None) -> Any:
    dims = x.ndim - 2
    given = window(attributes, dims)
    strides, dilations = given["stride"], given["dilation"]
    extra = tuple(attributes.get("output_padding", [0] * dims))
    wanted = attributes.get("output_shape")
    word = attributes.get("auto_pad", "NOTSET")
    if wanted is None and word.startswith("SAME"):
        wanted = [n * s for n, s in zip(x.shape[2:], strides, strict=True)]
    if wanted is not None:
        # The formula of ONNX's operator page: what is too much is cropped.
        pairs, extra_pads = [], []
        for n, s, d, k, e, size in zip(
            x.shape[2:], strides, dilations, w.shape[2:], extra, wanted, strict=True
        ):
            total = s * (n - 1) + e + d * (k - 1) + 1 - size
            small = max(0, total) // 2
            large = max(0, total) - small
            pairs.append((small, large) if word == "SAME_UPPER" else (large, small))
            # What is missing is added at the end.
            extra_pads.append(e + max(0, -total))
        given["padding"], extra = tuple(pairs), tuple(extra_pads)
    return run(
        of("conv_transpose", x),
        x,
        w,
        b,
        output_padding=extra,
        groups=attributes.get("group", 1),
        **given,
    )


def max_pool(run: Run, attributes: Attributes, x: Any) -> Any:
    dims = x.ndim - 2
    values, index = run(
        of("max_pool", x),
        x,
        tuple(attributes["kernel_shape"]),
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
        return_indices=True,
        **window(attributes, dims),
    )
    sizes = x.shape[2:]
    if attributes.get("storage_order", 0):
        places = np.unravel_index(index, sizes)
        index = np.ravel_multi_index(places[::-1], sizes[::-1])
    planes = np.arange(prod(x.shape[:2])).reshape(*x.shape[:2], *(1,) * dims)
    return values, index + planes * prod(sizes)


def average_pool(run: Run, attributes: Attributes, x: Any) -> Any:
    return run(
        of("avg_pool", x),
        x,
        tuple(attributes["kernel_shape"]),
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
        count_include_pad=bool(attributes.get("count_include_pad", 0)),
        **window(attributes, x.ndim - 2),
    )


def lp_pool(run: Run, attributes: Attributes, x: Any) -> Any:
    # ONNX takes magnitudes, torch and we do not.
    return run(
        of("lp_pool", x),
        np.abs(x),
        attributes.get("p", 2),
        tuple(attributes["kernel_shape"]),
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
        **window(attributes, x.ndim - 2),
    )


def global_average_pool(run: Run, attributes: Attributes, x: Any) -> Any:
    return run(of("adaptive_avg_pool", x), x, 1)


def global_max_pool(run: Run, attributes: Attributes, x: Any) -> Any:
    return run(of("adaptive_max_pool", x), x, 1)


def max_unpool(
    run: Run, attributes: Attributes, x: Any, index: Any, output_shape: Any = None
) -> Any:
    dims = x.ndim - 2
    kernel, given = tuple(attributes["kernel_shape"]), window(attributes, dims)
    sizes = tuple(
        (n - 1) * s - before - after + k
        for n, s, (before, after), k in zip(
            x.shape[2:], given["stride"], given["padding"], kernel, strict=True
        )
    )
    planes = np.arange(prod(x.shape[:2])).reshape(*x.shape[:2], *(1,) * dims)
    output = run(
        of("max_unpool", x),
        x,
        index - planes * prod(sizes),
        kernel,
        given["stride"],
        given["padding"],
    )
    if output_shape is None:
        return output
    # The indices are of the size without it; ONNX then adds what is missing at the end.
    more = [int(n) - m for n, m in zip(output_shape[2:], sizes, strict=True)]
    return run(ac.pad, output, [n for each in reversed(more) for n in (0, each)])


def col2im(run: Run, attributes: Attributes, x: Any, image: Any, block: Any) -> Any:
    sizes, kernel = tuple(map(int, image)), tuple(map(int, block))
    return run(ac.fold, x, sizes, kernel, **window(attributes, len(sizes)))


NODES: dict[str, Callable[..., Any]] = {
    "AveragePool": average_pool,
    "Col2Im": col2im,
    "Conv": conv,
    "ConvInteger": conv_integer,
    "ConvTranspose": conv_transpose,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "LpPool": lp_pool,
    "MaxPool": max_pool,
    "MaxUnpool": max_unpool,
}


def attributes_of(node: Any) -> Attributes:
    """Return a node's attributes as Python's values, words as str."""
    from onnx.helper import get_attribute_value

    found = {each.name: get_attribute_value(each) for each in node.attribute}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in found.items()}
