"""A purge of 100,000 entries on a Ceph gateway, with writers that put expiring keys anew beside it.

    benchmarks/on-ceph .venv/bin/python -m benchmarks.purge
    benchmarks/on-ceph .venv/bin/python -m benchmarks.purge --entries 10000 --writes 1000

Half of the entries have expired. A part of these is put anew at the worst moment: as soon as the purge has seen that
they have expired. Every write that was answered is looked for afterwards. One that is not there was lost; the times of
its PUT and of the DELETE of its key tell whether the two were under way together, the instant that no condition covers
on Ceph.
"""

from __future__ import annotations

import argparse
import json
import queue
import threading
import time
import uuid
from typing import Any

import boto3

from cloudcached import Client
from cloudcached.config import Config
from cloudcached.maintenance.purge import Purge, Wanted

#: Seconds that the entries live which are to expire.
SHORT = 0.5
WRITERS = 8

Span = tuple[float, float]


def place_of(client: Client, key: str) -> str:
    """Return the name of a key's object."""
    return client._engine.place(key).object_key  # noqa: SLF001 - measured from inside


def fill(client: Client, entries: int) -> list[str]:
    """Write *entries*, of which every other one expires at once, and return the keys of these."""
    short = [f"page:{number}" for number in range(0, entries, 2)]
    client.put_many({f"page:{number}": f"live {number}" for number in range(1, entries, 2)}, None, replace=True)
    client.put_many({key: f"old {key}" for key in short}, SHORT, replace=True)
    time.sleep(SHORT + 3)
    return short


class Rivals:
    """Writers of some keys, each as soon as the purge has asked for it; they note when."""

    def __init__(self, client: Client, keys: list[str], purge: Purge) -> None:
        self._client = client
        self._keys = {place_of(client, key): key for key in keys}
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._write) for _ in range(WRITERS)]
        self._store: Any = purge._engine.store  # noqa: SLF001 - measured from inside
        self._head, self._delete = self._store.head, self._store.delete
        #: When the PUT of a key began and ended, and its DELETE, by the object's name.
        self.puts: dict[str, Span] = {}
        self.deletes: dict[str, Span] = {}

    def __enter__(self) -> Rivals:  # noqa: PYI034 - Self needs Python 3.11
        self._store.head, self._store.delete = self._watched_head, self._timed_delete
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _watched_head(self, object_key: str, **options: Any) -> Any:
        head = self._head(object_key, **options)
        if object_key in self._keys:
            self._queue.put(object_key)
        return head

    def _timed_delete(self, object_key: str, **options: Any) -> None:
        began = time.monotonic()
        try:
            self._delete(object_key, **options)
        finally:
            self.deletes[object_key] = (began, time.monotonic())

    def _write(self) -> None:
        while (name := self._queue.get()) is not None:
            began = time.monotonic()
            self._client.put(self._keys[name], "new", 3600, replace=True)
            self.puts[name] = (began, time.monotonic())


def overlap(one: Span, other: Span) -> bool:
    """Tell whether two spans have a moment in common."""
    return max(one[0], other[0]) < min(one[1], other[1])


def measure(url: str, entries: int, writes: int) -> dict[str, Any]:
    """Fill a cache, purge it beside its writers, and return the counts."""
    client = Client(url, timeout=30.0)
    began = time.monotonic()
    short = fill(client, entries)
    filled = time.monotonic() - began
    rivals_of = short[:: max(1, len(short) // writes)][:writes]
    purge = Purge(Config.parse(url, {"timeout": 30.0}), Wanted())
    began = time.monotonic()
    with Rivals(client, rivals_of, purge) as rivals:
        report = purge.run()
    seconds = time.monotonic() - began
    found = {key for key in rivals_of if client.get(key) == "new"}
    lost = [name for key in rivals_of if key not in found and (name := place_of(client, key)) in rivals.puts]
    together = [name for name in lost if name in rivals.deletes and overlap(rivals.puts[name], rivals.deletes[name])]
    raced = [name for name in rivals.puts if name in rivals.deletes and rivals.puts[name][0] < rivals.deletes[name][1]]
    listed = set(client.keys())
    unlisted = [key for key in found if key not in listed]
    return {
        **report.as_dict(),
        "fill_s": round(filled),
        "purge_s": round(seconds),
        "live_and_listed": len(listed),
        "live_and_not_listed": len(unlisted),
        "should_be_live": entries - len(short) + len(rivals.puts) - len(lost),
        "writes": len(rivals.puts),
        "writes_begun_before_the_end_of_their_delete": len(raced),
        "lost": len(lost),
        "lost_in_the_instant_of_their_delete": len(together),
    }


def main() -> None:
    """Run once, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--writes", type=int, default=5_000, help="of expired keys, beside the purge")
    arguments = parser.parse_args()
    bucket = f"purge-{uuid.uuid4().hex[:12]}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    figures = measure(f"s3://{bucket}/cache", arguments.entries, arguments.writes)
    print(json.dumps(figures, indent=2))
    if figures["lost"] != figures["lost_in_the_instant_of_their_delete"] or figures["failed"]:
        raise SystemExit("writes were lost outside of the instant of their removal, or entries failed")
    if figures["live_and_listed"] + figures["live_and_not_listed"] != figures["should_be_live"]:
        raise SystemExit("other entries are left than should be")


if __name__ == "__main__":
    main()
