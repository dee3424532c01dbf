"""The README and the documentation are true: their Python runs and prints what they say.

The blocks of a file are run in order, as one program. A line ``print(...)  # this`` must print
``this``.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from pathlib import Path

import pytest

import arrayconv as ac

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
WITHOUT_CODE = {
    *(DOCS / name for name in ("support.md", "explorer.md", "recipes/index.md")),
    *(DOCS / "reference").glob("*.md"),
}
"""What docs/hooks.py fills, the page whose code is JavaScript, and the list of recipes."""
PAGES = [REPOSITORY / "README.md", *sorted({*DOCS.glob("**/*.md")} - WITHOUT_CODE)]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMISE = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)
OPTIONAL = {
    *("cupy", "dask", "distributed", "jax", "safetensors", "scipy", "sklearn", "torch", "zarr"),
}
COMMANDS = (
    "python -m pip install -e '.[bench]' && python -m bench",
    "python -m pip install -e '.[test]' && python -m pytest",
    "python -m pip install -e '.[examples]' && python -m arrayconv.examples.digits",
)


def program(page: str) -> str:
    """Return the Python of a page, every line at its own number."""
    lines = [""] * page.count("\n")
    for block in BLOCK.finditer(page):
        first = page.count("\n", 0, block.start(1))
        code = block[1].splitlines()
        lines[first : first + len(code)] = code
    return "\n".join(lines)


def missing_libraries(code: str) -> set[str]:
    """Return the optional libraries that a program imports and that are not installed."""
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
        )
    }
    return {name for name in imported & OPTIONAL if importlib.util.find_spec(name) is None}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_of_a_page_prints_what_it_says(page, capsys, left_out):
    code = program(page.read_text(encoding="utf-8"))
    assert code.strip()
    missing = missing_libraries(code)
    if missing:
        left_out(f"{page.name}: its code needs {', '.join(sorted(missing))}")
        pytest.skip(f"{', '.join(sorted(missing))} is not installed")
    exec(compile(code, str(page), "exec"), {"__name__": page.stem})
    assert capsys.readouterr().out.splitlines() == PROMISE.findall(code)


def test_the_readme_gives_the_commands_for_a_fresh_machine():
    lines = PAGES[0].read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("python -m pip")] == list(COMMANDS)


def test_a_program_keeps_its_order_and_its_line_numbers():
    page = "# a\n```python\nx = 1\n```\ntext\n```sh\nls\n```\n```python\nprint(x)  # 1\n```\n"
    assert program(page).splitlines()[2] == "x = 1"
    assert program(page).splitlines()[9] == "print(x)  # 1"
    assert PROMISE.findall(program(page)) == ["1"]


def test_a_missing_library_is_found(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert missing_libraries("import torch.nn as nn\nfrom cupy.cuda import Device") == {
        "torch",
        "cupy",
    }
    assert missing_libraries("import numpy") == set()


def test_the_changelog_begins_with_this_version_and_names_every_function():
    changelog = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(\S+)\] - (unreleased|\d{4}-\d\d-\d\d)$", changelog, re.MULTILINE)
    assert headings[0][0] == ac.__version__
    code = " ".join(re.findall(r"`([^`]+)`", changelog))
    functions = [name for name in ac.__all__ if inspect.isfunction(getattr(ac, name))]
    # `max_pool` in 1, 2 and 3 dimensions.
    stems = {re.sub("[123]d$", "", name) for name in functions}
    assert len(stems) > 20
    assert [each for each in sorted(stems) if not re.search(rf"\b{each}([123]d)?\b", code)] == []
