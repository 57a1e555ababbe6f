"""What MkDocs does besides its plugins: pages include texts that are kept elsewhere, and load nothing from elsewhere.

``<!-- from README.md: Options -->`` stands for the section under that heading, so that there is one table of options;
``<!-- from SECURITY.md -->`` for the whole file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

ROOT = Path(__file__).parent.parent
_WANTED = re.compile(r"<!-- from (?P<file>[\w.]+)(?:: (?P<heading>[^\n]+?))? -->")
_FOREIGN = re.compile(r"""<(?:script|link|img)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//[^>]*>""")


def included(file: str, heading: str | None) -> str:
    """Return the text under a heading of the second level, or the whole file. Raises ``LookupError`` if it is not there."""
    text = (ROOT / file).read_text(encoding="utf-8")
    if heading is not None:
        found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
        if found is None:
            raise LookupError(f"{file} has no section {heading!r}")
        text = found[1]
    # Links there begin at the top of the repository.
    return text.strip().replace("](docs/", "](")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the texts in their places."""
    return _WANTED.sub(lambda found: included(found["file"], found["heading"]), markdown)


def on_post_page(output: str, **_: Any) -> None:
    """Refuse a page that would load scripts, styles or pictures from another host."""
    foreign = _FOREIGN.search(output)
    if foreign is not None:
        raise PluginError(f"loads from elsewhere: {foreign[0]}")
