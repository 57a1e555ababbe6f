"""The commands that need no cache: a local S3 server, and completion."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points

import pytest
from click.testing import CliRunner

from cloudcached import Client
from cloudcached.__main__ import main
from cloudcached.cli import command_line
from cloudcached.testing import server

PRINTED = re.compile(r"export (\w+)=(\S+)\n")


@contextmanager
def serving(*options: str) -> Iterator[tuple[dict[str, str], subprocess.Popen[str]]]:
    """Run ``cloudcached serve``; yield the environment that it printed, and its process."""
    command = [sys.executable, "-W", "ignore", "-m", "cloudcached", "serve", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            lines = [process.stdout.readline() for _ in range(5)]
            yield dict(PRINTED.fullmatch(line).groups() for line in lines), process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_serves_until_it_is_interrupted(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with server.listen() as busy:
        port = busy.getsockname()[1]
        with serving("--port", str(port), "--bucket", "mine") as (env, process):
            assert int(env["AWS_ENDPOINT_URL"].rpartition(":")[2]) > port
            for name, value in env.items():
                monkeypatch.setenv(name, value)
            with Client(env["CLOUDCACHED_URL"]) as client:
                assert client.put("key", "value")
                assert client.get("key") == "value"
            assert client.url == "s3://mine"
            process.send_signal(number)
            assert process.wait(30) == 0
            assert process.stderr.read() == f"Serving S3 at {env['AWS_ENDPOINT_URL']}; press Ctrl-C to stop.\n"


def test_serve_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "find_spec", lambda name: None if name == "moto" else name)
    result = CliRunner().invoke(command_line, ["serve"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "Error: the local S3 server needs moto: pip install 'cloudcached[testing]'\n"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--port", "0"], "Invalid value for '--port'"),
        (["--bucket", "X"], "the local S3 server refused to make a bucket 'X': HTTP 400"),
    ],
)
def test_serve_says_what_is_wrong(options: list[str], text: str) -> None:
    result = CliRunner().invoke(command_line, ["serve", *options])
    assert (result.exit_code, result.stdout) == (2, "")
    assert text in result.stderr


def test_no_port_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with server.listen() as busy:
        monkeypatch.setattr(server, "_PORTS", 1)
        result = CliRunner().invoke(command_line, ["serve", "--port", str(busy.getsockname()[1])])
    assert result.exit_code == 2
    assert "is free; choose another one" in result.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_each_shell(shell: str) -> None:
    result = CliRunner().invoke(command_line, ["completion", shell])
    assert result.exit_code == 0
    assert f"_CLOUDCACHED_COMPLETE={shell}_complete" in result.stdout


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("cloudcached st", ["stats"]),
        ("cloudcached put s3://bucket/prefix --ty", ["--type"]),
        ("cloudcached put --type js", ["json"]),
    ],
)
def test_what_is_offered(words: str, offered: list[str]) -> None:
    last = str(len(words.split()) - 1)
    env = {**os.environ, "COMP_WORDS": words, "COMP_CWORD": last, "_CLOUDCACHED_COMPLETE": "bash_complete"}
    run = subprocess.run(
        [sys.executable, "-c", "from cloudcached.__main__ import main; main()"],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == [f"plain,{word}" for word in offered]


def test_the_command_is_installed() -> None:
    (command,) = entry_points(group="console_scripts", name="cloudcached")
    assert command.load() is main


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_takes_the_script() -> None:
    script = CliRunner().invoke(command_line, ["completion", "bash"]).stdout
    run = subprocess.run(
        ["bash", "-c", f"{script}\ncomplete -p cloudcached"], capture_output=True, text=True, check=True
    )
    assert "_cloudcached_completion cloudcached" in run.stdout
