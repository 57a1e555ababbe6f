"""The stores in processes of every kind: those that import little, fork, use gevent or moto; and those that are slow."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from scripted_server import Request, ScriptedServer, answer, head

from cloudcached.config import Config
from cloudcached.stores.boto3.store import S3Store
from cloudcached.stores.port import Store, Write
from cloudcached.stores.transport import Transport

START = """
import logging, os, sys, time
from cloudcached.runtime.clock import SystemClock
from cloudcached.config import Config
from cloudcached.stores import open_store
from cloudcached.stores.port import Write
logging.basicConfig(level="WARNING", format="%(message)s", stream=sys.stdout)
logging.getLogger("cloudcached").setLevel("INFO")
store = open_store(Config.parse("s3://bucket", {"timeout": 3}), SystemClock())

def ask():
    began = time.monotonic()
    assert store.get("a", timeout=3).read() == b"hello"
    return time.monotonic() - began

def in_child(work):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            work()
            sys.stdout.flush()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.endpoint)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testsecret")
        yield running


def run(script: str, *, before: str = "") -> list[str]:
    """Run a script in a process of its own and return the lines that it printed."""
    command = [sys.executable, "-W", "ignore", "-c", f"{before}\n{START}\n{script}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def clients(scripted: ScriptedServer) -> list[str]:
    return ["boto3" if "Boto3" in r.headers.get("user-agent", "") else "wire" for r in scripted.requests]


def test_plain_credentials_need_no_botocore(scripted: ScriptedServer) -> None:
    assert run("ask(); print([name for name in ('boto3', 'botocore') if name in sys.modules])") == ["[]"]
    assert clients(scripted) == ["wire"]


def test_nothing_is_imported_or_asked_before_it_is_needed(scripted: ScriptedServer) -> None:
    heavy = "('boto3', 'botocore', 'ssl', 'urllib.request')"
    assert run(f"print([name for name in {heavy} if name in sys.modules])") == ["[]"]
    assert scripted.requests == []


def test_a_child_of_a_process_that_used_it(scripted: ScriptedServer) -> None:
    lines = run("ask(); in_child(lambda: (ask(), ask(), print('done'))); ask()")
    assert lines == ["done"]
    assert clients(scripted) == ["wire"] * 4


def test_a_child_of_a_process_that_did_not(scripted: ScriptedServer) -> None:
    assert run("in_child(lambda: print(ask() < 1)); in_child(lambda: print(ask() < 1)); ask()") == ["True", "True"]
    assert clients(scripted) == ["wire"] * 3


def test_boto3_is_made_anew_in_a_child(scripted: ScriptedServer) -> None:
    """Also where another thread of the parent held its lock."""
    script = """
inner = open_store(Config.parse("s3://bucket", {"timeout": 3, "transport": "boto3"}), SystemClock()).inner
inner.get("a", timeout=3).close()
with inner.sessions._made().lock:
    in_child(lambda: print(inner.get("a", timeout=3).read()))
"""
    assert run(script) == ["b'hello'"]


def test_gevent(scripted: ScriptedServer) -> None:
    def slowly(request: Request, connection: Any) -> None:
        scripted.over.wait(0.3)
        answer(200, b"hello")(request, connection)

    scripted.step = slowly
    script = """
import gevent
ask()
began = time.monotonic()
gevent.joinall([gevent.spawn(ask) for _ in range(10)], raise_error=True)
print(time.monotonic() - began < 2)
"""
    lines = run(script, before="from gevent import monkey; monkey.patch_all()")
    assert lines == ["True"]
    assert clients(scripted) == ["wire"] * 11


def test_gevent_without_patches(scripted: ScriptedServer) -> None:
    run("ask()", before="import gevent.monkey")
    assert clients(scripted) == ["wire"]


def test_mock_aws(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing leaves the mock; a test that would reach AWS would meet a proxy that does not exist."""
    script = """
import boto3
from moto import mock_aws
os.environ.pop("AWS_ENDPOINT_URL", None)
store = open_store(Config.parse("s3://bucket", {"timeout": 3}), SystemClock())
for _ in range(2):
    with mock_aws():
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="bucket")
        store.put(Write("a", b"hello", {"cc-a": "1"}), timeout=3)
        assert dict(store.head("a", timeout=3).metadata) == {"cc-a": "1"}
        ask()
        assert store.list("", timeout=3)[0][0].object_key == "a"
        store.delete("a", timeout=3)
        store.close()
"""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    lines = run(script)
    assert lines == ["s3://bucket is accessed through boto3: moto's mock_aws is active, which the wire would bypass"]


def test_moto_without_its_mock(scripted: ScriptedServer) -> None:
    run("ask()", before="import moto.core.models")
    assert clients(scripted) == ["wire"]


# Time


@pytest.mark.parametrize("transport", ["boto3", "wire"])
def test_a_large_body_may_take_longer_while_it_flows(scripted: ScriptedServer, transport: str) -> None:
    size = 3 << 20

    def slowly(request: Request, connection: Any) -> None:
        connection.sendall(head(200, size))
        for _ in range(12):
            connection.sendall(bytes(size // 12))
            time.sleep(0.06)

    scripted.step = slowly
    store = slow_store(transport)
    began = time.monotonic()
    assert len(store.get("a", timeout=0.4).read()) == size
    assert time.monotonic() - began > 0.4


@pytest.mark.parametrize("transport", ["boto3", "wire"])
def test_a_large_upload_may_take_longer_while_it_flows(scripted: ScriptedServer, transport: str) -> None:
    body = os.urandom(12 << 20)
    scripted.pace = 0.05
    scripted.step = answer(200)
    store = slow_store(transport)
    began = time.monotonic()
    store.put(Write("a", body, {}), timeout=0.4)
    assert time.monotonic() - began > 0.4
    assert scripted.requests[-1].body == body


def slow_store(transport: str) -> Store:
    config = Config.parse("s3://bucket", {"timeout": 0.4, "transport": transport})
    return S3Store(config) if transport == "boto3" else Transport(config)
