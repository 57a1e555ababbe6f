"""Shared by all benchmarks: interleaved timing, statistics, a description of the setup, and writing into pages.

Times on one machine vary with its other work. So calls that are compared are interleaved, and only ratios within one
run count.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3

#: Each process has its own bucket, and removes it at the end.
BUCKET = f"cloudcached-benchmark-{os.getpid()}"
#: The seed of everything random: values, and the order of keys.
SEED = 20090413
KIB, MIB = 2**10, 2**20

_made: list[str] = []


@dataclass
class Samples:
    """The times of one call, in seconds."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """Return their statistics: milliseconds, except ``total_s`` and the number of calls."""
        ordered = sorted(self.wall)
        figures = {
            "mean_ms": statistics.fmean(ordered) * 1e3,
            "p50_ms": statistics.median(ordered) * 1e3,
            "p95_ms": ordered[int(0.95 * (len(ordered) - 1))] * 1e3,
            "p99_ms": ordered[int(0.99 * (len(ordered) - 1))] * 1e3,
            "cpu_ms": statistics.fmean(self.cpu) * 1e3,
            "total_s": sum(ordered),
        }
        return {name: rounded(figure) for name, figure in figures.items()} | {"calls": len(ordered)}


def rounded(figure: float) -> float:
    """Return *figure* rounded to four digits: more would only be noise in the JSON that is kept."""
    return float(f"{figure:.4g}")


def in_turns(
    calls: Mapping[str, Callable[[], object]], *, rounds: int, seconds: float = float("inf"), warm_up: int = 3
) -> dict[str, Samples]:
    """Return the times of each call. All are called in turn, for so many *rounds*, or until *seconds* have passed."""
    samples = {name: Samples() for name in calls}
    end = time.perf_counter() + seconds
    for number in range(rounds + warm_up):
        for name, call in calls.items():
            cpu_began, began = time.process_time(), time.perf_counter()
            call()
            ended, cpu_ended = time.perf_counter(), time.process_time()
            if number >= warm_up:
                samples[name].wall.append(ended - began)
                samples[name].cpu.append(cpu_ended - cpu_began)
        if number >= warm_up and time.perf_counter() > end:
            break
    return samples


def timed(call: Callable[[], object]) -> float:
    """Return the seconds that *call* takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def pairs(
    calls: Mapping[str, Callable[[], object]], count: int, *, before: Callable[[], object] = lambda: None
) -> dict[str, Any]:
    """Return the seconds of each call in *count* interleaved runs, their medians, and the median ratios first / other.

    The order is reversed each time, so that no call always follows another. All are called once first: of two calls
    that write, neither finds less to overwrite than the other. before: prepares each call, outside of its time.
    """
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        before()
        call()
    for number in range(count):
        for name in list(calls)[:: -1 if number % 2 else 1]:
            before()
            taken[name].append(timed(calls[name]))
    first, *others = taken
    ratios = {name: [one / other for one, other in zip(taken[first], taken[name], strict=True)] for name in others}
    return {
        "runs_s": {name: [rounded(seconds) for seconds in values] for name, values in taken.items()},
        "median_s": {name: rounded(statistics.median(values)) for name, values in taken.items()},
        "ratio": {name: rounded(statistics.median(values)) for name, values in ratios.items()},
    }


def where(packages: Iterable[str]) -> dict[str, Any]:
    """Return where and when a benchmark ran, and the versions of the *packages* that it measured."""
    return {
        "machine": f"{os.cpu_count()} cores {platform.machine()}, Python {platform.python_version()}",
        "versions": versions(packages),
        "server": os.environ.get("BENCHMARK_SERVER") or f"the S3 server {urlsplit(_endpoint()).hostname}",
        "date": time.strftime("%Y-%m-%d"),
        "seed": SEED,
    }


def _endpoint() -> str:
    return os.environ.get("AWS_ENDPOINT_URL") or "https://s3.amazonaws.com"


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of those of the *packages* that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def s3_client() -> Any:
    """Return a boto3 client with connections for 64 threads, after creating the bucket."""
    from botocore.config import Config  # noqa: PLC0415 - imported only if it is needed

    s3 = boto3.client("s3", config=Config(max_pool_connections=64, retries={"total_max_attempts": 3}))
    make_bucket(s3, BUCKET)
    return s3


def make_bucket(s3: Any, name: str) -> None:
    """Create a bucket, which is removed at the end, unless this run has created it already."""
    if name not in _made:
        s3.create_bucket(Bucket=name)
        _made.append(name)


def remove_buckets() -> None:
    """Remove all buckets of this run and their contents."""
    s3 = boto3.client("s3") if _made else None
    while s3 and _made:
        name = _made.pop()
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=name):
            names = [{"Key": row["Key"]} for row in page.get("Contents", ())]
            if names:
                s3.delete_objects(Bucket=name, Delete={"Objects": names, "Quiet": True})
        s3.delete_bucket(Bucket=name)


def environment(endpoint: str) -> dict[str, str]:
    """Return boto3's settings for the environment's server at another endpoint."""
    return {
        "endpoint_url": endpoint,
        "aws_access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
    }


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def size_name(size: int) -> str:
    """Return *size* in bytes as text: 32 B, 512 KB, 8 MB."""
    return f"{size} B" if size < KIB else f"{size // KIB} KB" if size < MIB else f"{size // MIB} MB"


def duration(milliseconds: float) -> str:
    """Return a time as text with three digits."""
    for limit, factor, unit in ((1, 1e3, "us"), (1e3, 1, "ms")):
        if milliseconds < limit:
            figure = milliseconds * factor
            return f"{figure:.{0 if figure >= 100 else 1 if figure >= 10 else 2}f} {unit}"  # noqa: PLR2004 - three digits
    return f"{milliseconds / 1e3:.2f} s"


def setup_of(figures: Mapping[str, Any]) -> str:
    """Return the machine, the server, the date and the versions of a measurement, as text."""
    installed = ", ".join(f"{name} {number}" for name, number in figures["versions"].items())
    return f"{figures['machine']}, {figures['server']}, {figures['date']} ({installed})"


def insert(page: Path, text: str, name: str = "") -> None:
    """Put *text* between the marks with this *name* in a page; "" names the page's only marks."""
    title = f"figures {name}".rstrip()
    old = page.read_text(encoding="utf-8")
    head, begin, rest = old.partition(f"<!-- {title}: begin (make bench) -->\n")
    _, end, tail = rest.partition(f"<!-- {title}: end -->")
    if not begin or not end:
        raise SystemExit(f"{page} has no marks for {title}")
    page.write_text(f"{head}{begin}{text}\n{end}{tail}", encoding="utf-8")


def write_json(figures: Mapping[str, Any], path: Path) -> None:
    """Write the figures to a file."""
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def section(run: Callable[[argparse.Namespace], dict[str, Any]], doc: str | None, *more: tuple[str, Any]) -> None:
    """Run the command line of one section: measure, then write the JSON to a file or print it.

    more: names and defaults of further options; an option's type is that of its default.
    """
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="tiny counts: check that it runs, not how fast")
    for name, default in more:
        parser.add_argument(f"--{name}", type=type(default), default=default, help=f"default: {default}")
    arguments = parser.parse_args()
    try:
        figures = run(arguments)
    finally:
        remove_buckets()
    if arguments.json:
        write_json(figures, arguments.json)
    else:
        print(json.dumps(figures, indent=1))
