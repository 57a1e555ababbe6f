"""What MkDocs does beside its plugins: pages take sections that are kept elsewhere.

``<!-- from README.md: Options -->`` stands for the section of that heading, so that there is one table of options.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
_WANTED = re.compile(r"<!-- from (?P<file>[\w.]+): (?P<heading>[^\n]+?) -->")


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
