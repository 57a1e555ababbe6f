"""Files: round trips, conditions, and what is refused, on every store in use."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest
from local_sources import OnlyRead, Pipe, Sparse, WithFiles, names_in, noise
from store_doubles import CountingStore, FaultyStore, before, fail, lose_answer, wrap

from cloudcached import Client, ConfigError, KeyMissing, ReadOnlyError, StoreBusy, ValueRejected, ValueTooLarge
from cloudcached.engine.multipart import LARGE_BYTES, PART_BYTES
from cloudcached.entry.signing import SEAL_BYTES
from cloudcached.stores.port import Write

#: Their bodies have one byte less than a part, exactly one, and so on.
EDGES = [PART_BYTES - SEAL_BYTES + more for more in (-1, 0, 1, SEAL_BYTES, PART_BYTES, PART_BYTES + 1)]
LONG = "k" * 2000  # under a hashed name
ADD, MATCH = "PUT if absent", "PUT if match"


class TestRoundTrips(WithFiles):
    @pytest.mark.parametrize("replace", [False, True])
    @pytest.mark.parametrize("size", [0, 1, *EDGES])
    def test_a_path(self, cache: Client, tmp_path: Path, size: int, replace: bool) -> None:
        source, target = tmp_path / "source", tmp_path / "target"
        source.write_bytes(noise(size))
        assert cache.put_file("k", source, 60, replace=replace) is True
        assert cache.get_file("k", str(target)) is True
        assert target.read_bytes() == noise(size)
        assert cache.get("k") == noise(size)
        assert cache.ttl("k") == 60
        info = cache.info("k")
        assert info is not None
        assert (info.type, info.encoding) == ("bytes", "plain")
        assert names_in(tmp_path) == ["source", "target"]

    @pytest.mark.parametrize("key", ["k", LONG])
    @pytest.mark.parametrize("replace", [False, True])
    @pytest.mark.parametrize("options", [{}, {"encryption_key": "e"}], ids=["plain", "encrypted"])
    def test_keys_and_encryption(self, cache: Client, large: Path, key: str, replace: bool, options: Any) -> None:
        client = Client(cache.url, clock=cache.engine.clock, signing_key="a", **options)
        assert client.put_file(key, large, replace=replace)
        assert list(client.keys()) == [key]
        target = io.BytesIO()
        assert client.get_file(key, target)
        assert target.getvalue() == large.read_bytes() == client.get(key)
        found = client.engine.store.get(client.engine.place(key).object_key, timeout=30)
        assert (large.read_bytes()[:1000] in bytes(found.read())) is not bool(options)
        if options:
            assert cache.get_file(key, target) is False

    @pytest.mark.parametrize("replace", [False, True])
    @pytest.mark.parametrize("kind", [io.BytesIO, Pipe, OnlyRead])
    @pytest.mark.parametrize("size", [0, 5, 2 * PART_BYTES + 1])
    def test_file_objects(self, cache: Client, kind: Any, size: int, replace: bool) -> None:
        assert cache.put_file("k", kind(noise(size)), replace=replace)
        assert cache.get("k") == noise(size)

    @pytest.mark.parametrize("what", ["", "hashed", "encrypted"])
    @pytest.mark.parametrize("kind", [io.BytesIO, Pipe])
    def test_where_leaves_parts_and_seals_end(self, clock: Any, kind: Any, what: str) -> None:
        """The seal may be in the last part, in one of its own or in both; sources of unknown size have larger parts."""
        memory = Client("memory://", clock=clock, encryption_key="e" if what == "encrypted" else None)
        key = LONG if what == "hashed" else "k"
        for payload in (edge + more for edge in EDGES for more in (0, PART_BYTES)):
            size = payload
            if what == "hashed":
                size -= len(LONG) + 2
            elif what == "encrypted":
                size -= 16 * -(-payload // ((1 << 20) + 16))
            assert memory.put_file(key, kind(noise(size)), replace=True)
            assert memory.get(key) == noise(size)
            target = io.BytesIO()
            assert memory.get_file(key, target)
            assert target.getvalue() == noise(size)

    def test_from_where_a_source_stands(self, cache: Client) -> None:
        for replace in (False, True):
            source = io.BytesIO(b"headbody")
            source.seek(4)
            assert cache.put_file(f"k{replace}", source, replace=replace)
            assert cache.get(f"k{replace}") == b"body"

    def test_what_put_stored(self, cache: Client, any_url: str, clock: Any) -> None:
        """Compressed, encrypted in one piece, and more than a range of either."""
        for options in ({}, {"encryption_key": "e"}):
            client = Client(any_url, clock=clock, signing_key="a", **options)
            for value in (b"", b"x" * 100_000, noise(100), noise(PART_BYTES * 2)):
                client.put("k", value, replace=True)
                target = io.BytesIO()
                assert client.get_file("k", target)
                assert target.getvalue() == value

    def test_open(self, cache: Client) -> None:
        with cache.open("k", "wb", 60) as file:
            file.write(b"one ")
            file.write(noise(2 * PART_BYTES))
            assert cache.get("k") is None
        assert file.stored is True  # type: ignore[attr-defined]
        with cache.open("k") as file:
            assert file.read(4) == b"one "
            assert file.read() == noise(2 * PART_BYTES)
            with pytest.raises(io.UnsupportedOperation):
                file.write(b"x")
        assert cache.ttl("k") == 60

    def test_the_awaited_twins(self, cache: Client, large: Path, tmp_path: Path) -> None:
        async def work() -> None:
            assert await cache.aput_file("k", large, replace=True)
            assert await cache.aget_file("k", tmp_path / "target", progress=lambda *_: None)

        asyncio.run(work())
        assert (tmp_path / "target").read_bytes() == large.read_bytes()

    def test_large_values_go_up_in_parts_when_they_are_overwritten(self, cache: Client) -> None:
        store = wrap(cache, CountingStore)
        cache.put("k", noise(LARGE_BYTES), replace=True)
        assert store.requests == ["POST create", *["PUT part"] * 5, "POST complete"]
        store.forget()
        assert cache.put("k", noise(LARGE_BYTES)) is False  # conditional: a single PUT
        assert store.requests == [ADD, "GET"]
        assert cache.get("k") == noise(LARGE_BYTES)
        assert cache.engine._etags_are_md5 is True


class TestConditions(WithFiles):
    def test_a_live_entry_is_left_alone(self, cache: Client, large: Path) -> None:
        for value in (b"first", noise(2 * PART_BYTES)):
            cache.put("k", value, replace=True)
            assert cache.put_file("k", large) is False
            assert cache.get("k") == value
            assert cache.put_file("k", large, 0) is False

    def test_what_is_not_live_is_replaced(self, cache: Client, clock: Any, large: Path) -> None:
        cache.put_file("k", large, 10)
        clock.advance(10)
        assert cache.put_file("k", large, 10) is True
        store, name = cache.engine.store, cache.engine.place("k").object_key
        store.put(Write(name, b"damaged" * 10, store.head(name, timeout=30).metadata), timeout=30)
        assert cache.put_file("k", large) is True
        assert cache.get("k") == large.read_bytes()

    def test_gone_at_once(self, cache: Client, large: Path) -> None:
        assert cache.put_file("k", large, 0) is True
        cache.put("k", 1)
        assert cache.put_file("k", large, -1, replace=True) is True
        assert cache.has("k") is False

    @pytest.mark.parametrize("size", [5, 2 * PART_BYTES])
    def test_a_damaged_one_does_not_block_its_key(self, memory: Client, large: Path, size: int) -> None:
        """However long it takes to read."""
        memory.put_file("k", large)
        store, name = memory.engine.store, memory.engine.place("k").object_key
        found = store.get(name, timeout=1)
        body = bytearray(found.read())
        body[-1] ^= 1
        store.put(Write(name, bytes(body), found.head.metadata), timeout=1)
        slow = wrap(memory, FaultyStore)
        slow.script("get_range", *[before(lambda: memory.engine.clock.sleep(4))] * 2)
        assert memory.put_file("k", io.BytesIO(noise(size))) is True
        assert memory.get("k") == noise(size)

    def test_too_large_for_memory_is_live_all_the_same(self, any_url: str, clock: Any, large: Path) -> None:
        cache = Client(any_url, clock=clock, max_value_bytes=1000)
        assert cache.put_file("k", large)
        assert cache.get("k") is None
        assert cache.has("k")
        assert cache.put("k", 1) is False
        assert cache.put_file("k", large) is False
        assert cache.get_file("k", io.BytesIO())
        assert cache.stats()["refused.size"] == 2
        assert cache.delete("k") is True

    def test_a_lost_answer(self, memory: Client, large: Path) -> None:
        store = wrap(memory, FaultyStore)
        store.script("put", lose_answer())
        assert memory.put_file("k", large) is True
        assert store.asked == ["head", "put", "head"]
        memory.delete("k")
        store.script("put", fail(StoreBusy("busy")))
        assert memory.put_file("k", large) is True
        assert memory.get("k") == large.read_bytes()


class TestRefused(WithFiles):
    """Nothing is written at the target, and nothing is left beside it."""

    @pytest.fixture(params=["changed at the end", "changed", "swapped", "truncated", "extended", "moved"])
    def damaged(self, request: pytest.FixtureRequest, cache: Client, large: Path) -> Client:
        cache.put_file("k", large, replace=True)
        store, name = cache.engine.store, cache.engine.place("k").object_key
        found = store.get(name, timeout=30)
        body, metadata = bytearray(found.read()), found.head.metadata
        if request.param == "swapped":
            body[:PART_BYTES], body[PART_BYTES : 2 * PART_BYTES] = body[PART_BYTES : 2 * PART_BYTES], body[:PART_BYTES]
        elif request.param == "moved":
            cache.put("other", b"x")
            metadata = store.head(cache.engine.place("other").object_key, timeout=30).metadata
        elif request.param == "truncated":
            del body[PART_BYTES:]
        elif request.param == "extended":
            body += b"x"
        else:
            body[-1 if request.param == "changed at the end" else PART_BYTES + 7] ^= 1
        store.put(Write(name, bytes(body), metadata), timeout=30)
        return cache

    def test_what_was_tampered_with(self, damaged: Client, tmp_path: Path) -> None:
        target, file = tmp_path / "target", io.BytesIO()
        target.write_bytes(b"old")
        assert damaged.get_file("k", target) is False
        assert damaged.get_file("k", tmp_path / "new") is False
        assert damaged.get_file("k", file) is False
        assert (target.read_bytes(), file.getvalue()) == (b"old", b"")
        assert names_in(tmp_path) == ["large", "target"]
        with pytest.raises(KeyMissing):
            damaged.open("k")
        assert damaged.get("k") is None

    @pytest.mark.parametrize("cut", ["last", "middle", "order"])
    def test_chunks_that_were_cut_or_moved(self, clock: Any, cut: str) -> None:
        """Also by who has the signing key, but not the one of encryption."""
        client = Client("memory://", clock=clock, encryption_key="e")
        client.put_file("k", io.BytesIO(noise(3 << 20)))
        store, place = client.engine.store, client.engine.place("k")
        found = store.get(place.object_key, timeout=1)
        step = (1 << 20) + 16
        payload = bytes(found.read())[:-SEAL_BYTES]
        chunks = [payload[at : at + step] for at in range(0, len(payload), step)]
        chunks = {"last": chunks[:2], "middle": [chunks[0], chunks[2]], "order": [chunks[1], chunks[0], chunks[2]]}[cut]
        codec = client.engine.codec
        sealed = codec._signer.seal(found.head.metadata["cc-nonce"], b"".join(chunks))
        store.put(Write(place.object_key, b"".join(chunks) + sealed, found.head.metadata), timeout=1)
        assert client.get_file("k", io.BytesIO()) is False
        assert client.get("k") is None
        assert client.stats()["refused.encryption"] == 2

    def test_what_is_no_file(self, cache: Client, tmp_path: Path) -> None:
        cache.put("k", "text")
        with pytest.raises(ValueRejected, match="holds a str"):
            cache.get_file("k", tmp_path / "target")
        assert names_in(tmp_path) == []

    def test_targets_that_cannot_be_written(self, memory: Client, tmp_path: Path) -> None:
        store = wrap(memory, CountingStore)
        with pytest.raises(FileNotFoundError, match="there is no directory"):
            memory.get_file("k", tmp_path / "missing" / "target")
        with pytest.raises(IsADirectoryError):
            memory.get_file("k", tmp_path)
        for target in (io.StringIO(), 5):
            with pytest.raises(ConfigError, match="binary"):
                memory.get_file("k", target)  # type: ignore[arg-type]
        assert store.requests == []

    def test_sources_that_cannot_be_read(self, memory: Client, tmp_path: Path) -> None:
        store = wrap(memory, CountingStore)
        with pytest.raises(FileNotFoundError):
            memory.put_file("k", tmp_path / "missing")
        for source in (io.StringIO("x"), 5, b"bytes"):
            with pytest.raises(ConfigError, match="binary"):
                memory.put_file("k", source)  # type: ignore[arg-type]
        with pytest.raises(ValueTooLarge, match="replace=True"):
            memory.put_file("k", Sparse(6 << 30))
        with pytest.raises(ConfigError, match="'rb' or 'wb'"):
            memory.open("k", "r")
        assert store.requests == []

    def test_read_only(self, clock: Any, large: Path) -> None:
        with pytest.raises(ReadOnlyError):
            Client("memory://", clock=clock, read_only="refuse").put_file("k", large)
        client = Client("memory://", clock=clock, read_only="drop")
        assert client.put_file("k", large) is False
        with client.open("k", "wb") as file:
            file.write(b"x")
        assert file.stored is False  # type: ignore[attr-defined]
