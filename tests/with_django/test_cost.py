"""What each operation asks of S3, and that several keys are asked for at once."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from cloudcached.testing import FakeClock
from cloudcached_django import S3Cache


@pytest.fixture
def asked(cache: Any, watch: Callable[[Any], Any]) -> Callable[..., list[str]]:
    """Give a function that calls a verb and returns the requests that it made."""
    store = watch(cache)

    def asked(verb: str, *args: Any, **kwargs: Any) -> list[str]:
        store.since()
        getattr(cache, verb)(*args, **kwargs)
        return store.since()

    return asked


def test_requests_of_one_key(asked: Callable[..., list[str]]) -> None:
    assert asked("set", "key", "value") == ["put"]
    assert asked("get", "key") == ["get"]
    assert asked("get", "missing") == ["get"]
    assert asked("has_key", "key") == ["head"]
    assert asked("ttl", "key") == ["head"]
    assert asked("add", "added", 1) == ["put"]
    assert asked("add", "added", 1) == ["put", "get"]
    assert asked("touch", "key", 5) == ["get", "put"]
    assert asked("touch", "missing", 5) == ["get"]
    assert asked("persist", "key") == ["get", "put"]
    assert asked("incr", "added") == ["get", "put"]
    assert asked("delete", "key") == ["head", "delete"]
    assert asked("delete", "missing") == ["head"]


def test_requests_over_an_expired_entry(asked: Callable[..., list[str]], site_clock: FakeClock) -> None:
    asked("set", "key", "value", 10)
    site_clock.advance(10)
    assert asked("add", "key", "value") == ["put", "get", "put"]


def test_requests_of_what_is_made_of_others(asked: Callable[..., list[str]]) -> None:
    assert asked("get_or_set", "key", 1) == ["get", "put"]
    assert asked("get_or_set", "key", 1) == ["get"]
    assert asked("incr_version", "key") == ["get", "head", "put", "head", "delete"]


def test_requests_of_several_keys(asked: Callable[..., list[str]]) -> None:
    assert Counter(asked("set_many", dict.fromkeys(range(100), 1))) == {"put": 100}
    assert Counter(asked("get_many", range(100))) == {"get": 100}
    assert Counter(asked("delete_many", range(100))) == {"delete_many": 1}
    assert asked("get_many", []) == asked("set_many", {}) == asked("delete_many", []) == []


def test_requests_of_listings(asked: Callable[..., list[str]]) -> None:
    asked("set_many", dict.fromkeys(range(100), 1))
    assert asked("keys", "*") == ["list"]
    assert asked("delete_pattern", "1*") == ["list", "delete_many"]
    assert asked("clear") == ["list", "delete_many"]


class Together:
    """Lets requests pass only when *number* of them are under way; the first fails where they come one by one."""

    def __init__(self, number: int) -> None:
        self._barrier = threading.Barrier(number, timeout=10)

    def __call__(self, verb: str, object_key: str) -> None:
        self._barrier.wait()


@pytest.mark.parametrize(
    ("verb", "argument"),
    [("get_many", list("abcdefgh")), ("set_many", dict.fromkeys("abcdefgh", 1))],
    ids=["get_many", "set_many"],
)
def test_several_keys_are_asked_for_at_once(cache: Any, watch: Callable[[Any], Any], verb: str, argument: Any) -> None:
    watch(cache).before = Together(8)
    getattr(cache, verb)(argument)


async def test_awaited_calls_run_at_once(any_url: str, watch: Callable[[Any], Any]) -> None:
    cache = S3Cache(any_url, {})
    watch(cache).before = Together(8)
    await asyncio.gather(*(cache.aset(key, 1) for key in "abcdefgh"))
    assert await asyncio.gather(*(cache.aget(key) for key in "abcdefgh")) == [1] * 8
    assert all(await asyncio.gather(*(cache.ahas_key(key) for key in "abcdefgh")))


async def test_the_event_loop_goes_on(any_url: str, watch: Callable[[Any], Any]) -> None:
    cache = S3Cache(any_url, {})
    ended = threading.Event()
    watch(cache).before = lambda verb, object_key: ended.wait(10) or None
    task = asyncio.create_task(cache.aset("key", 1))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done()
    ended.set()
    await task
