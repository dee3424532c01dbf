"""Pictures to arrays and back: (height, width, channel) bytes and (N, C, H, W) numbers in [0, 1].

Picture libraries hold pictures as NumPy arrays or hand them over as such (Pillow), so NumPy does
the work, and the result goes to the device that is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from arrayconv._arrays import Array
from arrayconv._device import Device, get_device, to_numpy

_ORDERS = ("RGB", "BGR")
_MODES = ("L", "LA", "RGB", "RGBA")
"""Pillow's modes whose bytes are brightnesses."""
_CHANNELS = {1: "grey", 2: "grey and alpha", 3: "colour", 4: "colour and alpha"}


def _check_order(order: Any) -> None:
    if not isinstance(order, str) or order not in _ORDERS:
        error = ValueError if isinstance(order, str) else TypeError
        raise error(f"order must be one of {_ORDERS}, got {order!r}")


def _reordered(pixels: Any, order: str) -> Any:
    """Return (..., C) pixels with red and blue exchanged where ``order`` is BGR; alpha stays."""
    if order == "RGB" or pixels.shape[-1] < 3:
        return pixels
    return pixels[..., [2, 1, 0, *range(3, pixels.shape[-1])]]


def _picture(pixels: Any) -> Any:
    """Return one picture as a uint8 array (H, W, C); TypeError or ValueError where it is none."""
    mode = getattr(pixels, "mode", None)
    if isinstance(mode, str) and mode not in _MODES:
        raise ValueError(
            f"a picture must be of one of the modes {_MODES}, got mode {mode!r}: convert('RGB') it"
        )
    if not isinstance(pixels, np.ndarray) and not hasattr(pixels, "__array_interface__"):
        raise TypeError(
            "a picture must be a NumPy array (H, W) or (H, W, C) or a Pillow image, "
            f"got {type(pixels).__module__}.{type(pixels).__qualname__}"
        )
    array = np.asarray(pixels)
    if array.dtype != np.uint8:
        raise TypeError(f"a picture must be of dtype uint8, from 0 to 255, got {array.dtype}")
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in _CHANNELS or 0 in array.shape:
        raise ValueError(
            f"a picture must have the shape (H, W) or (H, W, C) with C of {tuple(_CHANNELS)}, got "
            f"{np.shape(pixels)}; several pictures go as a list"
        )
    return array


def from_image(
    pixels: Any,
    order: str = "RGB",
    dtype: Any = "float32",
    device: Device | str | None = None,
) -> Array:
    """Return pictures as an array (N, C, H, W) of numbers in [0, 1]: each byte divided by 255.

    Parameters
    ----------
    pixels : uint8 array (H, W) or (H, W, C), Pillow image, or a list of them of one size
        Grey, grey and alpha, colour, or colour and alpha (C of 1 to 4). Several pictures go as a
        list or tuple.
    order : {"RGB", "BGR"}, optional
        How the pixels' colours are ordered: "RGB" as in Pillow, matplotlib and imageio, "BGR" as in
        OpenCV. The result is red, green, blue; an alpha channel is kept as the last.
    dtype : dtype or str, optional
        A real floating dtype of NumPy.
    device : Device or str, optional
        Where the result goes, as `get_device` takes it. Default: the CPU.

    Returns
    -------
    array, shape (N, C, H, W)
        With N of 1 for one picture. Never a view of the pixels.

    Raises
    ------
    ValueError
        Where a shape, the order or a Pillow mode is not one of the above, or sizes differ.
    TypeError
        Where a picture is no array of uint8, or the dtype not a floating one.

    See Also
    --------
    to_image : The way back, exact to the byte.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> red = np.zeros((2, 3, 3), dtype=np.uint8)
    >>> red[..., 0] = 255
    >>> ac.from_image(red)[0, :, 0, 0]
    array([1., 0., 0.], dtype=float32)
    """
    _check_order(order)
    kind = np.dtype(dtype)
    if kind.kind != "f":
        raise TypeError(f"dtype must be a real floating one, got {dtype!r}")
    pictures = [_picture(each) for each in (pixels if _is_list(pixels) else (pixels,))]
    if not pictures:
        raise ValueError("pixels must hold at least one picture, got an empty list")
    shapes = [picture.shape for picture in pictures]
    if len(set(shapes)) > 1:
        raise ValueError(f"all pictures of a batch must be of one size, got {shapes}")
    stacked = _reordered(np.stack(pictures), order)
    scaled = np.ascontiguousarray(np.moveaxis(stacked, -1, 1)).astype(np.float64) / 255
    place = device if isinstance(device, Device) else get_device(device or "cpu")
    return place.asarray(scaled.astype(kind))


def _is_list(pixels: Any) -> bool:
    return isinstance(pixels, Sequence) and not isinstance(pixels, str | bytes)


def to_image(array: Array, order: str = "RGB") -> np.ndarray[Any, Any]:
    """Return an array (N, C, H, W) or (C, H, W) of numbers in [0, 1] as pictures of bytes.

    The inverse of `from_image`: times 255, rounded to the nearest byte, and clipped to what a
    byte holds, so that a filter's overshoot becomes black or white.

    Parameters
    ----------
    array : array, shape (N, C, H, W) or (C, H, W)
        Of any supported library and device, of a real floating dtype, with C of 1 to 4.
    order : {"RGB", "BGR"}, optional
        How the pictures' colours are to be ordered: "BGR" for OpenCV.

    Returns
    -------
    numpy.ndarray of uint8, shape (N, H, W, C) or (H, W, C)
        Without the last dimension where C is 1.

    Raises
    ------
    ValueError
        Where the shape or the order is not one of the above, or the array holds a NaN.
    TypeError
        Where the array is none, or not of a real floating dtype.

    See Also
    --------
    from_image : The way there.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.to_image(np.asarray([[[0.0, 0.5, 1.0, 1.5]]]))
    array([[  0, 128, 255, 255]], dtype=uint8)
    """
    _check_order(order)
    values = to_numpy(array)
    if values.dtype.name == "bfloat16":
        values = values.astype(np.float32)
    if values.dtype.kind != "f":
        raise TypeError(f"array must be of a real floating dtype, got {values.dtype}")
    if values.ndim not in (3, 4) or values.shape[-3] not in _CHANNELS:
        raise ValueError(
            f"array must have the shape (N, C, H, W) or (C, H, W) with C of {tuple(_CHANNELS)}, "
            f"got {values.shape}"
        )
    if np.isnan(values).any():
        raise ValueError(f"array of shape {values.shape} holds a NaN, which is no brightness")
    scaled = np.rint(np.clip(values.astype(np.float64), 0, 1) * 255).astype(np.uint8)
    pictures = np.ascontiguousarray(_reordered(np.moveaxis(scaled, -3, -1), order))
    return pictures[..., 0] if pictures.shape[-1] == 1 else pictures
