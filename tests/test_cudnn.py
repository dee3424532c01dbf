"""cuDNN on CuPy arrays, as far as that goes without a GPU: by a model of its front end."""

from __future__ import annotations

import importlib
import importlib.util
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import arrayconv as ac
from arrayconv import primitives
from arrayconv._window import Axis, Table, sliding_window
from arrayconv.backends.cupy import cudnn
from arrayconv.backends.cupy.geometry import described
from tests.cases import CONVOLUTIONS, TRANSPOSED, Case, assert_close, draw
from tests.cuda_comparison import made, pulled
from tests.cuda_on_host.executor import HostExecutor, on_host
from tests.cudnn_model import Note, front_end

WINDOW = sliding_window((5, 6), (3, 3), (2, 1), ((1, 1), (0, 1)), (1, 1))


def forget() -> None:
    cudnn.why_missing.cache_clear()
    cudnn._OF_THREAD = cudnn._Thread()


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[Any]:
    """The model in the place of the front end, on device 1 and stream 7, for NumPy arrays."""
    module = front_end()
    found = importlib.import_module
    monkeypatch.setattr(
        cudnn.importlib,  # type: ignore[attr-defined]
        "import_module",
        lambda name, *rest: module if name == "cudnn" else found(name, *rest),
    )
    monkeypatch.setattr(cudnn, "_here", lambda: (1, 7))
    forget()
    with on_host(HostExecutor(tmp_path)):
        yield module
    forget()


def results(case: Case, dtype: str) -> list[Any]:
    arrays = [made(np, shape, dtype, seed) for seed, shape in enumerate(case.shapes)]
    function = getattr(ac, case.function)
    return pulled(np, function, *arrays, *[None] * (3 - len(arrays)), **case.params)


# What else is padded takes kernels of its own, and an empty array other implementations.
SERVED = [
    case
    for case in (*CONVOLUTIONS, *TRANSPOSED)
    if "padding_mode" not in case.params and 0 not in case.shapes[0]
]


@pytest.mark.parametrize("case", SERVED, ids=lambda case: case.id)
def test_the_graph_says_what_is_meant(model, case):
    with ac.options(algorithm="generic", allow_unverified=False):
        wanted = results(case, "float64")
    with ac.options(algorithm="cudnn", allow_unverified=True):
        got = results(case, "float64")
    for one, right in zip(got, wanted, strict=True):
        assert_close(one, right, "float64")
    operations = {graph.operation[0] for graph in model.graphs}
    assert operations == {"conv_fprop", "conv_dgrad", "conv_wgrad"}
    assert all(graph.handles for graph in model.graphs)


@pytest.mark.parametrize("dtype", list(cudnn.TYPES))
def test_types(model, dtype):
    case = Case("conv2d", ((2, 4, 7, 6), (6, 2, 3, 2)), {"stride": (2, 1), "groups": 2})
    with ac.options(algorithm="generic", allow_unverified=False):
        wanted = results(case, "float64")
    with ac.options(algorithm="cudnn", allow_unverified=True):
        got = results(case, dtype)
    for one, right in zip(got, wanted, strict=True):
        assert one.dtype.name == dtype
        np.testing.assert_allclose(one.astype(np.float64), right, rtol=0.1, atol=0.2)
    for graph in model.graphs:
        assert graph.known["compute_data_type"].name == (
            "DOUBLE" if dtype == "float64" else "FLOAT"
        )


def call(array: Any, algorithm: str = "cudnn") -> Any:
    w = np.ones((4, array.shape[1], 3, 3), array.dtype)
    return primitives.conv(array, w, WINDOW, 1, algorithm=algorithm)


def test_arrays_are_read_as_they_lie(model):
    rng = np.random.default_rng(0)
    x = draw(rng, (2, 5, 6, 3), "float32").transpose(0, 3, 1, 2)
    np.testing.assert_allclose(call(x), call(x, "generic"), rtol=1e-5, atol=1e-5)
    ((_, known, _),) = (graph.operation for graph in model.graphs)
    assert known["image"].known["stride"] == [90, 1, 18, 3]


def test_tensor_cores_only_if_allowed(model):
    x = np.ones((1, 2, 5, 6), np.float32)
    for allow_tf32 in (False, True):
        with ac.options(allow_tf32=allow_tf32):
            call(x)
    call(x.astype(np.float16))
    strict, loose, half = (set(graph.barred) for graph in model.graphs)
    assert strict == set(Note)
    assert loose == half == set(Note) - {Note.TENSOR_CORE}


def test_plans_are_kept(model):
    x = np.ones((1, 2, 5, 6), np.float32)
    for array in (x, x + 1, x[..., ::1], x[:, :1], x.astype(np.float64), x):
        call(array)
    assert len(model.graphs) == 3
    assert model.handles == ["handle 0"]
    assert set(model.streams) == {("handle 0", 7)}
    thread = threading.Thread(target=lambda: cudnn._OF_THREAD.handle(1))
    thread.start()
    thread.join()
    assert model.handles == ["handle 0", "handle 1"]


def test_views_that_begin_anywhere_are_left_to_others(model):
    whole = np.ones((1, 2, 5, 10), np.float32)
    aligned, view = whole[..., 4:], whole[..., 1:7]
    call(aligned)
    with pytest.raises(ValueError, match="multiples of 16 bytes"):
        call(view)
    w = np.ones((4 * 2 * 3 * 3 + 1,), np.float32)[1:].reshape(4, 2, 3, 3)
    assert "16 bytes" in str(cudnn.unfit("conv", aligned, w, WINDOW, 1))
    # By a plan that is there already too.
    call(whole[..., :6])
    assert "16 bytes" in str(cudnn.unfit("conv", view, w[:], WINDOW, 1))
    with ac.options(algorithm="cudnn", allow_unverified=True):
        x, weight = np.ones((1, 2, 5, 7), np.float32), np.ones((1, 2, 3, 3), np.float32)
        assert ac.conv2d(x[..., 1:], weight).shape == (1, 1, 3, 4)


def test_no_plan(model):
    model.refused = "No valid engine configs"
    x = np.ones((1, 2, 5, 6), np.float32)
    with pytest.raises(ValueError, match="cuDNN has no plan for it: No valid engine configs"):
        call(x)
    with pytest.raises(ValueError, match="No valid engine"):
        cudnn.run("conv", x, np.ones((4, 2, 3, 3), np.float32), WINDOW, 1)


@pytest.mark.parametrize(
    ("axis", "wanted"),
    [
        (Axis(9, 3, 1, 1, 1, 1, 9), (1, 1)),
        # What the last window does not reach may be padded too: so the sides are alike.
        (Axis(8, 3, 2, 1, 1, 1, 4), (1, 1)),
        (Axis(9, 3, 1, 1, 0, 2, 9), (0, 2)),
        (Axis(9, 2, 1, 1, 1, 0, 9), (1, 0)),
        # The windows end before the array does, or begin within it.
        (Axis(9, 3, 1, 1, 0, 0, 5), None),
        (Axis(9, 3, 1, 1, -1, 0, 6), None),
    ],
)
def test_paddings(axis, wanted):
    assert cudnn.paddings(axis) == wanted


@pytest.mark.parametrize(
    ("array", "window", "reason"),
    [
        (np.ones((1, 2, 5, 6), np.int32), WINDOW, "not int32"),
        (np.ones((1, 2, 5, 6), np.complex64), WINDOW, "not complex64"),
        (np.ones((1, 2, 5, 6)), (Axis(5, 3, 1, 1, -1, 0, 2), WINDOW[1]), "cannot crop"),
        (np.ones((1, 2, 5, 6)), (Table(5, 3, 1, ((0, 1, 2),)), WINDOW[1]), "cannot crop"),
        (np.ones((1, 2, 5, 6, 1, 1)), WINDOW * 2, "not 4"),
        (np.ones((0, 2, 5, 6)), WINDOW, "no empty arrays"),
        (np.ones((1, 2, 5, 6))[..., ::-1], WINDOW, "no reversed"),
        (np.broadcast_to(np.ones(6), (1, 2, 5, 6)), WINDOW, "no reversed or repeated"),
        (np.ones((1, 2, 5, 6)), WINDOW, None),
    ],
    ids=str,
)
def test_what_is_not_served(model, array, window, reason):
    w = np.ones((4, 2, *(each.kernel for each in window)), array.dtype)
    said = cudnn.unfit("conv", array, w, window, 1)
    assert said is None if reason is None else reason in str(said)


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (ModuleNotFoundError("no cudnn"), "pip install 'arrayconv[cudnn]'"),
        (OSError("libcudnn.so: cannot open"), "nvidia-cudnn-cu13 (or -cu12) (OSError: libcudnn"),
        (RuntimeError("Unable to find symbol"), "RuntimeError: Unable to find symbol"),
    ],
)
def test_what_is_missing(model, monkeypatch, problem, said):
    def refuse(name: str) -> Any:
        raise problem

    monkeypatch.setattr(cudnn.importlib, "import_module", refuse)  # type: ignore[attr-defined]
    cudnn.why_missing.cache_clear()
    x = np.ones((1, 2, 5, 6), np.float32)
    assert said in str(cudnn.unfit("conv", x, np.ones((4, 2, 3, 3), np.float32), WINDOW, 1))


def test_it_is_asked_for_only(model):
    """It comes behind the kernels, and runs where unverified implementations may, and by name."""
    x, w = np.ones((1, 2, 5, 6), np.float32), np.ones((4, 2, 3, 3), np.float32)
    names = [each.name for each in primitives.conv.implementations(x)]
    assert names[:4] == ["cuda", "cuda-tensor", "cuda-implicit", "cudnn"]
    assert primitives.conv.choose("auto", x, w, WINDOW, 1).name == "cuda-implicit"
    with ac.options(algorithm="cudnn", allow_unverified=False):
        assert primitives.conv.choose("auto", x, w, WINDOW, 1).name not in names[:4]


def test_the_front_end_takes_the_graphs():
    """NVIDIA's own, which needs no GPU until a graph is planned."""
    if importlib.util.find_spec("cudnn") is None:
        pytest.skip("nvidia-cudnn-frontend is not installed")
    try:
        front = importlib.import_module("cudnn")
    except OSError as problem:
        pytest.skip(f"this version of it needs cuDNN itself: {problem}")
    x, y = np.ones((2, 4, 5, 6), np.float32), np.ones((2, 6, 3, 5), np.float32)
    w = np.ones((6, 4, 3, 3), np.float32)
    for primitive, (first, second), shape in (
        ("conv", (x, w), y.shape),
        ("conv_transpose", (y, w), x.shape),
        ("conv_weight", (x, y), w.shape),
    ):
        arrays = described(first), described(second)
        graph = cudnn.graph_of(front, None, primitive, *arrays, WINDOW, shape)
        assert isinstance(graph, front.pygraph)
