"""cuDNN's convolutions, by NVIDIA's front end, on CuPy's own memory: pointers, and no copies.

A plan is cuDNN's own choice for the shapes, strides and dtype of a call, the first of its
heuristics among those that give the same bits every time. It is kept for each device and thread.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from functools import lru_cache, partial
from math import prod
from typing import Any, NamedTuple

from arrayconv._options import current
from arrayconv._window import Axis, Windows, input_sizes, kernel_sizes, output_sizes, span
from arrayconv.backends.cupy.geometry import Description, described
from arrayconv.backends.cupy.launch import executor_of

TYPES = {"float16": "HALF", "bfloat16": "BFLOAT16", "float32": "FLOAT", "float64": "DOUBLE"}
"""The front end's names of the dtypes; half types are summed in float32."""
ALIGNED = 16
"""Bytes that the address of each tensor is a multiple of, as the front end tells cuDNN."""
OPERATIONS = {
    "conv": ("conv_fprop", "image", "weight"),
    "conv_transpose": ("conv_dgrad", "loss", "filter"),
    "conv_weight": ("conv_wgrad", "image", "loss"),
}
"""The front end's operation for each primitive, and what it calls the two arrays."""


@lru_cache(maxsize=1)
def why_missing() -> str | None:
    """Return what is not installed, or cannot be loaded, or None."""
    try:
        importlib.import_module("cudnn").backend_version()
    except ImportError:
        return "cuDNN's front end is not installed: pip install 'arrayconv[cudnn]'"
    except (OSError, RuntimeError) as problem:
        return (
            "cuDNN itself cannot be loaded: pip install nvidia-cudnn-cu13 (or -cu12) "
            f"({type(problem).__name__}: {problem})"
        )
    return None


# --- what cuDNN serves ----------------------------------------------------------------------------


def paddings(axis: Axis) -> tuple[int, int] | None:
    """Return the padding before and after an axis by which cuDNN comes to its number of positions.

    The same on both sides where that is right: only that is served by all of cuDNN's kernels.
    """
    needed = (axis.out - 1) * axis.stride + span(axis) - axis.size - axis.before
    for after in (axis.before, max(0, needed)):
        reach = axis.size + axis.before + after - span(axis)
        if axis.before >= 0 and reach // axis.stride + 1 == axis.out:
            return axis.before, after
    return None


@lru_cache(maxsize=4096)
def _no_call(first: Description, second: Description, window: Windows) -> str | None:
    name = first[2].name
    if name not in TYPES:
        return f"cuDNN convolves float16, bfloat16, float32 and float64, not {name}"
    if not 1 <= len(window) <= 3:
        return f"cuDNN slides in 1, 2 and 3 spatial dimensions, not {len(window)}"
    if any(not isinstance(axis, Axis) or paddings(axis) is None for axis in window):
        return "cuDNN pads, and cannot crop"
    for shape, strides, _ in (first, second):
        if 0 in shape:
            return "cuDNN takes no empty arrays"
        if any(step <= 0 for step, size in zip(strides, shape, strict=True) if size > 1):
            return "cuDNN takes no reversed or repeated axes: make the array contiguous"
    return None


def unfit(primitive: str, a: Any, b: Any, window: Windows, groups: int) -> str | None:
    """Return why cuDNN cannot serve a call; where it may, only its plans can tell."""
    executor = executor_of(a)
    reason = _no_call(described(a), described(b), window) or executor.objection((a, b))
    # No part of a plan, which is for all arrays of a shape: so it is asked in each call.
    if reason is None and any(executor.address(each) % ALIGNED for each in (a, b)):
        reason = f"cuDNN takes arrays at multiples of {ALIGNED} bytes: copy the view"
    reason = reason or why_missing()
    if reason is None:
        found = _planned(primitive, a, b, window, groups)
        reason = found if isinstance(found, str) else None
    return reason


# --- plans ----------------------------------------------------------------------------------------


class Planned(NamedTuple):
    """A plan of cuDNN's, and what it is run with."""

    graph: Any
    shape: tuple[int, ...]
    """Of the result."""
    workspace: int
    """Its bytes."""


FIRST, SECOND, RESULT = 1, 2, 3
"""By which number a graph knows an array."""


def in_two(sizes: tuple[int, ...], filling: int) -> list[int]:
    """Return the sizes of (N, C, *cells), with an axis of one cell where there is but one."""
    return [*sizes[:-1], filling, sizes[-1]] if len(sizes) == 3 else list(sizes)


def layout(array: Description) -> tuple[list[int], list[int]]:
    """Return the dimensions of an array, and its strides in elements, as the front end has them."""
    shape, strides, dtype = array
    steps = [
        step // dtype.itemsize if size > 1 else prod(shape[axis + 1 :])
        for axis, (size, step) in enumerate(zip(shape, strides, strict=True))
    ]
    return in_two(shape, 1), in_two(tuple(steps), shape[-1] * steps[-1])


def graph_of(
    front: Any,
    handle: Any,
    primitive: str,
    first: Description,
    second: Description,
    window: tuple[Axis, ...],
    shape: tuple[int, ...],
) -> Any:
    """Return the graph of one operation, not planned yet."""
    kind = getattr(front.data_type, TYPES[first[2].name])
    wide = front.data_type.DOUBLE if first[2].name == "float64" else front.data_type.FLOAT
    graph = front.pygraph(
        io_data_type=kind, intermediate_data_type=wide, compute_data_type=wide, handle=handle
    )
    operation, *names = OPERATIONS[primitive]
    arrays = {}
    for number, name, array in zip((FIRST, SECOND), names, (first, second), strict=True):
        dim, stride = layout(array)
        arrays[name] = graph.tensor(name=name, dim=dim, stride=stride, data_type=kind, uid=number)
    # An axis of one cell in front of one alone, for the window too.
    pads = [pair for axis in window if (pair := paddings(axis)) is not None]
    alone = len(window) == 1
    result = getattr(graph, operation)(
        **arrays,
        pre_padding=[0] * alone + [before for before, _ in pads],
        post_padding=[0] * alone + [after for _, after in pads],
        stride=[1] * alone + [axis.stride for axis in window],
        dilation=[1] * alone + [axis.dilation for axis in window],
    )
    dense = tuple(prod(shape[axis + 1 :]) * first[2].itemsize for axis in range(len(shape)))
    dim, stride = layout((shape, dense, first[2]))
    result.set_output(True).set_uid(RESULT).set_dim(dim).set_stride(stride).set_data_type(kind)
    return graph


def _result_shape(
    primitive: str, first: Description, second: Description, window: tuple[Axis, ...], groups: int
) -> tuple[int, ...]:
    (batch, channels, *_), others = first[0], second[0]
    if primitive == "conv":
        return (batch, others[0], *output_sizes(window))
    if primitive == "conv_transpose":
        return (batch, others[1] * groups, *input_sizes(window))
    return (others[1], channels // groups, *kernel_sizes(window))


class _Thread(threading.local):
    """cuDNN's handles of a thread, which it must not share, and its plans."""

    def __init__(self) -> None:
        self.handle = lru_cache(maxsize=64)(_made_handle)
        self.plan = lru_cache(maxsize=1024)(partial(_made_plan, self.handle))


def _made_handle(device: int) -> Any:
    return importlib.import_module("cudnn").create_handle()


def _made_plan(
    handle_of: Callable[[int], Any],
    device: int,
    primitive: str,
    first: Description,
    second: Description,
    window: tuple[Axis, ...],
    groups: int,
    allow_tf32: bool,
) -> Planned | str:
    """Return a plan, or why cuDNN has none."""
    front = importlib.import_module("cudnn")
    shape = _result_shape(primitive, first, second, window, groups)
    notes = front.numerical_note
    barred = [notes.NONDETERMINISTIC, notes.DOWN_CONVERT_INPUTS, notes.REDUCED_PRECISION_REDUCTION]
    if first[2].name == "float32" and not allow_tf32:
        # On tensor cores float32 is TF32.
        barred.append(notes.TENSOR_CORE)
    try:
        graph = graph_of(front, handle_of(device), primitive, first, second, window, shape)
        graph.validate()
        graph.build_operation_graph()
        graph.create_execution_plans([front.heur_mode.A, front.heur_mode.FALLBACK])
        graph.deselect_numeric_notes(barred)
        graph.check_support()
        graph.build_plans(front.build_plan_policy.HEURISTICS_CHOICE)
    except (front.cudnnGraphNotSupportedError, RuntimeError, ValueError) as problem:
        return f"cuDNN has no plan for it: {problem}"
    return Planned(graph, shape, graph.get_workspace_size())


_OF_THREAD = _Thread()


def _here() -> tuple[int, int]:
    """Return the current device and the caller's stream on it."""
    cuda = importlib.import_module("cupy").cuda
    return cuda.runtime.getDevice(), cuda.get_current_stream().ptr


def _planned(primitive: str, a: Any, b: Any, window: Windows, groups: int) -> Planned | str:
    device, _ = _here()
    tf32 = current().allow_tf32
    return _OF_THREAD.plan(device, primitive, described(a), described(b), window, groups, tf32)


def run(primitive: str, a: Any, b: Any, window: Windows, groups: int) -> Any:
    """Return what a primitive gives, on the caller's stream."""
    found = _planned(primitive, a, b, window, groups)
    if isinstance(found, str):
        raise ValueError(found)
    device, stream = _here()
    executor, handle = executor_of(a), _OF_THREAD.handle(device)
    result = executor.empty(a, found.shape, a.dtype)
    # CuPy's pool keeps what is freed for the stream that it was taken on.
    workspace = executor.empty(a, (max(1, found.workspace),), "uint8")
    importlib.import_module("cudnn").set_stream(handle=handle, stream=stream)
    pointers = {FIRST: a, SECOND: b, RESULT: result}
    addresses = {number: executor.address(array) for number, array in pointers.items()}
    found.graph.execute(addresses, executor.address(workspace), handle=handle)
    return result
