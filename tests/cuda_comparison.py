"""What a check of the kernels is: a call, and how its results are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest

import arrayconv as ac
from arrayconv._options import current
from tests.cases import assert_close, draw

ml_dtypes = pytest.importorskip("ml_dtypes", reason="bfloat16 is a type of the kernels")

REAL = ("float16", "bfloat16", "float32", "float64")
COMPLEX = ("complex64", "complex128")
ORACLE = "generic"
"""The algorithm whose results are the right ones."""


class Check(NamedTuple):
    """A call, the kernels that must run for it, and the dtype whose tolerance its results have.

    The call takes the namespace that its arrays are of: NumPy or CuPy.
    """

    id: str
    kernels: frozenset[str]
    call: Callable[[Any], list[Any]]
    dtype: str


def made(xp: Any, shape: tuple[int, ...], dtype: str, seed: int = 0) -> Any:
    """Return random values of a dtype; bfloat16 is ml_dtypes's."""
    values = draw(np.random.default_rng(seed), shape, dtype)
    return xp.asarray(values.astype(ml_dtypes.bfloat16) if dtype == "bfloat16" else values)


def pulled(xp: Any, function: Any, *arrays: Any, **params: Any) -> list[Any]:
    """Return the output and the gradients at a random cotangent."""
    output, pullback = ac.vjp(function, *arrays, **params)
    values = output[0] if isinstance(output, tuple) else output
    cotangent = made(xp, values.shape, np.dtype(values.dtype).name, seed=1)
    gradients = [each for each in pullback(cotangent) if each is not None]
    return [*(output if isinstance(output, tuple) else [output]), *gradients]


@contextmanager
def asking_for(algorithm: str, allow_tf32: bool = False) -> Iterator[None]:
    """Ask for an algorithm, except of the oracle, which has one of its own."""
    asked = current().algorithm
    chosen = asked if asked == ORACLE else algorithm
    with ac.options(algorithm=chosen, allow_tf32=allow_tf32):
        yield


@contextmanager
def as_oracle() -> Iterator[None]:
    """Let NumPy's generic bodies serve: they share no code with what they are to judge."""
    with ac.options(algorithm=ORACLE, allow_unverified=False):
        yield


def _plain(array: Any) -> Any:
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def compare(check: Check, got: list[Any], wanted: list[Any]) -> None:
    """Compare what the kernels gave with what NumPy's implementations gave."""
    assert len(got) == len(wanted)
    for ours, right in zip(got, wanted, strict=True):
        assert ours.dtype == right.dtype
        if right.dtype.kind in "fcV" and np.isfinite(_plain(right)).all():
            assert_close(_plain(ours), _plain(right), check.dtype, factor=2)
        else:
            np.testing.assert_array_equal(_plain(ours), _plain(right))
