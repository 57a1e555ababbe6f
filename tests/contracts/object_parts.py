"""The contract of every store for large objects: their beginnings, streamed bodies, and writing in parts."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cloudcached import NotFound, PreconditionFailed, StoreBusy, StoreRefused
from cloudcached.stores.port import ABSENT, Matches, Store, Write

T = 30.0
METADATA = {"cc-type": "bytes", "cc-expires": "never"}
PART = 5 << 20


class Stream(io.BytesIO):
    """A body that is read while it is sent."""

    def __len__(self) -> int:
        return len(self.getbuffer())


class Broken(Stream):
    """A body that cannot be read to its end."""

    def read(self, size: int | None = -1) -> bytes:
        raise OSError("the disk is broken")

    def readinto(self, buffer: Any) -> int:
        raise OSError("the disk is broken")


def body_of(store: Store, name: str) -> bytes:
    return bytes(store.get(name, timeout=T).read())


def written(store: Store, name: str, *parts: bytes) -> tuple[str, list[str]]:
    """Return an upload with its parts, not completed yet."""
    upload = store.create_upload(name, METADATA, timeout=T)
    return upload, [store.put_part(name, upload, n, part, timeout=T) for n, part in enumerate(parts, 1)]


class PartsContract:
    @pytest.fixture
    def large(self) -> tuple[bytes, bytes, bytes]:
        """Give three parts."""
        return b"a" * PART, b"b" * (PART + 1), b"c"

    # Beginnings

    @pytest.mark.parametrize("length", [1, 4, 10, 1000, PART])
    def test_the_beginning_of_an_object(self, store: Store, root: str, length: int) -> None:
        body = b"0123456789" * 100_000
        etag = store.put(Write(f"{root}a", body, METADATA), timeout=T)
        found = store.get_first(f"{root}a", length, timeout=T)
        assert (found.head.size, found.head.etag, dict(found.head.metadata)) == (len(body), etag, METADATA)
        assert bytes(found.read()) == body[:length]
        store.get_first(f"{root}a", length, timeout=T).close()

    def test_the_beginning_of_nothing(self, store: Store, root: str) -> None:
        store.put(Write(f"{root}a", b"", METADATA), timeout=T)
        found = store.get_first(f"{root}a", 10, timeout=T)
        assert (found.head.size, dict(found.head.metadata), bytes(found.read())) == (0, METADATA, b"")
        with pytest.raises(NotFound):
            store.get_first(f"{root}b", 10, timeout=T)
        with pytest.raises(StoreRefused):
            store.get_first(f"{root}a", 0, timeout=T)

    # Streams

    @pytest.mark.parametrize("size", [0, 5, 100_000, 3_000_000])
    def test_a_body_may_be_a_stream(self, store: Store, other: Store, root: str, size: int) -> None:
        stream = Stream(b"x" * size)
        stream.seek(0, io.SEEK_END)  # all of it is sent, wherever it stands
        etag = store.put(Write(f"{root}a", stream, METADATA, when=ABSENT), timeout=T)
        assert etag == hashlib.md5(b"x" * size).hexdigest()
        found = other.get(f"{root}a", timeout=T)
        assert (bytes(found.read()), dict(found.head.metadata)) == (b"x" * size, METADATA)

    def test_conditions_hold_for_streams(self, store: Store, root: str) -> None:
        etag = store.put(Write(f"{root}a", b"one", {}), timeout=T)
        for when in (ABSENT, Matches("0" * 32)):
            with pytest.raises(PreconditionFailed):
                store.put(Write(f"{root}a", Stream(b"two"), {}, when=when), timeout=T)
        store.put(Write(f"{root}a", Stream(b"two"), {}, when=Matches(etag)), timeout=T)
        assert body_of(store, f"{root}a") == b"two"

    def test_a_stream_that_cannot_be_read_is_no_failure_of_the_store(self, store: Store, root: str) -> None:
        with pytest.raises(OSError, match="the disk is broken"):
            store.put(Write(f"{root}a", Broken(b"x" * 100), {}), timeout=T)
        with pytest.raises(NotFound):
            store.head(f"{root}a", timeout=T)

    # Parts

    def test_an_object_of_parts(self, store: Store, other: Store, root: str, large: tuple[bytes, ...]) -> None:
        store.put(Write(f"{root}a", b"old", {}), timeout=T)
        upload, etags = written(store, f"{root}a", *large)
        assert etags == [hashlib.md5(part).hexdigest() for part in large]
        assert body_of(other, f"{root}a") == b"old"
        store.complete_upload(f"{root}a", upload, etags, timeout=T)
        found = other.get(f"{root}a", timeout=T)
        assert bytes(found.read()) == b"".join(large)
        assert dict(found.head.metadata) == METADATA
        assert found.head.etag.endswith("-3")
        assert b"".join(other.get_range(f"{root}a", PART - 1, 3, etag=found.head.etag, timeout=T)) == b"abb"
        other.put(Write(f"{root}a", b"new", {}, when=Matches(found.head.etag)), timeout=T)

    def test_parts_in_any_order_and_again(self, store: Store, root: str, large: tuple[bytes, ...]) -> None:
        upload = store.create_upload(f"{root}a", METADATA, timeout=T)
        parts = {1: large[0], 2: large[1], 3: large[2]}
        store.put_part(f"{root}a", upload, 3, b"not this", timeout=T)
        with ThreadPoolExecutor(3) as threads:
            etags = list(
                threads.map(lambda n: store.put_part(f"{root}a", upload, n, memoryview(parts[n]), timeout=T), [3, 1, 2])
            )
        store.complete_upload(f"{root}a", upload, [etags[1], etags[2], etags[0]], timeout=T)
        assert body_of(store, f"{root}a") == b"".join(large)

    def test_what_is_aborted_is_gone(self, store: Store, other: Store, root: str) -> None:
        upload, etags = written(store, f"{root}a", b"x" * PART)
        for _ in range(2):
            other.abort_upload(f"{root}a", upload, timeout=T)
        gone: list[Callable[[], Any]] = [
            lambda: store.complete_upload(f"{root}a", upload, etags, timeout=T),
            lambda: store.put_part(f"{root}a", upload, 2, b"x", timeout=T),
        ]
        for request in gone:
            # 404 is right. moto may say 500, and so may Ceph to a completion, where it cannot lock what is gone.
            with pytest.raises((StoreRefused, StoreBusy)) as caught:
                request()
            assert isinstance(caught.value, StoreBusy) or caught.value.code == "NoSuchUpload"
        with pytest.raises(NotFound):
            store.head(f"{root}a", timeout=T)

    def test_parts_that_make_no_object(self, store: Store, root: str) -> None:
        upload, etags = written(store, f"{root}a", b"x" * 1000, b"y")
        with pytest.raises(StoreRefused):
            store.complete_upload(f"{root}a", upload, etags, timeout=T)
        with pytest.raises(StoreRefused):
            store.complete_upload(f"{root}a", upload, ["0" * 32], timeout=T)
        store.abort_upload(f"{root}a", upload, timeout=T)

    def test_metadata_of_uploads_is_checked_too(self, store: Store, root: str) -> None:
        with pytest.raises(StoreRefused):
            store.create_upload(f"{root}a", {"a_b": "1"}, timeout=T)
