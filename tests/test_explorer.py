"""The page explorer.md: its arithmetic against the library's, and the page in a browser."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import arrayconv as ac
from arrayconv._window import index_table, needed_after, sliding_window, transposed_window

DOCS = Path(__file__).parents[1] / "docs"
SCRIPTS = DOCS / "javascripts"
CASES = 4000
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")

# One line of JSON in, one out: for each case the axis and its table, or the error.
PROGRAM = """
const G = require(process.argv[1]);
const cases = JSON.parse(require("fs").readFileSync(0, "utf8"));
const found = cases.map((one) => {
  try {
    const axis = one.transposed ? G.transposedAxis(one) : G.slidingAxis(one);
    const table = [];
    for (let o = 0; o < axis.out; o++) {
      const row = [];
      for (let t = 0; t < axis.kernel; t++) row.push(G.cell(axis, o, t));
      table.push(row);
    }
    const formula = G.formula(axis, one);
    return { size: axis.size, out: axis.out, table, after: G.shownAfter(axis), formula };
  } catch (error) {
    return { error: error.message };
  }
});
process.stdout.write(JSON.stringify(found));
"""


def tool(left_out, what, *names):
    for name in names:
        found = shutil.which(name)
        if found:
            return found
    left_out(f"{names[0]} is not installed: {what}")
    return pytest.skip(f"{names[0]} is not installed")


def random_cases(count, transposed):
    random = np.random.default_rng(int(transposed))
    for number in range(count):
        yield {
            "size": int(random.integers(1, 20)),
            "kernel": int(random.integers(1, 8)),
            "stride": int(random.integers(1, 7)),
            "dilation": int(random.integers(1, 5)),
            "before": int(random.integers(0, 7)),
            "after": int(random.integers(0, 7)),
            "ceil": bool(number % 2) and not transposed,
            "outputPadding": int(random.integers(0, 6)) if transposed else 0,
            "transposed": transposed,
        }


def by_python(case) -> Any:
    """Return the axis of a case as the library has it, or None where it refuses."""
    one = {name: (case[name],) for name in ("size", "kernel", "stride", "dilation")}
    pairs = ((case["before"], case["after"]),)
    try:
        if case["transposed"]:
            extra = (case["outputPadding"],)
            start = one["size"], one["kernel"], one["stride"], pairs
            return transposed_window(*start, extra, one["dilation"])[0]
        start = one["size"], one["kernel"], one["stride"], pairs
        return sliding_window(*start, one["dilation"], case["ceil"])[0]
    except ValueError:
        return None


def run_node(node, program, given):
    command = [node, "-e", program, str(SCRIPTS / "geometry.js")]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("transposed", [False, True], ids=["sliding", "transposed"])
def test_the_arithmetic_is_that_of_the_library(transposed, left_out):
    node = tool(left_out, "the explorer's arithmetic was not compared with the library's", "node")
    cases = list(random_cases(CASES, transposed))
    refused = 0
    for case, found in zip(cases, run_node(node, PROGRAM, json.dumps(cases)), strict=True):
        axis = by_python(case)
        assert ("error" in found) == (axis is None), (case, found)
        if axis is None:
            refused += 1
            continue
        assert (found["size"], found["out"]) == (axis.size, axis.out), case
        assert found["table"] == [list(row) for row in index_table(axis)], case
        if (
            axis.out > 1 and axis.kernel > 1
        ):  # else the library's axis has other meaningless numbers
            assert found["after"] == max(axis.after, needed_after(axis)), case
        answer = axis.size if transposed else axis.out
        assert found["formula"].endswith(f"= {answer}"), case
    assert 0 < refused < CASES / 2


def found_in(pattern, text) -> str:
    """Return the first group of a pattern, which must be there."""
    match = re.search(pattern, text)
    assert match, f"no {pattern} in {text[:2000]}"
    return str(match[1])


def value_of(formula):
    """Return what a formula says on its left side, worked out."""
    text, _, rest = formula.partition(" = ")
    text = text.replace("·", "*").replace("−", "-")
    text = text.replace("ceil(", "-(-1 * ").replace("floor(", "(")
    return eval(text.replace("/", "//")), int(found_in(r"^(\d+)", rest))


def test_a_formula_gives_what_it_says(left_out):
    node = tool(left_out, "the explorer's formulas were not worked out", "node")
    cases = [*random_cases(500, True), *random_cases(500, False)]
    for found in run_node(node, PROGRAM, json.dumps(cases)):
        if "error" not in found:
            left, right = value_of(found["formula"])
            assert left == right, found["formula"]


def test_the_columns_are_those_of_unfold(left_out):
    node = tool(left_out, "the explorer's columns were not compared with unfold's", "node")
    program = """
    const G = require(process.argv[1]);
    const pairs = JSON.parse(require("fs").readFileSync(0, "utf8"));
    const found = pairs.map(([a, b]) => G.columns(G.slidingAxis(a), G.slidingAxis(b)));
    process.stdout.write(JSON.stringify(found));
    """
    cases = [case for case in random_cases(400, False) if by_python({**case, "ceil": False})]
    cases = [{**case, "ceil": False} for case in cases]
    pairs = list(zip(cases[::2], cases[1::2], strict=False))
    for (a, b), found in zip(pairs, run_node(node, program, json.dumps(pairs)), strict=True):
        numbers = np.arange(a["size"] * b["size"]).reshape(1, 1, a["size"], b["size"]) + 1
        columns = ac.unfold(
            numbers,
            (a["kernel"], b["kernel"]),
            (a["dilation"], b["dilation"]),
            ((a["before"], a["after"]), (b["before"], b["after"])),
            (a["stride"], b["stride"]),
        )
        np.testing.assert_array_equal(np.asarray(found) + 1, columns[0])


# --- in a browser -------------------------------------------------------------------------------


def harness(folder, steps):
    """Write the page's own HTML and scripts, and some steps of a reader; return its address."""
    page = (DOCS / "explorer.md").read_text(encoding="utf-8")
    body = page[page.index('<div id="window-explorer"') : page.index("Some cases worth")]
    body = body.replace('src="javascripts/', f'src="{SCRIPTS.as_uri()}/')
    path = folder / "explorer.html"
    path.write_text(
        f"<!doctype html><meta charset='utf-8'><body>{body}<script>{steps}\n"
        "document.body.dataset.link = location.hash;</script></body>",
        encoding="utf-8",
    )
    return path.as_uri()


def opened(browser, folder, link="", steps=""):
    """Return the page after it was opened at a link and some steps were taken: its HTML."""
    command = [
        browser,
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *(f"--user-data-dir={folder / 'profile'}", "--allow-file-access-from-files"),
        *("--virtual-time-budget=2000", "--dump-dom", harness(folder, steps) + link),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return html.unescape(done.stdout)


def part(page, name):
    """Return the text of the element of a name."""
    return found_in(rf'data-name="{name}"[^>]*>([^<]*)<', page)


@pytest.fixture
def browser(left_out):
    return tool(left_out, "the explorer was not opened in a browser", *BROWSERS)


def test_a_link_is_followed(browser, tmp_path):
    link = "#size=7x9&kernel=3x2&stride=2x1&padding=1x0&dilation=1x2&position=5"
    page = opened(browser, tmp_path, link)
    sizes: Any = ac.output_size((7, 9), (3, 2), (2, 1), (1, 0), (1, 2))
    rows, across = sizes
    assert part(page, "result") == f"{rows} × {across}"
    assert part(page, "columns-title") == f"im2col matrix 6 × {rows * across}: column 6"
    numbers = np.arange(63).reshape(1, 1, 7, 9) + 1
    columns = ac.unfold(numbers, (3, 2), (1, 2), (1, 0), (2, 1))
    sources = found_in(r'data-sources="([^"]*)"', page)
    assert [int(each) + 1 for each in sources.split()] == list(columns[0, :, 5])
    expression, promise = part(page, "call").split("  # ")
    assert str(eval(expression, {"ac": ac})) == promise
    assert f'data-link="{link}"' in page
    assert f'data-cells="{rows}x{across}"' in page


def test_the_reader_changes_numbers(browser, tmp_path):
    steps = """
    const field = (name) => document.querySelector(`input[name="${name}"]`);
    const set = (name, value) => {
      field(name).value = value;
      field(name).dispatchEvent(new Event("input"));
    };
    set("kernel-0", 2);
    set("padding-1", 1);
    document.querySelector('[data-name="slider"]').value = 3;
    document.querySelector('[data-name="slider"]').dispatchEvent(new Event("input"));
    """
    page = opened(browser, tmp_path, "", steps)
    assert part(page, "result") == "5 × 7"
    assert part(page, "input-title") == "input 6 × 6, padded"
    assert part(page, "columns-title").endswith("column 4")
    link = "#size=6x6&kernel=2x2&stride=1x1&padding=0x1&dilation=1x1&position=3"
    assert f'data-link="{link}"' in page


def test_transposed_and_back_by_reset(browser, tmp_path):
    link = "#size=3x3&kernel=3x3&stride=2x2&padding=1x1&dilation=1x1&extra=1x1&transposed=1"
    page = opened(browser, tmp_path, link)
    assert part(page, "result") == "6 × 6"
    expression, promise = part(page, "call").split("  # ")
    assert str(eval(expression, {"ac": ac})) == promise
    steps = "document.querySelector('[data-name=\"reset\"]').click();"
    page = opened(browser, tmp_path, link, steps)
    assert part(page, "result") == "4 × 4"


def test_what_cannot_be_is_said(browser, tmp_path):
    page = opened(browser, tmp_path, "#size=3x3&kernel=5x5&dilation=nonsense")
    assert part(page, "result") == "none"
    assert "spans 5 cells, more than the 3" in part(page, "formula")


def test_a_number_out_of_range_is_said_and_replaced_when_the_field_is_left(browser, tmp_path):
    steps = """
    const field = document.querySelector('input[name="kernel-0"]');
    field.focus();
    field.value = 9;
    field.dispatchEvent(new Event("input"));
    document.body.dataset.hint = document.querySelector('[data-name="hint"]').textContent;
    field.dispatchEvent(new Event("change"));
    document.body.dataset.left = field.value;
    """
    page = opened(browser, tmp_path, "#size=8x8", steps)
    said = found_in('data-hint="([^"]*)"', page)
    assert said == "rows of the kernel: a whole number from 1 to 7; 7 is used"
    assert 'data-left="7"' in page
    assert part(page, "hint") == ""
    assert part(page, "result") == "2 × 2"


def test_a_link_to_a_heading_changes_nothing(browser, tmp_path):
    steps = """
    location.hash = "#explorer";
    window.dispatchEvent(new HashChangeEvent("hashchange"));
    """
    assert part(opened(browser, tmp_path, "#size=9x9", steps), "result") == "7 × 7"
