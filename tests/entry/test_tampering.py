"""Whatever somebody does to the bucket: nothing forged is loaded, nothing but a miss comes of it."""

from __future__ import annotations

import logging
import os
import pickle
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import pytest
from entry.test_format import codec, opened, packed, place
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cloudcached import MISSING, Client, EntryRefused, KeyMissing
from cloudcached.entry.compression import compress
from cloudcached.entry.format import OTHER_FORMAT, _canonical
from cloudcached.entry.signing import PLAIN
from cloudcached.stores.port import Write

KEY = "k"
#: What a header can carry, and more.
HEADER = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60) | st.text(
    st.characters(), max_size=10
)
NAMES = (
    "cc-cost",
    "cc-created",
    "cc-encoding",
    "cc-expires",
    "cc-format",
    "cc-fresh",
    "cc-key-id",
    "cc-nonce",
    "cc-recent",
    "cc-signature",
    "cc-type",
)


class Forged(NamedTuple):
    """An object in the bucket."""

    metadata: dict[str, str]
    body: bytes


def written(value: Any = "some text", *, key: str = KEY, **options: Any) -> Forged:
    entry = packed(codec(**options), place(key), value, recent=("start", "a" * 11), fresh_ms=1, cost_ms=1500)
    return Forged(entry.metadata, entry.body)


def read(entry: Forged, *, key: str = KEY, **options: Any) -> Any:
    return opened(codec(**options), place(key), entry.metadata, entry.body)


def refusal(entry: Forged, *, key: str = KEY, **options: Any) -> str:
    """Return why an entry is refused."""
    with pytest.raises(EntryRefused) as caught:
        read(entry, key=key, **options)
    return caught.value.reason


def resigned(entry: Forged, *, key: str = KEY, body: bytes | None = None, **metadata: str) -> Forged:
    """Return the entry with other metadata or body, in the way of somebody who has no key: plain digests."""
    changed = {**entry.metadata, **{f"cc-{name.replace('_', '-')}": value for name, value in metadata.items()}}
    payload = entry.body[:-32] if body is None else body
    changed["cc-signature"] = PLAIN.sign(_canonical(place(key).object_key, changed))
    return Forged(changed, payload + PLAIN.seal(changed["cc-nonce"], payload))


MODES: list[dict[str, Any]] = [{}, {"signing_key": "a secret"}, {"compress_min_bytes": 0, "signing_key": "a"}]
modes = pytest.mark.parametrize("options", MODES, ids=["unsigned", "signed", "compressed"])


@modes
def test_an_untouched_entry_is_read(options):
    assert read(written(**options), **options) == "some text"


@modes
def test_every_changed_byte_of_the_body_is_noticed(options):
    entry = written("compressible " * 10, **options)
    for position in range(len(entry.body)):
        for flip in (0x01, 0x80, 0xFF):
            body = bytearray(entry.body)
            body[position] ^= flip
            assert refusal(Forged(entry.metadata, bytes(body)), **options) == "seal"


@modes
def test_a_body_that_was_cut_or_grew_is_noticed(options):
    entry = written(**options)
    for length in range(len(entry.body)):
        assert refusal(Forged(entry.metadata, entry.body[:length]), **options) in ("seal", "size")
        assert refusal(Forged(entry.metadata, entry.body[length + 1 :]), **options) in ("seal", "size")
    for more in (b"\0", b"x" * 100, entry.body):
        assert refusal(Forged(entry.metadata, entry.body + more), **options) == "seal"
        assert refusal(Forged(entry.metadata, more + entry.body), **options) == "seal"


@modes
@pytest.mark.parametrize("name", NAMES)
def test_metadata_cannot_be_left_out(name, options):
    entry = written(**options)
    del entry.metadata[name]
    assert refusal(entry, **options) in ("format", "signature", "key-id")


@modes
@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20)
@given(value=HEADER)
@example(value="")
@example(value="none")
@example(value="never")
@example(value="pickle")
@example(value="99999999999999")
def test_metadata_cannot_be_changed(name, options, value):
    entry = written(**options)
    if entry.metadata[name] != value:
        entry.metadata[name] = value
        assert refusal(entry, **options) in ("format", OTHER_FORMAT, "signature", "key-id", "unsigned")


@modes
@pytest.mark.parametrize("name", NAMES)
def test_every_changed_character_of_the_metadata_is_noticed(name, options):
    entry = written(**options)
    for position, character in enumerate(entry.metadata[name]):
        for other in {"0", "a", " ", character.swapcase()} - {character}:
            text = entry.metadata[name]
            changed = {**entry.metadata, name: text[:position] + other + text[position + 1 :]}
            assert refusal(Forged(changed, entry.body), **options) in ("format", "signature", "key-id", "unsigned")


@modes
@pytest.mark.parametrize("name", ["cc-extra", "cc-", "cc-Type", "cc-tags"])
def test_metadata_of_ours_cannot_be_added(name, options):
    entry = written(**options)
    entry.metadata[name] = "x"
    assert refusal(entry, **options) in ("format", "signature")
    del entry.metadata["cc-recent"]  # as many names as before
    assert refusal(entry, **options) in ("format", "signature")


@modes
def test_an_entry_cannot_be_moved_to_another_key(options):
    for key, other in (("a", "b"), ("a", "A"), ("a", "k" * 2_000), ("k" * 2_000, "k" * 2_001), ("k" * 2_000, "a")):
        entry = written(key=key, **options)
        assert read(entry, key=key, **options) == "some text"
        assert refusal(entry, key=other, **options) == "signature"


@modes
def test_an_entry_cannot_be_moved_to_another_cache(options):
    it = codec(**options)
    entry = packed(it, place(KEY, "one"), "v")
    with pytest.raises(EntryRefused, match="signature"):
        opened(it, place(KEY, "other"), entry.metadata, entry.body)


@modes
def test_body_and_metadata_of_two_writes_do_not_fit(options):
    """An old body under new metadata would be an old value with a later expiry."""
    old, new = written("old", **options), written("new", **options)
    assert refusal(Forged(new.metadata, old.body), **options) == "seal"
    assert refusal(Forged(old.metadata, new.body), **options) == "seal"
    nonce = {**new.metadata, "cc-nonce": old.metadata["cc-nonce"]}
    assert refusal(Forged(nonce, old.body), **options) == "signature"


@pytest.mark.parametrize("number", ["", "-1", "1.5", "1e3", "+1", "1_0", "9" * 16, "\u0661", "never"])
@pytest.mark.parametrize("name", ["fresh", "cost"])
def test_a_time_that_is_no_number_is_refused(name, number):
    assert refusal(resigned(written(), **{name: number})) == "format"


@pytest.mark.parametrize("version", ["0", "02", "2 ", "", "two", "2.0", "-1", "\u0662", "9" * 7])
@modes
def test_what_is_the_number_of_no_format_is_refused(version, options):
    entry = written(**options)
    entry.metadata["cc-format"] = version
    assert refusal(entry, **options) == "format"
    assert refusal(resigned(entry, format=version), **options) == "format"


@pytest.mark.parametrize("version", ["1", "3", "999999"])
@modes
def test_another_format_is_told_from_damage(version, options):
    """Nothing else in it is looked at: it may have other names, and other rules for its seal."""
    entry = written(**options)
    entry.metadata["cc-format"] = version
    assert refusal(entry, **options) == OTHER_FORMAT
    assert refusal(resigned(entry, format=version), **options) == OTHER_FORMAT
    assert refusal(Forged({"cc-format": version}, b""), **options) == OTHER_FORMAT


def test_what_nobody_signed_is_refused_by_who_signs():
    entry = written()
    assert refusal(entry, signing_key="a secret") == "unsigned"
    assert read(entry) == "some text"


def test_what_is_signed_is_refused_by_who_has_no_key():
    assert refusal(written(signing_key="a secret")) == "key-id"


def test_a_signature_cannot_be_made_without_the_key():
    """The key id is public: whoever copies it has not signed."""
    real = written(signing_key="a secret")
    key_id = real.metadata["cc-key-id"]
    forged = resigned(written(b"forged"), key_id=key_id)
    assert refusal(forged, signing_key="a secret") == "signature"
    other = written(b"forged", signing_key="another secret")
    other.metadata["cc-key-id"] = key_id
    assert refusal(other, signing_key="a secret") == "signature"
    replayed = Forged({**forged.metadata, "cc-signature": real.metadata["cc-signature"]}, forged.body)
    assert refusal(replayed, signing_key="a secret") == "signature"


def test_the_algorithm_cannot_be_chosen_by_the_entry():
    for key_id in ("none", "", "plain", "hs256"):
        assert refusal(resigned(written(), key_id=key_id), signing_key="a secret") in ("unsigned", "key-id")


@pytest.mark.parametrize("name", ["type", "encoding", "recent", "expires", "created", "nonce"])
@modes
def test_oversized_metadata_is_refused(name, options):
    for size in (2_100, 100_000):
        entry = written(**options)
        assert refusal(Forged({**entry.metadata, f"cc-{name}": "9" * size}, entry.body), **options) in (
            "format",
            "signature",
        )
        assert refusal(resigned(entry, **{name: "9" * size}), **options) in ("format", "signature")


def test_somebody_without_a_key_is_read_where_nobody_signs():
    """Otherwise the tests below would prove nothing."""
    assert read(resigned(written(), body=b"forged")) == "forged"
    assert read(resigned(written(), body=pickle.dumps(["forged"], 5), type="pickle")) == ["forged"]


class RunsCode:
    """Makes a directory when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("options", MODES, ids=["unsigned", "signed", "compressed"])
def test_a_pickle_that_runs_code_never_does(options, tmp_path):
    target = tmp_path / "made"
    evil = pickle.dumps(RunsCode(str(target)))
    real = written([1], **options)
    for entry in (
        resigned(written(), body=evil, type="pickle"),
        resigned(real, body=evil, type="pickle"),
        Forged(real.metadata, evil + real.body[-32:]),
    ):
        assert refusal(entry, **options) in ("unsigned", "signature", "seal")
        assert not target.exists()


def test_a_bomb_takes_no_more_memory_than_the_limit_allows():
    bomb = compress(bytes(60_000_000), 0)
    entry = resigned(written(b""), body=bytes(bomb), encoding="zstd")
    tracemalloc.start()
    try:
        assert refusal(entry, max_value_bytes=1_000_000) == "size"
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_a_bomb_of_pickles_is_refused():
    """What a dozen bytes could blow up must not be in the table of harmless types."""
    for name, argument in (("bytearray", b"\x8a\x05\x00\x00\x00\x00\x10"), ("range", b"\x8a\x05\x00\x00\x00\x00\x10")):
        data = b"\x80\x05cbuiltins\n" + name.encode() + b"\n" + argument + b"\x85R."
        assert refusal(resigned(written(), body=data, type="pickle")) == "unsigned"


@given(
    metadata=st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["str", "bytes", "int", "float", "complex", "bool", "none", "pickle"]) | HEADER,
            "encoding": st.sampled_from(["plain", "zstd", "plain+", "zstd+aes-gcm:0", "+"]) | HEADER,
            "expires": st.integers(-(10**14), 10**16).map(str) | HEADER | st.just("never"),
            "created": st.integers(-(10**14), 10**16).map(str) | HEADER,
            "nonce": st.text(st.characters(), min_size=43, max_size=43) | HEADER,
            "recent": st.lists(st.sampled_from(["start", "a" * 11, "", "b"]), max_size=40).map(" ".join) | HEADER,
            "key_id": HEADER,
        },
    ),
    body=st.binary(max_size=80),
    left_out=st.sets(st.sampled_from(NAMES), max_size=1),
)
@example(metadata={"nonce": "é" * 43}, body=b"", left_out=set())
@example(metadata={"expires": "-1", "type": "int", "encoding": "plain"}, body=b"-0x1", left_out=set())
def test_any_forgery_gives_a_value_or_a_refusal(metadata, body, left_out):
    """The fuzz test of the parser: seal and signature fit, as they can where nobody signs."""
    base = written(**MODES[0]).metadata
    changed = {**base, **{f"cc-{name.replace('_', '-')}": value for name, value in metadata.items()}}
    for name in left_out:
        del changed[name]
    for key in (KEY, "k" * 2_000):
        try:
            changed["cc-signature"] = PLAIN.sign(_canonical(place(key).object_key, changed))
            seal = PLAIN.seal(changed["cc-nonce"], body)
        except (EntryRefused, UnicodeEncodeError, KeyError):
            seal = bytes(32)
        it = codec(max_value_bytes=100)
        with suppress(EntryRefused):
            meta = it.check(place(key).object_key, changed, len(body) + 32)
            with suppress(EntryRefused):
                assert isinstance(it.inner_key(meta, body + seal), str)
            assert all(len(nonce) <= 11 for nonce in meta.chain)
            it.decode(meta, it.open(place(key), meta, body + seal))


@given(st.dictionaries(st.sampled_from(NAMES) | HEADER, HEADER, max_size=12), st.integers(0, 10**13))
def test_any_metadata_is_refused(metadata, size):
    for options in MODES:
        with pytest.raises(EntryRefused):
            codec(**options).check(place(KEY).object_key, metadata, size)


class TestEveryVerb:
    """A refused entry is a miss, one log line and one count."""

    @pytest.fixture(params=["body", "metadata", "foreign"])
    def client(self, request, any_url) -> Iterator[Client]:
        client = Client(any_url, signing_key="a secret")
        client.put(KEY, 1)
        store, name = client.engine.store, client.engine.place(KEY).object_key
        found = store.get(name, timeout=30)
        body, metadata = bytearray(found.read()), dict(found.head.metadata)
        if request.param == "body":
            body[0] ^= 1
        elif request.param == "metadata":
            metadata["cc-expires"] = "never"
        else:
            metadata = {}
        store.put(Write(name, bytes(body), metadata), timeout=30)
        client.damaged_body = request.param == "body"
        yield client
        client.close()

    def test_the_reading_ones_miss(self, client):
        assert client.get(KEY, MISSING) is MISSING
        assert client.get_many([KEY]) == {}
        if not client.damaged_body:  # these look at the metadata only, and say so
            assert not client.has(KEY)
            assert client.ttl(KEY) == 0
            assert client.info(KEY) is None

    def test_the_replacing_ones_find_nothing_to_replace(self, client):
        assert client.update(KEY, 2) is False
        assert client.touch(KEY) is False
        assert client.persist(KEY) is False
        assert client.expire_at(KEY, 4e9) is False
        with pytest.raises(KeyMissing):
            client.incr(KEY)
        assert client.get(KEY, MISSING) is MISSING

    @pytest.mark.parametrize(
        "write",
        [
            lambda c: c.put(KEY, 5),
            lambda c: c.put(KEY, 5, replace=True),
            lambda c: c.put_many({KEY: 5})[KEY],
            lambda c: c.get_or_put(KEY, 5) == 5,
            lambda c: c.incr(KEY, initial=4) == 5,
        ],
        ids=["add", "set", "put_many", "get_or_put", "incr"],
    )
    def test_it_does_not_block_its_key(self, client, write):
        assert write(client)
        assert client.get(KEY) == 5

    def test_it_can_be_deleted(self, client):
        assert client.delete(KEY) is client.damaged_body
        assert list(client.keys()) == []

    @pytest.mark.parametrize("verb", ["get", "has"])
    def test_it_is_told_in_one_line_and_one_count(self, client, caplog, verb):
        with caplog.at_level(logging.DEBUG, "cloudcached"):
            getattr(client, "get" if client.damaged_body else verb)(KEY)
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert client.engine.place(KEY).object_key in record.getMessage()
        assert "counts as a miss" in record.getMessage()
        assert "a secret" not in record.getMessage()
        counts = {name: count for name, count in client.stats().items() if name.startswith("refused.")}
        assert list(counts.values()) == [1]
