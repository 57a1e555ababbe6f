"""The commands that remove entries: they ask, and say how far they came."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cloudcached import Client
from cloudcached.cli import command_line
from cloudcached.engine.listing import Listing
from cloudcached.stores.port import Write


@pytest.fixture
def url() -> str:
    return f"memory://{uuid.uuid4().hex}"


def run(url: str, verb: str, *arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(command_line, [verb, url, *arguments], **options)


def test_rm(url: str) -> None:
    Client(url).put_many({"a": 1, "b": 2})
    assert run(url, "rm", "--dry-run", "a", "b").exit_code == 0
    assert Client(url).get_many("ab") == {"a": 1, "b": 2}
    assert run(url, "rm", "a", "b", input="n\n").exit_code == 1
    assert run(url, "rm", "a", "b").exit_code == 1  # nobody answers
    assert Client(url).get_many("ab") == {"a": 1, "b": 2}
    result = run(url, "rm", "--yes", "--json", "a", "x", "b")
    assert (result.exit_code, json.loads(result.stdout)) == (1, {"a": True, "x": False, "b": True})
    assert Client(url).get_many("ab") == {}


def test_rm_asks(url: str) -> None:
    Client(url).put("a", 1)
    result = run(url, "rm", "a", "b\n", input="y\n")
    assert result.stderr.startswith(f"Remove 'a', 'b\\\\n' from {url}? [y/N]: ")
    assert Client(url).get("a") is None


def test_interrupted_rm_says_how_far_it_came(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Client(url).put_many({"a": 1, "b": 2, "c": 3})
    delete = Client.delete

    def interrupted(client: Client, key: str) -> bool:
        if key == "c":
            raise KeyboardInterrupt
        return delete(client, key)

    monkeypatch.setattr(Client, "delete", interrupted)
    result = run(url, "rm", "--yes", "--json", *"abc")
    assert (result.exit_code, result.stderr) == (130, "Error: interrupted: removed 2 of 3\n")
    assert json.loads(result.stdout) == {"a": True, "b": True}
    assert Client(url).get_many("abc") == {"c": 3}


@pytest.mark.parametrize("arguments", [["--yes"], ["--dry-run"]])
def test_interrupted_clear_says_how_far_it_came(
    url: str, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    client = Client(url)
    for number in range(6_000):
        client.engine.store.put(Write(client.engine.place(f"{number}").object_key, b"", {}), timeout=1)
    page, asked = Listing.page, []

    def interrupted(listing: Listing, *cursor: str) -> Any:
        asked.append(cursor)
        if len(asked) > 12:
            raise KeyboardInterrupt
        return page(listing, *cursor)

    with monkeypatch.context() as patched:
        patched.setattr(Listing, "page", interrupted)
        result = run(url, "clear", *arguments)
    left = len(list(client.keys()))
    assert (result.exit_code, result.stdout) == (130, "")
    if arguments == ["--yes"]:
        assert 0 < left < 6_000
        assert result.stderr == f"Error: interrupted: removed {6_000 - left}\n"
    else:
        assert left == 6_000
        assert result.stderr.startswith("Error: interrupted: counted ")


def test_clear(url: str) -> None:
    Client(url).put_many({"a1": 1, "a2": 2, "b": 3})
    assert run(url, "clear", "--dry-run", "--prefix", "a").stdout == "would remove 2\n"
    refused = run(url, "clear", input="n\n")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert run(url, "clear", input="").exit_code == 1
    assert len(list(Client(url).keys())) == 3
    assert run(url, "clear", "--prefix", "a", input="y\n").stdout == "removed 2\n"
    assert json.loads(run(url, "clear", "--yes", "--json").stdout) == {"removed": 1}
    assert list(Client(url).keys()) == []
