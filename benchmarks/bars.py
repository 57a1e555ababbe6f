"""Wall and CPU time of a call, compared with raw HTTP, obstore and boto3, for ``Client``, Django and Flask.

    python -m benchmarks.bars [--rounds 400] [--quick] [--json FILE]

Needs an S3 server in the environment (``AWS_ENDPOINT_URL`` and credentials) that supports bucket policies: raw HTTP is
unsigned, so anybody must be allowed to read.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from cloudcached import Client

from .common import BUCKET, duration, in_turns, markdown, pairs, s3_client, section, setup_of, where
from .subjects import bare_obstore, configure_django, installed, ours

VALUE = "x" * 32
#: Rounds before the counted ones: connections, caches, imports.
WARM_UP = 30
#: The subjects that use a cache through a framework.
DOORS = ("CloudCached, Django", "CloudCached, Flask")


def raw_get(key: str) -> Callable[[], object]:
    """Return an unsigned GET over a keep-alive connection: the lower bound."""
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


def many(cache: Client, s3: Any, count: int, runs: int) -> dict[str, Any]:
    """Return the seconds of ``get_many``, and of a loop with boto3 over the same entries."""
    keys = [f"many-{number}" for number in range(count)]
    cache.put_many(dict.fromkeys(keys, VALUE), replace=True)
    objects = [info.object_key for key in keys if (info := cache.info(key))]

    def read() -> None:
        if len(cache.get_many(keys)) != count:
            raise SystemExit("get_many lost entries")

    def loop() -> None:
        for object_key in objects:
            s3.get_object(Bucket=BUCKET, Key=object_key)["Body"].read()

    return pairs({"boto3 loop": loop, "CloudCached get_many": read}, runs)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure everything, and return the figures."""
    rounds, count, runs = (5, 40, 1) if arguments.quick else (arguments.rounds, 1000, 3)
    s3 = s3_client()
    anybody = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps({"Version": "2012-10-17", "Statement": [anybody]}))
    s3.put_object(Bucket=BUCKET, Key="raw", Body=VALUE.encode())
    cache = Client(f"s3://{BUCKET}/bars", signing_key="benchmark")
    cache.put("key", VALUE, replace=True)
    info = cache.info("key")
    assert info is not None  # noqa: S101 - put a line above

    def boto3_get() -> object:
        return s3.get_object(Bucket=BUCKET, Key=info.object_key)["Body"].read()

    with tempfile.TemporaryDirectory() as folder:
        configure_django(folder)
        doors = [subject for subject in ours() if subject.name in DOORS]
        for subject in doors:
            subject.put("key", VALUE)
        native = [*installed(lambda: bare_obstore(s3.meta.endpoint_url, metadata=True))]
        gets: dict[str, Callable[[], object]] = {
            "raw HTTP, unsigned": raw_get("raw"),
            **{subject.name: partial(subject.get, info.object_key) for subject in native},
            "CloudCached": lambda: cache.get("key"),
            **{subject.name: partial(subject.get, "key") for subject in doors},
            "boto3": boto3_get,
        }
        puts: dict[str, Callable[[], object]] = {
            **{subject.name: partial(subject.put, "put-obstore", VALUE.encode()) for subject in native},
            "CloudCached": lambda: cache.put("put", VALUE, replace=True),
            "boto3": lambda: s3.put_object(Bucket=BUCKET, Key="put", Body=VALUE.encode()),
        }
        return {
            **where(("obstore", "boto3", "django", "flask-caching")),
            "rounds": rounds,
            "get": {
                name: samples.summary() for name, samples in in_turns(gets, rounds=rounds, warm_up=WARM_UP).items()
            },
            "put": {
                name: samples.summary() for name, samples in in_turns(puts, rounds=rounds // 2, warm_up=WARM_UP).items()
            },
            "many_entries": count,
            "many": many(cache, s3, count, runs),
        }


def text(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    rows = [
        (f"`{verb}` by {name}", duration(row["p50_ms"]), duration(row["p95_ms"]), duration(row["cpu_ms"]))
        for verb in ("get", "put")
        for name, row in figures[verb].items()
    ]
    head = f"32 bytes, {figures['rounds']} interleaved rounds; {setup_of(figures)}:"
    return f"{head}\n\n{markdown(('', 'median time', '95 %', 'CPU time'), rows)}"


if __name__ == "__main__":
    section(run, __doc__, ("rounds", 400))
