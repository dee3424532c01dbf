"""The CUDA kernels on a GPU: the checks of the CPU on CuPy arrays, and what only a GPU can show.

``pytest tests/test_cuda_on_gpu.py --library cupy --device cuda --kernel-record FILE`` writes the
record that makes kernels verified: of each implementation all of whose checks passed. For
compute-sanitizer, ``compute-sanitizer --tool memcheck python -m pytest ... -k small``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cache, lru_cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import arrayconv as ac
from arrayconv import primitives
from arrayconv._window import sliding_window
from arrayconv.backends.cupy import compilation, cudnn, launch
from tests.cases import CONVOLUTIONS, TRANSPOSED, Case, assert_close
from tests.cuda_checks import added_in_order, every_check
from tests.cuda_comparison import Check, as_oracle, asking_for, compare, made, pulled
from tests.cuda_evidence import EVIDENCE, Evidence, noted
from tests.cuda_on_host.executor import HostExecutor, asked_for
from tests.test_cuda_on_host import VARIANTS, variant

# Those of many kernels first: what comes then completes one kernel after the other.
CHECKS = sorted(every_check(), key=lambda check: -len(check.kernels))
SMALL = dict.fromkeys(
    [
        *(
            next(check for check in every_check() if kernel in check.kernels)
            for kernel in sorted(set().union(*(check.kernels for check in CHECKS)))
        ),
        *(check for check in CHECKS if check.id.startswith("tensor-conv")),
    ]
)
BATCH_BYTES = 24 << 30
"""Of free memory that the arrays beyond 2^31 elements need."""


@pytest.fixture(scope="module")
def cupy(chosen_libraries: list[str], request: Any, tmp_path_factory: Any) -> Iterator[Any]:
    """CuPy, with the raw kernels preferred, where the tests were asked to run on a GPU.

    The kernels that these tests take are compiled first, many at once.
    """
    if "cupy" not in chosen_libraries:
        pytest.skip("needs a GPU: --library cupy --device cuda")
    module = pytest.importorskip("cupy")
    if request.config.getoption("--no-memory-pool"):
        module.cuda.set_allocator(None)
    runtime = module.cuda.runtime
    versions = {
        "arrayconv": ac.__version__,
        "cupy": module.__version__,
        "nvrtc": ".".join(map(str, module.cuda.nvrtc.getVersion())),
        "driver": str(runtime.driverGetVersion()),
    }
    name = runtime.getDeviceProperties(runtime.getDevice())["name"].decode()
    evidence = request.config.stash[EVIDENCE]
    evidence.runs_on(name, versions)
    evidence.device_works = runtime.deviceSynchronize
    kernels = kernels_of(request.session.items, HostExecutor(tmp_path_factory.mktemp("kernels")))
    try:
        compilation.compile_for_gpu(kernels)
    except Exception as problem:
        # The tests of that kernel will fail, and they alone.
        print(f"not all kernels could be compiled: {problem}", file=sys.__stderr__)
    with noted(module.zeros(0), evidence), ac.options(algorithm="cuda", allow_unverified=True):
        yield module


@pytest.fixture
def evidence(request: pytest.FixtureRequest) -> Evidence:
    """What this session's tests show."""
    return request.config.stash[EVIDENCE]


def kernels_of(items: list[pytest.Item], executor: HostExecutor) -> list[launch.Kernel]:
    """Return the kernels that the checks of these tests take, in each of their variants.

    Not those of cuDNN, which is no kernel of ours, and must not be given arrays of the host.
    """
    checks: dict[str | None, list[Check]] = {}
    for item in items:
        call = getattr(item, "callspec", None)
        if call is None or item.path != Path(__file__) or "check" not in call.params:
            continue
        if "cudnn" not in call.params["check"].kernels:
            checks.setdefault(call.params.get("name"), []).append(call.params["check"])
    kernels: dict[launch.Kernel, None] = {}
    for name, some in checks.items():
        with nullcontext() if name is None else variant(name):
            kernels |= dict.fromkeys(asked_for(executor, some))
    return list(kernels)


def on_gpu(cupy: Any, check: Check) -> list[Any]:
    """Return a check's results on CuPy arrays, having seen that they are CuPy's."""
    results = check.call(cupy)
    assert all(isinstance(each, cupy.ndarray) for each in results)
    return [each.get() for each in results]


# Its variants follow each other.
@lru_cache(maxsize=1)
def right(check: Check) -> list[Any]:
    with as_oracle():
        return check.call(np)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_as_numpy(cupy, check, name, evidence):
    with variant(name):
        got = on_gpu(cupy, check)
    assert check.kernels <= evidence.functions
    compare(check, got, right(check))


@pytest.mark.parametrize("check", SMALL, ids=lambda check: check.id)
def test_small(cupy, check):
    """One check for each kernel: for compute-sanitizer, which is slow."""
    compare(check, on_gpu(cupy, check), right(check))


@pytest.mark.parametrize("check", SMALL, ids=lambda check: check.id)
def test_the_same_bits_every_run(cupy, check):
    first, second = on_gpu(cupy, check), on_gpu(cupy, check)
    for one, other in zip(first, second, strict=True):
        assert one.tobytes() == other.tobytes()


def test_added_in_order(cupy):
    added_in_order(cupy)


def _products(x: Any, window: Any, algorithm: str) -> list[Any]:
    """Return what an implicit product and both its gradients give, for one output."""
    w = x[0, :, :3, :3][None]
    with ac.options(algorithm=algorithm, allow_tf32=True):
        y = primitives.conv(x, w, window, 1)
        back = primitives.conv_transpose(y, w, window, 1)
        return [y, back, primitives.conv_weight(x, y, window, 1)]


def _flat(function: Any, x: Any, window: Any) -> list[Any]:
    """Return what a primitive of indices gives for the planes of an array."""
    _, index = primitives.max_pool_indices(x, window)
    planes = [each.reshape(*x.shape[:2], 64 * 64) for each in (x, index)]
    return [function(*planes) if function is primitives.gather else function(*planes, 64 * 64)]


def _depthwise(x: Any, window: Any) -> list[Any]:
    w = x[0, :, :3, :3].reshape(8, 1, 3, 3)
    return [
        primitives.conv(x, w, window, 8),
        primitives.conv_transpose(x, w, window, 8),
        primitives.conv_weight(x, x, window, 8),
    ]


def _max_pools(x: Any, window: Any) -> list[Any]:
    values, index = primitives.max_pool_indices(x, window)
    pooled = primitives.max_pool(x, window)
    return [values, index, pooled, primitives.max_pool_grad(x, index, window)]


def _pads(x: Any, window: Any) -> list[Any]:
    pairs = ((0, 0), (0, 0), (1, 2), (3, 0))
    return [
        primitives.pad(x, pairs, "constant", 1),
        primitives.pad_adjoint(x, pairs, "reflect"),
    ]


STREAMED: dict[str, Callable[[Any, Any], list[Any]]] = {
    "columns": lambda x, w: [columns := primitives.unfold(x, w), primitives.fold(columns, w)],
    "max_pool": _max_pools,
    "sum_pool": lambda x, w: [primitives.sum_pool(x, w), primitives.spread(x, w)],
    **{
        name: partial(_flat, getattr(primitives, name))
        for name in ("place", "gather", "scatter_add")
    },
    "pad": _pads,
    "depthwise": _depthwise,
    "cuda-implicit": partial(_products, algorithm="cuda-implicit"),
    "cuda-tensor": partial(_products, algorithm="cuda-tensor"),
}
"""Every primitive with a kernel, in calls of an array and a window."""


@pytest.mark.parametrize("name", STREAMED)
def test_on_another_stream(cupy, name):
    """All work goes to the caller's stream, after what its input waits for, and nobody waits."""
    call = STREAMED[name]
    window = sliding_window((64, 64), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1))
    x = made(cupy, (4, 8, 64, 64), "float32")
    wanted = [each.get() for each in call(x, window)]
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        busy = cupy.full((4096, 4096), 1e-9, "float32")
        # Compiled, and the memory allocated on this stream, before anything is looked at.
        warm = [busy @ busy, *call(x, window)]
        stream.synchronize()
        del warm
        for _ in range(20):
            busy = busy @ busy
        late = x + busy[0, 0] * 0
        results = call(late, window)
        assert not stream.done, "an operation waited for the device"
    stream.synchronize()
    for got, right in zip(results, wanted, strict=True):
        np.testing.assert_array_equal(got.get(), right)


SIDE = 1024
HALVED = sliding_window((SIDE, SIDE), (2, 2), (2, 2), ((0, 0),) * 2, (1, 1))


def _indexed(function: Any, x: Any) -> Any:
    """Return what a primitive of indices gives for the maxima of planes."""
    values, index = primitives.max_pool_indices(x, HALVED)
    values, index = (each.reshape(*x.shape[:2], -1) for each in (values, index))
    if function is primitives.gather:
        return function(x.reshape(*x.shape[:2], -1), index)
    return function(values, index, SIDE * SIDE)


def _max_pool_grad(x: Any) -> Any:
    values, index = primitives.max_pool_indices(x, HALVED)
    return primitives.max_pool_grad(values, index, HALVED)


BEYOND: dict[str, Callable[[Any], Any]] = {
    "max_pool": lambda x: primitives.max_pool(x, HALVED),
    "max_pool_indices": lambda x: primitives.max_pool_indices(x, HALVED)[1],
    "max_pool_grad": _max_pool_grad,
    "sum_pool": lambda x: primitives.sum_pool(x, HALVED),
    "spread": lambda x: primitives.spread(primitives.max_pool(x, HALVED), HALVED),
    "unfold and fold": lambda x: primitives.fold(primitives.unfold(x, HALVED), HALVED),
    **{
        name: partial(_indexed, getattr(primitives, name))
        for name in ("place", "gather", "scatter_add")
    },
    "pad": lambda x: primitives.pad(x, ((0, 0), (0, 0), (1, 0), (-1, 0)), "reflect", 0),
    "pad_adjoint": lambda x: primitives.pad_adjoint(
        x, ((0, 0), (0, 0), (1, 0), (-1, 0)), "reflect"
    ),
}
"""What is done with planes, each alone, of which some are looked at."""


def need_memory(cupy: Any) -> None:
    """Skip where too little memory is free, once what tests before have left is given back."""
    cupy.get_default_memory_pool().free_all_blocks()
    free = cupy.cuda.runtime.memGetInfo()[0]
    if free < BATCH_BYTES:
        pytest.skip(f"{free >> 30} GiB of GPU memory are free, {BATCH_BYTES >> 30} are needed")


@cache
def few_planes(*shape: int) -> Any:
    """Return what is repeated until there are more than 2^31 elements."""
    return made(np, shape, "float16")


@pytest.mark.parametrize("name", BEYOND)
def test_beyond_32_bits(cupy, name):
    """More than 2^31 elements in and out: the first, middle and last planes are right."""
    need_memory(cupy)
    planes = 2100
    x = cupy.tile(cupy.asarray(few_planes(1, 21, SIDE, SIDE)), (1, planes // 21, 1, 1))
    assert x.size > 2**31
    result = BEYOND[name](x)
    for plane in (0, planes // 2, planes - 1):
        one = x[:, plane : plane + 1].get()
        with as_oracle():
            wanted = BEYOND[name](one)
        got = result[:, plane : plane + 1].get()
        np.testing.assert_allclose(got, wanted, rtol=2e-3, err_msg=f"plane {plane}")


def test_products_beyond_32_bits(cupy):
    """An input of more than 2^31 elements: the first, middle and last images are right."""
    need_memory(cupy)
    batch, side = 1050, SIDE
    x = cupy.tile(cupy.asarray(few_planes(21, 2, side, side)), (batch // 21, 1, 1, 1))
    assert x.size > 2**31
    w = made(cupy, (2, 2, 3, 3), "float16", seed=1)
    window = sliding_window((side, side), (3, 3), (2, 2), ((1, 1),) * 2, (1, 1))
    y = primitives.conv(x, w, window, 1, algorithm="cuda-implicit")
    back = primitives.conv_transpose(y, w, window, 1, algorithm="cuda-implicit")
    for image in (0, batch // 2, batch - 1):
        one = x[image : image + 1].get()
        there, weight = y[image : image + 1].get(), w.get()
        with as_oracle():
            wanted = [
                primitives.conv(one, weight, window, 1),
                primitives.conv_transpose(there, weight, window, 1),
            ]
        for got, right in zip((there, back[image : image + 1].get()), wanted, strict=True):
            assert_close(got, right, "float16", factor=2)


def _convolved(case: Case, dtype: str, xp: Any) -> list[Any]:
    """Return a convolution by cuDNN and its gradients."""
    kind = "float32" if dtype == "TF32" else dtype
    arrays = [made(xp, shape, kind, seed) for seed, shape in enumerate(case.shapes)]
    function = getattr(ac, case.function)
    with asking_for("cudnn", allow_tf32=dtype == "TF32"):
        return pulled(xp, function, *arrays, *[None] * (3 - len(arrays)), **case.params)


CUDNN = [
    Check(
        f"{case.id}-{dtype}",
        frozenset({"cudnn"}),
        partial(_convolved, case, dtype),
        "float16" if dtype == "TF32" else dtype,
    )
    for case, dtype in product((*CONVOLUTIONS, *TRANSPOSED), (*cudnn.TYPES, "TF32"))
]


@pytest.mark.parametrize("check", CUDNN, ids=lambda check: check.id)
def test_cudnn(cupy, check, evidence, monkeypatch):
    """cuDNN as NumPy, forward and both gradients, and the same bits again."""
    missing = cudnn.why_missing()
    if missing:
        pytest.skip(missing)
    planned, plan = [], cudnn._planned

    def noted(*call: Any) -> Any:
        planned.append(plan(*call))
        return planned[-1]

    monkeypatch.setattr(cudnn, "_planned", noted)
    first, second = on_gpu(cupy, check), on_gpu(cupy, check)
    compare(check, first, right(check))
    assert [each.tobytes() for each in first] == [each.tobytes() for each in second]
    refused = [each for each in planned if isinstance(each, str)]
    if refused:
        pytest.skip(f"other implementations took its place: {refused[0]}")
    assert planned or not all(each.size for each in first)


RECORDED = {"test_as_numpy": len(VARIANTS) * len(CHECKS), "test_cudnn": len(CUDNN)}
