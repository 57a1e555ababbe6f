"""Objects in this process's memory: for a first try, for tests, and as the strict reference of the port."""

from __future__ import annotations

import hashlib
import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .._types import Bytes, Clock
from ..errors import NotFound, NotModified, PreconditionFailed, StoreError, StoreRefused, StoreTimeout
from ..forks import PerProcess
from .base import ABSENT, ALWAYS, Found, Head, Listed, Matches, PlainHead, Store, When
from .failures import made
from .limits import BATCH, check_batch, check_metadata, check_object_key, check_range


class _Object(NamedTuple):
    body: bytes
    metadata: Mapping[str, str]
    etag: str
    modified: float


class Objects:
    """What a bucket holds. A child process goes on with a copy of its own."""

    def __init__(self) -> None:
        self.by_name: dict[str, _Object] = {}
        #: Their names in order.
        self.names: list[str] = []
        self._lock = PerProcess(threading.Lock)
        self._lock()  # now, so that no two threads make one each

    @property
    def lock(self) -> threading.Lock:
        """The lock around both."""
        return self._lock()


_shared: dict[str, Objects] = {}


def objects_named(name: str) -> Objects:
    """Return this process's objects of that name; without a name, fresh ones."""
    return _shared.setdefault(name, Objects()) if name else Objects()


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
        """Ask for an object, unless its ETag is *unless*. **Cost:** no request."""
        found = self._find("get", object_key, timeout)
        if found.etag == unless:
            raise made(NotModified, "get", object_key, "it was not rewritten")
        return _FoundInMemory(self._head(found), found.body)

    def get_range(self, object_key: str, start: int, length: int, *, etag: str, timeout: float) -> Bytes:
        """Return a part of exactly the version *etag*. **Cost:** no request."""
        check_range(object_key, start, length)
        found = self._find("get", object_key, timeout)
        if found.etag != etag:
            raise made(PreconditionFailed, "get", object_key, "it was rewritten")
        if start >= len(found.body):
            raise made(StoreRefused, "get", object_key, f"it has {len(found.body)} bytes, none from {start}")
        return found.body[start : start + length]

    def head(self, object_key: str, *, timeout: float) -> Head:
        """Return an object's outside. **Cost:** no request."""
        return self._head(self._find("head", object_key, timeout))

    def put(
        self, object_key: str, body: Bytes, metadata: Mapping[str, str], *, when: When = ALWAYS, timeout: float
    ) -> str:
        """Write an object and return its ETag. **Atomicity:** one lock around test and write."""
        self._check("put", object_key, timeout)
        check_metadata(object_key, metadata)
        content = bytes(body)
        etag = hashlib.md5(content, usedforsecurity=False).hexdigest()
        new = _Object(content, dict(metadata), etag, self._now())
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
        return etag

    def delete(self, object_key: str, *, timeout: float) -> None:
        """Remove an object. **Cost:** no request."""
        self._check("delete", object_key, timeout)
        self._remove(object_key)

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

    def _remove(self, object_key: str) -> None:
        objects = self._objects
        with objects.lock:
            if objects.by_name.pop(object_key, None) is not None:
                del objects.names[bisect_left(objects.names, object_key)]

    def _head(self, found: _Object) -> Head:
        return PlainHead(dict(found.metadata), found.etag, len(found.body), found.modified, self._now())

    def _now(self) -> float:
        return float(int(self._clock.time()))

    @staticmethod
    def _check(operation: str, object_key: str, timeout: float) -> None:
        _check_time(operation, object_key, timeout)
        check_object_key(operation, object_key)


def _check_time(operation: str, object_key: str, timeout: float) -> None:
    if timeout <= 0:
        raise made(StoreTimeout, operation, object_key, "no time is left")
