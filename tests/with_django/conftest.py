"""The Django site of these tests, and caches in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import django
import pytest
from asgiref.sync import async_to_sync
from store_doubles import wrap_store

from cloudcached.stores.port import Write
from cloudcached.testing import FakeClock

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "with_django.site_settings")
django.setup()

from cloudcached_django import S3Cache  # noqa: E402 - it needs the settings


class Awaited:
    """The ``a...`` methods of a cache under the names of the others, so that one test proves both."""

    def __init__(self, cache: S3Cache) -> None:
        self.cache = cache

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.cache, f"a{name}")
        return async_to_sync(method)


@pytest.fixture(params=["sync", "async"])
def make_cache(request: pytest.FixtureRequest, any_url: str) -> Callable[..., Any]:
    """Give a function that makes a cache at one LOCATION, from the rest of its settings; sync, and async."""

    def make(**params: Any) -> Any:
        cache = S3Cache(any_url, params)
        return cache if request.param == "sync" else Awaited(cache)

    return make


@pytest.fixture
def cache(make_cache: Callable[..., Any]) -> Any:
    """Give an empty cache with Django's default settings."""
    return make_cache()


@pytest.fixture
def site_clock(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """Give the clock by which all clients judge expiry."""
    monkeypatch.setattr("cloudcached.runtime.clock.SystemClock.time", staticmethod(clock.time))
    return clock


@pytest.fixture
def site(settings: Any, any_url: str) -> Any:
    """Give the site's settings, with an empty default cache on every store."""
    from with_django.site_urls import computed

    computed.clear()
    settings.CACHES = {"default": {"BACKEND": "cloudcached_django.S3Cache", "LOCATION": any_url}}
    return settings


class Watched:
    """A store that notes the name of each request; ``before`` is called first, and may wait or fail."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.requests: list[str] = []
        self.before: Callable[[str, str], None] = lambda verb, object_key: None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)

        def request(where: Any, *args: Any, **kwargs: Any) -> Any:
            self.before(name, where.object_key if isinstance(where, Write) else where)
            self.requests.append(name)
            return method(where, *args, **kwargs)

        return method if name == "close" else request

    def since(self) -> list[str]:
        """Return the requests since the last call, and forget them."""
        requests, self.requests = self.requests, []
        return requests


@pytest.fixture
def watch() -> Iterator[Callable[[Any], Watched]]:
    """Give a function that watches the store of a cache, until the test ends."""
    engines = []

    def watch(cache: Any) -> Watched:
        engine = getattr(cache, "cache", cache).client.engine
        engines.append(engine)
        return wrap_store(engine, Watched)

    yield watch
    for engine in engines:
        engine.wrap_store(lambda watched: watched.store)
