"""ONNX's own tests of the operations that we have, and the convolutions and pools of its networks.

The networks ship without weights that mean anything, so they are drawn; each node is given what
onnxruntime gives it, and must return what onnxruntime returns.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import pytest

from tests.onnx_nodes import NODES, attributes_of


@cache
def node_cases() -> dict[str, Any]:
    try:
        import onnx  # noqa: F401
    except ImportError:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.loader import load_model_tests

        cases = load_model_tests(kind="node")
    return {
        case.name: case
        for case in cases
        if len(case.model.graph.node) == 1 and case.model.graph.node[0].op_type in NODES
    }


def test_all_the_cases_are_there():
    pytest.importorskip("onnx", reason="its tests ship with it")
    assert len(node_cases()) >= 77
    assert {case.model.graph.node[0].op_type for case in node_cases().values()} == set(NODES)


@pytest.mark.parametrize("name", sorted(node_cases()))
def test_node(name):
    case = node_cases()[name]
    node = case.model.graph.node[0]
    for given, wanted in case.data_sets:
        # Inputs that are left out have no name.
        inputs = iter(given)
        arrays = [next(inputs) if each else None for each in node.input]
        got = NODES[node.op_type](attributes_of(node), *arrays)
        results = got if isinstance(got, tuple) else (got,)
        for ours, theirs in zip(results, wanted, strict=False):
            assert ours.dtype == theirs.dtype
            # Some of the expected numbers are written with four digits.
            np.testing.assert_allclose(ours, theirs, rtol=case.rtol, atol=case.atol)
