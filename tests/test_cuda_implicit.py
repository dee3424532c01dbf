"""Implicit products: random windows, also such as no public function makes, and the tiles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from arrayconv import primitives
from arrayconv._window import Axis, output_sizes
from arrayconv.backends.cupy import implicit
from arrayconv.backends.cupy.geometry import packed_product, structs
from arrayconv.backends.cupy.launch import summand_name
from tests.cases import draw
from tests.cuda_on_host.executor import PLAIN, HostExecutor, on_host
from tests.test_cuda_on_host import variant


@pytest.fixture(scope="module", params=["narrow", "wide"])
def host(
    request: pytest.FixtureRequest, host_compiler: None, tmp_path_factory: Any
) -> Iterator[HostExecutor]:
    with variant(request.param):
        yield HostExecutor(tmp_path_factory.mktemp("kernels"), PLAIN)


def axis(rng: np.random.Generator) -> Axis:
    """Return an axis with any numbers: cropped, reaching beyond the padding, or seeing nothing."""
    size, kernel, stride, dilation, out = map(int, rng.integers(1, (8, 5, 7, 7, 7)))
    return Axis(size, kernel, stride, dilation, int(rng.integers(-4, 9)), 0, out)


@pytest.mark.parametrize("seed", range(60))
def test_any_window(host, seed):
    """All three primitives by the definition: a loop over the taps and positions of three axes."""
    rng = np.random.default_rng(seed)
    window = tuple(axis(rng) for _ in range(int(rng.integers(1, 4))))
    batch, groups, channels, outputs = map(int, rng.integers(1, (3, 4, 4, 4)))
    x = draw(rng, (batch, groups * channels, *(each.size for each in window)), "float64")
    w = draw(rng, (groups * outputs, channels, *(each.kernel for each in window)), "float64")
    y = draw(rng, (batch, groups * outputs, *output_sizes(window)), "float64")
    host.descending = seed % 2 == 1
    with on_host(host):
        got = [
            primitives.conv(x, w, window, groups, algorithm="cuda-implicit"),
            primitives.conv_transpose(y, w, window, groups, algorithm="cuda-implicit"),
            primitives.conv_weight(x, y, window, groups, algorithm="cuda-implicit"),
        ]
    for array, right in zip(got, by_loops(x, w, y, window, groups), strict=True):
        np.testing.assert_allclose(array, right, rtol=1e-12, atol=1e-12)


def by_loops(x: Any, w: Any, y: Any, window: tuple[Axis, ...], groups: int) -> list[Any]:
    """Return what conv, conv_transpose and conv_weight are by their definition."""
    xs = x.reshape(x.shape[0], groups, -1, *x.shape[2:])
    ys = y.reshape(y.shape[0], groups, -1, *y.shape[2:])
    ws = w.reshape(groups, -1, *w.shape[1:])
    results = [np.zeros_like(ys), np.zeros_like(xs), np.zeros_like(ws)]
    for position in np.ndindex(*ys.shape[3:]):
        for tap in np.ndindex(*ws.shape[3:]):
            cell = tuple(
                o * each.stride + t * each.dilation - each.before
                for o, t, each in zip(position, tap, window, strict=True)
            )
            if not all(0 <= i < each.size for i, each in zip(cell, window, strict=True)):
                continue
            seen, weight, given = xs[(..., *cell)], ws[(..., *tap)], ys[(..., *position)]
            results[0][(..., *position)] += np.einsum("ngc,goc->ngo", seen, weight)
            results[1][(..., *cell)] += np.einsum("ngo,goc->ngc", given, weight)
            results[2][(..., *tap)] += np.einsum("ngo,ngc->goc", given, seen)
    return [result.reshape(like.shape) for result, like in zip(results, (y, x, w), strict=True)]


# --- tiles --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "columns", "groups", "wanted"),
    [
        (256, 100_000, 1, (128, 128)),
        (64, 100_000, 1, (64, 128)),
        (4, 100_000, 32, (16, 256)),
        # Large tiles would leave most of the GPU idle.
        (64, 3000, 1, (64, 64)),
    ],
)
def test_the_tile_fits_the_product(rows, columns, groups, wanted):
    tile, tiled = implicit.divided("float", rows, columns, 576, groups)
    assert (tile.rows, tile.columns) == wanted
    assert tiled.row_tiles * tile.rows >= rows
    assert tiled.column_tiles * tile.columns >= columns
    assert tiled.parts == 1


@pytest.mark.parametrize("steps", [0, 1, 511, 512, 5000, 10**6])
def test_parts_hold_every_step_once(steps):
    _, tiled = implicit.divided("float", 64, 64 * 9, steps, 1, in_parts=True)
    covered = [
        min(tiled.steps_each, steps - part * tiled.steps_each) for part in range(tiled.parts)
    ]
    assert sum(covered) == steps
    assert tiled.steps_each % implicit.STEPS == 0
    assert steps == 0 or min(covered) > 0


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "complex64", "complex128"])
def test_every_type_has_a_tile(dtype):
    tiles = implicit.tiles_of(summand_name(dtype))
    assert implicit.Tile(16, 1, 1) in tiles
    assert (tiles == implicit.TILES) == (np.dtype(dtype).itemsize <= 4)


def test_the_struct_carries_the_names_of_the_tiling():
    _, tiled = implicit.divided("float", 5, 70, 18, 2)
    packed = packed_product(tiled, (7, 10), (3, 3), 32)
    assert packed.dtype == structs(32)["Product"]
    for name, number in tiled._asdict().items():
        assert packed[name] == number
    assert packed["column"]["sizes"].tolist() == [[1, 7, 10]]
