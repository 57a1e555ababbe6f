"""Uploads and downloads of files, by CloudCached and by boto3's transfer manager, in one interleaved run.

    python -m benchmarks.files [--megabytes 200] [--rounds 3] [--pause 0] [--json docs/figures/files.json]
    python -m benchmarks --render                write the kept figures into docs/files.md

Needs an S3 server in the environment (``AWS_ENDPOINT_URL`` and credentials), with space for two files. Each measurement
runs in its own process, which first imports everything, opens connections and transfers a small file. Then it measures
the seconds and CPU time of the transfer alone, and the peak growth of its resident memory. Times on one machine vary
with its other work: only the ratios within one run count.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3

from cloudcached import Client

from .common import SEED, markdown, rounded, setup_of, where, write_json

BUCKET = "cloudcached-benchmark"
WAYS = ("CloudCached", "boto3")
VERBS = ("put", "get")
MEGABYTE = 1_000_000
#: Bytes of the file before the measured one: large enough that both upload it in parts.
WARM_UP = 20_000_000
#: Bytes of the random data that is repeated in a file.
BLOCK = 16 << 20


def transfers(way: str) -> dict[str, Callable[[str, Path], object]]:
    """Return the calls that upload, download and remove a file."""
    if way == "boto3":
        s3 = boto3.client("s3")
        return {
            "put": lambda key, path: s3.upload_file(str(path), BUCKET, f"boto3/{key}"),
            "get": lambda key, path: s3.download_file(BUCKET, f"boto3/{key}", str(path)),
            "delete": lambda key, _: s3.delete_object(Bucket=BUCKET, Key=f"boto3/{key}"),
        }
    cache = Client(f"s3://{BUCKET}/files", signing_key="benchmark")
    return {
        "put": lambda key, path: cache.put_file(key, path, None, replace=True) or sys.exit("not stored"),
        "get": lambda key, path: cache.get_file(key, path) or sys.exit("not there"),
        "delete": lambda key, _: cache.delete(key),
    }


def memory(name: str) -> int:
    """Return a figure of this process's memory, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"no {name} in /proc/self/status")


def child(way: str, verb: str, path: Path) -> None:
    """Do one transfer, and print its figures."""
    ways = transfers(way)
    small = path.with_name(f"{path.name}.small")
    small.write_bytes(os.urandom(WARM_UP))
    for step in ("put", "get", "delete"):
        ways[step](f"small {verb}", small)
    small.unlink()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the peak
    before = memory("VmRSS")
    began, cpu = time.perf_counter(), time.process_time()
    ways[verb]("file", path)
    taken = time.perf_counter() - began, time.process_time() - cpu
    print(json.dumps({"seconds": taken[0], "cpu_s": taken[1], "extra_bytes": memory("VmHWM") - before}))


def measure(way: str, verb: str, path: Path) -> dict[str, float]:
    """Return the figures of one transfer, made in its own process."""
    command = [sys.executable, "-m", "benchmarks.files", "--child", way, verb, str(path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)  # noqa: S603 - this program
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def run(size: int, rounds: int, pause: float) -> dict[str, Any]:
    """Measure all transfers, both ways interleaved, and return the figures.

    pause: seconds after each removal, in which the server can reclaim the space.
    """
    s3 = boto3.client("s3")
    if BUCKET not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
        s3.create_bucket(Bucket=BUCKET)
    taken: dict[str, dict[str, list[dict[str, float]]]] = {verb: {way: [] for way in WAYS} for verb in VERBS}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "source"), Path(folder, "target")
        block = random.Random(SEED).randbytes(BLOCK)  # noqa: S311 - the same bytes in each run
        with source.open("wb") as file:
            for start in range(0, size, BLOCK):
                file.write(block[: size - start])
        # The first file of a size takes longer: the server and the system have to allocate space for it.
        warm_up = transfers("boto3")
        for verb, path in (("put", source), ("get", target), ("delete", source)):
            warm_up[verb]("warm-up", path)
        target.unlink()
        time.sleep(pause)
        for number in range(rounds):
            for way in WAYS if number % 2 == 0 else reversed(WAYS):
                for verb, path in (("put", source), ("get", target)):
                    taken[verb][way].append(measure(way, verb, path))
                    print(f"{verb} by {way}: {taken[verb][way][-1]}", file=sys.stderr)
                if not filecmp.cmp(source, target, shallow=False):
                    raise SystemExit(f"{way} returned a different file")
                target.unlink()
                transfers(way)["delete"]("file", source)
                time.sleep(pause)
    return {
        **where(("boto3", "s3transfer", "obstore")),
        "bytes": size,
        "rounds": rounds,
        **{verb: {way: summary(runs) for way, runs in ways.items()} for verb, ways in taken.items()},
        "ratio": {verb: ratio(*(ways[way] for way in WAYS)) for verb, ways in taken.items()},
    }


def ratio(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> float:
    """Return the median of the ratios of each pair, as ``common.pairs`` does: a slow minute affects both of a pair."""
    return rounded(
        statistics.median(one["seconds"] / other["seconds"] for one, other in zip(ours, theirs, strict=True))
    )


def summary(runs: list[dict[str, float]]) -> dict[str, Any]:
    """Return the seconds of all runs, the medians, and the largest extra memory."""
    return {
        "runs_s": [rounded(run["seconds"]) for run in runs],
        "seconds": statistics.median(run["seconds"] for run in runs),
        "cpu_s": statistics.median(run["cpu_s"] for run in runs),
        "extra_bytes": max(run["extra_bytes"] for run in runs),
    }


def table(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    size = figures["bytes"]
    # Earlier runs did not record their server.
    place = setup_of({"server": "a Ceph gateway on loopback", **figures})
    names = {("put", "boto3"): "boto3's `upload_file`", ("get", "boto3"): "boto3's `download_file`"}
    rows = [
        (
            names.get((verb, way), f"`{verb}_file`"),
            f"{row['seconds']:.2f}",
            f"{size / MEGABYTE / row['seconds']:,.0f}",
            f"{row['cpu_s']:.2f}",
            f"{row['extra_bytes'] / MEGABYTE:.0f} MB",
        )
        for verb in VERBS
        for way, row in figures[verb].items()
    ]
    up, down = (figures["ratio"][verb] for verb in VERBS)
    return "\n".join(
        [
            f"A file of {size / MEGABYTE:,.0f} MB, medians of {figures['rounds']} interleaved runs; {place}:",
            "",
            markdown(("", "seconds", "MB/s", "CPU seconds", "peak extra memory"), rows),
            "",
            f"Seconds of CloudCached / boto3, medians of pairs: {up:.2f} up, {down:.2f} down (target: 1 or less).",
        ]
    )


def main() -> None:
    """Measure, print the table, and write the figures to a file if asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pause", type=float, default=0, help="seconds after each removal")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child[0], arguments.child[1], Path(arguments.child[2]))
        return
    figures = run(arguments.megabytes * MEGABYTE, arguments.rounds, arguments.pause)
    print(table(figures))
    if arguments.json:
        write_json(figures, arguments.json)


if __name__ == "__main__":
    main()
