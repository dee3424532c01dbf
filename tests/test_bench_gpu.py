"""The one command of a GPU machine, as far as a machine without one can tell."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time

import pytest

from bench import gpu, stages


@pytest.fixture
def run(tmp_path):
    return stages.Run(tmp_path, time.monotonic() + 100, {})


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
            "second": (stage("second", stages.StageError("it broke")), False),
            "third": (stage("third", "done"), True),
        },
    )
    monkeypatch.setattr(gpu, "has_gpu", lambda environment: False)
    monkeypatch.setattr(gpu, "environment_with_wheels", lambda folder: {})
    return names


def test_no_more_than_eight_files():
    assert len(set(stages.FILES.values())) == len(stages.FILES) <= 8


def test_a_stage_that_fails_is_told_and_the_others_go_on(ran, tmp_path, capsys):
    assert gpu.main(["--output", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "FAILED: it broke" in printed
    assert "LEFT OUT: stage third: there is no GPU here" in printed
    assert ran == ["first", "second"]
    state = json.loads((tmp_path / "stages.json").read_text(encoding="utf-8"))
    assert state["done"] == {"first": "done"}


def test_a_run_goes_on_where_it_was_cut_off(ran, monkeypatch, tmp_path):
    gpu.main(["--output", str(tmp_path)])
    monkeypatch.setattr(gpu, "has_gpu", lambda environment: True)
    gpu.main(["--output", str(tmp_path)])
    assert ran == ["first", "second", "second", "third"]
    gpu.main(["--output", str(tmp_path), "--only", "first"])
    assert ran[-1] == "first"
    gpu.main(["--output", str(tmp_path), "--again"])
    assert ran[-3:] == ["first", "second", "third"]


def test_no_stage_is_begun_when_the_time_is_over(ran, tmp_path, capsys):
    assert gpu.main(["--output", str(tmp_path), "--seconds", "1"]) == 0
    assert "LEFT OUT: stage first: no time was left" in capsys.readouterr().out
    assert ran == []


def test_a_command_that_takes_too_long_is_ended_and_its_output_kept(run):
    command = [sys.executable, "-u", "-c", "import time; print('begun'); time.sleep(60)"]
    started = time.monotonic()
    assert run.call(command, 2) == 124
    assert time.monotonic() - started < 30
    text = run.path("log").read_text(encoding="utf-8")
    assert "begun" in text
    assert text.endswith("ran out of time\n")


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
    with pytest.raises(stages.StageError, match="memcheck found errors"):
        stages.sanitizer(run)


def test_each_suite_is_kept_when_it_is_done(run, monkeypatch):
    asked = []

    def measure(command, seconds):
        name, folder = command[4], command[command.index("--output") + 1]
        asked.append(name)
        with open(f"{folder}/records.jsonl", "w", encoding="utf-8") as file:
            file.write(f'{{"suite": "{name}"}}\n')
        return 3 if name == "pool" else 0

    monkeypatch.setattr(run, "call", measure)
    with pytest.raises(stages.StageError, match="suite pool ended with 3"):
        stages.benchmark(run)
    assert asked == ["quick", "unfold", "pool"]
    monkeypatch.setattr(run, "call", lambda command, seconds: 124)
    assert stages.benchmark(run) == "0 records"
    assert run.done["suite quick"] == "done"
    assert run.done["suite conv"] == "cut off"
    assert run.path("records").read_text(encoding="utf-8").count("suite") == 3


def test_a_log_that_is_too_large_keeps_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "MOST_BYTES", 10)
    (tmp_path / "log.txt").write_text("0123456789 the end", encoding="utf-8")
    gpu.cut_to_size(tmp_path / "log.txt")
    assert (tmp_path / "log.txt").read_text(encoding="utf-8") == "89 the end"


def test_help_and_bad_arguments():
    def call(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "bench.gpu", *arguments],
            cwd=stages.REPOSITORY,
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
