"""``flask cloudcached``: the one command line, on a cache of the app."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_caching import Cache

from cloudcached.cli import command_line

Made = Callable[..., tuple[Flask, Cache]]


def run(app: Flask, *arguments: str) -> Any:
    return app.test_cli_runner().invoke(args=["cloudcached", *arguments])


def test_it_reads_what_the_app_has_signed(make_app: Made) -> None:
    app, cache = make_app(CACHE_KEY_PREFIX="site:")
    cache.set("greeting", ["signed"])
    assert run(app, "ls").output == "site:greeting\n"
    assert run(app, "get", "site:greeting").output == "['signed']\n"
    assert json.loads(run(app, "info", "--json", "site:greeting").output)["key_id"]


def test_the_app_reads_what_it_has_written(make_app: Made) -> None:
    app, cache = make_app()
    assert run(app, "put", "flask_cache_number", "42", "--type", "int").exit_code == 0
    assert cache.get("number") == 42


def test_an_app_with_two_caches(make_app: Made, any_url: str) -> None:
    app, cache = make_app()
    other = Cache(app, config={"CACHE_TYPE": "cloudcached_flask.S3Cache", "CACHE_S3_URL": f"{any_url}/other"})
    cache.set("a", 1)
    other.set("b", 2)
    assert run(app, "--cache", any_url, "ls").output == "flask_cache_a\n"
    assert run(app, "--cache", f"{any_url}/other", "ls").output == "flask_cache_b\n"
    result = run(app, "ls")
    assert result.exit_code == 2
    assert f"--cache takes one of {any_url}, {any_url}/other" in result.output


def test_exit_codes_are_those_of_the_verbs(make_app: Made) -> None:
    app, _ = make_app()
    codes = [run(app, *arguments).exit_code for arguments in (["get", "missing"], ["get"], [], ["ls"], ["rm", "a"])]
    assert codes == [1, 2, 2, 0, 1]


def test_help_names_every_verb(make_app: Made) -> None:
    app, _ = make_app()
    told = run(app, "--help").output
    lines = told.splitlines()
    assert [name for name in command_line.commands if not any(line.startswith(f"  {name} ") for line in lines)] == []
    assert "--cache URL" in told
    assert "cloudcached COMMAND --help' describes each command" in told
    assert "cloudcached get [OPTIONS] KEY\n" in run(app, "get", "--help").output


def test_a_command_of_the_apps_own_stays(any_url: str) -> None:
    app = Flask(__name__)
    app.cli.command("cloudcached")(lambda: print("mine"))
    app.config.update(SECRET_KEY="s", CACHE_TYPE="cloudcached_flask.S3Cache", CACHE_S3_URL=any_url)
    Cache(app)
    assert run(app).output == "mine\n"


def test_flask_itself(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "from flask import Flask\nfrom flask_caching import Cache\napp = Flask(__name__)\n"
        "app.config.update(SECRET_KEY='s', CACHE_TYPE='cloudcached_flask.S3Cache', CACHE_S3_URL='memory://flask')\n"
        "Cache(app).set('a', 1)\n"
    )

    def flask(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "flask", "--app", "app", "cloudcached", *arguments]
        return subprocess.run(command, cwd=tmp_path, env={**os.environ}, capture_output=True, text=True, check=False)

    assert flask("get", "flask_cache_a").stdout == "1\n"
    missing = flask("get", "b")
    assert (missing.returncode, missing.stderr) == (1, "Error: there is no live entry under 'b'\n")
    assert "flask cloudcached COMMAND --help' describes each command" in flask("--help").stdout


def test_a_missing_extra_is_one_line(make_app: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    app, _ = make_app()
    monkeypatch.setattr("cloudcached.__main__._missing", lambda: ["rich"])
    result = run(app, "ls")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "cloudcached: the command line needs rich: pip install 'cloudcached[cli]'\n"
    assert "the command line needs rich: pip install" in run(app, "--help").output
