"""Photographs: shifted, in channels, filtered, pooled; and slices of a volume."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import arrayconv as ac

SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32)


@cache
def portrait() -> Any:
    """Return the photograph that ships with matplotlib, (1, 3, H, W)."""
    from matplotlib.cbook import get_sample_data
    from PIL import Image

    file: Any = get_sample_data("grace_hopper.jpg")
    with file, Image.open(file) as opened:
        return ac.from_image(opened.convert("RGB").reduce(2))


@cache
def flower() -> Any:
    """Return the photograph of a flower that ships with scikit-learn, (1, 3, H, W)."""
    from sklearn.datasets import load_sample_image

    return ac.from_image(np.ascontiguousarray(load_sample_image("flower.jpg")[::2, 60:580:2]))


def _photographs(shown: list[Any], titles: list[str], **style: Any) -> Figure:
    """Return a row of pictures (H, W) or (H, W, 3)."""
    rows, width = shown[0].shape[:2]
    across = 2.3 * len(shown)
    figure = Figure(figsize=(across, 2.3 * rows / width + 0.3), layout="constrained")
    grid: Any = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, picture, title in zip(grid, shown, titles, strict=True):
        axes.imshow(picture, **({} if picture.ndim == 3 else {"cmap": "gray", **style}))
        axes.set_title(title, fontsize=5 + 2 * len(shown))
        axes.set_axis_off()
    return figure


def shift() -> Figure:
    """Shifting the picture and then looking for edges, and the other way round."""
    grey = portrait().mean(axis=1, keepdims=True)

    def edges(picture: Any) -> Any:
        return ac.conv2d(picture, SOBEL[None, None], padding=1, padding_mode="circular")

    def moved(picture: Any) -> Any:
        return np.roll(picture, (60, 90), axis=(2, 3))

    first, second = edges(moved(grey)), moved(edges(grey))
    assert np.array_equal(first, second)
    shown = [grey, moved(grey), np.abs(first), np.abs(second)]
    titles = ["photograph", "shifted", "conv(shift(x))", "shift(conv(x))"]
    return _photographs([each[0, 0] for each in shown], titles)


def channels() -> Figure:
    """A photograph and its three channels."""
    picture = ac.to_image(flower())[0]
    shown = [picture]
    for channel in range(3):
        alone = np.zeros_like(picture)
        alone[..., channel] = picture[..., channel]
        shown.append(alone)
    return _photographs(shown, ["(H, W, 3)", "red", "green", "blue"])


def bgr() -> Figure:
    """The same bytes read in the right and in the wrong order."""
    picture = ac.to_image(flower())[0]
    return _photographs([picture, picture[..., ::-1]], ["RGB read as RGB", "BGR read as RGB"])


def filters() -> Figure:
    """What a few kernels make of a photograph."""
    grey = portrait().mean(axis=1)[0]
    blur = np.full((9, 9), 1 / 81, np.float32)
    sharpen = np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], np.float32)
    made = [ac.correlate(grey, kernel) for kernel in (SOBEL, SOBEL.T.copy(), blur, sharpen)]
    shown = [np.abs(made[0]), np.abs(made[1]), made[2], made[3].clip(0, 1)]
    titles = ["vertical edges", "horizontal edges", "mean of 9 x 9", "sharpened"]
    return _photographs(shown, titles)


def pooled() -> Figure:
    """A photograph, its maxima and its averages over 12 x 12 cells."""
    grey = portrait().mean(axis=1, keepdims=True)
    shown = [grey, ac.max_pool2d(grey, 12), ac.avg_pool2d(grey, 12), -ac.max_pool2d(-grey, 12)]
    titles = ["photograph", "largest of 12 x 12", "average", "smallest"]
    return _photographs([each[0, 0] for each in shown], titles, vmin=0, vmax=1)


def volume() -> Figure:
    """Slices of a hollow ball, and of its edges found in three dimensions."""
    grid = np.mgrid[-1:1:48j, -1:1:48j, -1:1:48j]
    radius = np.sqrt((grid**2).sum(axis=0))
    ball = ((radius > 0.35) & (radius < 0.8)).astype(np.float32)
    smooth, slope = np.array([1, 2, 1]) / 4, np.array([-1, 0, 1]) / 2
    steps = [
        np.einsum("i,j,k->ijk", *(slope if a == b else smooth for b in range(3))) for a in range(3)
    ]
    weight = np.stack(steps)[:, None].astype(np.float32)
    found = ac.conv3d(ball[None, None], weight, padding="same")[0]
    edges = np.sqrt((found**2).sum(axis=0))
    shown = [ball[24], edges[24], ball[12], edges[12]]
    titles = ["middle slice", "its edges", "slice at a quarter", "its edges"]
    return _photographs(shown, titles)


def patches() -> Figure:
    """A noisy photograph, repaired in patches side by side and in patches that overlap."""
    from sklearn.datasets import load_sample_image

    clean = ac.from_image(load_sample_image("china.jpg"))[:, :, 120:330, 180:440]
    noisy = clean + np.random.default_rng(0).normal(0, 0.1, clean.shape).astype(np.float32)
    shown = [noisy]
    for stride in (64, 16):
        cut = ac.extract_patches(noisy, 64, stride, "same_upper")
        spectrum = np.fft.rfft2(cut)
        weak = np.abs(spectrum) < 3 * 0.1 * 64
        weak[..., 0, 0] = False
        spectrum[weak] = 0
        made = np.fft.irfft2(spectrum, (64, 64)).astype(np.float32)
        shown.append(ac.merge_patches(made, clean.shape[2:], stride, "same_upper"))
    pictures = [np.moveaxis(each[0], 0, -1).clip(0, 1) for each in shown]
    return _photographs(pictures, ["with noise", "patches side by side", "patches that overlap"])
