"""What MkDocs does beside its plugins: pages take sections that are kept elsewhere, and load nothing from elsewhere.

``<!-- from README.md: Options -->`` stands for the section of that heading, so that there is one table of options.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

ROOT = Path(__file__).parent.parent
_WANTED = re.compile(r"<!-- from (?P<file>[\w.]+): (?P<heading>[^\n]+?) -->")
_FOREIGN = re.compile(r"""<(?:script|link|img)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//[^>]*>""")


def section(file: str, heading: str) -> str:
    """Return what stands under a heading of the second level. Raises ``LookupError`` where there is none."""
    text = (ROOT / file).read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise LookupError(f"{file} has no section {heading!r}")
    # Links there begin at the top of the repository.
    return found[1].strip().replace("](docs/", "](")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the sections in their places."""
    return _WANTED.sub(lambda found: section(found["file"], found["heading"]), markdown)


def on_post_page(output: str, **_: Any) -> None:
    """Refuse a page that would load scripts, styles or pictures from another host."""
    foreign = _FOREIGN.search(output)
    if foreign is not None:
        raise PluginError(f"loads from elsewhere: {foreign[0]}")
