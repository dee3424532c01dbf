"""Sums in registers: cells in place and laid out, and phases that are put in turns by blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import arrayconv as ac
from arrayconv._window import sliding_window
from arrayconv.backends.numpy import convolution_plans
from arrayconv.backends.numpy.compiler import lanes_of, missing
from arrayconv.backends.numpy.orders import LINE

pytestmark = pytest.mark.skipif(missing() is not None, reason=f"{missing()}")

TOLERANCE = {"float32": 3e-5, "float64": 1e-13}


def drawn(*shapes: tuple[int, ...], dtype: str) -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("cells", [1, 7, 8, 15, 16, 17, 31, 33, 47, 48, 49, 65, 256, 1024, 1030])
def test_one_tap(cells, dtype):
    """Of planes that fill no vector, that end within one, and that are a page apart."""
    for batch, groups, channels, outputs in ((1, 1, 5, 9), (3, 2, 260, 6), (2, 1, 3, 2)):
        x, w, bias = drawn(
            *((batch, channels * groups, cells), (outputs * groups, channels, 1)),
            *((outputs * groups,),),
            dtype=dtype,
        )
        x.flags.writeable = False
        with ac.options(algorithm="numba"):
            y, pull = ac.vjp(ac.conv1d, x, w, bias, groups=groups)
            x_bar = pull(y)[0]
        grouped = x.astype("float64").reshape(batch, groups, channels, cells)
        matrix = w.astype("float64").reshape(groups, outputs, channels)
        wanted = (matrix @ grouped).reshape(batch, -1, cells) + bias.astype("float64")[:, None]
        scale = TOLERANCE[dtype] * channels
        np.testing.assert_allclose(y, wanted, rtol=scale, atol=scale)
        back = matrix.swapaxes(1, 2) @ wanted.reshape(batch, groups, outputs, cells)
        scale *= 10 * outputs
        np.testing.assert_allclose(x_bar, back.reshape(x.shape), rtol=scale, atol=scale)


@pytest.mark.parametrize(("channels", "outputs", "size"), [(256, 1000, 14), (64, 256, 56)])
def test_what_is_read_in_place_is_cut_where_least_is_read_again(channels, outputs, size):
    """By outputs where these are more than positions, which share a weight; and by whole tiles."""
    window = sliding_window((size,) * 2, (1,) * 2, (1,) * 2, ((0, 0),) * 2, (1, 1))
    planned = convolution_plans.plan(window, 1, channels, outputs, 1, 4, False, 3, 1 << 19)
    made, first, place, positions = planned.blocks[:, [4, 5, 8, 11]].T
    assert len(made) >= 9
    if outputs > size**2:
        assert (positions == size**2).all()
        assert not (first % 4).any()
        assert made.sum() == outputs
    else:
        assert (made == outputs).all()
        assert not (place % lanes_of(np.dtype("float32"))).any()
        assert positions.sum() == size**2


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("cells", [64, 80, 144, 256, 1000, 1024])
def test_where_an_array_begins_changes_no_bit(cells, dtype, threads):
    """Though cells that lines of the cache do not begin with are copied for many outputs."""
    for batch, groups, channels, outputs in ((1, 1, 136, 88), (2, 2, 64, 72), (1, 1, 304, 9)):
        of_input = (batch, channels * groups, cells)
        x, w = drawn(of_input, (outputs * groups, channels, 1), dtype=dtype)
        room, found = np.empty(x.size + LINE, dtype), []
        with ac.options(algorithm="numba", threads=1):
            alone = ac.conv1d(x, w, groups=groups)
        for begin in (0, 1, 16 // room.itemsize):
            first = -room.__array_interface__["data"][0] % LINE // room.itemsize + begin
            moved = room[first : first + x.size].reshape(x.shape)
            moved[...] = x
            with ac.options(algorithm="numba", threads=threads):
                y, pull = ac.vjp(ac.conv1d, moved, w, groups=groups)
                found.append((y, pull(y)[0]))
        for y, x_bar in found:
            np.testing.assert_array_equal(y, alone)
            np.testing.assert_array_equal(x_bar, found[0][1])
        grouped = x.astype("float64").reshape(batch, groups, channels, cells)
        wanted = w.astype("float64").reshape(groups, outputs, channels) @ grouped
        scale = TOLERANCE[dtype] * channels
        np.testing.assert_allclose(alone, wanted.reshape(alone.shape), rtol=scale, atol=scale)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "is_adjoint", "in_place"),
    [
        (31, 1, 1, False, True),
        (31, 1, 1, True, True),
        (32, 1, 1, False, True),
        (31, 3, 1, False, False),
        (62, 2, 2, True, True),
        (64, 2, 2, True, False),
        (62, 2, 2, False, False),
        (61, 3, 2, True, False),
    ],
)
def test_cells_are_read_where_they_are(size, kernel, stride, is_adjoint, in_place):
    """Where each is seen once, in its order, or if planes lie a page apart by one pass only."""
    window = sliding_window((size,) * 2, (kernel,) * 2, (stride,) * 2, ((0, 0),) * 2, (1, 1))
    planned = convolution_plans.plan(window, 2, 24, 24, 1, 4, is_adjoint, 1, 1 << 19)
    assert (planned.blocks[:, 12] == 0).all() == in_place


@pytest.mark.parametrize("stride", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("room", [1, 1 << 14, 1 << 30])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_phases_are_put_in_turns(stride, room, dtype, request, left_out):
    """By blocks of any size, with the same bits; where nothing is seen too."""
    if dtype == "float64" and stride != 3 and not request.config.getoption("--full"):
        left_out("phases of float64 but those of a stride of 3: --full puts all in turns")
        pytest.skip("for each stride and dtype loops are compiled: --full compiles all")
    for dims, size in ((1, 300), (2, 46 // stride), (3, 18 // stride)):
        for kernel in {1, stride - 1, stride, stride + 1}:
            y, w = drawn(*((2, 16, *(size,) * dims), (16, 9, *(kernel,) * dims)), dtype=dtype)
            function = getattr(ac, f"conv_transpose{dims}d")
            params = {"stride": stride, "groups": 2, "output_padding": min(1, stride - 1)}
            with ac.options(algorithm="generic"):
                wanted = function(y.astype("float64"), w.astype("float64"), **params)
            found = []
            for threads in (1, 3):
                with ac.options(algorithm="numba", threads=threads, workspace_bytes=room):
                    found.append(function(y, w, **params))
            np.testing.assert_array_equal(*found)
            scale = 10 * TOLERANCE[dtype]
            np.testing.assert_allclose(found[0], wanted, rtol=scale, atol=scale)
