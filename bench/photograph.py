"""The lecture's first experiment: a few filters on a photograph."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.cases import Array, Case

# The two filters of the lecture, with its biases.
LECTURE = (
    ((1, 1, 0), (-1, 1, -1), (0, -1, -1)),
    ((1, 1, 0), (-1, 1, -1), (-1, 0, -1)),
)
LECTURE_BIAS = (1, 1)
SOBEL = (
    ((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)),
    ((-1, -2, -1), (0, 0, 0), (1, 2, 1)),
)
GAUSSIAN = np.outer((1, 4, 6, 4, 1), (1, 4, 6, 4, 1)) / 256
SHARPEN = ((0, -1, 0), (-1, 5, -1), (0, -1, 0))


def photograph(reduce: int = 1) -> tuple[Array, Array]:
    """Return the photograph that ships with matplotlib, (1, 1, H, W) grey and (1, 3, H, W) RGB."""
    from matplotlib.cbook import get_sample_data
    from PIL import Image

    file: Any = get_sample_data("grace_hopper.jpg")
    with file, Image.open(file) as opened:
        picture = opened.convert("RGB").reduce(reduce)
    grey = np.asarray(picture.convert("L"), dtype=np.float32) / 255
    rgb = np.asarray(picture, dtype=np.float32) / 255
    photo = grey[np.newaxis, np.newaxis], np.ascontiguousarray(np.moveaxis(rgb, -1, 0)[np.newaxis])
    for array in photo:
        # Everyone gets the same one.
        array.flags.writeable = False
    return photo


def filtered(
    name: str, title: str, picture: Array, kernels: Any, bias: Any = None, **params: Any
) -> Case:
    """Return the case of kernels (KH, KW) on a picture, each of which sees one channel."""
    weight = np.asarray(kernels, dtype=np.float32)[:, np.newaxis]
    values = [picture, weight]
    if bias is not None:
        values.append(np.asarray(bias, dtype=np.float32))
    for array in values:
        array.flags.writeable = False
    return Case(
        name,
        "conv2d",
        picture.shape,
        params,
        weight.shape,
        bias=bias is not None,
        values=tuple(values),
        title=title,
    )


def photograph_cases(grey: Array, rgb: Array) -> tuple[Case, ...]:
    """Return the cases: what each filter does to the photograph."""
    blur, sharpen = (GAUSSIAN,) * 3, (SHARPEN,) * 3
    return (
        filtered("lecture", "the lecture's two filters, grey", grey, LECTURE, LECTURE_BIAS),
        filtered("gaussian", "Gaussian blur, each colour", rgb, blur, padding=2, groups=3),
        filtered("sobel", "Sobel's two filters, grey", grey, SOBEL, padding=1),
        filtered("sharpen", "sharpening, each colour", rgb, sharpen, padding=1, groups=3),
    )
