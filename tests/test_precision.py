"""How much what "auto" takes rounds, and what it takes where it may round more."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

import arrayconv as ac
from arrayconv import primitives
from arrayconv._window import output_sizes, sliding_window
from arrayconv.backends.numpy import converted
from arrayconv.backends.numpy.convolution import BACKWARD, FORWARD, TO_WEIGHT

MOST = 2.6
"""Times the error of im2col. It was 2.2 where a BLAS adds up 300 products one after the other, and
2.3 beside a BLAS whose sums for im2col are more exact."""


@pytest.mark.parametrize("channels", [16, 300])
@pytest.mark.parametrize("kernel", [(3, 3), (2, 2), (4, 4), (5, 5), (7, 7), (3,), (5,), (9,)])
def test_auto_rounds_about_as_im2col_does(kernel, channels):
    """What it takes has about twice its error at most, and larger tiles are passed by for more."""
    rng = np.random.default_rng(0)
    dims = len(kernel)
    sizes = (24, 25) if dims == 2 else (800,)
    x = np.maximum(rng.standard_normal((1, channels, *sizes)), 0).astype("float32")
    w = rng.standard_normal((32, channels, *kernel)).astype("float32")
    pads = tuple((taps // 2, taps // 2) for taps in kernel)
    window = sliding_window(sizes, kernel, (1,) * dims, pads, (1,) * dims)
    y = rng.standard_normal((1, 32, *output_sizes(window))).astype("float32")
    for primitive, rule, pair in (
        (primitives.conv, FORWARD, (x, w)),
        (primitives.conv_transpose, BACKWARD, (y, w)),
        (primitives.conv_weight, TO_WEIGHT, (x, y)),
    ):
        wide = [array.astype("float64") for array in pair]
        wanted = primitive(*wide, window, 1, algorithm="generic")

        def error(name: str, primitive=primitive, pair=pair, wanted=wanted) -> float:
            got = primitive(*pair, window, 1, algorithm=name)
            return float(np.sqrt(((got - wanted) ** 2).mean() / (wanted**2).mean()))

        of_im2col = error("im2col")
        for each in primitive.implementations(pair[0]):
            # Transforms are for large kernels; of few terms im2col's sums are more exact.
            indirect = "winograd" in each.name or (each.name == "fft" and prod(kernel) > 16)
            if not indirect or each.unfit(*pair, window, 1) is not None:
                continue
            times = error(each.name) / of_im2col
            reduced = each.rounds(*pair, window, 1) is not None
            assert reduced == (each.name not in rule.estimates(*pair, window, 1)[1])
            assert reduced or times < MOST, (primitive.name, each.name, times)
            # Long sums of few channels lose more in im2col, those to a weight most of all.
            if reduced and channels == 300 and primitive is primitives.conv:
                assert times > 1.3, (each.name, times)
        assert error(primitive.choose("auto", *pair, window, 1).name) < MOST * of_im2col


def test_auto_takes_larger_tiles_where_reduced_precision_is_allowed():
    x, w = np.ones((1, 64, 56, 56), "float32"), np.ones((64, 64, 3, 3), "float32")
    wide, kernel = np.ones((1, 8, 64, 64)), np.ones((8, 1, 31, 31))

    def chosen() -> str:
        return ac.explain(ac.conv2d, x, w, padding=1).chosen

    def said() -> dict[str, str]:
        found = ac.explain(ac.conv2d, x, w, padding=1).candidates
        return {each.name: each.reason for each in found}

    def of_float64() -> str:
        found = ac.explain(ac.conv2d, wide, kernel, padding=15, groups=8)
        return next(each.reason for each in found.candidates if each.name == "fft")

    assert chosen().endswith("2x2")
    assert said()["winograd_4x4"] == (
        "reduced precision: its products, and so their rounding, are 4.8 times its results; "
        "options(allow_reduced_precision=True) allows it"
    )
    assert of_float64().startswith("reduced precision: its rounding")
    with ac.options(allow_reduced_precision=True):
        assert chosen().endswith("4x4")
        assert said()["winograd_2x2"].startswith("slow: ")
        assert not of_float64().startswith("reduced precision")
    assert chosen().endswith("2x2")


def test_half_types_may_round_more_before_the_end_and_complex_ones_as_float32():
    assert (converted.HALVES.reduced(), converted.COMPLEX.reduced()) == (True, False)
    with ac.options(allow_reduced_precision=True):
        assert converted.COMPLEX.reduced()
    window = sliding_window((56, 56), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1))
    layer = np.ones((1, 64, 56, 56), "float32"), np.ones((64, 64, 3, 3), "float32")
    shape = FORWARD.estimates(*layer, window, 1)[0]
    for reduced, tile in ((True, "4x4"), (False, "2x2")):
        assert FORWARD.chosen(*layer, window, 1, reduced).name.endswith(tile)
    assert FORWARD.least(shape, True) < FORWARD.least(shape, False)
