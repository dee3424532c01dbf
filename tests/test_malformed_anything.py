"""Any junk at all: a call is refused with ValueError or TypeError, or served rightly."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import arrayconv as ac
from arrayconv import reference
from tests.malformed import (
    CONVOLUTIONS,
    CROPPED,
    MEGABYTE,
    OPERATIONS,
    SHAPES_ONLY,
    WITH_ARRAYS,
    warm,
)

# --- fuzz: any junk at all --------------------------------------------------------------------

numbers = st.one_of(
    st.integers(-2, 5),
    st.sampled_from([2**31, 2**40, 2**63, 2**64, 10**30, -(2**63), -(10**30)]),
    st.sampled_from(
        [np.int64(1), np.uint8(2), np.int8(-1), np.float32(1), np.True_, np.asarray(1)]
    ),
    st.booleans(),
    st.none(),
    st.floats(),
    st.complex_numbers(),
    st.sampled_from(["same", "valid", "same_upper", "same_lower", "auto", "generic", "constant"]),
    st.text(max_size=3),
    st.binary(max_size=2),
)
small = st.integers(0, 3)
junk = st.one_of(
    small,
    st.lists(small, max_size=4),
    st.tuples(small, small),
    st.lists(st.tuples(small, small), max_size=3),
    st.recursive(
        numbers,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.lists(inner, max_size=4).map(tuple),
            st.dictionaries(st.text(max_size=1), inner, max_size=2),
        ),
        max_leaves=6,
    ),
)
dtypes = st.sampled_from(["int64", "float64", "float32", "bool", "complex64", "uint8", "O", "U1"])
shapes = st.lists(st.integers(0, 6), max_size=6).map(tuple)
arrays_of_any_kind = st.builds(np.ones, shapes, st.just("int64")) | st.builds(
    np.ones, shapes, dtypes
)


def plain(value: Any) -> Any:
    """Return what the reference takes: NumPy's integers as Python's."""
    if isinstance(value, tuple | list):
        return type(value)(map(plain, value))
    return int(value) if isinstance(value, np.integer | np.ndarray) else value


def referred(name: str, given: dict[str, Any]) -> Any:
    """Return the reference's answer to a call that was accepted, or None where it has none."""
    given = {
        each: value if each in OPERATIONS[name].arrays else plain(value)
        for each, value in given.items()
    }
    given.pop("algorithm", None)
    arrays = {each: given.pop(each) for each in OPERATIONS[name].arrays}
    if any(array is not None and array.dtype.kind in "bOU" for array in arrays.values()):
        return None
    x = arrays["input"]
    single = x.ndim == OPERATIONS[name].dims + 1
    if name in ("linear", "pad"):
        value = given.pop("value", None)
        extra = {} if name == "linear" else {"value": 0 if value is None else value}
        return getattr(reference, name)(
            **arrays, **{k: v for k, v in given.items() if k != "mode"}, **extra
        )
    if name not in CONVOLUTIONS:
        return None
    arrays["input"] = x[None] if single else x
    whole = getattr(reference, "conv_transpose" if name in CROPPED else "conv")(**arrays, **given)
    return whole[0] if single else whole


@pytest.mark.parametrize("name", WITH_ARRAYS)
@settings(max_examples=150)
@given(data=st.data())
def test_junk_is_refused_or_served_rightly(name, data):
    operation = OPERATIONS[name]
    rng = np.random.default_rng(0)
    given: dict[str, Any] = {
        each: rng.integers(-3, 4, shape) for each, shape in operation.arrays.items()
    }
    given |= operation.params
    names = [*operation.arrays, *operation.params, *operation.integers]
    names += ["algorithm"] if name in CONVOLUTIONS else []
    names += ["value", "mode"] if name == "pad" else []
    for spoiled in data.draw(st.lists(st.sampled_from(sorted(set(names))), min_size=1, max_size=3)):
        kind = arrays_of_any_kind | junk if spoiled in operation.arrays else junk
        given[spoiled] = data.draw(kind, label=spoiled)
    refusal = output = None
    warm()
    tracemalloc.start()
    try:
        output = operation.function(**given)
    except (ValueError, TypeError) as problem:
        refusal = str(problem)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    if refusal is not None:
        assert peak < MEGABYTE
        assert any(each in refusal for each in names), refusal
        return
    right = referred(name, given)
    if right is not None:
        np.testing.assert_array_equal(output, right)
        assert output.dtype == given["input"].dtype


@pytest.mark.parametrize("name", SHAPES_ONLY)
@settings(max_examples=200)
@given(data=st.data())
def test_the_shape_calculator_takes_any_junk(name, data):
    operation = OPERATIONS[name]
    given = {each: data.draw(junk, label=each) for each in operation.integers}
    refusal = None
    try:
        sizes = operation.function(**{**operation.params, **given})
    except (ValueError, TypeError) as problem:
        refusal = str(problem)
    if refusal is not None:
        assert any(each in refusal for each in operation.integers), refusal
        return
    for size in sizes if isinstance(sizes, tuple) else (sizes,):
        assert type(size) is int
        assert size >= 1


@given(junk | arrays_of_any_kind, junk | arrays_of_any_kind, st.text(max_size=4), junk)
def test_vjp_takes_any_junk(first, second, name, value):
    with pytest.raises((ValueError, TypeError)):
        ac.vjp(ac.conv2d, first, second, **{"x" + name: value})
