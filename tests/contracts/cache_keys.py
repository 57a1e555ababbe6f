"""Keys that differ stay different, and caches in one bucket do not touch each other."""

from __future__ import annotations

import pytest
from samples import ODD_KEYS

from cloudcached import MISSING, KeyRejected
from cloudcached.stores.port import Write

#: Too long for the name of an object: 1,100 bytes, and 400 characters of which each is escaped to nine.
LONG_KEYS = ("x" * 1_100, "x" * 1_099 + "y", "x" * 1_100 + "/", "Ω" * 400, "\0" * 500, "~" * 1_100, "k" * 16_384)


class KeysContract:
    """Every ``str`` up to 16 KB is a key."""

    def test_odd_keys_stay_different(self, cache):
        values = {key: number for number, key in enumerate(ODD_KEYS)}
        assert cache.put_many(values) == dict.fromkeys(values, True)
        assert cache.get_many(values) == values
        assert sorted(cache.keys()) == sorted(values)
        cache.delete_many(ODD_KEYS[::2])
        left = {key: values[key] for key in ODD_KEYS[1::2]}
        assert cache.get_many(values) == left
        assert cache.clear() == len(left)
        assert list(cache.keys()) == []

    @pytest.mark.parametrize("key", ["", "..", "a//b", "%2F", "~" + "0" * 64, "\0", "\ud800", "Ω\n"], ids=ascii)
    def test_every_verb_takes_an_odd_key(self, cache, key):
        assert cache.put(key, 1) is True
        assert cache.get(key) == 1
        assert cache.update(key, 2)
        assert cache.touch(key, 60)
        assert cache.incr(key) == 3
        assert cache.ttl(key) == 60
        assert cache.info(key).key == key
        assert key in cache
        assert cache.delete(key) is True
        assert key not in cache

    def test_long_keys_are_keys_like_others(self, cache):
        values = {key: number for number, key in enumerate(LONG_KEYS)}
        cache.put_many({**values, "short": "s"})
        assert cache.get_many(values) == values
        assert sorted(cache.keys()) == sorted([*values, "short"])
        assert sorted(cache.keys("x" * 1_099)) == sorted(LONG_KEYS[:3])
        assert cache.touch(LONG_KEYS[0], 60)
        assert cache.incr(LONG_KEYS[0]) == 1
        assert cache.update(LONG_KEYS[1], "new")
        assert cache.get(LONG_KEYS[1]) == "new"
        assert cache.delete(LONG_KEYS[3]) is True
        assert cache.clear("x" * 1_100) == 2
        assert set(cache.keys()) == {"short", LONG_KEYS[1], *LONG_KEYS[4:]}
        assert cache.clear() == 5

    def test_a_long_key_takes_nothing_from_the_size_of_the_value(self, open_cache):
        cache = open_cache(max_value_bytes=100)
        cache.put("k" * 16_384, "x" * 100)
        assert cache.get("k" * 16_384) == "x" * 100

    @pytest.mark.parametrize("key", ["k" * 16_385, "Ω" * 8_193], ids=["ascii", "utf-8"])
    def test_a_key_over_16_kb_is_refused(self, cache, key):
        for call in (cache.get, cache.delete, cache.has, cache.ttl, cache.touch, cache.incr):
            with pytest.raises(KeyRejected, match="16,38"):
                call(key)
        with pytest.raises(KeyRejected):
            cache.put(key, 1)
        with pytest.raises(KeyRejected):
            cache.put_many({"fine": 1, key: 1})
        assert list(cache.keys()) == []

    def test_keys_lists_what_begins_with_a_prefix(self, cache):
        cache.put_many(dict.fromkeys(["user:1", "user:2", "user", "User:1", "us", "*", "a/b", "a/", "a%2Fb"]))
        assert sorted(cache.keys("user:")) == ["user:1", "user:2"]
        assert sorted(cache.keys("us")) == ["us", "user", "user:1", "user:2"]
        assert list(cache.keys("*")) == ["*"]
        assert sorted(cache.keys("a/")) == ["a/", "a/b"]
        assert list(cache.keys("nothing")) == []
        assert len(list(cache.keys())) == 9

    def test_clear_removes_everything_and_says_how_much(self, cache, clock):
        cache.put_many({"a": 1, "b": 2})
        cache.put("expired", 3, 1)
        clock.advance(1)
        assert cache.clear() == 3
        assert cache.get_many(["a", "b"]) == {}
        assert cache.clear() == 0

    def test_clear_of_a_prefix(self, cache):
        cache.put_many(dict.fromkeys(["user:1", "user:2", "user", "other"], 1))
        assert cache.clear("user:") == 2
        assert sorted(cache.keys()) == ["other", "user"]
        assert cache.clear("nothing") == 0


class IsolationContract:
    """Neighbouring and nested prefixes, and what is not ours."""

    #: Prefixes that begin alike, that lie inside each other, and that look like our own two hex digits.
    PLACES = ("/cache", "/cache2", "/cache/sub", "/cache/ab", "/cache/_cloudcached", "/Cache", "/cach")

    def test_caches_in_neighbouring_and_nested_prefixes_do_not_touch_each_other(self, open_cache):
        caches = {place: open_cache(place) for place in self.PLACES}
        keys = ["k", "sub/k", "ab/k", "ab", "/", ""]
        for place, cache in caches.items():
            cache.put_many(dict.fromkeys(keys, place))
        for place, cache in caches.items():
            assert cache.get_many(keys) == dict.fromkeys(keys, place)
            assert sorted(cache.keys()) == sorted(keys)
        assert caches["/cache"].clear("a") == 2
        assert caches["/cache"].clear() == len(keys) - 2
        for place, cache in caches.items():
            assert len(list(cache.keys())) == (0 if place == "/cache" else len(keys))

    def test_the_bucket_above_is_a_cache_of_its_own(self, open_cache):
        above, below = open_cache(), open_cache("/cache")
        above.put("k", "above")
        below.put("k", "below")
        assert (above.get("k"), below.get("k")) == ("above", "below")
        assert list(above.keys()) == ["k"]
        assert above.clear() == 1
        assert below.get("k") == "below"

    def test_foreign_objects_are_neither_listed_nor_removed(self, cache):
        cache.put("k", "v")
        store, names = cache.engine.store, cache.engine.names
        ours = names.object_key("k")[0]
        shard = ours.removeprefix(names.root).partition("/")[0]
        wrong_shard = f"{(int(shard, 16) + 1) % 256:02x}"
        foreign = [
            f"{names.root}k",
            f"{names.root}{wrong_shard}/k",
            f"{names.root}{shard.upper() if shard.upper() != shard else 'GG'}/k",
            f"{names.root}{shard}/k/more",
            f"{ours}.bak",
            f"{names.root}zz/k",
            f"{names.root}_cloudcached/lock/k",
            f"{names.root}readme.txt",
            f"{names.root}{shard}",
        ]
        for name in foreign:
            store.put(Write(name, b"not ours", {}), timeout=5)
        assert list(cache.keys()) == ["k"]
        assert cache.clear() == 1
        assert cache.clear("k") == 0
        for name in foreign:
            assert store.get(name, timeout=5).read() == b"not ours", name
        for name in foreign:
            store.delete(name, timeout=5)

    def test_a_foreign_object_in_the_place_of_an_entry_is_a_miss_that_can_be_replaced(self, cache):
        name = cache.engine.names.object_key("k")[0]
        for write in (
            lambda: cache.put("k", "v"),
            lambda: cache.put("k", "v", replace=True),
            lambda: cache.get_or_put("k", "v"),
        ):
            cache.engine.store.put(Write(name, b"not ours", {"cc-format": "1"}), timeout=5)
            assert cache.get("k", MISSING) is MISSING
            assert not cache.has("k")
            assert cache.update("k", 1) is False
            assert cache.touch("k") is False
            write()
            assert cache.get("k") == "v"
        cache.engine.store.put(Write(name, b"not ours", {}), timeout=5)
        assert cache.delete("k") is False
        assert list(cache.keys()) == []
