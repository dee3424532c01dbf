"""Planes as compiled loops lay them out: each cell in its place, and nothing beyond the planes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from arrayconv._window import Axis, Window
from arrayconv.backends.numpy import layouts
from arrayconv.backends.numpy.compiler import loops, missing
from arrayconv.backends.numpy.layouts import Copies
from arrayconv.backends.numpy.orders import LINE, whole_lines
from arrayconv.backends.numpy.tables import Tables
from arrayconv.backends.numpy.vector_runs import in_place, of_layout

pytestmark = pytest.mark.skipif(missing() is not None, reason=f"{missing()}")

GUARD = 64


def random_window(rng: np.random.Generator) -> Window:
    axes = []
    for _ in range(int(rng.integers(1, 4))):
        kernel, dilation = int(rng.integers(1, 6)), int(rng.integers(1, 3))
        stride = int(rng.choice((1, 1, 2, 3, 4, 5, 8, 9)))
        before, after = map(int, rng.integers(0, 1 + dilation * (kernel - 1), 2))
        size = int(rng.integers(1, 70))
        out = (size + before + after - dilation * (kernel - 1) - 1) // stride + 1
        if out < 1:
            return random_window(rng)
        axes.append(Axis(size, kernel, stride, dilation, before, after, out))
    return tuple(axes)


def laid_by_loops(source: Any, layout: layouts.Layout, planes: int) -> Any:
    """Return the cells of planes, with a margin on both sides."""
    size, tables = layout.size, Tables()
    address, *where = layout.placed(tables, source.itemsize)
    every = np.full(2 * GUARD + planes * size, np.nan, source.dtype)
    cells = every[GUARD : len(every) - GUARD]
    sizes = source.shape[1:]
    flat = source.reshape(-1)
    given = flat, 0, int(np.prod(sizes)), cells, size, planes, tables.flat(), np.array(where)
    compiled, address_of = loops("layout_loops"), loops("addresses").address_of
    ways = [compiled.lay_out(turns) for turns in (0, *compiled.TURNS)]
    (lay_out,) = (way for way in ways if address_of(way, *given) == address)
    lay_out(*given)
    return every


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("is_adjoint", [False, True])
def test_planes_are_laid_out(dtype, is_adjoint):
    """As the runs say, one cell after the other, with 0 elsewhere."""
    rng, by_vectors, exact = np.random.default_rng(1), 0, 0
    for _ in range(300):
        window = random_window(rng)
        from_axes = [axis.out if is_adjoint else axis.size for axis in window]
        to_axes = [axis.size if is_adjoint else axis.out for axis in window]
        planes = int(rng.integers(1, 4))
        lay_out = layouts.adjoint if is_adjoint else layouts.sliding
        layout = lay_out(window, layouts.steps(tuple(from_axes)), layouts.steps(tuple(to_axes)))
        source = rng.standard_normal((planes, *from_axes)).astype(dtype)
        expected = np.zeros((planes, layout.size), dtype)
        for start, place, length in layout.fill.runs:
            cells = start + layout.fill.step * np.arange(length)
            expected[:, place : place + length] = source.reshape(planes, -1)[:, cells]
        found = laid_by_loops(source, layout, planes)
        np.testing.assert_array_equal(found[GUARD:-GUARD], expected.reshape(-1))
        assert np.isnan(found[:GUARD]).all()
        assert np.isnan(found[-GUARD:]).all()
        lines = layout.fill.lines
        by_vectors += lines.shape[1] - 3 == layout.fill.step
        exact += bool(lines[:, 2].any() and not lines[:, 2].all())
    assert by_vectors > 100
    # Some lines may be written past their end, and others not.
    assert exact > (0 if is_adjoint else 30)


def assert_whole(runs, stores, ends, lanes):
    """Of each run so many vectors, and no more, have all lanes one behind the other."""
    for _, number, count, whole in runs:
        place = stores[ends[number], 0]
        for n in range(count):
            (*kept,) = stores[ends[number + n] : ends[number + n + 1]].tolist()
            if kept != [[place + n * lanes, 0, lanes]]:
                assert n == whole
                break
        else:
            assert whole == count


@pytest.mark.parametrize("shape", [(8, 3), (2, 4)])
def test_vectors_of_sums_have_each_output(shape):
    """Each is a lane of a vector, and cells between planes are of none where that takes fewer."""
    rng, lanes, cut = np.random.default_rng(2), 16, 0
    for _ in range(300):
        images = int(rng.integers(1, 4))
        window = (Axis(images, 1, 1, 1, 0, 0, images), *random_window(rng))
        sizes = (tuple(getattr(axis, name) for axis in window) for name in ("size", "out"))
        layout = layouts.sliding(window, *map(layouts.steps, sizes))
        crop = layout.passes[0].crop
        runs, stores, ends = of_layout(crop, shape, lanes)
        starts = np.concatenate([cell + lanes * np.arange(count) for cell, _, count, _ in runs])
        assert (np.cumsum(runs[:, 2]) - runs[:, 2] == runs[:, 1]).all()
        assert len(ends) == 1 + len(starts)
        assert_whole(runs, stores, ends, lanes)
        assert len(starts) <= -(-(crop.source[-1] + crop.length) // lanes) or len(runs) == 1
        cells = np.arange(crop.length)
        expected = np.stack(np.broadcast_arrays(crop.target[:, None], crop.source[:, None])) + cells
        found = [
            (place + lane, start + lane)
            for number, start in enumerate(starts)
            for place, low, high in stores[ends[number] : ends[number + 1]]
            for lane in range(low, high)
        ]
        # Where a vector ends behind the first output of the next one, both have it.
        wanted = sorted(expected.reshape(2, -1).T.tolist())
        np.testing.assert_array_equal(sorted(set(found)), wanted)
        cut += len(runs) > 1
    assert cut > 30


@pytest.mark.parametrize("most", [3, 4])
def test_vectors_of_cells_in_place_see_no_cell_behind_them(most):
    """Each output is a lane of a vector, and no vector ends behind the last cell of its plane."""
    lanes = 16
    for cells in (*range(lanes, 150), 3136):
        for count, rows in ((1, 1), (3, 1), (2, 2)):
            length, every = -(-cells // rows), np.arange(count * rows)
            plane, goals = rows * length, every[::-1] * (length + 5)
            crop = Copies(every * length, goals, length, 1)
            runs, stores, ends = in_place(crop, (count, plane), 3 * plane, most, lanes)
            assert (runs[:, 2] <= most).all()
            assert (np.cumsum(runs[:, 2]) - runs[:, 2] == runs[:, 1]).all()
            starts = np.concatenate([cell + lanes * np.arange(some) for cell, _, some, _ in runs])
            assert (starts % (3 * plane) + lanes <= plane).all()
            assert_whole(runs, stores, ends, lanes)
            found = np.full(goals.max() + length, -1)
            for number, start in enumerate(starts):
                for place, low, high in stores[ends[number] : ends[number + 1]]:
                    found[place + low : place + high] = start + np.arange(low, high)
            for row, place in zip(every, goals, strict=True):
                cell = row // rows * 3 * plane + row % rows * length
                np.testing.assert_array_equal(
                    found[place : place + length], cell + np.arange(length)
                )


@pytest.mark.parametrize("count", [1, 100, 70_001])
def test_workspaces_begin_with_a_line_of_the_cache(count):
    found = whole_lines(count, np.dtype("float32"))
    assert found.shape == (count,)
    assert found.__array_interface__["data"][0] % LINE == 0
