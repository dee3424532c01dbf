"""The record of the CUDA kernels: what makes one verified, and how tests come to be its lines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import arrayconv as ac
from arrayconv import primitives
from arrayconv.backends.cupy import implementations
from tests import cuda_record
from tests import test_cuda_on_gpu as on_gpu
from tests.conftest import Library
from tests.cuda_checks import halves
from tests.cuda_evidence import Evidence, noted
from tests.cuda_on_host.executor import HostExecutor, on_host
from tests.test_cuda_on_gpu import CHECKS, CUDNN
from tests.test_cuda_on_host import VARIANTS


def test_no_sum_of_two_bfloat16_is_subnormal():
    """A GPU flushes such a sum to 0, as CuPy compiles the kernels, and NumPy does not."""
    every, shuffled = halves("bfloat16")
    one, other = every.astype(np.float32), shuffled.astype(np.float32)
    with np.errstate(all="ignore"):
        for sums in (one, one + other, one[:-1] + other[1:], one[1:] + other[:-1]):
            assert not ((sums != 0) & (np.abs(sums) < np.finfo(np.float32).smallest_normal)).any()
    assert len(np.unique(every.view(np.uint16))) > 2**15, "most numbers are there"


EVERY = {(primitive, each.name) for primitive, found in implementations.items() for each in found}


def test_a_kernel_is_verified_by_its_record_only():
    verified = {
        (primitive, each.name)
        for primitive, found in implementations.items()
        for each in found
        if each.verified
    }
    assert verified == cuda_record.shown_right(cuda_record.read())


def test_every_kernel_has_its_place_in_the_record():
    assert set(cuda_record.FILES) == EVERY
    checked = {kernel for check in [*CHECKS, *CUDNN] for kernel in check.kernels}
    assert checked == set().union(*map(cuda_record.functions, EVERY))


@pytest.mark.parametrize(
    "change",
    [
        {"correct": False},
        {"checks": 0},
        {"device": "a CPU"},
        {"source_sha256": "of what the kernel was before"},
        {"implementation": "another"},
    ],
    ids=str,
)
def test_what_is_no_record(change, tmp_path):
    lines = [cuda_record.record(name, 7, "NVIDIA H200", {}) for name in cuda_record.FILES]
    path = tmp_path / "kernels-h200.jsonl"
    cuda_record.write(path, lines)
    assert cuda_record.shown_right(cuda_record.read(tmp_path)) == EVERY
    cuda_record.write(path, [{**line, **change} for line in lines])
    assert cuda_record.shown_right(cuda_record.read(tmp_path)) == set()


def test_the_kernels_of_tests_are_known_without_a_gpu(tmp_path):
    def item(check, **more):
        params = {"check": check, **more}
        return SimpleNamespace(path=Path(on_gpu.__file__), callspec=SimpleNamespace(params=params))

    check = next(each for each in CHECKS if each.kernels == {"unfold"})
    items = [item(check, name=name) for name in VARIANTS]
    items += [item(each) for each in CUDNN]
    found = on_gpu.kernels_of(items, HostExecutor(tmp_path))
    # Of unfold and its gradient; cuDNN's would be run, and others in its place be found.
    assert {kernel.function for kernel in found} == {"unfold", "fold"}
    assert {kernel.arguments[1] for kernel in found} == {"int", "long long"}


def test_bfloat16_of_cupy_comes_to_a_test_as_float32():
    every, _ = halves("bfloat16")
    array = SimpleNamespace(get=lambda: every)
    host = Library("cupy", "cupy", None, None).to_numpy(array)
    np.testing.assert_array_equal(host, every.astype(np.float32))
    assert host.dtype == np.float32


# --- a session of its own, in which tests pass, fail, hang and crash ------------------------------

CONFTEST = """
from pathlib import Path
from tests.cuda_evidence import EVIDENCE, Evidence

def pytest_configure(config):
    evidence = Evidence(Path("record.jsonl"), Path("journal.jsonl"), seconds=1.5)
    config.stash[EVIDENCE] = evidence
    config.pluginmanager.register(evidence)
"""
SESSION = """
import os, signal, time
import pytest
from tests.cuda_comparison import Check
from tests.cuda_evidence import EVIDENCE
from tests.cuda_record import functions

def check(id, *kernels):
    return Check(id, frozenset(kernels), None, "float32")

CHECKS = [
    check("both", "unfold", "fold"),
    check("fold", "fold"),
    check("spread", "spread"),
    check("unfold", "unfold"),
]
RECORDED = {"test_as_numpy": len(CHECKS)}
WHAT = dict(pair.split("=") for pair in os.environ["WHAT"].split())

@pytest.fixture
def evidence(request):
    evidence = request.config.stash[EVIDENCE]
    evidence.runs_on("NVIDIA made up", {"cupy": "0"})
    return evidence

def do(evidence, name, kernels):
    what = WHAT.get(name, "pass")
    if what == "refused":
        raise AssertionError("it did not run")
    for kernel in sorted(kernels):
        evidence.ran((kernel, "cuda"))
        evidence.functions.add(kernel)
    if what == "wrong":
        raise AssertionError("it is wrong")
    if what == "crash":
        os._exit(9)
    if what == "hang":
        # As a call into a driver that never comes back.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        time.sleep(60)
    if what == "interrupted":
        # Whoever runs these tests in the background may ignore it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    if what == "dead":
        evidence.device_works = lambda: 1 / 0
        raise RuntimeError("an illegal memory access was encountered")

@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_as_numpy(check, evidence):
    do(evidence, check.id, check.kernels)

def test_more(evidence):
    do(evidence, "more", {"spread"})
"""
UNFOLD, FOLD, SPREAD = ("unfold", "cuda"), ("fold", "cuda"), ("spread", "cuda")


@pytest.fixture
def session(tmp_path):
    """Return a function that runs those tests, each of which does as it is told."""
    (tmp_path / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (tmp_path / "test_kernels.py").write_text(SESSION, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]", encoding="utf-8")
    here = str(Path(__file__).parents[1])
    paths = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])

    def run(what="", *arguments):
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
            cwd=tmp_path,
            env={
                **os.environ,
                "WHAT": what,
                "PYTHONPATH": paths,
                "PYTEST_ADDOPTS": "",
                # Plugins that are installed take longer to import than these tests take.
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            },
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def lines(tmp_path):
    """Return the number of checks of each implementation that the record shows right."""
    found = cuda_record.read_file(tmp_path / "record.jsonl")
    assert cuda_record.shown_right(found) == {
        (each["primitive"], each["implementation"]) for each in found
    }
    return {(each["primitive"], each["implementation"]): each["checks"] for each in found}


@pytest.fixture
def rare(request, left_out):
    """Leave a test to full runs: each begins sessions of its own, which take seconds."""
    if not request.config.getoption("--full"):
        left_out("rarer ends of a session that checks CUDA kernels: --full has them")
        pytest.skip("in a plain run only the usual ends of such a session: --full has all")


def test_all_that_pass_are_recorded(session, tmp_path):
    done = session()
    assert done.returncode == 0, done.stdout
    assert lines(tmp_path) == {UNFOLD: 2, FOLD: 2, SPREAD: 2}
    assert "3 of 3 implementations are shown right" in done.stdout


@pytest.mark.parametrize(
    ("what", "right"),
    [
        ("fold=wrong", {UNFOLD: 2, SPREAD: 2}),
        ("both=wrong", {SPREAD: 2}),
        ("more=wrong", {UNFOLD: 2, FOLD: 2}),
        ("fold=refused", {UNFOLD: 2, SPREAD: 2}),
    ],
)
def test_a_failure_takes_no_other_kernel_with_it(session, tmp_path, what, right):
    done = session(what)
    assert done.returncode == 1
    assert lines(tmp_path) == right
    assert "NOT SHOWN RIGHT" in done.stdout


@pytest.mark.parametrize("how", ["crash", "hang"])
def test_what_ends_the_process_leaves_a_record_and_the_next_run_goes_on(session, tmp_path, how):
    assert session(f"spread={how}").returncode != 0
    assert lines(tmp_path) == {FOLD: 2}
    done = session()
    assert "2 passed, 3 deselected" in done.stdout
    assert lines(tmp_path) == {UNFOLD: 2, FOLD: 2}
    assert "spread by cuda: 0 checks are still to come, 1 passed; 1 tests failed" in done.stdout


@pytest.mark.usefixtures("rare")
def test_a_hang_is_shown_where_it_hangs(session):
    done = session("spread=hang", "--capture=sys")
    assert "Timeout" in done.stderr
    assert "in do" in done.stderr


@pytest.mark.usefixtures("rare")
def test_a_failure_is_shown_before_a_crash(session):
    done = session("fold=wrong spread=crash", "--capture=sys")
    assert "1 failed" not in done.stdout
    assert "test_as_numpy[fold] failed" in done.stderr
    assert "it is wrong" in done.stderr


@pytest.mark.usefixtures("rare")
def test_a_crash_after_the_last_check_takes_its_line_back(session, tmp_path):
    session("more=crash")
    assert lines(tmp_path) == {UNFOLD: 2, FOLD: 2}


@pytest.mark.usefixtures("rare")
def test_an_interrupt_speaks_against_nothing(session, tmp_path):
    assert session("spread=interrupted").returncode == 2
    assert lines(tmp_path) == {FOLD: 2}
    assert "3 passed, 2 deselected" in session().stdout
    assert lines(tmp_path) == {UNFOLD: 2, FOLD: 2, SPREAD: 2}


def test_a_broken_device_ends_the_session_and_the_next_goes_on(session, tmp_path):
    done = session("fold=dead")
    assert done.returncode == 2
    assert "the device does not work any more" in done.stdout
    assert lines(tmp_path) == {}
    journal = tmp_path / "journal.jsonl"
    assert '"ends"' not in journal.read_text(encoding="utf-8")
    session()
    assert lines(tmp_path) == {UNFOLD: 2, SPREAD: 2}
    assert '"ends"' in journal.read_text(encoding="utf-8")


@pytest.mark.usefixtures("rare")
def test_a_part_of_the_checks_is_no_record(session, tmp_path):
    done = session("", "-k", "spread or more")
    assert "NO RECORD" in done.stdout
    assert not (tmp_path / "record.jsonl").exists()


@pytest.mark.usefixtures("rare")
def test_lines_of_others_stay_and_old_ones_of_these_go(session, tmp_path):
    others = [cuda_record.record(name, 5, "NVIDIA before", {}) for name in (FOLD, ("pad", "cuda"))]
    cuda_record.write(tmp_path / "record.jsonl", others)
    session("fold=wrong")
    assert lines(tmp_path) == {("pad", "cuda"): 5, UNFOLD: 2, SPREAD: 2}


def test_what_runs_is_noted_before_it_runs(tmp_path, monkeypatch):
    ran: list[tuple[str, str]] = []
    evidence, executor = Evidence(None), HostExecutor(tmp_path)
    monkeypatch.setattr(evidence, "ran", ran.append)

    def launch(kernel, *arguments):
        assert ran == [UNFOLD]
        raise RuntimeError("it ends here")

    monkeypatch.setattr(executor, "launch", launch)
    x = np.zeros((1, 1, 4, 4), np.float32)
    with on_host(executor):
        before = primitives.unfold.implementations(x)
        with noted(x, evidence), pytest.raises(RuntimeError, match="ends here"):
            ac.unfold(x, 3)
        assert primitives.unfold.implementations(x) == before
        assert executor.launch is launch
    assert ran == [UNFOLD]
    assert evidence.functions == {"unfold"}
