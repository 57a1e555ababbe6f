"""The near tier on disk: what is not believed, and what happens when the disk fails."""

from __future__ import annotations

import os
import pickle
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from disks import Machine, change, ready, rows, unclosed
from store_doubles import CountingStore, wrap

from cloudcached import Client, ConfigError
from cloudcached.testing import FakeClock

diskcache = pytest.importorskip("diskcache")
pytestmark = unclosed

Open = Callable[..., Client]


@pytest.fixture
def machine(tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    with Machine(tmp_path / "near", clock, monkeypatch) as machine:
        yield machine


@pytest.fixture
def opened(machine: Machine) -> Open:
    """Give a function that opens a client, as another process of the machine would."""
    return machine.process


@pytest.fixture
def near(machine: Machine) -> dict[str, Any]:
    return machine.near


# What is not believed


@pytest.mark.parametrize("column", ["a body", "a header", "another key's"])
@pytest.mark.parametrize("size", [5, 100_000])
def test_what_was_tampered_with_is_asked_for(opened: Open, near: dict[str, Any], column: str, size: int):
    one, two = opened(compress_min_bytes=None), opened(compress_min_bytes=None)
    one.put_many({"k": "x" * size, "l": "y" * size})
    one.get_many(["k", "l"])
    found = {key: (filename, value) for key, _, filename, value in rows(near)}
    body_of_k, body_of_l = (next(key for key in found if key.startswith(f"{name}\n", 3)) for name in "kl")
    if column == "a header":
        header = (
            found[body_of_k.partition("\n")[0]][1]
            .replace(b"never", b"nemer")
            .replace(b'"cc-type": "str"', b'"cc-type": "pickle"')
        )
        change(near, "UPDATE Cache SET value = ? WHERE key = ?", header, body_of_k.partition("\n")[0])
    elif found[body_of_k][0] is not None:
        (folder,) = Path(near["disk"]).iterdir()
        data = (folder / found[body_of_l][0]).read_bytes()
        (folder / found[body_of_k][0]).write_bytes(data if column == "another key's" else data[:-1])
    else:
        value = found[body_of_l][1] if column == "another key's" else b"z" + found[body_of_k][1][1:]
        change(near, "UPDATE Cache SET value = ? WHERE key = ?", value, body_of_k)
    store = wrap(two, CountingStore)
    assert two.get("k") == "x" * size
    assert store.requests == ["GET"]
    assert two.stats()["near.disk_refused"] == 1
    assert opened(compress_min_bytes=None).get("k") == "x" * size
    assert store.requests == ["GET"]


class Evil:
    def __reduce__(self) -> Any:
        return (sys.modules[__name__].__dict__["executed"].append, (1,))


executed: list[int] = []


@pytest.mark.parametrize("where", ["header", "body", "key", "file", "elsewhere"])
def test_no_pickle_is_loaded_and_no_other_file_is_touched(
    opened: Open, near: dict[str, Any], where: str, tmp_path: Path
):
    one, two = opened(), opened()
    one.put("k", "value")
    one.get("k")
    header, body = [key for key, *_ in rows(near)]
    (folder,) = Path(near["disk"]).iterdir()
    outside = tmp_path / "outside"
    evil = pickle.dumps(Evil())
    outside.write_bytes(evil)
    pickled, binary = diskcache.core.MODE_PICKLE, diskcache.core.MODE_BINARY
    if where in ("header", "body"):
        name = header if where == "header" else body
        change(near, "UPDATE Cache SET mode = ?, value = ? WHERE key = ?", pickled, evil, name)
    elif where == "key":
        change(near, "UPDATE Cache SET key = ?, raw = 0 WHERE key = ?", evil, header)
    else:
        mode = pickled if where == "file" else binary
        change(near, "UPDATE Cache SET mode = ?, filename = ?, value = NULL WHERE key = ?", mode, str(outside), body)
    assert two.get("k") == "value"
    two.clear("x")
    two.delete("k")
    two.clear()
    assert two.get("k") is None
    assert executed == []
    assert outside.read_bytes() == evil
    assert folder.exists()


def test_the_disk_sees_no_plaintext(opened: Open, near: dict[str, Any]):
    client = opened(encryption_key="e" * 32, compress_min_bytes=None)
    client.put("k", "a secret text")
    assert client.get("k") == "a secret text"
    assert len(rows(near)) == 2
    for path in Path(near["disk"]).rglob("*"):
        assert path.is_dir() or b"secret text" not in path.read_bytes()


# When the disk fails


def test_a_disk_that_cannot_be_opened_is_done_without(
    machine: Machine, near: dict[str, Any], caplog: pytest.LogCaptureFixture
):
    Path(near["disk"]).write_text("a file")
    client = Client(machine.url, near=near)
    client.put("k", 1)
    end = time.monotonic() + 20
    while "near.disk_errors" not in client.stats():
        assert client.get("k") == 1
        client.reader.tier().forget(["k"])
        assert time.monotonic() < end
    assert client.get("k") == 1
    assert caplog.text.count("carrying on without it") == 1


def test_a_damaged_database_is_done_without(opened: Open, near: dict[str, Any], caplog: pytest.LogCaptureFixture):
    client = opened()
    client.put("k", 1)
    client.get("k")
    for path in Path(near["disk"]).glob("*/cache.db*"):
        path.write_bytes(b"no database" * 1000)
    client.reader._copies._disk._slot().cache.close()
    for _ in range(3):
        client.reader.tier().forget(["k"])
        assert client.get("k") == 1
        assert client.put("k", 1, replace=True) is True
    assert client.stats()["near.disk_errors"] >= 3
    assert caplog.text.count("carrying on without it") == 1


def test_one_who_holds_the_disk_holds_nobody_up(
    machine: Machine,
    near: dict[str, Any],
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("cloudcached.near.raw_disk.PATIENCE", 0.05)
    client = machine.process()
    client.put_many({"k": 1, "l": 2})
    client.get("k")
    (path,) = Path(near["disk"]).glob("*/cache.db")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    assert client.get("l") == 2  # cannot be kept
    assert client.put("k", 3, replace=True) is True  # cannot be dropped
    assert client.get("k") == 3
    with Client(machine.url, clock=clock, near=near, signing_key="a") as other:
        assert other.get("k") == 3  # cannot be opened
    assert time.monotonic() - began < 10
    connection.execute("ROLLBACK")
    connection.close()
    assert client.get("k") == 3
    assert client.stats()["near.disk_busy"] >= 2
    assert "carrying on without it" not in caplog.text


def test_threads_take_turns_to_write(opened: Open, near: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cloudcached.near.raw_disk.PATIENCE", 0.0)  # SQLite has nobody wait
    client = opened()
    keys = [f"{number}" for number in range(300)]
    client.put_many(dict.fromkeys(keys, "x"))
    assert len(client.get_many(keys)) == 300
    assert "near.disk_busy" not in client.stats()
    assert len(rows(near)) == 600


def test_a_turn_that_does_not_come_is_not_waited_for(opened: Open, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cloudcached.near.raw_disk.TURN_PATIENCE", 0.01)
    client = opened()
    client.put("k", 1)
    with client.reader._copies._disk._slot().cache.transact(), ThreadPoolExecutor(1) as other:
        assert other.submit(client.get, "k").result(20) == 1
    assert client.stats()["near.disk_busy"] == 1


def test_the_disk_takes_about_as_much_as_it_may(opened: Open, near: dict[str, Any]):
    client = opened(near={**near, "max_bytes": 0, "disk_max_bytes": 2_000_000}, compress_min_bytes=None)
    for number in range(100):
        client.put(f"{number}", os.urandom(100_000))
        client.get(f"{number}")
    taken = sum(path.stat().st_size for path in Path(near["disk"]).rglob("*.val"))
    assert 500_000 < taken < 2_000_000
    client.put("huge", b"x" * 1_500_000)
    assert len(client.get("huge")) == 1_500_000
    assert not any(key.startswith("huge\n", 3) for key, *_ in rows(near))


def test_a_child_opens_its_own(opened: Open):
    client = opened()
    client.put("k", 1)
    client.get("k")
    child = os.fork()
    if not child:
        code = 1
        try:
            fresh = client.reader._copies._disk._slot.peek() is None
            ready(client)
            store = wrap(client, CountingStore)
            code = 0 if fresh and client.get("k") == 1 and store.requests == [] else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# Options


def test_a_private_memory_has_no_disk(near: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="s3://"):
        Client("memory://", near=near)


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"disk": "relative/path"}, "absolute path"),
        ({"disk": 1}, "absolute path"),
        ({"disk": b"/bytes"}, "absolute path"),
        ({"disk_max_bytes": "1G"}, "number of bytes"),
    ],
    ids=str,
)
def test_options_that_are_refused(near: dict[str, Any], settings: dict[str, Any], advice: str):
    with pytest.raises(ConfigError, match=advice):
        Client("s3://bucket", near={**near, **settings})


def test_a_path_object_is_a_path(near: dict[str, Any]):
    one = Client("s3://bucket", near=near)
    assert one._config == Client("s3://bucket", near={**near, "disk": Path(near["disk"])})._config
    assert not Path(near["disk"]).exists()


def test_a_missing_extra_is_named(near: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "diskcache", None)
    monkeypatch.delitem(sys.modules, "cloudcached.near.raw_disk", raising=False)
    with pytest.raises(ConfigError, match=r"cloudcached\[disk\]"):
        Client("s3://bucket", near=near)
