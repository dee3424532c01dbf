"""The peers: PyTorch, JAX, SciPy and cupyx, a function each."""

from __future__ import annotations

import importlib
from functools import partial
from math import prod
from typing import Any

import numpy as np

from bench.cases import FORWARD, TO_INPUT, Case, one_each
from bench.clocks import Call
from bench.loops import UnableError
from bench.places import Place
from bench.providers import CHANNELS_LAST, TF32, Provider, Ready, Source, has_two_layouts


def _of(place: Place, name: str, prepare: Any, **more: Any) -> Provider:
    return Provider(
        name,
        place.library,
        prepare,
        place.to_numpy,
        place.plain,
        place.device,
        place.clock,
        place.host_clock,
        peak=place.peak,
        **more,
    )


def _arrays(place: Place, case: Case) -> tuple[list[Any], Any]:
    """Return a case's arrays and, for a gradient, its cotangent, in a place."""
    cotangent = None if case.direction == FORWARD else place.asarray(case.cotangent(), case.dtype)
    return [place.asarray(array, case.dtype) for array in case.arrays()], cotangent


# --- PyTorch ----------------------------------------------------------------------------------


def torch_peer(place: Place) -> Source:
    """Return torch in its own layout and channels last; on a GPU with TF32 as well."""
    torch = importlib.import_module("torch")
    functional = torch.nn.functional
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}

    def prepare(channels_last: bool, tf32: bool, case: Case) -> Ready:
        if case.family in ("unfold", "fold") and case.dims != 2:
            raise UnableError(f"torch unfolds and folds 2 dimensions, not {case.dims}")
        arrays, cotangent = _arrays(place, case)
        if channels_last:
            arrays = [
                each.to(memory_format=formats[each.ndim]) if each.ndim in formats else each
                for each in arrays
            ]
            if cotangent is not None:
                cotangent = cotangent.to(memory_format=formats[cotangent.ndim])
        function = getattr(functional, case.op)
        if case.direction == FORWARD:
            with torch.no_grad():
                return Ready(_switched(partial(function, *arrays, **case.params), tf32), "native")
        # Not the tensor that the others have too, but another one on its memory.
        position = 0 if case.direction == TO_INPUT else 1
        target = arrays[position] = arrays[position].detach().requires_grad_()
        output = function(*arrays, **case.params)
        pull = partial(torch.autograd.grad, output, target, cotangent, retain_graph=True)
        return Ready(_switched(lambda: pull()[0], tf32), "native")

    def _switched(call: Call, tf32: bool) -> Call:
        if not tf32:
            return call

        def with_tf32() -> Any:
            torch.backends.cudnn.allow_tf32 = True
            try:
                return call()
            finally:
                torch.backends.cudnn.allow_tf32 = False

        return with_tf32

    def providers(case: Case) -> list[Provider]:
        found = [_of(place, "torch", partial(prepare, False, False))]
        lasting = has_two_layouts(case)
        if lasting:
            found.append(_of(place, f"torch {CHANNELS_LAST}", partial(prepare, True, False)))
        if place.device != "cpu" and case.convolves and case.dtype == "float32":
            found.append(_of(place, "torch tf32", partial(prepare, False, True), tolerance=TF32))
            if lasting:
                name = f"torch tf32 {CHANNELS_LAST}"
                found.append(_of(place, name, partial(prepare, True, True), tolerance=TF32))
        return found

    return providers


# --- JAX --------------------------------------------------------------------------------------


def _jax_padding(case: Case) -> Any:
    padding = case.params.get("padding", 0)
    if isinstance(padding, str):
        return padding.upper()
    return [(p, p) for p in one_each(padding, case.dims)]


def _jax_windows(case: Case) -> dict[str, Any]:
    default = case.kernel_size if case.family.endswith("pool") else 1
    return {
        "window_strides": one_each(case.params.get("stride", default), case.dims),
        "padding": _jax_padding(case),
        "rhs_dilation": one_each(case.params.get("dilation", 1), case.dims),
    }


def _jax_pool(case: Case, x: Any) -> Any:
    lax = importlib.import_module("jax").lax
    how = _jax_windows(case)
    window, strides = (1, 1, *case.kernel_size), (1, 1, *how["window_strides"])
    padding = [(0, 0), (0, 0), *how["padding"]]
    if case.family == "max_pool":
        return lax.reduce_window(x, -np.inf, lax.max, window, strides, padding)
    sums = lax.reduce_window(x, 0.0, lax.add, window, strides, padding)
    return sums / prod(case.kernel_size)


def _jax_function(case: Case) -> Any:
    """Return a case's function in JAX's own operations; `UnableError` where they have none."""
    jax = importlib.import_module("jax")
    lax, highest = jax.lax, jax.lax.Precision.HIGHEST
    how = _jax_windows(case)

    def conv(x: Any, w: Any, bias: Any = None) -> Any:
        groups = case.groups
        y = lax.conv_general_dilated(x, w, feature_group_count=groups, precision=highest, **how)
        return y if bias is None else y + bias.reshape(-1, *(1,) * case.dims)

    def patches(x: Any) -> Any:
        seen = lax.conv_general_dilated_patches(x, case.kernel_size, precision=highest, **how)
        return seen.reshape(*seen.shape[:2], -1)

    def transpose(function: Any, shape: tuple[int, ...], y: Any) -> Any:
        like = jax.ShapeDtypeStruct(shape, y.dtype)
        return jax.linear_transpose(function, like)(y)[0]

    if case.family == "conv":
        return conv
    if case.family == "conv_transpose":
        if "output_padding" in case.params:
            raise UnableError("no function of JAX pads the output of a transposed convolution")
        return lambda y, w: transpose(lambda x: conv(x, w), case.output, y)
    if case.family == "unfold":
        return patches
    if case.family == "fold":
        return lambda columns: transpose(patches, case.output, columns)
    if case.family in ("max_pool", "avg_pool") and "return_indices" not in case.params:
        return partial(_jax_pool, case)
    raise UnableError(f"JAX has no function for {case.op} with {case.params}")


def jax_peer(place: Place) -> Source:
    """Return JAX's own operations, compiled."""
    jax = importlib.import_module("jax")

    def prepare(case: Case) -> Ready:
        function = _jax_function(case)
        arrays, cotangent = _arrays(place, case)
        if case.direction == FORWARD:
            return Ready(partial(jax.jit(function), *arrays), "xla")
        position = 0 if case.direction == TO_INPUT else 1

        def gradient(cotangent: Any, *arrays: Any) -> Any:
            def of_one(array: Any) -> Any:
                return function(*arrays[:position], array, *arrays[position + 1 :])

            return jax.vjp(of_one, arrays[position])[1](cotangent)[0]

        return Ready(partial(jax.jit(gradient), cotangent, *arrays), "xla")

    return lambda case: [_of(place, "jax", prepare)]


# --- SciPy and cupyx --------------------------------------------------------------------------

PLANES = 4096
"""Calls for planes beyond which nobody would call SciPy plane by plane."""


def ndimage_peer(place: Place, module: str) -> Source:
    """Return the filters of scipy.ndimage, or of its twin for CuPy.

    They know planes only, every position, and padding of half the kernel; the rest is cut away.
    """
    xp = importlib.import_module("cupy" if module.startswith("cupyx") else "numpy")

    def prepare(case: Case) -> Ready:
        ndimage = importlib.import_module(module)
        if case.direction != FORWARD or case.family not in ("conv", "max_pool", "avg_pool"):
            raise UnableError(f"{module} has no {case.op}, or no gradient of it")
        if "return_indices" in case.params or case.params.get("dilation", 1) != 1:
            raise UnableError(f"{module} has no indices and no dilation")
        if case.dtype == "float16":
            raise UnableError(f"{module} has no float16")
        if case.weight is not None and case.input[0] * prod(case.weight[:2]) > PLANES:
            raise UnableError(f"{module} convolves single planes: more than {PLANES} calls")
        arrays, _ = _arrays(place, case)
        run = _ndimage_conv if case.convolves else _ndimage_pool
        return Ready(partial(run, ndimage, xp, case, *arrays), "ndimage")

    name = module.partition(".")[0]
    return lambda case: [_of(place, name, prepare)]


def _padding_pairs(case: Case) -> list[tuple[int, int]]:
    padding = case.params.get("padding", 0)
    if padding == "same":
        return [((k - 1) // 2, k - 1 - (k - 1) // 2) for k in case.kernel_size]
    return [(p, p) for p in one_each(padding, case.dims)]


def _kept(case: Case, default: Any) -> tuple[slice, ...]:
    """Return which of every position's results are those of the case's windows."""
    stride = one_each(case.params.get("stride", default), case.dims)
    return tuple(
        slice(k // 2, k // 2 + (out - 1) * s + 1, s)
        for k, s, out in zip(case.kernel_size, stride, case.output[2:], strict=True)
    )


def _ndimage_conv(ndimage: Any, xp: Any, case: Case, x: Any, w: Any, bias: Any = None) -> Any:
    padded = xp.pad(x, [(0, 0), (0, 0), *_padding_pairs(case)])
    kept = _kept(case, 1)
    output = xp.zeros(case.output, x.dtype)
    per_group = case.output[1] // case.groups
    for n, o in np.ndindex(case.output[:2]):
        first = o // per_group * w.shape[1]
        for c in range(w.shape[1]):
            # They conjugate a complex kernel.
            every = ndimage.correlate(padded[n, first + c], w[o, c].conj(), mode="constant")
            output[n, o] += every[kept]
    return output if bias is None else output + bias.reshape(1, -1, *(1,) * case.dims)


def _ndimage_pool(ndimage: Any, xp: Any, case: Case, x: Any) -> Any:
    maximum = case.family == "max_pool"
    fill = -np.inf if maximum else 0
    padded = xp.pad(x, [(0, 0), (0, 0), *_padding_pairs(case)], constant_values=fill)
    size = (1, 1, *case.kernel_size)
    run = ndimage.maximum_filter if maximum else ndimage.uniform_filter
    every = run(padded, size, mode="constant", cval=fill)
    return every[(slice(None), slice(None), *_kept(case, case.kernel_size))].copy()
