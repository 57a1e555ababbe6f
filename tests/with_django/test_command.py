"""``manage.py cloudcached``: the one command line, on a cache of the settings."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import cache, caches
from django.core.management import call_command
from django.core.management.base import CommandError

import cloudcached
from cloudcached.cli import command_line

Run = Callable[..., str]


@pytest.fixture
def run(site: Any) -> Run:
    """Give what runs one command on the site's caches, and returns what it printed."""

    def run(*arguments: str, **options: Any) -> str:
        out = io.StringIO()
        call_command("cloudcached", *arguments, stdout=out, **options)
        return out.getvalue()

    return run


def test_it_reads_what_the_site_has_signed(run: Run) -> None:
    cache.set("greeting", ["signed"], 60)
    assert run("ls").split() == [":1:greeting"]
    assert run("get", ":1:greeting") == "['signed']\n"
    assert json.loads(run("info", ":1:greeting", "--json"))["type"] == "pickle"


def test_the_site_reads_what_it_has_written(run: Run) -> None:
    run("put", ":1:number", "42", "--type", "int")
    assert cache.get("number") == 42
    run("clear", "--yes")
    assert cache.get("number") is None


def test_another_alias(run: Run, site: Any, any_url: str) -> None:
    site.CACHES = {
        **site.CACHES,
        "pages": {
            "BACKEND": "cloudcached_django.S3Cache",
            "LOCATION": f"{any_url}/pages",
            "OPTIONS": {"signing_key": "another"},
        },
    }
    caches["pages"].set("page", {"a": 1})
    assert run("--cache", "pages", "get", ":1:page") == "{'a': 1}\n"
    assert run("ls", cache="pages") == ":1:page\n"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["get", "missing"], 1, "cloudcached get ended with exit code 1"),
        (["get"], 2, "cloudcached get ended with exit code 2"),
        (["--cache", "other", "ls"], 2, "there is no cache 'other' in CACHES, only default, local"),
        (
            ["--cache", "local", "ls"],
            2,
            "the cache 'local' is a LocMemCache; this command is for cloudcached_django.S3Cache",
        ),
    ],
)
def test_a_call_that_fails_raises(run: Run, site: Any, arguments: list[str], code: int, text: str) -> None:
    site.CACHES = {**site.CACHES, "local": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    with pytest.raises(CommandError, match=text) as caught:
        run(*arguments)
    assert caught.value.returncode == code


MANAGE = (
    "import sys; from django.core.management import execute_from_command_line as run; run(['manage.py', *sys.argv[1:]])"
)


def manage(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """Run manage.py in a process of its own."""
    paths = os.pathsep.join(filter(None, sys.path))
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "with_django.site_settings", "PYTHONPATH": paths}
    command = [sys.executable, "-W", "error", "-c", f"{before}\n{MANAGE}", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_help_names_every_verb() -> None:
    told = manage("help", "cloudcached")
    assert (told.returncode, told.stderr) == (0, "")
    lines = told.stdout.splitlines()
    assert [name for name in command_line.commands if not any(line.startswith(f"  {name} ") for line in lines)] == []
    assert "--cache ALIAS" in told.stdout
    assert "'manage.py cloudcached COMMAND --help' describes each command" in told.stdout


def test_help_of_a_verb_asks_for_no_url() -> None:
    told = manage("cloudcached", "get", "--help")
    assert told.returncode == 0
    assert told.stdout.startswith("Usage: manage.py cloudcached get [OPTIONS] KEY\n")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["get", "missing"], 1), (["get"], 2), (["--cache", "other", "ls"], 2), (["ls"], 0), ([], 2)],
)
def test_exit_codes_are_those_of_the_verbs(arguments: list[str], code: int) -> None:
    assert manage("cloudcached", *arguments).returncode == code


def test_a_missing_extra_is_one_line() -> None:
    missing = (
        "import importlib.util as util; found = util.find_spec\n"
        "util.find_spec = lambda name, *_: None if name == 'click' else found(name)"
    )
    ran = manage("cloudcached", "ls", before=missing)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "cloudcached: the command line needs click: pip install 'cloudcached[cli]'\n"
    told = manage("help", "cloudcached", before=missing)
    assert told.returncode == 0
    assert "the command line needs click: pip install 'cloudcached[cli]'" in told.stdout


def test_the_command_hides_no_module() -> None:
    assert cloudcached.__name__ == "cloudcached"
