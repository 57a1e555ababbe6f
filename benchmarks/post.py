"""The table of the blog post of 2009 that this library goes back to: puts and gets of an integer, 32 bytes and 512 KB.

    python -m benchmarks.post [--runs 100] [--quick] [--json FILE]

The post gave the average and the total of its runs; this table adds percentiles.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from functools import partial
from typing import Any

from cloudcached import Client

from .common import BUCKET, KIB, SEED, duration, in_turns, markdown, s3_client, section, setup_of, where

RUNS = 100


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure everything, and return the figures."""
    s3_client()
    cache = Client(f"s3://{BUCKET}/post", signing_key="benchmark")
    data = random.Random(SEED)  # noqa: S311 - the same ones in each run
    values = {"an integer": 42, "32 bytes": data.randbytes(32), "512 KB": data.randbytes(512 * KIB)}
    calls: dict[str, Callable[[], object]] = {}
    for name, value in values.items():
        calls[f"PUT {name}"] = partial(cache.put, name, value, replace=True)
        calls[f"GET {name}"] = partial(cache.get, name)
    runs = 5 if arguments.quick else arguments.runs
    samples = in_turns(calls, rounds=runs)
    for name, value in values.items():
        if cache.get(name) != value:
            raise SystemExit(f"{name} came back as a different value")
    return {
        **where(("obstore", "boto3")),
        "runs": runs,
        "calls": {name: taken.summary() for name, taken in samples.items()},
    }


def text(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    rows = [
        (
            name,
            duration(row["mean_ms"]),
            duration(row["total_s"] * 1e3),
            *(duration(row[f"{percentile}_ms"]) for percentile in ("p50", "p95", "p99")),
        )
        for name, row in figures["calls"].items()
    ]
    columns = ("", "average", f"total of {figures['runs']} runs", "median", "95 %", "99 %")
    return f"{setup_of(figures)}:\n\n{markdown(columns, rows)}"


if __name__ == "__main__":
    section(run, __doc__, ("runs", RUNS))
