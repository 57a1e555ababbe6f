"""The port: what CloudCached asks of an object store.

A store moves bytes and knows nothing about entries. It makes **one request per call and never repeats it**: a repeated
conditional write fails because of its own first try, as if a rival had won, so only the engine repeats requests. Every
failure is raised as a ``StoreError`` of ``cloudcached.errors``.

ETags cross the port without quotes. ``timeout`` is the time left for the operation, in seconds.
"""

from __future__ import annotations

import abc
import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, TypeAlias

from .._types import Bytes
from ..errors import StoreError, StoreUnreachable


class Closed(StoreUnreachable):
    """A kept connection was closed by the server before a byte of the answer: so such connections end.

    What may be repeated can be sent again at once, on a fresh connection; of anything else the outcome is unknown.
    """


class _Always(enum.Enum):
    ALWAYS = "ALWAYS"


class _Absent(enum.Enum):
    ABSENT = "ABSENT"


#: Write unconditionally.
ALWAYS: Final = _Always.ALWAYS
#: Write only if there is no object of that name (``If-None-Match: *``).
ABSENT: Final = _Absent.ABSENT


@dataclass(frozen=True, slots=True)
class Matches:
    """Write or remove only the object with this ETag (``If-Match``)."""

    etag: str


@dataclass(frozen=True, slots=True)
class UnmodifiedSince:
    """Remove an object only if it was not written after this moment, in whole epoch seconds (Ceph only)."""

    moment: float


When: TypeAlias = "_Always | _Absent | Matches"
WhenRemoved: TypeAlias = "_Always | Matches | UnmodifiedSince"


class Stream(Protocol):
    """A request body that is read while it is sent, and once before that where the signature covers it."""

    def __len__(self) -> int:
        """Return the size of the whole body in bytes."""

    def read(self, size: int = -1, /) -> bytes | None:
        """Return up to *size* bytes, and b"" at the end."""

    def readinto(self, buffer: bytearray | memoryview, /) -> int | None:
        """Fill *buffer* as far as possible and return the number of bytes; 0 at the end."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to the beginning (0, 0) or to the end (0, 2), and return the position."""

    def tell(self) -> int:
        """Return the position."""


#: The body of a single PUT.
Body: TypeAlias = "Bytes | Stream"


@dataclass(frozen=True, slots=True)
class Write:
    """An object to be written by a single PUT."""

    object_key: str
    body: Body
    metadata: Mapping[str, str]
    when: When = ALWAYS
    #: The object's tags, by which lifecycle rules can select it.
    tags: Mapping[str, str] | None = None


class Head(Protocol):
    """An object's headers: everything but its body. A store may compute a property only when it is read."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """The user metadata: names in lower case, without ``x-amz-meta-``."""

    @property
    def etag(self) -> str:
        """The ETag of this version of the body, without quotes."""

    @property
    def size(self) -> int:
        """The size of the body in bytes."""

    @property
    def modified(self) -> float:
        """The time of the write, in epoch seconds by the server's clock."""

    @property
    def date(self) -> float | None:
        """The server's clock when it answered, in epoch seconds; ``None`` if the transport does not show it."""


class PlainHead(NamedTuple):
    """A ``Head`` whose properties are all known."""

    metadata: Mapping[str, str]
    etag: str
    size: int
    modified: float
    date: float | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """One row of a listing."""

    object_key: str
    etag: str
    size: int
    modified: float


class Found(abc.ABC):
    """An object whose headers have arrived: ``read`` its body, or ``close`` it without reading."""

    __slots__ = ("head",)
    head: Head

    @abc.abstractmethod
    def read(self) -> Bytes:
        """Return the whole body, within the timeout of the ``get``.

        Raises ``StoreUnreachable`` if the body ends early, ``StoreTimeout`` if it does not arrive in time.
        """

    def pieces(self) -> Iterable[Bytes]:
        """Yield the body as it arrives; an alternative to ``read``, with its errors."""
        yield self.read()

    def close(self) -> None:  # noqa: B027 - most transports have nothing to release
        """Release the connection without reading the body."""


class Store(abc.ABC):
    """One bucket. Thread-safe; the constructor does no I/O."""

    @abc.abstractmethod
    def get(self, object_key: str, *, unless: str | None = None, timeout: float) -> Found:
        """Request an object.

        unless: an ETag; raises ``NotModified`` if the object still has it (``If-None-Match``). Raises ``NotFound``.
        Cost: 1 GET.
        """

    @abc.abstractmethod
    def get_first(self, object_key: str, length: int, *, timeout: float) -> Found:
        """Request the beginning of an object: its headers, with the size of the whole, and its first *length* bytes.

        Raises ``NotFound``. Cost: 1 GET; for an empty object 1 more.
        """

    @abc.abstractmethod
    def get_range(self, object_key: str, start: int, length: int, *, etag: str, timeout: float) -> Sequence[Bytes]:
        """Return *length* bytes from *start* of exactly the version *etag*, in the pieces in which they arrived.

        Raises ``NotFound``, or ``PreconditionFailed`` if the object was rewritten. Cost: 1 GET.
        """

    @abc.abstractmethod
    def head(self, object_key: str, *, timeout: float) -> Head:
        """Return an object's headers. Raises ``NotFound``. Cost: 1 HEAD."""

    @abc.abstractmethod
    def put(self, write: Write, *, timeout: float) -> str:
        """Write an object by a single PUT and return its ETag.

        Raises ``PreconditionFailed`` if ``write.when`` does not hold; under ``Matches`` that includes a missing object.
        After any retryable error the outcome is unknown. Cost: 1 PUT.
        """

    @abc.abstractmethod
    def create_upload(
        self, object_key: str, metadata: Mapping[str, str], *, tags: Mapping[str, str] | None = None, timeout: float
    ) -> str:
        """Begin to write an object in parts and return the upload's id. Readers see nothing yet. Cost: 1 POST."""

    @abc.abstractmethod
    def put_part(self, object_key: str, upload: str, number: int, body: Bytes, *, timeout: float) -> str:
        """Send part *number*, from 1 to 10,000, and return its ETag. It replaces an earlier part of that number.

        All parts but the last have at least 5 MiB. Cost: 1 PUT.
        """

    @abc.abstractmethod
    def complete_upload(self, object_key: str, upload: str, etags: Sequence[str], *, timeout: float) -> None:
        """Write the object unconditionally, from the parts 1, 2, ... with these ETags.

        Raises ``StoreRefused`` with the code ``NoSuchUpload`` for an upload that was completed or aborted before. After
        any retryable error the outcome is unknown. Cost: 1 POST.
        """

    @abc.abstractmethod
    def abort_upload(self, object_key: str, upload: str, *, timeout: float) -> None:
        """Drop an upload and its parts; a missing upload is not an error. Cost: 1 DELETE."""

    @abc.abstractmethod
    def delete(self, object_key: str, *, when: WhenRemoved = ALWAYS, timeout: float) -> None:
        """Remove an object; a missing object is not an error. Cost: 1 DELETE.

        Raises ``PreconditionFailed`` if *when* does not hold. Servers that do not know the condition ignore it and
        remove the object, so pass one only where it was seen to work.
        """

    @abc.abstractmethod
    def delete_many(self, object_keys: Iterable[str], *, timeout: float) -> dict[str, StoreError]:
        """Remove up to 1,000 objects at once and return the errors of those that failed. Cost: 1 DeleteObjects."""

    @abc.abstractmethod
    def list(self, prefix: str, *, after: str = "", timeout: float) -> tuple[list[Listed], bool]:
        """Return one page of the objects under *prefix* in byte order, beginning after the name *after*.

        The second value says whether there are more. A page has at most 1,000 rows, or all of them where the store can
        only be listed as a whole (S3 Express). Cost: 1 LIST; for a whole listing 1 for each 1,000 objects.
        """

    def close(self) -> None:  # noqa: B027 - the memory store has none
        """Close the connections. The store can be used again afterwards."""
