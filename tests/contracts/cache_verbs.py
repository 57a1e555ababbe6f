"""What each verb does with missing and with live entries."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from cloudcached import (
    MISSING,
    CloudCachedError,
    ConfigError,
    KeyMissing,
    KeyRejected,
    NotACounter,
    ValueRejected,
    ValueTooLarge,
)
from cloudcached.testing import FakeClock


class VerbsContract:
    """The verbs one by one."""

    def test_get_gives_the_default_for_a_missing_key(self, cache):
        assert cache.get("k") is None
        assert cache.get("k", 7) == 7
        assert cache.get("k", MISSING) is MISSING

    def test_put_stores(self, cache):
        assert cache.put("k", "v") is True
        assert cache.get("k") == "v"

    def test_put_leaves_a_live_entry_alone(self, cache):
        cache.put("k", "old", 60)
        assert cache.put("k", "new", 3600) is False
        assert cache.get("k") == "old"
        assert cache.ttl("k") == 60

    def test_put_with_replace_overwrites_value_and_expiry(self, cache):
        cache.put("k", "old", 60)
        assert cache.put("k", 2, None, replace=True) is True
        assert cache.get("k") == 2
        assert cache.ttl("k") is None

    def test_put_with_replace_stores_where_there_is_nothing(self, cache):
        assert cache.put("k", "v", replace=True) is True
        assert cache.get("k") == "v"

    def test_clients_on_one_url_share_entries(self, cache, open_cache):
        cache.put("k", "v")
        assert open_cache().get("k") == "v"

    def test_update_replaces_value_and_expiry_of_a_live_entry(self, cache):
        cache.put("k", "old", 60)
        assert cache.update("k", "new", 90) is True
        assert cache.get("k") == "new"
        assert cache.ttl("k") == 90

    def test_update_stores_nothing_for_a_missing_key(self, cache):
        assert cache.update("k", "v") is False
        assert cache.get("k", MISSING) is MISSING
        assert list(cache.keys()) == []

    def test_delete_tells_whether_there_was_an_entry(self, cache):
        cache.put("k", None)
        assert cache.delete("k") is True
        assert cache.delete("k") is False
        assert cache.get("k", MISSING) is MISSING

    def test_a_deleted_key_can_be_put_again(self, cache):
        cache.put("k", 1)
        cache.delete("k")
        assert cache.put("k", 2) is True
        assert cache.get("k") == 2

    def test_has_and_in(self, cache):
        cache.put("k", None)
        assert cache.has("k") is True
        assert "k" in cache
        assert cache.has("other") is False
        assert "other" not in cache

    def test_touch_moves_the_expiry_and_nothing_else(self, cache, clock: FakeClock):
        cache.put("k", {"deep": [1.5]}, 60)
        before = cache.info("k")
        clock.advance(50)
        assert cache.touch("k", 60) is True
        after = cache.info("k")
        assert cache.get("k") == {"deep": [1.5]}
        assert (after.type, after.encoding, after.created) == (before.type, before.encoding, before.created)
        assert after.expires == clock.time() + 60

    def test_touch_of_a_missing_key_stores_nothing(self, cache):
        assert cache.touch("k") is False
        assert list(cache.keys()) == []

    def test_touch_gives_the_entry_another_etag(self, cache):
        """A near tier and ``purge`` must be able to see it."""
        cache.put("k", "v", 60)
        before = cache.info("k").etag
        cache.touch("k", 60)
        assert cache.info("k").etag != before

    def test_equal_values_have_different_etags(self, cache):
        """Otherwise two writers of one value over one entry would both believe that they won."""
        cache.put("a", "v")
        first = cache.info("a").etag
        cache.put("a", "v", replace=True)
        assert cache.info("a").etag != first

    def test_persist_makes_an_entry_last(self, cache, clock: FakeClock):
        cache.put("k", "v", 60)
        assert cache.persist("k") is True
        clock.advance(10**9)
        assert cache.get("k") == "v"
        assert cache.persist("other") is False

    def test_info_tells_what_the_metadata_says(self, cache, clock: FakeClock):
        clock.advance(0.25)
        cache.put("k", "some text", 60)
        info = cache.info("k")
        assert info.key == "k"
        assert info.object_key.endswith("/k")
        assert (info.type, info.encoding) == ("str", "plain")
        assert info.size == len("some text") + 32
        assert (info.created, info.expires) == (clock.time(), clock.time() + 60)
        assert info.etag
        assert '"' not in info.etag
        assert info.key_id

    def test_info_of_an_entry_without_expiry_and_of_none(self, cache):
        cache.put("k", b"x" * 5_000, None)
        assert cache.info("k").expires is None
        assert cache.info("k").encoding == "zstd"
        assert cache.info("other") is None

    def test_incr_counts_and_keeps_the_expiry(self, cache, clock: FakeClock):
        cache.put("n", 40, 60)
        clock.advance(10)
        assert cache.incr("n") == 41
        assert cache.incr("n", 9) == 50
        assert cache.get("n") == 50
        assert cache.ttl("n") == 50

    def test_decr_counts_down_past_zero(self, cache):
        cache.put("n", 1, None)
        assert cache.decr("n") == 0
        assert cache.decr("n", 5) == -5
        assert cache.decr("n", -10) == 5
        assert cache.incr("n", -10) == -5
        assert cache.ttl("n") is None

    def test_incr_grows_past_every_bound(self, cache):
        cache.put("n", 2**64)
        assert cache.incr("n", 10**5_000) == 2**64 + 10**5_000
        assert cache.get("n") == 2**64 + 10**5_000

    def test_incr_of_a_missing_key(self, cache):
        for count in (cache.incr, cache.decr):
            with pytest.raises(KeyMissing, match="initial"):
                count("n")
        assert list(cache.keys()) == []

    def test_incr_from_an_initial_value(self, cache):
        assert cache.incr("n", 5, initial=10, time_to_expire=60) == 15
        assert cache.ttl("n") == 60
        assert cache.incr("n", initial=100, time_to_expire=7) == 16
        assert cache.ttl("n") == 60
        assert cache.decr("m", initial=0) == -1

    @pytest.mark.parametrize("value", [True, 1.0, "1", None, b"1"], ids=repr)
    def test_incr_refuses_what_is_no_int(self, cache, value):
        cache.put("n", value)
        with pytest.raises(NotACounter, match=type(value).__name__):
            cache.incr("n", initial=0)
        assert cache.get("n") is value or cache.get("n") == value

    @pytest.mark.parametrize("delta", [True, 1.0, "1", None], ids=repr)
    def test_counters_count_in_int(self, cache, delta):
        cache.put("n", 1)
        for count in (cache.incr, cache.decr):
            with pytest.raises(NotACounter):
                count("n", delta)
        with pytest.raises(NotACounter):
            cache.incr("m", initial=1.5)
        assert cache.get("n") == 1
        assert not cache.has("m")

    def test_get_or_put_stores_a_value_or_what_a_function_returns(self, cache):
        assert cache.get_or_put("a", 1, 60) == 1
        assert cache.get_or_put("b", lambda: 2, 60) == 2
        assert (cache.get("a"), cache.get("b")) == (1, 2)
        assert (cache.ttl("a"), cache.ttl("b")) == (60, 60)

    @pytest.mark.parametrize("value", [None, False, 0, "", b"", []], ids=repr)
    def test_get_or_put_takes_a_falsy_value_for_a_hit(self, cache, value):
        cache.put("k", value)
        assert cache.get_or_put("k", "other") == value

    def test_get_or_put_computes_for_a_miss_only_and_once(self, cache):
        calls = []
        for _ in range(3):
            assert cache.get_or_put("k", lambda: calls.append(1)) is None
        assert calls == [1]

    def test_get_or_put_gives_way_to_a_faster_caller(self, cache, open_cache):
        rival = open_cache()
        rival = getattr(rival, "plain", rival)

        def compute() -> str:
            rival.put("k", "theirs")
            return "ours"

        assert cache.get_or_put("k", compute) == "theirs"

    def test_get_or_put_stores_nothing_when_the_function_fails(self, cache):
        with pytest.raises(ZeroDivisionError):
            cache.get_or_put("k", lambda: 1 // 0)
        assert not cache.has("k")

    def test_a_closed_client_may_be_used_again(self, cache):
        cache.put("k", 1)
        cache.close()
        cache.close()
        assert cache.get("k") == 1

    def test_the_client_is_a_context_manager(self, open_cache: Callable[..., Any]):
        with open_cache() as cache:
            cache.put("k", 1)
        assert open_cache().get("k") == 1

    def test_threads_share_a_client(self, open_cache: Callable[..., Any]):
        cache = open_cache()
        cache = getattr(cache, "plain", cache)
        cache.put("n", 0)
        threads = [threading.Thread(target=lambda: [cache.incr("n") for _ in range(5)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert cache.get("n") == 20


class BadInputContract:
    """Every mistake is an error of the library's own, and stores nothing."""

    @pytest.mark.parametrize("key", [None, 1, b"k", ("k",), True, 1.5], ids=repr)
    def test_a_key_is_a_str(self, cache, key):
        calls: list[Callable[[], Any]] = [
            lambda: cache.get(key),
            lambda: cache.put(key, 1),
            lambda: cache.update(key, 1),
            lambda: cache.delete(key),
            lambda: cache.has(key),
            lambda: key in cache,
            lambda: cache.touch(key),
            lambda: cache.persist(key),
            lambda: cache.expire_at(key, 0),
            lambda: cache.ttl(key),
            lambda: cache.info(key),
            lambda: cache.incr(key),
            lambda: cache.decr(key),
            lambda: cache.get_or_put(key, 1),
            lambda: cache.get_many(["a", key]),
            lambda: cache.put_many({"a": 1, key: 1}),
            lambda: cache.delete_many(["a", key]),
        ]
        for call in calls:
            with pytest.raises(KeyRejected, match=type(key).__name__):
                call()
        assert list(cache.keys()) == []

    def test_a_key_that_cannot_be_hashed_is_refused_as_others_are(self, cache):
        for call in (cache.get, cache.has, cache.delete, cache.touch):
            with pytest.raises(KeyRejected, match="list"):
                call([])
        for call in (cache.get_many, cache.delete_many):
            with pytest.raises(KeyRejected, match="list"):
                call(["a", []])

    @pytest.mark.parametrize("prefix", [None, 0, b"", b"a"], ids=repr)
    def test_a_prefix_is_a_str(self, cache, prefix):
        """``clear(prefix=None)`` from a variable that was never set must not empty the cache."""
        cache.put("a", 1)
        with pytest.raises(KeyRejected):
            cache.clear(prefix)
        with pytest.raises(KeyRejected):
            list(cache.keys(prefix))
        assert cache.get("a") == 1

    def test_what_cannot_be_pickled_is_refused_before_anything_is_written(self, cache):
        cache.put("live", 1)
        for write in (cache.put, cache.update, cache.get_or_put):
            with pytest.raises(ValueRejected, match="lock"):
                write("live2" if write != cache.update else "live", threading.Lock())
        with pytest.raises(ValueRejected):
            cache.put("live", threading.Lock(), replace=True)
        assert cache.get("live") == 1
        assert list(cache.keys()) == ["live"]

    def test_a_value_over_the_limit_is_refused(self, open_cache):
        cache = open_cache(max_value_bytes=100)
        assert cache.put("k", "x" * 100) is True
        with pytest.raises(ValueTooLarge, match="max_value_bytes"):
            cache.put("k", "x" * 101, replace=True)
        assert cache.get("k") == "x" * 100

    def test_an_entry_over_the_readers_limit_is_a_miss(self, cache, open_cache):
        for value in ("x" * 101, b"\0" * 100_000, list(range(100))):
            cache.put("k", value, replace=True)
            assert open_cache(max_value_bytes=100).get("k", MISSING) is MISSING

    @pytest.mark.parametrize("time_to_expire", ["60", b"1", float("nan"), True, [], 1j], ids=repr)
    def test_a_bad_time_to_expire_is_refused_before_anything_is_written(self, cache, time_to_expire):
        cache.put("live", 1)
        for call in (
            lambda: cache.put("k", 1, time_to_expire),
            lambda: cache.put("k", 1, time_to_expire, replace=True),
            lambda: cache.update("live", 2, time_to_expire),
            lambda: cache.touch("live", time_to_expire),
            lambda: cache.incr("k", initial=1, time_to_expire=time_to_expire),
            lambda: cache.get_or_put("k", 1, time_to_expire),
            lambda: cache.put_many({"k": 1}, time_to_expire),
        ):
            with pytest.raises(CloudCachedError) as caught:
                call()
            reasons = getattr(caught.value, "failures", {"k": caught.value}).values()
            assert [type(reason) for reason in reasons] == [ConfigError]
        assert cache.get("live") == 1
        assert list(cache.keys()) == ["live"]
