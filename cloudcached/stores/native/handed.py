"""What the fast store leaves to boto3: what is rare, paged or large."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..._types import Bytes
from ...errors import StoreError
from ..boto3.store import S3Store
from ..port import ALWAYS, Listed, Store, WhenRemoved


class HandedToBoto3(Store):
    """A store of which *inner* does all that is not GET, HEAD or PUT."""

    _inner: S3Store

    def create_upload(
        self, object_key: str, metadata: Mapping[str, str], *, tags: Mapping[str, str] | None = None, timeout: float
    ) -> str:
        """Begin to write an object in parts. **Cost:** 1 POST."""
        return self._inner.create_upload(object_key, metadata, tags=tags, timeout=timeout)

    def put_part(
        self, object_key: str, upload: str, number: int, body: Bytes, *, sha256: str | None = None, timeout: float
    ) -> str:
        """Send a part. **Cost:** 1 PUT."""
        return self._inner.put_part(object_key, upload, number, body, sha256=sha256, timeout=timeout)

    def complete_upload(self, object_key: str, upload: str, etags: Sequence[str], *, timeout: float) -> None:
        """Write the object of its parts. **Atomicity:** the store's. **Cost:** 1 POST."""
        self._inner.complete_upload(object_key, upload, etags, timeout=timeout)

    def abort_upload(self, object_key: str, upload: str, *, timeout: float) -> None:
        """Drop an upload and its parts. **Cost:** 1 DELETE."""
        self._inner.abort_upload(object_key, upload, timeout=timeout)

    def delete(self, object_key: str, *, when: WhenRemoved = ALWAYS, timeout: float) -> None:
        """Remove an object. **Cost:** 1 DELETE."""
        self._inner.delete(object_key, when=when, timeout=timeout)

    def delete_many(self, object_keys: Iterable[str], *, timeout: float) -> dict[str, StoreError]:
        """Remove up to 1,000 objects. **Cost:** 1 DeleteObjects."""
        return self._inner.delete_many(object_keys, timeout=timeout)

    def list(self, prefix: str, *, after: str = "", timeout: float) -> tuple[list[Listed], bool]:
        """Return one page of the objects under *prefix*. **Cost:** 1 LIST."""
        return self._inner.list(prefix, after=after, timeout=timeout)

    @property
    def dated(self) -> Store:
        """The boto3 store: obstore does not show the ``Date`` of an answer."""
        return self._inner
