"""The port's contract over the wire, plain and over both versions of TLS, beside boto3: each reads what the other wrote."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from contracts.object_store import MissingBucketContract, ObjectStoreContract
from tls_proxy import Authority, TLSProxy
from wire_stores import wire_store

from cloudcached.config import Config
from cloudcached.stores.boto3.store import S3Store
from cloudcached.stores.port import Store, Write
from cloudcached.stores.wire.request import Keys


@pytest.fixture(scope="session")
def proxies(authority: Authority) -> Iterator[Callable[[str, str], TLSProxy]]:
    """Give the proxy in front of an endpoint that speaks a version of TLS."""
    made: dict[tuple[str, str], TLSProxy] = {}
    with ExitStack() as stack:

        def proxy(endpoint: str, version: str) -> TLSProxy:
            if (endpoint, version) not in made:
                made[endpoint, version] = stack.enter_context(TLSProxy(endpoint, authority, version))
            return made[endpoint, version]

        yield proxy


class OnTheWire(ObjectStoreContract, MissingBucketContract):
    #: "" for plain http.
    version = ""
    #: Whether boto3 writes and the wire reads, instead of the other way round.
    reads = False
    _stores: dict[Any, Store] = {}  # noqa: RUF012 - a boto3 client takes a tenth of a second

    @pytest.fixture
    def root(self, s3_url: str) -> str:
        return s3_url.rpartition("/")[2] + "/"

    @pytest.fixture
    def wire(
        self, s3_url: str, proxies: Callable[[str, str], TLSProxy], authority: Authority
    ) -> Callable[[str], Store]:
        endpoint = os.environ["AWS_ENDPOINT_URL"]
        if self.version:
            endpoint = proxies(endpoint, self.version).endpoint

        def on(bucket: str) -> Store:
            keys = Keys(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
            bundle = authority.bundle if self.version else ""
            return self._stores.setdefault((endpoint, bucket), wire_store(endpoint, bucket, keys, ca_bundle=bundle))

        return on

    @pytest.fixture
    def boto3(self, s3_url: str) -> Store:
        endpoint = os.environ["AWS_ENDPOINT_URL"]
        if ("boto3", endpoint) not in self._stores:
            config = Config.parse(s3_url.rpartition("/")[0], {"s3": {"endpoint_url": endpoint}})
            self._stores["boto3", endpoint] = S3Store(config)
        return self._stores["boto3", endpoint]

    @pytest.fixture
    def store(self, s3_url: str, wire: Callable[[str], Store], boto3: Store) -> Store:
        return boto3 if self.reads else wire(s3_url.split("/")[2])

    @pytest.fixture
    def other(self, s3_url: str, wire: Callable[[str], Store], boto3: Store) -> Store:
        return wire(s3_url.split("/")[2]) if self.reads else boto3

    @pytest.fixture
    def bucketless(self, wire: Callable[[str], Store]) -> Store:
        return wire(f"cloudcached-missing-{uuid.uuid4().hex[:12]}")


class TestPlain(OnTheWire):
    pass


class TestPlainReadsWhatBoto3Wrote(OnTheWire):
    reads = True


class TestTLS12(OnTheWire):
    version = "1.2"


class TestTLS13(OnTheWire):
    version = "1.3"


class TestTLS13ReadsWhatBoto3Wrote(OnTheWire):
    version = "1.3"
    reads = True


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_later_connection_resumes_the_session(s3_url: str, authority: Authority, version: str) -> None:
    with TLSProxy(os.environ["AWS_ENDPOINT_URL"], authority, version) as proxy:
        keys = Keys(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
        store = wire_store(proxy.endpoint, s3_url.split("/")[2], keys, ca_bundle=authority.bundle)
        name = s3_url.rpartition("/")[2] + "/a"
        for _ in range(3):
            store.put(Write(name, b"x", {}), timeout=30)
            assert bytes(store.get(name, timeout=30).read()) == b"x"
            store.close()
    assert {spoken for spoken, _ in proxy.spoken} == {f"TLSv{version}"}
    resumed = [is_resumed for _, is_resumed in proxy.spoken]
    assert resumed == [False, True, True, *[True] * (len(resumed) - 3)]  # moto closes after each answer
