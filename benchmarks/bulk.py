"""Many entries at once, compared with raw connections to the gateway, and over a network with latency.

    python -m benchmarks.bulk [--quick] [--json FILE]

There are as many raw connections as the library has requests in flight: one for each thread of the pool, fewer for
DeleteObjects. The calls of a pair are interleaved.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from cloudcached import Client
from cloudcached.engine.bulk import DELETES_AT_ONCE
from cloudcached.engine.seam import EVERY_STORE
from cloudcached.runtime.pool import WIDTH
from cloudcached.stores.port import Listed, Store
from cloudcached.stores.wrapper import Wrapper

from . import latency
from .common import BUCKET, environment, in_turns, markdown, pairs, rounded, s3_client, section, setup_of, where
from .raw import Raw, all_of

VALUE = "x" * 32
LATENCY_S = 0.02
#: S3's limit for one DeleteObjects.
BATCH = 1000


def against_raw(count: int, runs: int) -> dict[str, Any]:
    """Return the figures of each bulk method, compared with as many raw connections as it has requests in flight.

    count: the number of entries; runs of 1,000 are too short, and their pairs vary by a third. Deleted entries are
    written again before the next run, outside of the measured time.
    """
    s3 = s3_client()
    raw = Raw(s3)
    cache = Client(f"s3://{BUCKET}/bulk", signing_key="benchmark")
    entries = {f"key-{number}": VALUE for number in range(count)}
    cache.put_many(entries, replace=True)
    names = [info.object_key for key in entries if (info := cache.info(key))]
    # The body and metadata of an entry, as put_many sends them for each.
    entry = s3.get_object(Bucket=BUCKET, Key=names[0])
    body, metadata = entry["Body"].read(), entry["Metadata"]
    gets = [raw.get(name) for name in names]
    puts = [raw.put(f"bulk-raw/{name}", body, metadata) for name in names]
    deletes = [raw.delete_many(names[start : start + BATCH]) for start in range(0, count, BATCH)]

    def read() -> None:
        if len(cache.get_many(entries)) != count:
            raise SystemExit("get_many lost entries")

    def list_all() -> None:
        if len(list(cache.keys())) != count:
            raise SystemExit("keys lost entries")

    calls: dict[str, dict[str, Callable[[], object]]] = {
        "get_many": {"raw": lambda: all_of(gets, WIDTH), "CloudCached": read},
        "put_many": {
            "raw": lambda: all_of(puts, WIDTH),
            "CloudCached": lambda: cache.put_many(entries, replace=True),
        },
        "keys": {"raw": raw_keys(raw, cache), "CloudCached": list_all},
        "delete_many": {  # comes last, since it removes the entries
            "raw": lambda: all_of(deletes, DELETES_AT_ONCE),
            "CloudCached": lambda: cache.delete_many(entries),
        },
    }
    figures = {}
    for verb, both in calls.items():
        removes = verb == "delete_many"
        before = partial(cache.put_many, entries, replace=True) if removes else lambda: None
        connections = DELETES_AT_ONCE if removes else WIDTH
        figures[verb] = {"entries": count, "connections": connections, **pairs(both, runs, before=before)}
    return figures


class _Noting(Wrapper):
    """A store that appends the prefix and the start-after name of each LIST to *sent*."""

    def __init__(self, inner: Store, sent: list[tuple[str, str]]) -> None:
        super().__init__(inner)
        self._sent = sent

    def list(self, prefix: str, *, after: str = "", timeout: float) -> tuple[list[Listed], bool]:
        self._sent.append((prefix, after))
        return super().list(prefix, after=after, timeout=timeout)


def listings(cache: Client) -> list[tuple[str, str]]:
    """Return the prefix and the start-after name of each LIST that ``keys`` sends, in order."""
    sent: list[tuple[str, str]] = []
    with EVERY_STORE.wrapped(lambda store: _Noting(store, sent)):
        list(cache.keys())
    return sent


def raw_keys(raw: Raw, cache: Client) -> Callable[[], None]:
    """Return a call that sends the LISTs of ``keys``: first the first page, which decides the rest, then all prefixes.

    The prefixes are listed concurrently, the pages of one prefix in order.
    """
    first, *rest = listings(cache)
    under: dict[str, list[Callable[[], object]]] = {}
    for prefix, after in rest:
        under.setdefault(prefix, []).append(raw.list(prefix, after))
    begin = raw.list(*first)
    # The threads are kept between runs: a run has so few requests that new connections would matter.
    crew = ThreadPoolExecutor(WIDTH)

    def pages_of(requests: list[Callable[[], object]]) -> None:
        for request in requests:
            request()

    def ask() -> None:
        begin()
        list(crew.map(pages_of, under.values()))

    return ask


def from_afar(count: int) -> dict[str, float]:
    """Return the seconds of ``get_many`` with latency, those of single gets of the same keys, and their ratio."""
    with latency.added(LATENCY_S) as endpoint:
        cache = Client(f"s3://{BUCKET}/afar", signing_key="benchmark", s3=environment(endpoint))
        entries = {f"key-{number}": VALUE for number in range(count)}
        cache.put_many(entries, replace=True)
        cache.get_many(entries)
        calls: dict[str, Callable[[], object]] = {
            "one by one": lambda: [cache.get(key) for key in entries],
            "get_many": lambda: cache.get_many(entries),
        }
        taken = in_turns(calls, rounds=1, warm_up=0)
        taken["get_many"] = in_turns({"": calls["get_many"]}, rounds=3, warm_up=0)[""]
    loop, many = (taken[name].summary()["p50_ms"] / 1e3 for name in calls)
    return {"one_by_one_s": rounded(loop), "get_many_s": rounded(many), "times_as_fast": rounded(loop / many)}


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure everything, and return the figures."""
    count, runs = (64, 2) if arguments.quick else (1000, 5)
    return {
        **where(("obstore", "boto3")),
        "entries": count,
        "connections": WIDTH,
        "against_raw": against_raw(4 * count, runs),
        "latency_ms": LATENCY_S * 1e3,
        "from_afar": from_afar(count),
    }


def text(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    width = figures["connections"]
    fewer = {verb: pair["connections"] for verb, pair in figures["against_raw"].items() if "connections" in pair}
    exceptions = "".join(f" ({number} for `{verb}`)" for verb, number in fewer.items() if number != width)
    rows = [
        (
            f"`{verb}` of {pair['entries']:,}",
            *(f"{pair['entries'] / pair['median_s'][name]:,.0f}/s" for name in ("raw", "CloudCached")),
            f"{pair['ratio']['CloudCached']:.2f}",
        )
        for verb, pair in figures["against_raw"].items()
    ]
    afar = figures["from_afar"]
    return "\n".join(
        [
            (
                f"{width} raw connections{exceptions} and as many of CloudCached's, medians of interleaved pairs;"
                f" {setup_of(figures)}:"
            ),
            "",
            markdown(("", "raw HTTP", "CloudCached", "CloudCached / raw"), rows),
            "",
            (
                f"With {figures['latency_ms']:.0f} ms of added latency, {figures['entries']:,} gets take"
                f" {afar['one_by_one_s']:.1f} s one by one and {afar['get_many_s']:.2f} s with `get_many`, which is"
                f" {afar['times_as_fast']:.0f} times as fast."
            ),
        ]
    )


if __name__ == "__main__":
    section(run, __doc__)
