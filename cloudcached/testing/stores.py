"""A wrapper through which every request to a store can be seen, counted and changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from .._types import Bytes
from ..errors import StoreError
from ..stores import wrapper
from ..stores.port import ABSENT, ALWAYS, Found, Head, Listed, Matches, UnmodifiedSince, WhenRemoved, Write

#: The names of all requests to a store.
VERBS: Final = (
    *("get", "get_range", "head", "put", "create_upload", "put_part", "complete_upload", "abort_upload"),
    *("delete", "delete_many", "list"),
)


class Request(NamedTuple):
    """One request to the store."""

    #: One of ``VERBS``.
    verb: str
    #: The names of its objects; for a listing, the prefix.
    object_keys: tuple[str, ...]
    #: For a put ``if absent`` or ``if match``; for a delete ``if match`` or ``if unmodified``; for a get ``unless`` if
    #: the answer may be a 304, or ``first`` if it reads the beginning only; "" for all others.
    condition: str = ""
    #: The time left for the operation, in seconds.
    timeout: float = 0.0


class Wrapper(wrapper.Wrapper):
    """A store that passes every request on to another one by way of ``_pass``, which a subclass overrides."""

    def _pass(self, request: Request, forward: Callable[[], Any]) -> Any:  # noqa: ARG002 - for subclasses
        """Do one request by calling *forward*, and return its answer."""
        return forward()

    def get(self, object_key: str, *, unless: str | None = None, timeout: float) -> Found:
        """Request an object. **Cost:** 1 GET."""
        request = Request("get", (object_key,), "" if unless is None else "unless", timeout)
        found: Found = self._pass(request, lambda: self.inner.get(object_key, unless=unless, timeout=timeout))
        return found

    def get_first(self, object_key: str, length: int, *, timeout: float) -> Found:
        """Request the beginning of an object. **Cost:** 1 GET; for an empty object 1 more."""
        request = Request("get", (object_key,), "first", timeout)
        found: Found = self._pass(request, lambda: self.inner.get_first(object_key, length, timeout=timeout))
        return found

    def get_range(self, object_key: str, start: int, length: int, *, etag: str, timeout: float) -> Sequence[Bytes]:
        """Return a part of exactly the version *etag*. **Cost:** 1 GET."""
        request = Request("get_range", (object_key,), timeout=timeout)
        body: Sequence[Bytes] = self._pass(
            request, lambda: self.inner.get_range(object_key, start, length, etag=etag, timeout=timeout)
        )
        return body

    def head(self, object_key: str, *, timeout: float) -> Head:
        """Return an object's headers. **Cost:** 1 HEAD."""
        request = Request("head", (object_key,), timeout=timeout)
        head: Head = self._pass(request, lambda: self.inner.head(object_key, timeout=timeout))
        return head

    def put(self, write: Write, *, timeout: float) -> str:
        """Write an object and return its ETag. **Atomicity:** the inner store's. **Cost:** 1 PUT."""
        condition = "" if write.when is ALWAYS else "if absent" if write.when is ABSENT else "if match"
        request = Request("put", (write.object_key,), condition, timeout)
        etag: str = self._pass(request, lambda: self.inner.put(write, timeout=timeout))
        return etag

    def create_upload(
        self, object_key: str, metadata: Mapping[str, str], *, tags: Mapping[str, str] | None = None, timeout: float
    ) -> str:
        """Begin to write an object in parts. **Cost:** 1 POST."""
        request = Request("create_upload", (object_key,), timeout=timeout)
        upload: str = self._pass(
            request, lambda: self.inner.create_upload(object_key, metadata, tags=tags, timeout=timeout)
        )
        return upload

    def put_part(self, object_key: str, upload: str, number: int, body: Bytes, *, timeout: float) -> str:
        """Send part *number* and return its ETag. **Cost:** 1 PUT."""
        request = Request("put_part", (object_key,), timeout=timeout)
        etag: str = self._pass(request, lambda: self.inner.put_part(object_key, upload, number, body, timeout=timeout))
        return etag

    def complete_upload(self, object_key: str, upload: str, etags: Sequence[str], *, timeout: float) -> None:
        """Assemble the object from its parts. **Atomicity:** the inner store's. **Cost:** 1 POST."""
        request = Request("complete_upload", (object_key,), timeout=timeout)
        self._pass(request, lambda: self.inner.complete_upload(object_key, upload, etags, timeout=timeout))

    def abort_upload(self, object_key: str, upload: str, *, timeout: float) -> None:
        """Drop an upload and its parts. **Cost:** 1 DELETE."""
        request = Request("abort_upload", (object_key,), timeout=timeout)
        self._pass(request, lambda: self.inner.abort_upload(object_key, upload, timeout=timeout))

    def delete(self, object_key: str, *, when: WhenRemoved = ALWAYS, timeout: float) -> None:
        """Remove an object. **Atomicity:** the inner store's. **Cost:** 1 DELETE."""
        condition = {Matches: "if match", UnmodifiedSince: "if unmodified"}.get(type(when), "")
        request = Request("delete", (object_key,), condition, timeout)
        self._pass(request, lambda: self.inner.delete(object_key, when=when, timeout=timeout))

    def delete_many(self, object_keys: Iterable[str], *, timeout: float) -> dict[str, StoreError]:
        """Remove up to 1,000 objects. **Cost:** 1 DeleteObjects; none for no keys."""
        request = Request("delete_many", tuple(object_keys), timeout=timeout)
        failed: dict[str, StoreError] = self._pass(
            request, lambda: self.inner.delete_many(request.object_keys, timeout=timeout)
        )
        return failed

    def list(self, prefix: str, *, after: str = "", timeout: float) -> tuple[list[Listed], bool]:
        """Return one page of the objects under *prefix*. **Cost:** 1 LIST; on S3 Express 1 for each 1,000 objects."""
        request = Request("list", (prefix,), timeout=timeout)
        page: tuple[list[Listed], bool] = self._pass(
            request, lambda: self.inner.list(prefix, after=after, timeout=timeout)
        )
        return page
