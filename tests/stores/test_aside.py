"""When the obstore store steps aside for boto3, and when it need not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from scripted_server import Request, ScriptedServer, answer, head

from cloudcached import ConfigError
from cloudcached.config import Config
from cloudcached.stores.boto3.store import S3Store
from cloudcached.stores.native.store import FastS3Store
from cloudcached.stores.port import Store, Write

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
    return ["boto3" if "Boto3" in r.headers["user-agent"] else "obstore" for r in scripted.requests]


def test_plain_credentials_need_no_botocore(scripted: ScriptedServer) -> None:
    assert run("ask(); print([name for name in ('boto3', 'botocore') if name in sys.modules])") == ["[]"]
    assert clients(scripted) == ["obstore"]


def test_nothing_is_imported_or_asked_before_it_is_needed(scripted: ScriptedServer) -> None:
    heavy = "('boto3', 'botocore', 'obstore', 'urllib.request')"
    assert run(f"print([name for name in {heavy} if name in sys.modules])") == ["[]"]
    assert scripted.requests == []


def test_a_child_of_a_process_that_used_it(scripted: ScriptedServer) -> None:
    lines = run("ask(); in_child(lambda: (ask(), ask(), print('done'))); ask()")
    assert lines == [
        "s3://bucket is accessed through boto3: this process was forked from one that had used obstore",
        "done",
    ]
    assert clients(scripted) == ["obstore", "boto3", "boto3", "obstore"]


def test_a_child_of_a_process_that_did_not(scripted: ScriptedServer) -> None:
    assert run("in_child(lambda: print(ask() < 1)); in_child(lambda: print(ask() < 1)); ask()") == ["True", "True"]
    assert clients(scripted) == ["obstore"] * 3


def test_a_child_of_a_process_in_which_somebody_else_used_it(scripted: ScriptedServer) -> None:
    run("import obstore; in_child(ask)")
    assert clients(scripted) == ["boto3"]


def test_boto3_is_made_anew_in_a_child(scripted: ScriptedServer) -> None:
    """Also where another thread of the parent held its lock."""
    script = """
inner = store.dated
inner.get("a", timeout=3).close()
with inner.sessions._made().lock:
    in_child(lambda: print(inner.get("a", timeout=3).read()))
"""
    assert run(script) == ["b'hello'"]


def test_forced_and_forked(scripted: ScriptedServer) -> None:
    script = """
store = open_store(Config.parse("s3://bucket", {"transport": "obstore"}), SystemClock())
ask()
def fail():
    try:
        ask()
    except ValueError as error:
        print(type(error).__name__)
in_child(fail)
"""
    assert run(script) == ["ConfigError"]


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
    assert lines == [
        "s3://bucket is accessed through boto3: gevent has patched the sockets, which obstore does not use",
        "True",
    ]
    assert clients(scripted) == ["boto3"] * 11


def test_gevent_without_patches(scripted: ScriptedServer) -> None:
    run("ask()", before="import gevent.monkey")
    assert clients(scripted) == ["obstore"]


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
    assert lines == ["s3://bucket is accessed through boto3: moto's mock_aws is active, which obstore would bypass"]


def test_moto_without_its_mock(scripted: ScriptedServer) -> None:
    run("ask()", before="import moto.core.models")
    assert clients(scripted) == ["obstore"]


# Settings


def fast(**options: Any) -> FastS3Store:
    config = Config.parse(options.pop("url", "s3://bucket"), {"timeout": 3, **options})
    return FastS3Store(config, S3Store(config))


def test_names_that_obstore_would_change(scripted: ScriptedServer) -> None:
    store = fast(transport="obstore")
    for name in ("a//b", "a/../b", "/a", "a/", "caf\xe9", "a\x01"):
        store.get(name, timeout=3).close()
    assert set(clients(scripted)) == {"boto3"}
    store.get("a", timeout=3)
    assert clients(scripted)[-1] == "obstore"


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"AWS_USE_FIPS_ENDPOINT": "true", "AWS_ENDPOINT_URL": ""}, "FIPS endpoints are set"),
        ({"AWS_USE_DUALSTACK_ENDPOINT": "true", "AWS_ENDPOINT_URL": ""}, "dual-stack endpoints are set"),
        ({"AWS_SERVER_SIDE_ENCRYPTION": "aws:kms"}, "AWS_SERVER_SIDE_ENCRYPTION is set, which boto3 does not know"),
        ({"aws_sse_kms_key_id": "x"}, "aws_sse_kms_key_id is set, which boto3 does not know"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "boto3 finds no credentials"),
        ({"AWS_ENDPOINT_URL": "http://proxied.test"}, "a proxy is set"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_obstore_cannot_do(
    scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], reason: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    store = fast()
    store._step_aside = reasons = Told()  # type: ignore[method-assign]
    assert store._lane("a", 3.0) is None
    assert store._lane("a", 3.0) is None
    assert reasons == [reason] * 2
    with pytest.raises(ConfigError, match="use transport='auto'"):
        fast(transport="obstore").get("a", timeout=3)


class Told(list[str]):
    def __call__(self, reason: str) -> None:
        self.append(reason)


@pytest.mark.parametrize("bucket", ["arn:aws:s3:us-east-1:123456789012:accesspoint/mine", "bucket--use1-az4--x-s3"])
def test_buckets_that_are_none(scripted: ScriptedServer, bucket: str) -> None:
    with pytest.raises(ConfigError, match="access point or in S3 Express"):
        fast(url=f"s3://{bucket}", transport="obstore").get("a", timeout=3)


def test_a_version_of_obstore_that_knows_less(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    import obstore.store

    def refuse(*_: object, **__: object) -> None:
        raise TypeError("unknown argument")

    monkeypatch.setattr(obstore.store, "S3Store", refuse)
    assert fast().get("a", timeout=3).read() == b"hello"
    assert clients(scripted) == ["boto3"]


# Time


def test_time_limits_are_steps_of_the_timeout(scripted: ScriptedServer) -> None:
    store = fast(timeout=4)
    store.get("a", timeout=4)
    lanes = store._lanes
    assert lanes is not None
    given = {left: lanes.for_reading(left) for left in (9.0, 4.0, 3.9, 3.0, 1.95, 1.5, 0.5, 0.001)}
    assert {
        left: next(seconds for seconds, s in lanes._readers.items() if s is made) for left, made in given.items()
    } == {
        9.0: 4.0,
        4.0: 4.0,
        3.9: 4.0,
        3.0: 2.0,
        1.95: 2.0,
        1.5: 1.0,
        0.5: 1.0,
        0.001: 1.0,
    }


@pytest.mark.parametrize("transport", ["boto3", "obstore"])
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


@pytest.mark.parametrize("transport", ["boto3", "obstore"])
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
    return S3Store(config) if transport == "boto3" else FastS3Store(config, S3Store(config))
