"""A store around another store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .._types import Bytes
from ..errors import StoreError
from .port import ALWAYS, Found, Head, Listed, Store, WhenRemoved, Write


class Wrapper(Store):
    """A store that passes every request on to another one: a subclass overrides the requests that it changes."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner

    @property
    def inner(self) -> Store:
        """The store that requests are passed on to."""
        return self._inner

    def get(self, object_key: str, *, unless: str | None = None, timeout: float) -> Found:
        """Request an object, unless its ETag is *unless*. Raises ``NotFound``, ``NotModified``. **Cost:** 1 GET."""
        return self.inner.get(object_key, unless=unless, timeout=timeout)

    def get_first(self, object_key: str, length: int, *, timeout: float) -> Found:
        """Request the beginning of an object. **Cost:** 1 GET; for an empty object 1 more."""
        return self.inner.get_first(object_key, length, timeout=timeout)

    def get_range(self, object_key: str, start: int, length: int, *, etag: str, timeout: float) -> Sequence[Bytes]:
        """Return a part of exactly the version *etag*. **Cost:** 1 GET."""
        return self.inner.get_range(object_key, start, length, etag=etag, timeout=timeout)

    def head(self, object_key: str, *, timeout: float) -> Head:
        """Return an object's headers. Raises ``NotFound``. **Cost:** 1 HEAD."""
        return self.inner.head(object_key, timeout=timeout)

    def put(self, write: Write, *, timeout: float) -> str:
        """Write an object and return its ETag. **Atomicity:** the inner store's. **Cost:** 1 PUT."""
        return self.inner.put(write, timeout=timeout)

    def create_upload(
        self, object_key: str, metadata: Mapping[str, str], *, tags: Mapping[str, str] | None = None, timeout: float
    ) -> str:
        """Begin to write an object in parts. **Cost:** 1 POST."""
        return self.inner.create_upload(object_key, metadata, tags=tags, timeout=timeout)

    def put_part(self, object_key: str, upload: str, number: int, body: Bytes, *, timeout: float) -> str:
        """Send a part and return its ETag. **Cost:** 1 PUT."""
        return self.inner.put_part(object_key, upload, number, body, timeout=timeout)

    def complete_upload(self, object_key: str, upload: str, etags: Sequence[str], *, timeout: float) -> None:
        """Assemble the object from its parts. **Atomicity:** the inner store's. **Cost:** 1 POST."""
        self.inner.complete_upload(object_key, upload, etags, timeout=timeout)

    def abort_upload(self, object_key: str, upload: str, *, timeout: float) -> None:
        """Drop an upload and its parts. **Cost:** 1 DELETE."""
        self.inner.abort_upload(object_key, upload, timeout=timeout)

    def delete(self, object_key: str, *, when: WhenRemoved = ALWAYS, timeout: float) -> None:
        """Remove an object. **Atomicity:** the inner store's. **Cost:** 1 DELETE."""
        self.inner.delete(object_key, when=when, timeout=timeout)

    def delete_many(self, object_keys: Iterable[str], *, timeout: float) -> dict[str, StoreError]:
        """Remove up to 1,000 objects. **Cost:** 1 DeleteObjects; none for no keys."""
        return self.inner.delete_many(object_keys, timeout=timeout)

    def list(self, prefix: str, *, after: str = "", timeout: float) -> tuple[list[Listed], bool]:
        """Return one page of the objects under *prefix*. **Cost:** 1 LIST; on S3 Express 1 for each 1,000 objects."""
        return self.inner.list(prefix, after=after, timeout=timeout)

    def close(self) -> None:
        """Close the connections. The store can be used again afterwards."""
        self.inner.close()
