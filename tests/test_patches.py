"""extract_patches and merge_patches: each other's inverse, and adjoints of linear maps."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import arrayconv as ac
from arrayconv import reference
from tests.cases import assert_close, draw

CASES = (
    ((2, 3, 6, 8), {"kernel_size": 2}),
    ((2, 3, 7, 8), {"kernel_size": (3, 4), "stride": (2, 1)}),
    ((3, 7, 6), {"kernel_size": 3, "padding": ((2, 1), (0, 3))}),
    ((1, 2, 9), {"kernel_size": (4,), "stride": 2, "padding": "same_upper"}),
    ((2, 5, 4, 3), {"kernel_size": (2, 2, 2), "stride": 1}),
    ((1, 1, 8, 8), {"kernel_size": 2, "stride": 1, "dilation": 3}),
)


def dimensions(window: dict[str, Any]) -> int:
    kernel = window["kernel_size"]
    return len(kernel) if isinstance(kernel, tuple) else 2


@pytest.mark.parametrize("dtype", ["float32", "complex128", "int16", "bool"])
@pytest.mark.parametrize(("shape", "window"), CASES, ids=str)
def test_patches_are_columns(library, shape, window, dtype):
    x = draw(np.random.default_rng(0), shape, dtype)
    dims = dimensions(window)
    kernel = np.broadcast_to(window["kernel_size"], dims)
    unbatched = x.ndim == dims + 1
    stepped = {"stride": tuple(int(k) for k in kernel), **window}
    stepped["kernel_size"] = tuple(int(k) for k in kernel)
    columns = reference.unfold(x[None] if unbatched else x, **stepped)
    wanted = columns.swapaxes(1, 2).reshape(*columns.shape[::2], -1, *kernel)
    given = library.frozen(x, dtype)
    with library.no_synchronisation():
        got = ac.extract_patches(given, **window)
    assert_close(library.to_numpy(got), wanted[0] if unbatched else wanted, dtype)


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize(("shape", "window"), CASES, ids=str)
def test_there_and_back(library, shape, window, dtype):
    """Cells that are in a patch come back; those in none are 0."""
    x = draw(np.random.default_rng(0), shape, dtype)
    patches = ac.extract_patches(library.frozen(x, dtype), **window)
    seen = ac.extract_patches(np.ones_like(x), **window)
    where = {name: value for name, value in window.items() if name != "kernel_size"}
    sizes = shape[-dimensions(window) :]
    merged = library.to_numpy(ac.merge_patches(patches, sizes, **where))
    covered = ac.merge_patches(seen, sizes, **where)
    assert set(np.unique(covered)) <= {0, 1}
    assert_close(merged, x * covered, dtype)


def test_every_cell_is_covered_by_same_upper(library):
    x = draw(np.random.default_rng(0), (1, 2, 10, 7), "float64")
    patches = ac.extract_patches(library.frozen(x), 4, padding="same_upper")
    merged = ac.merge_patches(patches, (10, 7), padding="same_upper")
    np.testing.assert_array_equal(library.to_numpy(merged), x)


@pytest.mark.parametrize(("shape", "window"), CASES, ids=str)
def test_adjoints(library, shape, window):
    rng = np.random.default_rng(1)
    x = draw(rng, shape, "complex128")
    patches, pullback = ac.vjp(ac.extract_patches, library.frozen(x), **window)
    given = draw(rng, tuple(patches.shape), "complex128")
    (to_x,) = pullback(library.frozen(given))
    left = np.vdot(given, library.to_numpy(patches))
    assert np.isclose(left, np.vdot(library.to_numpy(to_x), x), rtol=1e-12)
    where = {name: value for name, value in window.items() if name != "kernel_size"}
    sizes = shape[-dimensions(window) :]
    merged, pullback = ac.vjp(ac.merge_patches, library.frozen(given), output_size=sizes, **where)
    (to_patches,) = pullback(library.frozen(x))
    left = np.vdot(x, library.to_numpy(merged))
    assert np.isclose(left, np.vdot(library.to_numpy(to_patches), given), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types_are_averaged_in_float32(library, dtype, skip_unless_supported):
    skip_unless_supported("fold", library, dtype)
    ones = library.frozen(np.full((1, 1, 64, 64), 100.0), dtype)
    patches = ac.extract_patches(ones, 48, stride=1)
    merged = ac.merge_patches(patches, 64, stride=1)
    assert merged.dtype == ones.dtype
    np.testing.assert_array_equal(library.to_numpy(merged), library.to_numpy(ones))


@pytest.mark.parametrize(
    ("error", "said", "arguments", "params"),
    [
        (TypeError, "patches must be of a floating", (np.ones((1, 1, 1, 2, 2), int), 2), {}),
        (TypeError, "patches must be an array", ([], 2), {}),
        (ValueError, "patches must have 5 dim", (np.ones((1, 2, 2)), 2), {}),
        (ValueError, "patches must have 4 dim", (np.ones((1, 2)), (2,)), {}),
        (ValueError, "at least one cell", (np.ones((1, 1, 1, 0, 2)), 2), {}),
        (ValueError, "output_size", (np.ones((1, 1, 1, 2, 2)), ()), {}),
        (ValueError, "must have 9 columns", (np.ones((1, 4, 1, 2, 2)), 4), {"stride": 1}),
        (TypeError, "output_size", (np.ones((1, 1, 1, 2, 2)), 2.0), {}),
    ],
)
def test_refusals(error, said, arguments, params):
    with pytest.raises(error, match=re.escape(said)):
        ac.merge_patches(*arguments, **params)
