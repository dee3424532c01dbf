"""The CUDA kernels where offsets pass 2^31 and thread numbers 2^32: only the last blocks are run.

The memory is only reserved. What is seen of it are its last rows, which are compared with NumPy's
result for these rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from arrayconv import primitives
from arrayconv._window import Windows, sliding_window
from arrayconv.backends.cupy import depthwise, implicit, tiles
from tests.cuda_on_host.executor import PLAIN, HostExecutor, on_host, reserved
from tests.cuda_products import forget_plans

ROWS = 6
SIDE = 46_400
"""The square of it is a little more than 2^31."""
WIDER = 65_601
"""The square of it is a little more than 2^32; it is odd, so that no thread takes several cells."""


@pytest.fixture(scope="module")
def host(tmp_path_factory: Any, host_compiler: None) -> HostExecutor:
    executor = HostExecutor(tmp_path_factory.mktemp("kernels"), PLAIN)
    # The last one may have a thread or two only.
    executor.last_blocks = 2
    return executor


def square(kernel: int, side: int, stride: int = 1, rows: int | None = None) -> Windows:
    """Return a window over a square of cells, or over its last rows."""
    sizes = (rows or side, side)
    return sliding_window(sizes, (kernel,) * 2, (stride,) * 2, ((0, 0),) * 2, (1, 1))


def with_last_rows(shape: tuple[int, ...], dtype: Any, rows: int, most: int = 4) -> Any:
    """Return reserved zeros whose last rows are small random numbers."""
    array = reserved(shape, dtype)
    tail = array[..., -rows:, :]
    tail[...] = np.random.default_rng(0).integers(0, most, tail.shape)
    return array


def launched(host: HostExecutor, function: str) -> None:
    """Check that the last kernel was this one, with indices of 64 bits."""
    assert (host.launched[-1].function, host.launched[-1].arguments[1]) == (function, "long long")


def last(array: Any, count: int = 200) -> Any:
    return np.array(array.reshape(-1)[-count:])


def test_unfold(host):
    x = with_last_rows((1, 1, 16_384, 16_384), np.uint8, ROWS)
    with on_host(host):
        columns = primitives.unfold(x, square(3, 16_384))
    launched(host, "unfold")
    wanted = primitives.unfold(x[..., -ROWS:, :].copy(), square(3, 16_384, rows=ROWS))
    np.testing.assert_array_equal(columns[0, :, -200:], wanted[0, :, -200:])


def test_fold(host):
    side = 24_000
    columns = reserved((1, 4, (side - 1) ** 2), np.uint8)
    columns[..., -2 * side :] = np.random.default_rng(0).integers(0, 4, (4, 2 * side))
    with on_host(host):
        x = primitives.fold(columns, square(2, side))
    launched(host, "fold")
    few = columns[..., -(ROWS - 1) * (side - 1) :].copy()
    wanted = primitives.fold(few, square(2, side, rows=ROWS))
    np.testing.assert_array_equal(last(x), last(wanted))


def test_max_pool_and_its_gradient(host):
    x = with_last_rows((1, 1, SIDE, SIDE), np.uint8, ROWS, 200)
    window, few = square(2, SIDE, 2), square(2, SIDE, 2, ROWS)
    with on_host(host):
        values, indices = primitives.max_pool_indices(x, window)
    launched(host, "max_pool")
    wanted, places = primitives.max_pool_indices(x[..., -ROWS:, :].copy(), few)
    np.testing.assert_array_equal(last(values), last(wanted))
    np.testing.assert_array_equal(last(indices), last(places) + (SIDE - ROWS) * SIDE)
    cotangent = with_last_rows(values.shape, np.float16, ROWS // 2)
    indices[..., -ROWS // 2 :, :] = places + (SIDE - ROWS) * SIDE
    with on_host(host):
        gradient = primitives.max_pool_grad(cotangent, indices, window)
    launched(host, "max_pool_grad")
    wanted = primitives.max_pool_grad(cotangent[..., -ROWS // 2 :, :].copy(), places, few)
    np.testing.assert_array_equal(last(gradient), last(wanted))


def test_sum_pool(host):
    x = with_last_rows((1, 1, SIDE, SIDE), np.uint8, ROWS)
    with on_host(host):
        sums = primitives.sum_pool(x, square(3, SIDE))
    launched(host, "sum_pool")
    wanted = primitives.sum_pool(x[..., -ROWS:, :].copy(), square(3, SIDE, rows=ROWS))
    np.testing.assert_array_equal(last(sums), last(wanted))


def check_spread(host: HostExecutor) -> None:
    """More threads than 32 bits can count."""
    y = with_last_rows((1, 1, WIDER - 1, WIDER - 1), np.uint8, ROWS)
    with on_host(host):
        x = primitives.spread(y, square(2, WIDER))
    launched(host, "spread")
    wanted = primitives.spread(y[..., -ROWS:, :].copy(), square(2, WIDER, rows=ROWS + 1))
    np.testing.assert_array_equal(last(x), last(wanted))


def test_spread(host):
    check_spread(host)


def test_place(host):
    planes, cells = 60_000, 40_000
    values = reserved((1, planes, 3), np.uint8)
    indices = reserved((1, planes, 3), np.int64)
    values[0, -1], indices[0, -1] = [5, 6, 7], [cells - 1, cells - 3, cells - 1]
    with on_host(host):
        placed = primitives.place(values, indices, cells)
    launched(host, "place")
    np.testing.assert_array_equal(placed[0, -1, -4:], [0, 6, 0, 7])


def test_gather(host):
    planes, cells, number = 60_000, 40_000, 3
    held = reserved((1, planes, cells), np.uint8)
    indices = reserved((1, planes, number), np.int64)
    held[0, -1, -3:], indices[0, -1] = [5, 6, 7], [cells - 1, cells, cells - 3]
    with on_host(host):
        taken = primitives.gather(held, indices)
    launched(host, "gather")
    np.testing.assert_array_equal(taken[0, -1], [7, 0, 5])


def test_scatter_add(host):
    planes, cells = 60_000, 40_000
    values = reserved((1, planes, 3), np.uint8)
    indices = reserved((1, planes, 3), np.int64)
    values[0, -1], indices[0, -1] = [5, 6, 7], [cells - 1, cells - 3, cells - 1]
    with on_host(host):
        added = primitives.scatter_add(values, indices, cells)
    launched(host, "scatter_add")
    np.testing.assert_array_equal(added[0, -1, -4:], [0, 6, 0, 12])


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_pad(host, mode):
    """Also where the first rows, which a circle ends with, are far from the last ones."""
    x = with_last_rows((1, 1, SIDE, SIDE), np.uint8, ROWS)
    x[..., :2, :] = x[..., -2:, :] + 1
    pairs = ((0, 0), (0, 0), (0, 1), (1, 2))
    with on_host(host):
        padded = primitives.pad(x, pairs, mode, 9)
    launched(host, "pad")
    few = np.concatenate([x[..., :2, :], x[..., -ROWS:, :]], axis=2)
    wanted = primitives.pad(few, pairs, mode, 9)
    np.testing.assert_array_equal(last(padded), last(wanted))
    with on_host(host):
        cropped = primitives.pad_adjoint(padded, pairs, mode)
    launched(host, "pad" if mode == "constant" else "pad_adjoint")
    # Only the last rows of the padded array were written.
    seen = np.zeros_like(wanted)
    seen[..., -ROWS:, :] = padded[..., -ROWS:, :]
    np.testing.assert_array_equal(last(cropped), last(primitives.pad_adjoint(seen, pairs, mode)))


@pytest.mark.parametrize("kernel", [1, 3])
def test_depthwise(host, kernel):
    forward, backward = (
        ("depthwise", "depthwise_transpose") if kernel == 1 else ("depthwise_rows",) * 2
    )
    x = with_last_rows((1, 1, SIDE, SIDE), np.uint8, ROWS)
    w = np.arange(1, 1 + kernel * kernel, dtype=np.uint8).reshape(1, 1, kernel, kernel)
    window, few = square(kernel, SIDE), square(kernel, SIDE, rows=ROWS)
    with on_host(host):
        y = primitives.conv(x, w, window, 1)
    launched(host, forward)
    wanted = primitives.conv(x[..., -ROWS:, :].copy(), w, few, 1)
    np.testing.assert_array_equal(last(y), last(wanted))
    seen = ROWS - kernel + 1
    y[..., -seen:, :] = x[..., -seen:, : y.shape[-1]]
    with on_host(host):
        back = primitives.conv_transpose(y, w, window, 1)
    launched(host, backward)
    wanted = primitives.conv_transpose(y[..., -seen:, :].copy(), w, few, 1)
    np.testing.assert_array_equal(last(back), last(wanted))


@pytest.mark.parametrize("together", [True, False])
def test_depthwise_weight(host, monkeypatch, together):
    """The last block adds every so-many-th run of 256 items: those in the last rows are seen."""
    x, y = (with_last_rows((1, 1, SIDE, SIDE), np.float32, ROWS) for _ in range(2))
    window = square(1, SIDE)
    partial: list[Any] = []
    empty = host.empty

    def kept(like: Any, shape: tuple[int, ...], dtype: Any) -> Any:
        partial.append(empty(like, shape, dtype))
        return partial[-1]

    monkeypatch.setattr(host, "empty", kept)
    monkeypatch.setattr(depthwise, "MOST_BLOCKS", 200)
    monkeypatch.setattr(depthwise, "_taps_together", lambda window, kind: together)
    depthwise._weight_plans.cache_clear()
    with on_host(host):
        primitives.conv_weight(x, y, window, 1)
    depthwise._weight_plans.cache_clear()
    known = ("1", "1", "true", "4") if together else ()
    assert host.launched[-2].arguments == ("float", "long long", "2", *known)
    splits = partial[0].shape[1]
    first = SIDE * (SIDE - ROWS)
    positions = np.arange(first, SIDE * SIDE)
    items = positions // 4 if together else positions
    mine = positions[items // 256 % splits == splits - 1] - first
    seen = x[..., -ROWS:, :].reshape(-1)[mine] * y[..., -ROWS:, :].reshape(-1)[mine]
    assert mine.size > 0
    assert partial[0][0, -1] == seen.sum()


@pytest.mark.parametrize("stride", [1, 2])
def test_products(host, stride):
    """The last tiles of a convolution of two channels to three, and of its transpose."""
    x = with_last_rows((1, 2, SIDE, SIDE), np.uint8, ROWS)
    w = np.arange(54, dtype=np.uint8).reshape(3, 2, 3, 3)
    window, few = square(3, SIDE, stride), square(3, SIDE, stride, ROWS)
    with on_host(host):
        y = primitives.conv(x, w, window, 1)
    launched(host, "implicit_conv")
    wanted = primitives.conv(x[..., -ROWS:, :].copy(), w, few, 1)
    for plane in range(3):
        np.testing.assert_array_equal(last(y[0, plane]), last(wanted[0, plane]))
    rows = few[0].out
    y[..., -rows:, :] = wanted
    with on_host(host):
        back = primitives.conv_transpose(y, w, window, 1)
    launched(host, "implicit_conv_transpose")
    # The last blocks are those of the last phase: of odd cells only, where the stride is 2.
    wanted = primitives.conv_transpose(y[..., -rows:, :].copy(), w, few, 1)
    for plane in range(2):
        got, right = (array[0, plane, -1, 1::stride] for array in (back, wanted))
        np.testing.assert_array_equal(last(got), last(right))


def test_product_to_weight(host, monkeypatch):
    """The last part: the last positions, whose sums are the last of the partial ones."""
    monkeypatch.setattr(tiles, "MULTIPROCESSORS", 10**6)
    forget_plans(implicit)
    x, y = (with_last_rows((1, n, SIDE, SIDE), np.uint8, ROWS) for n in (2, 3))
    partial: list[Any] = []
    empty = host.empty

    def kept(like: Any, shape: tuple[int, ...], dtype: Any) -> Any:
        partial.append(empty(like, shape, dtype))
        return partial[-1]

    monkeypatch.setattr(host, "empty", kept)
    with on_host(host):
        primitives.conv_weight(x, y, square(1, SIDE), 1)
    forget_plans(implicit)
    assert host.launched[-2].arguments[:3] == ("Byte", "long long", "2")
    parts, positions = partial[0].shape[0], SIDE * SIDE
    steps_each = -(-positions // (parts * 8)) * 8
    mine = positions - (parts - 1) * steps_each
    assert 0 < mine < ROWS * SIDE
    seen, given = (each.reshape(each.shape[1], -1)[:, -mine:].astype(int) for each in (x, y))
    np.testing.assert_array_equal(partial[0][-1].reshape(3, 2), (given @ seen.T) % 256)
