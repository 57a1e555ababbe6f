"""What every cache promises, whatever its URL: run by a subclass that gives the URL.

    class TestMemory(CacheContract):
        @pytest.fixture
        def url(self):
            return "memory://name"

The parts are in modules of their own: verbs, expiry, values, keys, bulk calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from contracts.cache_bulk import BulkContract
from contracts.cache_expiry import ExpiryContract
from contracts.cache_keys import IsolationContract, KeysContract
from contracts.cache_values import ValuesContract
from contracts.cache_verbs import BadInputContract, VerbsContract

from cloudcached import Client
from cloudcached.testing import FakeClock


class CacheContract(
    VerbsContract, BadInputContract, ExpiryContract, ValuesContract, KeysContract, IsolationContract, BulkContract
):
    """The semantics of ``Client`` on any URL."""

    #: The client's options.
    options: ClassVar[dict[str, Any]] = {}

    @pytest.fixture
    def url(self) -> str:
        """Give the URL of an empty cache."""
        raise NotImplementedError

    @pytest.fixture
    def open_cache(self, url: str, clock: FakeClock) -> Iterator[Callable[..., Any]]:
        """Give a function that opens a cache, on ``url + below`` and with other options if need be."""
        opened = []

        def open_cache(below: str = "", **options: Any) -> Any:
            client = Client(url + below, clock=clock, **{**self.options, **options})
            opened.append(client)
            return self.adapted(client)

        yield open_cache
        for client in opened:
            client.close()

    @pytest.fixture
    def cache(self, open_cache: Callable[..., Any]) -> Any:
        """Give the cache under test."""
        return open_cache()

    @staticmethod
    def adapted(client: Client) -> Any:
        """Return what the tests call: the client itself, or an adapter."""
        return client
