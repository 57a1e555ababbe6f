"""Objects in this process's memory: for a first try, for tests, and as the strict reference for the port."""

from __future__ import annotations

import hashlib
import threading
import uuid
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from .._types import Bytes, Clock
from ..errors import NotFound, NotModified, PreconditionFailed, StoreError, StoreRefused, StoreTimeout
from ..runtime.forks import PerProcess
from .failures import made
from .limits import BATCH, PART_LEAST_BYTES, PARTS_LIMIT, check_batch, check_metadata, check_object_key, check_range
from .port import (
    ABSENT,
    ALWAYS,
    Found,
    Head,
    Listed,
    Matches,
    PlainHead,
    Store,
    Stream,
    UnmodifiedSince,
    When,
    WhenRemoved,
    Write,
)


class _Object(NamedTuple):
    body: bytes
    metadata: Mapping[str, str]
    etag: str
    modified: float
    tags: Mapping[str, str]


class _Upload(NamedTuple):
    object_key: str
    metadata: Mapping[str, str]
    tags: Mapping[str, str]
    #: Bodies, by number.
    parts: dict[int, bytes]


class Objects:
    """The contents of a bucket. A forked child continues with its own copy."""

    def __init__(self) -> None:
        self.by_name: dict[str, _Object] = {}
        #: Their names, sorted.
        self.names: list[str] = []
        #: Objects being written in parts, by upload id.
        self.uploads: dict[str, _Upload] = {}
        self._lock = PerProcess(threading.Lock)
        self._lock()  # now, so that two threads do not make one each

    @property
    def lock(self) -> threading.Lock:
        """The lock that guards them."""
        return self._lock()


_shared: dict[str, Objects] = {}


def objects_named(name: str) -> Objects:
    """Return this process's objects under *name*, or fresh ones if *name* is empty."""
    return _shared.setdefault(name, Objects()) if name else Objects()


def forget(name: str) -> None:
    """Forget the objects under *name*; clients that hold them keep them."""
    _shared.pop(name, None)


class _FoundInMemory(Found):
    __slots__ = ("_body",)

    def __init__(self, head: Head, body: bytes) -> None:
        self.head = head
        self._body = body

    def read(self) -> Bytes:
        return self._body


class MemoryStore(Store):
    """A bucket in memory. ETags are the MD5 of the body and times whole seconds, as on S3."""

    def __init__(self, objects: Objects, clock: Clock) -> None:
        self._objects = objects
        self._clock = clock

    def get(self, object_key: str, *, unless: str | None = None, timeout: float) -> Found:
        """Request an object, unless its ETag is *unless*. **Cost:** no request."""
        found = self._find("get", object_key, timeout)
        if found.etag == unless:
            raise made(NotModified, "get", object_key, "it was not rewritten")
        return _FoundInMemory(self._head(found), found.body)

    def get_first(self, object_key: str, length: int, *, timeout: float) -> Found:
        """Request the beginning of an object. **Cost:** no request."""
        check_range(object_key, 0, length)
        found = self._find("get", object_key, timeout)
        return _FoundInMemory(self._head(found), found.body[:length])

    def get_range(self, object_key: str, start: int, length: int, *, etag: str, timeout: float) -> Sequence[Bytes]:
        """Return a part of exactly the version *etag*. **Cost:** no request."""
        check_range(object_key, start, length)
        found = self._find("get", object_key, timeout)
        if found.etag != etag:
            raise made(PreconditionFailed, "get", object_key, "it was rewritten")
        if start >= len(found.body):
            raise made(
                StoreRefused, "get", object_key, f"it has {len(found.body)} bytes, and the range begins at {start}"
            )
        return [found.body[start : start + length]]

    def head(self, object_key: str, *, timeout: float) -> Head:
        """Return an object's headers. **Cost:** no request."""
        return self._head(self._find("head", object_key, timeout))

    def put(self, write: Write, *, timeout: float) -> str:
        """Write an object and return its ETag. **Atomicity:** one lock around check and write. **Cost:** no request."""
        object_key, body = write.object_key, write.body
        self._check("put", object_key, timeout)
        check_metadata(object_key, write.metadata)
        content = bytes(body) if isinstance(body, (bytes, bytearray, memoryview)) else _whole(body)
        new = _Object(content, dict(write.metadata), _md5(content), self._now(), dict(write.tags or {}))
        return self._write(object_key, new, write.when)

    def create_upload(
        self, object_key: str, metadata: Mapping[str, str], *, tags: Mapping[str, str] | None = None, timeout: float
    ) -> str:
        """Begin to write an object in parts. **Cost:** no request."""
        self._check("put", object_key, timeout)
        check_metadata(object_key, metadata)
        upload = uuid.uuid4().hex
        with self._objects.lock:
            self._objects.uploads[upload] = _Upload(object_key, dict(metadata), dict(tags or {}), {})
        return upload

    def put_part(self, object_key: str, upload: str, number: int, body: Bytes, *, timeout: float) -> str:
        """Send a part. **Cost:** no request."""
        found = self._upload(object_key, upload, timeout)
        if not 1 <= number <= PARTS_LIMIT:
            raise made(
                StoreRefused, "put", object_key, f"part numbers are from 1 to {PARTS_LIMIT:,}", "InvalidArgument"
            )
        found.parts[number] = content = bytes(body)
        return _md5(content)

    def complete_upload(self, object_key: str, upload: str, etags: Sequence[str], *, timeout: float) -> None:
        """Assemble the object from its parts. **Atomicity:** one lock around the write. **Cost:** no request."""
        found = self._upload(object_key, upload, timeout)
        parts = [found.parts.get(number, b"") for number in range(1, len(etags) + 1)]
        if not parts or [_md5(part) for part in parts] != list(etags):
            raise made(StoreRefused, "put", object_key, "a part does not have the ETag that was given", "InvalidPart")
        if min(map(len, parts[:-1]), default=PART_LEAST_BYTES) < PART_LEAST_BYTES:
            raise made(
                StoreRefused, "put", object_key, "a part before the last is smaller than 5 MiB", "EntityTooSmall"
            )
        etag = f"{_md5(bytes.fromhex(''.join(etags)))}-{len(etags)}"
        self._write(object_key, _Object(b"".join(parts), found.metadata, etag, self._now(), found.tags), ALWAYS)
        self._objects.uploads.pop(upload, None)

    def abort_upload(self, object_key: str, upload: str, *, timeout: float) -> None:
        """Drop an upload and its parts. **Cost:** no request."""
        self._check("delete", object_key, timeout)
        self._objects.uploads.pop(upload, None)

    def _upload(self, object_key: str, upload: str, timeout: float) -> _Upload:
        self._check("put", object_key, timeout)
        found = self._objects.uploads.get(upload)
        if found is None or found.object_key != object_key:
            raise made(StoreRefused, "put", object_key, "there is no such upload", "NoSuchUpload")
        return found

    def _write(self, object_key: str, new: _Object, when: When) -> str:
        objects = self._objects
        with objects.lock:
            old = objects.by_name.get(object_key)
            if (when is ABSENT and old is not None) or (
                isinstance(when, Matches) and (old is None or old.etag != when.etag)
            ):
                raise made(PreconditionFailed, "put", object_key, "the condition does not hold")
            objects.by_name[object_key] = new
            if old is None:
                insort(objects.names, object_key)
        return new.etag

    def delete(self, object_key: str, *, when: WhenRemoved = ALWAYS, timeout: float) -> None:
        """Remove an object. **Atomicity:** one lock around check and removal. **Cost:** no request."""
        self._check("delete", object_key, timeout)
        objects = self._objects
        with objects.lock:
            old = objects.by_name.get(object_key)
            if old is None:
                return
            if (isinstance(when, Matches) and old.etag != when.etag) or (
                isinstance(when, UnmodifiedSince) and old.modified > when.moment
            ):
                raise made(PreconditionFailed, "delete", object_key, "the condition does not hold")
            del objects.by_name[object_key]
            del objects.names[bisect_left(objects.names, object_key)]

    def delete_many(self, object_keys: Iterable[str], *, timeout: float) -> dict[str, StoreError]:
        """Remove up to 1,000 objects; none can fail. **Cost:** no request."""
        names = list(object_keys)
        check_batch(names)
        for name in names:
            self.delete(name, timeout=timeout)
        return {}

    def list(self, prefix: str, *, after: str = "", timeout: float) -> tuple[list[Listed], bool]:
        """Return one page of the objects under *prefix*. **Cost:** no request."""
        _check_time("list", prefix, timeout)
        objects = self._objects
        with objects.lock:
            begin = max(bisect_left(objects.names, prefix), bisect_right(objects.names, after) if after else 0)
            names = [name for name in objects.names[begin : begin + BATCH + 1] if name.startswith(prefix)]
            found = [(name, objects.by_name[name]) for name in names[:BATCH]]
        return [Listed(name, o.etag, len(o.body), o.modified) for name, o in found], len(names) > BATCH

    def _find(self, operation: str, object_key: str, timeout: float) -> _Object:
        self._check(operation, object_key, timeout)
        with self._objects.lock:
            found = self._objects.by_name.get(object_key)
        if found is None:
            raise made(NotFound, operation, object_key, "there is no such object")
        return found

    def _head(self, found: _Object) -> Head:
        return PlainHead(dict(found.metadata), found.etag, len(found.body), found.modified, self._now())

    def _now(self) -> float:
        return float(int(self._clock.time()))

    @staticmethod
    def _check(operation: str, object_key: str, timeout: float) -> None:
        _check_time(operation, object_key, timeout)
        check_object_key(operation, object_key)


def _whole(body: Stream) -> bytes:
    body.seek(0)
    return body.read() or b""


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _check_time(operation: str, object_key: str, timeout: float) -> None:
    if timeout <= 0:
        raise made(StoreTimeout, operation, object_key, "no time is left")
