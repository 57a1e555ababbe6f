"""The contract of every store, whatever it is built on.

A store's test file has a subclass of these with the fixtures ``store`` and ``root``, a prefix of names that nothing
else uses. ``other`` is another way to the same bucket, if there is one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from contracts.object_parts import PartsContract

from cloudcached import BucketMissing, NotFound, NotModified, PreconditionFailed, StoreRefused, StoreTimeout
from cloudcached.stores.port import ABSENT, ALWAYS, Matches, Store, Write

T = 30.0
METADATA = {"cc-type": "str", "cc-expires": "1800000000000"}
ODD_NAMES = [
    ".hidden",
    "a b",
    "a  b ",
    "a%20b",
    "a%252Fb",
    "a%2Fb",
    "a+b",
    "a//b",
    "a/./b",
    "a/../b",
    "a/b",
    "a?b#c&d=e",
    "back\\slash",
    "brackets[]{}()<>",
    "caf\xe9",
    "cafe\u0301",
    "case",
    "Case",
    "emoji \U0001f9ca",
    "quotes'\"`",
    "signs!$*,:;=@^_|~-",
    "trailing/",
    "xml &amp; <b>",
    "~",
]
VERBS: dict[str, Callable[[Store, str], Any]] = {
    "get": lambda store, name: store.get(name, timeout=T),
    "get unless": lambda store, name: store.get(name, unless="0" * 32, timeout=T),
    "get_range": lambda store, name: store.get_range(name, 0, 5, etag="0" * 32, timeout=T),
    "head": lambda store, name: store.head(name, timeout=T),
    "put": lambda store, name: store.put(Write(name, b"x", {}), timeout=T),
    "put absent": lambda store, name: store.put(Write(name, b"x", {}, when=ABSENT), timeout=T),
    "put matches": lambda store, name: store.put(Write(name, b"x", {}, when=Matches("0" * 32)), timeout=T),
    "get_first": lambda store, name: store.get_first(name, 5, timeout=T),
    "create_upload": lambda store, name: store.create_upload(name, {}, timeout=T),
    "put_part": lambda store, name: store.put_part(name, "0", 1, b"x", timeout=T),
    "complete_upload": lambda store, name: store.complete_upload(name, "0", ["0" * 32], timeout=T),
    "abort_upload": lambda store, name: store.abort_upload(name, "0", timeout=T),
    "delete": lambda store, name: store.delete(name, timeout=T),
    "delete_many": lambda store, name: store.delete_many([name], timeout=T),
    "list": lambda store, name: store.list(name, timeout=T),
}
OF_ONE_OBJECT = [verb for verb in VERBS if verb != "list"]


def md5(body: bytes) -> str:
    return hashlib.md5(body).hexdigest()


def body_of(store: Store, name: str) -> bytes:
    return bytes(store.get(name, timeout=T).read())


def names_under(store: Store, prefix: str) -> list[str]:
    page, more = store.list(prefix, timeout=T)
    assert not more
    return [row.object_key for row in page]


class ObjectStoreContract(PartsContract):
    @pytest.fixture
    def other(self, store: Store) -> Store:
        return store

    # One object

    @pytest.mark.parametrize("size", [0, 1, 32, 100_000, 3_000_000])
    def test_what_was_put_is_found(self, store: Store, other: Store, root: str, size: int) -> None:
        body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        etag = store.put(Write(f"{root}a", body, METADATA), timeout=T)
        assert etag == md5(body)
        found = other.get(f"{root}a", timeout=T)
        assert dict(found.head.metadata) == METADATA
        assert (found.head.etag, found.head.size) == (etag, size)
        assert bytes(found.read()) == body
        head = other.head(f"{root}a", timeout=T)
        assert (dict(head.metadata), head.etag, head.size) == (METADATA, etag, size)
        assert head.modified == found.head.modified > 1_700_000_000

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    @pytest.mark.parametrize("size", [5, 100_000, 2_000_000])
    def test_bodies_are_bytes_of_any_kind(self, store: Store, root: str, kind: Any, size: int) -> None:
        store.put(Write(f"{root}a", kind(b"x" * size), {}), timeout=T)
        assert body_of(store, f"{root}a") == b"x" * size

    def test_a_put_replaces_body_and_metadata(self, store: Store, root: str) -> None:
        first = store.put(Write(f"{root}a", b"one", {"cc-one": "1"}), timeout=T)
        second = store.put(Write(f"{root}a", b"two", {"cc-two": "2"}, when=ALWAYS), timeout=T)
        found = store.get(f"{root}a", timeout=T)
        assert first != second == found.head.etag
        assert dict(found.head.metadata) == {"cc-two": "2"}
        assert bytes(found.read()) == b"two"

    @pytest.mark.parametrize(
        "metadata",
        [
            {},
            {"a": "1", "b-c": "2", "9": "3"},
            {"signs": "".join(map(chr, range(33, 127)))},
            {"blanks": "two  in the middle"},
            {"percent": "%20%C3%A9", "comma": "a, b", "equals": "=?utf-8?q?a?="},
            {f"cc-{number}": "x" * 180 for number in range(10)},
        ],
        ids=["none", "names", "signs", "blanks", "codes", "large"],
    )
    def test_metadata_comes_back(self, store: Store, other: Store, root: str, metadata: dict[str, str]) -> None:
        store.put(Write(f"{root}a", b"x", metadata), timeout=T)
        assert dict(other.head(f"{root}a", timeout=T).metadata) == metadata
        assert dict(other.get(f"{root}a", timeout=T).head.metadata) == metadata

    @pytest.mark.parametrize(
        "metadata",
        [
            *({name: "1"} for name in ("A", "a_b", "a b", "")),
            *({"a": value} for value in ("", " 1", "1 ", "1\n", "\t", "\xe9", "x" * 2048)),
        ],
    )
    def test_metadata_that_would_be_changed_is_refused(self, store: Store, root: str, metadata: dict[str, str]) -> None:
        with pytest.raises(StoreRefused):
            store.put(Write(f"{root}a", b"x", metadata), timeout=T)
        assert names_under(store, root) == []

    def test_what_is_not_there(self, store: Store, root: str) -> None:
        for verb in ("get", "get unless", "get_range", "head"):
            with pytest.raises(NotFound) as caught:
                VERBS[verb](store, f"{root}a")
            assert caught.value.object_key == f"{root}a"

    def test_bodies_are_read_when_asked_for(self, store: Store, root: str) -> None:
        for size in (5, 3_000_000):
            store.put(Write(f"{root}a", b"x" * size, {}), timeout=T)
            for _ in range(10):
                store.get(f"{root}a", timeout=T).close()
            found = store.get(f"{root}a", timeout=T)
            assert bytes(found.read()) == b"x" * size
            found.close()

    def test_a_small_body_is_of_the_version_of_its_head(self, store: Store, root: str) -> None:
        store.put(Write(f"{root}a", b"old", {}), timeout=T)
        found = store.get(f"{root}a", timeout=T)
        store.put(Write(f"{root}a", b"new!", {}), timeout=T)
        assert (found.head.etag, bytes(found.read())) == (md5(b"old"), b"old")

    def test_the_server_s_clock(self, store: Store, root: str) -> None:
        store.put(Write(f"{root}a", b"x", {}), timeout=T)
        for head in (store.head(f"{root}a", timeout=T), store.get(f"{root}a", timeout=T).head):
            assert head.date is not None
            assert 0 <= head.date - head.modified < 10

    # Conditions

    def test_absent(self, store: Store, other: Store, root: str) -> None:
        store.put(Write(f"{root}a", b"one", METADATA, when=ABSENT), timeout=T)
        with pytest.raises(PreconditionFailed):
            other.put(Write(f"{root}a", b"two", {}, when=ABSENT), timeout=T)
        assert body_of(store, f"{root}a") == b"one"
        assert dict(store.head(f"{root}a", timeout=T).metadata) == METADATA
        store.delete(f"{root}a", timeout=T)
        other.put(Write(f"{root}a", b"two", {}, when=ABSENT), timeout=T)
        assert body_of(store, f"{root}a") == b"two"

    def test_matches(self, store: Store, other: Store, root: str) -> None:
        old = store.put(Write(f"{root}a", b"one", {}), timeout=T)
        new = other.put(Write(f"{root}a", b"two", {}, when=Matches(old)), timeout=T)
        with pytest.raises(PreconditionFailed):
            store.put(Write(f"{root}a", b"three", {}, when=Matches(old)), timeout=T)
        assert body_of(store, f"{root}a") == b"two"
        store.put(Write(f"{root}a", b"four", {}, when=Matches(new)), timeout=T)
        assert body_of(other, f"{root}a") == b"four"

    def test_nothing_matches_what_is_not_there(self, store: Store, root: str) -> None:
        with pytest.raises(PreconditionFailed):
            store.put(Write(f"{root}a", b"x", {}, when=Matches(md5(b""))), timeout=T)
        assert names_under(store, root) == []

    @pytest.mark.parametrize("size", [0, 5, 3_000_000])
    def test_unless(self, store: Store, other: Store, root: str, size: int) -> None:
        old = store.put(Write(f"{root}a", b"x" * size, METADATA), timeout=T)
        with pytest.raises(NotModified) as caught:
            store.get(f"{root}a", unless=old, timeout=T)
        assert caught.value.object_key == f"{root}a"
        assert not caught.value.retryable
        new = other.put(Write(f"{root}a", b"y" * size + b"z", METADATA), timeout=T)
        found = store.get(f"{root}a", unless=old, timeout=T)
        assert (found.head.etag, dict(found.head.metadata)) == (new, METADATA)
        assert bytes(found.read()) == b"y" * size + b"z"

    def test_conditions_hold_for_large_bodies(self, store: Store, root: str) -> None:
        large = b"x" * 2_000_000
        etag = store.put(Write(f"{root}a", large, {}, when=ABSENT), timeout=T)
        for when in (ABSENT, Matches("0" * 32)):
            with pytest.raises(PreconditionFailed):
                store.put(Write(f"{root}a", large + b"y", {}, when=when), timeout=T)
        store.put(Write(f"{root}a", large + b"z", {}, when=Matches(etag)), timeout=T)
        assert store.head(f"{root}a", timeout=T).size == 2_000_001

    # Ranges

    def test_ranges(self, store: Store, root: str) -> None:
        etag = store.put(Write(f"{root}a", b"0123456789", {}), timeout=T)
        for start, length in ((0, 1), (3, 4), (9, 1), (0, 10), (8, 100)):
            part = store.get_range(f"{root}a", start, length, etag=etag, timeout=T)
            assert b"".join(part) == b"0123456789"[start : start + length]

    def test_ranges_of_another_version(self, store: Store, root: str) -> None:
        old = store.put(Write(f"{root}a", b"0123456789", {}), timeout=T)
        store.put(Write(f"{root}a", b"abcdefghij", {}), timeout=T)
        with pytest.raises(PreconditionFailed):
            store.get_range(f"{root}a", 0, 5, etag=old, timeout=T)

    def test_ranges_that_are_none(self, store: Store, root: str) -> None:
        etag = store.put(Write(f"{root}a", b"0123456789", {}), timeout=T)
        for start, length in ((10, 1), (100, 5), (0, 0), (5, -1), (-1, 5)):
            with pytest.raises(StoreRefused):
                store.get_range(f"{root}a", start, length, etag=etag, timeout=T)

    # Removal

    def test_delete(self, store: Store, root: str) -> None:
        store.put(Write(f"{root}a", b"x", {}), timeout=T)
        store.put(Write(f"{root}ab", b"x", {}), timeout=T)
        for _ in range(2):
            store.delete(f"{root}a", timeout=T)
        assert names_under(store, root) == [f"{root}ab"]

    def test_delete_many(self, store: Store, root: str) -> None:
        for name in ("a", "b", "c"):
            store.put(Write(root + name, b"x", {}), timeout=T)
        assert store.delete_many(iter([f"{root}a", f"{root}c", f"{root}never there"]), timeout=T) == {}
        assert store.delete_many([], timeout=T) == {}
        assert names_under(store, root) == [f"{root}b"]

    def test_more_than_can_be_deleted_at_once(self, store: Store, root: str) -> None:
        store.put(Write(f"{root}0", b"x", {}), timeout=T)
        with pytest.raises(StoreRefused):
            store.delete_many([f"{root}{number}" for number in range(1001)], timeout=T)
        assert names_under(store, root) == [f"{root}0"]

    # Listing

    def test_list_is_in_byte_order(self, store: Store, root: str) -> None:
        names = [root + name for name in ("B", "a", "a-", "a/b", "a0", "b", "\xe9", "\uffef", "\U0001f9ca")]
        for name in reversed(names):
            store.put(Write(name, name.encode(), {}), timeout=T)
        page, more = store.list(root, timeout=T)
        assert [(row.object_key, row.etag, row.size) for row in page] == [
            (name, md5(name.encode()), len(name.encode())) for name in names
        ]
        assert not more
        assert all(abs(row.modified - store.head(row.object_key, timeout=T).modified) < 1.5 for row in page)

    def test_list_knows_prefix_and_after(self, store: Store, root: str) -> None:
        for name in ("a", "ab", "abc", "b"):
            store.put(Write(root + name, b"x", {}), timeout=T)

        def listed(prefix: str, after: str = "") -> list[str]:
            page, _ = store.list(root + prefix, after=root + after if after else "", timeout=T)
            return [row.object_key.removeprefix(root) for row in page]

        assert listed("ab") == ["ab", "abc"]
        assert listed("", after="ab") == ["abc", "b"]
        assert listed("", after="aa") == ["ab", "abc", "b"]
        assert listed("ab", after="abc") == []
        assert listed("c") == []

    def test_pages(self, store: Store, other: Store, root: str) -> None:
        names = [f"{root}{number:04}" for number in range(1003)]
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda name: other.put(Write(name, b"", {}), timeout=T), names))
        first, more = store.list(root, timeout=T)
        assert ([row.object_key for row in first], more) == (names[:1000], True)
        rest, more = store.list(root, after=names[999], timeout=T)
        assert ([row.object_key for row in rest], more) == (names[1000:], False)
        assert store.delete_many(names[:1000], timeout=T) == {}
        assert names_under(store, root) == names[1000:]

    # Names

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_odd_names(self, store: Store, other: Store, root: str, name: str) -> None:
        full = root + name
        etag = store.put(Write(full, b"mine", METADATA, when=ABSENT), timeout=T)
        assert body_of(other, full) == b"mine"
        assert other.head(full, timeout=T).etag == etag
        assert b"".join(other.get_range(full, 1, 2, etag=etag, timeout=T)) == b"in"
        assert names_under(store, root) == [full]
        store.put(Write(full, b"again", {}, when=Matches(etag)), timeout=T)
        other.delete(full, timeout=T)
        assert names_under(store, root) == []
        store.put(Write(full, b"x", {}), timeout=T)
        assert store.delete_many([full], timeout=T) == {}
        with pytest.raises(NotFound):
            store.get(full, timeout=T)

    def test_odd_names_are_different_names(self, store: Store, other: Store, root: str) -> None:
        for name in ODD_NAMES:
            store.put(Write(root + name, name.encode(), {}, when=ABSENT), timeout=T)
        assert names_under(store, root) == sorted(root + name for name in ODD_NAMES)
        assert {name: body_of(other, root + name) for name in ODD_NAMES} == {name: name.encode() for name in ODD_NAMES}

    def test_the_longest_name(self, store: Store, root: str) -> None:
        name = root + "x" * (1024 - len(root))
        store.put(Write(name, b"x", {}), timeout=T)
        assert names_under(store, root) == [name]
        assert body_of(store, name) == b"x"

    @pytest.mark.parametrize("verb", OF_ONE_OBJECT)
    def test_names_that_cannot_be(self, store: Store, verb: str) -> None:
        for name in ("", "x" * 1025, "\xe9" * 513, "lone \ud800"):
            with pytest.raises(StoreRefused):
                VERBS[verb](store, name)

    # All verbs

    @pytest.mark.parametrize("verb", VERBS)
    def test_no_time_left(self, store: Store, root: str, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(globals(), "T", 0.0)
        with pytest.raises(StoreTimeout):
            VERBS[verb](store, f"{root}a")

    def test_a_closed_store_can_be_used_again(self, store: Store, root: str) -> None:
        for number in range(2):
            store.put(Write(f"{root}{number}", b"x", {}), timeout=T)
            store.close()
            store.close()
        assert names_under(store, root) == [f"{root}0", f"{root}1"]

    def test_threads(self, store: Store, root: str) -> None:
        def work(number: int) -> None:
            for turn in range(5):
                body = f"{number} {turn} ".encode() * 100
                etag = store.put(Write(f"{root}{number}", body, {"cc-turn": str(turn)}), timeout=T)
                found = store.get(f"{root}{number}", timeout=T)
                assert (found.head.etag, found.head.metadata["cc-turn"], bytes(found.read())) == (etag, str(turn), body)

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(work, range(8)))
        assert names_under(store, root) == [f"{root}{number}" for number in range(8)]


class MissingBucketContract:
    """For stores whose bucket may not be there: fixture ``bucketless``."""

    @pytest.mark.parametrize("verb", VERBS)
    def test_a_missing_bucket_is_never_a_miss(self, bucketless: Store, verb: str) -> None:
        for _ in range(2):
            with pytest.raises(BucketMissing):
                VERBS[verb](bucketless, "prefix/ab/key")
