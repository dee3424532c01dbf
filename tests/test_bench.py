"""The benchmark's arithmetic, its checks before timing, and its command; nothing here is timed."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import arrayconv as ac
from arrayconv import reference
from bench import environment, timing
from bench.__main__ import NEEDED, main
from bench.cases import Convolution, convolutions, photograph
from bench.providers import Provider, loop, providers, torch_providers
from bench.timing import Effort, Result, check, compare, right_results, take_turns

REPOSITORY = Path(__file__).parents[1]
TINY = Effort(rounds=2, seconds=0.0, least=1, sample=0.0)
CROP = 16

# The record, as the records of all later benchmarks have it.
FIELDS = [
    *("case", "op", "direction", "dtype", "shape", "params", "provider", "library", "algorithm"),
    *("device", "threads", "rounds", "seconds_median", "seconds_p20", "seconds_p80", "bytes_min"),
    *("flops", "peak_extra_bytes", "share_of_copy", "share_of_product", "checked", "max_error"),
    *("extrapolated_from", "commit", "versions", "timestamp"),
]


@pytest.fixture
def need(left_out):
    """Return a function that skips the test where one of these packages is not installed."""

    def check_for(*packages):
        missing = [name for name in packages if importlib.util.find_spec(name) is None]
        if missing:
            left_out(f"a test of the benchmark: {', '.join(missing)} is not installed")
            pytest.skip(f"{', '.join(missing)} is not installed")

    return check_for


@pytest.fixture(scope="module", autouse=True)
def small_crop():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "CROP", CROP)
        yield


def small_photo(rows=CROP + 6, columns=CROP + 3):
    """Return a small noisy picture, larger than the crop, in grey and RGB."""
    rgb = np.random.default_rng(0).random((1, 3, rows, columns), dtype=np.float32)
    return rgb[:, :1].copy(), rgb


@pytest.fixture(scope="module")
def case():
    return next(each for each in convolutions(*small_photo()) if each.name == "sobel")


@pytest.fixture(scope="module")
def expected(case):
    return right_results(case)


def provider(compute, name="arrayconv made up"):
    return Provider(name, "numpy", lambda case: "made up", lambda case: lambda: compute(case))


def right(case):
    return ac.conv2d(case.input, case.weight, case.bias, padding=case.padding, groups=case.groups)


# --- cases ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lecture", "gaussian", "sobel", "sharpen"])
def test_sizes_flops_and_bytes_are_those_of_the_loops(name):
    case = next(each for each in convolutions(*small_photo(7, 6)) if each.name == name)
    output = reference.conv(
        case.input, case.weight, case.bias, padding=case.padding, groups=case.groups
    )
    assert case.output_shape == output.shape
    # All ones, and a bias of none: every output counts the multiply-adds that it took.
    padding = [(0, 0), (0, 0), *[(case.padding, case.padding)] * 2]
    ones = np.pad(np.ones_like(case.input), padding, constant_values=1)
    counted = reference.conv(ones, np.ones_like(case.weight), groups=case.groups)
    assert case.flops == 2 * case.multiply_adds == 2 * counted.sum()
    arrays = [a for a in (case.input, case.weight, case.bias, output) if a is not None]
    assert case.bytes_min == sum(array.nbytes for array in arrays)


def test_the_lecture_filters_give_the_lecture_numbers():
    rows = ("768513", "865355", "911535", "455926", "953122", "448898")
    picture = np.asarray([[[list(map(int, row)) for row in rows]]], dtype=np.float32)
    case = convolutions(picture, np.repeat(picture, 3, axis=1))[0]
    assert right(case)[0, 0].tolist() == [
        [5, 5, -1, -4],
        [-4, -7, -1, -6],
        [-1, -10, 6, -8],
        [-9, -8, -6, -6],
    ]
    assert right(case)[0, 1, 0].tolist() == [-3, 5, 3, -6]


def test_the_blur_and_the_sharpening_keep_a_flat_picture():
    flat = np.full((1, 3, 9, 9), 0.5, dtype=np.float32)
    for case in convolutions(flat[:, :1], flat):
        if case.groups == 3:
            np.testing.assert_allclose(right(case)[..., 2:-2, 2:-2], 0.5, rtol=1e-6)


def test_a_crop_is_the_middle_and_no_larger_than_the_picture():
    picture = np.arange(5 * 8, dtype=np.float32).reshape(1, 1, 5, 8)
    crop = Convolution("c", "c", picture, np.ones((1, 1, 1, 1), np.float32)).crop(2)
    assert crop.input.tolist() == [[[[11, 12], [19, 20]]]]
    assert crop.crop(9).input.shape == (1, 1, 2, 2)


def test_the_photograph(need):
    need("matplotlib", "PIL")
    grey, rgb = photograph(reduce=4)
    assert grey.shape == (1, 1, 150, 128)
    assert rgb.shape == (1, 3, 150, 128)
    assert grey.dtype == rgb.dtype == np.float32
    assert 0 <= rgb.min() < 0.1 < 0.9 < rgb.max() <= 1
    # The flag's stripes and the sky: a picture with its colours in the right order.
    assert rgb[0, 2, 5, 120] > rgb[0, 0, 5, 120]


# --- checks before timing ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compute", "reason"),
    [
        (lambda case: right(case) + np.float32(1e-3), "on the crop, its error is"),
        (lambda case: right(case)[..., 1:], "on the crop, its shape is"),
        (lambda case: right(case).astype(np.float64), "its dtype is float64"),
        (lambda case: right(case) * np.float32("nan"), "not finite"),
        (lambda case: right(case).tolist(), "TypeError"),
        (lambda case: 1 / 0, "ZeroDivisionError"),
        (lambda case: case.input.__setitem__(..., 0), "read-only"),
    ],
)
def test_a_wrong_provider_is_caught_and_not_timed(case, expected, compute, reason):
    frozen = replace(case, input=case.input.copy())
    calls = []

    def counted(given):
        given.input.flags.writeable = False
        calls.append(given)
        return compute(given)

    wrong = check(provider(counted), frozen, expected)
    assert wrong.wrong is not None
    assert reason in wrong.wrong
    made = len(calls)
    assert list(take_turns([wrong], TINY)) == [0, 1]
    assert len(calls) == made
    assert wrong.samples == []
    assert wrong.seconds() is None


def test_one_that_is_wrong_only_outside_of_the_crop_is_caught(case, expected):
    def wrong_at_the_border(given):
        output = right(given)
        if given is case:
            output[..., -1, -1] += 1
        return output

    assert check(provider(right), case, expected).wrong is None
    result = check(provider(wrong_at_the_border), case, expected)
    assert result.wrong is not None
    assert result.wrong.startswith("on the photograph, its error is")


def test_a_right_provider_is_ready_to_be_timed(case, expected):
    memory = replace(provider(lambda given: right(given)), memory=True)
    result = check(memory, case, expected)
    assert result.call is not None
    assert result.max_error is not None
    assert 0 <= result.max_error < 1e-6
    assert result.factor == 1
    assert result.extrapolated_from is None
    assert result.peak_extra_bytes is not None
    assert result.peak_extra_bytes < 10 * case.bytes_min


def test_peak_memory_is_what_is_held_beyond_the_result():
    def call():
        held = np.ones(1 << 20, dtype=np.uint8)
        return held[: 1 << 10].copy()

    output, extra = timing.peak_extra_bytes(call)
    assert output.nbytes == 1 << 10
    assert abs(extra - (1 << 20)) < 1 << 14


def test_nested_loops_are_extrapolated_by_multiply_adds(case, expected, monkeypatch):
    result = check(loop("nested loops", reference.conv, cropped=True), case, expected)
    assert result.extrapolated_from == [1, 1, CROP, CROP]
    assert result.factor == pytest.approx((CROP + 6) * (CROP + 3) / CROP**2)
    monkeypatch.setattr(timing, "perf_counter", itertools.count().__next__)
    result.call = lambda: None
    list(take_turns([result], Effort(rounds=1, seconds=1.0)))
    assert result.samples == [result.factor]


def test_the_error_is_a_share_of_the_largest_value():
    error, wrong = compare(np.asarray([1, 4.00002], np.float32), np.asarray([1.0, 4.0]))
    assert error == pytest.approx(5e-6, rel=0.05)
    assert wrong is None
    assert compare(np.asarray([1, 4.0001], np.float32), np.asarray([1.0, 4.0]))[1] is not None


def test_every_provider_here_is_right():
    found, left_out = providers(ac.get_device("cpu"), "cpu")
    names = [each.name for each in found]
    assert names[:4] == [
        "nested loops",
        "position loop",
        "arrayconv im2col (array api)",
        "arrayconv conv2d",
    ]
    assert ("torch conv2d" in names) == (importlib.util.find_spec("torch") is not None)
    assert len(left_out) == ("torch conv2d" not in names)
    for case in convolutions(*small_photo()):
        expected = right_results(case)
        results = [check(each, case, expected) for each in found]
        assert [result.wrong for result in results] == [None] * len(found)


def test_what_is_not_installed_is_left_out_with_its_reason(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="torch is not installed"):
        torch_providers("cpu")
    found, left_out = providers(ac.get_device("cpu"), "auto")
    assert not [each for each in found if each.name.startswith("torch")]
    assert [reason.partition(":")[0] for reason in left_out] == [
        "arrayconv on CUDA",
        "torch conv2d on cpu",
    ]


def test_another_device_adds_providers_that_wait_for_it(case, expected):
    waits = []
    cpu = ac.get_device("cpu")
    other = SimpleNamespace(
        name="cuda:0", xp=cpu.xp, asarray=cpu.asarray, synchronize=lambda: waits.append(1)
    )
    found, _ = providers(other, "cuda")
    ours = [each for each in found if each.device == "cuda:0" and each.name.startswith("arrayconv")]
    assert [each.library for each in ours] == ["cupy", "cupy"]
    result = check(ours[1], case, expected)
    assert result.wrong is None
    assert result.peak_extra_bytes is None
    list(take_turns([result], TINY))
    # Before and after the estimate, and the one sample.
    assert len(waits) == 4


# --- rounds and their statistics --------------------------------------------------------------


def test_percentiles(case):
    result = Result(case, "p", "numpy", "a", "cpu", samples=[5.0, 1.0, 3.0, 2.0, 4.0, 6.0])
    assert result.seconds() == 3.5
    assert result.seconds(20) == 2.0
    assert result.seconds(80) == 5.0


def test_effort():
    effort = Effort(rounds=40, seconds=4.0, least=3, sample=0.002)
    assert [effort.samples(each) for each in (1e-6, 0.1, 0.2, 3.0)] == [40, 40, 20, 3]
    assert [effort.calls(each) for each in (0.0005, 0.002, 1.0)] == [4, 1, 1]


def test_providers_take_turns_and_slow_ones_sit_out_evenly(case, monkeypatch):
    now, log = [0.0], []

    def takes(name, seconds):
        def call():
            now[0] += seconds
            log.append(name)

        return Result(case, name, "numpy", "a", "cpu", call=call)

    monkeypatch.setattr(timing, "perf_counter", lambda: now[0])
    fast, slow = takes("fast", 0.5), takes("slow", 10.0)
    effort = Effort(rounds=6, seconds=20.0, least=2, sample=0.1)
    rounds = []
    for _ in take_turns([fast, slow], effort):
        rounds.append("".join(name[0] for name in log))
        log.clear()
    # Before round 0 come the estimates; a fast one also runs untimed before each of its samples.
    assert rounds == ["ffsffs", "ff", "ff", "sff", "ff", "ff"]
    assert fast.samples == [0.5] * 6
    assert slow.samples == [10.0] * 2


# --- the report -------------------------------------------------------------------------------


def timed(case, name, seconds, device="cpu", **more):
    return Result(case, name, "numpy", "a", device, samples=[seconds], max_error=1e-7, **more)


def test_ratios_and_times_in_words(need):
    need("rich")
    from bench.report import duration_text, ratio_to_peer, share, times

    assert [times(3.0, each) for each in (3.0, 0.001, 12.0, None)] == [
        "1 ×",
        "3,000 ×",
        "0.25 ×",
        "",
    ]
    assert [duration_text(each) for each in (123.4, 5.0, 0.01234, 2e-6)] == [
        "123 s",
        "5 s",
        "12.3 ms",
        "2 µs",
    ]
    assert duration_text(0.0009, 0.0012) == "0.9 – 1.2 ms"
    assert share(100, 2.0, 200.0) == 0.25
    assert share(0, 2.0, 200.0) is share(100, None, 200.0) is share(100, 2.0, None) is None
    assert ratio_to_peer([]) == ""


def test_we_are_compared_with_the_faster_layout_of_torch(need, case):
    need("rich")
    from bench.report import fastest, ratio_to_peer

    results = [
        timed(case, "arrayconv conv2d", 2.0),
        timed(case, "torch conv2d", 6.0),
        timed(case, "torch conv2d (channels last)", 3.0),
        timed(case, "arrayconv conv2d", 1.0, device="cuda:0"),
    ]
    said = "torch conv2d (channels last) takes 1.50 × the time of arrayconv conv2d on cpu"
    assert ratio_to_peer(results) == said
    assert fastest(results) is results[3]


def test_a_record_has_every_field_and_survives_json(need, case):
    need("rich")
    from bench.cases import Copy, Product
    from bench.report import Record, Run, records

    assert [field.name for field in fields(Record)] == FIELDS
    copy, product = Copy(1000), Product(10)
    results = [
        Result(copy, "numpy copy", "numpy", "copy", "cpu", samples=[1e-6], max_error=0.0),
        Result(product, "numpy product", "numpy", "product", "cpu", samples=[1e-6], max_error=0.0),
        timed(case, "arrayconv conv2d", 1e-3),
        timed(case, "arrayconv conv2d", 1e-4, device="cuda:0"),
        Result(case, "bad", "numpy", "a", "cpu", wrong="is", max_error=float("inf")),
        Result(case, "interrupted before its first sample", "numpy", "a", "cpu"),
    ]
    kept = records(results, Run(2, None, {"python": "3"}, environment.timestamp()))
    lines = [json.loads(json.dumps(asdict(each), allow_nan=False)) for each in kept]
    assert [list(line) for line in lines] == [FIELDS] * 5
    ours, elsewhere, wrong = lines[2:]
    assert (lines[0]["op"], lines[1]["op"]) == ("copy", "product")
    assert (copy.bytes_min, product.flops) == (8000, 2000)
    assert ours["share_of_copy"] == pytest.approx(case.bytes_min / 1e-3 / 8e9)
    assert ours["share_of_product"] == pytest.approx(case.flops / 1e-3 / 2e9)
    assert (ours["checked"], ours["rounds"], ours["threads"]) == (True, 1, 2)
    assert elsewhere["share_of_copy"] is elsewhere["threads"] is None
    assert (wrong["checked"], wrong["seconds_median"], wrong["max_error"]) == (False, None, None)


# --- the environment --------------------------------------------------------------------------


def test_a_clean_environment_holds_no_library_back():
    given = {"OPENBLAS_CORETYPE": "Haswell", "HOME": "/", "MALLOC_TRIM_THRESHOLD_": "1"}
    clean, changes = environment.clean_environment(given, system="linux")
    assert clean == {
        "HOME": "/",
        "OPENBLAS_THREAD_TIMEOUT": "4",
        "MALLOC_MMAP_THRESHOLD_": "1073741824",
        "MALLOC_TRIM_THRESHOLD_": "1",
    }
    assert len(changes) == 3
    assert "without OPENBLAS_CORETYPE=Haswell" in changes
    assert environment.clean_environment(clean, system="linux") == (clean, [])
    assert "MALLOC_MMAP_THRESHOLD_" not in environment.clean_environment({}, system="darwin")[0]


@pytest.mark.skipif(os.name != "posix", reason="elsewhere the process is not started again")
def test_the_process_starts_again_only_once(monkeypatch, capsys):
    started = []
    monkeypatch.setattr(os, "execve", lambda *arguments: started.append(arguments))
    monkeypatch.setattr(os, "environ", {"OPENBLAS_CORETYPE": "Haswell"})
    environment.restart_in_clean_environment()
    [(program, _, clean)] = started
    assert program == sys.executable
    assert "OPENBLAS_CORETYPE" not in clean
    # Something sets the variable again.
    monkeypatch.setattr(os, "environ", {**clean, "OPENBLAS_CORETYPE": "Haswell"})
    environment.restart_in_clean_environment()
    assert len(started) == 1
    assert "so they stay: without OPENBLAS_CORETYPE" in capsys.readouterr().out


def test_threads_come_from_the_variables_else_from_the_cpus():
    assert environment.default_threads({"OMP_NUM_THREADS": "3"}) == 3
    both = {"OMP_NUM_THREADS": "3", "ARRAYCONV_NUM_THREADS": "5"}
    assert environment.default_threads(both) == 5
    assert 1 <= environment.default_threads({}) <= (os.cpu_count() or 1)
    for text in ("0", "two", "-1"):
        with pytest.raises(ValueError, match="OMP_NUM_THREADS must be a whole number"):
            environment.default_threads({"OMP_NUM_THREADS": text})


# --- the command ------------------------------------------------------------------------------


def test_help_explains_itself(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    for word in ("--device", "--quick", "--threads", "--output", "exit code", "130"):
        assert word in printed


@pytest.mark.parametrize(
    "arguments", [["--device", "tpu"], ["--threads", "0"], ["--threads", "x"], ["--slow"], ["x"]]
)
def test_bad_arguments_end_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert arguments[-1] in capsys.readouterr().err


def test_a_missing_package_is_named(monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "PIL" else find(name)
    )
    monkeypatch.setitem(NEEDED, "made_up_package", "made-up")
    assert main([]) == 2
    printed = capsys.readouterr().err
    assert "pillow" in printed
    assert "made-up; python -m pip install -e '.[bench]'" in printed


def test_a_bad_device_variable_and_a_bad_folder_end_with_2(need, monkeypatch, tmp_path, capsys):
    need(*NEEDED)
    (tmp_path / "file").touch()
    assert main(["--device", "cpu", "--output", str(tmp_path / "file" / "folder")]) == 2
    assert "file" in capsys.readouterr().err
    monkeypatch.setenv("ARRAYCONV_DEVICE", "tpu")
    assert main(["--output", str(tmp_path)]) == 2
    assert "'tpu' (from the variable ARRAYCONV_DEVICE)" in capsys.readouterr().err


def test_cuda_asked_for_where_there_is_none(need, tmp_path):
    need(*NEEDED)
    try:
        ac.get_device("cuda")
    except RuntimeError as error:
        sentence = str(error)
    else:
        pytest.skip("there is CUDA here")
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--device", "cuda", "--output", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, f"python -m bench: {sentence}\n")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def run(need, monkeypatch):
    """Return ``bench.run``, on a small picture and with no measure of the machine."""
    need(*NEEDED)
    from bench import run as module

    monkeypatch.setattr(module, "photograph", lambda reduce: small_photo())
    monkeypatch.setattr(module, "machine", lambda device: [])
    return module


def offer(monkeypatch, module, *more):
    """Let a run also have these providers."""
    found, left_out = providers(ac.get_device("cpu"), "cpu")
    monkeypatch.setattr(module, "providers", lambda device, asked: ([*found, *more], left_out))
    return found


def read(folder):
    return [json.loads(line) for line in (folder / "records.jsonl").read_text("utf-8").splitlines()]


def test_a_run_writes_what_it_names(run, tmp_path, capsys):
    (tmp_path / "times.png").write_bytes(b"of the run before")
    assert run.run("cpu", TINY, 1, 1, tmp_path) == 0
    printed = capsys.readouterr().out
    assert f"Written into {tmp_path}: records.jsonl, times.png, feature_maps.png" in printed
    assert "WRONG" not in printed
    found, _ = providers(ac.get_device("cpu"), "cpu")
    lines = read(tmp_path)
    assert len(lines) == 4 * len(found)
    assert all(line["checked"] and line["rounds"] >= 1 for line in lines)
    assert {line["provider"] for line in lines if line["extrapolated_from"]} == {"nested loops"}
    for name in ("times.png", "feature_maps.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_a_wrong_provider_ends_the_run_with_1(run, monkeypatch, tmp_path, capsys):
    wrong = provider(lambda case: -right(case), "arrayconv with the wrong sign")
    offer(monkeypatch, run, wrong)
    assert run.run("cpu", TINY, 1, 1, tmp_path) == 1
    printed = capsys.readouterr().out
    assert "WRONG: arrayconv with the wrong sign at lecture on cpu: on the crop, its" in printed
    lines = [line for line in read(tmp_path) if line["provider"] == wrong.name]
    assert [line["case"] for line in lines] == ["lecture", "gaussian", "sobel", "sharpen"]
    for line in lines:
        assert (line["checked"], line["rounds"], line["seconds_median"]) == (False, 0, None)
        assert line["max_error"] > 1e-5


def test_an_interrupt_keeps_what_was_measured(run, monkeypatch, tmp_path, capsys):
    def interrupt(case):
        if case.name == "gaussian":
            signal.raise_signal(signal.SIGINT)
        return right(case)

    found = offer(monkeypatch, run, provider(interrupt, "arrayconv until Ctrl-C"))
    assert run.run("cpu", TINY, 1, 1, tmp_path) == 130
    assert "Interrupted: what was measured until then is kept." in capsys.readouterr().out
    lines = read(tmp_path)
    assert {line["case"] for line in lines} == {"lecture"}
    assert len(lines) == len(found) + 1
    assert (tmp_path / "times.png").exists()


def test_the_machine_is_measured_by_results_that_are_right():
    copy, product = timing.machine(ac.get_device("cpu"))
    assert (copy.task.op, product.task.op) == ("copy", "product")
    assert copy.max_error == 0
    assert copy.wrong is product.wrong is None
    assert product.call is not None
