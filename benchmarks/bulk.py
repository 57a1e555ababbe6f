"""Many entries at once: beside what the gateway gives raw connections, and over a network that takes its time.

    python -m benchmarks.bulk [--quick] [--json FILE]

Raw connections are as many as the pool has threads; pairs take turns.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from cloudcached import Client
from cloudcached.pool import WIDTH

from . import latency
from .common import BUCKET, environment, in_turns, markdown, pairs, rounded, s3_client, section, told_of, where
from .raw import Raw, all_of

VALUE = "x" * 32
LATENCY_S = 0.02


def against_raw(count: int, runs: int) -> dict[str, Any]:
    """Return ``get_many`` and ``put_many`` beside as many raw connections as they have requests under way.

    Of *count* entries: a run of 1,000 is over too soon, and pairs swing by a third.
    """
    s3 = s3_client()
    raw = Raw(s3)
    cache = Client(f"s3://{BUCKET}/bulk", signing_key="benchmark")
    entries = {f"key-{number}": VALUE for number in range(count)}
    cache.put_many(entries, replace=True)
    names = [info.object_key for key in entries if (info := cache.info(key))]
    # An entry as it is: what put_many sends for each.
    entry = s3.get_object(Bucket=BUCKET, Key=names[0])
    body, metadata = entry["Body"].read(), entry["Metadata"]
    gets = [raw.get(name) for name in names]
    puts = [raw.put(f"bulk-raw/{name}", body, metadata) for name in names]

    def read() -> None:
        if len(cache.get_many(entries)) != count:
            raise SystemExit("get_many lost entries")

    calls: dict[str, dict[str, Callable[[], object]]] = {
        "get_many": {"raw": lambda: all_of(gets, WIDTH), "CloudCached": read},
        "put_many": {
            "raw": lambda: all_of(puts, WIDTH),
            "CloudCached": lambda: cache.put_many(entries, replace=True),
        },
    }
    return {verb: {"entries": count, **pairs(both, runs)} for verb, both in calls.items()}


def from_afar(count: int) -> dict[str, float]:
    """Return the seconds of ``get_many`` with latency, and of the same one by one, and how often one is in the other."""
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
    loop, many = (taken[name].told()["p50_ms"] / 1e3 for name in calls)
    return {"one_by_one_s": rounded(loop), "get_many_s": rounded(many), "times_as_fast": rounded(loop / many)}


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return all figures."""
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
                f"{figures['connections']} raw connections and as many of CloudCached's, medians of interleaved pairs;"
                f" {told_of(figures)}:"
            ),
            "",
            markdown(("", "raw HTTP", "CloudCached", "CloudCached / raw"), rows),
            "",
            (
                f"With {figures['latency_ms']:.0f} ms of added latency {figures['entries']:,} gets take"
                f" {afar['one_by_one_s']:.1f} s one by one and {afar['get_many_s']:.2f} s by `get_many`:"
                f" {afar['times_as_fast']:.0f} times as fast."
            ),
        ]
    )


if __name__ == "__main__":
    section(run, __doc__)
