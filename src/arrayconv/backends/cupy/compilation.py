"""Compile the kernels: into CuPy's cache where there is a GPU, else for a look at what they need.

NVRTC is a library, and compiles for any architecture on any machine; with the package cuda-core it
needs neither CuPy nor a driver.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import os
import re
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import NamedTuple

from arrayconv._device import cuda_devices
from arrayconv._window import PADDING_MODES
from arrayconv.backends.cupy import implicit
from arrayconv.backends.cupy.geometry import PARTS
from arrayconv.backends.cupy.launch import (
    INDICES,
    OPTIONS,
    TYPES,
    WORDS,
    Kernel,
    compiled,
    compiled_kernels,
    source,
    summand_name,
)
from arrayconv.backends.cupy.windows import RUNS, SEVERAL

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")
LIKELIEST = "sm_90"
"""What is compiled for where there is no GPU and no architecture is named."""


class Template(NamedTuple):
    """A template: its file, function and types, and the kernels and strides it may know."""

    file: str
    function: str
    types: tuple[str, ...]
    known: tuple[tuple[int, int], ...] = ()
    """Empty for a template without a window's kernel and stride."""
    by_dims: bool = True
    dims: tuple[int, ...] = (1, 2, 3)
    more: tuple[str, ...] = ("",)
    runs: bool = False
    """Whether a thread may take several results of a row, where the kernel and stride are known."""
    planes: bool = True
    """Whether a thread may work on several planes."""


_MOVED = tuple(WORDS.values())
_SUMMANDS = tuple(dict.fromkeys(map(summand_name, TYPES)))
_PRODUCTS = tuple(name for name in _SUMMANDS if name != "Bool")
_ORDERED = tuple(name for name in TYPES.values() if name != "Bool" and "Complex" not in name)
_REGULAR = ((0, 0), (2, 2), (3, 1), (3, 2))
_MODES = tuple(map(str, range(len(PADDING_MODES))))
_POOLED = (*_REGULAR, (PARTS, 0))


def _implicit() -> Iterator[Template]:
    """Yield the products, for the types that have the same tiles."""
    by_tiles: dict[tuple[str, ...], list[str]] = {}
    for kind in _PRODUCTS:
        tiles = tuple(tile.argument for tile in implicit.tiles_of(kind))
        by_tiles.setdefault(tiles, []).append(kind)
    for tiles, kinds in by_tiles.items():
        for function, file in implicit.FILES.items():
            yield Template(file, function, tuple(kinds), more=tiles)


TEMPLATES = (
    Template("unfold", "unfold", _MOVED, (*_REGULAR, (7, 2)), runs=True),
    Template("fold", "fold", _SUMMANDS, (*_REGULAR, (7, 2))),
    Template("max_pool", "max_pool", _ORDERED, _POOLED, more=("false", "true")),
    Template("max_pool_grad", "max_pool_grad", _SUMMANDS, _POOLED, runs=True),
    Template("sum_pool", "sum_pool", _SUMMANDS, _POOLED),
    Template("spread", "spread", _SUMMANDS, _POOLED, runs=True),
    Template("place", "place", _MOVED, by_dims=False),
    Template("gather", "gather", _MOVED, by_dims=False, more=(str(SEVERAL), "1")),
    Template("scatter_add", "scatter_add", _SUMMANDS, by_dims=False),
    Template("pad", "pad", _MOVED, ((1, 1),), more=_MODES, runs=True),
    Template("pad", "pad_adjoint", _SUMMANDS, ((1, 1),), more=_MODES[1:]),
    Template("depthwise", "depthwise", _PRODUCTS, (*_REGULAR, (5, 1))),
    Template("depthwise", "depthwise_transpose", _PRODUCTS, (*_REGULAR, (5, 1)), runs=True),
    Template(
        "depthwise_rows",
        "depthwise_rows",
        _PRODUCTS,
        ((3, 1), (3, 2), (5, 1)),
        dims=(2,),
        more=("false", "true"),
    ),
    Template("depthwise_weight", "depthwise_weight", _PRODUCTS),
    Template(
        "depthwise_weight",
        "depthwise_weight_taps",
        _PRODUCTS,
        ((3, 1), (3, 2), (5, 1)),
        runs=True,
        planes=False,
    ),
    Template("depthwise_weight", "depthwise_weight_sum", _PRODUCTS, by_dims=False),
    *_implicit(),
    Template("implicit", "implicit_conv_weight_sum", _PRODUCTS, by_dims=False),
)


def instances(
    template: Template, types: Iterable[str] | None = None, bits: Iterable[int] = (32, 64)
) -> Iterator[Kernel]:
    """Yield a template's instances: in two dimensions all it may know, in others the general one.

    ``types`` are names of dtypes, or all.
    """
    wanted = None if types is None else _type_names(types, template.types == _MOVED)
    for kind, width, more in product(template.types, bits, template.more):
        if wanted is not None and kind not in wanted:
            continue
        rest = (more,) if more else ()
        start = (kind, INDICES[width])
        if not template.by_dims:
            yield Kernel(template.file, template.function, (*start, *rest))
            continue
        for dims in template.dims:
            known = template.known if dims == 2 else template.known[:1]
            if not known:
                yield Kernel(template.file, template.function, (*start, str(dims), *rest))
            for pair in known:
                shared = [(SEVERAL, "true", 1), (1, "false", 1)]
                if template.runs and pair[0] > 0:
                    longer = ((cells, planes) for cells, planes in RUNS.items() if cells > 1)
                    shared += [(planes, "true", cells) for cells, planes in longer]
                for planes, dense, cells in shared:
                    several = (str(planes),) if template.planes else ()
                    words = (*map(str, (dims, *pair)), *several, dense)
                    run = (str(cells),) if template.runs else ()
                    yield Kernel(template.file, template.function, (*start, *words, *run, *rest))


def _type_names(dtypes: Iterable[str], moved: bool) -> set[str]:
    """Return the C++ types that kernels know arrays of these dtypes by, or their words."""
    sizes = {"bool": 1, "bfloat16": 2}
    found = set()
    for name in dtypes:
        bits = re.search(r"\d+$", name)
        size = sizes.get(name) or int(bits[0] if bits else 0) // 8
        # The order of bools is that of their bytes.
        computed = {TYPES[name], summand_name(name), *(["Byte"] if name == "bool" else [])}
        found |= {WORDS[size]} if moved else computed
    return found


class Compiled(NamedTuple):
    """What the compiler says of an instance."""

    kernel: Kernel
    architecture: str
    seconds: float
    """Its own, or those of the file that it was compiled with, divided among its instances."""
    registers: int
    shared_bytes: int
    stack_bytes: int
    spill_bytes: int


def why_no_compiler() -> str | None:
    """Return the sentence that says what is missing, or None where NVRTC can be called."""
    try:
        importlib.import_module("cuda.core")
        importlib.import_module("cuda.pathfinder").load_nvidia_dynamic_lib("nvrtc")
    except (ImportError, RuntimeError) as problem:
        return (
            "compiling without a GPU needs NVRTC and the package cuda-core: pip install "
            f"'arrayconv[cuda-compile]' ({type(problem).__name__})"
        )
    return None


_FUNCTION = re.compile(r"Compiling entry function '(?P<name>\w+)' for '(?P<architecture>\w+)'")
_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")


def _parsed(log: str) -> dict[str, tuple[int, int, int, int]]:
    """Return (registers, shared, stack, spilled bytes) of each function in a log of ptxas."""
    found = {}
    for part in re.split(r"(?=Compiling entry function)", log)[1:]:
        name, stack, used = _FUNCTION.match(part), _STACK.search(part), _USED.search(part)
        shared = _SHARED.search(part)
        if name is None or stack is None or used is None:
            raise RuntimeError(f"the compiler's log has changed its form: {part}")
        frame, stored, loaded = map(int, stack.groups())
        memory = int(shared[1]) if shared else 0
        found[name["name"]] = (int(used[1]), memory, frame, stored + loaded)
    return found


def compile_offline(kernels: Iterable[Kernel], architecture: str) -> list[Compiled]:
    """Compile instances for an architecture, those of one file at once, and throw them away."""
    by_file: dict[str, list[Kernel]] = {}
    for kernel in kernels:
        by_file.setdefault(kernel.file, []).append(kernel)
    # Two threads must not import it at once.
    importlib.import_module("cuda.core")
    # The compiler lets go of Python's lock.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        batches = pool.map(lambda file: _compile_file(file, by_file[file], architecture), by_file)
    return [compiled for batch in batches for compiled in batch]


def _compile_file(file: str, kernels: list[Kernel], architecture: str) -> list[Compiled]:
    core = importlib.import_module("cuda.core")
    start = time.perf_counter()
    log = io.StringIO()
    standard = OPTIONS[0].removeprefix("-std=")
    options = core.ProgramOptions(arch=architecture, std=standard, ftz=True, ptxas_options="-v")
    program = core.Program(source(file), "c++", options)
    names = tuple(kernel.expression for kernel in kernels)
    code = program.compile("cubin", name_expressions=names, logs=log)
    seconds = (time.perf_counter() - start) / len(kernels)
    parsed = _parsed(log.getvalue())
    results = []
    for kernel in kernels:
        mangled = code.symbol_mapping[kernel.expression]
        name = mangled.decode() if isinstance(mangled, bytes) else mangled
        results.append(Compiled(kernel, architecture, seconds, *parsed[name]))
    return results


def compile_for_gpu(kernels: Iterable[Kernel]) -> list[Compiled]:
    """Compile instances for the current device, each by itself as a call would, into CuPy's cache.

    As many at once as there are CPUs.
    """
    cuda = importlib.import_module("cupy").cuda
    device = cuda.Device()

    def one(kernel: Kernel) -> Compiled:
        # A thread starts on the first device.
        with cuda.Device(device.id):
            function = compiled(kernel)
            needs = (function.num_regs, function.shared_size_bytes, function.local_size_bytes)
        seconds = compiled_kernels()[kernel.expression]
        return Compiled(kernel, f"sm_{device.compute_capability}", seconds, *needs, 0)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, kernels))


def why_no_compilation() -> str | None:
    """Return why there is neither a GPU nor a compiler for others, or None."""
    devices = cuda_devices()
    if not isinstance(devices, str):
        return None
    missing = why_no_compiler()
    return None if missing is None else f"{devices}; {missing}"


def selected(functions: Iterable[str], dtypes: Iterable[str], wide: bool) -> list[Kernel]:
    """Return the instances of templates (all, if none is named) for dtypes."""
    wanted, names = set(functions), tuple(dtypes)
    bits = (32, 64) if wide else (32,)
    return [
        kernel
        for template in TEMPLATES
        if not wanted or template.function in wanted
        for kernel in instances(template, names, bits)
    ]


def compile_all(kernels: Iterable[Kernel], architectures: Iterable[str]) -> list[Compiled]:
    """Compile instances: for the GPU where there is one and no architecture is named."""
    chosen, instances_of = tuple(architectures), list(kernels)
    if not chosen and not isinstance(cuda_devices(), str):
        return compile_for_gpu(instances_of)
    return [
        each
        for architecture in chosen or (LIKELIEST,)
        for each in compile_offline(instances_of, architecture)
    ]


def table(results: Iterable[Compiled]) -> str:
    """Return a line for each instance: its time, registers, shared and local memory, spills."""
    rows: list[tuple[str, ...]] = [
        ("kernel", "for", "ms", "registers", "shared", "local", "spilled")
    ]
    for each in results:
        numbers = (each.registers, each.shared_bytes, each.stack_bytes, each.spill_bytes)
        name, took = each.kernel.expression, f"{each.seconds * 1e3:.0f}"
        rows.append((name, each.architecture, took, *map(str, numbers)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            text.ljust(width) if place < 2 else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
