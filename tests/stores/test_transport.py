"""Which transport sends a request: the wire, or boto3 where the wire cannot."""

from __future__ import annotations

import logging
from typing import Any

import boto3
import pytest
from moto import mock_aws
from scripted_server import ScriptedServer, answer

from cloudcached import BucketMissing, Client, ConfigError, NotFound
from cloudcached.config import Config
from cloudcached.stores import open_store, transport
from cloudcached.stores.boto3.chain import Unsupported
from cloudcached.stores.boto3.store import S3Store
from cloudcached.stores.port import Write
from cloudcached.stores.transport import Transport
from cloudcached.stores.wire.store import WireStore
from cloudcached.testing import FakeClock

KEYS = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}


def transport_to(endpoint: str, name: str = "auto", bucket: str = "bucket") -> Transport:
    return Transport(Config.parse(f"s3://{bucket}", {"transport": name, "s3": {"endpoint_url": endpoint, **KEYS}}))


def test_the_wire_where_nothing_hinders_it() -> None:
    with ScriptedServer() as server:
        server.step = answer(200, b"", {"ETag": '"e"'})
        store = transport_to(server.endpoint, "wire")
        assert store.chosen() == ("wire", "")
        assert store.put(Write("k", b"x", {}), timeout=5) == "e"
        assert type(store.inner) is WireStore
        store.close()


def test_a_404_that_does_not_say_what_is_missing() -> None:
    with ScriptedServer() as server:
        server.step = answer(404, b"")
        assert type(transport_to(server.endpoint).missing("get", "k", 5)) is BucketMissing
        server.step = answer(200, b"")
        assert type(transport_to(server.endpoint).missing("get", "k", 5)) is NotFound


@pytest.mark.parametrize("bucket", ["cache--usw2-az1--x-s3", "arn:aws:s3:us-east-1:123456789012:accesspoint/ap"])
def test_boto3_for_buckets_that_the_wire_does_not_know(bucket: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cloudcached")
    store = transport_to("http://127.0.0.1:9", bucket=bucket)
    for _ in range(2):
        assert type(store.inner) is S3Store
    name, reason = store.chosen()
    assert name == "boto3"
    assert "access point, or in S3 Express" in reason
    assert [line.getMessage() for line in caplog.records].count(
        f"s3://{bucket} is accessed through boto3: {reason}"
    ) == 1
    with pytest.raises(ConfigError, match=r"transport='wire' is not possible: .*; use transport='auto'"):
        transport_to("http://127.0.0.1:9", "wire", bucket).head("k", timeout=1)


@mock_aws
def test_boto3_inside_mock_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at for each request: the same client goes back to the wire afterwards."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.delenv("HTTPS_PROXY")
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="mocked")
    store = Transport(Config.parse("s3://mocked", {}))
    assert store.put(Write("k", b"x", {"a": "1"}), timeout=5)
    assert store.get("k", timeout=5).read() == b"x"
    assert store.chosen()[0] == "boto3"
    assert type(store.missing("get", "none", 5)) is NotFound
    with monkeypatch.context() as patched:
        patched.setattr(transport, "_MOTO", "nothing")
        assert store.chosen() == ("wire", "")


@pytest.mark.parametrize(
    ("proxy", "wanted"),
    [
        ("http://proxy:3128", ("proxy", 3128)),
        ("http://proxy", ("proxy", 80)),
        ("http://[::1]:1", ("::1", 1)),
        (None, None),
    ],
)
@pytest.mark.parametrize(
    ("cert", "pair"), [(None, None), ("both.pem", ("both.pem", None)), (("c.pem", "k.pem"), ("c.pem", "k.pem"))]
)
def test_where_the_line_leads(proxy: Any, wanted: Any, cert: Any, pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = transport_to("http://127.0.0.1:9").target()
    changes = {"scheme": "https", "ca_bundle": "ca.pem", "proxy": proxy, "client_cert": cert}
    target = type(found)(**{**vars(found), **changes})
    monkeypatch.setattr(transport, "locate", lambda *_: target)
    line = transport_to("http://127.0.0.1:9")._wire.line()
    assert (line.endpoint.is_tls, line.endpoint.host, line.endpoint.port) == (True, "127.0.0.1", 9)
    assert (line.endpoint.ca_bundle, line.endpoint.client_cert, line.endpoint.proxy) == ("ca.pem", pair, wanted)
    assert (line.place.host, line.place.path, line.place.region) == ("127.0.0.1:9", "/bucket/", "us-east-1")


def test_settings_that_are_wrong_are_said_at_the_first_request() -> None:
    store = Transport(Config.parse("s3://bucket", {"s3": {**KEYS, "endpoint_url": "nonsense"}}))
    with pytest.raises((ConfigError, Unsupported), match="nonsense"):
        store.head("k", timeout=1)


def test_the_option(any_url: str) -> None:
    """A client with it works on every server; in memory it has no meaning."""
    client = Client(any_url, transport="wire", signing_key="key")
    assert client.put("k", {"a": 1}, 60)
    assert client.incr("n", initial=0) == 1
    with client.lock("l"):
        assert client.lock("l").locked()
    assert client.get_many(["k", "n"]) == {"k": {"a": 1}, "n": 1}
    assert client.put_file("file", __file__)
    assert sorted(client.keys()) == ["file", "k", "n"]
    assert client.delete("k") is True
    assert client.clear() == 2


def test_the_wire_is_the_default() -> None:
    for options, kind in (({}, Transport), ({"transport": "wire"}, Transport), ({"transport": "boto3"}, S3Store)):
        store: Any = open_store(Config.parse("s3://bucket", options), FakeClock())
        assert type(store.inner) is kind
