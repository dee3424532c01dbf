"""What may be handed over and what comes back: strides, memory, threads, and untouched inputs."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import arrayconv as ac
from tests.cases import CASES, COLUMNS, CONVOLUTIONS, PADS, TRANSPOSED, Case


def reversed_in_memory(array: Any) -> Any:
    flipped = (slice(None, None, -1),) * array.ndim
    return np.ascontiguousarray(array[flipped])[flipped]


def every_second(array: Any) -> Any:
    wide = np.full([2 * n for n in array.shape], 99, array.dtype)
    wide[(slice(None, None, 2),) * array.ndim] = array
    return wide[(slice(None, None, 2),) * array.ndim]


def unaligned(array: Any) -> Any:
    raw = np.zeros(array.nbytes + 1, np.uint8)[1:]
    view = raw.view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "Fortran order": np.asfortranarray,
    "channels last": lambda array: np.ascontiguousarray(array.T).T,
    "reversed": reversed_in_memory,
    "every second": every_second,
    "unaligned": unaligned,
    "other byte order": lambda array: array.astype(array.dtype.newbyteorder()),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_numpy_layouts(case, layout):
    plain = case.arrays("float64")
    odd = [LAYOUTS[layout](array) for array in plain]
    for array in odd:
        array.flags.writeable = False
    output, pullback = ac.vjp(getattr(ac, case.function), *odd, **case.params)
    wanted, right = ac.vjp(getattr(ac, case.function), *plain, **case.params)
    np.testing.assert_allclose(output, wanted, rtol=1e-12, atol=1e-12)
    cotangent = np.random.default_rng(0).standard_normal(wanted.shape)
    upstream = LAYOUTS[layout](cotangent)
    upstream.flags.writeable = False
    pulled = pullback(upstream if upstream.dtype == output.dtype else upstream.astype(output.dtype))
    for got, expected in zip(pulled, right(cotangent), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)
    for array, before in zip(odd, plain, strict=True):
        np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_broadcast_arrays(case):
    odd = [np.broadcast_to(np.float64(2), shape) for shape in case.shapes]
    plain = [array.copy() for array in odd]
    np.testing.assert_array_equal(case.run(*odd), case.run(*plain))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_torch_layouts(case):
    torch = pytest.importorskip("torch", reason="strided tensors need torch")
    plain = [torch.from_numpy(array) for array in case.arrays("float64")]
    odd = [t.mT.contiguous().mT if t.ndim > 1 else t for t in plain]
    lazy = [torch.conj(t.to(torch.complex128)) for t in plain]
    for algorithm in ("auto", "generic"):
        with ac.options(algorithm=algorithm):
            torch.testing.assert_close(case.run(*odd), case.run(*plain))
            torch.testing.assert_close(case.run(*lazy).real, case.run(*plain))


SHARING = (*CONVOLUTIONS, *TRANSPOSED, *COLUMNS, *PADS, Case("pad", ((2, 3),), {"pad": (0, 0)}))


@pytest.mark.parametrize("case", SHARING, ids=lambda case: case.id)
def test_no_view_of_an_input_comes_back(case):
    """Writing into a result must never write into what it was made of."""
    arrays = case.arrays("float64")
    output, pullback = ac.vjp(getattr(ac, case.function), *arrays, **case.params)
    cotangent = np.zeros(output.shape)
    results = [output, *pullback(cotangent)]
    for result in results:
        assert result.flags.writeable
        for source in (*arrays, cotangent):
            assert not np.shares_memory(result, source)


def test_views_are_not_shared_where_a_window_sees_each_cell_once():
    x = np.ones((1, 2, 4, 4))
    for result in (
        ac.unfold(x, 1),
        ac.unfold(x, 4),
        ac.fold(x.reshape(1, 2, 16), 4, 1),
        ac.conv2d(x[:, :1], np.ones((1, 1, 1, 1))),
        ac.pad(x, (0, 0)),
    ):
        assert not np.shares_memory(result, x)


@pytest.mark.parametrize("case", [CONVOLUTIONS[5], TRANSPOSED[4], COLUMNS[2], COLUMNS[9]])
def test_eight_threads_at_once(case):
    arrays = case.arrays("float32")
    expected = case.run(*arrays).tobytes()
    cotangent = np.ones_like(case.run(*arrays))

    def work(_: int) -> tuple[bytes, ...]:
        output, pullback = ac.vjp(getattr(ac, case.function), *arrays, **case.params)
        return output.tobytes(), *(gradient.tobytes() for gradient in pullback(cotangent))

    with ThreadPoolExecutor(8) as threads:
        results = set(threads.map(work, range(200)))
    assert len(results) == 1
    assert results.pop()[0] == expected


def test_the_same_bits_every_time():
    x, w = CONVOLUTIONS[3].arrays("float32")[:2]
    assert len({ac.conv2d(x, w).tobytes() for _ in range(50)}) == 1


def peak(function: Any, *arrays: Any, **params: Any) -> tuple[int, Any]:
    """Return the most bytes that a call on one thread holds beyond its inputs, and its output."""
    with ac.options(threads=1):
        function(*arrays, **params)
        tracemalloc.start()
        try:
            output = function(*arrays, **params)
            return tracemalloc.get_traced_memory()[1], output
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    ("batch", "channels", "size", "outputs"),
    [(1, 64, 56, 64), (8, 16, 32, 16), (1, 3, 224, 64), (2, 128, 28, 128), (1, 32, 128, 32)],
)
def test_memory_of_a_3x3_convolution(batch, channels, size, outputs):
    """At most input and output beside them: the column matrix, 9 inputs, is never whole.

    Unless Winograd's weight, 4 times the weight itself, is larger; blocks then take a quarter.
    """
    x = np.ones((batch, channels, size, size), np.float32)
    w = np.ones((outputs, channels, 3, 3), np.float32)
    held, y = peak(ac.conv2d, x, w, padding=1)
    assert held - y.nbytes <= max(x.nbytes + y.nbytes, 5 * w.nbytes)


def test_memory_of_the_adjoints():
    x = np.ones((2, 32, 64, 64), np.float32)
    w = np.ones((32, 32, 3, 3), np.float32)
    _, pullback = ac.vjp(ac.conv2d, x, w, padding=1)
    held, gradients = peak(pullback, x)
    assert held - sum(each.nbytes for each in gradients if each is not None) <= 2 * x.nbytes


def test_workspace_bytes_bound_the_blocks():
    x = np.ones((1, 32, 128, 128), np.float32)
    w = np.ones((32, 32, 3, 3), np.float32)
    held = []
    for workspace_bytes in (1 << 18, 1 << 21):
        with ac.options(workspace_bytes=workspace_bytes):
            most, y = peak(ac.conv2d, x, w)
        held.append(most - y.nbytes)
    assert held[0] < 1 << 19
    assert held[0] < held[1] < 1 << 22


def test_meta_tensors_have_shapes_only():
    """Nothing looks at a value: torch's meta device has none."""
    torch = pytest.importorskip("torch", reason="the meta device is torch's")
    for case in CASES:
        tensors = [torch.empty(shape, device="meta") for shape in case.shapes]
        wanted = case.run(*(np.zeros(shape) for shape in case.shapes)).shape
        for algorithm in ("auto", "generic"):
            with ac.options(algorithm=algorithm):
                output = case.run(*tensors)
            assert output.device.type == "meta"
            assert tuple(output.shape) == wanted


def test_devices_without_float64():
    """A hard-coded float64 would show."""
    strict = pytest.importorskip("array_api_strict", reason="the fake devices are its own")
    named = [
        device for device in strict.__array_namespace_info__().devices() if "no_" in str(device)
    ]
    assert named
    for device in named:
        for case in CASES:
            arrays = [strict.asarray(array, device=device) for array in case.arrays("float32")]
            output, pullback = ac.vjp(getattr(ac, case.function), *arrays, **case.params)
            gradients = pullback(strict.ones_like(output))
            for array in (output, *gradients):
                assert (array.device, array.dtype) == (device, strict.float32)
