"""``get_or_set``: one caller of a process computes, and the options of the core are there by keyword."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest
from computations import Work, background, settle, until, waiting
from django.contrib.auth.models import User
from django.db import connections

from cloudcached.testing import FakeClock
from cloudcached_django import S3Cache


@pytest.fixture
def cache() -> S3Cache:
    return S3Cache(f"memory://{uuid.uuid4().hex}", {})


def test_one_thread_computes(cache: S3Cache) -> None:
    work = Work()
    work.hold()
    before = waiting(cache.client)
    calls = [background(cache.get_or_set, "key", work) for _ in range(20)]
    until(lambda: waiting(cache.client) == before + 19)
    work.go_on()
    assert [call() for call in calls] == [{"call": 1}] * 20
    assert work.calls == 1


async def test_an_async_default(cache: S3Cache) -> None:
    threads = set()

    async def compute() -> int:
        threads.add(threading.get_ident())
        return 7

    def plain() -> int:
        threads.add(threading.get_ident())
        return 8

    assert await cache.aget_or_set("async", compute) == await cache.aget("async") == 7
    assert await cache.aget_or_set("plain", plain) == await cache.aget("plain") == 8
    assert await cache.aget_or_set("value", [9]) == await cache.aget("value") == [9]
    assert threads == {threading.get_ident()}


def test_options_by_keyword(cache: S3Cache, site_clock: FakeClock) -> None:
    work = Work()
    assert cache.get_or_set("key", work, 10, lock=True, early=1, stale=20, jitter=0.0) == {"call": 1}
    assert cache.ttl("key") == 30
    site_clock.advance(15)
    assert cache.get_or_set("key", work, 10, stale=20) == {"call": 1}
    settle(cache.client)
    assert cache.get("key") == {"call": 2}
    with pytest.raises(TypeError, match="early_bird"):
        cache.get_or_set("key", work, early_bird=1)


@pytest.mark.django_db(transaction=True)
def test_a_refresh_leaves_no_connection_behind(
    cache: S3Cache, site_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    User.objects.create_user("ada")
    opened: list[Any] = []
    closed: list[Any] = []

    def compute() -> Any:
        connection = connections["default"]
        opened.append(connection)
        # A database in memory is not closed: there is nothing to see but the call.
        monkeypatch.setattr(connection, "close", lambda: closed.append(connection))
        return User.objects.all()

    assert [user.username for user in cache.get_or_set("users", compute, 10, stale=20)] == ["ada"]
    site_clock.advance(15)
    cache.get_or_set("users", compute, 10, stale=20)
    settle(cache.client)
    assert [user.username for user in cache.get("users")] == ["ada"]
    assert len(set(map(id, opened))) == 2
    assert closed == opened[1:]


def test_memoize_on_the_sites_client(cache: S3Cache) -> None:
    numbers = []

    @cache.client.memoize(60)
    def double(number: int) -> int:
        numbers.append(number)
        return 2 * number

    assert [double(1), double(1), double(2)] == [2, 2, 4]
    assert numbers == [1, 2]
