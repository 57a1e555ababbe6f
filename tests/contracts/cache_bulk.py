"""Bulk calls: what they answer, and that one bad key does not lose the others."""

from __future__ import annotations

import threading

import pytest

from cloudcached import PartialFailure, ValueRejected
from cloudcached.testing import FakeClock


class BulkContract:
    """``get_many``, ``put_many``, ``delete_many``."""

    def test_get_many_gives_the_live_ones(self, cache, clock: FakeClock):
        cache.put_many({"a": 1, "none": None, "zero": 0})
        cache.put("expired", 1, 10)
        clock.advance(10)
        assert cache.get_many(["a", "none", "zero", "expired", "missing"]) == {"a": 1, "none": None, "zero": 0}

    def test_get_many_keeps_the_order_and_names_a_key_once(self, cache):
        cache.put_many({"a": 1, "b": 2, "c": 3})
        assert list(cache.get_many(["c", "a", "b", "a", "c"]).items()) == [("c", 3), ("a", 1), ("b", 2)]

    def test_bulk_calls_take_any_iterable_of_keys(self, cache):
        cache.put_many({"a": 1, "b": 2})
        assert cache.get_many(key for key in "ab") == {"a": 1, "b": 2}
        assert cache.get_many({"a": 0}) == {"a": 1}
        cache.delete_many(key for key in "ab")
        assert list(cache.keys()) == []

    def test_nothing_to_do_is_done(self, cache):
        assert cache.get_many([]) == {}
        assert cache.put_many({}) == {}
        assert cache.delete_many([]) is True

    def test_put_many_answers_per_key_as_put_does(self, cache):
        cache.put("b", "old", 60)
        assert cache.put_many({"a": 1, "b": 2}, 90) == {"a": True, "b": False}
        assert cache.get_many(["a", "b"]) == {"a": 1, "b": "old"}
        assert (cache.ttl("a"), cache.ttl("b")) == (90, 60)
        assert cache.put_many({"a": 3, "b": 4}, None, replace=True) == {"a": True, "b": True}
        assert cache.get_many(["a", "b"]) == {"a": 3, "b": 4}
        assert cache.ttl("b") is None

    def test_put_many_does_what_it_can_and_tells_the_rest(self, cache):
        cache.put("live", 0)
        with pytest.raises(PartialFailure, match="'bad'") as caught:
            cache.put_many({"a": 1, "bad": threading.Lock(), "live": 2, "z": 3})
        assert caught.value.results == {"a": True, "live": False, "z": True}
        assert [(key, type(error)) for key, error in caught.value.failures.items()] == [("bad", ValueRejected)]
        assert cache.get_many(["a", "bad", "live", "z"]) == {"a": 1, "live": 0, "z": 3}

    def test_delete_many_removes_live_expired_and_missing_keys_alike(self, cache, clock: FakeClock):
        cache.put_many({"a": 1, "stays": 2}, None)
        cache.put("expired", 1, 10)
        clock.advance(10)
        assert cache.delete_many(["a", "expired", "missing", "a"]) is True
        assert list(cache.keys()) == ["stays"]

    def test_more_keys_than_the_pool_is_wide(self, cache):
        values = {f"key {number}": number for number in range(70)}
        assert cache.put_many(values) == dict.fromkeys(values, True)
        assert cache.get_many(values) == values
        cache.delete_many(values)
        assert cache.get_many(values) == {}
