"""An executor for NumPy arrays: compiles the kernels' own source with g++ and runs it here."""

from __future__ import annotations

import ctypes
import mmap
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

import arrayconv as ac
from arrayconv import _registry, primitives
from arrayconv._registry import Primitive
from arrayconv.backends.cupy import launch
from arrayconv.backends.cupy.launch import Kernel, Value
from tests.cuda_comparison import Check, compare

HERE = Path(__file__).parent
FAULTS = {
    **{-1 - place: f"argument {place} is not what it takes" for place in range(32)},
    -100: "a copy is not aligned",
    -101: "it writes beyond the shared memory that the launch gives it",
}
"""What a launch answers instead of 0."""
PLAIN = ("-O1",)
SANITIZED = (
    *("-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    "-fno-omit-frame-pointer",
)
LARGE = 1 << 30
"""Bytes from which on an array's memory is reserved only, and comes as zeros when it is touched."""


def reserved(shape: tuple[int, ...], dtype: Any) -> Any:
    """Return zeros whose memory is taken only where it is written."""
    count = prod(shape)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
    memory = mmap.mmap(-1, max(1, count * np.dtype(dtype).itemsize), flags=flags)
    return np.frombuffer(memory, dtype, count).reshape(shape)


GUARD = 4096
"""Bytes on both sides of an array that no kernel may write, where no sanitizer watches."""
UNWRITTEN = 0xA5


def _guards_hold(array: Any) -> bool:
    """Whether the bytes around an array of `HostExecutor.empty` are what they were."""
    around = array.base
    if not isinstance(around, np.ndarray) or around.size != array.nbytes + 2 * GUARD:
        return True
    return bool((around[:GUARD] == UNWRITTEN).all() and (around[-GUARD:] == UNWRITTEN).all())


class HostExecutor:
    """Runs kernels on NumPy arrays; `recording`, it only notes which ones it is asked for."""

    def __init__(
        self,
        folder: Path,
        flags: tuple[str, ...] = PLAIN,
        source: Callable[[str], str] = launch.source,
    ) -> None:
        self.folder, self.flags, self.source = folder, flags, source
        self.descending = False
        self.late = False
        """Whether asynchronous copies land when a thread waits for them, or when it asks."""
        self.last_blocks: int | None = None
        self.launched: list[Kernel] = []
        self._recorded: dict[Kernel, None] | None = None
        self._entries: dict[Kernel, Any] = {}
        self._builds = 0

    def empty(self, like: Any, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return a new array; what nobody writes is a number that no test expects."""
        kind = np.dtype(dtype)
        if prod(shape) * kind.itemsize >= LARGE:
            return reserved(shape, kind)
        # While recording, what is computed from a result should be computable.
        if self._recorded is not None:
            return np.zeros(shape, kind)
        size, guard = prod(shape) * kind.itemsize, 0 if self.flags is SANITIZED else GUARD
        around = np.full(size + 2 * guard, UNWRITTEN, np.uint8)
        return around[guard : guard + size].view(kind).reshape(shape)

    def contiguous(self, array: Any) -> Any:
        return np.ascontiguousarray(array)

    def address(self, array: Any) -> int:
        return int(array.__array_interface__["data"][0])

    def objection(self, arrays: tuple[Any, ...]) -> str | None:
        return None

    def architecture(self) -> int:
        return 80

    def launch(
        self,
        kernel: Kernel,
        blocks: int,
        threads: int,
        arguments: tuple[Any, ...],
        shared: int = 0,
    ) -> None:
        """Run a kernel as a driver would: each argument by its address, and its size."""
        self.launched.append(kernel)
        if self._recorded is not None:
            self._recorded[kernel] = None
            return
        if kernel not in self._entries:
            self.build([kernel])
        held: list[Any] = []
        arguments = tuple(each.held if isinstance(each, Value) else each for each in arguments)
        for argument in arguments:
            # An array is passed by its address, a struct (an array of one void) by its bytes.
            if isinstance(argument, np.ndarray) and argument.dtype.names is None:
                held.append(np.asarray(self.address(argument), np.uint64))
            else:
                assert isinstance(argument, np.ndarray | np.generic), argument
                held.append(np.asarray(argument))
        pointers = (ctypes.c_void_p * len(held))(*map(self.address, held))
        sizes = (ctypes.c_size_t * len(held))(*(each.nbytes for each in held))
        first = 0 if self.last_blocks is None else max(0, blocks - self.last_blocks)
        wrong = self._entries[kernel](
            *(ctypes.c_longlong(first), ctypes.c_longlong(blocks), ctypes.c_uint(threads)),
            *(int(self.descending), int(self.late), ctypes.c_size_t(shared)),
            *(pointers, sizes, ctypes.c_size_t(len(held))),
        )
        assert wrong == 0, f"{kernel.expression}: {FAULTS.get(wrong, wrong)}"
        for argument in arguments:
            held_back = not isinstance(argument, np.ndarray) or _guards_hold(argument)
            assert held_back, f"{kernel.expression} wrote beyond an array"

    @contextmanager
    def recording(self) -> Iterator[dict[Kernel, None]]:
        """Note the kernels that are asked for, in what is given, without running them."""
        asked: dict[Kernel, None] = {}
        self._recorded = asked
        try:
            yield asked
        finally:
            self._recorded = None
            self.launched.clear()

    def build(self, kernels: list[Kernel]) -> None:
        """Compile kernels, a shared library for each ``.cu`` file, two at a time."""
        by_file: dict[str, list[Kernel]] = {}
        for kernel in kernels:
            by_file.setdefault(kernel.file, []).append(kernel)
        jobs = [(file, each, self._write(file, each)) for file, each in sorted(by_file.items())]
        for start in range(0, len(jobs), 2):
            running = [(job, self._compiler(job[2])) for job in jobs[start : start + 2]]
            finished = [(job, process, process.communicate()[0]) for job, process in running]
            for (file, each, path), process, said in finished:
                assert process.returncode == 0, f"{file}.cu does not compile here:\n{said}"
                library = ctypes.CDLL(str(path.with_suffix(".so")))
                for number, kernel in enumerate(each):
                    self._entries[kernel] = getattr(library, f"entry_{number}")

    def _write(self, file: str, kernels: list[Kernel]) -> Path:
        text = self.source(file)
        lines = ["#define BARRIER"] if "__syncthreads" in launch.source(file) else []
        lines += [(HERE / name).read_text() for name in ("shim.hpp", "copies.hpp")]
        lines += [text, (HERE / "launch.hpp").read_text()]
        lines += [f"ENTRY(entry_{n}, {each.expression})" for n, each in enumerate(kernels)]
        self._builds += 1
        path = self.folder / f"{file}_{self._builds}.cpp"
        path.write_text("\n".join(lines))
        return path

    def _compiler(self, path: Path) -> subprocess.Popen[str]:
        command = ["g++", "-std=c++17", "-shared", "-fPIC", "-w", *self.flags, str(path)]
        return subprocess.Popen(
            [*command, "-o", str(path.with_suffix(".so"))],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@contextmanager
def on_host(executor: HostExecutor) -> Iterator[HostExecutor]:
    """Let NumPy arrays be served by CuPy's backend, whose kernels the executor runs."""
    before = _registry._BACKENDS["numpy"]
    _registry._BACKENDS["numpy"] = "arrayconv.backends.cupy"
    launch.EXECUTORS[np.ndarray] = executor
    forget()
    try:
        with ac.options(algorithm="cuda", allow_unverified=True):
            yield executor
    finally:
        _registry._BACKENDS["numpy"] = before
        del launch.EXECUTORS[np.ndarray]
        forget()


def verify(executor: HostExecutor, check: Check) -> None:
    """Compare what the kernels give here with what NumPy's implementations give."""
    wanted = check.call(np)
    executor.launched.clear()
    with on_host(executor):
        got = check.call(np)
    assert check.kernels <= {kernel.function for kernel in executor.launched}
    compare(check, got, wanted)


def asked_for(executor: HostExecutor, checks: Iterable[Check]) -> list[Kernel]:
    """Return the kernels that checks take, without running one."""
    with executor.recording() as asked, on_host(executor), np.errstate(all="ignore"):
        for check in checks:
            check.call(np)
    return list(asked)


def forget() -> None:
    """Forget which implementations NumPy arrays have."""
    for each in vars(primitives).values():
        if isinstance(each, Primitive):
            each._by_type.pop(np.ndarray, None)
