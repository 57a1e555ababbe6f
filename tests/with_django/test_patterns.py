"""Redis's patterns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudcached_django.patterns import Pattern, escape

MATCHING = [
    ("*", ["", "a", "a\nb", "a/b"], []),
    ("a*", ["a", "ab", "a\n"], ["", "ba", "A"]),
    ("*:page:*", ["x:page:1", ":page:"], ["page"]),
    ("h?llo", ["hello", "h\nllo"], ["hllo", "heello"]),
    ("h[ae]llo", ["hello", "hallo"], ["hillo"]),
    ("h[^e]llo", ["hallo", "h^llo"], ["hello"]),
    ("h[a-c]llo", ["hallo", "hbllo", "hcllo"], ["hdllo", "h-llo"]),
    ("h[c-a]llo", ["hallo", "hbllo"], ["hdllo"]),
    (r"[\]\-x]", ["]", "-", "x"], ["a"]),
    ("[a-]", ["a", "-"], ["b"]),
    ("[!a]", ["!", "a"], ["b"]),
    (r"a\*", ["a*"], ["ab", "a"]),
    (r"a\\", ["a\\"], ["a"]),
    ("a.b+", ["a.b+"], ["axb", "a.bb"]),
    ("[]", [], ["", "a", "[]"]),
    ("[^]", ["a"], ["", "[^]"]),
    ("a[b", ["a[b"], ["ab"]),
]


@pytest.mark.parametrize(("pattern", "hits", "misses"), MATCHING, ids=[row[0] for row in MATCHING])
def test_matching(pattern: str, hits: list[str], misses: list[str]) -> None:
    matches = Pattern(pattern).matches
    assert [text for text in [*hits, *misses] if matches(text)] == hits


@pytest.mark.parametrize(
    ("pattern", "beginning"), [("*", ""), ("abc", "abc"), ("a:b*c", "a:b"), (r"a\*b?", "a*b"), ("a[b]c", "a"), ("", "")]
)
def test_the_beginning_narrows_the_search(pattern: str, beginning: str) -> None:
    assert Pattern(pattern).beginning == beginning


@given(st.text())
def test_an_escaped_text_matches_itself_alone(text: str) -> None:
    pattern = Pattern(escape(text))
    assert pattern.matches(text)
    assert pattern.beginning == text
    assert not pattern.matches(text + "x")


@given(st.text(alphabet="ab*?[]^-\\\n."), st.text(alphabet="ab*?[]^-\\\n."))
def test_any_text_is_a_pattern(pattern: str, text: str) -> None:
    matched = Pattern(pattern).matches(text)
    assert not matched or text.startswith(Pattern(pattern).beginning)


def test_a_pattern_is_compiled_whole() -> None:
    """``.`` and ``$`` of regular expressions mean themselves."""
    assert not Pattern("a$").matches("a")
