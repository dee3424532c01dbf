"""Windows over pictures: where they are, what im2col makes of them, what a pool takes, counts."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from arrayconv._arrays import Array
from arrayconv.draw.grids import CELL, PADDING, PLAIN, SEEN, cells, plane_of
from arrayconv.functional.averages import avg_pool2d
from arrayconv.functional.columns import fold, unfold
from arrayconv.functional.gradients import vjp
from arrayconv.functional.maxima import max_pool2d
from arrayconv.functional.shapes import output_size as size_of_output


def _figure(shapes: Sequence[tuple[int, int]], cell: float = CELL) -> tuple[Figure, list[Axes]]:
    """Return a figure with one axes beside the other, each as large as its grid of cells."""
    widths = [max(2, shape[1]) for shape in shapes]
    tallest = max(shape[0] for shape in shapes)
    size = (cell * (sum(widths) + 1.2 * len(widths)) + 0.2, cell * (tallest + 0.5) + 0.7)
    figure = Figure(figsize=size, layout="constrained")
    grid: Any = figure.subplots(1, len(shapes), squeeze=False, width_ratios=widths)
    return figure, list(grid[0])


def _pixel_colours(count: int) -> Any:
    """Return as many different colours (count, 4), pale enough for black numbers."""
    colours = mpl.colormaps["turbo"](np.linspace(0.06, 0.94, count))
    colours[:, :3] = 0.35 + 0.65 * colours[:, :3]
    return colours


def window(
    input: Array,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    position: int = 0,
    output: Array | None = None,
) -> Figure:
    """Draw a window at one of its positions over a picture with its padding, and the output.

    Parameters
    ----------
    input : array, shape (H, W)
        The picture.
    kernel_size, stride, padding, dilation : int or pair of int
        The window, as in `arrayconv.conv2d`.
    position : int, optional
        Which position of the window, counted along the rows of the output.
    output : array, shape (H', W'), optional
        Numbers of the output: those of this position and before are written.

    Returns
    -------
    matplotlib.figure.Figure
        With two axes: the padded input, with the cells that the window sees in orange, and the
        output.

    Raises
    ------
    ValueError
        Where the window does not fit, or there is no such position.

    Examples
    --------
    >>> import numpy as np
    >>> from arrayconv import draw
    >>> figure = draw.window(np.ones((5, 5)), 3, stride=2, padding=1, position=4)
    >>> [axes.get_title() for axes in figure.axes]
    ['input 5 x 5, padded', 'output 3 x 3']
    """
    picture = plane_of("input", input)
    sizes: Any = size_of_output(picture.shape, kernel_size, stride, padding, dilation)
    if not 0 <= position < prod(sizes):
        raise ValueError(f"position must be from 0 to {prod(sizes) - 1}, got {position}")
    before = padding if isinstance(padding, tuple) else (padding, padding)
    sides = tuple((each, each) for each in before)
    inside = np.pad(np.ones(picture.shape, bool), sides)
    numbers = np.arange(inside.size).reshape(1, 1, *inside.shape)
    taps = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    seen = unfold(numbers, taps, dilation, 0, stride)[0, :, position]
    colours = np.where(inside[..., None], PLAIN, PADDING)
    colours.reshape(-1, 4)[seen] = SEEN
    values = np.pad(picture, sides)
    figure, (left, right) = _figure([values.shape, sizes])
    words = f"input {picture.shape[0]} x {picture.shape[1]}"
    cells(left, values, colours, words + (", padded" if any(before) else ""))
    made = np.arange(prod(sizes)).reshape(sizes)
    written = np.full(sizes, np.nan)
    if output is not None:
        given = plane_of("output", output)
        if given.shape != sizes:
            raise ValueError(f"output must have shape {sizes}, got {given.shape}")
        written = np.where(made <= position, given, np.nan)
    colours = np.where((made == position)[..., None], SEEN, PLAIN)
    cells(right, written, colours, f"output {sizes[0]} x {sizes[1]}")
    return figure


def _sources(picture: Any, colours: Any, number: Any) -> Any:
    """Return the colour of the pixel that each number (from 1; 0 is padding) stands for."""
    return np.concatenate([np.asarray([PADDING]), colours])[number]


def columns(
    input: Array,
    kernel_size: int | tuple[int, int],
    dilation: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    stride: int | tuple[int, int] = 1,
) -> Figure:
    """Draw a picture and its im2col matrix, every entry in the colour of the pixel it came from.

    Parameters
    ----------
    input : array, shape (H, W) or (C, H, W)
        The picture; channels are drawn one below the other.
    kernel_size, dilation, padding, stride : int or pair of int
        The window, as in `arrayconv.unfold`.

    Returns
    -------
    matplotlib.figure.Figure
        With an axes for the picture and one for the matrix, (C * taps, positions).

    Raises
    ------
    ValueError
        Where the window does not fit, or ``input`` is of another shape.

    Examples
    --------
    >>> import numpy as np
    >>> from arrayconv import draw
    >>> figure = draw.columns(np.arange(16).reshape(4, 4), 3)
    >>> [axes.get_title() for axes in figure.axes]
    ['input 4 x 4', 'columns 9 x 4']
    """
    picture = plane_of("input", input, (2, 3))
    planes = picture if picture.ndim == 3 else picture[None]
    channels, rows, width = planes.shape
    taps = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    numbers = np.arange(1, planes.size + 1).reshape(1, *planes.shape)
    source = unfold(numbers, taps, dilation, padding, stride)[0]
    values = unfold(planes[None], taps, dilation, padding, stride)[0]
    colours = _pixel_colours(planes.size)
    figure, (left, right) = _figure([(channels * rows, width), source.shape])
    words = " x ".join(map(str, picture.shape))
    shown = colours.reshape(channels * rows, width, 4)
    cells(left, planes.reshape(channels * rows, width), shown, f"input {words}")
    title = f"columns {source.shape[0]} x {source.shape[1]}"
    cells(right, values, _sources(planes, colours, source), title)
    for channel in range(1, channels):
        for axes, row in ((left, channel * rows), (right, channel * prod(taps))):
            axes.axhline(row - 0.5, color=mpl.rcParams["text.color"], linewidth=1.5)
    return figure


def pooling(
    input: Array,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] | None = None,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    ceil_mode: bool = False,
) -> Figure:
    """Draw what a max pool chooses: each maximum in the colour of the cell that it came from.

    Parameters
    ----------
    input : array, shape (H, W)
        A feature map.
    kernel_size, stride, padding, dilation, ceil_mode
        As in `arrayconv.max_pool2d`.

    Returns
    -------
    matplotlib.figure.Figure
        With two axes: the input, with the chosen cells coloured and framed, and those that no
        other window sees in a paler shade; and the maxima.

    Raises
    ------
    ValueError
        Where the window does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from arrayconv import draw
    >>> figure = draw.pooling(np.arange(16).reshape(4, 4), 2)
    >>> [text.get_text() for text in figure.axes[1].texts]
    ['5', '7', '13', '15']
    """
    picture = plane_of("input", input)
    pooled, indices = max_pool2d(
        picture[None, None], kernel_size, stride, padding, dilation, ceil_mode, True
    )
    maxima, index = pooled[0, 0], indices[0, 0]
    chosen = np.unique(index[index >= 0])
    colours = np.broadcast_to(PLAIN, (picture.size, 4)).copy()
    colours[chosen] = _pixel_colours(len(chosen))
    # The gradient of a sum over windows gives each cell what its windows have, added up.
    arguments = {"stride": stride, "padding": padding, "ceil_mode": ceil_mode, "dilation": dilation}
    one = np.ones((1, 1, *picture.shape))
    _, pullback = vjp(avg_pool2d, one, kernel_size=kernel_size, divisor_override=1, **arguments)
    numbers = np.arange(float(index.size)).reshape(1, 1, *index.shape)
    seen, owner = (
        np.asarray(pullback(each)[0]).ravel() for each in (np.ones_like(numbers), numbers)
    )
    alone = np.setdiff1d(np.flatnonzero(seen == 1), chosen)
    colours[alone] = colours[index.ravel()[owner[alone].astype(int)]] * (1, 1, 1, 0.3)
    figure, (left, right) = _figure([picture.shape, maxima.shape])
    cells(left, picture, colours.reshape(*picture.shape, 4), "input")
    for row, column in zip(*np.unravel_index(chosen, picture.shape), strict=True):
        frame = mpl.rcParams["text.color"]
        left.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, ec=frame, lw=1.6))
    cells(right, maxima, _sources(picture, colours, index + 1), "maxima")
    return figure


def fold_counts(
    output_size: int | tuple[int, int],
    kernel_size: int | tuple[int, int],
    dilation: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    stride: int | tuple[int, int] = 1,
) -> Figure:
    """Draw how many windows see each cell: what ``fold(unfold(x))`` multiplies it by.

    Parameters
    ----------
    output_size, kernel_size, dilation, padding, stride : int or pair of int
        As in `arrayconv.fold`.

    Returns
    -------
    matplotlib.figure.Figure
        With one axes.

    Raises
    ------
    ValueError
        Where the window does not fit.

    Examples
    --------
    >>> from arrayconv import draw
    >>> axes = draw.fold_counts((1, 4), (1, 3)).axes[0]
    >>> [text.get_text() for text in axes.texts]
    ['1', '2', '2', '1']
    """
    sizes = (output_size, output_size) if isinstance(output_size, int) else output_size
    taps = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    ones = np.ones((1, 1, *sizes), dtype=int)
    counts = fold(
        unfold(ones, taps, dilation, padding, stride), sizes, taps, dilation, padding, stride
    )
    plane = counts[0, 0]
    figure, (axes,) = _figure([plane.shape])
    colours = mpl.colormaps["YlGn"](0.08 + 0.72 * plane / max(1, plane.max()))
    cells(axes, plane, colours, "windows that see each cell")
    return figure
