"""Malformed numbers and words: refused by name and value, before anything is allocated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import arrayconv as ac
from arrayconv import reference
from tests.malformed import (
    CROPPED,
    INTEGERS,
    MEGABYTE,
    OPERATIONS,
    PADDED,
    SHAPES_ONLY,
    WITH_ARRAYS,
    arguments,
    call,
    refused,
)


def test_the_calls_that_are_spoiled_are_right():
    for name in OPERATIONS:
        call(name)


def test_refused_would_see_an_allocation():
    with pytest.raises(AssertionError, match="were allocated"), refused(ValueError):
        raise ValueError(np.ones(MEGABYTE).shape)


# --- integers, one per spatial dimension ------------------------------------------------------

NOT_INTEGERS = {
    "a half": 1.5,
    "a float": 2.0,
    "nan": float("nan"),
    "infinity": float("inf"),
    "a NumPy float": np.float32(2),
    "a complex": 1j,
    "True": True,
    "False": False,
    "a NumPy bool": np.True_,
    "None": None,
    "a digit": "2",
    "bytes": b"2",
    "a dict": {},
    "a set": {1},
    "a generator": (i for i in (1, 1)),
    "a range": range(1, 3),
    "an iterator": iter([1, 1]),
    "a NumPy array": np.asarray([1, 1]),
    "a float array": np.asarray(2.0),
    "a bool array": np.asarray(True),
    "an object": object(),
    "a type": int,
    "ones, a float": (1, 1.0),
    "ones, a bool": [1, True],
    "ones, a NumPy bool": (np.True_,),
    "ones, None": (1, None),
    "ones, a string": [1, "1"],
    "a nested list": [1, [1]],
    "all nested": [[1]],
    "an array within": (1, np.asarray([1, 1])),
}


def spread(value: Any, dims: int) -> Any:
    """Return a junk sequence made as long as the operation has spatial dimensions."""
    if isinstance(value, tuple | list):
        # The junk stands last; the first is repeated as often as is needed, or left out.
        return type(value)([*value[:1] * (dims - len(value)), *value][-dims:])
    return value


STRIDED_BY_THE_KERNEL = ("max_pool2d", "avg_pool2d", "lp_pool2d", "extract_patches")
NONE_HAS_A_MEANING = {
    *((name, "stride") for name in STRIDED_BY_THE_KERNEL),
    *((f"adaptive_{name}_pool2d", "output_size") for name in ("avg", "max")),
}


@pytest.mark.parametrize("junk", NOT_INTEGERS)
@pytest.mark.parametrize(("name", "parameter"), INTEGERS)
def test_not_an_integer(name, parameter, junk):
    whole = junk == "None" or (junk == "ones, None" and parameter == "output_size")
    if whole and (name, parameter) in NONE_HAS_A_MEANING:
        pytest.skip(f"{parameter}=None of {name} has a meaning")
    value = spread(NOT_INTEGERS[junk], OPERATIONS[name].dims)
    # A padding may be a word or pairs as well: to those a digit and a list are ill-formed ones.
    wordlike = junk in ("a digit", "a nested list", "all nested")
    error = ValueError if parameter == "padding" and wordlike else TypeError
    with refused(error, parameter, "bool" if junk == "a NumPy bool" else repr(value)):
        call(name, **{parameter: value})


@pytest.mark.parametrize(("name", "parameter"), INTEGERS)
def test_too_small(name, parameter):
    least, dims = OPERATIONS[name].integers[parameter], OPERATIONS[name].dims
    below = least - 1
    for value in (below, (below,), (least + 2,) * (dims - 1) + (below,), [below] * dims, -(10**30)):
        with refused(ValueError, parameter, repr(value)):
            call(name, **{parameter: value})


@pytest.mark.parametrize(("name", "parameter"), INTEGERS)
def test_numpy_integers_and_one_element_sequences_are_integers(name, parameter):
    given = arguments(name).get(parameter, OPERATIONS[name].integers[parameter])
    expected = call(name)
    dims = OPERATIONS[name].dims
    for value in (np.int64(given), np.uint8(given), (given,) * dims, [np.int32(given)] * dims):
        np.testing.assert_array_equal(
            np.ravel(call(name, **{parameter: value})), np.ravel(expected)
        )


LENGTHS: list[tuple[str, str]] = [
    (name, each)
    for name, each in INTEGERS
    if name in WITH_ARRAYS and each not in ("kernel_size", "output_size")
]


@pytest.mark.parametrize("value", [(), [], (1, 1, 1, 1), [1] * 7])
@pytest.mark.parametrize(("name", "parameter"), LENGTHS)
def test_wrong_length(name, parameter, value):
    if len(value) == 0 and parameter == "stride" and "pool" in name:
        pytest.skip("an empty stride of a pool is its kernel_size, as in torch")
    with refused(ValueError, parameter, repr(value)):
        call(name, **{parameter: value})


@pytest.mark.parametrize(
    ("name", "parameter"), [each for each in LENGTHS if OPERATIONS[each[0]].dims != 2]
)
def test_two_numbers_for_another_number_of_dimensions(name, parameter):
    with refused(ValueError, parameter, "(1, 1)"):
        call(name, **{parameter: (1, 1)})


@pytest.mark.parametrize("name", ["unfold", "fold"])
@pytest.mark.parametrize("kernel_size", [(), [], (3,), (3, 3, 3, 3), (3,) * 9])
def test_the_length_of_kernel_size_never_broadcasts(name, kernel_size):
    with refused(ValueError, "kernel_size" if name == "fold" or not kernel_size else "input"):
        call(name, kernel_size=kernel_size, **({"output_size": (6, 6)} if name == "fold" else {}))


@pytest.mark.parametrize("output_size", [(), (6,), [6, 6, 6]])
def test_the_length_of_output_size_never_broadcasts(output_size):
    with refused(ValueError, "output_size", repr(output_size)):
        call("fold", output_size=output_size, kernel_size=(3, 3))


@pytest.mark.parametrize("name", SHAPES_ONLY)
def test_the_shape_calculator_wants_equal_lengths(name):
    for parameter in OPERATIONS[name].integers:
        with refused(ValueError, "one per spatial dimension"):
            call(name, **{"size": (7, 7), "kernel_size": (6, 6), parameter: (6, 6, 6)})
        with refused(ValueError, parameter):
            call(name, **{parameter: ()})


# --- padding ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PADDED)
def test_an_unknown_word(name):
    for word in ("", "full", "SAME", "2", "reflect", "same "):
        with refused(ValueError, "padding", repr(word)):
            call(name, padding=word)
    dims = OPERATIONS[name].dims
    for words in (("same",) * dims, ["valid"] * dims):
        with refused(TypeError, "padding", repr(words)):
            call(name, padding=words)


@pytest.mark.parametrize("name", CROPPED)
@pytest.mark.parametrize("word", ["same", "same_upper", "same_lower"])
def test_a_transposed_convolution_takes_no_word(name, word):
    with refused(ValueError, "padding", repr(word), "crop"):
        call(name, padding=word)


@pytest.mark.parametrize("name", [name for name in PADDED if name not in CROPPED])
def test_same_needs_a_stride_of_one(name):
    with refused(ValueError, "padding='same'", "stride 2", "same_upper"):
        call(name, padding="same", stride=2)


def pairs_for(dims: int, pair: Any) -> list[Any]:
    return [pair, *[(1, 1)] * (dims - 1)]


@pytest.mark.parametrize("name", PADDED)
def test_pairs(name):
    dims = OPERATIONS[name].dims
    wrong: list[tuple[type[Exception], Any]] = [
        (ValueError, pairs_for(dims, (1,))),
        (ValueError, pairs_for(dims, (1, 1, 1))),
        (ValueError, pairs_for(dims, ())),
        (ValueError, pairs_for(dims, (-1, 1))),
        (ValueError, pairs_for(dims, (0, -(10**30)))),
        (TypeError, pairs_for(dims, (1, 1.0))),
        (TypeError, pairs_for(dims, (True, 1))),
        (TypeError, pairs_for(dims, (1, None))),
        (TypeError, pairs_for(dims, ("1", 1))),
        (TypeError, pairs_for(dims, ((1, 1), 1))),
    ]
    if dims > 1:
        wrong += [
            (ValueError, [1, *[(1, 1)] * (dims - 1)]),
            (ValueError, [(1, 1), *[1] * (dims - 1)]),
            (ValueError, ((1, 2),)),
        ]
    if name in WITH_ARRAYS:
        wrong.append((ValueError, ((1, 1),) * (dims + 1)))
    for error, value in wrong:
        with refused(error, "padding", repr(value) if error is ValueError else ""):
            call(name, padding=value)


# --- absurdly large numbers -------------------------------------------------------------------

ABSURD = (2**40, 2**63, 10**30)
# With one window position, the distance to the next has no meaning.
VALID_HOWEVER_LARGE = [("conv1d", "stride"), ("conv2d", "stride"), ("conv3d", "stride")]
VALID_HOWEVER_LARGE += [(name, "stride") for name in ("unfold", *STRIDED_BY_THE_KERNEL)]


@pytest.mark.parametrize("value", ABSURD)
@pytest.mark.parametrize(
    ("name", "parameter"),
    [each for each in INTEGERS if each[0] in WITH_ARRAYS and each not in VALID_HOWEVER_LARGE],
)
def test_absurdly_large(name, parameter, value):
    for number in (value, (value,) * OPERATIONS[name].dims):
        with refused(ValueError, parameter, str(value)):
            call(name, **{parameter: number})


@pytest.mark.parametrize("name", PADDED)
def test_absurd_pairs(name):
    if name in WITH_ARRAYS:
        for pair in ((0, 10**30), (2**63, 0)):
            with refused(ValueError, "padding", str(max(pair))):
                call(name, padding=pairs_for(OPERATIONS[name].dims, pair))


@pytest.mark.parametrize("stride", ABSURD)
def test_a_stride_larger_than_the_input_is_right(library, stride):
    rng = np.random.default_rng(0)
    x, w = rng.integers(-3, 4, (1, 2, 4, 5)), rng.integers(-3, 4, (2, 2, 3, 3))
    near = {"padding": ((1, 0), (0, 1)), "stride": 9}
    far = {**near, "stride": stride}
    image, kernel = library.frozen(x, "float64"), library.frozen(w, "float64")
    got, pullback = ac.vjp(ac.conv2d, image, kernel, **far)
    np.testing.assert_array_equal(library.to_numpy(got), reference.conv(x, w, **near))
    cotangent = np.ones(got.shape)
    wanted = reference.conv_gradients(x.astype(float), w.astype(float), cotangent, **near)
    for gradient, right in zip(pullback(library.asarray(cotangent)), wanted, strict=False):
        np.testing.assert_array_equal(library.to_numpy(gradient), right)
    columns = ac.unfold(image, 3, **far)
    np.testing.assert_array_equal(library.to_numpy(columns), reference.unfold(x, (3, 3), **near))
    folded = ac.fold(columns, (4, 5), 3, **far)
    np.testing.assert_array_equal(
        library.to_numpy(folded),
        reference.fold(library.to_numpy(columns), (4, 5), (3, 3), **near),
    )
    one = image[:, :, :1, :1]
    np.testing.assert_array_equal(
        library.to_numpy(ac.conv_transpose2d(one, kernel, stride=stride)),
        library.to_numpy(ac.conv_transpose2d(one, kernel)),
    )


@pytest.mark.parametrize("dilation", ABSURD)
def test_a_dilation_of_a_single_tap_is_right(library, dilation):
    x = library.frozen(np.arange(10).reshape(1, 1, 10), "float64")
    w = library.frozen(np.full((1, 1, 1), 2), "float64")
    for function in (ac.conv1d, ac.conv_transpose1d):
        got, pullback = ac.vjp(function, x, w, dilation=dilation)
        np.testing.assert_array_equal(library.to_numpy(got), 2.0 * np.arange(10)[None, None])
        np.testing.assert_array_equal(library.to_numpy(pullback(got)[0]), library.to_numpy(got) * 2)
    columns = ac.unfold(x, (1,), dilation=dilation)
    np.testing.assert_array_equal(library.to_numpy(columns), library.to_numpy(x))


def test_products_are_not_counted_in_64_bits():
    # 2**62 * 4 * 8 bytes is 0 modulo 2**64; so is 2**32 * 2**32.
    with refused(ValueError, "padding", str(2**61)):
        ac.conv1d(np.ones((1, 4, 1)), np.ones((4, 4, 1)), padding=2**61)
    with refused(ValueError, "padding", str(2**31)):
        ac.conv2d(np.ones((1, 1, 1, 1)), np.ones((1, 1, 1, 1)), padding=2**31)
    with refused(ValueError, "pad", str(2**62)):
        ac.pad(np.ones(1), (2**62, 2**62))


def test_a_large_batch_that_is_broadcast_is_not_materialised():
    x = np.broadcast_to(np.ones(1), (2**33, 4, 6, 6))
    with refused(ValueError, "input", str(2**33)):
        ac.conv2d(x, np.ones((64, 4, 3, 3)))
    with refused(ValueError, "input", str(2**33)):
        ac.unfold(x, 3)
    with refused(ValueError, "input", str(2**33)):
        ac.linear(x, np.ones((64, 6)))


# --- pad ---------------------------------------------------------------------------------------


def test_pad_numbers():
    sequences: tuple[Any, ...] = ({}, np.ones(2, int), (i for i in (1, 1)), range(2))
    for value in (1, None, "11", True, 1.0, *sequences):
        with refused(TypeError, "pad", repr(value)):
            call("pad", pad=value)
    for junk in (1.0, 1.5, True, np.True_, None, "1", [1], (1, 1)):
        with refused(TypeError, "pad", repr(junk)):
            call("pad", pad=(1, junk))
    for wrong in ((1,), (1, 1, 1), (0,) * 8, (1,) * 7, [1]):
        with refused(ValueError, "pad", str(tuple(wrong)), "(2, 3, 4)"):
            call("pad", pad=wrong)
    for crop in ((-5, 0), (-2, -3), (0, 0, -4, 0), (0, 0, 0, 0, -3, 0), (-(10**30), 0), (9, -14)):
        with refused(ValueError, "pad", str(crop), "(2, 3, 4)"):
            call("pad", pad=crop)
    for value in ABSURD:
        with refused(ValueError, "pad", str(value)):
            call("pad", pad=(0, value))


@pytest.mark.parametrize("mode", ["", "Constant", "zeros", None, 1, [], b"constant", np.ones(2)])
def test_pad_modes(mode):
    error = ValueError if isinstance(mode, str) else TypeError
    with refused(error, "mode", "'constant', 'reflect', 'replicate', 'circular'", repr(mode)):
        call("pad", mode=mode)


@pytest.mark.parametrize("mode", ["", "constant", "same", None, 1, [], b"zeros", np.ones(2)])
def test_padding_modes(mode):
    error = ValueError if isinstance(mode, str) else TypeError
    with refused(error, "padding_mode", "'zeros', 'reflect', 'replicate', 'circular'", repr(mode)):
        call("conv2d", padding_mode=mode)


@pytest.mark.parametrize(("mode", "most"), [("reflect", 3), ("circular", 4)])
@pytest.mark.parametrize("place", [0, 1])
def test_padding_by_more_than_there_is(mode, most, place):
    pair = [0, 0]
    pair[place] = most + 1
    with refused(ValueError, "padding", repr(mode), f"at most {most}", "4 cells"):
        call("pad", mode=mode, pad=pair)
    pair[place] = 7
    with refused(ValueError, "padding", repr(mode), "6 cells"):
        call("conv2d", padding_mode=mode, padding=((0, 0), tuple(pair)))


def test_a_value_is_for_constants():
    with refused(ValueError, "value", "7", "'reflect'"):
        call("pad", mode="reflect", value=7)


def test_pad_values():
    for value in ("0", [0], (), {}, object(), np.ones(2), b"0", np.ones((2, 3, 4))):
        with refused(TypeError, "value", repr(value)):
            call("pad", value=value)
    for dtype, value in (
        ("int64", 1.5),
        ("int64", float("nan")),
        ("int64", float("inf")),
        ("int64", 2**63),
        ("int64", 10**30),
        ("int8", 128),
        ("uint8", -1),
        ("uint8", 256.0),
        ("int64", 1j),
        ("float64", 1j),
        ("float32", 1e39),
        ("float16", 70000),
        ("float64", 10**400),
        ("bool", 2),
        ("bool", 0.0),
    ):
        with refused(ValueError, "value", repr(value), dtype):
            call("pad", input=np.ones((2, 3, 4), dtype), value=value)


@pytest.mark.parametrize("value", ["yes", None, 1.5, [], 2])
def test_ceil_mode_is_a_bool(value):
    with refused(TypeError, "ceil_mode", repr(value)):
        ac.output_size(6, 3, ceil_mode=value)
