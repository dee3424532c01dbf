"""What every public docstring must have, so that ``help`` is enough to use a function.

The parts are those of numpydoc, read with the code that makes the reference of the site. That the
examples are true is tested by pytest's doctests.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import arrayconv
from arrayconv import nn
from docs.docstrings import REFERENCE, entries, sections

RAISES_NOTHING = {"show_config"}
# Functions that PyTorch has under the same name in torch.nn.functional, for those without torch.
TWINS = {
    *(f"conv{d}d" for d in (1, 2, 3)),
    *(f"conv_transpose{d}d" for d in (1, 2, 3)),
    *(f"{pool}{d}d" for pool in ("max_pool", "avg_pool", "lp_pool") for d in (1, 2, 3)),
    *(f"adaptive_{kind}_pool{d}d" for kind in ("avg", "max") for d in (1, 2, 3)),
    *(f"max_unpool{d}d" for d in (1, 2, 3)),
    *("fractional_max_pool2d", "fractional_max_pool3d"),
    *("cross_entropy", "dropout", "fold", "linear", "pad", "relu", "unfold"),
}


# What computes nothing of its own: it moves, chooses, reports, or rearranges.
WITHOUT_FORMULA = {
    *("Device", "Explanation", "Options", "Prepared"),
    *("explain", "get_device", "options", "prepare", "show_config", "to_numpy"),
    *("extract_patches", "flatten", "from_image", "to_image"),
}
SOURCE = re.compile(r"\b(1[89]|20)\d\d\b|documentation of |aten/src/|ONNX, operator ")
"""A year, or the part of a library's documents or code."""


def public(module: ModuleType) -> list[tuple[str, Any]]:
    found = [(name, getattr(module, name)) for name in module.__all__]
    return [(name, value) for name, value in found if callable(value)]


def stands_for(name: str, text: str) -> str | None:
    """Return the two-dimensional function that a docstring of one or three says it is like."""
    like = re.sub(r"[13]d$", "2d", name)
    return like if like != name and f"`{like}`" in text else None


def lacking(name: str, value: Callable[..., Any], like: Any = None) -> list[str]:
    """Return what the docstring of a function lacks."""
    written = sections(value.__doc__ or "")
    found = []
    signature = inspect.signature(value)
    parameters = {each for each in signature.parameters if each != "self"}
    given = entries(written.get("Parameters", ""))
    documented = {
        term.strip(" *") for head, _ in given for term in head.partition(" : ")[0].split(",")
    }
    variadic = {
        each.name for each in signature.parameters.values() if each.kind == each.VAR_KEYWORD
    }
    missing = parameters - documented - variadic
    if missing:
        found.append(f"parameters {sorted(missing)}")
    if variadic - documented and not documented - parameters:
        found.append(f"the names that **{sorted(variadic)[0]} takes")
    none = signature.return_annotation in (None, "None")
    if not none and not {"Returns", "Yields"} & set(written):
        found.append("what it returns")
    if parameters and "Raises" not in written and name not in RAISES_NOTHING:
        found.append("the errors it raises")
    if ">>> " not in written.get("Examples", ""):
        found.append("an example")
    return found


def lacking_of_arrays(name: str, written: str) -> list[str]:
    """Return what a docstring lacks that takes and returns arrays: shapes, dtypes, torch."""
    found = []
    parts = sections(written)
    arrays = [head for head, _ in entries(parts["Parameters"]) if " : array" in head]
    if not all("shape" in head or "(" in head for head in arrays):
        found.append("shapes of its arrays")
    if stands_for(name, written):
        return found
    if not re.search(r"dtype|Real|real|complex|integer", parts["Parameters"] + parts["Returns"]):
        found.append("dtypes")
    if not re.search("torch", written, re.IGNORECASE):
        found.append("differences from torch")
    return found


@pytest.mark.parametrize(("name", "value"), public(arrayconv))
def test_a_docstring_has_every_part(name, value):
    if inspect.isclass(value):
        written = sections(value.__doc__)
        assert ">>> " in written.get("Examples", "")
        assert "Attributes" in written
    else:
        assert lacking(name, value) == []


@pytest.mark.parametrize("name", sorted(TWINS))
def test_a_docstring_says_shapes_dtypes_and_what_is_not_as_in_torch(name):
    assert lacking_of_arrays(name, getattr(arrayconv, name).__doc__) == []


def test_the_twins_are_those_of_torch(torch):
    functional = torch.nn.functional
    there = {name for name, _ in public(arrayconv) if hasattr(functional, name)}
    assert there == TWINS


def sources(docstring: str) -> list[str]:
    """Return the entries of the section References."""
    return REFERENCE.split(sections(docstring).get("References", ""))[1:]


@pytest.mark.parametrize(("name", "value"), public(arrayconv))
def test_a_formula_has_its_source(name, value):
    found = sources(value.__doc__)
    if name in WITHOUT_FORMULA:
        assert found == []
    elif not stands_for(name, value.__doc__):
        assert found
    assert [each for each in found if not SOURCE.search(each)] == []


@pytest.mark.parametrize("name", ["SGD", "Adam", "BatchNorm2d"])
def test_a_layer_with_a_formula_of_its_own_has_its_source(name):
    assert any(SOURCE.search(each) for each in sources(getattr(nn, name).__doc__))


@pytest.mark.parametrize(("name", "value"), public(nn))
def test_a_layer_has_its_arguments_and_an_example(name, value):
    written = inspect.getdoc(value) or ""
    if stands_for(name, written):
        return
    parts = sections(written)
    assert ">>> " in parts.get("Examples", "")
    listed = parts.get("Parameters", "") + parts.get("Attributes", "")
    for parameter in inspect.signature(value).parameters.values():
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            assert re.search(rf"\b{parameter.name}\b", listed), parameter.name


def test_drawing_has_every_part():
    draw = pytest.importorskip("arrayconv.draw", reason="arrayconv.draw needs matplotlib")
    assert {name: lacking(name, value) for name, value in public(draw)} == {
        name: [] for name in draw.__all__
    }


# --- and each can fail --------------------------------------------------------------------------


def test_what_is_lacking_is_found():
    def bare(input: int, other: int) -> int:
        """Do.

        Parameters
        ----------
        input : array
            It.
        """
        return 0

    assert lacking("bare", bare) == [
        "parameters ['other']",
        "what it returns",
        "the errors it raises",
        "an example",
    ]
    written = (inspect.getdoc(bare) or "") + "\n\nReturns\n-------\narray\n    It."
    assert lacking_of_arrays("bare", written) == [
        "shapes of its arrays",
        "dtypes",
        "differences from torch",
    ]


def test_a_source_is_told_from_a_mere_word():
    assert sources("Do.\n\nReferences\n----------\n.. [1] A. Uthor, 1999.\n.. [2] A book.") == [
        "A. Uthor, 1999.\n",
        "A book.",
    ]
    assert sources("Do, as A. Uthor did in 1999.") == []
    assert SOURCE.search("A. Uthor, 1999.")
    assert not SOURCE.search("A book.")


def test_one_dimension_may_point_at_two():
    assert stands_for("conv1d", "`conv2d` in one dimension") == "conv2d"
    assert stands_for("conv1d", "conv2d in one dimension") is None
    assert stands_for("conv2d", "`conv2d`") is None
