"""The stores on S3: both transports, each reading what the other wrote."""

from __future__ import annotations

import functools
import hashlib
import os
import uuid
from pathlib import Path

import pytest
from contracts.object_store import MissingBucketContract, ObjectStoreContract
from scripted_server import ScriptedServer, answer

from cloudcached.config import Config
from cloudcached.stores.boto3.deadlines import Deadline, Upload
from cloudcached.stores.boto3.store import S3Store
from cloudcached.stores.port import Store
from cloudcached.stores.transport import Transport


@functools.cache
def _store_on(endpoint: str, bucket: str, transport: str) -> Store:
    config = Config.parse(f"s3://{bucket}", {"transport": transport, "s3": {"endpoint_url": endpoint}})
    return S3Store(config) if transport == "boto3" else Transport(config)


def store_on(url: str, transport: str) -> Store:
    """Return a store on the bucket of *url*, made once: a boto3 client takes a tenth of a second."""
    return _store_on(os.environ["AWS_ENDPOINT_URL"], url.split("/")[2], transport)


class OnS3(ObjectStoreContract, MissingBucketContract):
    transports: tuple[str, str]

    @pytest.fixture
    def root(self, s3_url: str) -> str:
        return s3_url.rpartition("/")[2] + "/"

    @pytest.fixture
    def store(self, s3_url: str) -> Store:
        return store_on(s3_url, self.transports[0])

    @pytest.fixture
    def other(self, s3_url: str) -> Store:
        return store_on(s3_url, self.transports[1])

    @pytest.fixture
    def bucketless(self, s3_url: str) -> Store:
        return store_on(f"s3://cloudcached-missing-{uuid.uuid4().hex[:12]}/prefix", self.transports[0])


class TestBoto3(OnS3):
    transports = ("boto3", "wire")


class TestWire(OnS3):
    transports = ("wire", "boto3")


def test_what_a_part_is_signed_with() -> None:
    part = b"x" * 100_000
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    with ScriptedServer() as server:
        server.step = answer(200, b"")
        config = Config.parse("s3://bucket", {"s3": {"endpoint_url": server.endpoint, **keys}})
        S3Store(config).put_part("k", "1", 1, part, timeout=5)
    (request,) = server.requests
    assert request.body == part
    assert request.headers["x-amz-content-sha256"] == hashlib.sha256(part).hexdigest()


def test_who_signs_no_bodies_signs_no_parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By a setting of AWS's configuration file."""
    settings = tmp_path / "config"
    settings.write_text("[default]\ns3 =\n  payload_signing_enabled = false\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(settings))
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    with ScriptedServer() as server:
        server.step = answer(200, b"")
        config = Config.parse("s3://bucket", {"s3": {"endpoint_url": server.endpoint, **keys}})
        S3Store(config).put_part("k", "1", 1, b"x" * 100_000, timeout=5)
    assert server.requests[0].headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"


def test_a_body_is_sent_in_pieces() -> None:
    """Each is sent within the connect timeout, also by a slow line."""
    upload = Upload(bytes(1 << 20), Deadline(5))
    assert [len(upload.read(16_384)) for _ in range(17)] == [65_536] * 16 + [0]


def test_a_body_can_be_read_into_a_buffer() -> None:
    """As awscrt does, by which botocore signs where it is installed."""
    upload = Upload(b"0123456789", Deadline(5))
    buffer = bytearray(6)
    assert (upload.readinto(buffer), bytes(buffer)) == (6, b"012345")
    assert (upload.readinto(buffer), bytes(buffer)) == (4, b"678945")
    assert upload.readinto(buffer) == 0
    upload.seek(0)
    assert upload.read() == b"0123456789"
