"""arrayconv.draw: what the figures hold, read back from their cells."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from tests.lecture import FILTERS, LECTURE, MAPS

mpl = pytest.importorskip("matplotlib", reason="arrayconv.draw needs matplotlib")

import arrayconv as ac  # noqa: E402
from arrayconv import draw  # noqa: E402
from arrayconv.draw.grids import PADDING, PLAIN, SEEN  # noqa: E402

PICTURE = LECTURE[0, 0]


def colours(axes):
    """Return the colour (H, W, 4) of each cell."""
    (mesh,) = axes.collections
    return mesh.get_array()


def numbers(axes):
    return [float(text.get_text()) for text in axes.texts]


def rendered(figure):
    """Return the figure as the bytes of an SVG, which takes every drawing step."""
    file = io.StringIO()
    figure.savefig(file, format="svg")
    return file.getvalue()


@pytest.mark.parametrize(
    "make",
    [
        lambda: draw.kernels(FILTERS),
        lambda: draw.kernels(np.zeros((2, 3, 11, 11))),
        lambda: draw.feature_maps(MAPS),
        lambda: draw.window(PICTURE, 3, padding=1),
        lambda: draw.columns(PICTURE, 3),
        lambda: draw.pooling(MAPS[0, 0], 2),
        lambda: draw.fold_counts(6, 3),
    ],
)
def test_every_figure_can_be_saved(make):
    assert "</svg>" in rendered(make())


@pytest.mark.parametrize(
    ("shape", "arguments"),
    [
        ((6, 6), {"kernel_size": 3}),
        ((5, 7), {"kernel_size": (2, 3), "stride": (2, 1), "padding": 1, "dilation": (1, 2)}),
        ((2, 4, 4), {"kernel_size": 2, "stride": 2}),
    ],
)
def test_columns_have_the_colours_of_their_pixels(shape, arguments):
    picture = np.random.default_rng(0).permutation(np.prod(shape)).reshape(shape) + 1
    left, right = draw.columns(picture, **arguments).axes
    taps = arguments.pop("kernel_size")
    taps = (taps, taps) if isinstance(taps, int) else taps
    planes = picture if picture.ndim == 3 else picture[None]
    matrix = ac.unfold(planes[None], taps, **arguments)[0]
    of_pixel = dict(zip(picture.ravel(), map(tuple, colours(left).reshape(-1, 4)), strict=True))
    assert len(set(of_pixel.values())) == picture.size
    assert colours(right).shape == (*matrix.shape, 4)
    for place, value in np.ndenumerate(matrix):
        assert tuple(colours(right)[place]) == of_pixel.get(value, PADDING)
    assert numbers(right) == list(matrix.ravel())


def test_a_window_shows_what_it_sees_and_the_output_so_far():
    figure = draw.window(PICTURE, 3, stride=1, padding=1, position=7, output=np.ones((6, 6)))
    left, right = figure.axes
    seen = (colours(left) == SEEN).all(axis=-1)
    assert np.argwhere(seen).tolist() == [[r, c] for r in (1, 2, 3) for c in (1, 2, 3)]
    padding = (colours(left) == PADDING).all(axis=-1)
    assert padding.sum() == 8 * 8 - 6 * 6
    assert np.argwhere((colours(right) == SEEN).all(axis=-1)).tolist() == [[1, 1]]
    assert numbers(right) == [1.0] * 8


def test_a_dilated_window_sees_cells_apart():
    left, _ = draw.window(PICTURE, 2, dilation=3, stride=2, position=1).axes
    seen = (colours(left) == SEEN).all(axis=-1)
    assert np.argwhere(seen).tolist() == [[0, 2], [0, 5], [3, 2], [3, 5]]


def test_a_pool_frames_the_cells_that_it_takes():
    left, right = draw.pooling(MAPS[0, 0], 2).axes
    assert numbers(right) == [5, -1, -1, 6]
    frames: Any = left.patches
    corners = [frame.get_xy() for frame in frames]
    assert corners == [(-0.5, -0.5), (1.5, -0.5), (-0.5, 1.5), (1.5, 1.5)]
    taken = [tuple(colours(left)[row, column]) for row, column in ((0, 0), (0, 2), (2, 0), (2, 2))]
    assert taken == [tuple(colour) for colour in colours(right).reshape(-1, 4)]


def test_a_cell_that_one_window_sees_has_a_shade_of_its_maximum():
    left, right = draw.pooling(MAPS[0, 0], 2).axes
    drawn, maxima = colours(left), colours(right).reshape(2, 2, 4)
    for row in range(4):
        for column in range(4):
            hue = maxima[row // 2, column // 2][:3]
            np.testing.assert_allclose(drawn[row, column][:3], hue)
    assert drawn[1, 1][3] < drawn[0, 0][3]


def test_a_cell_that_several_windows_see_or_none_has_no_shade():
    left, _ = draw.pooling(np.arange(25).reshape(5, 5), 3, stride=2).axes
    drawn = colours(left)
    np.testing.assert_allclose(drawn[2, 0], PLAIN)
    assert not np.allclose(drawn[0, 0], PLAIN)
    beyond, _ = draw.pooling(np.arange(25).reshape(5, 5), 2).axes
    np.testing.assert_allclose(colours(beyond)[4, 0], PLAIN)


def test_one_cell_taken_by_several_windows_is_framed_once():
    left, right = draw.pooling(np.array([[0, 0, 0], [0, 9, 0], [0, 0, 0]]), 2, stride=1).axes
    assert len(left.patches) == 1
    assert numbers(right) == [9] * 4


@pytest.mark.parametrize("arguments", [{}, {"stride": 2}, {"padding": 1}, {"dilation": 2}])
def test_counts_are_those_of_fold(arguments):
    (axes,) = draw.fold_counts(6, 3, **arguments).axes
    ones = np.ones((1, 1, 6, 6))
    counts = ac.fold(ac.unfold(ones, 3, **arguments), 6, 3, **arguments)
    assert numbers(axes) == list(counts.ravel())


def test_kernels_stand_in_rows_of_outputs():
    figure = draw.kernels(FILTERS)
    assert [numbers(axes) for axes in figure.axes] == [list(each.ravel()) for each in FILTERS]
    red, blue, white = (colours(figure.axes[0])[place] for place in ((0, 0), (1, 0), (0, 2)))
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    assert white[:3].min() > 0.95


def test_arrays_of_every_library(library):
    figure = draw.columns(library.frozen(PICTURE), 3)
    assert numbers(figure.axes[0]) == list(PICTURE.ravel())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: draw.kernels(np.ones(3)), "weight must have 4 or 2"),
        (lambda: draw.feature_maps(np.ones((2, 1, 3, 3))), "one picture"),
        (lambda: draw.feature_maps(np.ones((1, 3, 3)), across=0), "across"),
        (lambda: draw.window(PICTURE, 3, position=16), "position must be from 0 to 15"),
        (lambda: draw.window(PICTURE, 3, output=np.ones((2, 2))), "output must have shape"),
        (lambda: draw.columns(np.ones((1, 1, 3, 3)), 2), "input must have 2 or 3"),
        (lambda: draw.pooling(PICTURE, 7), "kernel_size"),
        (lambda: draw.cells(None, np.ones((2, 2)), np.ones((2, 2))), "colours must have shape"),
    ],
)
def test_bad_input_is_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()
