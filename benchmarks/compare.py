"""Compares CloudCached with S3 clients, Django's caches and other caches on S3: by size, by threads, with latency.

    python -m benchmarks.compare [--seconds 8] [--quick] [--json FILE]

Values are random bytes: compression gains nothing, and a cache that tries it pays for the attempt.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

import boto3
from botocore.config import Config as BotoConfig

from cloudcached import Client

from . import latency
from .common import (
    BUCKET,
    KIB,
    MIB,
    SEED,
    duration,
    environment,
    in_turns,
    markdown,
    rounded,
    s3_client,
    section,
    setup_of,
    size_name,
    where,
)
from .subjects import PACKAGES, Subject, all_subjects, bare_obstore, boto3_alone, crt, installed, raw_http

SIZES = (32, 4 * KIB, 64 * KIB, 512 * KIB, 8 * MIB, 64 * MIB)
THREADS = (1, 4, 16, 64)
LATENCIES_MS = (0, 5, 20)
#: Threads of the runs with latency: one page at a time, and a busy site.
FEW_AND_MANY = (1, 32)
#: The subjects that are measured with many threads besides those that use S3: other servers.
SERVERS = ("redis, Django", "memcached, Django")
ROUNDS, REPEATS = 300, 3


def by_size(subjects: list[Subject], sizes: Iterable[int], rounds: int, seconds: float) -> dict[str, Any]:
    """Return the times of gets and of puts, by size and subject; all subjects put and get the same bytes."""
    dice, figures = random.Random(SEED), {}  # noqa: S311 - the same bytes in each run
    for size in sizes:
        print(f"  values of {size_name(size)}", file=sys.stderr, flush=True)
        data = dice.randbytes(size)
        able = [subject for subject in subjects if size <= subject.max_bytes]
        values = {subject.name: subject.value(data) for subject in able}
        warm_up = 3 if size < MIB else 1
        puts = {subject.name: partial(subject.put, "key", values[subject.name]) for subject in able}
        gets = {subject.name: partial(subject.get, "key") for subject in able}
        most = rounds if size < MIB else max(1, rounds // 50)
        put_samples = in_turns(puts, rounds=most, seconds=seconds, warm_up=warm_up)
        for subject in able:
            if subject.get("key") != values[subject.name]:
                raise SystemExit(f"{subject.name} returned bytes other than those that were put")
        get_samples = in_turns(gets, rounds=most, seconds=seconds, warm_up=warm_up)
        figures[str(size)] = {
            "get": {name: samples.summary() for name, samples in get_samples.items()},
            "put": {name: samples.summary() for name, samples in put_samples.items()},
        }
    return figures


def rate(call: Callable[[str], object], threads: int, seconds: float, pool: ThreadPoolExecutor) -> float:
    """Return the calls a second of so many threads, each with its own key."""
    ready = threading.Barrier(threads + 1)
    end = 0.0

    def work(number: int) -> int:
        ready.wait()
        key, count = f"key-{number}", 0
        while time.perf_counter() < end or not count:
            call(key)
            count += 1
        return count

    running = [pool.submit(work, number) for number in range(threads)]
    began = time.perf_counter()
    end = began + seconds
    ready.wait()
    count = sum(future.result() for future in running)
    return count / (time.perf_counter() - began)


def rates(subjects: list[Subject], threads: Iterable[int], seconds: float, repeats: int) -> dict[str, Any]:
    """Return gets of 32 bytes a second, by number of threads and subject: medians of interleaved runs."""
    figures: dict[str, Any] = {}
    for count in threads:
        print(f"  {len(subjects)} subjects, {count} threads", file=sys.stderr, flush=True)
        taken: dict[str, list[float]] = {subject.name: [] for subject in subjects}
        with ThreadPoolExecutor(count) as pool:
            for subject in subjects:
                for number in range(count):
                    subject.put(f"key-{number}", subject.value(b"x" * 32))
                rate(subject.get, count, 0, pool)  # opens connections
            for _ in range(repeats):
                for subject in subjects:
                    taken[subject.name].append(rate(subject.get, count, seconds, pool))
        figures[str(count)] = {name: rounded(statistics.median(values)) for name, values in taken.items()}
    return figures


def at(endpoint: str) -> list[Subject]:
    """Return the S3 clients, using the same server through another endpoint."""
    s3 = boto3.client("s3", config=BotoConfig(max_pool_connections=64), endpoint_url=endpoint)
    cache = Client(f"s3://{BUCKET}/latency", signing_key="benchmark", s3=environment(endpoint))
    return [
        raw_http(s3),
        *installed(lambda: bare_obstore(endpoint)),
        Subject("CloudCached", cache.get, lambda key, value: cache.put(key, value, replace=True)),
        *installed(lambda: crt(endpoint)),
        boto3_alone(s3),
    ]


def with_latency(milliseconds: Iterable[int], seconds: float, repeats: int) -> dict[str, Any]:
    """Return gets a second by latency, threads and subject; each latency has its own forwarder, runs are interleaved."""
    with ExitStack() as stack:
        subjects: list[Subject] = []
        labels = []
        for added in milliseconds:
            endpoint = stack.enter_context(latency.added(added / 1e3))
            for subject in at(endpoint):
                labels.append((str(added), subject.name))
                subjects.append(Subject(f"{added} {subject.name}", subject.get, subject.put))
        found = rates(subjects, FEW_AND_MANY, seconds, repeats)
    figures: dict[str, Any] = {}
    for threads, row in found.items():
        for added, name in labels:
            figures.setdefault(added, {}).setdefault(threads, {})[name] = row[f"{added} {name}"]
    return figures


def forwarder(seconds: float) -> dict[str, float]:
    """Return the cost of the forwarder: raw gets a second of 32 threads, without it and through it."""

    def raw_rate(endpoint: str) -> float:
        (subject,) = (subject for subject in at(endpoint) if subject.name == "raw HTTP")
        return rates([subject], [32], seconds, 3)["32"]["raw HTTP"]

    return latency.ceiling(raw_rate)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure everything, and return the figures."""
    quick = arguments.quick
    seconds = 0.2 if quick else arguments.seconds
    spell, repeats = (0.05, 1) if quick else (0.4, REPEATS)
    s3 = s3_client()
    with all_subjects(s3) as subjects:
        crowd = [subject for subject in subjects if subject.asks_s3 or subject.name in SERVERS]
        return {
            **where(PACKAGES),
            "seconds": seconds,
            "sizes": by_size(subjects, SIZES[:2] if quick else SIZES, 2 if quick else ROUNDS, seconds),
            "threads": rates(crowd, THREADS[:2] if quick else THREADS, spell, repeats),
            "latency": with_latency(LATENCIES_MS[:2] if quick else LATENCIES_MS, spell, repeats),
            "forwarder_per_s": forwarder(spell),
        }


def text(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    sizes, forwarded = figures["sizes"], figures["forwarder_per_s"]
    parts = [f"{setup_of(figures)}."]
    for verb in ("get", "put"):
        parts.append(f"Median time of a `{verb}` by size, with the CPU time of the client's process in brackets:")
        names = sizes[next(iter(sizes))][verb]
        rows = [(name, *(_cell(column[verb].get(name)) for column in sizes.values())) for name in names]
        parts.append(markdown((f"`{verb}`", *(size_name(int(size)) for size in sizes)), rows))
    parts.append("Gets of 32 bytes a second, by number of threads in one process:")
    parts.append(_rates("threads", figures["threads"]))
    parts.append(
        "The same with added latency (milliseconds, threads). A forwarder adds it; the forwarder alone limits raw gets"
        f" to {forwarded['forwarded']:,.0f} a second, from {forwarded['direct']:,.0f} without it:"
    )
    columns = {
        f"{added} ms, {threads}": row
        for added, by_threads in figures["latency"].items()
        for threads, row in by_threads.items()
    }
    parts.append(_rates("", columns))
    return "\n\n".join(parts)


def _cell(row: dict[str, float] | None) -> str:
    return f"{duration(row['p50_ms'])} ({duration(row['cpu_ms'])})" if row else "-"


def _rates(title: str, columns: dict[str, dict[str, float]]) -> str:
    names = next(iter(columns.values()))
    rows = [(name, *(f"{column[name]:,.0f}" for column in columns.values())) for name in names]
    return markdown((title, *columns), rows)


if __name__ == "__main__":
    section(run, __doc__, ("seconds", 8.0))
