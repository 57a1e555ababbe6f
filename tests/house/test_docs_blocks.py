"""Every code block of the documentation is run, but for those that say why they cannot be."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from docs_blocks import blocks_of, fences

DOCS = Path(__file__).parents[2] / "docs"
FILES = [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))]
PAGES = [pytest.param(path, id=path.name) for path in FILES]
#: How many blocks of each page are only looked at: what a page does not run is said here too.
NOT_RUN = {
    "README.md": 2,
    "benchmarks.md": 3,
    "cli.md": 2,
    "contributing.md": 2,
    "doctor.md": 4,
    "from-django-redis.md": 1,
    "from-flask-caching.md": 1,
    "monitoring.md": 2,
    "production.md": 2,
    "start-django.md": 1,
    "start-flask.md": 1,
    "start-python.md": 1,
    "testing.md": 2,
}

BUCKET = re.compile(r"s3://(?!no-such)([a-z0-9][a-z0-9.-]+[a-z0-9])")
SETTINGS = '```python title="settings.py"\n{}\n```\n'
INSTALLED = SETTINGS.format("INSTALLED_APPS = [..., 'cloudcached_django']")

pytestmark = pytest.mark.checkout


@pytest.fixture
def aws(servers: Callable[[str], Any]) -> Any:
    """Give a mock of AWS with empty buckets: those that a page names are made, but for ``no-such...``."""
    server = servers("moto")
    s3 = server.client()
    for bucket in s3.list_buckets()["Buckets"]:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket["Name"]):
            for entry in page.get("Contents", []):
                s3.delete_object(Bucket=bucket["Name"], Key=entry["Key"])
    return server


@pytest.mark.slow
@pytest.mark.parametrize("path", PAGES)
def test_blocks_do_what_the_page_says(path: Path, aws: Any, tmp_path: Path) -> None:
    for bucket in {"docs", *BUCKET.findall("".join(block.code for block in blocks_of(path)))}:
        aws.client().create_bucket(Bucket=bucket)
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    run = subprocess.run(
        [sys.executable, "-W", "error", Path(__file__).parents[1] / "support" / "docs_page.py", path],
        env={**environment, **aws.env, "PYTHONPATH": str(DOCS.parent)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    failed = [json.loads(line) for line in run.stdout.splitlines() if line.startswith('{"place"')]
    assert not failed, "\n\n".join(f"{block['place']}: {block['error']}" for block in failed)


@pytest.mark.parametrize("path", PAGES)
def test_no_block_is_overlooked(path: Path) -> None:
    assert fences(path) == 2 * sum(block.language != "hidden" for block in blocks_of(path))


def test_what_is_not_run_is_counted() -> None:
    blocks = [block for path in FILES for block in blocks_of(path)]
    assert Counter(block.page for block in blocks if block.reason) == NOT_RUN
    assert all(len(block.reason) > 10 for block in blocks if block.reason), "a reason says something"
    assert sum(block.language != "hidden" and not block.reason for block in blocks) > 20


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("```python\n>>> 1 + 1\n3\n```\n", "Failed example"),
        ("```python\nimport nothing_there\n```\n", "nothing_there"),
        ("```console\n$ cloudcached cost --json\n{}\n```\n", "prints"),
        ("```console\n$ cloudcached ls\n```\n", "ends with 2"),
        ("```sh\nls\n```\n", "say why"),
        ("<!-- not run: it is wrong anyhow -->\n```python\n1 +\n```\n", "SyntaxError"),
        ("<!-- not run: it is wrong anyhow -->\n```console\n$ cloudcached put --nothing\n```\n", "NoSuchOption"),
        ('```json\n{"Statement": [{"Effect": "Allow"}]}\n```\n', "MalformedPolicy"),
        (INSTALLED + SETTINGS.format("CACHES = {'default': {'BACKEND': 'cloudcached_django.S3Cache'}}"), "E001"),
        ("<!-- test\nassert 1 == 2\n-->\n", "AssertionError"),
        ("```text\ncache = open()\n```\n", "this is Python"),
        ("```\nanything\n```\n", "no language"),
    ],
)
def test_a_wrong_block_is_found(text: str, told: str, aws: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    with pytest.raises(AssertionError, match=re.escape(told)):
        test_blocks_do_what_the_page_says(page, aws, tmp_path)
