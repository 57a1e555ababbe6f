"""What the documentation shows is what the commands print."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from cloudcached.cli import verbs

ROOT = Path(__file__).parent.parent
#: Commands that need nothing but this machine.
SHOWN = [
    pytest.param(command, output, id=f"{page.name}: {command}")
    for page in sorted((ROOT / "docs").glob("*.md"))
    for command, output in re.findall(
        r"```console\n\$ cloudcached ((?:cost|iam)[^\n]*)\n(.*?)```", page.read_text(), re.DOTALL
    )
]


@pytest.mark.parametrize(("command", "output"), SHOWN)
def test_a_page_shows_what_the_command_prints(command: str, output: str) -> None:
    assert CliRunner().invoke(verbs, shlex.split(command)).output == output


def test_pages_show_commands() -> None:
    """The pattern above finds what it is for."""
    assert len(SHOWN) >= 3


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
