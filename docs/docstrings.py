"""Markdown of numpydoc docstrings: what the pages under `reference/` show for ``::: NAME``.

The docstrings of this package are plain numpydoc: sections with underlines, parameters as
``name : type`` with an indented text, ``code`` and `name` in backticks.
"""

from __future__ import annotations

import importlib
import inspect
import re
from functools import cache
from pathlib import Path
from typing import Any

PAGES = Path(__file__).parent / "reference"
DIRECTIVE = re.compile(r"^::: (arrayconv(?:\.\w+)+)$", re.MULTILINE)
HEADING = re.compile(r"^(\w[\w ]*)\n-+$", re.MULTILINE)
REFERENCE = re.compile(r"^\.\. \[\d+\] ", re.MULTILINE)
ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})")
CODE = re.compile(r"``(.+?)``|`(.+?)`", re.DOTALL)


@cache
def places() -> dict[str, str]:
    """Return the page of each name that a page of the reference shows."""
    return {
        name: page.name
        for page in sorted(PAGES.glob("*.md"))
        for name in DIRECTIVE.findall(page.read_text(encoding="utf-8"))
    }


def sections(docstring: str) -> dict[str, str]:
    """Return the text of each section; what stands before the first is the section ''."""
    text = inspect.cleandoc(docstring)
    parts = HEADING.split(text)
    return {
        "": parts[0].strip(),
        **{name: body.strip("\n") for name, body in zip(parts[1::2], parts[2::2], strict=True)},
    }


def entries(section: str) -> list[tuple[str, str]]:
    """Return each unindented line of a section with the text that is indented below it."""
    found: list[tuple[str, list[str]]] = []
    for line in section.splitlines():
        if line and not line.startswith(" "):
            found.append((line, []))
        elif found:
            found[-1][1].append(line)
    return [(head, inspect.cleandoc("\n".join(body))) for head, body in found]


def inline(text: str, name: str) -> str:
    """Return a text with its backticks as Markdown's, and links to what the reference shows."""
    parts, end = [], 0
    for match in CODE.finditer(text):
        parts.append(_escaped(text[end : match.start()]))
        code = " ".join((match[1] or match[2]).split())
        parts.append(f"`{code}`" if match[1] else _linked(code, name))
        end = match.end()
    return "".join([*parts, _escaped(text[end:])])


def _escaped(text: str) -> str:
    return re.sub(r"([*_<>\[\]])", r"\\\1", text)


def _linked(code: str, name: str) -> str:
    """Return a name in code; as a link where the reference, but not this entry, shows it."""
    module = name.rpartition(".")[0]
    for full in (f"{module}.{code}", f"arrayconv.{code}", code):
        if full in places() and full != name:
            return f"[`{code}`]({places()[full]}#{full})"
    return f"`{code}`"


def _list(section: str, name: str, *, typed: bool) -> str:
    """Return a definition list: what stands before " : " is a name, and the rest its type."""
    lines = []
    for head, body in entries(section):
        term, colon, kind = head.partition(" : ")
        if typed and colon:
            shown = f"`{term}` : {inline(kind, name)}"
        else:
            shown = f"`{head}`" if typed else inline(head, name)
        text = inline(body, name).replace("\n", "\n    ") or "&nbsp;"
        lines.append(f"{shown}\n:   {text}\n")
    return "\n".join(lines)


def _see_also(section: str, name: str) -> str:
    lines = []
    for line in section.splitlines():
        term, colon, words = line.partition(" : ")
        lines.append(f"- {_linked(term.strip(), name)}{': ' if colon else ''}{inline(words, name)}")
    return "\n".join(lines)


def _references(section: str, name: str) -> str:
    """Return a list of sources; those in arXiv are links."""
    sources = [" ".join(each.split()) for each in REFERENCE.split(section)[1:]]
    text = "\n".join(f"- {inline(each, name)}" for each in sources)
    return ARXIV.sub(r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def _signature(shown: str, value: Any) -> str:
    """Return the call with its defaults, without types; one argument a line where it is long."""
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    bare = [
        each.replace(annotation=inspect.Parameter.empty)
        for each in signature.parameters.values()
        if each.name != "self"
    ]
    text = str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))
    if len(shown + text) > 72:
        # Only commas between arguments: those in a default stand in brackets.
        text = "(\n    " + re.sub(r", (?![^(]*\)(?!$))", ",\n    ", text[1:-1]) + ",\n)"
    return f"```python\n{shown}{text}\n```"


def body_of(docstring: str, name: str) -> str:
    """Return the Markdown of a docstring."""
    parts = []
    for title, text in sections(docstring).items():
        if not title:
            parts.append(inline(text, name))
        elif title == "Examples":
            parts.append(f"**Examples**\n\n```pycon\n{text}\n```")
        elif title == "See Also":
            parts.append(f"**See also**\n\n{_see_also(text, name)}")
        elif title == "References":
            parts.append(f"**References**\n\n{_references(text, name)}")
        elif title in ("Parameters", "Attributes"):
            parts.append(f"**{title}**\n\n{_list(text, name, typed=True)}")
        elif title in ("Returns", "Yields", "Raises"):
            parts.append(f"**{title}**\n\n{_list(text, name, typed=False)}")
        else:
            parts.append(f"**{title}**\n\n{inline(text, name)}")
    return "\n\n".join(parts)


def entry(name: str) -> str:
    """Return the Markdown of one public name: heading, signature, docstring, methods."""
    module, _, short = name.rpartition(".")
    value = getattr(importlib.import_module(module), short)
    prefix = module.removeprefix("arrayconv").lstrip(".")
    shown = f"{prefix}.{short}" if prefix else short
    parts = [f"## {shown} {{ #{name} }}"]
    parts += [_signature(shown, value), body_of(value.__doc__ or "", name)]
    if inspect.isclass(value):
        methods = inspect.getmembers(value, lambda each: inspect.isfunction(each))
        for method, function in methods:
            own = function.__qualname__ == f"{value.__qualname__}.{method}"
            if own and function.__doc__ and not method.startswith("_"):
                parts += [f"### {short}.{method} {{ #{name}.{method} }}"]
                parts += [_signature(method, function), body_of(function.__doc__, name)]
    return "\n\n".join(filter(None, parts)) + "\n"


def rendered(page: str) -> str:
    """Return a page with an entry in the place of each ``::: NAME``."""
    return DIRECTIVE.sub(lambda match: entry(match[1]), page)
