"""Keys to object names and back: nothing is lost, nothing collides, nothing foreign is taken for ours."""

from __future__ import annotations

import enum
import hashlib
import re
import string
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from samples import ODD_KEYS

from cloudcached import Client, KeyRejected
from cloudcached.entry.keys import KEY_LIMIT_BYTES, OBJECT_KEY_LIMIT_BYTES, RESERVED, Names, escape, shard, unescape

#: Every code point, lone surrogates included.
ANY_TEXT = st.text(st.characters())
#: What escaping has to do with, so that collisions are near.
TRICKY_TEXT = st.text("%~./25eE7A+ aé\0", max_size=6)
KEYS = ANY_TEXT | TRICKY_TEXT
SAFE = set(string.ascii_letters + string.digits + "_-.~!*'():,=@%")
PREFIXES = ("", "cache", "cache/sub", "a!_.*'()=+@:,-")


@given(KEYS)
@example("")
@example("\ud83e\uddca")
def test_an_escaped_key_comes_back(key):
    assert unescape(escape(key)) == key


@given(KEYS)
def test_an_escaped_key_is_a_plain_path_segment(key):
    name = escape(key)
    assert name
    assert set(name) <= SAFE
    assert name.strip(".")
    assert not name.startswith("~")


@given(KEYS, KEYS)
@example("%2F", "/")
@example("a+b", "a b")
@example("~", "%7E")
@example("..", "%2E%2E")
@example("", "%")
@example("\ud83e\uddca", "\U0001f9ca")
def test_different_keys_have_different_names(left, right):
    assert (escape(left) == escape(right)) == (left == right)


def test_odd_keys_have_different_names_whatever_case_a_server_makes_of_them():
    assert len({escape(key) for key in ODD_KEYS}) == len(ODD_KEYS)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("views.cache_page", "views.cache_page"),
        (":1:a", ":1:a"),
        ("a/b", "a%2Fb"),
        ("a b+c", "a%20b%2Bc"),
        ("é", "%C3%A9"),
        ("", "%"),
        ("%", "%25"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        ("a..", "a.."),
        ("~a", "%7Ea"),
        ("a~", "a~"),
        ("\0", "%00"),
        ("a\n", "a%0A"),
        ("\ud800", "%ED%A0%80"),
    ],
)
def test_names_as_they_are_in_buckets_today(key, name):
    """Another escaping would lose every entry that is stored."""
    assert escape(key) == name


@pytest.mark.parametrize("name", ["a/b", "a%2fb", "a b", "%7ea", "~a", "..", ".", "%41", "%", "%zz", "%FF", "é", ""])
def test_a_name_that_no_key_has_is_not_unescaped(name):
    assert unescape(name) == ("" if name == "%" else None)


@given(ANY_TEXT | st.text("%0123456789ABCDEFabcdef~"))
def test_unescape_takes_any_text(name):
    key = unescape(name)
    assert key is None or escape(key) == name


@given(KEYS, st.sampled_from(PREFIXES))
def test_a_key_is_found_again_in_a_listing(key, prefix):
    names = Names(prefix)
    object_key, hashed = names.object_key(key)
    assert object_key.isascii()
    assert len(object_key) <= OBJECT_KEY_LIMIT_BYTES
    assert names.is_ours(object_key)
    assert names.key_of(object_key) == (None if hashed else key)


@given(KEYS, st.sampled_from(PREFIXES), st.sampled_from(PREFIXES))
def test_no_cache_takes_another_ones_object_for_its_own(key, one, other):
    object_key, _ = Names(one).object_key(key)
    if one != other:
        assert not Names(other).is_ours(object_key)


@given(st.sampled_from(PREFIXES), st.text(st.characters(), max_size=20), st.text("0123456789abcdef~%/", max_size=8))
def test_whatever_is_listed_is_ours_only_in_its_exact_form(prefix, text, beginning):
    names = Names(prefix)
    for listed in (text, names.root + text, names.root + beginning + text, f"{names.root}ab/{text}"):
        key = names.key_of(listed)
        if key is not None:
            assert names.object_key(key) == (listed, False)


def test_the_digits_must_fit_the_name():
    names = Names("cache")
    assert names.is_ours(f"cache/{shard('k')}/k")
    wrong = [f"cache/{digits:02x}/k" for digits in range(256) if f"{digits:02x}" != shard("k")]
    assert not any(map(names.is_ours, wrong))


def test_the_digits_are_the_last_of_a_checksum():
    assert shard("k") == f"{zlib.crc32(b'k') % 256:02x}"
    assert {len(shard(f"{number}")) for number in range(1000)} == {2}
    assert len({shard(f"{number}") for number in range(5000)}) == 256


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_name_is_hashed_just_when_it_would_not_fit(prefix):
    names = Names(prefix)
    room = 1024 - len(names.root) - len("hh/")
    object_key, hashed = names.object_key("k" * room)
    assert (len(object_key), hashed) == (1024, False)
    long = "k" * (room + 1)
    object_key, hashed = names.object_key(long)
    assert hashed
    digest = hashlib.sha256(long.encode()).hexdigest()
    assert object_key == f"{names.root}{shard(f'~{digest}')}/~{digest}"
    assert names.is_ours(object_key)
    assert names.key_of(object_key) is None


@given(st.text(st.characters(), min_size=1, max_size=20).map(lambda text: text * 300))
def test_a_hashed_name_is_told_from_that_of_another_key(key):
    names = Names("")
    if len(key.encode("utf-8", "surrogatepass")) <= KEY_LIMIT_BYTES:
        object_key, hashed = names.object_key(key)
        assert names.is_hash_of(object_key, key) == hashed
        assert not names.is_hash_of(object_key, key + "x")


def test_whatever_an_entry_says_its_key_is_may_be_compared():
    object_key, _ = Names("").object_key("k" * 2_000)
    assert not Names("").is_hash_of(object_key, "k" * (KEY_LIMIT_BYTES + 1))
    assert not Names("").is_hash_of(object_key, "")


def test_no_key_is_hidden_by_a_hashed_name():
    """A key that reads like a hashed name is escaped, so it cannot shadow the long key."""
    names = Names("")
    object_key, _ = names.object_key("k" * 2_000)
    impostor = object_key.partition("/")[2]
    assert names.object_key(impostor)[0] != object_key
    assert names.key_of(names.object_key(impostor)[0]) == impostor


@pytest.mark.parametrize("key", [None, 1, b"k", ["k"]], ids=repr)
def test_a_key_that_is_no_str_is_refused_with_advice(key):
    with pytest.raises(KeyRejected, match=rf"not {type(key).__name__}.*str\(key\)"):
        Names("").object_key(key)


def test_the_limit_of_a_key_counts_bytes():
    assert Names("").object_key("Ω" * (KEY_LIMIT_BYTES // 2))[1]
    with pytest.raises(KeyRejected, match=r"16,386 bytes.*hash it"):
        Names("").object_key("Ω" * (KEY_LIMIT_BYTES // 2 + 1))


@given(KEYS, KEYS, st.sampled_from(PREFIXES))
def test_reserved_names_are_no_entries_and_do_not_collide(key, other, prefix):
    names = Names(prefix)
    reserved = names.reserved("lock", key)
    assert len(reserved) <= OBJECT_KEY_LIMIT_BYTES
    assert reserved.startswith(f"{names.root}{RESERVED}/lock/")
    assert names.is_ours(reserved) is False
    assert not any(Names(p).is_ours(reserved) for p in PREFIXES)
    assert (reserved == names.reserved("lock", other)) == (key == other)
    assert reserved != names.reserved("tag", key)


def test_a_long_reserved_name_is_hashed():
    name = Names("cache").reserved("lock", "k" * 5_000)
    assert re.fullmatch(r"cache/_cloudcached/lock/~[0-9a-f]{64}", name)
    assert name != Names("cache").reserved("lock", "k" * 5_001)
    room = 1024 - len("cache/_cloudcached/lock/")
    assert Names("cache").reserved("lock", "k" * room) == "cache/_cloudcached/lock/" + "k" * room
    assert "~" in Names("cache").reserved("lock", "k" * (room + 1))


def test_a_str_that_formats_in_its_own_way_is_the_str_that_it_is() -> None:
    """A member of a str enum prints as ``Colour.RED``."""

    class Colour(str, enum.Enum):
        RED = "red"

    cache = Client("memory://")
    assert cache.put(Colour.RED, 1)
    assert cache.get("red") == 1
    assert list(cache.keys()) == ["red"]
    assert cache.clear() == 1
