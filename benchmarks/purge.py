"""A purge of 100,000 entries on a Ceph gateway, with concurrent writers that rewrite expired keys.

    benchmarks/on-ceph .venv/bin/python -m benchmarks.purge
    benchmarks/on-ceph .venv/bin/python -m benchmarks.purge --entries 10000 --writes 1000

Half of the entries have expired. Some of these are rewritten at any moment, in random order. As many are rewritten at
the worst moment: as soon as the purge has seen that they have expired, so that PUT and DELETE of a key are sent at the
same time. Afterwards every write that was confirmed is looked up. If it is gone, it was lost; the times of its PUT and
of the DELETE of its key show whether the two requests overlapped, the one case that no condition covers on Ceph.

With --plain, for comparison, the DELETEs have no condition.
"""

from __future__ import annotations

import argparse
import json
import queue
import random
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import boto3

from cloudcached import Client
from cloudcached.config import Config
from cloudcached.maintenance import purge as module
from cloudcached.maintenance.purge import GRACE, Purge, Wanted
from cloudcached.stores.port import ALWAYS, Head, Store, WhenRemoved
from cloudcached.stores.wrapper import Wrapper

#: Lifetime in seconds of the entries that expire.
SHORT = 0.5
WRITERS = 8
#: Seconds between two of the writes at any moment.
PACE = 0.05

Span = tuple[float, float]


def place_of(client: Client, key: str) -> str:
    """Return the name of a key's object."""
    return client.engine.place(key).object_key


def fill(client: Client, entries: int) -> list[str]:
    """Write *entries*, every other of which expires soon; wait for that, and return the expired keys."""
    short = [f"page:{number}" for number in range(0, entries, 2)]
    client.put_many({f"page:{number}": f"live {number}" for number in range(1, entries, 2)}, None, replace=True)
    client.put_many({key: f"old {key}" for key in short}, SHORT, replace=True)
    time.sleep(SHORT + 3)
    return short


class Rivals:
    """Writers of some keys as soon as the purge has looked at them, and of others at any moment; they record when."""

    def __init__(self, client: Client, worst: list[str], any_time: list[str], purge: Purge) -> None:
        self._client = client
        self._keys = {place_of(client, key): key for key in worst}
        self._others = {place_of(client, key): key for key in any_time}
        self._ended = threading.Event()
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._write) for _ in range(WRITERS)]
        self._wanderer = threading.Thread(target=self._wander)
        purge._engine.wrap_store(lambda store: _Watched(store, self))  # noqa: SLF001 - measured from inside
        #: When the PUT, and the DELETE, of a key began and ended, by the object's name.
        self.puts: dict[str, Span] = {}
        self.deletes: dict[str, Span] = {}

    def __enter__(self) -> Rivals:  # noqa: PYI034 - Self needs Python 3.11
        for thread in (self._wanderer, *self._threads):
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for _ in self._threads:
            self._queue.put(None)
        for thread in (self._wanderer, *self._threads):
            thread.join()

    def rewrite(self, object_key: str) -> None:
        """Have a key rewritten now, if it is one of those for the worst moment."""
        if object_key in self._keys:
            self._queue.put(object_key)

    def _write(self) -> None:
        while (name := self._queue.get()) is not None:
            self._put(name, self._keys[name])

    def _wander(self) -> None:
        names = list(self._others)
        random.shuffle(names)
        for name in names:
            if self._ended.wait(PACE):
                return
            self._put(name, self._others[name])

    def _put(self, name: str, key: str) -> None:
        began = time.monotonic()
        self._client.put(key, "new", 3600, replace=True)
        self.puts[name] = (began, time.monotonic())

    def outcome(self, client: Client, keys: list[str]) -> tuple[dict[str, int], list[str]]:
        """Return the counts of written and lost *keys*, and the objects that were lost."""
        written = [key for key in keys if place_of(client, key) in self.puts]
        found = client.get_many(written)
        lost = [place_of(client, key) for key in written if found.get(key) != "new"]
        spans = [(self.puts[name], self.deletes[name]) for name in lost if name in self.deletes]
        together = sum(overlap(put, delete) for put, delete in spans)
        return {"writes": len(written), "lost": len(lost), "lost_in_the_instant_of_their_delete": together}, lost


class _Watched(Wrapper):
    """The purge's store: it tells the rivals what the purge has looked at, and when it removed it."""

    def __init__(self, inner: Store, rivals: Rivals) -> None:
        super().__init__(inner)
        self._rivals = rivals

    def head(self, object_key: str, *, timeout: float) -> Head:
        head = super().head(object_key, timeout=timeout)
        self._rivals.rewrite(object_key)
        return head

    def delete(self, object_key: str, *, when: WhenRemoved = ALWAYS, timeout: float) -> None:
        began = time.monotonic()
        try:
            super().delete(object_key, when=when, timeout=timeout)
        finally:
            self._rivals.deletes[object_key] = (began, time.monotonic())


def overlap(one: Span, other: Span) -> bool:
    """Return whether two spans overlap."""
    return max(one[0], other[0]) < min(one[1], other[1])


def measure(url: str, entries: int, writes: int) -> dict[str, Any]:
    """Fill a cache, purge it while it is written, and return the counts."""
    client = Client(url, timeout=30.0)
    began = time.monotonic()
    short = fill(client, entries)
    filled = time.monotonic() - began
    rewritten = short[:: max(1, len(short) // writes)][:writes]
    worst, any_time = rewritten[::2], rewritten[1::2]
    purge = Purge(Config.parse(url, {"timeout": 30.0}), Wanted(grace=0.0))
    began = time.monotonic()
    with Rivals(client, worst, any_time, purge) as rivals:
        report = purge.run()
    seconds = time.monotonic() - began
    at_worst, lost = rivals.outcome(client, worst)
    at_any, lost_too = rivals.outcome(client, any_time)
    listed = set(client.keys())
    written = [key for key in rewritten if place_of(client, key) in rivals.puts]
    unlisted = [key for key in client.get_many(written) if key not in listed]
    return {
        **report.as_dict(),
        "fill_s": round(filled),
        "purge_s": round(seconds),
        "at_any_moment": at_any,
        "at_the_worst_moment": at_worst,
        "live_and_listed": len(listed),
        "live_and_not_listed": len(unlisted),
        "should_be_live": entries - len(short) + len(written) - len(lost) - len(lost_too),
    }


def faults(figures: dict[str, Any]) -> list[str]:
    """Return the failures of a run."""
    found = ["entries failed"] if figures["failed"] else []
    kinds = (figures["at_any_moment"], figures["at_the_worst_moment"])
    if any(writes["lost"] != writes["lost_in_the_instant_of_their_delete"] for writes in kinds):
        found.append("writes were lost that did not overlap with a removal")
    if figures["live_and_listed"] + figures["live_and_not_listed"] != figures["should_be_live"]:
        found.append("the number of entries that are left is wrong")
    return found


def main() -> None:
    """Run the benchmark once, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--writes", type=int, default=5_000, help="of expired keys, during the purge")
    parser.add_argument("--plain", action="store_true", help="remove without conditions")
    parser.add_argument("--json", type=Path, help="write the counts to this file too")
    arguments = parser.parse_args()
    if arguments.plain:
        module.removal_of = lambda *_: (GRACE, 0)
    bucket = f"purge-{uuid.uuid4().hex[:12]}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    figures = measure(f"s3://{bucket}/cache", arguments.entries, arguments.writes)
    text = json.dumps(figures, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(f"{text}\n", encoding="utf-8")
    found = faults(figures)
    if found and not arguments.plain:
        raise SystemExit("; ".join(found))


if __name__ == "__main__":
    main()
