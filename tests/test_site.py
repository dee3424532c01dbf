"""What the site's build makes: the reference, the table of support, the pictures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import arrayconv
from arrayconv import nn
from arrayconv._capabilities import DTYPES, LIBRARIES, OPERATIONS, unsupported
from docs import docstrings
from docs.support import GROUPS, MARK, support_table

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.glob("**/*.md"))
BLOCKS = re.MULTILINE | re.DOTALL
WIDTH = 90
"""Characters of code that a window of 1280 pixels shows without scrolling."""
NAVIGATION = re.compile(r"(\S+\.md)$", re.MULTILINE)


def test_every_page_is_in_the_navigation():
    listed = NAVIGATION.findall((DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in PAGES)


def test_the_reference_shows_every_public_name():
    draw = pytest.importorskip("arrayconv.draw", reason="arrayconv.draw needs matplotlib")
    modules: tuple[Any, ...] = (arrayconv, nn, draw)
    public = {f"{each.__name__}.{name}" for each in modules for name in each.__all__}
    aliases = {"arrayconv.im2col", "arrayconv.col2im", "arrayconv.__version__"}
    assert set(docstrings.places()) == public - aliases


def test_every_entry_has_its_signature_and_no_line_of_a_section_is_lost():
    pytest.importorskip("matplotlib", reason="arrayconv.draw needs matplotlib")
    for name in docstrings.places():
        entry = docstrings.entry(name)
        assert f"{{ #{name} }}" in entry
        # An underline left over would be a section that was not understood.
        assert not re.search(r"^-{3,}$", entry, re.MULTILINE), name


def test_an_entry_is_made_of_its_docstring():
    entry = docstrings.entry("arrayconv.conv2d")
    assert "    stride=1,\n" in entry
    assert "IntOrInts" not in entry
    assert "`weight` : array, shape (O, C / groups, KH, KW)\n:   The kernels" in entry
    assert "[`conv_transpose2d`](convolution.md#arrayconv.conv_transpose2d)" in entry
    assert "```pycon\n>>> import numpy as np, arrayconv as ac\n" in entry
    assert "`output[n, o, p] = bias[o] + sum over c, t of weight[o, c, t] *" in entry


def test_markdown_that_is_no_markdown_is_escaped():
    assert docstrings.inline("(N, C, *sizes) <A x, y>", "x.y") == r"(N, C, \*sizes) \<A x, y\>"
    assert docstrings.inline("``a * b`` and `zeros`", "x.y") == "`a * b` and `zeros`"


def test_the_table_of_support_says_what_the_capabilities_say():
    table = support_table()
    chapters = dict(re.findall(r"^## (\S+)\n\n(.*?)(?=^## )", table, re.MULTILINE | re.DOTALL))
    assert len(chapters) == len(LIBRARIES)
    for library, chapter in zip(LIBRARIES, chapters.values(), strict=True):
        rows = [line.strip("| ").split(" | ") for line in chapter.strip().splitlines()[2:]]
        assert [row[0].strip("`") for row in rows] == list(OPERATIONS)
        for operation, row in zip(OPERATIONS, rows, strict=True):
            for group, said in zip(GROUPS.values(), row[1:], strict=True):
                reasons = [unsupported(operation, library, dtype) for dtype in group]
                assert (said == "yes") == (not any(reasons)), (operation, library, group)
                assert said.startswith("no") == all(reasons), (operation, library, group)
    assert set(DTYPES) == {dtype for group in GROUPS.values() for dtype in group}
    assert MARK in (DOCS / "support.md").read_text(encoding="utf-8")


def test_the_pages_show_the_pictures_that_are_made():
    pytest.importorskip("matplotlib", reason="the pictures are drawn with matplotlib")
    from docs.pictures import PICTURES

    shown = [
        name
        for page in PAGES
        for name in re.findall(
            r"!\[[^\]]+\]\((?:\.\./)?pictures/([\w.-]+)\)", page.read_text(encoding="utf-8")
        )
    ]
    assert sorted(set(shown)) == sorted(PICTURES)


@pytest.mark.parametrize("name", ["parameters.svg", "im2col.svg", "pooling.svg", "adaptive.svg"])
def test_a_picture_is_drawn_for_bright_and_dark_pages(name):
    pytest.importorskip("matplotlib", reason="the pictures are drawn with matplotlib")
    from docs.pictures import files, picture

    assert files(name).keys() == {"light", "dark"}
    light, dark = picture(name, "light"), picture(name, "dark")
    assert light.startswith(b"<?xml")
    assert b"#e2e4ea" in dark
    assert b"#e2e4ea" not in light


def test_code_is_no_wider_than_a_page():
    wide = [
        f"{page.relative_to(DOCS)}: {line}"
        for page in PAGES
        for block in re.findall(r"^```\w+\n(.*?)^```$", page.read_text(encoding="utf-8"), BLOCKS)
        for line in block.splitlines()
        if len(line) > WIDTH
    ]
    wide += [
        f"{name}: {line}"
        for name in docstrings.places()
        for line in docstrings.entry(name).splitlines()
        if line.startswith(">>> ") and len(line) > WIDTH
    ]
    assert wide == []
