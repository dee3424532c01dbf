"""What mkdocs makes while it builds the site: pictures, the reference, the table of support."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

# mkdocs loads this file by its path, and not as a module of the repository.
sys.path.insert(0, str(Path(__file__).parents[1]))

from docs.docstrings import rendered
from docs.pictures import PICTURES, files, picture
from docs.support import MARK, support_table

PICTURE = re.compile(r"!\[([^\]]*)\]\(((?:\.\./)?pictures/)([\w.-]+)\)")


def on_files(files_found: Files, config: Any) -> Files:
    """Add the pictures, drawn in each theme."""
    for name in PICTURES:
        for theme, file in files(name).items():
            content = picture(name, theme)
            files_found.append(File.generated(config, f"pictures/{file}", content=content))
    return files_found


def on_page_markdown(markdown: str, **named: Any) -> str:
    """Show each picture in the theme of the page, and fill in what is made."""

    def both(match: re.Match[str]) -> str:
        words, folder, name = match.groups()
        return "".join(
            f"![{words}]({folder}{file}#only-{theme})" for theme, file in files(name).items()
        )

    return rendered(PICTURE.sub(both, markdown)).replace(MARK, support_table())
