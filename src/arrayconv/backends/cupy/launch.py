"""The one place where a kernel is named, its arguments are typed, and it is launched.

A kernel is a template in a ``.cu`` file; an instance of it is named by a C++ name expression. Who
compiles and launches it is an `Executor`: CuPy for CuPy's arrays. The tests have another one, which
runs the same source on the CPU on NumPy's arrays, so that all Python above it is the very same.
"""

from __future__ import annotations

import importlib
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

HEADERS = ("numbers.cuh", "geometry.cuh", "loops.cuh")
_PRODUCT = ("tiles.cuh", "copies.cuh", "cuda_cores.cuh", "tensor_cores.cuh", "product.cuh")
MORE_HEADERS = dict.fromkeys(("implicit", "implicit_transpose"), _PRODUCT)
"""The headers that a file needs besides."""
OPTIONS = ("-std=c++17",)
THREADS = 256
GIVEN_SHARED = 36 << 10
"""Bytes of shared memory beyond which a launch asks first; with a kernel's own there are 48 KiB."""


class Kernel(NamedTuple):
    """An instance of a template: the ``.cu`` file, the function, and its arguments in C++."""

    file: str
    function: str
    arguments: tuple[str, ...]

    @property
    def expression(self) -> str:
        """The name expression: ``fold<float, int, 2, 3, 1>``."""
        return f"{self.function}<{', '.join(self.arguments)}>"


@lru_cache(maxsize=32)
def source(file: str) -> str:
    """Return the text of a ``.cu`` file behind its headers.

    Not by include paths: a cache of compiled text would not notice that a header has changed.
    """
    folder = Path(__file__).parent
    names = (*HEADERS, *MORE_HEADERS.get(file, ()), f"{file}.cu")
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


# --- the names of types ---------------------------------------------------------------------------

TYPES = {
    "bool": "Bool",
    "int8": "signed char",
    "uint8": "Byte",
    "int16": "short",
    "uint16": "Short",
    "int32": "int",
    "uint32": "Int",
    "int64": "long long",
    "uint64": "Long",
    "float16": "Float16",
    "bfloat16": "BFloat16",
    "float32": "float",
    "float64": "double",
    "complex64": "Complex<float>",
    "complex128": "Complex<double>",
}
WORDS = {1: "Byte", 2: "Short", 4: "Int", 8: "Long", 16: "Wide16"}
INDICES = {32: "int", 64: "long long"}
_UNSIGNED = {"int8": "uint8", "int16": "uint16", "int32": "uint32", "int64": "uint64"}


# A dtype's name costs a microsecond; a look-up a tenth of it.
@lru_cache(maxsize=64)
def known(dtype: Any) -> bool:
    """Whether the kernels have a type for a dtype's elements."""
    return dtype.name in TYPES


@lru_cache(maxsize=64)
def element(dtype: Any) -> str:
    """Return the C++ type of a dtype's elements."""
    return TYPES[dtype.name]


@lru_cache(maxsize=64)
def summand(dtype: Any) -> str:
    """Return the C++ type by which elements are added: integers without a sign, which wrap."""
    return summand_name(dtype.name)


def summand_name(dtype: str) -> str:
    """Return `summand` of a dtype by its name."""
    return TYPES[_UNSIGNED.get(dtype, dtype)]


@lru_cache(maxsize=64)
def wide(dtype: Any) -> Any:
    """Return the dtype of a sum: float32 of half types."""
    return np.dtype(np.float32) if dtype.name in ("float16", "bfloat16") else dtype


def word(dtype: Any) -> str:
    """Return the C++ type by which elements are moved: any of their size."""
    return WORDS[dtype.itemsize]


# --- who compiles and launches --------------------------------------------------------------------


class Executor(Protocol):
    """Who makes arrays and runs kernels on them."""

    def empty(self, like: Any, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return a new array beside another."""

    def contiguous(self, array: Any) -> Any:
        """Return the array, or a copy of it where its cells are not in a row."""

    def address(self, array: Any) -> int:
        """Return where the array's first element is."""

    def objection(self, arrays: tuple[Any, ...]) -> str | None:
        """Return why no kernel can run on these arrays now, or None."""

    def architecture(self) -> int:
        """Return the number of the architecture that kernels run on: 90 of sm_90."""

    def launch(
        self,
        kernel: Kernel,
        blocks: int,
        threads: int,
        arguments: tuple[Any, ...],
        shared: int = 0,
    ) -> None:
        """Run a kernel: arguments are arrays, `Value`s and NumPy scalars.

        ``shared`` are bytes of shared memory besides those that the kernel itself declares.
        """


class Value:
    """A struct, or a number, that launches pass by value."""

    __slots__ = ("held", "passed")

    def __init__(self, held: Any) -> None:
        self.held = held
        """A NumPy array or scalar of its bytes."""
        self.passed: Any = None
        """What CuPy takes for it, once it has been made."""


class CupyExecutor:
    """CuPy: on the caller's current stream and device, without waiting for anything."""

    def __init__(self) -> None:
        self.cupy = importlib.import_module("cupy")
        self.current_device = self.cupy.cuda.runtime.getDevice
        self.architectures: dict[int, int] = {}
        self.asked: set[tuple[int, Kernel]] = set()
        # From a struct as a NumPy array CuPy makes this in each launch, which takes 15 us.
        self.by_value = self.cupy.cuda.function.CNumpyArray

    def empty(self, like: Any, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return a new array on the current device, whose memory belongs to the current stream."""
        return self.cupy.ndarray(shape, dtype)

    def contiguous(self, array: Any) -> Any:
        """Return the array, or a copy of it where its cells are not in a row."""
        return self.cupy.ascontiguousarray(array)

    def address(self, array: Any) -> int:
        """Return where the array's first element is."""
        return int(array.data.ptr)

    def objection(self, arrays: tuple[Any, ...]) -> str | None:
        """Return why the arrays are out of reach of the current device, or None."""
        here = self.current_device()
        for array in arrays:
            there = array.device.id
            if there != here:
                return f"an array is on device {there}, and the current device is {here}"
        return None

    def architecture(self) -> int:
        """Return the number of the current device's architecture."""
        device = self.current_device()
        if device not in self.architectures:
            self.architectures[device] = int(self.cupy.cuda.Device(device).compute_capability)
        return self.architectures[device]

    def launch(
        self,
        kernel: Kernel,
        blocks: int,
        threads: int,
        arguments: tuple[Any, ...],
        shared: int = 0,
    ) -> None:
        """Run a kernel on the current stream."""
        passed = [
            (each.passed or self._passed(each)) if type(each) is Value else each
            for each in arguments
        ]
        function = compiled(kernel)
        if shared > GIVEN_SHARED:
            self._ask(function, kernel, shared)
        function((blocks,), (threads,), tuple(passed), shared_mem=shared)

    def _ask(self, function: Any, kernel: Kernel, shared: int) -> None:
        """Ask for more shared memory than a block has otherwise, once on each device."""
        asked = (self.current_device(), kernel)
        if asked not in self.asked:
            function.max_dynamic_shared_size_bytes = shared
            self.asked.add(asked)

    def _passed(self, value: Value) -> Any:
        value.passed = self.by_value(np.asarray(value.held))
        return value.passed


NOWHERE = Value(np.uint64(0))
"""What is passed for an array that there is not: a pointer to nothing."""

_seconds: dict[str, float] = {}


def compiled_kernels() -> dict[str, float]:
    """Return the seconds that each kernel of this process took to compile or to load."""
    return dict(_seconds)


@lru_cache(maxsize=4096)
def compiled(kernel: Kernel) -> Any:
    """Return a kernel of CuPy's, compiled for the current device or taken from its cache on disk.

    CuPy compiles it again where another device is current when it is launched.
    """
    start = time.perf_counter()
    module = importlib.import_module("cupy").RawModule(
        code=source(kernel.file), options=OPTIONS, name_expressions=(kernel.expression,)
    )
    function = module.get_function(kernel.expression)
    _seconds[kernel.expression] = time.perf_counter() - start
    return function


EXECUTORS: dict[type, Executor] = {}
"""Who runs kernels on arrays of a type; CuPy's own is made when the first of its arrays comes."""


def executor_of(array: Any) -> Executor:
    """Return who runs kernels on an array."""
    kind = type(array)
    if kind not in EXECUTORS:
        EXECUTORS[kind] = CupyExecutor()
    return EXECUTORS[kind]


def pointer(bias: Any) -> Any:
    """Return a bias as kernels take it: its cells in a row, or nowhere where it is None."""
    if bias is None:
        return NOWHERE
    executor = executor_of(bias)
    found = executor.contiguous(bias)
    # No kernel can read between two elements, where an input or a weight is refused.
    return found.copy() if executor.address(found) % found.dtype.itemsize else found


class Plan(NamedTuple):
    """All of a launch but its arrays, made once for each window, shape and layout."""

    kernel: Kernel
    blocks: int
    threads: int
    shape: tuple[int, ...]
    """Of the result."""
    structs: tuple[Value, ...]
    numbers: tuple[Value, ...]
    shared: int = 0
    """Bytes of shared memory besides those that the kernel itself declares."""


def plan(
    kernel: Kernel,
    bits: int,
    shape: tuple[int, ...],
    structs: tuple[Any, ...],
    *numbers: int,
    blocks: int | None = None,
    threads: int = THREADS,
    shared: int = 0,
) -> Plan:
    """Return a launch of a thread for each of the last number's items, unless blocks are given.

    Numbers become NumPy scalars of the kernel's index type, which a launch passes as they are.
    """
    if blocks is None:
        blocks = -(-numbers[-1] // threads)
    kind = np.int64 if bits == 64 else np.int32
    typed = tuple(Value(kind(number)) for number in numbers)
    return Plan(kernel, blocks, threads, shape, tuple(map(Value, structs)), typed, shared)


def run(plan: Plan, result: Any, *arguments: Any) -> Any:
    """Launch a plan with the arrays and structs before its numbers, unless nothing is to be done.

    Returns the result, which is one of the arguments.
    """
    if plan.blocks:
        executor = executor_of(result)
        given = (*arguments, *plan.numbers)
        executor.launch(plan.kernel, plan.blocks, plan.threads, given, plan.shared)
    return result
