"""What this project aims at on a CPU, for float32, and which cases of a run miss it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from bench.families import FAMILIES, is_of_growth
from bench.records import (
    Record,
    best_of,
    by_case,
    geometric_mean,
    in_best_layout,
    in_our_layout,
    our_choice,
)

FEW = 6
"""Cases that are named, where more miss an aim."""


class Case(NamedTuple):
    """Our record of a case, and all that were measured there."""

    ours: Record
    every: Sequence[Record]


def _of_torch(case: Case) -> float | None:
    """Return torch's time over ours, in the layout of our arrays."""
    torch = in_our_layout(case.every, case.ours.device)
    return None if torch is None else torch.seconds / case.ours.seconds


def _ours(case: Case) -> Record:
    return case.ours


def _ours_in_best_layout(case: Case) -> Record:
    return in_best_layout(case.every, case.ours)


def _in_best_layouts(case: Case) -> float | None:
    """Return the same in the layout that is best for each of both."""
    torch = best_of(case.every, "torch", case.ours.device)
    return None if torch is None else torch.seconds / _ours_in_best_layout(case).seconds


def _held(case: Case) -> float | None:
    """Return what is held beyond input, weight and output, as a multiple of these."""
    extra = case.ours.peak_extra_bytes
    return None if extra is None else extra / case.ours.bytes_min


def _error(case: Case) -> float | None:
    return case.ours.max_error


def _of(*families: str) -> Callable[[Case], bool]:
    def belongs(case: Case) -> bool:
        return any(FAMILIES[family](case.ours) for family in families)

    return belongs


LAYERS = (
    *("dense convolutions", "depthwise and grouped convolutions"),
    "transposed convolutions",
)


class Aim(NamedTuple):
    """What each of some cases should reach, or their geometric mean: at least, or at most."""

    said: str
    belongs: Callable[[Case], bool]
    value: Callable[[Case], float | None]
    bar: float
    of_mean: bool = False
    at_most: bool = False
    of: Callable[[Case], Record] = _ours
    """What is compared."""


AIMS = (
    Aim("layers: mean of torch / ours at least 1.3", _of(*LAYERS), _of_torch, 1.3, of_mean=True),
    Aim("dense layers: each at least 0.85", _of(LAYERS[0], LAYERS[2]), _of_torch, 0.85),
    Aim("pools: each at least 2", _of("pools"), _of_torch, 2.0),
    Aim(
        "pools, in the best layouts: each at least 1",
        _of("pools"),
        _in_best_layouts,
        1.0,
        of=_ours_in_best_layout,
    ),
    Aim("unfold: each at least 3", _of("unfold"), _of_torch, 3.0),
    Aim("fold: each at least 1", _of("fold"), _of_torch, 1.0),
    Aim("gradients: mean at least 1", _of("gradients"), _of_torch, 1.0, of_mean=True),
    Aim(
        "held beyond input, weight and output: at most 1 ×",
        lambda _: True,
        _held,
        1.0,
        at_most=True,
    ),
    Aim("error: at most 1e-5 of the largest output", lambda _: True, _error, 1e-5, at_most=True),
)


def _cases(kept: Iterable[Record]) -> Iterator[Case]:
    for every in by_case(kept).values():
        ours = our_choice(every, "numpy", "cpu")
        if ours is not None and ours.seconds_median is not None and ours.dtype == "float32":
            yield Case(ours, every)


def _values(aim: Aim, cases: Iterable[Case]) -> list[tuple[float, Case]]:
    """Return what each case of an aim reached, the worst first."""
    found = [
        (value, case)
        for case in cases
        if aim.belongs(case) and not (aim.of_mean and is_of_growth(case.ours))
        if (value := aim.value(case)) is not None
    ]
    return sorted(found, key=lambda each: each[0], reverse=aim.at_most)


def _missed(aim: Aim, values: Iterable[tuple[float, Case]]) -> Iterator[tuple[float, Case]]:
    """Yield those that miss it, where it is for each."""
    for value, case in values:
        if not aim.of_mean and (value > aim.bar if aim.at_most else value < aim.bar):
            yield value, case


def aim_rows(kept: Sequence[Record]) -> Iterator[list[str]]:
    """Yield for each aim what was reached, and the cases that miss it, the worst first."""
    cases = list(_cases(kept))
    for aim in AIMS:
        values = _values(aim, cases)
        if not values:
            continue
        reached = values[0][0]
        if aim.of_mean:
            reached = geometric_mean([value for value, _ in values]) or 0.0
        missed = [f"{case.ours.case} {value:.2g}" for value, case in _missed(aim, values)]
        said = "; ".join(missed[:FEW])
        if len(missed) > FEW:
            said += f"; and {len(missed) - FEW} more of {len(values)}"
        yield [aim.said, f"{reached:.2g}", said]


def misses(kept: Sequence[Record]) -> Iterator[tuple[str, float, Record]]:
    """Yield each case that is not as fast as it should be: the aim, what it reached, and ours."""
    cases = list(_cases(kept))
    for aim in AIMS:
        if not aim.at_most:
            for value, case in _missed(aim, _values(aim, cases)):
                yield aim.said, value, aim.of(case)
