"""Machines whose processes share a near tier on disk."""

from __future__ import annotations

import gc
import sqlite3
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from cloudcached import Client
from cloudcached.testing import FakeClock

#: For tests with disks: diskcache has a connection for each thread, and no way to close those of others.
unclosed = pytest.mark.filterwarnings("ignore:unclosed database", "ignore::pytest.PytestUnraisableExceptionWarning")


def ready(client: Client) -> Client:
    """Return *client* when its disk is open."""
    end = time.monotonic() + 20
    while not client.reader._copies._disk.ready():
        assert time.monotonic() < end
        time.sleep(0.001)
    return client


class Machine:
    """One machine; a context manager. Its store is memory, which stands for a bucket; its disk may be slow."""

    def __init__(self, path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cloudcached.near.disk._SCHEMES", ("s3", "memory"))
        for name in ("PATIENCE", "TURN_PATIENCE"):
            monkeypatch.setattr(f"cloudcached.near.raw_disk.{name}", 20)
        self.url = f"memory://{uuid.uuid4().hex}"
        self.near: dict[str, Any] = {"max_bytes": 2**20, "max_age": 60, "disk": str(path)}
        self._clock = clock
        self._clients: list[Client] = []

    def process(self, below: str = "", **options: Any) -> Client:
        """Return the client of another process of this machine."""
        client = Client(self.url + below, clock=self._clock, **{"near": self.near, "signing_key": "a", **options})
        self._clients.append(ready(client))
        return client

    def elsewhere(self) -> Client:
        """Return a client on another machine, without a near tier."""
        return Client(self.url, clock=self._clock, signing_key="a")

    def __enter__(self) -> Machine:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.reader._copies._disk._slot().cache.close()
        self._clients.clear()
        gc.collect()


def rows(near: dict[str, Any]) -> list[Any]:
    """Return the rows of the only cache on the disk: key, mode, file name, value."""
    (path,) = Path(near["disk"]).glob("*/cache.db")
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT key, mode, filename, value FROM Cache ORDER BY key").fetchall()
    connection.close()
    return found


def change(near: dict[str, Any], statement: str, *values: object) -> None:
    """Change a row behind everybody's back."""
    (path,) = Path(near["disk"]).glob("*/cache.db")
    with sqlite3.connect(path) as connection:
        assert connection.execute(statement, values).rowcount
    connection.close()
