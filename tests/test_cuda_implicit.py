"""Implicit products: random windows, also such as no public function makes, and the tiles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import arrayconv as ac
from arrayconv import primitives
from arrayconv._window import Axis, output_sizes
from arrayconv.backends.cupy import implicit
from arrayconv.backends.cupy import tiles as tiles_module
from arrayconv.backends.cupy.geometry import described, packed_product, strided, structs
from arrayconv.backends.cupy.launch import summand_name
from arrayconv.backends.cupy.tiles import TILES, TensorCores, divided, tiles_of
from bench import tiles
from bench.suites import conv
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
def test_any_window(host, seed, request, left_out):
    """All three primitives by the definition: a loop over the taps and positions of three axes."""
    share = 20 if "[wide" in request.node.nodeid else 10
    if seed % share and not request.config.getoption("--full"):
        left_out("implicit products of random windows, all but one in 10 or 20: --full runs all")
        pytest.skip("a part of them is enough in a plain run: --full runs all")
    rng = np.random.default_rng(seed)
    window = tuple(axis(rng) for _ in range(int(rng.integers(1, 4))))
    batch, groups, channels, outputs = map(int, rng.integers(1, (3, 4, 4, 4)))
    x = draw(rng, (batch, groups * channels, *(each.size for each in window)), "float64")
    w = draw(rng, (groups * outputs, channels, *(each.kernel for each in window)), "float64")
    y = draw(rng, (batch, groups * outputs, *output_sizes(window)), "float64")
    host.descending, host.late = seed // 2 % 2 == 1, seed // 4 % 2 == 1
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


# --- tensor cores -------------------------------------------------------------------------------


def rounded(values: Any) -> Any:
    """Return float32 with 10 bits of fraction, the nearest, away from 0 of two."""
    fraction, exponent = np.frexp(values.astype(np.float64))
    scaled = fraction * 2.0**11
    nearest = np.copysign(np.floor(np.abs(scaled) + 0.5), scaled)
    return np.ldexp(nearest, exponent - 11).astype(np.float32)


def test_float32_is_rounded_to_ten_bits(host):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2**32, (1, 2, 300), dtype=np.uint64).astype(np.uint32).view(np.float32)
    usual = np.isfinite(x) & (np.abs(x) > 1e-37) & (np.abs(x) < 1e38)
    x = np.where(usual, x, rng.standard_normal(x.shape).astype(np.float32))
    # Halfway between two numbers, and what is none.
    x[0, :, :6] = [1 + 2**-11, -1 - 2**-11, 1 + 3 * 2**-11, 1 + 2**-12, np.inf, 0]
    w = np.eye(2, dtype=np.float32)[..., None]
    window = (Axis(300, 1, 1, 1, 0, 0, 300),)
    x[:, 1, 4] = -1
    with on_host(host), ac.options(allow_tf32=True):
        y = primitives.conv(x, w, window, 1, algorithm="cuda-tensor")
    finite = np.isfinite(x[0]).all(0)
    np.testing.assert_array_equal(y[..., finite], rounded(x[..., finite]))


def test_what_tensor_cores_are_for(host, monkeypatch):
    x, w = np.zeros((1, 2, 5), np.float32), np.zeros((3, 2, 3), np.float32)
    window = (Axis(5, 3, 1, 1, 0, 0, 3),)
    with on_host(host):
        assert "allow_tf32=True" in str(implicit.tensor_unfit(x, w, window, 1))
        double = (x.astype(np.float64), w.astype(np.float64))
        assert "not float64" in str(implicit.tensor_unfit(*double, window, 1))
        half = (x.astype(np.float16), w.astype(np.float16))
        assert implicit.tensor_unfit(*half, window, 1) is None
        with ac.options(allow_tf32=True):
            assert implicit.tensor_unfit(x, w, window, 1) is None
            assert primitives.conv.choose("auto", x, w, window, 1).name == "cuda-tensor"
        assert primitives.conv.choose("auto", x, w, window, 1).name == "cuda-implicit"
        monkeypatch.setattr(host, "architecture", lambda: 75)
        assert "sm_80 or later" in str(implicit.tensor_unfit(*half, window, 1))


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
    tile, tiled = divided(False, "float", rows, columns, 576, groups)
    assert (tile.rows, tile.columns) == wanted
    assert tiled.row_tiles * tile.rows >= rows
    assert tiled.column_tiles * tile.columns >= columns
    assert tiled.parts == 1


@pytest.mark.parametrize("steps", [0, 1, 511, 512, 5000, 10**6])
def test_parts_hold_every_step_once(steps):
    tile, tiled = divided(False, "float", 64, 64 * 9, steps, 1, in_parts=True)
    covered = [
        min(tiled.steps_each, steps - part * tiled.steps_each) for part in range(tiled.parts)
    ]
    assert sum(covered) == steps
    assert tiled.steps_each % tile.steps == 0
    assert steps == 0 or min(covered) > 0


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "complex64", "complex128"])
def test_every_type_has_a_tile(dtype):
    kind, small = summand_name(dtype), np.dtype(dtype).itemsize <= 4
    assert len(tiles_of(kind, tensor=False)) == (4 if small else 3 if dtype == "complex64" else 1)
    assert bool(tiles_of(kind, tensor=True)) == (dtype in ("float16", "float32"))


def test_the_struct_carries_the_names_of_the_tiling():
    _, tiled = divided(False, "float", 5, 70, 18, 2)
    packed = packed_product(tiled, (7, 10), (3, 3), 32)
    assert packed.dtype == structs(32)["Product"]
    for name, number in tiled._asdict().items():
        assert packed[name] == number
    assert packed["column"]["sizes"].tolist() == [[1, 7, 10]]


def test_stages_change_no_bit(host):
    """Whenever copies land: the order of the steps is the same."""
    rng = np.random.default_rng(0)
    x, w = draw(rng, (2, 24, 5, 8), "float32"), draw(rng, (40, 24, 1, 1), "float32")
    window = (Axis(5, 1, 1, 1, 0, 0, 5), Axis(8, 1, 1, 1, 0, 0, 8))
    found: list[Any] = []
    host.launched.clear()
    with ac.options(allow_tf32=True), on_host(host):
        for tile in tiles.staged("float", True, tiles.STAGES)[-len(tiles.STAGES) :]:
            with tiles.only([tile]):
                for host.late in (False, True):
                    found.append(primitives.conv(x, w, window, 1, algorithm="cuda-tensor"))
    assert len({each.arguments[-1] for each in host.launched}) == len(tiles.STAGES)
    assert len({each.tobytes() for each in found}) == 1
    np.testing.assert_allclose(found[0], np.einsum("oc,nchw->nohw", w[..., 0, 0], x), atol=0.02)


@pytest.mark.parametrize("kind", ["float", "Float16", "double", "Byte", "Complex<double>"])
def test_the_ring_leaves_room_for_the_terms(kind):
    for tensor, most in ((False, 48 << 10), (True, 99 << 10)):
        for tile in tiles.staged(kind, tensor, range(2, 9)):
            terms = 32 * tile.columns + 48 * tile.stages * tile.steps
            assert max(tile.ring(kind, along) for along in (False, True)) + terms <= most


def test_steps_are_copied_in_runs_where_memory_has_them():
    half = TensorCores(4, 4)
    assert [half.run("float", most) for most in (1, 2, 4, 144)] == [1, 1, 4, 4]
    assert [half.run("Float16", most) for most in (1, 4, 8, 144)] == [1, 1, 8, 8]
    y = np.zeros((2, 3, 6, 12), np.float32)
    for array, most in (
        (y, 72),
        (y[:1], 72),
        (y[..., :8], 1),
        (y.swapaxes(2, 3), 1),
        (np.moveaxis(y, 1, -1), 1),
        (np.broadcast_to(y[:1, :1], y.shape), 72),
        (np.zeros((2, 4, 77), np.float32)[..., :76], 1),
        (np.zeros((2, 4, 7, 7), np.float32), 49),
    ):
        assert implicit._in_runs(strided(described(array))) == most


def test_every_tile_is_measured(host, request, left_out, monkeypatch):
    """What bench.tiles does on a GPU, here on the CPU: with each tile, the same results."""
    some = TILES
    if not request.config.getoption("--full"):
        some = TILES[:: len(TILES) - 1]
        left_out(f"tiles as they are measured, all but {len(some)} of {len(TILES)}: --full")
        if "[wide" in request.node.nodeid:
            pytest.skip("indices of 32 bits are enough in a plain run: --full runs both")
        monkeypatch.setattr(tiles_module, "TILES", some)
    case = conv("small", (2, 5, 5), 3, 3)
    called: list[Any] = []

    def seconds(run: Any) -> float:
        called.append(run())
        return 0.5

    with on_host(host):
        found = list(tiles.measured(case, np.asarray, seconds, stages=(2,)))
    assert len(found) == len(called) == 3 * (len(some) + 2)
    staged = {tile._replace(stages=2).argument for tile in some}
    assert {each.tile for each in found} == {tiles.CHOSEN, *staged}
    for first in range(0, len(called), len(some) + 2):
        of_direction = called[first : first + len(some) + 2]
        for result in of_direction:
            # TF32 keeps 10 bits.
            np.testing.assert_allclose(result, of_direction[0], rtol=0.01, atol=0.05)
