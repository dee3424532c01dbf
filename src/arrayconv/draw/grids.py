"""Arrays as grids of cells: numbers, kernels and feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from arrayconv._arrays import Array
from arrayconv._device import to_numpy

PADDING = (0.5, 0.5, 0.5, 0.16)
"""The colour of a cell that is padding: seen on a bright and on a dark page."""
SEEN = (1.0, 0.62, 0.1, 0.85)
PLAIN = (0.5, 0.6, 0.8, 0.22)
CELL = 0.36
"""Inches."""
NUMBERS_UP_TO = 400
"""Arrays of more cells are drawn without their numbers."""


def plane_of(name: str, array: Array, dims: tuple[int, ...] = (2,)) -> Any:
    """Return an array as NumPy's, with a ValueError where it has not one of these dimensions."""
    values = to_numpy(array)
    if values.ndim not in dims or 0 in values.shape:
        words = " or ".join(map(str, dims))
        raise ValueError(
            f"{name} must have {words} dimensions and at least one cell, got shape {values.shape}"
        )
    return values


def _text(value: Any) -> str:
    """Return a number as it is written into a cell."""
    return f"{value:.3g}" if isinstance(value, float | np.floating) else str(value)


def cells(axes: Axes, values: Array, colours: Any = None, title: str | None = None) -> None:
    """Draw an array (H, W) as a grid of cells with their numbers.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        What is drawn into.
    values : array, shape (H, W)
        The numbers; a NaN is left out. More than 400 are not written.
    colours : array, shape (H, W, 4), optional
        Red, green, blue and opacity of each cell, from 0 to 1.
    title : str, optional
        Written above.

    Raises
    ------
    ValueError
        Where ``values`` or ``colours`` are of another shape.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from arrayconv import draw
    >>> axes = Figure().subplots()
    >>> draw.cells(axes, np.eye(3), title="ones")
    >>> len(axes.texts)
    9
    """
    plane = plane_of("values", values)
    faces = np.broadcast_to(PLAIN, (*plane.shape, 4)) if colours is None else np.asarray(colours)
    if faces.shape != (*plane.shape, 4):
        raise ValueError(
            f"colours must have shape {(*plane.shape, 4)}, four numbers for each cell of values, "
            f"got {faces.shape}"
        )
    rows, width = plane.shape
    edges: Any = {"edgecolors": "0.55", "linewidth": 0.5} if plane.size <= NUMBERS_UP_TO else {}
    axes.pcolormesh(np.arange(width + 1) - 0.5, np.arange(rows + 1) - 0.5, faces, **edges)
    axes.set(xlim=(-0.6, width - 0.4), ylim=(rows - 0.4, -0.6), aspect="equal")
    axes.set_axis_off()
    if title is not None:
        axes.set_title(title, fontsize=9)
    if plane.size > NUMBERS_UP_TO:
        return
    numeric = plane.dtype.kind in "biufc"
    for (row, column), value in np.ndenumerate(plane):
        if numeric and np.isnan(value):
            continue
        opaque = faces[row, column, 3] > 0.5
        colour = "black" if opaque else mpl.rcParams["text.color"]
        words = _text(value)
        size = 8.0 if len(words) < 4 else 5.5
        axes.text(column, row, words, ha="center", va="center", fontsize=size, color=colour)


def kernels(weight: Array) -> Figure:
    """Draw the kernels of a convolution: a row for each output, a column for each channel.

    Blue is negative, red is positive, and white is 0, on one scale for all.

    Parameters
    ----------
    weight : array, shape (O, C, KH, KW) or (KH, KW)
        As `arrayconv.conv2d` takes it.

    Returns
    -------
    matplotlib.figure.Figure
        With O x C axes.

    Raises
    ------
    ValueError
        Where ``weight`` has another number of dimensions, or no cell.

    Examples
    --------
    >>> import numpy as np
    >>> from arrayconv import draw
    >>> len(draw.kernels(np.ones((4, 3, 5, 5))).axes)
    12
    """
    given = plane_of("weight", weight, (4, 2))
    values = given if given.ndim == 4 else given[None, None]
    outputs, channels, rows, width = values.shape
    cell = CELL if prod(values.shape) <= NUMBERS_UP_TO else min(CELL, 1.0 / max(rows, width))
    size = (cell * channels * (width + 0.8) + 0.3, cell * outputs * (rows + 0.8) + 0.3)
    figure = Figure(figsize=size, layout="constrained")
    grid: Any = figure.subplots(outputs, channels, squeeze=False)
    limit = float(np.abs(values).max()) or 1.0
    colours = mpl.colormaps["RdBu_r"](0.5 + 0.3 * values.astype(float) / limit)
    small = prod(values.shape) <= NUMBERS_UP_TO
    for place in np.ndindex(outputs, channels):
        numbers = values[place] if small else np.full((rows, width), np.nan)
        cells(grid[place], numbers, colours[place])
    return figure


def feature_maps(maps: Array, titles: Sequence[str] = (), across: int = 4) -> Figure:
    """Draw the channels of an array as pictures, each from its least value to its greatest.

    Parameters
    ----------
    maps : array, shape (C, H, W) or (1, C, H, W)
        What a convolution or a pool returned.
    titles : sequence of str, optional
        Written above the first of them.
    across : int, optional
        Pictures in a row.

    Returns
    -------
    matplotlib.figure.Figure
        With C axes.

    Raises
    ------
    ValueError
        Where ``maps`` are of another shape, or ``across`` is less than 1.

    Examples
    --------
    >>> import numpy as np
    >>> from arrayconv import draw
    >>> figure = draw.feature_maps(np.random.default_rng(0).random((6, 8, 8)))
    >>> len(figure.axes)
    6
    """
    given = plane_of("maps", maps, (3, 4))
    if given.ndim == 4 and len(given) != 1:
        raise ValueError(f"maps must be of one picture, (1, C, H, W), got shape {given.shape}")
    values = given[0] if given.ndim == 4 else given
    if across < 1:
        raise ValueError(f"across must be at least 1, got {across}")
    count, rows, width = values.shape
    across = min(across, count)
    down = ceil(count / across)
    figure = Figure(figsize=(2 * across, 2 * down * rows / width + 0.3), layout="constrained")
    grid: Any = figure.subplots(down, across, squeeze=False)
    for place, axes in enumerate(grid.flat):
        if place >= count:
            axes.remove()
            continue
        axes.imshow(values[place], cmap="gray", interpolation="none")
        axes.set_axis_off()
        if place < len(titles):
            axes.set_title(titles[place], fontsize=9)
    return figure
