"""Every implementation that NumPy arrays have of a pool, forced, against the loops."""

from __future__ import annotations

import mmap
from itertools import product
from typing import Any
from zlib import crc32

import numpy as np
import pytest

import arrayconv as ac
from arrayconv import primitives, reference
from arrayconv._registry import Primitive, offered
from arrayconv._window import (
    Axis,
    adaptive_window,
    adjoint_axis,
    kernel_sizes,
    output_sizes,
    sliding_window,
)
from arrayconv.backends.numpy import separable
from arrayconv.backends.numpy.columns import is_apart
from arrayconv.backends.numpy.compiled_columns import are_patches, turn_patches
from arrayconv.backends.numpy.compiler import missing
from arrayconv.backends.numpy.orders import is_channels_last
from arrayconv.backends.numpy.ranges import whole_positions
from arrayconv.functional.operations import operation_of
from tests.cases import assert_close, draw
from tests.test_pooling import DILATED, PARTS, WINDOWS, special
from tests.test_threads import in_a_process

# Beyond those that all libraries run: rows that are wide, strides that have loops of their own,
# more planes than a chunk or a vector holds.
MORE: tuple[tuple[tuple[int, ...], dict[str, Any]], ...] = (
    ((2, 3, 41, 37), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((1, 2, 35, 50), {"kernel_size": 3, "padding": 1, "stride": 1}),
    ((1, 2, 9, 40), {"kernel_size": (2, 4), "stride": (1, 3), "ceil_mode": True}),
    ((1, 2, 8, 65), {"kernel_size": 2}),
    ((1, 2, 8, 40), {"kernel_size": 3, "dilation": 2, "padding": ((2, 2), (3, 1))}),
    ((1, 2, 5, 40), {"kernel_size": 3, "dilation": (1, 5), "stride": 2}),
    ((1, 1, 3, 40), {"kernel_size": (3, 9), "stride": 1, "padding": ((0, 0), (12, 12))}),
    ((2, 700, 9, 7), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((1, 19, 6, 6), {"kernel_size": 2}),
    ((1, 9, 90, 90), {"kernel_size": 3, "stride": 2}),
    ((2, 3, 120), {"kernel_size": 5, "stride": 2, "padding": 2}),
    ((1, 2, 4, 6, 34), {"kernel_size": 2, "padding": 1, "stride": (1, 2, 2)}),
    ((1, 2, 9, 70), {"kernel_size": (2, 3), "stride": (3, 4), "ceil_mode": True}),
    ((1, 2, 70), {"kernel_size": 11, "stride": 3, "padding": 4}),
)
MORE_PARTS = (
    ((1, 20, 13, 13), 6),
    ((1, 3, 40, 70), (7, 9)),
    ((2, 9, 40, 70), (7, 9)),
    ((2, 3, 33, 33), 1),
    ((1, 37, 7, 7), 1),
    ((7, 5, 3), 1),
    ((1, 70, 8, 8), (8, 3)),
)


def window_of(shape: tuple[int, ...], how: dict[str, Any]) -> Any:
    """Return the window, as the public function builds it."""
    call = operation_of(getattr(ac, f"avg_pool{len(shape) - 2}d"), "tests").call
    assert call is not None
    return call(np.empty(shape), **how).arguments[1]


CASES = [
    *((shape, window_of(shape, how)) for shape, how in (*WINDOWS, *DILATED, *MORE)),
    *(
        (
            shape,
            adaptive_window(
                shape[2:],
                tuple(
                    n if out is None else out
                    for n, out in zip(
                        shape[2:],
                        parts if isinstance(parts, tuple) else (parts,) * (len(shape) - 2),
                        strict=True,
                    )
                ),
            ),
        )
        for shape, parts in (*PARTS, *MORE_PARTS)
    ),
]


def forced(primitive: Primitive, *arguments: Any) -> list[tuple[str, Any]]:
    """Return what each implementation of NumPy arrays gives; what is unfit says so."""
    found = []
    for implementation in offered("numpy").get(primitive.name, ()):
        if implementation.unfit(*arguments) is None:
            result = primitive(*arguments, algorithm=implementation.name)
            found.append((implementation.name, result))
    assert found or primitive.name in ("spread", "sum_pool", "max_pool_grad")
    return found


@pytest.mark.skipif(missing() is not None, reason=f"{missing()}")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_each_number_of_a_half_type(dtype):
    """All 65,536 of them, with and without places, by windows of one cell and of two."""
    kind = np.dtype(np.float16)
    if dtype == "bfloat16":
        kind = np.dtype(pytest.importorskip("ml_dtypes").bfloat16)
    bits = np.arange(1 << 16, dtype=np.uint16).reshape(1, 1, -1)
    x = bits.view(kind)
    numbers = x.astype(np.float32)
    for kernel in (1, 2):
        window = window_of(x.shape, {"kernel_size": kernel, "stride": 1})
        values, index = primitives.max_pool_indices(x, window, algorithm="numba_half")
        wanted, at = primitives.max_pool_indices(numbers, window, algorithm="generic")
        assert values.dtype == kind
        np.testing.assert_array_equal(values.astype(np.float32), wanted)
        np.testing.assert_array_equal(index, at)
        got = primitives.max_pool(x, window, algorithm="numba_half")
        np.testing.assert_array_equal(got.astype(np.float32), wanted)
    # The bits of one cell stay, but for the quiet bit of a NaN.
    alone = primitives.max_pool(x, window_of(x.shape, {"kernel_size": 1}), algorithm="numba_half")
    is_number = ~np.isnan(numbers)
    np.testing.assert_array_equal(alone.view(np.uint16)[is_number], bits[is_number])
    swapped = x.view(np.uint16).byteswap().view(np.dtype(np.float16).newbyteorder())
    with pytest.raises(ValueError, match="this machine's byte order"):
        primitives.max_pool(swapped, window, algorithm="numba_half")


@pytest.mark.skipif(missing() is not None, reason=f"{missing()}")
def test_a_large_plane_of_a_half_type_is_not_widened_as_a_whole():
    """It would take more than all of the input; of many planes each takes less."""
    for channels, chosen in ((1, "separable"), (8, "numba_half")):
        explained = ac.explain(ac.max_pool2d, np.zeros((1, channels, 900, 900), np.float16), 3)
        assert explained.chosen == chosen
    empty = np.zeros((0, 3, 8, 8), np.float16)
    assert ac.max_pool2d(empty, 2).shape == (0, 3, 4, 4)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "float16"])
@pytest.mark.parametrize(("shape", "window"), CASES, ids=lambda each: str(each)[:40])
def test_each_implementation_is_the_generic_body(shape, window, dtype, request, left_out):
    """The generic bodies are held against the loops on all of these, or their like."""
    share = {"float32": 2, "float64": 10}.get(dtype, 1)
    sampled = crc32(f"{shape} {window}".encode()) % share == 0
    if not sampled and not request.config.getoption("--full"):
        left_out("compiled pools, half of float32, one in 10 of float64: --full runs them all")
        pytest.skip("each form of a window is compiled for each dtype: --full runs all")
    x = draw(np.random.default_rng(0), shape, dtype)
    x.flags.writeable = False
    y = primitives.max_pool(x, window, algorithm="generic")
    for name, got in forced(primitives.max_pool, x, window):
        np.testing.assert_array_equal(got, y, name, strict=True)
    values, index = primitives.max_pool_indices(x, window, algorithm="generic")
    for name, (best, at) in forced(primitives.max_pool_indices, x, window):
        np.testing.assert_array_equal(best, values, name, strict=True)
        np.testing.assert_array_equal(at, index, name, strict=True)
    total = primitives.sum_pool(x, window, algorithm="generic")
    for name, got in forced(primitives.sum_pool, x, window):
        assert got.dtype == total.dtype, name
        assert_close(got, total, dtype)
    for divisor in (4, -9) if total.dtype.kind == "f" else ():
        for name, got in forced(primitives.sum_pool, x, window, divisor):
            assert got.dtype == total.dtype, name
            assert_close(got, total / divisor, dtype)
    cotangent = draw(np.random.default_rng(1), values.shape, dtype)
    wanted = primitives.spread(cotangent, window, algorithm="generic")
    for _, got in forced(primitives.spread, cotangent, window):
        assert_close(got, wanted, dtype)
    for divisor in (4, -9) if wanted.dtype.kind == "f" else ():
        shares = primitives.spread(cotangent, window, divisor, algorithm="generic")
        assert_close(shares, wanted / divisor, dtype)
        for _, got in forced(primitives.spread, cotangent, window, divisor):
            assert_close(got, shares, dtype)
    wanted = primitives.max_pool_grad(cotangent, index, window, algorithm="generic")
    for _, got in forced(primitives.max_pool_grad, cotangent, index, window):
        assert_close(got, wanted, dtype)


@pytest.mark.parametrize("chunk", [1, 3000, 1 << 20])
@pytest.mark.parametrize(("shape", "window"), CASES, ids=lambda each: str(each)[:40])
def test_blocks_of_any_size_in_either_order(shape, window, chunk, monkeypatch):
    """Planes cut into bands of rows, whose windows overlap, and channels last in memory."""
    monkeypatch.setattr(separable, "CHUNK", chunk)
    x = draw(np.random.default_rng(0), shape, "float32")
    divisor = tuple(tuple(range(1, 1 + axis.out)) for axis in window)
    wanted = (
        primitives.max_pool(x, window, algorithm="generic"),
        primitives.sum_pool(x, window, 9, algorithm="generic"),
        primitives.sum_pool(x, window, divisor, algorithm="generic"),
    )
    for order in ("first", "last", "neither"):
        held = {
            "first": x,
            "last": np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1),
            "neither": np.repeat(x, 2, 1)[:, ::2],
        }[order]
        maxima = separable.max_pool(held, window)
        np.testing.assert_array_equal(maxima, wanted[0], strict=True)
        assert_close(separable.sum_pool(held, window, 9), wanted[1], "float32")
        assert_close(separable.sum_pool(held, window, divisor), wanted[2], "float32")
        assert is_channels_last(maxima) == (is_channels_last(held) and maxima[0, 0].size > 1)


@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "padding"),
    [((2, 3, 8, 9), 3, 2, 1), ((1, 2, 40, 41), 3, 2, 1), ((1, 2, 36, 36), 2, 1, 0)],
)
def test_what_is_not_finite(shape, kernel, stride, padding):
    """NaN, ties, infinities and planes of -inf: the first maximum, the last NaN."""
    x = special(shape)
    values, index = reference.max_pool(x, kernel, stride, padding)
    window = window_of(shape, {"kernel_size": kernel, "stride": stride, "padding": padding})
    for name, got in forced(primitives.max_pool, x, window):
        np.testing.assert_array_equal(got, values, name)
    for name, (best, at) in forced(primitives.max_pool_indices, x, window):
        np.testing.assert_array_equal(best, values, name)
        np.testing.assert_array_equal(at, index, name)


@pytest.mark.skipif(missing() is not None, reason=f"{missing()}")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "along", [(2, 2, 1), (3, 2, 1), (3, 1, 2), (4, 3, 1), (1, 4, 1), (3, 3, 3), (2, 2, 16)], ids=str
)
def test_random_windows_in_vectors(along, dtype, request, left_out):
    """Rows shorter and longer than a vector, padding, overhang, dilation; ties, NaN, -inf."""
    if dtype == "float64" and not request.config.getoption("--full"):
        left_out("random windows of float64 in vectors: --full runs them")
        pytest.skip("each form of a window is compiled for each dtype: --full runs all")
    rng = np.random.default_rng(along)
    for seed in range(20):
        dims = int(rng.integers(1, 4))
        # What lies along a row is compiled anew.
        kernel, stride, dilation = (
            (*map(int, rng.integers(1, most, dims - 1)), last)
            for most, last in zip((5, 6, 4), along, strict=True)
        )
        extents = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
        extra = [int(rng.integers(6)) for _ in range(dims - 1)] + [int(rng.integers(70))]
        shape = (1, 2, *(a + b for a, b in zip(extents, extra, strict=True)))
        how = {
            "kernel_size": kernel,
            "stride": stride,
            "padding": tuple((int(a), int(b)) for a, b in rng.integers(0, 4, (dims, 2))),
            "dilation": dilation,
            "ceil_mode": bool(rng.integers(2)),
        }
        window = window_of(shape, how)
        x = special(shape, seed).astype(dtype)
        for primitive in (primitives.max_pool, primitives.max_pool_indices):
            wanted = primitive(x, window, algorithm="generic")
            got = primitive(x, window, algorithm="numba")
            np.testing.assert_equal(got, wanted, f"{shape} {how}")
        finite = draw(rng, shape, dtype)
        wanted = primitives.sum_pool(finite, window, algorithm="generic")
        got = primitives.sum_pool(finite, window, algorithm="numba")
        assert_close(got, wanted, dtype)


def test_runs_of_whole_windows_are_positions():
    """Of every axis, and of its adjoint's, whose padding may be wider than all positions."""
    found = 0
    for size, kernel, stride, dilation in product(range(1, 7), range(1, 10), (1, 2), (1, 2)):
        for before, after in product((0, 1, kernel // 2), (0, kernel // 2)):
            span = dilation * (kernel - 1)
            if size + before + after <= span:
                continue
            out = (size + before + after - span - 1) // stride + 1
            axis = Axis(size, kernel, stride, dilation, before, after, out)
            for each in (axis, *([adjoint_axis(axis)] if stride == 1 else [])):
                run = whole_positions(each)
                assert 0 <= run.start <= run.stop <= each.out
                for position in run:
                    start = position * each.stride - each.before
                    assert 0 <= start <= start + span < each.size
                found += len(run)
    assert found > 1000


@pytest.mark.parametrize("algorithm", ["auto", "generic"])
def test_the_gradient_of_a_pool_of_few_cells(algorithm):
    """Its windows' padding is wider than the cells, all of which each window sees some of."""
    x = draw(np.random.default_rng(0), (4, 3, 3), "float64")
    with ac.options(algorithm=algorithm):
        y, pullback = ac.vjp(ac.avg_pool1d, x, kernel_size=9, stride=1, padding=4)
        (gradient,) = pullback(np.ones_like(y))
    np.testing.assert_allclose(y, np.broadcast_to(x.sum(-1, keepdims=True) / 9, y.shape))
    np.testing.assert_allclose(gradient, np.full(x.shape, 3 / 9))


@pytest.mark.skipif(missing() is not None, reason=f"{missing()}")
@pytest.mark.skipif(not hasattr(mmap.mmap, "madvise"), reason="a page cannot be forbidden here")
def test_nothing_beyond_the_cells_is_read():
    """The cells begin, or end, where memory does: to read more would end the process."""
    in_a_process(A_PAGE_OF_MEMORY + AT_THE_ENDS_OF_MEMORY)


A_PAGE_OF_MEMORY = """
import ctypes
import itertools
import mmap
from zlib import crc32

import numpy as np

import arrayconv as ac

memory = mmap.mmap(-1, 3 * mmap.PAGESIZE)
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
forbid = ctypes.CDLL(None, use_errno=True).mprotect
forbid.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
for page in (0, 2):
    assert forbid(address + page * mmap.PAGESIZE, mmap.PAGESIZE, 0) == 0
"""
"""Begins a program: the pages before and behind the one in the middle may not be touched."""

AT_THE_ENDS_OF_MEMORY = """
for width, at_end in itertools.product((5, 16, 17, 31, 32, 33, 64), (False, True)):
    count = 3 * width
    start = 2 * mmap.PAGESIZE - 4 * count if at_end else mmap.PAGESIZE
    x = np.frombuffer(memory, np.float32, count, start).reshape(1, 1, 3, width)
    x[...] = np.arange(count).reshape(x.shape)
    for kernel, stride, padding in ((2, 2, 0), (3, 2, 1)):
        with ac.options(algorithm="numba"):
            got = ac.max_pool2d(x, kernel, stride, padding, return_indices=True)
            alone = ac.max_pool2d(x, kernel, stride, padding)
            total = ac.avg_pool2d(x, kernel, stride, padding)
        with ac.options(algorithm="generic"):
            wanted = ac.max_pool2d(x, kernel, stride, padding, return_indices=True)
            average = ac.avg_pool2d(x, kernel, stride, padding)
        np.testing.assert_equal(got, wanted)
        np.testing.assert_equal(alone, wanted[0])
        np.testing.assert_allclose(total, average, rtol=1e-6)
"""


def transposed_view(shape: tuple[int, ...]) -> Any:
    """Return an array whose channels are its last axis in memory."""
    memory = draw(np.random.default_rng(0), (shape[0], *shape[2:], shape[1]), "float32")
    return np.moveaxis(memory, -1, 1)


@pytest.mark.parametrize("shape", [(2, 5, 40, 40), (2, 5, 8, 8)])
def test_channels_last(shape):
    x, window = transposed_view(shape), window_of(shape, {"kernel_size": 3, "stride": 2})
    straight = np.ascontiguousarray(x)
    for primitive in (primitives.max_pool, primitives.sum_pool):
        wanted = primitive(straight, window, algorithm="generic")
        for _, got in forced(primitive, x, window):
            assert_close(got, wanted, "float32")
    columns = sliding_window(shape[2:], (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1))
    wanted = primitives.unfold(straight, columns, algorithm="generic")
    np.testing.assert_array_equal(primitives.unfold(x, columns), wanted)


COLUMNS = [
    ((2, 90, 40, 41), 3, 1, 1, 1),
    ((1, 7, 150, 130), 3, 2, 1, 2),
    ((2, 3, 224, 224), 16, 16, 0, 1),
    ((1, 3, 96, 96), 16, 8, 0, 1),
    ((3, 40, 2000), 9, 1, 4, 1),
    ((1, 2, 8000), 40, 16, 0, 1),
    ((1, 6, 12, 20, 22), 3, 1, 1, 1),
    ((1, 1, 900, 700), 3, 1, 1, 1),
    ((2, 90, 7, 6), 3, 1, 1, 1),
    ((1, 37, 14, 13), 3, 2, 1, 2),
    ((1, 21, 4, 5, 6), 2, 2, 1, 1),
    # Rows of positions as long as those of cells, and borders wider than that; strides of which a
    # row of cells is no multiple, with taps that see nothing.
    ((2, 20, 30, 29), 5, 1, 2, 1),
    ((1, 3, 2, 33), 7, 1, 3, 1),
    ((2, 9, 35, 47), 4, 3, 2, 1),
    ((1, 40, 10, 9), 2, 3, 1, 2),
    ((1, 17, 25), 3, 2, 1, 3),
    ((1, 2, 5, 6, 33), 3, 2, 2, 1),
]


@pytest.mark.parametrize(("shape", "kernel", "stride", "padding", "dilation"), COLUMNS)
def test_columns_of_many_blocks(shape, kernel, stride, padding, dilation):
    """Large enough to be cut, along planes and positions, in all ways that columns have."""
    dims = len(shape) - 2
    x = draw(np.random.default_rng(0), shape, "float32")
    pairs = ((padding, padding),) * dims
    window = sliding_window(
        shape[2:], (kernel,) * dims, (stride,) * dims, pairs, (dilation,) * dims
    )
    columns = primitives.unfold(x, window, algorithm="generic")
    for workspace in (1 << 20, 30_000):
        with ac.options(workspace_bytes=workspace):
            for name, got in forced(primitives.unfold, x, window):
                np.testing.assert_array_equal(got, columns, name, strict=True)
    wanted = primitives.fold(columns, window, algorithm="generic")
    for workspace in (1 << 20, 30_000):
        with ac.options(workspace_bytes=workspace):
            for name, got in forced(primitives.fold, columns, window):
                np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("dtype", ["bool", "int16", "float32", "float64", "int64", "complex64"])
@pytest.mark.parametrize("planes", [15, 16, 37])
def test_columns_of_narrow_planes(planes, dtype):
    """Side by side, numbers of 4 and of 8 bytes, too few planes for that, and a rest."""
    x = draw(np.random.default_rng(0), (1, planes, 6, 9), dtype)
    for stride, padding in (((1, 1), ((1, 1), (0, 3))), ((2, 3), ((4, 0), (1, 1)))):
        window = sliding_window((6, 9), (3, 2), stride, padding, (1, 2))
        wanted = primitives.unfold(x, window, algorithm="generic")
        for name, got in forced(primitives.unfold, x, window):
            np.testing.assert_array_equal(got, wanted, name, strict=True)
        folded = primitives.fold(wanted, window, algorithm="generic")
        for _, got in forced(primitives.fold, wanted, window):
            assert_close(got, folded, dtype)


@pytest.mark.skipif(missing() is not None, reason=f"{missing()}")
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "complex64"])
@pytest.mark.parametrize(
    ("sizes", "kernel", "stride"),
    [
        # Fewer positions and taps than a vector has lanes, as many, and more, with a rest.
        ((40,), (4,), (4,)),
        ((65,), (16,), (16,)),
        ((7, 100), (2, 4), (1, 5)),
        ((15, 224), (14, 14), (1, 14)),
        ((33, 272), (16, 16), (16, 16)),
        ((9, 130), (4, 37), (3, 41)),
        ((8, 19), (3, 19), (2, 4)),
        ((5, 6, 72), (2, 3, 8), (2, 3, 8)),
        # Taps that other windows see too.
        ((6, 90), (2, 20), (1, 4)),
    ],
)
def test_columns_that_are_turned_over(sizes, kernel, stride, dtype):
    """Nothing but the columns, or the cells that windows see, is written; no cell is missed."""
    window = sliding_window(sizes, kernel, stride, ((0, 0),) * len(sizes), (1,) * len(sizes))
    assert are_patches(window, np.dtype(dtype).itemsize)
    x = draw(np.random.default_rng(0), (2, 3, *sizes), dtype)
    wanted = primitives.unfold(x, window, algorithm="generic")
    np.testing.assert_array_equal(primitives.unfold(x, window, algorithm="numba"), wanted)
    held = np.full(wanted.size + 32, 7, dtype)
    turn_patches(x.reshape(-1), held[16:-16], window, 6, to_columns=True)
    np.testing.assert_array_equal(held[16:-16].reshape(wanted.shape), wanted)
    np.testing.assert_array_equal(held[:16], 7)
    np.testing.assert_array_equal(held[-16:], 7)
    if not is_apart(window):
        return
    seen = primitives.fold(np.ones_like(wanted), window, algorithm="generic") != 0
    cells = np.full(x.size + 32, 7, dtype)
    turn_patches(cells[16:-16], wanted.reshape(-1), window, 6, to_columns=False)
    np.testing.assert_array_equal(cells[16:-16].reshape(x.shape), np.where(seen, x, 7))
    np.testing.assert_array_equal(cells[:16], 7)
    np.testing.assert_array_equal(cells[-16:], 7)
    if dtype.startswith("float"):
        folded = primitives.fold(wanted, window, algorithm="numba")
        np.testing.assert_array_equal(folded, np.where(seen, x, 0))


@pytest.mark.parametrize(("shape", "kernel", "stride", "padding", "dilation"), COLUMNS)
def test_the_same_bits_on_any_number_of_threads(shape, kernel, stride, padding, dilation):
    dims = len(shape) - 2
    x = draw(np.random.default_rng(0), shape, "float32")
    pairs = ((padding, padding),) * dims
    window = sliding_window(
        shape[2:], (kernel,) * dims, (stride,) * dims, pairs, (dilation,) * dims
    )
    columns = draw(
        np.random.default_rng(1),
        (
            shape[0],
            shape[1] * int(np.prod(kernel_sizes(window))),
            int(np.prod(output_sizes(window))),
        ),
        "float32",
    )

    def everything() -> list[Any]:
        values, index = primitives.max_pool_indices(x, window)
        gradients = forced(primitives.max_pool_grad, values, index, window)
        return [
            *(got for _, got in forced(primitives.unfold, x, window)),
            *(got for _, got in forced(primitives.fold, columns, window)),
            *(got for _, got in forced(primitives.max_pool, x, window)),
            *(got for _, (got, _) in forced(primitives.max_pool_indices, x, window)),
            *(got for _, got in forced(primitives.sum_pool, x, window)),
            *(got for _, got in forced(primitives.spread, values, window)),
            *(got for _, got in gradients),
        ]

    with ac.options(threads=1):
        alone = everything()
    for threads in (2, 5):
        with ac.options(threads=threads):
            for wanted, got in zip(alone, everything(), strict=True):
                np.testing.assert_array_equal(got, wanted)


def test_numba_is_loaded_by_its_first_call_and_missed_with_a_reason(monkeypatch):
    from arrayconv.backends.numpy import compiled_pooling

    x = np.ones((1, 1, 4, 4), np.float32)
    window = window_of(x.shape, {"kernel_size": 2})
    monkeypatch.setattr(compiled_pooling, "missing", lambda: "numba is not installed")
    with pytest.raises(ValueError, match="numba is not installed"):
        primitives.max_pool(x, window, algorithm="numba")
    assert primitives.max_pool.choose("auto", x, window).name == "separable"
    with pytest.raises(ValueError, match="float32 and float64"):
        primitives.max_pool(x.astype(np.int8), window, algorithm="numba")


def test_numba_waits_for_a_call_that_it_serves():
    program = """
import sys
import numpy as np, arrayconv as ac
x = np.ones((1, 1, 4, 4), np.int64)
ac.max_pool2d(x, 2), ac.avg_pool2d(x, 2), ac.unfold(x.astype(np.complex128), 2)
print("numba" in sys.modules)
"""
    assert in_a_process(program) == "False"
