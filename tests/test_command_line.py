"""``python -m arrayconv``: what it prints, its exit codes, and `show_config`."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import arrayconv as ac
import arrayconv.__main__ as command_line
from arrayconv import _first_calls
from arrayconv.__main__ import FAMILIES, SPREADING, main
from arrayconv._capabilities import LIBRARIES
from arrayconv._first_calls import LAYERS
from arrayconv.backends.numpy.compiler import missing


def printed(capsys: Any, command: str, code: int = 0) -> str:
    assert main(command.split()) == code
    out, err = capsys.readouterr()
    assert bool(err) == bool(code)
    return str(out or err)


def test_the_module_runs():
    done = subprocess.run(
        [sys.executable, "-m", "arrayconv", "shape", "conv", "224x224", "-k7", "-s2", "-p3"],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ,
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, second, third = done.stdout.splitlines()
    assert first == "conv: 224x224 -> 112x112"
    assert second.startswith(
        "  dimension 0: floor((224 + 3 + 3 - 1 * (7 - 1) - 1) / 2) + 1 = floor(223 / 2) + 1 = 112"
    )
    assert third.startswith("  dimension 1: floor(")


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("shape conv 9x8 -k 3x2 -s 2 -p same_upper", "conv: 9x8 -> 5x4"),
        ("shape conv 10 -k 3 -p 1:2 -d 2", "conv: 10 -> 9"),
        ("shape max_pool 7 -k 2 --ceil-mode", "ceil(5 / 2) + 1 = 4"),
        ("shape max_pool 7 -k 3 -s 2 -p 1", "max_pool: 7 -> 4"),
        ("shape avg_pool 4x4 -k 2", "avg_pool: 4x4 -> 2x2"),
        ("shape lp_pool 9 -k 2 -s 3", "lp_pool: 9 -> 3"),
        ("shape max_unpool 4x4 -k 2", "max_unpool: 4x4 -> 8x8"),
        ("shape max_unpool 4 -k 3 -s 2 -p 1", "(4 - 1) * 2 - 1 - 1 + 1 * (3 - 1) + 0 + 1 = 7"),
        ("explain max_pool2d 1x4x9x9 -k 2", "max_pool2d runs the primitive max_pool"),
        ("explain adaptive_avg_pool2d 1x4x9x9 --output-size 3x3", "the primitive sum_pool"),
        ("shape max_pool 3 -k 1 -s 4 -p 1 --ceil-mode", "less the last window"),
        ("shape conv 6 -k 3 -s 2", "(the last 1 of the padded cells are in no window)"),
        ("shape unfold 8x8 -k 3", "columns: (N, C * 9, 36)"),
        (
            "shape conv_transpose 7 -k 4 -s 2 -p 1 --output-padding 1",
            "(7 - 1) * 2 - 1 - 1 + 1 * (4 - 1) + 1 + 1 = 15",
        ),
        ("explain conv2d 1x4x9x9 6x2x3x3 6 -s 2 -p 1 -g 2", "* im2col"),
        ("explain conv2d 1x1x9x9 1x1x3x3 --library array_api_strict", "* generic"),
        ("explain unfold 1x4x9x9x9 -k 3", "unfold runs the primitive unfold"),
        ("explain fold 1x8x4 --output-size 3x3 -k 2 --dtype complex128", "fold on numpy arrays"),
        ("explain pad 3x4 --pad 1x1 --dtype int8", "pad runs the primitive pad"),
        ("explain correlate 9x9 3x3", "correlate runs the primitive conv"),
        ("info", f"arrayconv         {ac.__version__}"),
    ],
)
def test_commands(capsys, command, wanted):
    if "strict" in command:
        pytest.importorskip("array_api_strict", reason="the arrays are its")
    assert wanted in printed(capsys, command)


@pytest.mark.parametrize("family", FAMILIES)
def test_shapes_are_the_calculators(capsys, family):
    window: dict[str, Any] = {"stride": (3, 2), "padding": (1, 2), "dilation": (2, 1)}
    if family == "max_unpool":
        window["dilation"] = (1, 1)
    dilation = "x".join(map(str, window["dilation"]))
    command = f"shape {family} 17x20 -k 5x4 -s 3x2 -p 1x2 -d {dilation}"
    line = printed(capsys, command).splitlines()[0]
    calculate = ac.transposed_output_size if family in SPREADING else ac.output_size
    wanted = calculate((17, 20), (5, 4), **window)
    assert line == f"{family}: 17x20 -> {'x'.join(map(str, wanted))}"
    if family in SPREADING:
        run: Any = ac.conv_transpose2d(np.ones((1, 1, 17, 20)), np.ones((1, 1, 5, 4)), **window)
    elif family == "unfold":
        assert ac.unfold(np.ones((1, 1, 17, 20)), (5, 4), **window).shape[-1] == np.prod(wanted)
        return
    else:
        run = ac.conv2d(np.ones((1, 1, 17, 20)), np.ones((1, 1, 5, 4)), **window)
    assert run.shape[2:] == wanted


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("shape conv 3 -k 7", "kernel_size (7,)"),
        ("shape conv 3x3 -k 1x1x1", "--kernel-size"),
        ("shape conv 3 -k 0", "--kernel-size"),
        ("shape conv 8 -k 3 -s 2 -p same", "same_upper"),
        ("shape conv 8 -k 3 --ceil-mode", "--ceil-mode"),
        ("shape conv_transpose 8 -k 3 --ceil-mode", "--ceil-mode"),
        ("shape conv 8 -k 3 --output-padding 1", "--output-padding"),
        ("shape max_unpool 8 -k 3 -d 2", "--dilation"),
        ("shape conv_transpose 8 -k 3 -p same", "crop"),
        ("explain conv2d 1x2x3x3 1x1x3x3", "(1, 1, 3, 3)"),
        ("explain conv2d 1x1x3x3", "weight"),
        ("explain conv2d 1x1x3x3 1x1x3x3 --dtype bool", "bool"),
        ("explain conv2d 1x1x3x3 1x1x3x3 --dtype bfloat16", "no dtype bfloat16"),
        ("compile --library numpy --wide", "--library cupy"),
        ("compile --library numpy --kernel fold", "--library cupy"),
        ("compile --library numpy --dtype float32 int8", "int8"),
    ],
)
def test_what_cannot_be(capsys, command, said):
    message = printed(capsys, command, code=1)
    assert said in message
    assert message.startswith(f"python -m arrayconv {command.split()[0]}: ")


@pytest.mark.parametrize(
    "command",
    [
        *("", "shapes", "shape conv", "shape conv 3", "shape conv axb -k 3"),
        *("shape conv 3 -k 3 -p 1:", "shape conv 3 -k -1"),
        *("explain relu 3", "explain conv2d", "info --all"),
    ],
)
def test_bad_usage(capsys, command):
    with pytest.raises(SystemExit) as stopped:
        main(command.split())
    assert stopped.value.code == 2
    assert "usage: python -m arrayconv" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["--help", "info --help", "shape -h", "explain --help"])
def test_help(capsys, command):
    with pytest.raises(SystemExit) as stopped:
        main(command.split())
    assert stopped.value.code == 0
    assert "usage: python -m arrayconv" in capsys.readouterr().out


def test_first_calls(capsys, monkeypatch):
    """Each layer and its gradients are called, and shown with the time that took."""
    if missing() is not None:
        pytest.skip(str(missing()))
    chosen = LAYERS[0], next(each for each in LAYERS if each.function == "max_pool2d")
    monkeypatch.setattr(_first_calls, "LAYERS", chosen)
    *lines, last = printed(capsys, "compile --library numpy --dtype float32 float64").splitlines()
    assert [line.split("  ")[-2:] for line in lines] == [
        [dtype, str(layer)] for dtype in ("float32", "float64") for layer in chosen
    ]
    assert str(chosen[1]) == "max_pool2d(1x32x56x56, kernel_size=2)"
    assert re.fullmatch(r"4 layers and their gradients in \d+\.\d s", last)


def test_first_calls_need_numba(capsys, monkeypatch):
    monkeypatch.setattr(command_line, "missing", lambda: "numba is not installed")
    assert "numba is not installed" in printed(capsys, "compile --library numpy", code=1)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_layers_of_first_calls_are_calls_that_can_be(layer):
    arrays = [np.empty(shape, "float32") for shape in layer.shapes]
    assert ac.explain(getattr(ac, layer.function), *arrays, **layer.params).chosen


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"arrayconv {ac.__version__}\n"


def test_show_config_tells_what_is_there(capsys):
    found = ac.show_config("dicts")
    assert found is not None
    assert found["versions"]["numpy"] == np.__version__
    for library in LIBRARIES:
        there = importlib.util.find_spec(library) is not None
        assert isinstance(found["versions"][library], str) == there
        by_primitive = found["implementations"][library]
        if there:
            assert {"conv", "unfold", "pad"} <= set(by_primitive)
            assert all(names[-1] == "generic" for names in by_primitive.values())
        else:
            assert by_primitive == "not installed"
    assert ac.show_config() is None
    shown = capsys.readouterr().out
    assert re.search(rf"numpy +{re.escape(np.__version__)}", shown)
    assert "workspace_bytes" in shown
    with pytest.raises(ValueError, match="mode must be one of"):
        ac.show_config("json")


def test_what_is_unverified_is_marked(monkeypatch):
    from arrayconv import _registry
    from arrayconv._registry import Implementation

    new = {"conv": (Implementation("new", lambda *given: None, verified=False),)}
    monkeypatch.setattr("arrayconv.functional.configuration.offered", lambda library: new)
    found = ac.show_config("dicts")
    assert found is not None
    first = found["implementations"]["numpy"]["conv"][0]
    assert first == "new (unverified: runs with options(allow_unverified=True))"
    assert _registry.offered("numpy")
