"""What comes back is what was stored: type, value, sign and bits."""

from __future__ import annotations

import pytest
from samples import BASE, HARMLESS, SIGNED_ONLY, same

from cloudcached import MISSING, ValueRejected


class ValuesContract:
    """Values of every type."""

    def test_every_value_comes_back_exactly(self, cache):
        values = {**BASE, **HARMLESS}
        assert cache.put_many(values) == dict.fromkeys(values, True)
        found = cache.get_many(values)
        assert [name for name, value in values.items() if not same(found.get(name, MISSING), value)] == []

    @pytest.mark.parametrize("name", ["None", "False", "zero", "empty str", "empty bytes", "negative zero"])
    def test_a_falsy_value_is_no_miss(self, cache, name):
        value = BASE[name]
        assert cache.put("k", value) is True
        assert same(cache.get("k", "default"), value)
        assert cache.put("k", "other") is False
        assert cache.has("k")
        assert cache.touch("k")
        assert same(cache.get_many(["k"])["k"], value)
        assert cache.get_or_put("k", "other") == value
        assert cache.update("k", value) is True
        assert cache.delete("k") is True

    def test_none_and_missing_differ(self, cache):
        cache.put("k", None)
        assert cache.get("k", MISSING) is None
        assert cache.get("other", MISSING) is MISSING
        assert "k" in cache
        assert "other" not in cache

    def test_a_value_may_change_its_type(self, cache):
        for value in ("1", 1, 1.0, True, None, b"1", [1]):
            cache.put("k", value, replace=True)
            assert same(cache.get("k"), value)

    def test_the_type_is_in_the_metadata(self, cache):
        for value, tag in [
            ("", "str"),
            (b"", "bytes"),
            (0, "int"),
            (0.0, "float"),
            (0j, "complex"),
            (False, "bool"),
            (None, "none"),
            ([], "pickle"),
        ]:
            cache.put("k", value, replace=True)
            assert cache.info("k").type == tag

    def test_a_returned_value_is_a_copy(self, cache):
        value = {"list": [1]}
        cache.put("k", value)
        value["list"].append(2)
        cache.get("k")["list"].append(3)
        assert cache.get("k") == {"list": [1]}

    def test_any_type_that_pickles_is_stored_where_entries_are_signed(self, open_cache):
        cache = open_cache(signing_key="a secret")
        cache.put_many(SIGNED_ONLY)
        found = cache.get_many(SIGNED_ONLY)
        assert [name for name, value in SIGNED_ONLY.items() if not same(found.get(name, MISSING), value)] == []

    @pytest.mark.parametrize("name", SIGNED_ONLY)
    def test_a_type_that_an_unsigned_pickle_may_not_name_is_refused_on_put(self, open_cache, name):
        cache = open_cache(signing_key=None)
        with pytest.raises(ValueRejected, match="set signing_key"):
            cache.put("k", SIGNED_ONLY[name])
        assert not cache.has("k")

    def test_missing_itself_is_no_value(self, open_cache):
        """A stored ``MISSING`` could not be told from a miss."""
        cache = open_cache(signing_key="a secret")
        with pytest.raises(ValueRejected, match="MISSING"):
            cache.put("k", MISSING)
        assert not cache.has("k")

    def test_compressed_and_plain_entries_read_alike(self, open_cache):
        text = "compress me " * 1_000
        never, always = open_cache(compress_min_bytes=None), open_cache(compress_min_bytes=0)
        never.put("plain", text)
        always.put("zstd", text)
        assert (never.info("plain").encoding, always.info("zstd").encoding) == ("plain", "zstd")
        assert (always.get("plain"), never.get("zstd")) == (text, text)
        assert always.info("zstd").size < len(text) / 10

    def test_keys_of_old_stay_readable_and_new_entries_use_the_new_one(self, open_cache):
        old, both, new = (open_cache(signing_key=key) for key in ("old", ["new", "old"], "new"))
        old.put("k", "v")
        assert both.get("k") == "v"
        assert new.get("k") is None
        assert both.touch("k") is True
        assert new.get("k") == "v"
        assert old.get("k") is None

    def test_signed_and_unsigned_clients_do_not_read_each_other(self, open_cache):
        signed, unsigned = open_cache(signing_key="a secret"), open_cache(signing_key=None)
        signed.put("signed", 1)
        unsigned.put("unsigned", 1)
        for cache, key in ((signed, "unsigned"), (unsigned, "signed")):
            assert cache.get(key, MISSING) is MISSING
            assert not cache.has(key)
            assert cache.ttl(key) == 0
            assert cache.info(key) is None
            assert cache.update(key, 2) is False
            assert cache.touch(key) is False
            assert cache.delete(key) is False
            assert cache.put(key, 3) is True
            assert cache.get(key) == 3
