"""ONNX's own tests of the operations that we have, and the convolutions and pools of its networks.

The networks ship without weights that mean anything, so they are drawn; each node is given what
onnxruntime gives it, and must return what onnxruntime returns.
"""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
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


def runner(library: Any) -> Any:
    """Return a function that calls one of ours with NumPy arrays as the library's."""

    def run(function: Any, *arguments: Any, **params: Any) -> Any:
        given = [
            library.frozen(each) if isinstance(each, np.ndarray) else each for each in arguments
        ]
        result = function(*given, **params)
        if isinstance(result, tuple):
            return tuple(library.to_numpy(each) for each in result)
        return library.to_numpy(result)

    return run


@pytest.mark.parametrize("name", sorted(node_cases()))
def test_node(library, name):
    case = node_cases()[name]
    node, run = case.model.graph.node[0], runner(library)
    for given, wanted in case.data_sets:
        # Inputs that are left out have no name.
        inputs = iter(given)
        arrays = [next(inputs) if each else None for each in node.input]
        got = NODES[node.op_type](run, attributes_of(node), *arrays)
        results = got if isinstance(got, tuple) else (got,)
        for ours, theirs in zip(results, wanted, strict=False):
            assert ours.dtype == theirs.dtype
            # Some of the expected numbers are written with four digits.
            np.testing.assert_allclose(ours, theirs, rtol=case.rtol, atol=case.atol)


NETWORKS = (
    *("bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "resnet50"),
    *("shufflenet", "squeezenet", "vgg19", "zfnet512"),
)


def drawn(model: Any, random: np.random.Generator) -> None:
    """Replace every weight, a constant of some shape, by an initializer that is drawn."""
    from onnx import numpy_helper

    graph = model.graph
    shapes = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    variances = {
        name
        for node in graph.node
        if node.op_type == "BatchNormalization"
        for name in node.input[4:]
    }
    kept = []
    for node in graph.node:
        if node.op_type != "ConstantOfShape":
            kept.append(node)
            continue
        shape = tuple(int(n) for n in shapes[node.input[0]])
        # So that the numbers neither grow nor vanish from layer to layer.
        values = random.standard_normal(shape) * np.sqrt(2 / max(1, int(np.prod(shape[1:]))))
        if node.output[0] in variances:
            values = 0.5 + random.random(shape)
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), node.output[0]))
    del graph.node[:]
    graph.node.extend(kept)


def run_by_onnxruntime(model: Any, names: list[str], random: np.random.Generator) -> dict[str, Any]:
    """Return what onnxruntime computes for the values of these names, of drawn input."""
    import onnxruntime
    from onnx import helper

    graph = model.graph
    constants = {each.name for each in graph.initializer}
    fed = {
        each.name: [n.dim_value for n in each.type.tensor_type.shape.dim]
        for each in graph.input
        if each.name not in constants
    }
    del graph.output[:]
    graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    # Nodes stay as they are: fused ones would not give their own results.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    inputs = {name: random.standard_normal(shape).astype(np.float32) for name, shape in fed.items()}
    return dict(zip(names, session.run(names, inputs), strict=True)) | inputs


@pytest.mark.parametrize("name", NETWORKS)
def test_network(name, request, left_out):
    """Every convolution and pool of a network, on NumPy, at 2e-5 of the largest value."""

    def run(function: Any, *arguments: Any, **params: Any) -> Any:
        return function(*arguments, **params)

    if name in ("vgg19", "bvlc_alexnet") and not request.config.getoption("--full"):
        left_out(f"the network {name}, whose weights are drawn for long: --full runs it")
        pytest.skip("it takes half a minute: --full runs it")
    onnx = pytest.importorskip("onnx", reason="the networks ship with it")
    pytest.importorskip("onnxruntime", reason="the comparison is with onnxruntime")
    from onnx import numpy_helper

    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    model = onnx.load(folder / f"light_{name}.onnx")
    random = np.random.default_rng(0)
    drawn(model, random)
    nodes = [node for node in model.graph.node if node.op_type in NODES]
    weights = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    inputs = {each.name for each in model.graph.input}
    names = {each for node in nodes for each in (*node.input, node.output[0])}
    wanted = sorted(each for each in names if each not in weights and each not in inputs)
    values = run_by_onnxruntime(model, wanted, random) | weights
    assert len(nodes) >= 8
    for node in nodes:
        given = [values[each] for each in node.input]
        got = NODES[node.op_type](run, attributes_of(node), *given)
        result, right = got[0] if isinstance(got, tuple) else got, values[node.output[0]]
        assert np.isfinite(right).all()
        assert right.std() > 0
        error = np.abs(result - right).max() / np.abs(right).max()
        assert error <= 2e-5, f"{node.op_type} {node.output[0]}: {error}"
