"""Workers of a real gunicorn: forked from a master that has used the cache, threaded, and under gevent."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from crew import together

pytestmark = pytest.mark.slow

#: Seconds. The promise is one; the rest is for a busy machine.
AT_ONCE = 5.0
ASIDE = "is accessed through boto3"

APP = """
import json, logging, os, time
from cloudcached import Client

logging.basicConfig(level="INFO")
client = Client.shared(os.environ["CACHE_URL"], timeout=30)
if os.environ.get("PRELOADED"):
    client.put("preloaded", os.getpid(), replace=True)

def app(environ, start_response):
    began = time.monotonic()
    preloaded = client.get("preloaded")
    hits = client.incr("hits", initial=0)
    told = {"pid": os.getpid(), "preloaded": preloaded, "hits": hits, "seconds": time.monotonic() - began}
    body = json.dumps(told).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
"""


@contextmanager
def gunicorn(folder: Path, url: str, *options: str, **env: str) -> Iterator[tuple[str, Path]]:
    """Run the application above; yield its address and the file of its log."""
    (folder / "site_of_test.py").write_text(APP)
    log = folder / "log"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    paths = os.pathsep.join([str(folder), *filter(None, sys.path)])
    command = [sys.executable, "-m", "gunicorn", "--bind", address, *options, "site_of_test:app"]
    env = {**os.environ, "PYTHONPATH": paths, "CACHE_URL": url, **env}
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output, env=env) as process:
        try:
            for _ in range(300):
                with suppress(OSError), socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))):
                    break
                time.sleep(0.1)
            yield f"http://{address}/", log
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                assert process.wait(30) == 0, log.read_text()
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def visit(address: str) -> dict[str, Any]:
    with urllib.request.urlopen(address, timeout=60) as response:
        assert response.status == 200
        visit: dict[str, Any] = json.load(response)
    return visit


class TestGunicorn:
    def check(self, address: str, count: int, *, exact: bool) -> list[dict[str, Any]]:
        answers = together(6, lambda: [visit(address) for _ in range(count // 6)])
        visits = [visit for answer in answers for visit in answer]
        assert max(visit["seconds"] for visit in visits) < AT_ONCE
        if exact:  # moto's conditional writes are not atomic
            assert sorted(visit["hits"] for visit in visits) == list(range(1, count + 1))
        return visits

    def test_with_preload(self, s3_url: str, server: Any, tmp_path: Path) -> None:
        options = ["--preload", "--workers", "3", "--threads", "4"]
        with gunicorn(tmp_path, s3_url, *options, PRELOADED="1") as (address, log):
            visits = self.check(address, 60, exact=server.is_real)
            workers = {visit["pid"] for visit in visits}
            (parent,) = {visit["preloaded"] for visit in visits}
            assert parent not in workers
            os.kill(max(workers), signal.SIGKILL)  # gunicorn forks another one
            assert visit(address)["preloaded"] == parent
            assert ASIDE not in log.read_text()

    def test_without_preload(self, s3_url: str, server: Any, tmp_path: Path) -> None:
        with gunicorn(tmp_path, s3_url, "--workers", "2", "--threads", "4") as (address, log):
            self.check(address, 30, exact=server.is_real)
            assert ASIDE not in log.read_text()

    def test_with_gevent(self, s3_url: str, server: Any, tmp_path: Path) -> None:
        with gunicorn(tmp_path, s3_url, "--workers", "2", "--worker-class", "gevent") as (address, log):
            self.check(address, 30, exact=server.is_real)
            assert ASIDE not in log.read_text()
