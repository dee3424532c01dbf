"""What every operation returns: each library, implementation and dtype against the loops."""

from __future__ import annotations

import numpy as np
import pytest

import arrayconv as ac
from arrayconv._capabilities import DTYPES
from tests.cases import CASES, COLUMNS, CONVOLUTIONS, DENSE, PADS, TRANSPOSED, Case, assert_close
from tests.lecture import FILTERS, LECTURE, MAPS

DTYPE_CASES = (CONVOLUTIONS[5], TRANSPOSED[4], COLUMNS[2], COLUMNS[9], DENSE[0], PADS[0])


def check(library, case: Case, dtype: str, **more: str) -> None:
    arrays = [library.frozen(array, dtype) for array in case.arrays(dtype)]
    with library.no_synchronisation():
        got = case.run(*arrays, **more)
    assert got.dtype == arrays[0].dtype
    wanted = case.expected(*(library.to_numpy(array) for array in arrays))
    assert_close(library.to_numpy(got), wanted, dtype)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
@pytest.mark.parametrize("dtype", ["float64", "complex64", "int64"])
def test_every_case(library, case, dtype):
    check(library, case, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", DTYPE_CASES, ids=lambda case: case.id)
def test_every_dtype(library, case, dtype, skip_unless_supported):
    skip_unless_supported(case.operation, library, dtype)
    check(library, case, dtype)


EACH = [*CONVOLUTIONS, *TRANSPOSED, *COLUMNS, *PADS]


@pytest.mark.parametrize("case", EACH, ids=lambda case: case.id)
@pytest.mark.parametrize("dtype", ["float32", "complex128", "int32"])
def test_every_implementation(library, case, dtype):
    arrays = [library.frozen(array, dtype) for array in case.arrays(dtype)]
    explained = ac.explain(getattr(ac, case.function), *arrays, **case.params)
    served = [each.name for each in explained.candidates if not each.reason.startswith("unfit")]
    # Plain slices would gather a Dask array's chunks into one.
    assert ("generic" in served) == (library.name != "dask")
    assert served
    wanted = case.expected(*(library.to_numpy(array) for array in arrays))
    for name in served:
        with ac.options(algorithm=name), library.no_synchronisation():
            got = case.run(*arrays)
        assert_close(library.to_numpy(got), wanted, dtype)


def test_a_pad_of_no_axes_is_a_copy(library):
    number = library.asarray(np.full((), 3.0), "float64")
    padded = ac.pad(number, ())
    assert padded.shape == ()
    assert library.to_numpy(padded) == 3.0
    assert library.name != "numpy" or not np.shares_memory(padded, number)


@pytest.mark.parametrize("case", [*CONVOLUTIONS, *TRANSPOSED, *COLUMNS], ids=lambda case: case.id)
def test_blocks_of_a_few_positions(case):
    arrays = case.arrays("float64")
    with ac.options(workspace_bytes=1):
        assert_close(case.run(*arrays), case.expected(*arrays), "float64")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_lectures_numbers(library, dtype):
    image, filters = library.frozen(LECTURE, dtype), library.frozen(FILTERS, dtype)
    bias = library.frozen(np.ones(2), dtype)
    maps = library.to_numpy(ac.conv2d(image, filters, bias))
    assert maps.dtype == dtype
    np.testing.assert_array_equal(maps, MAPS)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_lectures_product_of_matrices(library, dtype):
    columns = ac.unfold(library.frozen(LECTURE, dtype), 3)
    assert tuple(columns.shape) == (1, 9, 16)
    rows = library.frozen(FILTERS.reshape(2, 9), dtype)
    bias = library.frozen(np.ones((2, 1)), dtype)
    product = library.xp.matmul(rows, columns) + bias
    maps = library.xp.reshape(product, (1, 2, 4, 4))
    np.testing.assert_array_equal(library.to_numpy(maps), MAPS)
    # All channels of a pool stand in one column: (1, channels * taps, windows).
    pooled = library.to_numpy(ac.unfold(maps, 2, stride=2))
    assert pooled.shape == (1, 8, 4)
    best = pooled.reshape(1, 2, 4, 4).max(axis=2)
    np.testing.assert_array_equal(best, [[[5, -1, -1, 6], [5, 3, -4, 4]]])
    dense = ac.linear(
        library.frozen(best.reshape(1, 8), dtype),
        library.frozen(np.ones((1, 8)), dtype),
        library.frozen(np.ones(1), dtype),
    )
    np.testing.assert_array_equal(library.to_numpy(dense), [[18]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_lectures_backward_pass(library, dtype):
    """By hand: each output hands its cotangent, 1, to the cells and weights it was made of."""
    image, filters = library.frozen(LECTURE, dtype), library.frozen(FILTERS, dtype)
    bias = library.frozen(np.ones(2), dtype)
    output, pullback = ac.vjp(ac.conv2d, image, filters, bias)
    ones = library.frozen(np.ones((1, 2, 4, 4)), dtype)
    to_image, to_filters, to_bias = map(library.to_numpy, pullback(ones))
    np.testing.assert_array_equal(library.to_numpy(output), MAPS)
    sums = [[LECTURE[0, 0, i : i + 4, j : j + 4].sum() for j in range(3)] for i in range(3)]
    np.testing.assert_array_equal(to_filters, [[sums], [sums]])
    np.testing.assert_array_equal(to_bias, [16, 16])
    seen = np.zeros((6, 6))
    for i in range(4):
        for j in range(4):
            seen[i : i + 3, j : j + 3] += FILTERS.sum(axis=(0, 1))
    np.testing.assert_array_equal(to_image, seen[None, None])
    # The gradient of im2col is col2im: the same by the columns alone.
    columns, back = ac.vjp(ac.unfold, image, kernel_size=3)
    spread = np.repeat(FILTERS.sum(axis=0).reshape(1, 9, 1), 16, axis=2)
    (by_columns,) = back(library.frozen(spread, dtype))
    np.testing.assert_array_equal(library.to_numpy(by_columns), seen[None, None])
    assert tuple(columns.shape) == (1, 9, 16)


def test_fold_counts_the_windows_that_see_a_cell(library):
    image = library.frozen(np.arange(30.0).reshape(1, 1, 5, 6) + 1, "float64")
    window = {"kernel_size": 3, "stride": 2, "padding": 1}
    ones = library.xp.ones_like(image)
    counts = ac.fold(ac.unfold(ones, **window), (5, 6), **window)
    back = ac.fold(ac.unfold(image, **window), (5, 6), **window) / counts
    np.testing.assert_allclose(library.to_numpy(back), library.to_numpy(image), rtol=1e-15)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_unfold_copies_what_is_not_finite(library, value):
    """A product with a one-hot kernel would spread it over each window (0 * inf)."""
    x = np.zeros((1, 1, 5, 5))
    x[0, 0, 2, 2] = value
    columns = library.to_numpy(ac.unfold(library.frozen(x, "float32"), 3))
    assert np.count_nonzero(columns) == 9


@pytest.mark.parametrize("algorithm", ["auto", "generic"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types_are_summed_in_float32(library, dtype, algorithm, skip_unless_supported):
    """2048 + 1 is 2048 in float16, so a sum that is kept in it loses what comes after."""
    skip_unless_supported("conv", library, dtype)
    large = 2048 if dtype == "float16" else 256
    parts, ones = np.asarray([*[1] * 8, large, *[1] * 8]), np.ones(17)

    def array(values, *shape):
        return library.frozen(np.reshape(values, shape), dtype)

    with ac.options(algorithm=algorithm):
        sums = (
            ac.conv1d(array(parts, 1, 17, 1), array(ones, 1, 17, 1)),
            ac.conv1d(array(parts, 1, 1, 17), array(ones, 1, 1, 17)),
            ac.conv_transpose1d(array(parts, 1, 17, 1), array(ones, 17, 1, 1)),
            ac.conv_transpose1d(array(parts, 1, 1, 17), array(ones, 1, 1, 17), padding=16),
            ac.fold(array(np.diag(parts)[::-1], 1, 17, 17), (1,), (17,), padding=16),
            ac.linear(array(parts, 1, 17), array(ones, 1, 17)),
            ac.vjp(ac.conv1d, array(ones, 17, 1, 1), array([1], 1, 1, 1), array([0], 1))[1](
                array(parts, 17, 1, 1)
            )[2],
            ac.vjp(ac.conv1d, array(ones, 17, 1, 1), array([1], 1, 1, 1))[1](
                array(parts, 17, 1, 1)
            )[1],
        )
    for each in sums:
        assert library.to_numpy(each).item() == large + 16
