"""The one command of a GPU machine, as far as a machine without one can tell."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import environment, gpu, gpu_run, stages
from bench.__main__ import parser, with_command


@pytest.fixture
def run(tmp_path):
    return gpu_run.Run(tmp_path, time.monotonic() + 100, {})


@pytest.fixture
def ran(monkeypatch):
    """Let the command have three stages, and return the list of those that ran."""
    names: list[str] = []

    def stage(name, result):
        def do(run):
            """Do it."""
            names.append(name)
            if isinstance(result, Exception):
                raise result
            return result

        return do

    monkeypatch.setattr(
        gpu,
        "STAGES",
        {
            "first": (stage("first", "done"), False),
            "second": (stage("second", gpu_run.StageError("it broke")), False),
            "broken": (stage("broken", KeyError("a bug")), False),
            "third": (stage("third", "done"), True),
        },
    )
    monkeypatch.setattr(gpu, "has_gpu", lambda run: False)
    monkeypatch.setattr(gpu, "environment_with_wheels", lambda folder: {})
    return names


def test_no_more_than_eight_files():
    assert len(set(gpu_run.FILES.values())) == len(gpu_run.FILES) <= 8


def test_a_stage_that_fails_is_told_and_the_others_go_on(ran, tmp_path, capsys):
    assert gpu.main(["--output", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "FAILED: it broke" in printed
    assert "KeyError: 'a bug'" in (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert "LEFT OUT: stage third: there is no GPU here" in printed
    assert ran == ["first", "second", "broken"]
    state = json.loads((tmp_path / "stages.json").read_text(encoding="utf-8"))
    assert state["done"] == {"first": "done"}


def test_a_run_goes_on_where_it_was_cut_off(ran, monkeypatch, tmp_path):
    gpu.main(["--output", str(tmp_path)])
    monkeypatch.setattr(gpu, "has_gpu", lambda run: True)
    gpu.main(["--output", str(tmp_path)])
    assert ran == ["first", *["second", "broken"] * 2, "third"]
    gpu.main(["--output", str(tmp_path), "--only", "first"])
    assert ran[-1] == "first"
    gpu.main(["--output", str(tmp_path), "--again"])
    assert ran[-4:] == ["first", "second", "broken", "third"]


def test_no_stage_is_begun_when_the_time_is_over(ran, tmp_path, capsys):
    assert gpu.main(["--output", str(tmp_path), "--seconds", "1"]) == 0
    assert "LEFT OUT: stage first: no time was left" in capsys.readouterr().out
    assert ran == []


def test_a_state_that_cannot_be_read_is_no_state(ran, tmp_path):
    (tmp_path / "stages.json").write_text("{", encoding="utf-8")
    gpu.main(["--output", str(tmp_path)])
    assert ran[0] == "first"
    assert "all stages are run" in (tmp_path / "log.txt").read_text(encoding="utf-8")


TAKES_LONG = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("begun", child.pid)
try:
    time.sleep(60)
except KeyboardInterrupt:
    print("saved")
    sys.exit(1)
"""
HEARS_NOTHING = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("begun", child.pid)
time.sleep(60)
"""


@pytest.mark.parametrize(("script", "said"), [(TAKES_LONG, "saved"), (HEARS_NOTHING, "SIGINT")])
def test_a_command_that_takes_too_long_is_ended_with_all_that_it_started(
    run, monkeypatch, script, said
):
    monkeypatch.setattr(gpu_run, "GRACE", 1.5)
    started = time.monotonic()
    assert run.call([sys.executable, "-u", "-c", script], 2) == 124
    assert time.monotonic() - started < 30
    text = run.path("log").read_text(encoding="utf-8")
    assert "ran out of time" in text
    assert said in text
    child = int(text.partition("begun ")[2].split()[0])
    assert is_gone(child)


def is_gone(process):
    """Whether a process has ended, a moment after it was killed."""
    for _ in range(50):
        try:
            state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2]
        except OSError:
            return True
        if state.split()[0] == "Z":
            return True
        time.sleep(0.1)
    return False


def test_a_child_that_outlives_its_command_is_ended(run):
    script = TAKES_LONG.partition("try:")[0]
    assert run.call([sys.executable, "-u", "-c", script], 20) == 0
    text = run.path("log").read_text(encoding="utf-8")
    assert is_gone(int(text.partition("begun ")[2].split()[0]))


def test_a_command_that_writes_nothing_any_more_is_ended(run, monkeypatch, tmp_path):
    monkeypatch.setattr(gpu_run, "PATIENCE", 1.5)
    monkeypatch.setattr(gpu_run, "GRACE", 1.5)
    file = tmp_path / "cases"
    script = (
        "import pathlib, sys, time\n"
        "for number in range(4):\n"
        "    time.sleep(0.7)\n"
        "    pathlib.Path(sys.argv[1]).write_text(str(number))\n"
        "time.sleep(60)"
    )
    code = run.call([sys.executable, "-c", script, str(file)], 50, watched=file)
    assert code == gpu_run.STALLED
    assert file.read_text(encoding="utf-8") == "3"
    assert "nothing happens any more" in run.path("log").read_text(encoding="utf-8")


def test_a_stage_leaves_time_for_those_behind_it(tmp_path):
    def limit(left, own, reserve):
        return round(gpu_run.Run(tmp_path, time.monotonic() + left, {}).limit(own, reserve))

    assert limit(540, 240, 230) == 240
    assert limit(400, 240, 230) == 200
    assert limit(250, 240, 30) == 220
    assert limit(20, 240, 230) == 10


def test_the_kernels_go_on_behind_what_ends_the_process(run, monkeypatch):
    said = iter(
        [
            (-9, '{"test": "a", "begins": true}\n', ""),
            (2, '{"test": "b", "begins": true}\n', '{"correct": true}\n'),
            (1, '{"ends": true}\n', '{"correct": true}\n{"correct": true}\n'),
        ]
    )

    def call(command, seconds):
        [record] = [each for each in command if each.startswith("--kernel-record=")]
        [journal] = [each for each in command if each.startswith("--kernel-journal=")]
        code, noted, recorded = next(said)
        with Path(journal.partition("=")[2]).open("a", encoding="utf-8") as file:
            file.write(noted)
        Path(record.partition("=")[2]).write_text(recorded, encoding="utf-8")
        return code

    monkeypatch.setattr(run, "call", call)
    with pytest.raises(gpu_run.StageError, match=r"2 implementations .* with \[-9, 2, 1\]"):
        stages.kernels(run)
    assert next(said, None) is None
    # And not for ever, where a process ends before it has begun a test.
    monkeypatch.setattr(run, "call", lambda command, seconds: 4)
    with pytest.raises(gpu_run.StageError, match=r"\[4, 4\]"):
        stages.cudnn(run)


def test_pytest_knows_the_options_of_the_stages():
    how = ["--collect-only", "-q", "-k", "small", stages.NO_POOL, *stages.ON_GPU]
    given = [each if each != "cuda" else "cpu" for each in how]
    given[given.index("cupy")] = "numpy"
    kept = ["--kernel-journal=none", stages.KERNEL_TESTS]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *given, *kept],
        cwd=gpu_run.REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "test_small[" in done.stdout


def test_the_sanitizer_says_why_it_does_not_run(run, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert stages.sanitizer(run) is None
    monkeypatch.setattr(shutil, "which", lambda name: name)

    def unsupported(command, seconds, into):
        into.write_text("Error: Device not supported", encoding="utf-8")
        return 1

    monkeypatch.setattr(run, "call", unsupported)
    assert stages.sanitizer(run) is None
    assert run.skipped == [
        "compute-sanitizer is not installed",
        "compute-sanitizer: Device not supported",
    ]
    monkeypatch.setattr(run, "call", lambda command, seconds, into: 9)
    run.path("sanitizer").write_text("an error", encoding="utf-8")
    with pytest.raises(gpu_run.StageError, match="memcheck found errors"):
        stages.sanitizer(run)


def test_the_benchmark_goes_on_behind_what_breaks_the_device(run, monkeypatch):
    asked = []
    codes = iter([3, 125, -11, 1, 124, 0])

    def measure(command, seconds, watched):
        assert watched == run.path("records")
        asked.append((command[command.index("--libraries") + 1], seconds))
        with watched.open("a", encoding="utf-8") as file:
            file.write("{}\n")
        code = next(codes)
        if code != 0:
            (run.output / stages.UNFINISHED).touch()
        return code

    monkeypatch.setattr(run, "call", measure)
    run.deadline += 300
    assert stages.benchmark(run) == "6 records"
    assert [libraries for libraries, _ in asked] == ["cupy,torch"] * 5 + ["jax"]
    # All of the stage's time but the share that is for others.
    assert 0.78 < asked[0][1] / 260 <= 0.8
    assert not (run.output / stages.UNFINISHED).exists()


def test_the_benchmark_says_that_something_was_wrong_and_does_not_begin_for_ever(run, monkeypatch):
    monkeypatch.setattr(run, "call", lambda command, seconds, watched: 1)
    with pytest.raises(gpu_run.StageError, match=r"0 records; .* ended with \[1, 1\]"):
        stages.benchmark(run)
    calls = []

    def broken(command, seconds, watched):
        calls.append(command)
        (run.output / stages.UNFINISHED).touch()
        return 3

    monkeypatch.setattr(run, "call", broken)
    with pytest.raises(gpu_run.StageError, match=r"\[3, 3\]"):
        stages.benchmark(run)
    assert len(calls) == 2 * stages.MOST_RESTARTS


def test_the_benchmark_knows_its_options(run, monkeypatch):
    commands = []

    def noted(command, seconds, watched):
        commands.append(command)
        return 0

    monkeypatch.setattr(run, "call", noted)
    stages.benchmark(run)
    [_, module, name, *arguments] = commands[0]
    assert (module, name) == ("-m", "bench")
    parsed = parser().parse_args(with_command(arguments))
    assert (parsed.suite, parsed.device, parsed.go_on, parsed.no_plots) == (
        *("gpu", "cuda"),
        *(True, True),
    )
    assert parsed.output == run.output


def test_kernels_are_counted_by_the_profiler_of_torch(run, monkeypatch):
    pytest.importorskip("torch", reason="its profiler counts")
    # What can be tried on the CPU: the script runs, and counts what is on the device that it names.
    script = stages.LAUNCHES.replace('device="cuda"', 'device="cpu"')
    script = script.replace("torch.cuda.synchronize()", "pass").replace('== "CUDA"', '== "CPU"')
    counted = int(run.ask(script.replace(", ProfilerActivity.CUDA", "")))
    assert counted >= 1
    monkeypatch.setattr(run, "ask", lambda script: "32\n")
    assert stages.launches(run) == "32 kernels"
    assert run.machine == {"kernels of one unfold of torch's": 32}


def test_a_log_that_is_too_large_keeps_its_beginning_and_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "MOST_BYTES", 10 + len(gpu.CUT))
    (tmp_path / "log.txt").write_text("begin" + "-" * 100 + "<end>", encoding="utf-8")
    gpu.cut_to_size(tmp_path / "log.txt")
    text = (tmp_path / "log.txt").read_bytes()
    assert text == b"begin" + gpu.CUT + b"<end>"


def test_wheels_are_installed_one_by_one(tmp_path, monkeypatch, capsys):
    for name in ("made_up_a-1-py3-none-any.whl", "made_up_b-1-py3-none-any.whl"):
        (tmp_path / name).touch()
    monkeypatch.setattr(gpu, "WHEELS", tmp_path)
    installed = []

    def install(command, check, timeout):
        installed.append(Path(command[-1]).name)
        if "made_up_a" in command[-1]:
            raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(subprocess, "run", install)
    found = gpu.environment_with_wheels(tmp_path / "packages")
    assert installed == ["made_up_a-1-py3-none-any.whl", "made_up_b-1-py3-none-any.whl"]
    assert "LEFT OUT: made_up_a" in capsys.readouterr().err
    assert str(tmp_path / "packages") in found["PYTHONPATH"]
    assert found["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"


def test_the_commit_may_be_given(monkeypatch):
    monkeypatch.setenv("ARRAYCONV_COMMIT", "0123abc")
    assert environment.commit() == "0123abc"


def test_help_and_bad_arguments():
    def call(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "bench.gpu", *arguments],
            cwd=gpu_run.REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )

    done = call("--help")
    assert done.returncode == 0
    for word in ("sanitizer", "--seconds", "--fetch-wheels", "exit code", "eight files"):
        assert word in done.stdout
    assert call("--only", "lunch").returncode == 2
    assert call("--seconds", "-1").returncode == 2


def test_the_machine_without_a_gpu_says_so(tmp_path):
    pytest.importorskip("cupy", reason="the stage asks CuPy")
    import cupy

    if cupy.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert gpu.main(["--output", str(tmp_path), "--only", "machine"]) == 0
    found = json.loads((tmp_path / "stages.json").read_text(encoding="utf-8"))["machine"]
    assert found["no GPU"]
    assert found["commit"]
