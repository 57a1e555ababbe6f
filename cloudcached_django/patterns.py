"""Redis's patterns for ``keys`` and ``delete_pattern``: ``*``, ``?``, ``[a-z]``, ``[^a]``, backslash escapes."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\\(?P<escaped>.)|(?P<star>\*)|(?P<any>\?)|\[(?P<set>(?:\\.|[^\]\\])*)\]|(?P<plain>.)", re.DOTALL)
_MEMBER = re.compile(r"(\\.|[^\\])-(\\.|[^\\])|(\\.|.)", re.DOTALL)


def escape(text: str) -> str:
    """Return a pattern that matches exactly *text*."""
    return re.sub(r"([*?\[\]\\])", r"\\\1", text)


class Pattern:
    """A compiled pattern."""

    def __init__(self, pattern: str) -> None:
        parts = [_translate(token) for token in _TOKEN.finditer(pattern)]
        self._matches = re.compile("".join(parts), re.DOTALL).fullmatch
        #: The beginning of every match.
        self.beginning = ""
        for token in _TOKEN.finditer(pattern):
            literal = token["plain"] or token["escaped"]
            if literal is None:
                break
            self.beginning += literal

    def matches(self, key: str) -> bool:
        """Whether the whole of *key* matches."""
        return self._matches(key) is not None


def _translate(token: re.Match[str]) -> str:
    if token["star"]:
        return ".*"
    if token["any"]:
        return "."
    if token["set"] is not None:
        return _translate_set(token["set"])
    return re.escape(token["plain"] or token["escaped"])


def _translate_set(content: str) -> str:
    negated = content.startswith("^")
    members = "".join(_translate_member(member) for member in _MEMBER.finditer(content[negated:]))
    if not members:
        return "." if negated else r"(?!)"
    return f"[^{members}]" if negated else f"[{members}]"


def _translate_member(member: re.Match[str]) -> str:
    if member[3]:
        return re.escape(member[3][-1])
    # Redis accepts the ends of a range in either order.
    first, last = sorted((member[1][-1], member[2][-1]))
    return f"{re.escape(first)}-{re.escape(last)}"
