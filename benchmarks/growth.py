"""Measures whether a cache slows down as it grows, and the cost of clearing it.

    python -m benchmarks.growth [--entries 100000] [--quick] [--json FILE]

Caches of 1,000, 10,000, ... entries, each in its own bucket, are read and written in interleaved runs. Then the largest
is cleared through a proxy that counts the requests.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cloudcached import Client
from cloudcached.runtime.pool import WIDTH
from tests.support.fault_proxy import FaultProxy

from .common import (
    BUCKET,
    SEED,
    environment,
    make_bucket,
    markdown,
    rounded,
    s3_client,
    section,
    setup_of,
    timed,
    where,
)
from .compare import rate

VALUE = "x" * 32
REPEATS = 5
ENTRIES = 100_000


def steps(entries: int) -> list[int]:
    """Return the sizes of the caches: powers of ten from 1,000, and *entries*."""
    smaller = [10**power for power in range(3, 9) if 10**power < entries]
    return [*smaller, entries]


def filled(entries: int) -> tuple[Client, float]:
    """Fill a cache with so many entries; return it, and the seconds this took."""
    cache = Client(f"s3://{_bucket(entries)}/growth", signing_key="benchmark", timeout=60)
    pairs = {f"key-{number}": VALUE for number in range(entries)}
    return cache, timed(lambda: cache.put_many(pairs, None, replace=True))


def _bucket(entries: int) -> str:
    return f"{BUCKET}-{entries}"


def measured(caches: dict[int, Client], seconds: float, repeats: int) -> dict[str, Any]:
    """Return gets and puts a second of random entries, by size: medians of interleaved runs."""
    dice = random.Random(SEED)  # noqa: S311 - the same order in each run
    calls = {
        "get": lambda cache, key: cache.get(key) or _lost(key),
        "put": lambda cache, key: cache.put(key, VALUE, None, replace=True),
    }
    taken: dict[str, dict[int, list[float]]] = {verb: {size: [] for size in caches} for verb in calls}
    with ThreadPoolExecutor(WIDTH) as pool:
        for number in range(repeats):
            for size in list(caches)[:: -1 if number % 2 else 1]:
                for verb, call in calls.items():

                    def one(_: str, call: Any = call, size: int = size) -> object:
                        return call(caches[size], f"key-{dice.randrange(size)}")

                    taken[verb][size].append(rate(one, WIDTH, seconds, pool))
    return {
        verb: {str(size): rounded(statistics.median(values)) for size, values in row.items()}
        for verb, row in taken.items()
    }


def _lost(key: str) -> None:
    raise SystemExit(f"{key} is gone")


def cleared(entries: int) -> dict[str, Any]:
    """Clear a cache through a counting proxy; return the requests and the seconds."""
    with FaultProxy(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        cache = Client(
            f"s3://{_bucket(entries)}/growth", signing_key="benchmark", timeout=60, s3=environment(proxy.endpoint)
        )
        removed = []
        seconds = timed(lambda: removed.append(cache.clear()))
        seen = [(request.method, request.target) for request in proxy.seen]
    lists = sum(method == "GET" and "list-type" in target for method, target in seen)
    deletes = sum(method == "POST" and "delete" in target for method, target in seen)
    return {
        "removed": removed[0],
        "LIST": lists,
        "DeleteObjects": deletes,
        "other": len(seen) - lists - deletes,
        "seconds": rounded(seconds),
    }


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure everything, and return the figures."""
    entries = 1200 if arguments.quick else arguments.entries
    seconds, repeats = (0.1, 1) if arguments.quick else (1.0, REPEATS)
    s3 = s3_client()
    caches, fill = {}, {}
    for size in steps(entries):
        print(f"  {size:,} entries", file=sys.stderr, flush=True)
        make_bucket(s3, _bucket(size))
        caches[size], fill[str(size)] = filled(size)
    print("  measuring", file=sys.stderr, flush=True)
    return {
        **where(("obstore", "boto3")),
        "entries": entries,
        "threads": WIDTH,
        "fill_s": {size: rounded(taken) for size, taken in fill.items()},
        "per_s": measured(caches, seconds, repeats),
        "clear": cleared(entries),
    }


def text(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    per_s, clear = figures["per_s"], figures["clear"]
    first = next(iter(per_s["get"]))
    rows = [
        (
            f"{int(size):,}",
            *(f"{per_s[verb][size]:,.0f}/s ({per_s[verb][size] / per_s[verb][first]:.2f})" for verb in per_s),
            f"{int(size) / figures['fill_s'][size]:,.0f}/s",
        )
        for size in per_s["get"]
    ]
    return "\n".join(
        [
            (
                f"{figures['threads']} threads, random entries, medians of interleaved runs, with the ratio to"
                f" {int(first):,} entries in brackets; {setup_of(figures)}:"
            ),
            "",
            markdown(("entries", *(f"`{verb}`" for verb in per_s), "filled by `put_many`"), rows),
            "",
            (
                f"`clear` of {clear['removed']:,} entries: {clear['LIST']:,} LIST, {clear['DeleteObjects']:,} DeleteObjects,"
                f" {clear['other']} other requests, {clear['seconds']:,.0f} s."
            ),
        ]
    )


if __name__ == "__main__":
    section(run, __doc__, ("entries", ENTRIES))
