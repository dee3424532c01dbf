"""The benchmark's records, tables, reports and commands; nothing here is timed."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest

import arrayconv as ac
from bench import environment
from bench.__main__ import NEEDED, SUITE_NAMES, main
from bench.cases import Copy, Product
from bench.photograph import photograph_cases
from bench.providers import REDUCED, Provider, Ready
from bench.suites import SUITES
from bench.timing import Effort, Result
from bench.words import amount_text, duration_text, times

REPOSITORY = Path(__file__).parents[1]
TINY = Effort(rounds=2, seconds=0.0, least=1, sample=0.0)

# The record, as the records of all benchmarks have it.
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


def small_photo(rows=23, columns=19):
    rgb = np.random.default_rng(0).random((1, 3, rows, columns), dtype=np.float32)
    return rgb[:, :1].copy(), rgb


@pytest.fixture(scope="module")
def cases():
    return photograph_cases(*small_photo())


def timed(case, name, *seconds, device="cpu", library="numpy", **more):
    how = {"samples": list(seconds), "max_error": 1e-7, **more}
    return Result(case, name, library, "a", device, **how)


def kept_of(results, threads=2):
    from bench.records import Run, records

    return records(results, Run(threads, None, {"python": "3"}, environment.timestamp()))


# --- words and arithmetic ---------------------------------------------------------------------


def test_ratios_and_times_in_words():
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
    assert [amount_text(each, "B") for each in (90, 1234, 5.678e6, 2e9)] == [
        "0.09 kB",
        "1.23 kB",
        "5.68 MB",
        "2 GB",
    ]


def test_shares_and_means():
    from bench.records import geometric_mean, share

    assert share(100, 2.0, 200.0) == 0.25
    assert share(0, 2.0, 200.0) is share(100, None, 200.0) is share(100, 2.0, None) is None
    assert geometric_mean([]) is None
    assert geometric_mean([4.0, 0.25]) == pytest.approx(1.0)
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0)


def test_a_record_has_every_field_and_survives_json(cases, tmp_path):
    from bench.records import Record, machine_rates, read_records, write_records

    case = cases[2]
    assert [field.name for field in fields(Record)] == FIELDS
    copy, product = Copy(1000), Product(10)
    results = [
        timed(copy, "numpy copy", 1e-6),
        timed(product, "numpy product", 1e-6),
        timed(case, "arrayconv numpy auto", 1e-3),
        timed(case, "arrayconv cupy auto", 1e-4, device="cuda:0"),
        Result(case, "bad", "numpy", "a", "cpu", wrong="is", max_error=float("inf")),
        Result(case, "interrupted before its first sample", "numpy", "a", "cpu"),
    ]
    for result in results[:2]:
        result.task = copy if "copy" in result.name else product
    kept = kept_of(results)
    lines = [json.loads(json.dumps(asdict(each), allow_nan=False)) for each in kept]
    assert [list(line) for line in lines] == [FIELDS] * 5
    ours, elsewhere, wrong = lines[2:]
    assert (copy.bytes_min, product.flops) == (8000, 2000)
    assert ours["share_of_copy"] == pytest.approx(case.bytes_min / 1e-3 / 8e9)
    assert ours["share_of_product"] == pytest.approx(case.flops / 1e-3 / 2e9)
    assert (ours["checked"], ours["rounds"], ours["threads"]) == (True, 1, 2)
    assert elsewhere["share_of_copy"] is elsewhere["threads"] is None
    assert (wrong["checked"], wrong["seconds_median"], wrong["max_error"]) == (False, None, None)
    write_records(tmp_path / "r.jsonl", kept)
    assert read_records(tmp_path / "r.jsonl") == kept
    assert machine_rates(kept) == {("cpu", "copy"): 8e9, ("cpu", "product"): 2e9}


@pytest.mark.parametrize(("text", "said"), [("{", "no JSON"), ('{"case": 1}', "no record")])
def test_a_bad_record_is_named_by_its_line(tmp_path, text, said):
    from bench.records import read_records

    (tmp_path / "r.jsonl").write_text(f"\n{text}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=f"line 2 is {said}"):
        read_records(tmp_path / "r.jsonl")


def test_committed_records_are_records():
    from bench.records import read_records

    results = (REPOSITORY / "bench" / "results").glob("*.jsonl")
    files = sorted(path for path in results if not path.name.startswith("kernels-"))
    assert files
    for file in files:
        kept = read_records(file)
        assert kept
        assert all(each.checked for each in kept if each.ours), file
        assert all(each.commit and "dirty" not in each.commit for each in kept), file


# --- tables and reports -------------------------------------------------------------------------


@pytest.fixture
def measured(cases):
    """Return the records of a made-up run, whose ratios are easily checked."""
    _, _, sobel, _ = cases
    return kept_of(
        [
            timed(Copy(1000), "numpy copy", 1e-6),
            timed(Product(10), "numpy product", 1e-6),
            timed(sobel, "nested loops", 100.0, extrapolated_from=[1, 1, 9, 9]),
            timed(sobel, "position loop", 10.0),
            timed(sobel, "arrayconv numpy generic", 3.0, 4.0, 5.0),
            timed(sobel, "arrayconv numpy im2col", 2.0),
            replace(timed(sobel, "arrayconv numpy auto", 2.0), algorithm="im2col"),
            timed(sobel, "torch", 6.0, library="torch"),
            timed(sobel, "torch channels last", 3.0, library="torch"),
            timed(sobel, "torch tf32", 1.0, library="torch"),
        ]
    )


def test_we_are_compared_with_the_faster_layout_of_torch_in_the_same_precision(need, measured):
    need("rich")
    from bench.tables import ratio_to_peer

    said = "torch channels last takes 1.50 × the time of arrayconv numpy auto on cpu"
    assert ratio_to_peer(measured) == said
    assert ratio_to_peer([]) == ""


def test_a_table_marks_the_winner_and_what_is_wrong(need, measured, cases):
    need("rich")
    from rich.console import Console

    from bench.tables import case_table

    bad = kept_of([Result(cases[2], "arrayconv bad", "numpy", "a", "cpu", wrong="is")])
    console = Console(width=150, record=True, file=open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    console.print(case_table("Sobel", [*measured[2:], *bad], 150))
    lines = console.export_text().splitlines()
    console.file.close()
    [winner] = [line for line in lines if "★" in line]
    assert "torch tf32" in winner
    [loops] = [line for line in lines if "nested loops" in line]
    assert "100 s*" in loops
    [wrong] = [line for line in lines if "arrayconv bad" in line]
    assert "not timed" in wrong
    assert "WRONG" in wrong
    [auto] = [line for line in lines if "arrayconv numpy auto (im2col)" in line]
    assert "50 ×" in auto
    assert "5 ×" in auto
    assert "1.5 ×" in auto


def test_the_headline_is_loops_the_array_api_and_kernels(need, measured):
    need("rich")
    from bench.tables import headline_rows

    headings, [row] = headline_rows(measured)
    assert headings == [
        "case",
        "nested loops",
        "position loop",
        "Array API on NumPy",
        "arrayconv on NumPy",
    ]
    assert row == ["sobel", "100 s*", "10 s (10 ×)", "4 s (25 ×)", "2 s (50 ×)"]


def test_what_rounds_more_is_told_apart(need, cases):
    need("matplotlib")
    from bench.markdown import algorithms_text, precision_text, summary_text

    _, _, sobel, _ = cases
    auto = timed(sobel, "arrayconv numpy auto", 2.0)
    torch = timed(sobel, "torch", 4.0, library="torch")
    exact = [
        timed(sobel, "arrayconv numpy generic", 3.0),
        replace(auto, algorithm="winograd_2x2"),
        replace(auto, name="arrayconv numpy winograd_2x2", algorithm="winograd_2x2"),
        torch,
    ]
    rough = [
        replace(auto, name=f"arrayconv numpy {name}{REDUCED}", algorithm="winograd_4x4")
        for name in ("winograd_4x4", "auto")
    ]
    rough = [replace(each, samples=[1.0]) for each in rough]
    both = kept_of([*exact, *rough])
    assert [each.forced for each in both] == [True, False, True, False, True, False]
    said = "*winograd_4x4 1 s*, **winograd_2x2 2 s**, a 3 s | winograd_2x2 | 1.00 |"
    assert said in algorithms_text(both)
    [row] = [line for line in precision_text(both).splitlines() if "sobel" in line]
    assert row.startswith("| sobel | winograd_2x2 | 2 s | 2.00 |")
    assert "| winograd_4x4 | 1 s | 4.00 |" in row
    assert "with less precision" in summary_text(both)
    assert "| dense convolutions | 2.00 | 2.00 |  | 4.00 | 2.00" in summary_text(both)
    assert "sobel" not in precision_text(kept_of(exact))
    assert "with less precision" not in summary_text(kept_of(exact))


def test_a_report_says_what_the_records_say(need, measured, cases, tmp_path):
    need("rich", "matplotlib")
    from bench.markdown import algorithms_text, layers_text, summary_text, tf32_text
    from bench.records import write_records

    assert "| sobel | im2col | 2 s ± 0 % | 3.00 | 1.50 |" in layers_text(measured)
    assert "| **a 2 s**" not in algorithms_text(measured[2:5])
    assert "sobel" not in tf32_text(measured), "none of ours is in TF32"
    ours = timed(cases[2], "arrayconv numpy cuda-tensor tf32", 0.5)
    torch = timed(cases[2], "torch tf32", 1.0, library="torch")
    in_tf32 = kept_of([ours, torch, timed(cases[2], "arrayconv numpy auto", 0.1)])
    said = "| sobel | arrayconv numpy cuda-tensor 500 ms, torch 1 s | 2.00 |"
    assert said in tf32_text(in_tf32)
    assert "cuda-tensor" not in algorithms_text([*measured, *in_tf32])
    summary = summary_text(measured)
    assert "| dense convolutions | 3.00 | 1.50 |" in summary
    write_records(tmp_path / "made-up.jsonl", measured)
    assert main(["report", str(tmp_path / "made-up.jsonl"), "--output", str(tmp_path / "r")]) == 0
    names = {path.name for path in (tmp_path / "r").iterdir()}
    assert names == {"report.md", "ratios.svg", "roofline.svg", "scaling.svg"}
    drawn = {name: (tmp_path / "r" / name).read_bytes() for name in names}
    assert main(["report", str(tmp_path / "made-up.jsonl"), "--output", str(tmp_path / "r")]) == 0
    for name, before in drawn.items():
        assert (tmp_path / "r" / name).read_bytes() == before, "the same records, another file"
    text = (tmp_path / "r" / "report.md").read_text(encoding="utf-8")
    for said in ("cpu: 8 GB/s copied", "## What auto chooses", "torch / ours", "ratios.svg"):
        assert said in text


def test_where_torch_is_faster_is_counted_against_the_machines_own_rates(need, measured, cases):
    need("rich")
    from bench.markdown import behind_text, layouts_text

    case = cases[2]
    faster = [
        timed(Copy(case.bytes_min // 8), "numpy copy", 2.0),
        timed(Product(1), "numpy product", 1e-9),
        timed(case, "arrayconv numpy auto", 6.0),
        timed(case, "torch", 3.0, library="torch"),
        timed(case, "torch channels last", 1.0, library="torch"),
    ]
    assert "sobel" not in behind_text(measured)
    said, limit = behind_text(kept_of(faster)).splitlines()[-1], 2.0
    moved = amount_text(case.bytes_min, "B")
    flops = amount_text(case.flops, "flop")
    assert said == f"| sobel | a | 0.50 | {flops} | {moved} | {limit:.0f} s | 3.00 | 1.50 |"
    assert "sobel" not in layouts_text(kept_of(faster)), "it is in the other table"
    assert "sobel" not in layouts_text(measured)
    faster[3] = timed(case, "torch", 7.0, library="torch")
    assert "sobel" not in behind_text(kept_of(faster))
    last = layouts_text(kept_of(faster)).splitlines()[-1]
    assert last == f"| sobel | a | 0.17 | {flops} | {moved} | {limit:.0f} s | 3.00 | 0.50 |"
    # Ours is as fast as theirs where its channels lie so, too.
    faster.append(timed(case, "arrayconv numpy channels last", 1.0))
    assert "sobel" not in layouts_text(kept_of(faster))


def test_what_misses_an_aim_is_named(need, measured, cases):
    need("rich")
    from bench.aims import aim_rows
    from bench.markdown import misses_text

    reached = {said.split(":")[0]: row for said, *row in aim_rows(measured)}
    assert reached["layers"] == ["3", ""]
    assert reached["dense layers"] == ["3", ""]
    assert "pools" not in reached, "none was measured"
    case = cases[2]
    slow = [
        replace(timed(case, "arrayconv numpy auto", 6.0), peak_extra_bytes=2 * case.bytes_min),
        timed(case, "torch", 3.0, library="torch"),
    ]
    reached = {said.split(":")[0]: row for said, *row in aim_rows(kept_of(slow))}
    assert reached["layers"] == ["0.5", ""]
    assert reached["dense layers"] == ["0.5", "sobel 0.5"]
    assert reached["held beyond input, weight and output"] == ["2", "sobel 2"]
    [row] = misses_text(kept_of(slow)).splitlines()[2:]
    counted = amount_text(case.flops, "flop"), amount_text(case.bytes_min, "B")
    missed = ("dense layers: each at least 0.85", "sobel", "a", "0.50", *counted, "", "")
    assert row == f"| {' | '.join(missed)} |"
    assert "sobel" not in misses_text(measured)


def test_a_page_is_made_anew_between_its_markers_alone(need, measured, tmp_path):
    need("rich", "matplotlib")
    from bench.records import write_records
    from bench.report import rewritten

    page = tmp_path / "page.md"
    write_records(tmp_path / "made-up.jsonl", measured)
    text = "before\n<!-- bench: made-up summary -->\nold\n<!-- end of bench -->\nafter\n"
    page.write_text(text, encoding="utf-8")
    made = rewritten(page, tmp_path)
    assert made.startswith("before\n<!-- bench: made-up summary -->\n| family |")
    assert made.endswith("|\n<!-- end of bench -->\nafter\n")
    assert "old" not in made
    page.write_text(made, encoding="utf-8")
    assert rewritten(page, tmp_path) == made
    for wrong, said in (("missing summary", "there is no"), ("made-up poem", "asks for 'poem'")):
        page.write_text(text.replace("made-up summary", wrong), encoding="utf-8")
        with pytest.raises(ValueError, match=said):
            rewritten(page, tmp_path)
    page.write_text(text.replace("made-up summary", "made-up ratios"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"bench-made-up-ratios.svg, which is not there"):
        rewritten(page, tmp_path, draw=False)


def test_readme_and_docs_are_what_the_committed_records_say(need):
    need("rich")
    assert main(["report", "--check"]) == 0


def test_compare_counts_what_is_clear(need, measured, cases, tmp_path, capsys):
    need("rich")
    from bench.records import write_records

    later = kept_of(
        [
            timed(Copy(1000), "numpy copy", 2e-6),
            timed(cases[2], "arrayconv numpy generic", 4.0),
            timed(cases[2], "arrayconv numpy im2col", 1.0),
            timed(cases[2], "torch", 12.0, library="torch"),
            timed(cases[2], "new", 1.0),
        ]
    )
    for name, kept in (("a", measured), ("b", later)):
        write_records(tmp_path / name, kept)
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    printed = capsys.readouterr().out
    assert "geometric mean of before / after" in printed
    assert "1 clearly faster, 2 clearly slower" in printed
    assert "cpu's own copy rate changed by 0.50" in printed
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "none")]) == 2


# --- the command ------------------------------------------------------------------------------


def test_help_explains_itself(capsys):
    for arguments, words in (
        (["--help"], ("run", "list", "report", "compare", "Exit code", "130")),
        (["run", "--help"], ("--device", "--suite", "--threads", "--output", "--only", "--batch")),
        (["report", "--help"], ("--check", "markers")),
        (["compare", "--help"], ("before / after",)),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 0
        printed = " ".join(capsys.readouterr().out.split())
        for word in words:
            assert word in printed


def test_the_suites_of_the_command_are_those_there_are(capsys):
    assert set(SUITE_NAMES) == {"photograph", "all", *SUITES}
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    for name in ("resnet50 7x7/2 3-64 @224", "unfold 16x16/16 3 @224", "scaling: "):
        assert name in printed


@pytest.mark.parametrize(
    "arguments",
    [
        ["--device", "tpu"],
        ["--threads", "0"],
        ["--threads", "x"],
        ["--slow"],
        ["x"],
        ["--suite", "vgg"],
        ["--seconds", "-1"],
        ["--pause", "0"],
        ["run", "--batch", "0"],
    ],
)
def test_bad_arguments_end_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert arguments[-1] in capsys.readouterr().err


def test_bad_names_and_patterns_end_with_2(need, tmp_path, capsys):
    need(*NEEDED)
    assert main(["--libraries", "numpy,tensorflow", "--output", str(tmp_path)]) == 2
    assert "'tensorflow' is none of numpy" in capsys.readouterr().err
    assert main(["--suite", "quick", "--only", "made up*", "--output", str(tmp_path)]) == 2
    assert "no case of suite quick fits 'made up*'" in capsys.readouterr().err


def test_a_run_without_a_package_that_is_there(need, monkeypatch, tmp_path):
    need(*NEEDED, "numba")
    how = ("--suite", "quick", "--only", "average*", "--libraries", "numpy", "--quick")
    done = subprocess.run(
        [sys.executable, "-m", "bench", *how, "--without", "numba", "--output", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "numba: numba is not installed" in done.stdout
    assert "numba" not in {line["algorithm"] for line in read(tmp_path)}
    assert all("numba" not in line["versions"] for line in read(tmp_path))


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


@pytest.fixture
def run(need, monkeypatch):
    """Return ``bench.run``, on a small picture and with no measure of the machine."""
    need(*NEEDED)
    from bench import run as module

    monkeypatch.setattr(module, "photograph", lambda reduce: small_photo())
    monkeypatch.setattr(module, "machine", lambda place, xp: [])
    return module


def plan(module, folder, **more):
    how = {"suite": "photograph", "device": "cpu", "threads": 1, "output": folder, "effort": TINY}
    return module.Plan(**{**how, **more})


def offer(monkeypatch, module, compute, name):
    """Let a run also have a provider that computes a case so."""

    def source(case):
        def prepare(given):
            return Ready(lambda: compute(given), "made up")

        return [Provider(name, "numpy", prepare, np.asarray)]

    found = module.sources

    def sources(plan, device):
        offered, left_out, machines = found(plan, device)
        return [*offered, source], left_out, machines

    monkeypatch.setattr(module, "sources", sources)


def right(case):
    return ac.conv2d(*case.arrays(), **case.params)


def read(folder):
    return [json.loads(line) for line in (folder / "records.jsonl").read_text("utf-8").splitlines()]


def test_a_machine_and_a_library_that_fail_leave_the_cases(run, monkeypatch, tmp_path, capsys):
    def fails(*arguments):
        raise OSError("it has no memory left")

    monkeypatch.setattr(run, "machine", fails)
    monkeypatch.setattr(run, "scipy_place", fails)
    how = plan(run, tmp_path, plots=False, libraries=("numpy", "scipy"))
    assert run.run(replace(how, only="sobel")) == 0
    printed = capsys.readouterr().out
    assert "LEFT OUT: numpy's own copy and product: it has no memory left" in printed
    assert "LEFT OUT: scipy on cpu: it has no memory left" in printed
    assert {line["case"] for line in read(tmp_path)} == {"sobel"}


def test_a_case_that_fails_leaves_the_others(run, monkeypatch, tmp_path, capsys):
    found = run.right_results

    def fails(case, referee):
        if case.name == "gaussian":
            raise MemoryError("too large")
        return found(case, referee)

    monkeypatch.setattr(run, "right_results", fails)
    assert run.run(plan(run, tmp_path, plots=False)) == 1
    assert "LEFT OUT: gaussian: MemoryError: too large" in capsys.readouterr().out
    assert {line["case"] for line in read(tmp_path)} == {"lecture", "sobel", "sharpen"}
    assert {path.name for path in tmp_path.iterdir()} == {"records.jsonl"}


@pytest.mark.parametrize("timed", [False, True], ids=["checked", "timed"])
def test_a_run_goes_on_without_what_broke_the_device(run, monkeypatch, tmp_path, capsys, timed):
    healthy, calls = [True], []

    def breaks(case):
        if case.name == "gaussian" and case.input[-1] > 15:
            calls.append(case.name)
            if len(calls) > timed:
                healthy[0] = False
                raise RuntimeError("an illegal memory access was encountered")
        return right(case)

    def synchronize(device):
        if not healthy[0]:
            raise RuntimeError("the device answers nothing")

    offer(monkeypatch, run, breaks, "breaks")
    monkeypatch.setattr(ac.Device, "synchronize", synchronize)
    how = plan(run, tmp_path, go_on=True, plots=False, libraries=("numpy",))
    assert run.run(how) == run.BROKEN
    assert "breaks at gaussian" in capsys.readouterr().out
    assert {line["case"] for line in read(tmp_path)} == {"lecture"}
    first = read(tmp_path)
    healthy[0] = True
    assert run.run(how) == 0
    assert "LEFT OUT: breaks: it ended a run" in capsys.readouterr().out
    lines = read(tmp_path)
    assert lines[: len(first)] == first
    assert [line["case"] for line in lines].count("lecture") == len(first)
    assert {line["case"] for line in lines} == {"lecture", "gaussian", "sobel", "sharpen"}
    assert {line["case"] for line in lines if line["provider"] == "breaks"} == {"lecture"}
    assert {path.name for path in tmp_path.iterdir()} == {"records.jsonl"}


def test_a_run_goes_on_behind_the_case_that_was_timed_when_it_was_ended(run, tmp_path):
    from bench.resuming import FILE

    state = {"case": "lecture", "provider": "", "without": ["nested loops"], "behind": ["sobel"]}
    (tmp_path / FILE).write_text(json.dumps(state), encoding="utf-8")
    how = plan(run, tmp_path, go_on=True, plots=False, libraries=("numpy",))
    assert run.run(how) == 0
    assert {line["case"] for line in read(tmp_path)} == {"gaussian", "sharpen"}
    assert "nested loops" not in {line["provider"] for line in read(tmp_path)}
    # Another library's cases are not done yet.
    assert run.run(plan(run, tmp_path, go_on=True, plots=False, libraries=("scipy",))) == 0
    libraries = {(line["case"], line["library"]) for line in read(tmp_path)}
    assert {("lecture", "scipy"), ("gaussian", "numpy"), ("gaussian", "scipy")} <= libraries


def test_a_run_writes_what_it_names(run, tmp_path, capsys):
    (tmp_path / "times.png").write_bytes(b"of the run before")
    assert run.run(plan(run, tmp_path)) == 0
    printed = capsys.readouterr().out
    assert f"Written into {tmp_path}: records.jsonl, times.png, feature_maps.png" in printed
    assert "WRONG" not in printed
    assert "Loops, the Array API, kernels" in printed
    lines = read(tmp_path)
    assert {line["case"] for line in lines} == {"lecture", "gaussian", "sobel", "sharpen"}
    assert all(line["checked"] and line["rounds"] >= 1 for line in lines)
    assert "nested loops" in {line["provider"] for line in lines if line["extrapolated_from"]}
    for name in ("times.png", "feature_maps.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_a_run_of_some_cases_and_libraries(run, tmp_path, capsys):
    how = {"libraries": ("numpy",), "only": "so*", "implementations": "auto"}
    assert run.run(plan(run, tmp_path, **how)) == 0
    assert {(line["case"], line["provider"]) for line in read(tmp_path)} == {
        ("sobel", "nested loops"),
        ("sobel", "position loop"),
        ("sobel", "arrayconv numpy auto"),
    }


def test_a_run_of_calls_after_a_pause(run, tmp_path, capsys):
    """Each call is a sample, and the records say what was before it."""
    how = {"libraries": ("numpy",), "only": "so*", "implementations": "auto", "pause": 0.001}
    assert run.run(plan(run, tmp_path, **how)) == 0
    assert "pause: 0.001 s before each call" in capsys.readouterr().out
    assert {line["versions"]["pause"] for line in read(tmp_path)} == {"0.001 s before each call"}


def test_no_case_is_begun_when_the_time_is_over(run, tmp_path, capsys):
    assert run.run(plan(run, tmp_path, seconds_in_all=1e-9)) == 0
    assert "LEFT OUT: 4 cases, for which no time was left" in capsys.readouterr().out
    assert read(tmp_path) == []


def test_a_wrong_provider_ends_the_run_with_1(run, monkeypatch, tmp_path, capsys):
    name = "arrayconv with the wrong sign"
    offer(monkeypatch, run, lambda case: -right(case), name)
    assert run.run(plan(run, tmp_path)) == 1
    printed = capsys.readouterr().out
    assert f"WRONG: {name} at lecture on cpu: at the small case, its error" in printed
    lines = [line for line in read(tmp_path) if line["provider"] == name]
    assert [line["case"] for line in lines] == ["lecture", "gaussian", "sobel", "sharpen"]
    for line in lines:
        assert (line["checked"], line["rounds"], line["seconds_median"]) == (False, 0, None)
        assert line["max_error"] > 1e-5


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let Ctrl-C end what runs, also where these tests were started so that it does not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_keeps_what_was_measured(run, monkeypatch, tmp_path, capsys, interruptible):
    def interrupt(case):
        if case.name == "gaussian":
            signal.raise_signal(signal.SIGINT)
        return right(case)

    offer(monkeypatch, run, interrupt, "arrayconv until Ctrl-C")
    assert run.run(plan(run, tmp_path)) == 130
    assert "Interrupted: what was measured until then is kept." in capsys.readouterr().out
    lines = read(tmp_path)
    assert {line["case"] for line in lines} == {"lecture"}
    assert "arrayconv until Ctrl-C" in {line["provider"] for line in lines}
    assert (tmp_path / "times.png").exists()
