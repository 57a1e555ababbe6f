"""The ratios that CloudCached promises, measured against raw HTTP, obstore and boto3 in one interleaved run.

    python -m benchmarks.bars [--rounds 400] [--json FILE] [--readme README.md]

Needs an S3 server in the environment (``AWS_ENDPOINT_URL`` and credentials) that lets anybody read a bucket by policy:
raw HTTP is unsigned. Times on one machine swing with what else it does: the ratios within a run are what counts.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import obstore
from obstore.store import S3Store

from cloudcached import Client

VALUE = "x" * 32
BUCKET = "cloudcached-benchmark"
#: Rounds before the counted ones: connections, caches, imports.
WARM_UP = 30


def raw_get(key: str) -> Callable[[], object]:
    """Return an unsigned keep-alive GET: the floor."""
    endpoint = urlsplit(os.environ["AWS_ENDPOINT_URL"])
    connection = http.client.HTTPConnection(endpoint.hostname or "", endpoint.port)

    def get() -> object:
        connection.request("GET", f"/{BUCKET}/{key}")
        response = connection.getresponse()
        body = response.read()
        if response.status != http.client.OK:
            raise SystemExit(f"raw GET: {response.status} {body[:200]!r}")
        return body

    return get


def native_get(key: str) -> Callable[[], object]:
    """Return a GET by bare obstore, body and metadata."""
    store = S3Store(
        BUCKET,
        config={
            "endpoint": os.environ["AWS_ENDPOINT_URL"],
            "region": "us-east-1",
            "virtual_hosted_style_request": False,
            "access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
            "secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
        },
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )

    def get() -> object:
        result = obstore.get(store, key)
        return result.attributes, result.meta, bytes(result.bytes())

    return get


def measure(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, dict[str, float]]:
    """Return wall median and mean CPU time of each call, in milliseconds, all calls in turn."""
    wall: dict[str, list[float]] = {name: [] for name in calls}
    cpu: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + WARM_UP):
        for name, call in calls.items():
            began, cpu_began = time.perf_counter(), time.process_time()
            call()
            ended, cpu_ended = time.perf_counter(), time.process_time()
            if number >= WARM_UP:
                wall[name].append(ended - began)
                cpu[name].append(cpu_ended - cpu_began)
    return {
        name: {"wall_ms": statistics.median(wall[name]) * 1e3, "cpu_ms": statistics.fmean(cpu[name]) * 1e3}
        for name in calls
    }


def many(cache: Client, s3: Any, names: list[str], count: int) -> dict[str, float]:
    """Return the seconds of ``get_many`` and of a boto3 loop over the same entries, medians of interleaved runs."""
    keys = [f"many-{number}" for number in range(count)]
    cache.put_many(dict.fromkeys(keys, VALUE), replace=True)
    objects = [info.object_key for key in keys if (info := cache.info(key))]
    taken: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(3):
        began = time.perf_counter()
        if len(cache.get_many(keys)) != count:
            raise SystemExit("get_many lost entries")
        taken[names[0]].append(time.perf_counter() - began)
        began = time.perf_counter()
        for object_key in objects:
            s3.get_object(Bucket=BUCKET, Key=object_key)["Body"].read()
        taken[names[1]].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in taken.items()}


def run(rounds: int) -> dict[str, Any]:
    """Return all figures of one run."""
    s3 = boto3.client("s3")
    if BUCKET not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
        s3.create_bucket(Bucket=BUCKET)
    anybody = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps({"Version": "2012-10-17", "Statement": [anybody]}))
    s3.put_object(Bucket=BUCKET, Key="raw", Body=VALUE.encode())
    cache = Client(f"s3://{BUCKET}/bars", signing_key="benchmark")
    cache.put("key", VALUE, replace=True)
    info = cache.info("key")
    assert info is not None  # noqa: S101 - put a line above

    def boto3_get() -> object:
        return s3.get_object(Bucket=BUCKET, Key=info.object_key)["Body"].read()

    gets = measure(
        {
            "raw HTTP, unsigned": raw_get("raw"),
            "obstore": native_get(info.object_key),
            "CloudCached": lambda: cache.get("key"),
            "boto3": boto3_get,
        },
        rounds,
    )
    puts = measure(
        {
            "CloudCached": lambda: cache.put("put", VALUE, replace=True),
            "boto3": lambda: s3.put_object(Bucket=BUCKET, Key="put", Body=VALUE.encode()),
        },
        rounds // 2,
    )
    bulk = many(cache, s3, ["CloudCached get_many", "boto3 loop"], 1000)
    cache.clear()
    return {
        "machine": f"{os.cpu_count()} cores {platform.machine()}, Python {platform.python_version()}",
        "versions": {name: version(name) for name in ("boto3", "obstore")},
        "endpoint": urlsplit(os.environ["AWS_ENDPOINT_URL"]).hostname,
        "date": time.strftime("%Y-%m-%d"),
        "rounds": rounds,
        "get": gets,
        "put": puts,
        "get_many_1000_s": bulk,
    }


def bars(figures: dict[str, Any]) -> list[tuple[str, float, str]]:
    """Return each promised ratio: what, measured, promised."""
    get, put, bulk = figures["get"], figures["put"], figures["get_many_1000_s"]
    ours = get["CloudCached"]
    return [
        ("`get`, CPU time: boto3 / CloudCached", get["boto3"]["cpu_ms"] / ours["cpu_ms"], "5 or more"),
        (
            "`get`, median wall: CloudCached / raw HTTP",
            ours["wall_ms"] / get["raw HTTP, unsigned"]["wall_ms"],
            "1.6 or less",
        ),
        ("`get`, CPU time: CloudCached / bare obstore", ours["cpu_ms"] / get["obstore"]["cpu_ms"], "1.25 or less"),
        ("`put`, CPU time: boto3 / CloudCached", put["boto3"]["cpu_ms"] / put["CloudCached"]["cpu_ms"], ""),
        ("1,000 entries: boto3 loop / `get_many`", bulk["boto3 loop"] / bulk["CloudCached get_many"], "4 or more"),
    ]


def table(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = [
        (
            f"32 bytes on a Ceph gateway on loopback, {figures['machine']}, boto3 {figures['versions']['boto3']}, obstore"
            f" {figures['versions']['obstore']}, {figures['date']}, {figures['rounds']} interleaved rounds (`make bench`):"
        ),
        "",
        "| `get` by | median wall | CPU |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {row['wall_ms']:.2f} ms | {row['cpu_ms']:.2f} ms |" for name, row in figures["get"].items()]
    lines += ["", "| ratio | measured | wanted |", "|---|---|---|"]
    lines += [f"| {what} | {measured:.2f} | {wanted} |" for what, measured, wanted in bars(figures)]
    return "\n".join(lines)


def insert(readme: Path, text: str) -> None:
    """Put *text* between the marks of the README."""
    old = readme.read_text(encoding="utf-8")
    head, begin, rest = old.partition("<!-- figures: begin (make bench) -->\n")
    _, end, tail = rest.partition("<!-- figures: end -->")
    if not begin or not end:
        raise SystemExit(f"{readme} has no marks for the figures")
    readme.write_text(f"{head}{begin}{text}\n{end}{tail}", encoding="utf-8")


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--readme", type=Path, help="write the table between the marks of this file")
    arguments = parser.parse_args()
    figures = run(arguments.rounds)
    print(table(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if arguments.readme:
        insert(arguments.readme, table(figures))


if __name__ == "__main__":
    main()
