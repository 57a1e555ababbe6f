"""The code blocks of a page of the documentation, in their order.

A block that cannot run has ``<!-- not run: REASON -->`` before it. What a reader need not see, such as stand-ins and
what proves that a block did its work, is Python in a comment that begins with a line ``<!-- test``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"""(?:^\ *<!--\ not\ run:\ (?P<reason>[^\n]+?)\ -->\n+)?
        ^(?P<indent>\ *)```(?P<language>[\w+-]*)(?P<rest>[^\n]*)\n(?P<code>.*?)^(?P=indent)```\ *$
      | ^<!--\ test\n(?P<hidden>.*?)^-->$""",
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)
_TITLE = re.compile(r'title="([^"]*)"')


@dataclass(frozen=True)
class Block:
    """One block."""

    page: str
    #: Of its first line of code.
    line: int
    #: What the fence says, ``hidden`` for a comment.
    language: str
    title: str
    code: str
    #: Why it cannot run; "" for one that does.
    reason: str

    @property
    def place(self) -> str:
        """Where it stands."""
        return f"{self.page}:{self.line}"


def blocks_of(path: Path) -> list[Block]:
    """Return the blocks of a page."""
    text = path.read_text(encoding="utf-8")
    return [_block(path, text, found) for found in _BLOCK.finditer(text)]


def _block(path: Path, text: str, found: re.Match[str]) -> Block:
    part = "hidden" if found["hidden"] is not None else "code"
    indent = found["indent"] or ""
    lines = [line.removeprefix(indent) for line in found[part].splitlines(keepends=True)]
    title = _TITLE.search(found["rest"] or "")
    return Block(
        page=path.name,
        line=text.count("\n", 0, found.start(part)) + 1,
        language=found["language"] if part == "code" else "hidden",
        title=title[1] if title else "",
        code="".join(lines),
        reason=found["reason"] or "",
    )


def fences(path: Path) -> int:
    """Return how many fences a page has, two for each block: what the pattern above must not miss."""
    return len(re.findall(r"^ *(?:```|~~~)", path.read_text(encoding="utf-8"), re.MULTILINE))
