"""Django's cache API, sync and async, on every store."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable
from pickle import PickleError
from typing import Any

import pytest
from django.core.cache import CacheKeyWarning

from cloudcached import KeyRejected, StoreRefused, ValueRejected
from cloudcached.testing import FakeClock

FALSY = [None, False, 0, 0.0, "", b"", [], {}]


class Unpicklable:
    def __reduce__(self) -> Any:
        raise PickleError("not me")


def test_get_gives_the_default_for_a_miss(cache: Any) -> None:
    assert cache.get("key") is None
    assert cache.get("key", 5) == 5


@pytest.mark.parametrize("value", FALSY, ids=repr)
def test_an_empty_value_is_a_value(cache: Any, value: Any) -> None:
    cache.set("key", value)
    assert cache.get("key", "missing") == value
    assert type(cache.get("key", "missing")) is type(value)
    assert cache.has_key("key") is True
    assert cache.get_many(["key"]) == {"key": value}
    assert cache.add("key", "other") is False
    assert cache.get_or_set("key", "other") == value
    assert cache.incr_version("key") == 2
    assert cache.get("key", "missing", version=2) == value


def test_set_replaces_and_add_does_not(cache: Any) -> None:
    assert cache.set("key", 1) is None
    assert cache.set("key", 2) is None
    assert cache.add("key", 3) is False
    assert cache.get("key") == 2


def test_versions_and_prefixes_are_apart(make_cache: Callable[..., Any]) -> None:
    plain, prefixed, second = make_cache(), make_cache(KEY_PREFIX="shop"), make_cache(VERSION=2)
    for number, cache in enumerate([plain, prefixed, second]):
        assert cache.add("key", number) is True
    assert [cache.get("key") for cache in (plain, prefixed, second)] == [0, 1, 2]
    assert plain.get("key", version=2) == 2
    assert plain.delete("key", version=2) is True
    assert second.get("key") is None


def test_in(cache: Any) -> None:
    cache = getattr(cache, "cache", cache)
    cache.set("key", None)
    assert "key" in cache
    assert "other" not in cache


# Timeouts


@pytest.mark.parametrize("timeout", [0, -1, -0.5, dt.timedelta(0)])
def test_zero_and_less_is_gone_at_once(cache: Any, timeout: Any) -> None:
    cache.set("key", "old", 60)
    cache.set("key", "new", timeout)
    assert cache.get("key") is None
    assert cache.add("key", "new", timeout) is True
    assert cache.get("key") is None
    cache.set("key", "new")
    assert cache.touch("key", timeout) is True
    assert cache.get("key") is None
    assert cache.set_many({"key": 1, "other": 2}, timeout) == []
    assert cache.get_many(["key", "other"]) == {}


@pytest.mark.parametrize(
    ("timeout", "left"), [(None, None), (2.5, 3), (60, 60), (dt.timedelta(hours=1), 3600), (10**9, 10**9)]
)
def test_timeouts(cache: Any, site_clock: FakeClock, timeout: Any, left: int | None) -> None:
    cache.set("set", 1, timeout)
    cache.add("added", 1, timeout)
    cache.set_many({"many": 1}, timeout)
    cache.set("touched", 1)
    assert cache.touch("touched", timeout) is True
    cache.get_or_set("default", 1, timeout)
    assert [cache.ttl(key) for key in ("set", "added", "many", "touched", "default")] == [left] * 5


@pytest.mark.parametrize(
    ("setting", "left"),
    [({}, 300), ({"TIMEOUT": 60}, 60), ({"TIMEOUT": "60"}, 60), ({"TIMEOUT": None}, None), ({"timeout": 5}, 5)],
    ids=str,
)
def test_the_default_timeout(make_cache: Callable[..., Any], site_clock: FakeClock, setting: Any, left: Any) -> None:
    cache = make_cache(**setting)
    cache.set("set", 1)
    cache.add("added", 1)
    cache.set_many({"many": 1})
    cache.set("touched", 1, 1000)
    assert cache.touch("touched") is True
    assert [cache.ttl(key) for key in ("set", "added", "many", "touched")] == [left] * 4


def test_an_expired_entry_is_a_miss_for_every_verb(cache: Any, site_clock: FakeClock) -> None:
    cache.set_many(dict.fromkeys("abcdefg", 1), 60)
    site_clock.advance(60)
    assert cache.get("a") is None
    assert cache.has_key("a") is False
    assert cache.touch("b") is False
    assert cache.delete("c") is False
    with pytest.raises(ValueError, match="d"):
        cache.incr("d")
    with pytest.raises(ValueError, match="e"):
        cache.incr_version("e")
    assert cache.add("f", 2) is True
    assert cache.get_or_set("g", 3) == 3
    assert cache.get_many("abcdefg") == {"f": 2, "g": 3}


def test_touch_and_delete_of_a_missing_key(cache: Any) -> None:
    assert cache.touch("key") is False
    assert cache.delete("key") is False
    cache.set("key", 1)
    assert cache.delete("key") is True
    assert cache.delete("key") is False


# Counting


def test_counting_keeps_the_timeout(cache: Any, site_clock: FakeClock) -> None:
    cache.set("key", 41, 60)
    site_clock.advance(20)
    assert cache.incr("key") == 42
    assert cache.incr("key", 10) == 52
    assert cache.decr("key", 50) == 2
    assert cache.decr("key", -1) == 3
    assert cache.get("key") == 3
    assert cache.ttl("key") == 40


def test_counting_needs_an_int(cache: Any) -> None:
    for verb in (cache.incr, cache.decr):
        with pytest.raises(ValueError, match="key"):
            verb("key")
    cache.set("key", "text")
    with pytest.raises(TypeError, match="not an int"):
        cache.incr("key")
    assert cache.get("key") == "text"


def test_versions_move_with_their_timeout(cache: Any, site_clock: FakeClock) -> None:
    cache.set("key", "value", 60)
    site_clock.advance(20)
    assert cache.incr_version("key") == 2
    assert cache.get("key") is None
    assert cache.ttl("key", version=2) == 40
    assert cache.decr_version("key", version=2) == 1
    assert (cache.get("key"), cache.ttl("key")) == ("value", 40)
    cache.set("ever", "value", None)
    assert cache.incr_version("ever", 5) == 6
    assert cache.ttl("ever", version=6) is None
    with pytest.raises(ValueError, match="missing"):
        cache.incr_version("missing")
    with pytest.raises(ValueError, match="missing"):
        cache.decr_version("missing")


# Several keys


def test_many_keys(cache: Any) -> None:
    data = {f"key {number}": number for number in range(50)}
    with pytest.warns(CacheKeyWarning):
        assert cache.set_many(data) == []
    data = {f"key{number}": number for number in range(50)}
    assert cache.set_many(data) == []
    assert cache.get_many(list(data)) == data
    assert cache.get_many(iter(["key1", "missing", "key2"])) == {"key1": 1, "key2": 2}
    assert cache.delete_many(iter(list(data)[:40])) is None
    assert cache.get_many(data) == {f"key{number}": number for number in range(40, 50)}


def test_no_keys(cache: Any) -> None:
    assert cache.get_many([]) == {}
    assert cache.set_many({}) == []
    assert cache.delete_many([]) is None


def test_keys_that_become_one(cache: Any) -> None:
    """Django's keys need not be str: 1 and "1" are one entry, and both are answered."""
    cache.set(1, "value")
    assert cache.get_many([1, "1"]) == {1: "value", "1": "value"}


def test_set_many_returns_the_keys_that_failed(
    cache: Any, watch: Callable[[Any], Any], caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(verb: str, object_key: str) -> None:
        if verb == "put" and object_key.endswith("b"):
            raise StoreRefused("not this one")

    watch(cache).before = refuse
    with caplog.at_level(logging.ERROR, "cloudcached"):
        assert cache.set_many({"a": 1, "b": 2, "c": 3}) == ["b"]
    assert "not this one" in caplog.text
    assert cache.get_many("abc") == {"a": 1, "c": 3}


def test_set_many_returns_all_keys_when_nothing_could_be_stored(make_cache: Callable[..., Any]) -> None:
    cache = make_cache(OPTIONS={"read_only": "drop"})
    assert cache.set_many({"a": 1, "b": 2}) == ["a", "b"]


def test_set_many_raises_what_set_raises(cache: Any) -> None:
    with pytest.raises(ValueRejected):
        cache.set_many({"a": 1, "b": Unpicklable(), "c": 3})
    assert cache.has_key("b") is False


def test_a_value_that_cannot_be_stored(cache: Any) -> None:
    cache.set("key", "old")
    for verb in (cache.set, cache.add):
        with pytest.raises(PickleError):
            verb("key", Unpicklable())
    assert cache.get("key") == "old"


def test_clear_empties_the_location_and_nothing_beside_it(make_cache: Callable[..., Any], any_url: str) -> None:
    from cloudcached_django import S3Cache

    caches = [make_cache(), make_cache(KEY_PREFIX="shop"), make_cache(VERSION=7)]
    neighbours = [S3Cache(any_url + "2", {}), S3Cache(any_url + "/sub", {})]
    for cache in (*caches, *neighbours):
        cache.set_many({f"key{number}": number for number in range(20)})
    assert caches[0].clear() is None
    assert [cache.get_many(["key1", "key19"]) for cache in caches] == [{}, {}, {}]
    assert [len(cache.get_many(["key1", "key19"])) for cache in neighbours] == [2, 2]


# Defaults


def test_get_or_set_computes_when_needed(cache: Any) -> None:
    calls: list[int] = []

    def compute() -> int:
        calls.append(1)
        return len(calls)

    assert [cache.get_or_set("key", compute) for _ in range(3)] == [1, 1, 1]
    assert cache.get_or_set("null", lambda: None) is None
    assert cache.get_or_set("null", 5) is None
    assert cache.get_or_set("value", "plain") == "plain"
    assert len(calls) == 1


def test_get_or_set_returns_what_a_faster_caller_stored(cache: Any) -> None:
    plain = getattr(cache, "cache", cache)

    def compute() -> str:
        plain.set("key", "theirs")
        return "ours"

    assert cache.get_or_set("key", compute) == "theirs"


# Keys


@pytest.mark.parametrize("key", ["with space", "line\nbreak", "x" * 300], ids=["space", "newline", "long"])
def test_keys_that_memcached_refuses_work_with_a_warning(cache: Any, key: str) -> None:
    with pytest.warns(CacheKeyWarning):
        cache.set(key, 1)
    with pytest.warns(CacheKeyWarning):
        assert cache.get(key) == 1
    with pytest.warns(CacheKeyWarning):
        assert cache.delete(key) is True


def test_a_key_function_must_give_a_str(make_cache: Callable[..., Any]) -> None:
    cache = make_cache(KEY_FUNCTION=lambda key, prefix, version: (key,))
    with pytest.raises((KeyRejected, TypeError)):
        cache.set("key", 1)


def test_close_leaves_the_client_open(make_cache: Callable[..., Any]) -> None:
    cache = make_cache()
    cache.set("key", 1)
    cache.close()
    assert cache.get("key") == 1
