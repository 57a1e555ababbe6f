"""The verbs of cachelib's interface, on the memory store and on every S3 server in use."""

from __future__ import annotations

import datetime as dt
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest
from cachelib import BaseCache as CachelibCache
from flask_caching.backends.base import BaseCache

from cloudcached import Client, ConfigError, KeyRejected, NotACounter, PartialFailure, StoreBusy, ValueRejected
from cloudcached.testing import FakeClock
from cloudcached_flask import S3Cache

#: Values that a cache takes for a miss when it is careless, and some that are none of the base types.
VALUES = [False, 0, "", b"", [], {}, True, 2048, -1.5, "spam", b"eggs", [1, {"a": (2, None)}], {256: "truffle"}]


def test_it_is_a_cache_of_flask_caching_and_of_cachelib() -> None:
    assert issubclass(S3Cache, BaseCache)
    assert issubclass(S3Cache, CachelibCache)


def test_every_verb_of_cachelib_is_ours() -> None:
    verbs = {name for name in vars(CachelibCache) if not name.startswith("_")}
    inherited = {name for name in verbs if name not in vars(S3Cache)}
    assert inherited == {"get_dict"}  # it asks get_many


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_set_and_get(cache: S3Cache, value: Any) -> None:
    assert cache.set("key", value) is True
    assert cache.get("key") == value
    assert type(cache.get("key")) is type(value)
    assert cache.has("key") is True


def test_get_of_a_missing_key_is_none(cache: S3Cache) -> None:
    assert cache.get("key") is None
    assert cache.has("key") is False


def test_a_stored_none_is_there(cache: S3Cache) -> None:
    cache.set("key", None)
    assert cache.get("key") is None
    assert cache.has("key") is True
    assert cache.add("key", 1) is False


def test_set_overwrites(cache: S3Cache) -> None:
    cache.set("key", 1)
    assert cache.set("key", 2)
    assert cache.get("key") == 2


def test_add_leaves_what_is_there(cache: S3Cache) -> None:
    assert cache.add("key", 1) is True
    assert cache.add("key", 2) is False
    assert cache.get("key") == 1


def test_add_replaces_what_has_expired(cache: S3Cache, clock: FakeClock) -> None:
    cache.set("key", 1, 10)
    clock.advance(10)
    assert cache.add("key", 2) is True
    assert cache.get("key") == 2


def test_get_many_and_get_dict_keep_the_order_of_the_keys(cache: S3Cache) -> None:
    assert cache.set_many({"a": 1, "b": 2, "c": None}) == ["a", "b", "c"]
    assert cache.get_many("b", "missing", "a", "b", "c") == [2, None, 1, 2, None]
    assert cache.get_dict("b", "missing", "a") == {"b": 2, "missing": None, "a": 1}
    assert cache.get_many() == []
    assert cache.get_dict() == {}
    assert cache.set_many({}) == []


def test_set_many_raises_what_set_raises_and_stores_the_others(cache: S3Cache) -> None:
    with pytest.raises(pickle.PickleError, match="lock"):
        cache.set_many({"a": 1, "bad": threading.Lock(), "c": 3})
    assert cache.get_many("a", "bad", "c") == [1, None, 3]


def test_set_many_returns_what_was_set(
    cache: S3Cache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def put_many(_: Client, mapping: dict[str, Any], *_args: Any, **_options: Any) -> dict[str, bool]:
        failures = {key: StoreBusy("try later") for key in mapping if "bad" in key}
        raise PartialFailure("put_many", {key: True for key in mapping if key not in failures}, failures)

    monkeypatch.setattr(Client, "put_many", put_many)
    assert cache.set_many({"a": 1, "bad": 2, "c": 3}) == ["a", "c"]
    assert ["try later" in record.getMessage() for record in caplog.records] == [True]


def test_delete(cache: S3Cache) -> None:
    cache.set("key", False)
    assert cache.delete("key") is True
    assert cache.get("key") is None
    assert cache.delete("key") is False


def test_delete_many_counts_missing_keys_as_deleted(cache: S3Cache) -> None:
    cache.set_many({"a": 1, "b": 2, "c": 3})
    assert cache.delete_many("a", "missing", "b") == ["a", "missing", "b"]
    assert cache.get_many("a", "b", "c") == [None, None, 3]
    assert cache.delete_many() == []


@pytest.fixture
def failing_delete(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the deletion of every key with "bad" in it fail."""

    def delete_many(_: Client, keys: list[str]) -> None:
        failures = {key: StoreBusy("try later") for key in keys if "bad" in key}
        raise PartialFailure("delete_many", {}, failures)

    monkeypatch.setattr(Client, "delete_many", delete_many)


@pytest.mark.usefixtures("failing_delete")
def test_a_failed_delete_raises_as_in_cachelib(cache: S3Cache) -> None:
    with pytest.raises(RuntimeError, match=r"Failed to delete keys: \['bad'\]") as caught:
        cache.delete_many("good", "bad")
    assert isinstance(caught.value.__cause__, PartialFailure)


@pytest.mark.usefixtures("failing_delete")
def test_a_failed_delete_may_be_ignored_and_is_logged(
    make_cache: Callable[..., S3Cache], caplog: pytest.LogCaptureFixture
) -> None:
    cache = make_cache(ignore_delete_many_errors=True)
    assert cache.delete_many("good", "bad", "other") == ["good", "other"]
    assert ["try later" in record.getMessage() for record in caplog.records] == [True]


def test_clear_keeps_to_the_prefix(make_cache: Callable[..., S3Cache]) -> None:
    ours, other, longer = (make_cache(key_prefix=prefix) for prefix in ("p:", "q:", "p:q:"))
    for cache in (ours, other, longer):
        cache.set("key", 1)
    assert ours.clear() is True
    assert [cache.get("key") for cache in (ours, other, longer)] == [None, 1, None]
    assert ours.clear() is True


def test_clear_without_a_prefix_removes_everything_of_the_cache(make_cache: Callable[..., S3Cache]) -> None:
    make_cache(key_prefix="p:").set("key", 1)
    cache = make_cache()
    cache.set("other", 2)
    cache.clear()
    assert list(cache.client.keys()) == []


def test_a_prefix_may_be_asked_for_at_every_call(make_cache: Callable[..., S3Cache]) -> None:
    tenant = ["a"]
    cache = make_cache(key_prefix=lambda: f"{tenant[0]}:")
    cache.set("key", 1)
    tenant[0] = "b"
    assert cache.get("key") is None
    cache.set_many({"key": 2, "other": 3})
    cache.clear()
    tenant[0] = "a"
    assert cache.get_many("key", "other") == [1, None]


def test_inc_and_dec_start_at_zero(cache: S3Cache) -> None:
    assert cache.inc("up", 5) == 5
    assert cache.inc("up") == 6
    assert cache.dec("down", 5) == -5
    assert cache.dec("up", 2) == 4
    assert cache.get("up") == 4
    assert cache.inc("zero", 0) == 0
    assert cache.get("zero") == 0


def test_inc_keeps_the_expiry(cache: S3Cache, clock: FakeClock) -> None:
    cache.set("key", 1, 100)
    clock.advance(90)
    assert cache.inc("key") == 2
    clock.advance(9)
    assert cache.get("key") == 2
    clock.advance(1)
    assert cache.get("key") is None
    assert cache.inc("key") == 1


def test_a_counter_that_inc_makes_has_the_default_timeout(make_cache: Callable[..., S3Cache], clock: FakeClock) -> None:
    cache = make_cache(default_timeout=60)
    cache.inc("key")
    assert cache.client.ttl("key") == 60
    clock.advance(60)
    assert cache.get("key") is None


def test_inc_of_no_number_is_a_type_error(cache: S3Cache) -> None:
    cache.set("key", "text")
    with pytest.raises(NotACounter):
        cache.inc("key")
    with pytest.raises(TypeError):
        cache.dec("key")
    assert cache.get("key") == "text"


def test_every_increment_counts(cache: S3Cache) -> None:
    def count() -> None:
        for _ in range(5):
            cache.inc("key")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.get("key") == 20


@pytest.mark.parametrize("key", [1, None, b"key"])
def test_a_key_is_a_str(cache: S3Cache, key: Any) -> None:
    for call in (cache.get, cache.delete, cache.has, cache.inc):
        with pytest.raises(KeyRejected):
            call(key)
    with pytest.raises(KeyRejected):
        cache.set(key, 1)


def test_keys_that_flask_caching_makes(cache: S3Cache) -> None:
    keys = ["view//a/b/", "view//Grüße?q=ä", "Zm9v/+bar=x1", "view/" + "long" * 400, "", ".", "a b\n"]
    assert cache.set_many({key: key for key in keys}) == keys
    assert cache.get_many(*keys) == keys


def test_a_value_that_cannot_be_pickled_is_a_pickle_error(cache: S3Cache) -> None:
    with pytest.raises(pickle.PickleError):
        cache.set("key", threading.Lock())
    assert cache.has("key") is False


def test_without_a_signing_key_only_harmless_types_are_taken(cache: S3Cache) -> None:
    with pytest.raises(ValueRejected, match="signing_key"):
        cache.set("key", threading.Barrier)


def test_a_cache_that_drops_writes_says_so(make_cache: Callable[..., S3Cache]) -> None:
    make_cache().set("key", 1)
    cache = make_cache(read_only="drop")
    assert cache.set("key", 2) is False
    assert cache.add("new", 2) is False
    assert cache.set_many({"key": 2}) == []
    assert cache.delete("key") is False
    assert cache.inc("key") is cache.dec("new") is None
    assert cache.get_many("key", "new") == [1, None]


TIMEOUTS = [
    pytest.param(None, 300, id="default"),
    pytest.param(0, None, id="never"),
    pytest.param(0.0, None, id="never-float"),
    pytest.param(dt.timedelta(), None, id="never-timedelta"),
    pytest.param(60, 60, id="int"),
    pytest.param(5.5, 6, id="float"),
    pytest.param(0.1, 1, id="float-below-a-second"),
    pytest.param(dt.timedelta(minutes=2), 120, id="timedelta"),
    pytest.param(dt.timedelta(milliseconds=500), 1, id="timedelta-below-a-second"),
    pytest.param(-1, 0, id="negative"),
    pytest.param(-0.5, 0, id="negative-float"),
    pytest.param(dt.timedelta(milliseconds=-500), 0, id="negative-timedelta"),
]


@pytest.mark.parametrize(("timeout", "left"), TIMEOUTS)
def test_timeouts(cache: S3Cache, timeout: Any, left: float | None) -> None:
    there = left != 0
    cache.set("set", "old")
    assert cache.set("set", 1, timeout) is True
    assert cache.add("add", 1, timeout=timeout) is True
    assert cache.set_many({"many": 1}, timeout) == ["many"]
    for key in ("set", "add", "many"):
        assert cache.client.ttl(f"p:{key}") == left
        assert cache.has(key) is there
        assert cache.get(key) == (1 if there else None)


@pytest.mark.parametrize(("timeout", "left"), [case for case in TIMEOUTS if case.id != "default"])
def test_default_timeouts(make_cache: Callable[..., S3Cache], timeout: Any, left: float | None) -> None:
    cache = make_cache(default_timeout=timeout)
    cache.set("key", 1)
    assert cache.client.ttl("key") == left


def test_an_entry_expires_at_its_second(cache: S3Cache, clock: FakeClock) -> None:
    cache.set("key", 1, 10)
    cache.set("never", 1, 0)
    clock.advance(9.9)
    assert cache.get_many("key", "never") == [1, 1]
    clock.advance(0.1)
    assert cache.get_many("key", "never") == [None, 1]
    clock.advance(10**9)
    assert cache.get("never") == 1


@pytest.mark.parametrize("timeout", ["60", True, float("nan"), float("inf"), [1]])
def test_what_is_no_timeout(cache: S3Cache, timeout: Any) -> None:
    with pytest.raises(ConfigError, match="timeout"):
        cache.set("key", 1, timeout)
    assert cache.has("key") is False
    with pytest.raises(ConfigError, match="timeout"):
        S3Cache("memory://", default_timeout=timeout)


def test_the_client_is_there_for_the_rest(cache: S3Cache, clock: FakeClock) -> None:
    cache.set("key", 1, 10)
    assert cache.client.touch("p:key", 100)
    clock.advance(50)
    assert cache.get("key") == 1
    assert list(cache.client.keys("p:")) == ["p:key"]
