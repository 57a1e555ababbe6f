"""The time that a fresh process takes to its first value: import, client, first ``get``.

    python -m benchmarks.start [--quick] [--json FILE]

Credentials come from the environment, and from a scripted container endpoint with a token file, as on EKS.
"""

from __future__ import annotations

import argparse
import compileall
import http.server
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cloudcached
from cloudcached import Client

from .common import BUCKET, markdown, rounded, s3_client, section, setup_of, where

#: The program of each process; the interpreter's own start is not counted.
PROGRAM = """
import sys, time
sys.modules["awscrt"] = None  # botocore would import it if it is installed
began = time.perf_counter()
{work}
print(time.perf_counter() - began)
"""
WORK = {
    "CloudCached": """
from cloudcached import Client
assert Client("s3://{bucket}/start", signing_key="benchmark").get("key") == "value"
""",
    "boto3": """
import boto3
assert boto3.client("s3").get_object(Bucket="{bucket}", Key="{name}")["Body"].read()
""",
}


@contextmanager
def container() -> Iterator[dict[str, str]]:
    """Yield the environment variables of a container whose endpoint returns this environment's credentials."""
    given = json.dumps(
        {
            "AccessKeyId": os.environ["AWS_ACCESS_KEY_ID"],
            "SecretAccessKey": os.environ["AWS_SECRET_ACCESS_KEY"],
            "Token": os.environ.get("AWS_SESSION_TOKEN", ""),
            "Expiration": "2099-01-01T00:00:00Z",
        }
    ).encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(given)))
            self.end_headers()
            self.wfile.write(given)

        def log_message(self, *_: object) -> None:
            """Do not log requests."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, tempfile.NamedTemporaryFile() as token:
        token.write(b"token")
        token.flush()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{server.server_port}/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": token.name,
        }
        server.shutdown()


def seconds_of(work: str, env: dict[str, str]) -> float:
    """Return the seconds that a fresh process reports."""
    command = [sys.executable, "-c", PROGRAM.format(work=work)]
    return float(subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout)  # noqa: S603


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure everything, and return the figures."""
    s3_client()
    cache = Client(f"s3://{BUCKET}/start", signing_key="benchmark")
    cache.put("key", "value", replace=True)
    info = cache.info("key")
    assert info is not None  # noqa: S101 - put a line above
    works = {name: work.format(bucket=BUCKET, name=info.object_key) for name, work in WORK.items()}
    # Compiled, as pip leaves a package: nobody's process compiles the source at its first import.
    compileall.compile_dir(str(Path(cloudcached.__file__).parent), quiet=1)
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_CONTAINER")}
    without = {
        name: value for name, value in env.items() if not name.startswith(("AWS_ACCESS", "AWS_SECRET", "AWS_SESS"))
    }
    with container() as given:
        environments = {"environment": env, "container": {**without, **given}}
        taken: dict[str, dict[str, list[float]]] = {kind: {name: [] for name in works} for kind in environments}
        for _ in range(2 if arguments.quick else 11):
            for kind, variables in environments.items():
                for name, work in works.items():
                    taken[kind][name].append(seconds_of(work, variables))
    medians = {
        kind: {name: rounded(statistics.median(values)) for name, values in rows.items()}
        for kind, rows in taken.items()
    }
    return {
        **where(("obstore", "boto3")),
        "first_get_s": medians,
        "ratio": {kind: rounded(row["CloudCached"] / row["boto3"]) for kind, row in medians.items()},
    }


def text(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    rows = [
        (kind, *(f"{seconds * 1e3:.0f} ms" for seconds in row.values()), f"{figures['ratio'][kind]:.2f}")
        for kind, row in figures["first_get_s"].items()
    ]
    return "\n".join(
        [
            f"From the first import to the first value, in fresh processes, interleaved; {setup_of(figures)}:",
            "",
            markdown(("credentials from", *WORK, "CloudCached / boto3"), rows),
        ]
    )


if __name__ == "__main__":
    section(run, __doc__)
