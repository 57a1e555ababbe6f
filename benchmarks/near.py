"""The time of a hit in the near tier, compared with Django's locmem and diskcache, and the cost of a stale entry.

    python -m benchmarks.near [--rounds 300] [--quick] [--json FILE]

Hits need no server. With an S3 server in the environment (``AWS_ENDPOINT_URL`` and credentials) it also measures gets
that are answered from memory, from disk, by the store as unchanged (304), and by the store. All calls of a table are
interleaved, so that the machine's other work affects all of them alike.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import diskcache
import django
from django.conf import settings

from cloudcached import Client

from .common import BUCKET, rounded, s3_client, section, where

NEAR = {"max_bytes": 64 * 2**20, "max_age": 3600}
VALUES = {
    "str, 32 bytes": "x" * 32,
    "str, 100 KB": "page " * 20_000,
    "dict, 1 KB pickled": {f"field {number}": ["text", number, 1.5] for number in range(30)},
}
#: The number of calls that are timed together, so that reading the clock does not count.
BATCH = 200
ENTRIES = {"32 bytes": "x" * 32, "10 MB": os.urandom(10_000_000)}


def in_turns(calls: dict[str, Callable[[], object]], rounds: int, batch: int) -> dict[str, float]:
    """Return the median seconds of each call."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 3):
        for name, call in calls.items():
            began = time.perf_counter()
            for _ in range(batch):
                call()
            if number >= 3:  # noqa: PLR2004 - the first three are warm-up
                taken[name].append((time.perf_counter() - began) / batch)
    return {name: statistics.median(values) for name, values in taken.items()}


def hits(rounds: int) -> dict[str, dict[str, float]]:
    """Return the microseconds of a hit, by value and cache."""
    settings.configure(
        SECRET_KEY="benchmark" * 6,
        CACHES={
            "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
            "near": {
                "BACKEND": "cloudcached_django.S3Cache",
                "LOCATION": "memory://near",
                "OPTIONS": {"near": NEAR},
            },
        },
    )
    django.setup()
    from django.core.cache import caches  # noqa: PLC0415 - needs the settings

    client = Client("memory://", signing_key="benchmark", near=NEAR)
    locmem, near, loop = caches["default"], caches["near"], asyncio.new_event_loop()
    figures = {}
    with tempfile.TemporaryDirectory() as folder, diskcache.Cache(folder) as disk:

        async def awaited() -> None:
            for _ in range(BATCH):
                await client.aget("page")

        for name, value in VALUES.items():
            client.put("page", value, replace=True)
            for cache in (locmem, near, disk):
                cache.set("page", value, 3600)
            taken = in_turns(
                {
                    "`Client.get`": lambda: client.get("page"),
                    "Django `S3Cache.get`": lambda: near.get("page"),
                    "Django locmem `get`": lambda: locmem.get("page"),
                    "diskcache `get`": lambda: disk.get("page"),
                },
                rounds,
                BATCH,
            )
            taken["`await Client.aget`"] = (
                in_turns({"": lambda: loop.run_until_complete(awaited())}, rounds // 3, 1)[""] / BATCH
            )
            figures[name] = {cache: rounded(seconds * 1e6) for cache, seconds in taken.items()}
    loop.close()
    return figures


class Clock:
    """The machine's clock, set forward by as many seconds as a benchmark needs."""

    passed = 0.0
    sleep = staticmethod(time.sleep)

    def time(self) -> float:
        """Return epoch seconds."""
        return time.time() + self.passed

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic() + self.passed


def places(rounds: int) -> dict[str, dict[str, float]]:
    """Return the milliseconds of a ``get``, by entry and by where its answer comes from."""
    s3_client()
    url, clock = f"s3://{BUCKET}/near", Clock()
    memory, plain = Client(url, clock=clock, near=NEAR), Client(url)

    def unchanged() -> object:
        clock.passed += NEAR["max_age"]
        return memory.get("entry")

    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        disk = Client(url, near={**NEAR, "max_bytes": 0, "disk": folder})
        for name, value in ENTRIES.items():
            plain.put("entry", value, None, replace=True)
            disk.clear("nothing")  # removes nothing from the store, but empties the near tier
            memory.get("entry")
            while "near.disk_hits" not in disk.stats():  # the disk is opened in the background
                disk.get("entry")
            calls = {
                "memory": lambda: memory.get("entry"),
                "disk": lambda: disk.get("entry"),
                "the store, unchanged (304)": unchanged,
                "the store": lambda: plain.get("entry"),
            }
            taken = in_turns(calls, rounds, 1)
            figures[name] = {place: rounded(seconds * 1e3) for place, seconds in taken.items()}
        disk.close()
    return figures


def text(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    versions = figures["versions"]
    measured = (
        f"Medians of {figures['rounds']} interleaved rounds, {figures['machine']}, Django {versions['django']}, diskcache"
        f" {versions['diskcache']}, {figures['server']}, {figures['date']} (`make bench`):"
    )
    return "\n".join(
        [
            measured,
            "",
            *table("a hit by", figures["hits_us"], "{:.1f} us"),
            "",
            *table("a `get` answered by", figures.get("places_ms", {}), "{:.2f} ms"),
        ]
    ).rstrip()


def table(title: str, columns: dict[str, dict[str, float]], form: str) -> list[str]:
    """Return the lines of a table with a row for each name in the columns."""
    if not columns:
        return []
    rows = next(iter(columns.values()))
    return [
        f"| {title} | " + " | ".join(columns) + " |",
        "|---|" + "---|" * len(columns),
        *(f"| {row} | " + " | ".join(form.format(column[row]) for column in columns.values()) + " |" for row in rows),
    ]


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure everything, and return the figures."""
    rounds = 3 if arguments.quick else arguments.rounds
    figures = {**where(("django", "diskcache", "obstore")), "rounds": rounds, "hits_us": hits(rounds)}
    if "AWS_ENDPOINT_URL" in os.environ:
        figures["places_ms"] = places(min(rounds, 60))
    return figures


if __name__ == "__main__":
    section(run, __doc__, ("rounds", 300))
