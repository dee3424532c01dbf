"""The geometry against counting: every window position walked one cell at a time."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import arrayconv as ac
from arrayconv._integers import integers, padding_argument
from arrayconv._window import (
    Axis,
    adjoint_axis,
    index_table,
    needed_after,
    sliding_window,
    tap_range,
    transposed_window,
)

sizes = st.integers(1, 13)
kernels = st.integers(1, 5)
strides = st.integers(1, 5)
dilations = st.integers(1, 4)
paddings = st.tuples(st.integers(0, 6), st.integers(0, 6))


def walk(n: int, k: int, s: int, pair: tuple[int, int], d: int) -> list[list[int]]:
    """Return what each window sees of an explicitly padded row, by sliding it cell by cell."""
    row = [-1] * pair[0] + list(range(n)) + [-1] * pair[1]
    windows, start = [], 0
    while start + d * (k - 1) < len(row):
        windows.append([row[start + t * d] for t in range(k)])
        start += s
    return windows


@given(sizes, kernels, strides, paddings, dilations)
def test_positions_and_cells_are_those_of_a_walk(n, k, s, pair, d):
    walked = walk(n, k, s, pair, d)
    if not walked:
        with pytest.raises(ValueError, match=r"kernel_size .* spans"):
            sliding_window((n,), (k,), (s,), (pair,), (d,))
        return
    (axis,) = sliding_window((n,), (k,), (s,), (pair,), (d,))
    assert axis.out == len(walked)
    assert [list(row) for row in index_table(axis)] == walked
    assert ac.output_size(n, k, s, (pair,), d) == (len(walked),)


@given(sizes, kernels, strides, paddings, dilations)
def test_a_tap_is_one_strided_slice(n, k, s, pair, d):
    walked = walk(n, k, s, pair, d)
    assume(walked)
    (axis,) = sliding_window((n,), (k,), (s,), (pair,), (d,))
    cells = list(range(n))
    for t in range(k):
        tap = tap_range(axis, t)
        seen = cells[tap.start : tap.stop : axis.stride]
        assert len(seen) == tap.last - tap.first
        outside = axis.out - tap.last
        assert [-1] * tap.first + seen + [-1] * outside == [row[t] for row in walked]


@given(sizes, kernels, strides, st.integers(0, 6), dilations)
def test_ceil_mode_drops_a_last_window_that_starts_beyond_the_left_padding_and_input(n, k, s, p, d):
    # Rounding up lets the last window overhang by less than a stride.
    starts = list(range(0, max(0, n + 2 * p - d * (k - 1) + s - 1), s))
    if starts and starts[-1] >= n + p:
        starts.pop()
    if not starts:
        with pytest.raises(ValueError, match="spans"):
            ac.output_size(n, k, s, p, d, ceil_mode=True)
        return
    assert ac.output_size(n, k, s, p, d, ceil_mode=True) == len(starts)


@given(sizes, kernels, strides, dilations, st.sampled_from(["same_upper", "same_lower"]))
def test_same_padding_keeps_ceil_of_size_over_stride(n, k, s, d, word):
    assert ac.output_size(n, k, s, word, d) == -(-n // s)
    (axis,) = sliding_window((n,), (k,), (s,), word, (d,))
    total = max(0, (axis.out - 1) * s + d * (k - 1) + 1 - n)
    assert axis.before + axis.after == total
    odd = total % 2
    assert axis.after - axis.before == (odd if word == "same_upper" else -odd)


@given(sizes, kernels, dilations)
def test_same_is_torchs_and_needs_a_stride_of_one(n, k, d):
    assert ac.output_size(n, k, 1, "same", d) == n
    (axis,) = sliding_window((n,), (k,), (1,), "same", (d,))
    assert axis.before == d * (k - 1) // 2
    with pytest.raises(ValueError, match="same_upper"):
        ac.output_size(n, k, 2, "same", d)


@given(sizes, kernels, strides, paddings, dilations, st.integers(0, 4))
def test_a_transposed_window_is_that_of_the_convolution_it_undoes(n, k, s, pair, d, extra):
    arguments = ((n,), (k,), (s,), (pair,), (extra,), (d,))
    reached = {p * s + t * d for p in range(n) for t in range(k)}
    whole = max(reached) + 1 + extra
    if extra >= max(s, d):
        with pytest.raises(ValueError, match="output_padding"):
            transposed_window(*arguments)
        return
    if whole - sum(pair) < 1:
        with pytest.raises(ValueError, match="crops the output"):
            transposed_window(*arguments)
        return
    (axis,) = transposed_window(*arguments)
    assert axis.size == whole - sum(pair)
    assert axis.out == n
    assert ac.transposed_output_size(n, k, s, (pair,), extra, d) == (axis.size,)
    if extra < s:
        # The convolution over that output has the input's size again.
        assert ac.output_size(axis.size, k, s, (pair,), d) == (n,)


@given(sizes, kernels, paddings, dilations)
def test_the_adjoint_of_stride_one_sees_the_same_pairs(n, k, pair, d):
    assume(walk(n, k, 1, pair, d))
    (axis,) = sliding_window((n,), (k,), (1,), (pair,), (d,))
    flipped = adjoint_axis(axis)
    forward = {
        (cell, o, t) for o, row in enumerate(index_table(axis)) for t, cell in enumerate(row)
    }
    backward = {
        (cell, o, k - 1 - t)
        for cell, row in enumerate(index_table(flipped))
        for t, o in enumerate(row)
    }
    assert {pair for pair in forward if pair[0] >= 0} == {pair for pair in backward if pair[1] >= 0}


def test_only_stride_one_has_a_sliding_adjoint():
    with pytest.raises(ValueError, match="stride of 1"):
        adjoint_axis(Axis(5, 3, 2, 1, 0, 0, 2))


@pytest.mark.parametrize("dims", [1, 2, 3, 4])
def test_dimensions_are_independent(dims):
    numbers = [
        (9, 3, 2, (1, 0), 1),
        (7, 2, 1, (0, 2), 2),
        (5, 1, 3, (0, 0), 1),
        (8, 4, 4, (2, 2), 1),
    ]
    n, k, s, p, d = (tuple(each) for each in zip(*numbers[:dims], strict=True))
    expected = tuple(len(walk(*each)) for each in numbers[:dims])
    assert ac.output_size(n, k, s, p, d) == expected


@pytest.mark.parametrize(("size", "kernel"), [(1, 1), (1, 3), (6, 1), (6, 3)])
def test_numbers_without_effect_cannot_overflow(size, kernel):
    huge = 10**30
    (axis,) = sliding_window((size,), (kernel,), (huge,), ((1, 1),), (1,))
    assert axis.out == 1
    assert axis.stride <= size + 3
    (axis,) = sliding_window((size,), (1,), (1,), ((0, 0),), (huge,))
    assert axis.dilation == 1
    assert axis.out == size


def test_needed_after_is_what_the_last_window_reaches():
    (axis,) = sliding_window((6,), (3,), (2,), ((0, 5),), (1,))
    assert axis.out == 5
    assert needed_after(axis) == 5
    (axis,) = sliding_window((6,), (3,), (2,), ((0, 0),), (1,))
    assert needed_after(axis) == -1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2, ((2, 2), (2, 2))),
        ((2,), ((2, 2), (2, 2))),
        ([1, 3], ((1, 1), (3, 3))),
        (((1, 2), (3, 4)), ((1, 2), (3, 4))),
        ([[0, 2], (3, 4)], ((0, 2), (3, 4))),
        ("valid", ((0, 0), (0, 0))),
        ("same", "same"),
    ],
)
def test_every_form_of_padding(value, expected):
    assert padding_argument(value, 2) == expected


@pytest.mark.parametrize(
    ("value", "error", "match"),
    [
        (((1, 2),), ValueError, r"needs 2.*\(\(1, 2\),\)"),
        (((1, 2), 3), ValueError, "all"),
        (((1, 2, 3), (1, 2)), ValueError, "pairs"),
        (-1, ValueError, "-1"),
        ((0, -1), ValueError, r"\(0, -1\)"),
        (((0, -1), (0, 0)), ValueError, "-1"),
        ("full", ValueError, "'full'"),
        (1.0, TypeError, "1.0"),
        (True, TypeError, "True"),
        ((1, True), TypeError, "True"),
        (None, TypeError, "None"),
        ((), ValueError, r"\(\)"),
        ((1, 2, 3), ValueError, r"\(1, 2, 3\)"),
        ({1: 2}, TypeError, "dict"),
    ],
)
def test_bad_padding_is_named(value, error, match):
    with pytest.raises(error, match=match):
        padding_argument(value, 2)


class Index:
    def __index__(self) -> int:
        return 3


def test_anything_with_an_index_is_an_integer():
    assert integers("stride", Index(), 2) == (3, 3)
    assert integers("stride", [Index(), 2], 2) == (3, 2)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((224, 7, 2, 3), 112),
        ((5, 3), 3),
        (((5,), 3), (3,)),
        (((5, 6), (3, 2), 1, "same"), (5, 6)),
        ((4, 3, 2, 0, 1, True), 2),
    ],
)
def test_the_calculator_answers_as_it_is_asked(arguments, expected):
    assert ac.output_size(*arguments) == expected


def test_the_calculator_names_what_does_not_fit():
    with pytest.raises(ValueError, match=r"kernel_size \(7,\).*spans 13.*8.*padding"):
        ac.output_size(6, 7, padding=1, dilation=2)
    with pytest.raises(ValueError, match="no spatial dimension"):
        ac.output_size((), 3)
    with pytest.raises(ValueError, match="crop"):
        ac.transposed_output_size(4, 3, padding="same")
