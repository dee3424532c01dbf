"""The device switch, with CuPy, without it, and with a fake of it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import arrayconv as ac


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch):
    monkeypatch.delenv("ARRAYCONV_DEVICE", raising=False)


def test_the_cpu():
    device = ac.get_device("cpu")
    assert device.name == "cpu"
    array = device.asarray([[1, 2]], dtype=np.float32)
    assert isinstance(array, np.ndarray)
    assert array.dtype == np.float32
    assert device.xp.sum(array) == 3
    device.synchronize()


def test_the_variable(monkeypatch):
    monkeypatch.setenv("ARRAYCONV_DEVICE", "cpu")
    assert ac.get_device().name == "cpu"
    monkeypatch.setenv("ARRAYCONV_DEVICE", "tpu")
    with pytest.raises(ValueError, match=r"'tpu' \(from the variable ARRAYCONV_DEVICE\)"):
        ac.get_device()
    assert ac.get_device("cpu").name == "cpu"


@pytest.mark.parametrize(
    "name", ["gpu", "", "CPU", "cuda:", "cuda:-1", "cuda:one", "cpu:0", "cuda0"]
)
def test_no_device(name):
    with pytest.raises(ValueError, match=f"got '{name}'"):
        ac.get_device(name)


@pytest.mark.parametrize("name", [None, 0, b"cpu", ["cpu"]])
def test_no_name(name):
    with pytest.raises(TypeError, match="device must be a string"):
        ac.get_device(name)


def test_cuda_without_cupy_says_how_to_get_it(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "cupy" else find(name)
    )
    assert ac.get_device("auto").name == "cpu"
    with pytest.raises(RuntimeError) as caught:
        ac.get_device("cuda")
    message = str(caught.value)
    assert "pip install 'arrayconv[cuda13]'" in message
    assert "\n" not in message


FAKE = """
    import numpy as _numpy
    from numpy import *

    class _Device:
        def __init__(self, number):
            self.number = number
        def __enter__(self):
            cuda.entered.append(self.number)
            return self
        def __exit__(self, *problem):
            pass
        def synchronize(self):
            cuda.waited.append(self.number)

    class cuda:
        entered, waited, there = [], [], {there}
        Device = _Device
        class runtime:
            @staticmethod
            def getDeviceCount():
                return cuda.there
        @staticmethod
        def is_available():
            return cuda.there > 0
"""


def with_a_fake_cupy(folder: Path, there: int, program: str) -> str:
    """Return what a program prints where ``import cupy`` gives a fake that sees so many GPUs."""
    (folder / "cupy.py").write_text(textwrap.dedent(FAKE).replace("{there}", str(there)))
    stand_in = "import sys, types, numpy; m = types.ModuleType('array_api_compat.cupy'); "
    stand_in += "m.asarray = numpy.asarray; sys.modules['array_api_compat.cupy'] = m\n"
    done = subprocess.run(
        [sys.executable, "-c", stand_in + textwrap.dedent(program)],
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_gpus(tmp_path):
    printed = with_a_fake_cupy(
        tmp_path,
        2,
        """
        import arrayconv as ac
        assert "cupy" not in sys.modules
        print(ac.get_device("auto").name, ac.get_device("cuda").name)
        second = ac.get_device("cuda:1")
        second.asarray([1.0])
        second.synchronize()
        import cupy
        print(second.name, cupy.cuda.entered, cupy.cuda.waited)
        try:
            ac.get_device("cuda:2")
        except ValueError as refusal:
            print(refusal)
        """,
    )
    assert printed.splitlines() == [
        "cuda:0 cuda:0",
        "cuda:1 [1, 1] [1]",
        "'cuda:2' is not there: this machine has 2 GPUs",
    ]


def test_cupy_without_a_gpu(tmp_path):
    printed = with_a_fake_cupy(
        tmp_path,
        0,
        """
        import arrayconv as ac
        print(ac.get_device("auto").name)
        try:
            ac.get_device("cuda")
        except RuntimeError as refusal:
            print(refusal)
        """,
    )
    first, second = printed.splitlines()
    assert first == "cpu"
    assert "NVIDIA GPU and its driver" in second


def test_to_numpy(library):
    values = np.arange(6.0).reshape(2, 3)
    got = ac.to_numpy(library.frozen(values, "float32"))
    assert type(got) is np.ndarray
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, values)


@pytest.mark.parametrize("value", [None, 1.0, [1.0], "array"])
def test_to_numpy_wants_an_array(value):
    with pytest.raises(TypeError, match="array must be an array"):
        ac.to_numpy(value)


def test_to_numpy_of_tensors_that_numpy_cannot_see_as_they_are():
    torch = pytest.importorskip("torch", reason="lazily conjugated tensors are torch's")
    tensor = torch.tensor([1 + 2j], requires_grad=True).conj()
    np.testing.assert_array_equal(ac.to_numpy(tensor), [1 - 2j])


@pytest.mark.parametrize("name", ["torch", "jax.numpy"])
def test_to_numpy_of_bfloat16(name, monkeypatch):
    pytest.importorskip("ml_dtypes", reason="NumPy has bfloat16 from ml_dtypes")
    module = pytest.importorskip(name, reason="there is no other bfloat16 to bring over")
    array = module.ones(3, dtype=module.bfloat16) * 1.5
    got = ac.to_numpy(array)
    assert got.dtype.name == "bfloat16"
    np.testing.assert_array_equal(got.astype(np.float32), [1.5, 1.5, 1.5])
    assert ac.to_numpy(got) is got
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "ml_dtypes" else find(name)
    )
    with pytest.raises(TypeError, match="pip install ml_dtypes"):
        ac.to_numpy(array)


def test_asarray_takes_every_library(library):
    values = np.arange(6.0).reshape(2, 3)
    got = ac.get_device("cpu").asarray(library.frozen(values, "float32"))
    assert type(got) is np.ndarray
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, values)
    assert ac.get_device("cpu").asarray(got, dtype=np.float64).dtype == np.float64


def test_cupy_itself_without_a_gpu():
    """Plain CuPy imports without a driver; then the CPU is the default, and asking says why."""
    cupy = pytest.importorskip("cupy", reason="the test is of CuPy as it is installed")
    if cupy.cuda.is_available():
        pytest.skip("there is a GPU")
    assert ac.get_device("auto").name == "cpu"
    with pytest.raises(RuntimeError, match="sees none"):
        ac.get_device("cuda")
    found = ac.show_config("dicts")
    assert found is not None
    assert "sees none" in found["cuda"]
    assert found["implementations"]["cupy"]["conv"][-1] == "generic"
