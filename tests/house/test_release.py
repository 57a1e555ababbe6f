"""A release is what its tag says, and no action runs at a version that nobody has read, but for one."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import cloudcached

pytestmark = pytest.mark.checkout

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give the files that a release is checked by, as they are on its day."""
    for name in (".ci/release-check", "pyproject.toml", "cloudcached/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## [{cloudcached.__version__}] - 2026-12-24\n")
    return tmp_path


def check(tree: Path, tag: str) -> tuple[int, str]:
    ran = subprocess.run([tree / ".ci" / "release-check", tag], capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout


def test_a_tag_of_this_version_is_released(tree: Path) -> None:
    assert check(tree, f"v{cloudcached.__version__}") == (0, f"releasing {cloudcached.__version__}\n")


@pytest.mark.parametrize("tag", ["v99.0.0", cloudcached.__version__, f"v{cloudcached.__version__}rc1"])
def test_another_tag_is_refused(tree: Path, tag: str) -> None:
    code, told = check(tree, tag)
    assert code == 1
    assert told.startswith(f"the tag is {tag}, and pyproject.toml says")


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("CHANGELOG.md", "2026-12-24", "unreleased"),
        ("CHANGELOG.md", cloudcached.__version__, "0.0.1"),
        ("cloudcached/__init__.py", f'__version__ = "{cloudcached.__version__}"', '__version__ = "0.0.1"'),
    ],
)
def test_what_does_not_agree_is_refused(tree: Path, name: str, before: str, after: str) -> None:
    text = (tree / name).read_text()
    assert before in text
    (tree / name).write_text(text.replace(before, after))
    assert check(tree, f"v{cloudcached.__version__}")[0] == 1


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_calls_what_there_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    uses = re.findall(r"uses: (.+)", text)
    assert uses
    unpinned = [use for use in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use)]
    assert set(unpinned) <= {"pypa/gh-action-pypi-publish@release/v1"}  # the workflow says why
    assert [name for name in re.findall(r"run: (\.ci/[\w-]+)", text) if not (ROOT / name).exists()] == []


#: Reasons to skip a test that say nothing of a server.
OTHER_REASONS = {
    "peaks of memory are told by Linux",
    "needs fork",
    "there is no bash",
    "the session's async methods came with Django 5.1",
    "botocore signs by awscrt where that is installed, which refuses an empty region",
    "this machine has no IPv6",
}


def reasons_to_skip() -> set[str]:
    """Return what ``pytest.skip`` and ``skipif`` say in the tests; not what is a failure on CI."""
    found = set()
    for path in (ROOT / "tests").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                said = [word.value for word in call.keywords if word.arg == "reason"]
                if call.func.attr in ("skip", "skipif"):
                    found |= {ast.literal_eval(text) for text in said or call.args[:1]}
    return found


def test_ci_notices_every_test_that_is_skipped_for_want_of_a_server() -> None:
    no_server = re.search(r"^no_server='([^']+)'", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
    assert no_server
    reasons = reasons_to_skip()
    assert {reason for reason in reasons if not re.search(no_server[1], reason)} == OTHER_REASONS
    assert len(reasons - OTHER_REASONS) >= 3
