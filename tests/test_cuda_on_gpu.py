"""The CUDA kernels on a GPU: the checks of the CPU on CuPy arrays, and what only a GPU can show.

``pytest tests/test_cuda_on_gpu.py --library cupy --device cuda --kernel-record FILE`` writes the
record that makes the kernels verified, if every check passed. For compute-sanitizer,
``compute-sanitizer --tool memcheck python -m pytest tests/test_cuda_on_gpu.py -k small ...``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import arrayconv as ac
from arrayconv import primitives
from arrayconv._window import sliding_window
from arrayconv.backends.cupy import compilation, cudnn, implementations, launch
from tests import cuda_record
from tests.cases import CONVOLUTIONS, TRANSPOSED, assert_close
from tests.cuda_checks import added_in_order, every_check, halves
from tests.cuda_comparison import Check, compare, made, pulled
from tests.cuda_on_host.executor import HostExecutor, asked_for
from tests.test_cuda_on_host import VARIANTS, variant

CHECKS = every_check()
SMALL = dict.fromkeys(
    [
        *(
            next(check for check in CHECKS if kernel in check.kernels)
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
    executor = HostExecutor(tmp_path_factory.mktemp("kernels"))
    checks = {
        call.params["check"]
        for item in request.session.items
        if item.path == request.path and (call := getattr(item, "callspec", None))
        if "check" in call.params
    }
    names = VARIANTS if checks == set(CHECKS) else ()
    kernels = dict.fromkeys(asked_for(executor, sorted(checks, key=lambda check: check.id)))
    for name in names:
        with variant(name):
            kernels |= dict.fromkeys(asked_for(executor, CHECKS))
    compilation.compile_for_gpu(kernels)
    with ac.options(algorithm="cuda", allow_unverified=True):
        yield module


def on_gpu(cupy: Any, check: Check) -> list[Any]:
    """Return a check's results on CuPy arrays, having seen that they are CuPy's."""
    results = check.call(cupy)
    assert all(isinstance(each, cupy.ndarray) for each in results)
    return [each.get() for each in results]


def launched(monkeypatch: pytest.MonkeyPatch, cupy: Any) -> list[str]:
    """Return a list to which every launch from now on adds the kernel's function."""
    executor, functions = launch.executor_of(cupy.zeros(0)), []
    run = executor.launch

    def noted(kernel: launch.Kernel, *arguments: Any) -> None:
        functions.append(kernel.function)
        run(kernel, *arguments)

    monkeypatch.setattr(executor, "launch", noted)
    return functions


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_as_numpy(cupy, check, name, monkeypatch):
    functions = launched(monkeypatch, cupy)
    with variant(name):
        got = on_gpu(cupy, check)
    assert check.kernels <= set(functions)
    compare(check, got, check.call(np))


@pytest.mark.parametrize("check", SMALL, ids=lambda check: check.id)
def test_small(cupy, check):
    """One check for each kernel: for compute-sanitizer, which is slow."""
    compare(check, on_gpu(cupy, check), check.call(np))


@pytest.mark.parametrize("check", SMALL, ids=lambda check: check.id)
def test_the_same_bits_every_run(cupy, check):
    first, second = on_gpu(cupy, check), on_gpu(cupy, check)
    for one, other in zip(first, second, strict=True):
        assert one.tobytes() == other.tobytes()


def test_added_in_order(cupy):
    added_in_order(cupy)


def every_kernel(x: Any, w: Any) -> list[Any]:
    """Return what every primitive with a kernel gives."""
    window = sliding_window((64, 64), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1))
    values, index = primitives.max_pool_indices(x, window)
    flat = (*x.shape[:2], 64 * 64)
    columns, pairs = primitives.unfold(x, window), ((0, 0), (0, 0), (1, 2), (3, 0))
    return [
        *(columns, primitives.fold(columns, window), values, index),
        primitives.max_pool(x, window),
        primitives.max_pool_grad(x, index, window),
        primitives.sum_pool(x, window),
        primitives.spread(x, window),
        primitives.place(x.reshape(flat), index.reshape(flat), 64 * 64),
        primitives.gather(x.reshape(flat), index.reshape(flat)),
        primitives.scatter_add(x.reshape(flat), index.reshape(flat), 64 * 64),
        primitives.pad(x, pairs, "constant", 1),
        primitives.pad_adjoint(x, pairs, "reflect"),
        primitives.conv(x, w, window, 8),
        primitives.conv_transpose(x, w, window, 8),
        primitives.conv_weight(x, x, window, 8),
        *every_product(x, x[0, :, :3, :3][None], window),
    ]


def every_product(x: Any, w: Any, window: Any) -> list[Any]:
    """Return what the implicit products give, for one output."""
    results = []
    for name in ("cuda-implicit", "cuda-tensor"):
        with ac.options(algorithm=name, allow_tf32=True):
            y = primitives.conv(x, w, window, 1)
            results += [
                y,
                primitives.conv_transpose(y, w, window, 1),
                primitives.conv_weight(x, y, window, 1),
            ]
    return results


def test_on_another_stream(cupy):
    """All work goes to the caller's stream, after what its input waits for, and nobody waits."""
    x, w = made(cupy, (4, 8, 64, 64), "float32"), made(cupy, (8, 1, 3, 3), "float32")
    wanted = [each.get() for each in every_kernel(x, w)]
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        busy = cupy.full((4096, 4096), 1e-9, "float32")
        # Compiled, and the memory allocated on this stream, before anything is looked at.
        warm = [busy @ busy, *every_kernel(x, w)]
        stream.synchronize()
        del warm
        for _ in range(20):
            busy = busy @ busy
        late = x + busy[0, 0] * 0
        results = every_kernel(late, w)
        assert not stream.done, "an operation waited for the device"
    stream.synchronize()
    for got, right in zip(results, wanted, strict=True):
        np.testing.assert_array_equal(got.get(), right)


def test_beyond_32_bits(cupy):
    """More than 2^31 elements in and out: the first, middle and last planes are right."""
    free = cupy.cuda.runtime.memGetInfo()[0]
    if free < BATCH_BYTES:
        pytest.skip(f"{free >> 30} GiB of GPU memory are free, {BATCH_BYTES >> 30} are needed")
    planes, side = 2100, 1024
    x = cupy.tile(made(cupy, (1, 21, side, side), "float16"), (1, planes // 21, 1, 1))
    assert x.size > 2**31
    window = sliding_window((side, side), (2, 2), (2, 2), ((0, 0),) * 2, (1, 1))
    values, index = primitives.max_pool_indices(x, window)
    results = {
        "max_pool": values,
        "max_pool_grad": primitives.max_pool_grad(values, index, window),
        "sum_pool": primitives.sum_pool(x, window),
        "spread": primitives.spread(values, window),
        "fold": primitives.fold(primitives.unfold(x, window), window),
    }
    flat = (1, planes, side * side // 4)
    results["place"] = primitives.place(values.reshape(flat), index.reshape(flat), side * side)
    results["gather"] = primitives.gather(x.reshape(1, planes, -1), index.reshape(flat))
    results["scatter_add"] = primitives.scatter_add(
        values.reshape(flat), index.reshape(flat), side * side
    )
    pairs = ((0, 0), (0, 0), (1, 0), (-1, 0))
    results["pad"] = primitives.pad(x, pairs, "reflect", 0)
    results["pad_adjoint"] = primitives.pad_adjoint(x, pairs, "reflect")
    for plane in (0, planes // 2, planes - 1):
        one = x[:, plane : plane + 1].get()
        best, at = primitives.max_pool_indices(one, window)
        cells = (1, 1, side * side // 4)
        wanted = {
            "max_pool": best,
            "max_pool_grad": primitives.max_pool_grad(best, at, window),
            "sum_pool": primitives.sum_pool(one, window),
            "spread": primitives.spread(best, window),
            "fold": one,
            "place": primitives.place(best.reshape(cells), at.reshape(cells), side * side),
            "gather": best.reshape(cells),
            "scatter_add": primitives.scatter_add(
                best.reshape(cells), at.reshape(cells), side * side
            ),
            "pad": primitives.pad(one, pairs, "reflect", 0),
            "pad_adjoint": primitives.pad_adjoint(one, pairs, "reflect"),
        }
        for name, right in wanted.items():
            got = results[name][:, plane : plane + 1].get()
            np.testing.assert_allclose(got, right, rtol=2e-3, err_msg=f"{name}, plane {plane}")


def test_products_beyond_32_bits(cupy):
    """An input of more than 2^31 elements: the first, middle and last images are right."""
    free = cupy.cuda.runtime.memGetInfo()[0]
    if free < BATCH_BYTES:
        pytest.skip(f"{free >> 30} GiB of GPU memory are free, {BATCH_BYTES >> 30} are needed")
    batch, side = 1050, 1024
    x = cupy.tile(made(cupy, (21, 2, side, side), "float16"), (batch // 21, 1, 1, 1))
    assert x.size > 2**31
    w = made(cupy, (2, 2, 3, 3), "float16", seed=1)
    window = sliding_window((side, side), (3, 3), (2, 2), ((1, 1),) * 2, (1, 1))
    y = primitives.conv(x, w, window, 1, algorithm="cuda-implicit")
    back = primitives.conv_transpose(y, w, window, 1, algorithm="cuda-implicit")
    for image in (0, batch // 2, batch - 1):
        one = x[image : image + 1].get()
        wanted = primitives.conv(one, w.get(), window, 1)
        assert_close(y[image : image + 1].get(), wanted, "float16", factor=2)
        wanted = primitives.conv_transpose(y[image : image + 1].get(), w.get(), window, 1)
        assert_close(back[image : image + 1].get(), wanted, "float16", factor=2)


@pytest.mark.parametrize("dtype", [*cudnn.TYPES, "TF32"])
@pytest.mark.parametrize("case", [*CONVOLUTIONS, *TRANSPOSED], ids=lambda case: case.id)
def test_cudnn(cupy, case, dtype, monkeypatch):
    """cuDNN as NumPy, forward and both gradients, and the same bits again."""
    missing = cudnn.why_missing()
    if missing:
        pytest.skip(missing)
    planned, plan = [], cudnn._planned

    def noted(*call: Any) -> Any:
        planned.append(plan(*call))
        return planned[-1]

    monkeypatch.setattr(cudnn, "_planned", noted)
    kind, exact = ("float32", "float16") if dtype == "TF32" else (dtype, dtype)

    def call(xp: Any) -> list[Any]:
        arrays = [made(xp, shape, kind, seed) for seed, shape in enumerate(case.shapes)]
        function = getattr(ac, case.function)
        return pulled(xp, function, *arrays, *[None] * (3 - len(arrays)), **case.params)

    check = Check(f"cudnn-{case.id}", frozenset(), call, exact)
    with ac.options(algorithm="cudnn", allow_unverified=True, allow_tf32=dtype == "TF32"):
        first, second = on_gpu(cupy, check), on_gpu(cupy, check)
    compare(check, first, call(np))
    assert [each.tobytes() for each in first] == [each.tobytes() for each in second]
    refused = [each for each in planned if isinstance(each, str)]
    if refused:
        pytest.skip(f"other implementations took its place: {refused[0]}")
    assert planned or 0 in case.shapes[0]


def test_record(cupy, request):
    """Write the record, if nothing in this run has failed: this test comes last."""
    path = request.config.getoption("--kernel-record")
    if path is None:
        pytest.skip("no record is asked for: --kernel-record FILE")
    assert request.session.testsfailed == 0
    assert request.session.testscollected >= len(VARIANTS) * len(CHECKS), (
        "a part of the checks is no record"
    )
    device = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())["name"].decode()
    versions = {
        "arrayconv": ac.__version__,
        "cupy": cupy.__version__,
        "nvrtc": ".".join(map(str, cupy.cuda.nvrtc.getVersion())),
        "driver": str(cupy.cuda.runtime.driverGetVersion()),
    }
    without = ("cudnn",) if cudnn.why_missing() else ()
    lines = cuda_record.records(len(VARIANTS) * len(CHECKS), device, versions, without)
    Path(path).write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")


# --- the record and the flag: these need no GPU -----------------------------------------------


def test_no_sum_of_two_bfloat16_is_subnormal():
    """A GPU flushes such a sum to 0, as CuPy compiles the kernels, and NumPy does not."""
    every, shuffled = halves("bfloat16")
    one, other = every.astype(np.float32), shuffled.astype(np.float32)
    with np.errstate(all="ignore"):
        for sums in (one, one + other, one[:-1] + other[1:], one[1:] + other[:-1]):
            assert not ((sums != 0) & (np.abs(sums) < np.finfo(np.float32).smallest_normal)).any()
    assert len(np.unique(every.view(np.uint16))) > 2**15, "most numbers are there"


EVERY = {(primitive, each.name) for primitive, found in implementations.items() for each in found}


def test_a_kernel_is_verified_by_its_record_only():
    verified = {
        (primitive, each.name)
        for primitive, found in implementations.items()
        for each in found
        if each.verified
    }
    assert verified == cuda_record.shown_right(cuda_record.read())


def test_every_kernel_has_its_place_in_the_record():
    assert set(cuda_record.FILES) == EVERY
    for kernel in {kernel for check in CHECKS for kernel in check.kernels}:
        assert any(
            kernel in cuda_record.text(file)
            for files in cuda_record.FILES.values()
            for file in files
        )


@pytest.mark.parametrize(
    "change",
    [
        {"correct": False},
        {"checks": 0},
        {"device": "a CPU"},
        {"source_sha256": "of what the kernel was before"},
        {"implementation": "another"},
    ],
    ids=str,
)
def test_what_is_no_record(change, tmp_path):
    lines = cuda_record.records(7, "NVIDIA H200", {})
    path = tmp_path / "kernels-h200.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert cuda_record.shown_right(cuda_record.read(tmp_path)) == EVERY
    path.write_text("".join(f"{json.dumps({**line, **change})}\n" for line in lines))
    assert cuda_record.shown_right(cuda_record.read(tmp_path)) == set()
