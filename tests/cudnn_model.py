"""A model of cuDNN's front end: it knows of a graph what it is told, and computes on the CPU.

What it computes is what NVIDIA's manual says of the three operations, of dimensions, strides in
elements and paddings; so a graph that is wrong in one of them gives a wrong result. What it cannot
tell is whether cuDNN has a kernel for a graph: `refused` says that it has none.
"""

from __future__ import annotations

import ctypes
import types
from enum import Enum
from typing import Any

import ml_dtypes
import numpy as np

DTYPES = {
    "HALF": np.dtype(np.float16),
    "BFLOAT16": np.dtype(ml_dtypes.bfloat16),
    "FLOAT": np.dtype(np.float32),
    "DOUBLE": np.dtype(np.float64),
}
Kind = Enum("Kind", list(DTYPES))  # type: ignore[misc]
Note = Enum(
    "Note",
    ["NONDETERMINISTIC", "DOWN_CONVERT_INPUTS", "REDUCED_PRECISION_REDUCTION", "TENSOR_CORE"],
)


class NotSupported(Exception):  # noqa: N818
    """What the front end raises where cuDNN has no plan."""


class Tensor:
    """An array of a graph."""

    def __init__(self, **known: Any) -> None:
        self.known = known

    def set_output(self, is_output: bool) -> Tensor:
        assert is_output
        return self

    def set_uid(self, uid: int) -> Tensor:
        self.known["uid"] = uid
        return self

    def set_dim(self, dim: list[int]) -> Tensor:
        self.known["dim"] = dim
        return self

    def set_stride(self, stride: list[int]) -> Tensor:
        self.known["stride"] = stride
        return self

    def set_data_type(self, data_type: Any) -> Tensor:
        self.known["data_type"] = data_type
        return self

    def at(self, address: int) -> Any:
        """Return the array that lies at an address."""
        dim, stride = self.known["dim"], self.known["stride"]
        assert len(dim) == len(stride) >= 4
        dtype = DTYPES[self.known["data_type"].name]
        count = 1 + sum((n - 1) * step for n, step in zip(dim, stride, strict=True))
        memory = (ctypes.c_byte * (count * dtype.itemsize)).from_address(address)
        flat = np.frombuffer(memory, dtype)
        steps = [step * dtype.itemsize for step in stride]
        return np.lib.stride_tricks.as_strided(flat, dim, steps, writeable=True)


class Graph:
    """A graph of one operation."""

    def __init__(self, module: Any, **known: Any) -> None:
        self.module, self.known = module, known
        self.barred: list[Any] = []
        self.called: list[str] = []
        self.operation: tuple[str, dict[str, Any], Tensor] | None = None
        self.handles: list[Any] = []
        module.graphs.append(self)

    def tensor(self, **known: Any) -> Tensor:
        return Tensor(**known)

    def __getattr__(self, name: str) -> Any:
        if name in ("conv_fprop", "conv_dgrad", "conv_wgrad"):
            return lambda **known: self._operation(name, known)
        if name in ("validate", "build_operation_graph", "create_execution_plans", "build_plans"):
            return lambda *given: self.called.append(name)
        raise AttributeError(name)

    def _operation(self, name: str, known: dict[str, Any]) -> Tensor:
        assert self.operation is None
        self.operation = (name, known, Tensor())
        return self.operation[2]

    def deselect_numeric_notes(self, notes: list[Any]) -> None:
        assert self.called[-1] == "create_execution_plans"
        self.barred += notes

    def check_support(self) -> None:
        self.called.append("check_support")
        if self.module.refused:
            raise NotSupported(self.module.refused)

    def get_workspace_size(self) -> int:
        assert self.called[-2:] == ["check_support", "build_plans"]
        return 1000

    def execute(self, addresses: dict[int, int], workspace: int, handle: Any) -> None:
        # All of the workspace is cuDNN's to write.
        ctypes.memset(workspace, 0xFF, 1000)
        self.handles.append(handle)
        assert self.operation is not None
        name, known, result = self.operation
        inputs = [each for each in known.values() if isinstance(each, Tensor)]
        first, second, to = (each.at(addresses[each.known["uid"]]) for each in (*inputs, result))
        wide = DTYPES[self.known["compute_data_type"].name]
        a, b = first.astype(wide), second.astype(wide)
        computed = {"conv_fprop": forward, "conv_dgrad": to_input, "conv_wgrad": to_weight}[name]
        to[...] = computed(a, b, to.shape, known).astype(to.dtype)


def taps(padded: Any, positions: Any, kernel: Any, known: dict[str, Any]) -> Any:
    """Yield each tap, and what it shows of a padded array to all positions."""
    for tap in np.ndindex(*kernel):
        steps = zip(tap, positions, known["stride"], known["dilation"], strict=True)
        yield (
            tap,
            padded[(..., *(slice(t * d, t * d + (o - 1) * s + 1, s) for t, o, s, d in steps))],
        )


def padded_sizes(sizes: Any, positions: Any, kernel: Any, known: dict[str, Any]) -> list[int]:
    """Return the sizes with padding; they must lead to these positions, by cuDNN's formula."""
    found = []
    for axis, (size, out, taps_of_axis) in enumerate(zip(sizes, positions, kernel, strict=True)):
        before, after = known["pre_padding"][axis], known["post_padding"][axis]
        assert before >= 0
        assert after >= 0
        whole, span = size + before + after, (taps_of_axis - 1) * known["dilation"][axis] + 1
        assert out == (whole - span) // known["stride"][axis] + 1
        found.append(whole)
    return found


def inner(padded: Any, sizes: Any, known: dict[str, Any]) -> Any:
    """Return what is not padding."""
    pairs = zip(known["pre_padding"], sizes, strict=True)
    return padded[(..., *(slice(before, before + size) for before, size in pairs))]


def grouped(array: Any, axis: int, groups: int) -> Any:
    shape = array.shape
    return array.reshape(*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])


def forward(x: Any, w: Any, shape: Any, known: dict[str, Any]) -> Any:
    groups = x.shape[1] // w.shape[1]
    sizes = padded_sizes(x.shape[2:], shape[2:], w.shape[2:], known)
    padded = np.zeros((*x.shape[:2], *sizes), x.dtype)
    inner(padded, x.shape[2:], known)[...] = x
    y = np.zeros((shape[0], groups, shape[1] // groups, *shape[2:]), x.dtype)
    for tap, seen in taps(grouped(padded, 1, groups), shape[2:], w.shape[2:], known):
        y += np.einsum("ngc...,goc->ngo...", seen, grouped(w, 0, groups)[(..., *tap)])
    return y.reshape(shape)


def to_input(y: Any, w: Any, shape: Any, known: dict[str, Any]) -> Any:
    groups = shape[1] // w.shape[1]
    sizes = padded_sizes(shape[2:], y.shape[2:], w.shape[2:], known)
    padded = np.zeros((shape[0], groups, shape[1] // groups, *sizes), y.dtype)
    for tap, seen in taps(padded, y.shape[2:], w.shape[2:], known):
        weight = grouped(w, 0, groups)[(..., *tap)]
        seen += np.einsum("ngo...,goc->ngc...", grouped(y, 1, groups), weight)
    return inner(padded.reshape(*shape[:2], *sizes), shape[2:], known)


def to_weight(x: Any, y: Any, shape: Any, known: dict[str, Any]) -> Any:
    groups = x.shape[1] // shape[1]
    sizes = padded_sizes(x.shape[2:], y.shape[2:], shape[2:], known)
    padded = np.zeros((*x.shape[:2], *sizes), x.dtype)
    inner(padded, x.shape[2:], known)[...] = x
    w = np.zeros((groups, shape[0] // groups, *shape[1:]), x.dtype)
    for tap, seen in taps(grouped(padded, 1, groups), y.shape[2:], shape[2:], known):
        both = np.einsum(
            "ngop,ngcp->goc",
            *(each.reshape(*each.shape[:3], -1) for each in (grouped(y, 1, groups), seen)),
        )
        w[(..., *tap)] = both
    return w.reshape(shape)


def front_end(refused: str = "") -> Any:
    """Return a module as the front end is one."""
    module = types.SimpleNamespace(graphs=[], streams=[], handles=[], refused=refused)

    def create_handle() -> str:
        module.handles.append(f"handle {len(module.handles)}")
        return str(module.handles[-1])

    module.backend_version = lambda: 91700
    module.data_type, module.numerical_note = Kind, Note
    module.heur_mode = types.SimpleNamespace(A="A", FALLBACK="FALLBACK")
    module.build_plan_policy = types.SimpleNamespace(HEURISTICS_CHOICE="the first")
    module.cudnnGraphNotSupportedError = NotSupported
    module.pygraph = lambda **known: Graph(module, **known)
    module.create_handle = create_handle
    module.set_stream = lambda handle, stream: module.streams.append((handle, stream))
    return module
