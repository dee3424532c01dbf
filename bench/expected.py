"""What is right: by the nested loops for a small case, by the generic body for the whole.

In double precision, and on the device that is measured: a layer of a batch of 32 takes a CPU
longer to compute, and to compare, than all else that is done with it on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import arrayconv as ac
from bench.cases import FORWARD, Array, Case
from bench.loops import nested
from bench.providers import Provider, bound

TOLERANCE = {
    **{"float16": 4e-3, "bfloat16": 3e-2, "float32": 1e-5, "float64": 1e-12},
    **{"complex64": 1e-5, "complex128": 1e-12},
}
"""The largest error that is right for a dtype, as a share of the largest value of the result."""

Expected = tuple[Array, ...]


@dataclass(frozen=True)
class Referee:
    """Whose arrays right results are, and all others are compared as: NumPy's, or CuPy's."""

    xp: Any = np
    asarray: Callable[[Array], Any] = np.asarray

    def takes(self, provider: Provider, array: Any) -> Any:
        """Return a provider's result as an array here; on a GPU without a way over the host."""
        if self.xp is not np:
            try:
                return self.xp.from_dlpack(provider.plain(array))
            except (AttributeError, BufferError, RuntimeError, TypeError, ValueError):
                # What lies elsewhere, or cannot be handed over, is copied.
                return self.asarray(np.asarray(provider.to_numpy(array)))
        return np.asarray(provider.to_numpy(array))

    def in_double(self, array: Array) -> Any:
        """Return an array of the host here, in double precision."""
        here = self.asarray(array)
        return here.astype(self.xp.complex128 if here.dtype.kind == "c" else self.xp.float64)


HOST = Referee()


def as_tuple(output: Any) -> tuple[Any, ...]:
    """Return an output's arrays: some functions return a pair."""
    return tuple(output) if isinstance(output, tuple | list) else (output,)


def by_loops(case: Case) -> Expected:
    """Return what the nested loops say of a small case, in double precision."""
    arrays = tuple(map(HOST.in_double, case.arrays()))
    cotangent = None if case.direction == FORWARD else HOST.in_double(case.cotangent())
    return as_tuple(nested(case, arrays, cotangent))


def by_generic_body(case: Case, referee: Referee = HOST) -> Expected:
    """Return what the generic body says of a case, in double precision."""
    arrays = tuple(map(referee.in_double, case.arrays()))
    cotangent = None if case.direction == FORWARD else referee.in_double(case.cotangent())
    # Of all that it takes: what is judged must have no part in what is right.
    with ac.options(algorithm="generic", allow_unverified=False):
        return as_tuple(bound(case, arrays, cotangent, "generic").call())


def right_results(case: Case, referee: Referee = HOST) -> dict[str, Expected]:
    """Return what is right for the small version of a case, and for the whole.

    The generic body, which computes the whole, is itself held against the loops first.
    """
    small = case.small()
    of_small = tuple(map(referee.asarray, by_loops(small)))
    double = "complex128" if case.dtype.startswith("complex") else "float64"
    found = by_generic_body(small, referee)
    _, wrong = compare(found, of_small, TOLERANCE[double] * 10, double, referee.xp)
    if wrong is not None:
        raise AssertionError(f"the generic body is wrong at {case.name}: {wrong}")
    return {"small case": of_small, "whole case": by_generic_body(case, referee)}


def compare(
    outputs: Sequence[Array], expected: Expected, tolerance: float, dtype: str, xp: Any = np
) -> tuple[float, str | None]:
    """Return the largest error as a share of the largest value, and what is wrong, or None."""
    worst = 0.0
    if len(outputs) != len(expected):
        return float("inf"), f"it has {len(outputs)} arrays, and should have {len(expected)}"
    for output, right in zip(outputs, expected, strict=True):
        if output.shape != right.shape:
            return float("inf"), f"its shape is {output.shape}, and should be {right.shape}"
        if right.dtype.kind in "iu":
            if not bool(xp.array_equal(output, right)):
                return float("inf"), "it has other indices"
            continue
        # NumPy has bfloat16 from elsewhere; other libraries hand it over as float32.
        if str(output.dtype) != dtype and not (
            dtype == "bfloat16" and str(output.dtype) == "float32"
        ):
            return float("inf"), f"its dtype is {output.dtype}, and should be {dtype}"
        double = output.astype(right.dtype)
        if not bool(xp.isfinite(double).all()):
            return float("inf"), "it has values that are not finite"
        if right.size:
            largest = float(xp.abs(right).max()) or 1.0
            worst = max(worst, float(xp.abs(double - right).max()) / largest)
    return worst, None if worst <= tolerance else f"its error is {worst:.1e} of the largest value"
