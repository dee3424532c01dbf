"""What is right in the benchmark, and how it comes to the device that is measured.

NumPy under another name stands in for CuPy.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import arrayconv as ac
import bench.expected
from arrayconv._options import current
from bench import cases, providers
from bench.cases import TO_INPUT, drawn
from bench.expected import Referee, compare, right_results
from bench.loops import UnableError
from bench.peers import jax_peer, torch_peer
from bench.places import NUMPY, jax_place, kept, torch_place
from bench.providers import REDUCED, TF32, Provider, Ready, arrayconv
from bench.suites import suite
from bench.timing import check
from tests.cuda_on_host.executor import HostExecutor, on_host

CASES = {case.name: case for case in suite("all", on_gpu=True)}
CONV = CASES["resnet50 3x3 64-64 @56, bfloat16"].small()
POOL = CASES["max 3x3/2 64 @112, to input"].small()


@pytest.fixture
def handed():
    """The arrays that have been handed over to the stand-in, without a way over the host."""
    return []


def _max(array, axis=None, out=None, keepdims=False):
    return np.asarray(array).max(axis=axis, out=out, keepdims=keepdims)


AsCupy: Any = type("AsCupy", (np.ndarray,), {"max": _max})
"""Arrays whose methods take no more arguments than CuPy's do."""


@pytest.fixture
def referee(handed):
    def from_dlpack(array):
        handed.append(array)
        return np.from_dlpack(array)

    others = {"from_dlpack": from_dlpack, "abs": lambda array: np.abs(array).view(AsCupy)}
    return Referee(SimpleNamespace(**{**vars(np), **others}), np.array)


@pytest.mark.parametrize("name", ["torch", "jax"])
@pytest.mark.parametrize("case", [CONV, POOL], ids=lambda case: case.name)
def test_results_are_compared_where_they_are(referee, handed, case, name):
    pytest.importorskip(name, reason="its arrays are handed over")
    place, peer = {"torch": (torch_place, torch_peer), "jax": (jax_place, jax_peer)}[name]
    here = place("cpu")
    expected = right_results(case, referee)
    for provider in (*peer(here)(case), *arrayconv(here, "auto")(case)):

        def forbidden(array):
            raise AssertionError("over the host")

        [result] = check(replace(provider, to_numpy=forbidden), case, expected, referee)
        assert result.wrong is None
    assert handed


def test_what_cannot_be_handed_over_is_copied(referee):
    array = np.ones(3)
    provider = Provider("p", "numpy", lambda case: Ready(lambda: None, ""), lambda given: array)
    np.testing.assert_array_equal(referee.takes(provider, object()), array)


def test_a_wrong_result_is_noticed_there_too(referee):
    [found] = right_results(CONV, referee)["whole case"]
    off = found.astype(np.float32)
    off[0, 0, 0, 0] += 0.1 * np.abs(off).max()
    error, wrong = compare((off,), (found,), 3e-2, "float32", referee.xp)
    assert error == pytest.approx(0.1, rel=0.05)
    assert wrong is not None
    off[0, 0, 0, 0] = np.nan
    assert "not finite" in str(compare((off,), (found,), 3e-2, "float32", referee.xp)[1])
    index = np.arange(3)
    assert compare((index,), (index + 1,), 0.0, "int64", referee.xp)[1] == "it has other indices"


@pytest.mark.parametrize("case", [CONV, POOL], ids=lambda case: case.name)
def test_what_is_judged_has_no_part_in_what_is_right(monkeypatch, case):
    asked = []

    def noted(*arguments):
        asked.append((current().algorithm, current().allow_unverified))
        return providers.bound(*arguments)

    monkeypatch.setattr(bench.expected, "bound", noted)
    with ac.options(algorithm="cuda", allow_unverified=True):
        right_results(case)
    assert set(asked) == {("generic", False)}


# --- arrays --------------------------------------------------------------------------------------


def test_arrays_are_drawn_once_and_nobody_may_change_them():
    case = CASES["resnet50 3x3 64-64 @56"]
    drawn.cache_clear()
    first, again = case.arrays(), replace(case, direction=TO_INPUT).arrays()
    assert first[0] is again[0]
    assert case.cotangent() is case.cotangent()
    with pytest.raises(ValueError, match="read-only"):
        first[0][...] = 0
    assert case.small().arrays()[0] is not first[0]


def test_large_arrays_repeat_a_prime_number_of_values(monkeypatch):
    monkeypatch.setattr(cases, "PERIOD", 101)
    for dtype in ("float32", "float16", "bfloat16", "complex64"):
        array = cases.draw(np.random.default_rng(0), (5, 60), dtype)
        assert array.shape == (5, 60)
        flat = array.reshape(-1)
        np.testing.assert_array_equal(flat[:101], flat[101:202])
        assert len(np.unique(flat)) > 50


def test_a_place_keeps_what_it_has_made():
    made = []

    def asarray(array, dtype):
        made.append(dtype)
        return array.copy()

    once = kept(asarray)
    arrays = [np.zeros(3) for _ in range(20)]
    first = once(arrays[0], "float32")
    assert once(arrays[0], "float32") is first
    assert once(arrays[0], "float16") is not first
    assert made == ["float32", "float16"]
    for array in arrays:
        once(array, "float32")
    assert once(arrays[0], "float32") is not first


def test_a_gradient_of_torch_leaves_the_others_tensors_alone():
    torch = pytest.importorskip("torch", reason="it marks tensors")
    place = torch_place("cpu")
    sharing = replace(place, asarray=kept(place.asarray))
    for provider in torch_peer(sharing)(POOL):
        provider.prepare(POOL)
    [array] = POOL.arrays()
    shared = sharing.asarray(array, POOL.dtype)
    assert isinstance(shared, torch.Tensor)
    assert not shared.requires_grad


def test_the_table_comes_first_on_a_gpu():
    every = suite("gpu", on_gpu=True)
    names = [case.name for case in every]
    assert len(set(names)) == len(names)
    assert names[:5] == [
        *("unfold 7x7/2 3 @224", "unfold 3x3 64 @56", "unfold 3x3 128 @28"),
        *("unfold 3x3 256 @14", "unfold 3x3 512 @7"),
    ]
    table = names[: names.index("mobilenet 3x3/2 depthwise 144 @56")]
    for layer in ("7x7/2 3-64 @224", "3x3 64-64 @56", "3x3 128-128 @28", "3x3 512-512 @7"):
        for dtype in ("", ", bfloat16", ", float16"):
            assert f"resnet50 {layer}{dtype}" in table
    assert len(table) < 45
    # And nothing that the other suites have is missing.
    for name in ("grad", "conv", "pool", "unfold", "small", "dtypes"):
        assert {case.name for case in suite(name, on_gpu=True)} <= set(names)


def test_numpy_judges_on_the_cpu():
    array = np.ones(3)
    provider = arrayconv(NUMPY)(CONV)[0]
    assert bench.expected.HOST.takes(provider, array) is array


def test_what_runs_where_less_precision_is_allowed_takes_part_too():
    def found(name: str) -> dict[str, Provider]:
        return {each.name: each for each in arrayconv(NUMPY)(CASES[name])}

    case = "resnet50 3x3 64-64 @56"
    providers_of = found(case)
    usual = providers_of["arrayconv numpy auto"].prepare(CASES[case])
    other = providers_of[f"arrayconv numpy auto{REDUCED}"].prepare(CASES[case])
    assert usual.algorithm.endswith("winograd_2x2")
    assert other.algorithm.endswith("winograd_4x4")
    # When it is timed, the options are no longer those under which it was prepared.
    assert not np.array_equal(other.call(), usual.call())
    with ac.options(algorithm=other.algorithm):
        assert np.array_equal(other.call(), usual.call())
    assert f"arrayconv numpy winograd_4x4{REDUCED}" in providers_of
    assert "arrayconv numpy winograd_2x2" in providers_of
    same = found("resnet50 3x3 512-512 @7")
    with pytest.raises(UnableError, match="the same runs"):
        same[f"arrayconv numpy auto{REDUCED}"].prepare(CASES["resnet50 3x3 512-512 @7"])
    assert not [name for name in found("resnet50 1x1 64-256 @56") if REDUCED in name]


def test_tensor_cores_take_part_in_tf32_and_are_judged_by_it(tmp_path):
    """With NumPy's arrays, for which the kernels are planned and not run."""
    case, executor = CASES["resnet50 3x3 64-64 @56"].small(), HostExecutor(tmp_path)
    with executor.recording() as kernels, on_host(executor):
        found = {each.name: each for each in arrayconv(NUMPY)(case)}
        bfloat16 = [each.name for each in arrayconv(NUMPY)(CONV)]
        with pytest.raises(UnableError, match="allow_tf32"):
            found["arrayconv numpy cuda-tensor"].prepare(case)
        tf32 = found["arrayconv numpy cuda-tensor tf32"]
        # When it is timed, the options are no longer those under which it was prepared.
        tf32.prepare(case).call()
    assert [kernel.arguments[-1].partition("<")[0] for kernel in kernels] == ["TensorCores"]
    assert tf32.tolerance == TF32
    assert found["arrayconv numpy cuda-implicit"].tolerance == 1
    assert "arrayconv numpy cudnn tf32" in found
    assert "arrayconv numpy cuda-implicit tf32" not in found
    assert not [name for name in bfloat16 if "tf32" in name]
