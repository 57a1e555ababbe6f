"""The cache's contract, through the twins that are awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from contracts.cache import CacheContract

from cloudcached import Client


class Awaited:
    """A client whose verbs are awaited one by one, so that the tests of the plain ones fit."""

    def __init__(self, client: Client, loop: asyncio.AbstractEventLoop) -> None:
        self._client = self.plain = client
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        twin = getattr(self._client, f"a{name}", None)
        return getattr(self._client, name) if twin is None else partial(self._await, twin)

    def __contains__(self, key: object) -> bool:
        return self._await(self._client.ahas, key)

    def __enter__(self) -> Awaited:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(self, *error: object) -> None:
        self._await(self._client.aclose)

    def _await(self, twin: Any, *arguments: Any, **options: Any) -> Any:
        return self._loop.run_until_complete(twin(*arguments, **options))


class AsyncCacheContract(CacheContract):
    """The same promises, kept by ``aget``, ``aput`` and so on."""

    @pytest.fixture(autouse=True)
    def _loop(self) -> Iterator[None]:
        type(self).loop = asyncio.new_event_loop()
        yield
        self.loop.close()

    loop: asyncio.AbstractEventLoop

    @classmethod
    def adapted(cls, client: Client) -> Any:
        """Return the client behind an adapter that awaits."""
        return Awaited(client, cls.loop)
