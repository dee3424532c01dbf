"""Which libraries and which device the tests run on, and what a run leaves out.

``pytest --library numpy,strict,torch,jax,dask,cupy|all --device cpu|cuda [--full]``; by default
every library that is installed, on the CPU. A test that takes ``library`` runs once for each.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import hypothesis
import numpy as np
import pytest

# A shared machine has slow moments; `library` carries no state from one example to the next.
hypothesis.settings.register_profile(
    "arrayconv",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("arrayconv")


class Peer(NamedTuple):
    """A library that the tests know: where it is imported from, and where its arrays live."""

    module: str
    devices: tuple[str, ...]
    without: str
    """What a run without it leaves out."""


PEERS = {
    "numpy": Peer("numpy", ("cpu",), "everything"),
    "strict": Peer(
        "array_api_strict",
        ("cpu",),
        "the generic implementations under array-api-strict, on a device that is not the default",
    ),
    "torch": Peer(
        "torch",
        ("cpu", "cuda"),
        "torch tensors, and the comparisons with torch.nn.functional",
    ),
    "jax": Peer("jax", ("cpu", "cuda"), "JAX arrays: eager, and under jit, grad and vmap"),
    "dask": Peer("dask", ("cpu",), "Dask arrays of several chunks: lazy, and block by block"),
    "cupy": Peer("cupy", ("cuda",), "CuPy arrays"),
}
SAMPLED = {"jax": ("JAX", 30), "dask": ("Dask", 40)}
"""Of whose cases a plain run takes one in thirty, or forty: JAX compiles each, Dask plans each."""
CHOSEN = pytest.StashKey[list[str]]()
LEFT_OUT = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("arrayconv")
    group.addoption(
        "--library",
        default="all",
        help=f"libraries to test, with commas between: {', '.join(PEERS)}, or 'all' that are "
        "installed (the default)",
    )
    group.addoption(
        "--device",
        default="cpu",
        choices=("cpu", "cuda"),
        help="where the arrays live (default: cpu)",
    )
    group.addoption(
        "--full",
        action="store_true",
        help="compare more random geometries with torch, 1,500 a function instead of 200, run all "
        "of PyTorch's samples on JAX arrays, and compile every instance of the CUDA kernels for "
        "every architecture",
    )
    group.addoption(
        "--kernel-record",
        metavar="FILE",
        help="where tests/test_cuda_on_gpu.py writes which CUDA kernels were right on this GPU",
    )
    group.addoption(
        "--kernel-journal",
        metavar="FILE",
        help="where it notes each test, and goes on behind those that a run before it has noted",
    )
    group.addoption(
        "--no-memory-pool",
        action="store_true",
        help="give each CuPy array of tests/test_cuda_on_gpu.py memory of its own: what is read or "
        "written beyond it is then seen by compute-sanitizer",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[LEFT_OUT] = []
    config.stash[CHOSEN] = _chosen_libraries(config)
    if config.getoption("--device") == "cuda":
        _gather_evidence(config)


def _gather_evidence(config: pytest.Config) -> None:
    """Let what the tests of the CUDA kernels show be noted as it is seen."""
    from tests.cuda_evidence import EVIDENCE, Evidence

    files = (config.getoption("--kernel-record"), config.getoption("--kernel-journal"))
    if any(files) and config.getoption("numprocesses", None):
        raise pytest.UsageError("--kernel-record: the tests of one process only, without -n")
    config.stash[EVIDENCE] = evidence = Evidence(*(Path(each) if each else None for each in files))
    config.pluginmanager.register(evidence)


def _installed(name: str) -> bool:
    return importlib.util.find_spec(PEERS[name].module) is not None


def _sees_gpu(name: str) -> bool:
    module = importlib.import_module(PEERS[name].module)
    if name == "jax":
        return any(device.platform == "gpu" for device in module.devices())
    return bool(module.cuda.is_available())


def _chosen_libraries(config: pytest.Config) -> list[str]:
    """Return the libraries to test; a usage error where what was asked for cannot be had."""
    device: str = config.getoption("--device")
    wanted: str = config.getoption("--library")
    serving = [name for name in PEERS if device in PEERS[name].devices]
    if wanted == "all":
        missing = [name for name in serving if not _installed(name)]
        config.stash[LEFT_OUT] += [
            f"{PEERS[name].module} is not installed: {PEERS[name].without}" for name in missing
        ]
        chosen = [name for name in serving if name not in missing]
        if device == "cuda":
            chosen = [name for name in chosen if _sees_gpu(name)]
            if not chosen:
                raise pytest.UsageError(
                    f"--device cuda: none of {', '.join(serving)} is installed and sees a GPU"
                )
        else:
            config.stash[LEFT_OUT].append(
                "CUDA: this run was on the CPU; where there is a GPU, add --device cuda"
            )
        return chosen
    chosen = wanted.split(",")
    for name in chosen:
        if name not in PEERS:
            raise pytest.UsageError(
                f"--library {wanted}: {name!r} is none of {', '.join(PEERS)}, all"
            )
        if name not in serving:
            raise pytest.UsageError(f"--library {wanted}: {name} has no arrays on {device}")
        if not _installed(name):
            raise pytest.UsageError(f"--library {wanted}: {PEERS[name].module} is not installed")
        if device == "cuda" and not _sees_gpu(name):
            raise pytest.UsageError(f"--device cuda: {name} sees no GPU")
    return chosen


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out most of the cases on arrays that take their time: see `SAMPLED`."""
    chosen = config.stash[CHOSEN]
    if config.getoption("--full"):
        return
    _leave_out_checks(config, items)
    if len(chosen) == 1:
        return
    kept: list[pytest.Item] = []
    left: dict[str, list[pytest.Item]] = {name: [] for name in SAMPLED if name in chosen}
    for item in items:
        call = getattr(item, "callspec", None)
        name = "" if call is None else call.params.get("library")
        sampled = name not in left or crc32(item.nodeid.encode()) % SAMPLED[name][1] == 0
        (kept if sampled else left[name]).append(item)
    items[:] = kept
    for name, without in left.items():
        if without:
            config.hook.pytest_deselected(items=without)
            written, share = SAMPLED[name]
            config.stash[LEFT_OUT].append(
                f"{len(without)} cases on {written} arrays, all but one in {share}: --full or "
                f"--library {name} runs them all"
            )


HOST = "test_cuda_on_host.py::"
SAMPLED_CHECKS = {
    f"{HOST}test_as_numpy[": ("checks of CUDA kernels on the CPU", 24),
    "test_cuda_seeded_bugs.py::test_a_bug_is_caught[": ("bugs put into CUDA kernels", 10),
}
"""Of what a plain run takes one in so many: each is compiled, by g++, for seconds."""
LEFT_OUT_VARIANTS = ("[narrow-", "[wide-")
"""All of these are left out: threads that work on one plane, not on several; and indices of 64
bits, which `test_cuda_beyond_32_bits` and `test_cuda_implicit` have too."""


def _leave_out_checks(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out most of the checks of CUDA kernels on the CPU: see `SAMPLED_CHECKS`."""
    for name, (what, share) in SAMPLED_CHECKS.items():
        without = [
            item
            for item in items
            if (name in item.nodeid and crc32(item.nodeid.encode()) % share != 0)
            or (HOST in item.nodeid and any(each in item.nodeid for each in LEFT_OUT_VARIANTS))
        ]
        if without:
            gone = set(without)
            items[:] = [item for item in items if item not in gone]
            config.hook.pytest_deselected(items=without)
            config.stash[LEFT_OUT].append(
                f"{len(without)} {what}, all but one in {share} or fewer: --full runs them all"
            )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    chosen = metafunc.config.stash[CHOSEN]
    if "library" in metafunc.fixturenames:
        metafunc.parametrize("library", chosen, indirect=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand what a worker of pytest-xdist left out to the process that prints it."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["left_out"] = session.config.stash[LEFT_OUT]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take over what a worker left out; one that crashed has nothing to hand over."""
    node.config.stash[LEFT_OUT] += getattr(node, "workeroutput", {}).get("left_out", [])


# The outermost wrapper, so that these lines come after pytest's own summary.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> Iterator[None]:
    yield
    reasons = config.stash[LEFT_OUT]
    for reason in dict.fromkeys(reasons):
        terminalreporter.write_line(f"LEFT OUT: {reason}")


@dataclass
class Library:
    """One array library as a test sees it: NumPy arrays go in, NumPy arrays come out."""

    name: str
    """The name of ``--library``; the capabilities table knows it by ``module``."""
    module: str
    xp: Any
    device: Any
    _frozen: list[tuple[Any, Any]] = field(default_factory=list)

    def asarray(self, values: Any, dtype: str | None = None) -> Any:
        """Return a copy of ``values`` as an array of this library, on the device under test."""
        given = np.array(values, order="C")
        if dtype == "bfloat16" and self.name in ("numpy", "cupy", "dask"):
            kind = importlib.import_module("ml_dtypes").bfloat16
        elif self.name == "dask" and dtype is not None:
            kind = np.dtype(dtype)
        else:
            kind = None if dtype is None else getattr(self.xp, dtype)
        if self.name == "numpy":
            return given if kind is None else given.astype(kind)
        if self.name == "dask":
            given = given if kind is None else given.astype(kind)
            given.flags.writeable = False
            return self.xp.from_array(given, chunks=odd_chunks(given.shape))
        return self.xp.asarray(given, dtype=kind, device=self.device)

    def frozen(self, values: Any, dtype: str | None = None) -> Any:
        """Return `asarray`, with the test failing where it is modified; NumPy's is read-only."""
        array = self.asarray(values, dtype)
        if self.name == "numpy":
            array.flags.writeable = False
        self._frozen.append((array, self.to_numpy(array).copy()))
        return array

    def to_numpy(self, array: Any) -> Any:
        """Return ``array``, which must be this library's, as a NumPy array; bfloat16 as float32."""
        if self.name == "numpy":
            assert isinstance(array, np.ndarray | np.generic), type(array)
            host = np.asarray(array)
            return host.astype(np.float32) if array.dtype.name == "bfloat16" else host
        if self.name == "strict":
            assert array.device == self.device, array.device
            return np.array(array.to_device(self.xp.Device("CPU_DEVICE")))
        if self.name == "torch":
            host = array.detach().cpu().resolve_conj().resolve_neg()
            return (host.float() if host.dtype == self.xp.bfloat16 else host).numpy()
        if self.name == "jax":
            assert array.device == self.device, array.device
            host = np.asarray(array)
            return host.astype(np.float32) if str(array.dtype) == "bfloat16" else host
        if self.name == "dask":
            assert array.dask, array
            host = np.asarray(array.compute(scheduler="synchronous"))
            assert (host.dtype, host.shape) == (array.dtype, array.shape)
            return host.astype(np.float32) if array.dtype.name == "bfloat16" else host
        host = np.asarray(array.get())
        return host.astype(np.float32) if host.dtype.name == "bfloat16" else host

    @contextmanager
    def no_synchronisation(self) -> Iterator[None]:
        """Make it an error to look at an array's values, for as long as an operation runs.

        On a GPU a look waits for all work before it; under a trace there is nothing to see yet.
        array-api-strict, torch's CUDA tensors and Dask can tell; for other arrays this does
        nothing.
        """
        if self.name == "strict":
            with pytest.MonkeyPatch.context() as patch:
                _forbid_looking(patch, type(self.xp.zeros(1)))
                yield
        elif self.name == "dask":
            with importlib.import_module("dask").config.set(scheduler=_no_scheduler):
                yield
        elif self.name == "torch" and str(self.device).startswith("cuda"):
            before = self.xp.cuda.get_sync_debug_mode()
            self.xp.cuda.set_sync_debug_mode("error")
            try:
                yield
            finally:
                self.xp.cuda.set_sync_debug_mode(before)
        else:
            yield

    def assert_unmodified(self) -> None:
        """Fail where an array of `frozen` is not what it was."""
        for array, before in self._frozen:
            np.testing.assert_array_equal(
                self.to_numpy(array), before, err_msg="an operation modified its input"
            )


LOOKS = (
    *("__bool__", "__complex__", "__float__", "__index__", "__int__", "__iter__"),
    *("__array__", "__buffer__", "__dlpack__", "to_device"),
)


def odd_chunks(shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Return chunks of no common length: 5 cells are chunks of 2 and 3, 6 are 2, 3 and 1."""
    chunks = []
    for size in shape:
        parts, length = [], 2
        while size > length:
            parts.append(length)
            size, length = size - length, length % 3 + 2
        chunks.append((*parts, size))
    return tuple(chunks)


def _no_scheduler(*arguments: Any, **named: Any) -> Any:
    raise AssertionError("an operation computed a lazy array")


def _forbid_looking(patch: pytest.MonkeyPatch, array_type: type) -> None:
    def forbidden(name: str) -> Callable[..., Any]:
        def look(self: Any, *arguments: Any, **named: Any) -> Any:
            raise AssertionError(f"{name}: an operation looked at an array's values")

        return look

    for name in LOOKS:
        patch.setattr(array_type, name, forbidden(name))


def _open(name: str, device: str) -> Library:
    """Return the library of that name, as the tests use it on a device."""
    import array_api_compat

    module = importlib.import_module(PEERS[name].module)
    if name == "dask":
        xp = importlib.import_module("array_api_compat.dask.array")
        # Else the first call would load it, and seem to allocate memory.
        importlib.import_module("arrayconv.backends.dask")
        return Library(name, "dask", xp, device)
    if name == "jax":
        # Without it JAX has no 64-bit dtypes, and makes float32 of what asks for float64.
        module.config.update("jax_enable_x64", True)
        xp = array_api_compat.array_namespace(module.numpy.zeros(0))
        return Library(name, "jax", xp, module.devices("gpu" if device == "cuda" else device)[0])
    xp = array_api_compat.array_namespace(module.asarray(0))
    if name == "strict":
        return Library(name, PEERS[name].module, xp, module.Device("device1"))
    if name == "cupy":
        return Library(name, PEERS[name].module, xp, module.cuda.Device(0))
    return Library(name, PEERS[name].module, xp, device)


@pytest.fixture
def library(request: pytest.FixtureRequest) -> Iterator[Library]:
    """Each of the chosen libraries in turn; what `Library.frozen` gave must come out unchanged."""
    opened = _open(request.param, request.config.getoption("--device"))
    yield opened
    opened.assert_unmodified()


@pytest.fixture(scope="session")
def torch() -> Any:
    """The module torch, as an oracle: a test that takes it is skipped where it is not installed."""
    return pytest.importorskip("torch", reason="the comparison is with torch")


@pytest.fixture(scope="session")
def left_out(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Return a function that adds a reason to what the run says, at its end, that it left out."""
    return request.config.stash[LEFT_OUT].append


@pytest.fixture(scope="session")
def chosen_libraries(request: pytest.FixtureRequest) -> list[str]:
    """The libraries that this run tests."""
    return request.config.stash[CHOSEN]


@pytest.fixture(scope="session")
def host_compiler(left_out: Callable[[str], None]) -> None:
    """Skip where there is no g++, with which the CUDA kernels' source runs on the CPU."""
    if shutil.which("g++") is None:
        left_out("the CUDA kernels' own source on the CPU: g++ is not installed")
        pytest.skip("g++ is not installed")


@pytest.fixture
def skip_unless_supported() -> Callable[[str, Library, str], None]:
    """Return a function of operation, library and dtype that skips for the table's reason."""
    from arrayconv._capabilities import unsupported

    def skip(operation: str, library: Library, dtype: str) -> None:
        reason = unsupported(operation, library.module, dtype)
        bare = dtype == "bfloat16" and library.name in ("numpy", "cupy", "dask")
        if bare and importlib.util.find_spec("ml_dtypes") is None:
            reason = f"{library.name} has bfloat16 from ml_dtypes, which is not installed"
        if reason is not None:
            pytest.skip(f"{operation} of {dtype} on {library.name}: {reason}")

    return skip
