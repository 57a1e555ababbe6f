"""The command ``cloudcached purge``: what it prints, its exit codes, and that it says how far it came."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from click.testing import CliRunner

from cloudcached import Client, PreconditionFailed, StoreRefused
from cloudcached.cli import command_line
from cloudcached.maintenance.purge import GRACE, Counts, Purge, Report


@pytest.fixture
def url() -> str:
    return f"memory://{uuid.uuid4().hex}"


def invoke(*arguments: str, **options: Any) -> Any:
    return CliRunner().invoke(command_line, arguments, prog_name="cloudcached", **options)


@contextmanager
def expired(url: str) -> Iterator[Client]:
    client = Client(url)
    client.put_many({"a": "v", "b": "v"}, 0.001)
    client.put_many({"n": 1}, 0.001)
    client.put("live", "v")
    time.sleep(0.002)
    yield client


def test_the_command_asks_and_counts(url: str) -> None:
    with expired(url) as client:
        refused = invoke("purge", url, input="n\n")
        assert (refused.exit_code, len(list(client.keys()))) == (1, 4)
        dry = invoke("purge", url, "--dry-run")
        assert (dry.exit_code, len(list(client.keys()))) == (0, 4)
        assert "expired   3\n" in dry.stdout
        done = invoke("purge", url, "--yes", "--json")
        assert json.loads(done.stdout) == {
            "listed": 4,
            "expired": 3,
            "kept": 1,
            "refused": 0,
            "removed": 2,
            "spared": 0,
            "failed": 0,
            "requests": 7,
            "by": "if-match",
            "stopped": "",
            "resume": "",
            "error": None,
        }
        assert invoke("purge", url, "--yes", "--all").exit_code == 0
        assert set(client.keys()) == {"live"}


def test_the_command_tells_where_to_go_on(url: str) -> None:
    with expired(url):
        limited = invoke("purge", url, "--yes", "--max-requests", "3")
        assert limited.exit_code == 0
        assert "the request limit is reached; continue with --resume " in limited.stderr
        resume = limited.stderr.rpartition(" ")[2].strip()
        assert invoke("purge", url, "--yes", "--resume", resume).exit_code == 0


def test_a_run_goes_on_at_a_name_only(url: str) -> None:
    result = invoke("purge", url, "--yes", "--resume", "Error: interrupted")
    assert result.exit_code == 2
    assert "cannot resume at" in result.stderr


def test_an_interrupted_command_tells_where_to_go_on(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Purge.run

    def interrupted(self: Purge, progress: Any) -> Report:
        def stop(part: float, counts: Counts) -> None:
            raise KeyboardInterrupt

        return run(self, stop)

    monkeypatch.setattr(Purge, "run", interrupted)
    with expired(url):
        result = invoke("purge", url, "--yes")
    assert result.exit_code == 130
    assert "listed" in result.stdout
    assert result.stderr.startswith("Error: interrupted; continue with --resume ")


def test_the_command_fails_where_entries_fail(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Any, object_key: str, **_: Any) -> None:
        raise PreconditionFailed("no") if object_key.endswith("/a") else StoreRefused("no such right")

    monkeypatch.setattr("cloudcached.stores.memory.MemoryStore.delete", refuse)
    with expired(url):
        result = invoke("purge", url, "--yes")
    assert result.exit_code == 3
    assert result.stderr == "Error: 1 entries failed; the first error: no such right\n"
    assert "spared    1\n" in result.stdout


def test_the_command_advises_lifecycle_rules_where_removals_race(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudcached.maintenance.purge.removal_of", lambda *_: (GRACE, 0))
    with expired(url):
        result = invoke("purge", url, "--yes", "--grace", "0")
    assert result.exit_code == 0
    assert "lifecycle plan" in result.stderr
