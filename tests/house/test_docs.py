"""Everything that the README and the pages name exists; tests/house/test_docs_blocks.py runs what they show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from docs_blocks import blocks_of
from moto import mock_aws
from moto.core import set_initial_no_auth_action_count

ROOT = Path(__file__).parents[2]


TOP_PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")


@pytest.mark.parametrize("page", [*TOP_PAGES, *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    missing = [target for target in targets if "://" not in target and not (path.parent / target).exists()]
    assert not missing


def test_the_readme_shows_every_option() -> None:
    from cloudcached.config import OPTIONS

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in OPTIONS if f"| `{name}` |" not in text] == []


def section(page: str, title: str) -> list[str]:
    """Return the lines of a page below one of its headings."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0].splitlines()


def test_the_page_on_outages_says_what_each_verb_answers() -> None:
    from every_verb import VERBS

    rows = [line for line in section("docs/outages.md", "fail_silently") if line.startswith("| ")]
    told = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert {name.split()[0] for name in VERBS} - {"aget"} - told == set()


@pytest.mark.parametrize("page", ["README.md", "docs/promises.md", "docs/contributing.md", "docs/files.md"])
def test_a_page_names_tests_that_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = {name.removeprefix("tests/") for name in re.findall(r"`([\w/]*test_\w+\.py)[:`]", text)}
    assert named
    assert {name for name in named if not (ROOT / "tests" / name).exists()} == set()


def promises() -> dict[str, list[tuple[str, bool]]]:
    """Return the tests that each row of the table of promises names, and whether each asks no server."""
    lines = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8").splitlines()
    rows = [line.strip("| ").split(" | ", 1) for line in lines if line.startswith("| ")][1:]
    named = re.compile(r"`([\w/]*test_\w+\.py(?:::\w+)+)`( \*bytes alone\*)?")
    return {row[0]: [(name, bool(mark)) for name, mark in named.findall(row[1])] for row in rows}


def collected_for_a_real_server(names: set[str]) -> list[str]:
    """Return the tests that pytest finds by these names when the real server is the only one."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *sorted(names)],
        # Nothing is asked of it, only collected.
        env={**os.environ, "CLOUDCACHED_TEST_SERVERS": "real", "CLOUDCACHED_TEST_ENDPOINT": "http://127.0.0.1:9"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return [line for line in run.stdout.splitlines() if "::" in line]


@pytest.mark.slow
def test_each_promise_names_tests_that_run_on_a_real_server() -> None:
    """All tests of a named class do, except those of which the row says that they ask none."""
    rows = promises()
    assert len(rows) > 10
    assert [row for row, tests in rows.items() if all(asks_none for _, asks_none in tests)] == []
    tests = {f"tests/{name}": asks_none for row in rows.values() for name, asks_none in row}
    found = collected_for_a_real_server(set(tests))
    for name, asks_none in tests.items():
        own = [line for line in found if re.match(rf"{re.escape(name)}(::|\[|$)", line)]
        real = {line.partition("[")[0] for line in own if re.search(r"[\[-]real[\]-]", line)}
        assert real == (set() if asks_none else {line.partition("[")[0] for line in own}), name


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


@set_initial_no_auth_action_count(4)
def test_the_policy_of_the_checklist_is_enough_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    from cloudcached import AccessDenied, Client

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "of nobody")
    shown = next(block.code for block in blocks_of(ROOT / "docs" / "production.md") if "s3:GetObject" in block.code)
    policy = shown.partition("\n")[2]
    with mock_aws():
        session = boto3.Session(region_name="us-east-1")
        session.client("s3").create_bucket(Bucket="my-bucket")
        iam = session.client("iam")
        iam.create_user(UserName="site")
        iam.put_user_policy(UserName="site", PolicyName="cache", PolicyDocument=policy)
        key = iam.create_access_key(UserName="site")["AccessKey"]
        s3 = {
            "aws_access_key_id": key["AccessKeyId"],
            "aws_secret_access_key": key["SecretAccessKey"],
            "region_name": "us-east-1",
        }
        # Only what comes after the four requests above needs a right.
        cache = Client("s3://my-bucket/prod", s3=s3)
        assert cache.get("a") is None
        # DeleteObjects needs the same right as DELETE; moto asks the bucket's own policy alone for it.
        assert cache.put_many({"a": 1, "b": 1}) == {"a": True, "b": True}
        assert (cache.touch("a"), cache.incr("a"), cache.delete("a")) == (True, 2, True)
        with cache.lock("job"):
            assert list(cache.keys()) == ["b"]
        with pytest.raises(AccessDenied):
            Client("s3://my-bucket/staging", s3=s3).put("a", 1)
