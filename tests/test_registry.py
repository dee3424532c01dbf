"""Who runs a primitive: the order, the reasons, and what may be forced."""

from __future__ import annotations

import sys
import types
from dataclasses import replace

import numpy as np
import pytest

import arrayconv as ac
from arrayconv import _registry
from arrayconv._registry import Implementation, Primitive

FAST = Implementation("fast", lambda x: "fast", unfit=lambda x: "too long" if len(x) > 2 else None)
SLOW = Implementation("slow", lambda x: "slow", slow=lambda x: "never worth it")
NEW = Implementation("new", lambda x: "new", verified=False)
ROUGH = Implementation("rough", lambda x: "rough", rounds=lambda x: "it rounds")


def offered_by_a_backend(monkeypatch: pytest.MonkeyPatch, *every: Implementation) -> Primitive:
    """Return a primitive that a backend of its own has these for."""
    module = types.ModuleType("a_backend")
    module.__dict__["implementations"] = {"double": every}
    monkeypatch.setitem(sys.modules, "a_backend", module)
    monkeypatch.setitem(_registry._BACKENDS, "numpy", "a_backend")
    return Primitive("double", lambda x: "generic")


@pytest.fixture
def double(monkeypatch) -> Primitive:
    """A primitive with implementations of most sorts."""
    return offered_by_a_backend(monkeypatch, NEW, FAST, SLOW)


SHORT, LONG = np.zeros(2), np.zeros(3)


def test_the_first_that_is_fit_verified_and_not_slow(double):
    assert double(SHORT) == "fast"
    assert double(LONG) == "generic"


def test_one_question_for_all_that_are_judged_together(monkeypatch):
    """They say which of them runs; what stands before them is asked first, as ever."""
    asked: list[tuple[object, ...]] = []

    def best(prepared: bool, *arguments: object) -> str:
        asked.append((prepared, *arguments))
        return "second" if prepared else "third"

    judged = [replace(FAST, name=name, best=best) for name in ("first", "second", "third")]
    triple = offered_by_a_backend(monkeypatch, FAST, *judged)
    assert triple.choose("auto", SHORT).name == "fast"
    assert asked == []
    assert triple.choose("auto", LONG).name == "third"
    assert triple.choose("auto", LONG, prepared=True).name == "second"
    assert [each[0] for each in asked] == [False, True]


def test_unverified_runs_where_it_is_allowed(double):
    with ac.options(allow_unverified=True):
        assert double(SHORT) == "new"
        assert double(SHORT, algorithm="new") == "new"
    with pytest.raises(ValueError, match=r"'new' cannot serve.*allow_unverified=True"):
        double(SHORT, algorithm="new")


def test_what_rounds_more_runs_where_that_is_allowed(monkeypatch):
    double = offered_by_a_backend(monkeypatch, ROUGH, FAST)
    assert double(SHORT) == "fast"
    reasons = {each.name: each.reason for each in double.candidates("auto", SHORT)}
    assert reasons["rough"] == (
        "reduced precision: it rounds; options(allow_reduced_precision=True) allows it"
    )
    # Who asks for it by name has said so.
    assert double(SHORT, algorithm="rough") == "rough"
    with ac.options(algorithm="rough"):
        assert double(SHORT) == "rough"
    with ac.options(allow_reduced_precision=True):
        assert double(SHORT) == "rough"
        assert {each.reason for each in double.candidates("auto", SHORT)} == {"fit"}


def test_the_keyword_is_strict(double):
    assert double(SHORT, algorithm="slow") == "slow"
    assert double(SHORT, algorithm="generic") == "generic"
    with pytest.raises(ValueError, match=r"'fast' cannot serve this double: too long"):
        double(LONG, algorithm="fast")
    with pytest.raises(ValueError, match=r"'faster' is none of.*auto, new, fast, slow, generic"):
        double(SHORT, algorithm="faster")
    with pytest.raises(TypeError, match="algorithm must be a name, got 3"):
        double(SHORT, algorithm=3)


def test_a_preference_alone_runs_nothing_unverified(double):
    with ac.options(algorithm="new"):
        assert double(SHORT) == "fast"
    with ac.options(algorithm="new", allow_unverified=True):
        assert double(SHORT) == "new"


def test_the_option_is_a_preference(double):
    with ac.options(algorithm="slow"):
        assert double(SHORT) == "slow"
    with ac.options(algorithm="fast"):
        assert double(SHORT) == "fast"
        assert double(LONG) == "generic"
    with ac.options(algorithm="unheard_of"):
        assert double(SHORT) == "fast"
    with ac.options(algorithm="slow"):
        assert double(SHORT, algorithm="generic") == "generic"


def test_candidates_have_reasons(double):
    listed = double.candidates("auto", LONG)
    assert [each.name for each in listed if each.chosen] == ["generic"]
    reasons = {each.name: each.reason for each in listed}
    assert reasons["fast"] == "unfit: too long"
    assert reasons["slow"] == "slow: never worth it"
    assert reasons["new"].startswith("unverified: ")
    assert reasons["generic"] == "fit"


def test_explain_prints_every_implementation():
    image, kernel = np.ones((1, 1, 4, 4)), np.ones((1, 1, 3, 3))
    explained = ac.explain(ac.conv2d, image, kernel, padding=1)
    chosen = [each.name for each in explained.candidates if each.chosen]
    assert chosen == ["im2col"]
    # 16 positions of 9 taps; 16 cells twice and 9 weights, of 8 bytes.
    assert (explained.flops, explained.bytes) == (2 * 16 * 9, 41 * 8)
    assert "2.88e-07 Gflop" in str(explained)
    transposed = ac.explain(ac.conv_transpose2d, image, kernel, stride=2)
    assert (transposed.flops, transposed.bytes) == (2 * 16 * 9, (16 + 9 + 81) * 8)
    pool = ac.explain(ac.max_pool2d, image, 2)
    assert (pool.flops, pool.bytes) == (None, None)
    for candidate in explained.candidates:
        assert candidate.name in str(explained)
        assert candidate.reason in str(explained)
    forced = ac.explain(ac.conv2d, image, kernel, padding=1, algorithm="generic")
    assert [each.name for each in forced.candidates if each.chosen] == ["generic"]


@pytest.mark.parametrize("shape", [(2, 3, 8), (2, 3, 8, 8), (2, 3, 4, 4, 4)])
def test_every_library_has_a_generic_body_and_unknown_algorithms_raise(library, shape):
    dims = len(shape) - 2
    image = library.asarray(np.ones(shape), "float32")
    kernel = library.asarray(np.ones((2, 3, *(2,) * dims)), "float32")
    function = getattr(ac, f"conv{dims}d")
    assert ac.explain(function, image, kernel).candidates[-1].name == "generic"
    with pytest.raises(ValueError, match=r"'wishes' is none of.*generic"):
        function(image, kernel, algorithm="wishes")
