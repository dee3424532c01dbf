"""Pictures: there and back to the byte, from Pillow and in OpenCV's order, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import arrayconv as ac

RNG = np.random.default_rng(0)
SHAPES = {"grey": (5, 4), "grey, alpha": (5, 4, 2), "colour": (5, 4, 3), "alpha": (5, 4, 4)}


@pytest.mark.parametrize("order", ["RGB", "BGR"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_round_trip(shape, dtype, order):
    picture = RNG.integers(0, 256, shape, dtype=np.uint8)
    before = picture.copy()
    array = ac.from_image(picture, order, dtype)
    channels = shape[2] if len(shape) == 3 else 1
    assert array.shape == (1, channels, 5, 4)
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    np.testing.assert_array_equal(ac.to_image(array, order)[0], before)
    np.testing.assert_array_equal(ac.to_image(array[0], order), before)
    np.testing.assert_array_equal(picture, before)
    assert not np.shares_memory(array, picture)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_every_byte_there_and_back(dtype):
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    array = ac.from_image(every, dtype=dtype)
    np.testing.assert_array_equal(array[0, 0], (np.arange(256) / 255).reshape(16, 16).astype(dtype))
    np.testing.assert_array_equal(ac.to_image(array)[0], every)


def test_where_the_colours_go():
    picture = np.asarray([[[10, 20, 30, 40]]], dtype=np.uint8)
    np.testing.assert_allclose(ac.from_image(picture).ravel() * 255, [10, 20, 30, 40], rtol=1e-6)
    blue_first = ac.from_image(picture, order="BGR")
    np.testing.assert_allclose(blue_first.ravel() * 255, [30, 20, 10, 40], rtol=1e-6)
    np.testing.assert_array_equal(ac.to_image(blue_first)[0, 0, 0], [30, 20, 10, 40])


def test_batches():
    pictures = RNG.integers(0, 256, (3, 5, 4, 3), dtype=np.uint8)
    for batch in (list(pictures), tuple(pictures)):
        array = ac.from_image(batch)
        assert array.shape == (3, 3, 5, 4)
        np.testing.assert_array_equal(ac.to_image(array), pictures)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_pillow(mode):
    image = pytest.importorskip("PIL.Image", reason="Pillow images need Pillow")
    picture = image.fromarray(RNG.integers(0, 256, (5, 4, 3), dtype=np.uint8)).convert(mode)
    back = ac.to_image(ac.from_image(picture))[0]
    np.testing.assert_array_equal(back, np.asarray(picture))
    assert image.fromarray(back).mode == mode


@pytest.mark.parametrize("mode", ["1", "P", "CMYK", "YCbCr", "HSV", "I", "F"])
def test_pillow_modes_that_are_no_brightnesses(mode):
    image = pytest.importorskip("PIL.Image", reason="Pillow images need Pillow")
    with pytest.raises(ValueError, match=f"got mode '{mode}'"):
        ac.from_image(image.new(mode, (4, 5)))


def test_to_image_rounds_and_clips(library):
    values = np.asarray([[[-1.0, -0.0, 0.4999 / 255, 0.5001 / 255, 254.6 / 255, 1.0, 7.0, np.inf]]])
    got = ac.to_image(library.frozen(values, "float64"))
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, [[0, 0, 0, 1, 255, 255, 255, 255]])


def test_a_device():
    picture = np.zeros((2, 2), np.uint8)
    for device in ("cpu", ac.get_device("cpu"), None):
        assert isinstance(ac.from_image(picture, device=device), np.ndarray)
    with pytest.raises(ValueError, match="got 'tpu'"):
        ac.from_image(picture, device="tpu")


@pytest.mark.parametrize(
    ("pixels", "error", "words"),
    [
        (np.zeros((2, 2)), TypeError, "uint8.*float64"),
        (np.zeros((2, 2), np.uint16), TypeError, "uint8.*uint16"),
        (np.zeros((2, 2), bool), TypeError, "uint8.*bool"),
        (np.zeros(4, np.uint8), ValueError, r"\(4,\)"),
        (np.zeros((3, 2, 2, 3), np.uint8), ValueError, r"\(3, 2, 2, 3\).*as a list"),
        (np.zeros((2, 2, 5), np.uint8), ValueError, r"\(2, 2, 5\)"),
        (np.zeros((0, 2, 3), np.uint8), ValueError, r"\(0, 2, 3\)"),
        ([], ValueError, "at least one picture"),
        ([np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8)], ValueError, "one size.*2, 3"),
        ("grace_hopper.jpg", TypeError, "got builtins.str"),
        (b"png", TypeError, "got builtins.bytes"),
        (None, TypeError, "NoneType"),
        ([[0, 1], [2, 3]], TypeError, "got builtins.list"),
    ],
)
def test_no_picture(pixels, error, words):
    with pytest.raises(error, match=words):
        ac.from_image(pixels)


def test_other_arguments_that_are_refused():
    picture, array = np.zeros((2, 2), np.uint8), np.zeros((1, 2, 2))
    for order in ("rgb", "GBR", ""):
        for function, given in ((ac.from_image, picture), (ac.to_image, array)):
            with pytest.raises(ValueError, match=f"order must be .* got '{order}'"):
                function(given, order)
    with pytest.raises(TypeError, match=r"order must be .* got None"):
        ac.to_image(array, None)
    for dtype in ("int8", "complex64", bool):
        with pytest.raises(TypeError, match="dtype must be a real floating one"):
            ac.from_image(picture, dtype=dtype)
    for wrong in (np.zeros((2, 2)), np.zeros((5, 2, 2)), np.zeros((1, 1, 1, 2, 2))):
        with pytest.raises(ValueError, match="must have the shape"):
            ac.to_image(wrong)
    for dtype in ("uint8", "complex128"):
        with pytest.raises(TypeError, match="real floating dtype"):
            ac.to_image(np.zeros((1, 2, 2), dtype))
    with pytest.raises(ValueError, match="NaN"):
        ac.to_image(np.full((1, 2, 2), np.nan))
    with pytest.raises(TypeError, match="must be an array"):
        ac.to_image([[0.0]])
