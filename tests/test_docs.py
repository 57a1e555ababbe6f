"""What the README and the pages name is there; tests/test_docs_blocks.py runs what they show."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    missing = [target for target in targets if "://" not in target and not (path.parent / target).exists()]
    assert not missing


def test_the_readme_shows_every_option() -> None:
    from cloudcached.config import OPTIONS

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in OPTIONS if f"| `{name}` |" not in text] == []


def test_the_readme_names_tests_that_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+\.py)`", text))
    assert named
    assert {name for name in named if not (ROOT / "tests" / name).exists()} == set()


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 250


def test_the_first_example_of_the_readme_runs() -> None:
    import doctest

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    example = text.partition("```python\n")[2].partition("```")[0]
    test = doctest.DocTestParser().get_doctest(example, {}, "README", "README.md", 0)
    result = doctest.DocTestRunner().run(test)
    assert result.attempted >= 5
    assert result.failed == 0


def test_the_faq_has_the_figures_that_were_measured() -> None:
    from benchmarks.answers import answer

    text = (ROOT / "docs" / "faq.md").read_text(encoding="utf-8")
    assert f"<!-- figures: begin (make bench) -->\n{answer()}\n<!-- figures: end -->" in text
