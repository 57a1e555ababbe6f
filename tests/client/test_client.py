"""The cache's contract on every kind of URL, and what ``Client`` is beyond it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from contracts.async_cache import AsyncCacheContract
from contracts.cache import CacheContract

from cloudcached import Client
from cloudcached.stores.port import Store
from cloudcached.testing import FakeClock


class TestMemory(CacheContract):
    @pytest.fixture
    def url(self) -> str:
        return f"memory://{uuid.uuid4().hex}"


class TestMemorySigned(TestMemory):
    options: ClassVar = {"signing_key": ["a secret", b"an older one"]}


class TestMemoryAwaited(AsyncCacheContract):
    @pytest.fixture
    def url(self) -> str:
        return f"memory://{uuid.uuid4().hex}"


@pytest.fixture(scope="class")
def stores() -> Iterator[dict[str, Store]]:
    """Give the stores that a class has opened, by endpoint."""
    stores: dict[str, Store] = {}
    yield stores
    for store in stores.values():
        store.close()


class S3Contract(CacheContract):
    """On a server, with one store for all tests: to make a client of boto3 takes longer than a test."""

    @pytest.fixture
    def url(self, s3_url: str) -> str:
        return s3_url

    @pytest.fixture
    def open_cache(self, url: str, clock: FakeClock, stores: dict[str, Store]) -> Callable[..., Any]:
        def open_cache(below: str = "", **options: Any) -> Client:
            client = Client(url + below, clock=clock, **{**self.options, **options})
            engine = client.engine
            engine.wrap_store(lambda store: stores.setdefault(os.environ["AWS_ENDPOINT_URL"], store))
            return client

        return open_cache


class TestBoto3(S3Contract):
    options: ClassVar = {"transport": "boto3"}


class TestWire(S3Contract):
    options: ClassVar = {"transport": "wire", "signing_key": "a secret"}
