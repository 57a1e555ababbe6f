"""What django-redis made known beyond Django's cache API, sync and async, on every store."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from with_django.key_functions import reverse, reversible

from cloudcached import ConfigError
from cloudcached.testing import FakeClock


def test_ttl(cache: Any, site_clock: FakeClock) -> None:
    cache.set("key", 1, 59.2)
    cache.set("ever", 1, None)
    assert (cache.ttl("key"), cache.ttl("ever"), cache.ttl("missing")) == (60, None, 0)
    assert (cache.pttl("key"), cache.pttl("ever"), cache.pttl("missing")) == (59_200, None, 0)
    assert type(cache.ttl("key")) is type(cache.pttl("key")) is type(cache.ttl("missing")) is int
    assert cache.ttl("key", version=2) == 0
    site_clock.advance(60)
    assert (cache.ttl("key"), cache.pttl("key")) == (0, 0)


def test_persist(cache: Any) -> None:
    cache.set("key", 1, 60)
    assert cache.persist("key") is True
    assert cache.ttl("key") is None
    assert cache.persist("missing") is False
    assert cache.get("missing") is None


@pytest.mark.parametrize("timeout", [90, dt.timedelta(seconds=90)])
def test_expire(cache: Any, site_clock: FakeClock, timeout: Any) -> None:
    cache.set("key", 1, None)
    assert cache.expire("key", timeout) is True
    assert cache.ttl("key") == 90
    assert cache.expire("missing", timeout) is False
    assert cache.expire("key", 0) is True
    assert cache.has_key("key") is False


def test_expire_at(cache: Any, site_clock: FakeClock) -> None:
    now = site_clock.time()
    cache.set("key", "value", 5)
    assert cache.expire_at("key", dt.datetime.fromtimestamp(now + 90, dt.timezone.utc)) is True
    assert cache.ttl("key") == 90
    assert cache.expire_at("key", int(now) + 30) is True
    assert (cache.get("key"), cache.ttl("key")) == ("value", 30)
    assert cache.expire_at("missing", now + 30) is False
    assert cache.expire_at("key", now - 1) is True
    assert cache.has_key("key") is False


def test_keys_come_back_as_they_were_given(make_cache: Callable[..., Any]) -> None:
    cache = make_cache(KEY_PREFIX="a:b*")
    names = ["page:1", "page:2", "page", "x/y", "käse", "a:b:c", ""]
    cache.set_many(dict.fromkeys(names, 1))
    assert sorted(cache.keys("*")) == sorted(names)
    assert sorted(cache.keys("page*")) == ["page", "page:1", "page:2"]
    assert cache.keys("page:[2-9]") == ["page:2"]
    assert cache.keys("nothing*") == []


def test_keys_stay_within_prefix_and_version(make_cache: Callable[..., Any]) -> None:
    plain, prefixed = make_cache(), make_cache(KEY_PREFIX="shop")
    plain.set("one", 1)
    plain.set("two", 1, version=2)
    plain.set("ten", 1, version=10)
    prefixed.set("three", 1)
    assert [plain.keys("*"), plain.keys("*", version=2), prefixed.keys("t*")] == [["one"], ["two"], ["three"]]
    assert plain.keys("*", version=10) == ["ten"]


def test_iter_keys(make_cache: Callable[..., Any]) -> None:
    cache = make_cache()
    cache = getattr(cache, "cache", cache)
    cache.set_many(dict.fromkeys("abc", 1))
    iterator = cache.iter_keys("[ab]", itersize=10)
    assert iter(iterator) is iterator
    assert sorted(iterator) == ["a", "b"]
    assert list(cache.iter_keys("*", version=2)) == []


def test_delete_pattern(make_cache: Callable[..., Any]) -> None:
    plain, prefixed = make_cache(), make_cache(KEY_PREFIX="shop")
    for cache in (plain, prefixed):
        cache.set_many(dict.fromkeys(["page:1", "page:2", "other"], 1))
    plain.set("page:1", 1, version=2)
    assert plain.delete_pattern("page:*") == 2
    assert sorted(plain.keys("*")) == ["other"]
    assert plain.delete_pattern("page:*") == 0
    assert plain.delete_pattern("page:*", version=2) == 1
    assert plain.delete_pattern("page:*", prefix="shop", itersize=5) == 2
    assert prefixed.keys("*") == ["other"]


def test_a_key_function_needs_its_opposite(make_cache: Callable[..., Any]) -> None:
    cache = make_cache(KEY_FUNCTION=reversible)
    cache.set("abc", 1)
    with pytest.raises(ConfigError, match="REVERSE_KEY_FUNCTION"):
        cache.keys("*")
    assert make_cache(KEY_FUNCTION=reversible, REVERSE_KEY_FUNCTION=reverse).keys("*") == ["abc"]
    by_path = make_cache(KEY_FUNCTION=reversible, REVERSE_KEY_FUNCTION="with_django.key_functions.reverse")
    assert by_path.keys("*") == ["abc"]
    assert cache.delete_pattern("*") == 1
