"""How compiled Winograd is cut into blocks and parts: what that holds, and how full vectors are."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pytest

from arrayconv import conv2d, options
from arrayconv._window import Window, input_sizes, kernel_sizes, output_sizes, sliding_window
from arrayconv.backends.numpy import winograd_cuts, winograd_plans
from arrayconv.backends.numpy.blocks import SMALLEST_BUDGET
from arrayconv.backends.numpy.compiler import lanes_of, missing
from arrayconv.backends.numpy.winograd_cuts import phases_of, way
from arrayconv.backends.numpy.winograd_maps import pieces
from arrayconv.backends.numpy.winograd_maps import square as square_of
from arrayconv.backends.numpy.winograd_plans import FLOAT

WORKSPACE = 2 << 20
TILE = (4, 4)


def window_of(sizes: tuple[int, ...], kernel: int = 3, dilation: int = 1) -> Window:
    dims = len(sizes)
    pads = ((dilation * (kernel // 2),) * 2,) * dims
    return sliding_window(sizes, (kernel,) * dims, (1,) * dims, pads, (dilation,) * dims)


def random_calls(count: int) -> list[tuple[Any, ...]]:
    """Return windows, batches, channels, outputs and tiles."""
    rng, found = np.random.default_rng(0), []
    for _ in range(count):
        tiles = (2, 2), (3, 3), (4, 4), (1, 3)
        tile = tiles[int(rng.integers(len(tiles)))]
        sizes: tuple[int, ...] = tuple(map(int, rng.integers(6, 70, int(rng.integers(1, 3)))))
        if len(sizes) == 1:
            sizes = (sizes[0] * 50,)
        window = window_of(sizes, int(rng.integers(*{2: (2, 6), 3: (6, 12), 4: (2, 4)}[tile[1]])))
        batch, channels, outputs = (int(n) for n in rng.integers(1, (4, 300, 300)))
        found.append((window, batch, channels, outputs, tile))
    return found


def bytes_in_and_out(window: Window, batch: int, channels: int, outputs: int) -> int:
    sizes, outs = prod(input_sizes(window)), prod(output_sizes(window))
    return 4 * batch * (channels * sizes + outputs * outs)


@pytest.mark.skipif(missing() is not None, reason=f"{missing()}")
def test_what_blocks_hold_is_counted_rightly():
    """Of the plan, which lays cells out; and that is within what a block may hold."""
    lanes, in_parts = lanes_of(FLOAT), 0
    for window, batch, channels, outputs, tile in random_calls(300):
        found = way(window, batch, channels, outputs, 1, tile, lanes, WORKSPACE)
        planned = winograd_plans.plan(
            *(window, batch, channels, outputs, found.part, tile, found.cut, found.packed)
        )
        square = square_of(kernel_sizes(window), tile)
        points, count = square.points, prod(pieces(kernel_sizes(window), square))
        of_part = found.transforms * points * (found.part * channels * count + 2 * lanes)
        seen, cells, made = planned.room
        alone = found.transforms and len(planned.blocks) == 1
        held = max(cells, made + of_part) if alone else max(cells, made) + of_part
        weight = 4 * points * channels * outputs * count
        both = bytes_in_and_out(window, batch, channels, outputs)
        most = max(both - (not found.transforms) * weight, SMALLEST_BUDGET)
        most = max(min(most, WORKSPACE), weight * 5 // 4 if found.transforms else weight // 4)
        is_smallest = found.cut[:2] == (1, 1)
        assert is_smallest or 4 * (seen + held) <= most
        in_parts += found.transforms
    assert 30 < in_parts < 270


@pytest.mark.parametrize("lanes", [8, 16])
@pytest.mark.parametrize(
    ("channels", "outputs", "size"),
    [(64, 128, 28), (128, 64, 28), (64, 64, 40), (96, 96, 35), (128, 128, 40), (256, 256, 14)],
)
def test_vectors_of_tiles_are_full(channels, outputs, size, lanes):
    """Rows of 4 to 10 tiles are no blocks of their own, where memory allows more."""
    found = way(window_of((size, size)), 1, channels, outputs, 1, TILE, lanes, WORKSPACE)
    across = -(-size // 4)
    blocks = [min(found.cut.rows, across - row) for row in range(0, across, found.cut.rows)]
    vectors = sum(-(-rows * across // lanes) for rows in blocks)
    assert vectors * lanes <= max(1.45 * across**2, lanes)


def test_each_thread_has_work():
    for threads in (1, 2, 3, 4):
        for size, channels in ((56, 64), (28, 128), (14, 256)):
            window = window_of((size, size))
            found = way(window, 1, channels, channels, 1, TILE, 16, WORKSPACE, threads)
            across = -(-size // 4)
            blocks = -(-across // found.cut.rows)
            assert max(blocks, found.transforms * -(-channels // found.part)) >= threads


def test_a_weight_is_transformed_before_where_it_is_used_often():
    window = window_of((224, 224))
    assert not way(window, 1, 64, 64, 1, TILE, 16, WORKSPACE).transforms
    # Or where it is prepared.
    small = window_of((28, 28))
    assert way(small, 1, 128, 128, 1, TILE, 16, WORKSPACE).transforms
    assert not way(small, 1, 128, 128, 1, TILE, 16, WORKSPACE, 1, True).transforms
    # But a large one takes longer to read.
    assert way(small, 1, 512, 512, 1, TILE, 16, WORKSPACE, 1, True).transforms


def test_less_memory_makes_smaller_blocks():
    window = window_of((112, 112))
    rows = [
        way(window, 1, 32, 32, 1, TILE, 16, room).cut.rows for room in (1 << 18, 1 << 20, 1 << 22)
    ]
    assert rows == sorted(rows)
    assert rows[0] < rows[-1]


@pytest.mark.parametrize("count", [1, 2, 7, 56, 100])
def test_equal_parts(count):
    """Every size that is the largest of some number of equal parts, once."""
    found = winograd_cuts._equal(count)
    assert found == sorted({-(-count // parts) for parts in range(1, count + 1)}, reverse=True)


def test_phases_are_counted():
    plain = way(window_of((56, 56)), 1, 64, 64, 1, TILE, 16, WORKSPACE)
    dilated_window = window_of((56, 56), dilation=2)
    assert phases_of(dilated_window) == (2, 2)
    assert way(dilated_window, 1, 64, 64, 1, TILE, 16, WORKSPACE).cut.rows < plain.cut.rows


@pytest.mark.skipif(missing() is not None, reason=f"{missing()}")
@pytest.mark.parametrize(
    ("batch", "size", "kernel", "dilation", "tile"),
    [
        *((1, 14, 3, 1, "4x4"), (3, 27, 3, 1, "4x4"), (2, 18, 3, 2, "2x2"), (1, 25, 5, 1, "2x2")),
        *((2, 21, 9, 1, "3x3"), (2, 23, 5, 1, "1x3")),
    ],
)
def test_rows_that_are_packed_have_the_same_bits(batch, size, kernel, dilation, tile, monkeypatch):
    """What lies between two rows is dropped, and where a vector begins does not matter."""
    rng, pads = np.random.default_rng(0), dilation * (kernel // 2)
    x = rng.standard_normal((batch, 20, size, size)).astype(FLOAT)
    w = rng.standard_normal((9, 20, kernel, kernel)).astype(FLOAT)

    def convolve(packed: bool) -> Any:
        monkeypatch.setattr(
            winograd_plans, "way", lambda *given: way(*given)._replace(packed=packed)
        )
        with options(algorithm=f"numba_winograd_{tile}"):
            return conv2d(x, w, padding=pads, dilation=dilation)

    found = convolve(True)
    np.testing.assert_array_equal(found, convolve(False))
    with options(algorithm="im2col"):
        expected = conv2d(x.astype("float64"), w.astype("float64"), padding=pads, dilation=dilation)
    np.testing.assert_allclose(found, expected, atol=2e-5 * abs(expected).max())
