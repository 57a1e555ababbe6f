"""The entry format: what is packed comes back, and entries of old stay readable."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

import pytest
from codecs_by_options import codec_of
from hypothesis import given
from hypothesis import strategies as st
from make_golden import GOLDEN, SAMPLES, kinds
from samples import BASE, HARMLESS, SIGNED_ONLY, same

from cloudcached import MISSING, Client, EntryRefused, ValueTooLarge
from cloudcached.config import Config
from cloudcached.entry.format import FORMAT, START, Codec, Meta, Packed, Place
from cloudcached.entry.keys import Names
from cloudcached.entry.signing import derive_key
from cloudcached.stores.port import Write
from cloudcached.testing import FakeClock

KEYS = st.text(st.characters(), max_size=10) | st.text(st.characters(), min_size=1, max_size=3).map(lambda t: t * 400)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={"signing_key": st.sampled_from(["a", ["b", "a"]]), "compress_min_bytes": st.sampled_from([None, 0, 50])},
)
ALL_GOLDEN: dict[str, dict[str, Any]] = json.loads(GOLDEN.read_text("ascii"))
#: Not what is compressed, which zstd may do better one day, nor what Python pickles.
SAME_TODAY = [
    name
    for name, golden in ALL_GOLDEN.items()
    if golden["metadata"]["cc-encoding"] == "plain" and name.partition(": ")[2] in BASE and "encrypted" not in name
]
NONCES = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", min_size=43, max_size=43)


def codec(**options: Any) -> Codec:
    """Return the codec of these options; there is one, since it has no state."""
    name = repr(options)
    if name not in _codecs:
        _codecs[name] = codec_of(Config.parse("memory://", options))
    return _codecs[name]


_codecs: dict[str, Codec] = {}


def place(key: str, prefix: str = "cache") -> Place:
    return Place(key, *Names(prefix).object_key(key))


def packed(codec: Codec, place: Place, value: Any, *, expires_ms: int | None = 2, **more: Any) -> Packed:
    meta, data = codec.encode(value, expires_ms=expires_ms, created_ms=1)
    return codec.pack(place, meta._replace(**more), data)


def opened(codec: Codec, place: Place, metadata: dict[str, str], body: bytes) -> Any:
    """Read an entry as the engine does."""
    meta = codec.check(place.object_key, metadata, len(body))
    return codec.decode(meta, codec.open(place, meta, body))


@given(KEYS, st.sampled_from([*BASE.values(), *HARMLESS.values()]), OPTIONS)
def test_what_is_packed_comes_back(key, value, options):
    entry = packed(codec(**options), place(key), value)
    assert same(opened(codec(**options), place(key), entry.metadata, entry.body), value)


TIMES = st.integers(0, 10**14)


@given(st.none() | TIMES, TIMES, st.lists(NONCES.map(lambda n: n[:11]), max_size=32), *[st.none() | TIMES] * 2)
def test_the_metadata_comes_back(expires_ms, created_ms, recent, fresh_ms, cost_ms):
    it = codec(signing_key="a")
    meta, data = it.encode("v", expires_ms=expires_ms, created_ms=created_ms)
    meta = meta._replace(recent=tuple(recent), fresh_ms=fresh_ms, cost_ms=cost_ms)
    entry = it.pack(place("k"), meta, data)
    back = it.check(place("k").object_key, entry.metadata, len(entry.body))
    assert back == meta._replace(nonce=entry.nonce, key_id=derive_key(b"a", b"key id", 6).hex())
    assert back[:4] == ("str", "plain", expires_ms, created_ms)


@pytest.mark.parametrize("signing_key", [None, "a secret"])
def test_what_every_store_passes_on_unharmed(signing_key):
    """Ceph turns _ into -, a tab breaks the signature of the request, a newline ends a header."""
    for value in SAMPLES.values() if signing_key else {**BASE, **HARMLESS}.values():
        entry = packed(codec(signing_key=signing_key), place("k\n\t_é"), value, expires_ms=None)
        for name, text in entry.metadata.items():
            assert re.fullmatch(r"cc-[a-z-]+", name)
            assert re.fullmatch(r"[!-~]([ -~]*[!-~])?", text)


def test_the_longest_metadata_fits_into_2_kb():
    chain = (START, *("n" * 11 for _ in range(31)))
    longest = packed(
        codec(signing_key="a", compress_min_bytes=0),
        place("k" * 2_000, "p" * 512),
        [0] * 99,
        expires_ms=10**14,
        recent=chain,
        fresh_ms=10**14,
        cost_ms=10**14,
    )
    names = sum(len("x-amz-meta-" + name) + len(value) for name, value in longest.metadata.items())
    assert names < 1_500


def test_every_write_has_bytes_and_a_nonce_of_its_own():
    """S3's ETag is the MD5 of the body: of equal bodies nobody could tell which write won."""
    it = codec()
    entries = [packed(it, place("k"), "same") for _ in range(200)]
    assert len({hashlib.md5(entry.body).digest() for entry in entries}) == 200
    assert len({entry.nonce for entry in entries}) == 200
    for entry in entries:
        assert re.fullmatch(r"[A-Za-z0-9_-]{43}", entry.nonce)
        assert entry.metadata["cc-nonce"] == entry.nonce


def test_the_body_is_the_value_and_a_seal():
    entry = packed(codec(compress_min_bytes=None), place("k"), "text")
    assert entry.body[:-32] == b"text"
    signed = packed(codec(signing_key="a"), place("k"), 42)
    assert signed.body[:-32] == b"42"


def test_under_a_hashed_name_the_key_goes_before_the_value():
    key = "Ω" * 1_000
    entry = packed(codec(), place(key), b"value")
    assert entry.body[:2] == (2_000).to_bytes(2, "big")
    assert entry.body[2:-32] == key.encode() + b"value"


@given(KEYS)
def test_the_key_inside_is_found_without_knowing_it(key):
    where = place(key + "k" * 1_100)
    it = codec(signing_key="a")
    entry = packed(it, where, "v")
    meta = it.check(where.object_key, entry.metadata, len(entry.body))
    assert it.inner_key(meta, entry.body) == where.key


def test_a_value_over_the_limit_is_not_packed():
    it = codec(max_value_bytes=10, compress_min_bytes=0)
    it.encode("x" * 10, expires_ms=None, created_ms=0)
    for value in ("x" * 11, "é" * 6, [0] * 10):
        with pytest.raises(ValueTooLarge, match="max_value_bytes = 10"):
            it.encode(value, expires_ms=None, created_ms=0)


def test_a_value_at_the_limit_is_read_under_every_key():
    it = codec(max_value_bytes=10)
    for key in ("k", "k" * 2_000, "k" * 16_384):
        entry = packed(it, place(key), "x" * 10)
        assert opened(it, place(key), entry.metadata, entry.body) == "x" * 10


@pytest.mark.parametrize("compress_min_bytes", [None, 0])
def test_a_value_over_the_readers_limit_is_refused(compress_min_bytes):
    writer, reader = codec(compress_min_bytes=compress_min_bytes), codec(max_value_bytes=1_000)
    for size in (1_001, 20_000, 1_000_000):
        entry = packed(writer, place("k"), "x" * size)
        with pytest.raises(EntryRefused, match="size"):
            opened(reader, place("k"), entry.metadata, entry.body)


def test_a_huge_body_is_refused_by_its_size_before_it_is_read():
    it = codec(max_value_bytes=1_000)
    entry = packed(it, place("k"), "v")
    for size in (0, 31):
        with pytest.raises(EntryRefused, match="size"):
            it.check(place("k").object_key, entry.metadata, size)
    it.check(place("k").object_key, entry.metadata, 10**12)  # its metadata may be told
    for size in (it.limit + 1, 10**12):
        with pytest.raises(EntryRefused, match="size"):
            it.check_size(size)
    it.check_size(it.limit)


def test_any_key_of_the_list_reads_and_the_first_writes():
    old, both, new = codec(signing_key="old"), codec(signing_key=["new", "old"]), codec(signing_key="new")
    entry = packed(old, place("k"), "v")
    assert opened(both, place("k"), entry.metadata, entry.body) == "v"
    with pytest.raises(EntryRefused, match="key-id"):
        opened(new, place("k"), entry.metadata, entry.body)
    entry = packed(both, place("k"), "v")
    assert opened(new, place("k"), entry.metadata, entry.body) == "v"
    with pytest.raises(EntryRefused, match="key-id"):
        opened(old, place("k"), entry.metadata, entry.body)


def test_names_that_are_not_ours_do_no_harm():
    """Tools and gateways add metadata of their own."""
    entry = packed(codec(signing_key="a"), place("k"), "v")
    metadata = {**entry.metadata, "s3cmd-attrs": "mode:33188", "mtime": "0"}
    assert opened(codec(signing_key="a"), place("k"), metadata, entry.body) == "v"


class TestChains:
    """What conditional writes carry with them."""

    def chain_of(self, writes: int) -> tuple[list[Meta], list[str]]:
        """Return the metadata and the nonces of so many writes over each other."""
        metas, nonces, recent = [], [], (START,)
        for number in range(writes):
            nonce = f"{number:043d}"[::-1]
            meta = Meta("int", "plain", None, 0, nonce, recent=recent)
            metas.append(meta)
            nonces.append(nonce)
            recent = meta.chain
        return metas, nonces

    @pytest.mark.parametrize("writes", [1, 2, 31, 32, 33, 34, 100])
    def test_the_last_32_writes_are_known(self, writes):
        metas, nonces = self.chain_of(writes)
        last = metas[-1]
        assert len(last.chain) == min(writes + 1, 32)
        known = [nonce for nonce in nonces if last.was_written(nonce)]
        assert known == nonces[-33:]
        assert [nonce for nonce in nonces[:-1] if last.follows(nonce)] == nonces[:-1][-32:]
        assert not last.was_written("x" * 43)
        assert last.follows(None) == (writes <= 32)

    def test_an_entry_written_without_condition_follows_nothing(self):
        meta = Meta("int", "plain", None, 0, "n" * 43)
        assert not meta.follows(None)
        assert not meta.follows("n" * 43)
        assert meta.was_written("n" * 43)
        assert meta.chain == ("n" * 11,)

    def test_a_full_chain_is_packed_and_read(self):
        metas, _ = self.chain_of(100)
        it = codec()
        entry = packed(it, place("k"), 1, recent=metas[-1].chain)
        assert it.check(place("k").object_key, entry.metadata, len(entry.body)).recent == metas[-1].chain


class TestGolden:
    """Entries that were written when the format was new; until the first release it may still change."""

    @pytest.mark.parametrize("name", ALL_GOLDEN)
    def test_it_is_still_read(self, name):
        golden = ALL_GOLDEN[name]
        if "encryption_key" in golden["options"]:
            pytest.importorskip("cryptography")
        clock = FakeClock(golden["time"])
        client = Client("memory:///golden/prefix", clock=clock, **golden["options"])
        body = base64.b64decode(golden["body"])
        client.engine.store.put(Write(golden["object_key"], body, golden["metadata"]), timeout=1)
        value = SAMPLES[golden["sample"]]
        assert same(client.get(golden["key"], MISSING), value)
        assert client.ttl(golden["key"]) == golden["ttl"]
        assert list(client.keys()) == [golden["key"]]
        if golden["ttl"] is not None:
            clock.advance(golden["ttl"])
            assert client.get(golden["key"], MISSING) is MISSING

    @pytest.mark.parametrize("name", [name for name in ALL_GOLDEN if name.startswith("signed")])
    def test_nobody_reads_it_without_the_key(self, name):
        golden = ALL_GOLDEN[name]
        for options in ({}, {"signing_key": "another"}):
            client = Client("memory:///golden/prefix", clock=FakeClock(golden["time"]), **options)
            client.engine.store.put(
                Write(golden["object_key"], base64.b64decode(golden["body"]), golden["metadata"]), timeout=1
            )
            assert client.get(golden["key"], MISSING) is MISSING

    def test_there_is_one_of_every_kind(self):
        """A new sample or option needs a run of ``tests/support/make_golden.py``."""
        assert {name for name, _, _ in kinds()} <= set(ALL_GOLDEN)
        assert {golden["metadata"]["cc-format"] for golden in ALL_GOLDEN.values()} == {FORMAT}
        assert {sample for golden in ALL_GOLDEN.values() if (sample := golden["sample"])} >= {
            *BASE,
            *HARMLESS,
            *SIGNED_ONLY,
        }

    @pytest.mark.parametrize("name", SAME_TODAY)
    def test_the_same_bytes_are_written_today(self, name, monkeypatch):
        """An older version beside a newer one reads what the newer one writes."""
        golden = ALL_GOLDEN[name]
        nonce = base64.urlsafe_b64decode(golden["metadata"]["cc-nonce"] + "=")
        monkeypatch.setattr("os.urandom", lambda size: nonce)
        client = Client("memory:///golden/prefix", clock=FakeClock(golden["time"]), **golden["options"])
        client.put(golden["key"], SAMPLES[golden["sample"]], 60)
        found = client.engine.store.get(golden["object_key"], timeout=1)
        assert found.read() == base64.b64decode(golden["body"])
        assert dict(found.head.metadata) == golden["metadata"]
