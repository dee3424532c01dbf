"""The pictures of these pages, drawn by `arrayconv.draw` and matplotlib.

``python -m docs.pictures FOLDER`` writes them all; the site's build (``docs/hooks.py``) draws each
one twice, for bright and for dark pages.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from docs.pictures import grids, kernels, photographs, plots

THEMES = {
    "light": {"text.color": "#1f2328", "axes.labelcolor": "#1f2328"},
    "dark": {"text.color": "#e2e4ea", "axes.labelcolor": "#e2e4ea"},
}
WEBP: dict[str, Any] = {"quality": 82}
COMMON = {
    "savefig.transparent": True,
    "savefig.pad_inches": 0.05,
    "svg.hashsalt": "arrayconv",
    "font.size": 9,
}

Made = Figure | list[Figure]
"""One figure, or the frames of an animation."""

PICTURES: dict[str, Callable[[], Made]] = {
    "parameters.svg": plots.parameters,
    "shift.webp": photographs.shift,
    "channels.webp": photographs.channels,
    "bgr.webp": photographs.bgr,
    "filters.webp": photographs.filters,
    "sliding.webp": grids.sliding,
    "stride.svg": grids.stride,
    "padding.svg": grids.padding,
    "dilation.svg": grids.dilation,
    "im2col.svg": grids.im2col,
    "im2col-channels.svg": grids.im2col_channels,
    "filling.webp": grids.filling,
    "product.svg": grids.product,
    "counts.svg": grids.counts,
    "counts-stride.svg": grids.counts_stride,
    "pooling.svg": grids.pooling,
    "patches.webp": photographs.patches,
    "pooled.webp": photographs.pooled,
    "adaptive.svg": grids.adaptive,
    "signal.svg": plots.signal,
    "volume.webp": photographs.volume,
    "digits.png": plots.digits,
    "house.svg": plots.house,
    "product-tile.svg": kernels.product_tile,
}


def _styled(theme: str) -> Any:
    colours = THEMES[theme]
    axes = {
        name: colours["text.color"] for name in ("axes.edgecolor", "xtick.color", "ytick.color")
    }
    return mpl.rc_context({**COMMON, **colours, **axes})


def _animated(frames: list[Figure]) -> bytes:
    """Return an animation of half a second a frame, and longer at its end."""
    from PIL import Image

    images = []
    for frame in frames:
        file = io.BytesIO()
        frame.savefig(file, format="png", dpi=110)
        images.append(Image.open(file))
    spans = [500] * (len(images) - 1) + [2500]
    made = io.BytesIO()
    images[0].save(
        made, "webp", save_all=True, append_images=images[1:], duration=spans, loop=0, **WEBP
    )
    return made.getvalue()


@cache
def picture(name: str, theme: str) -> bytes:
    """Return the file of a picture, for pages of a theme ("light" or "dark")."""
    with _styled(theme):
        made = PICTURES[name]()
        if isinstance(made, list):
            return _animated(made)
        file, kind = io.BytesIO(), Path(name).suffix[1:]
        ways: dict[str, Any] = {"svg": {"metadata": {"Date": None}}, "webp": {"pil_kwargs": WEBP}}
        made.savefig(file, format=kind, dpi=150, bbox_inches="tight", **ways.get(kind, {}))
        return file.getvalue()


def files(name: str) -> dict[str, str]:
    """Return, for each theme, the name of the file of a picture."""
    stem, _, kind = name.rpartition(".")
    return {theme: f"{stem}-{theme}.{kind}" for theme in THEMES}
