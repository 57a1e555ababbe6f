"""The port: what CloudCached asks of an object store.

A store moves bytes and knows nothing of entries. It makes **one request per call and never repeats one**: a repeated
conditional write reports its own first try as a rival, so repeating is the engine's business alone. Every failure is
raised as a ``StoreError`` of ``cloudcached.errors``.

ETags cross the port without quotes. ``timeout`` is what is left of the operation's time budget, in seconds.
"""

from __future__ import annotations

import abc
import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, TypeAlias

from .._types import Bytes
from ..errors import StoreError


class _Always(enum.Enum):
    ALWAYS = "ALWAYS"


class _Absent(enum.Enum):
    ABSENT = "ABSENT"


#: Write whatever is there.
ALWAYS: Final = _Always.ALWAYS
#: Write only where there is no object of that name (``If-None-Match: *``).
ABSENT: Final = _Absent.ABSENT


@dataclass(frozen=True, slots=True)
class Matches:
    """Write only over the object with this ETag (``If-Match``)."""

    etag: str


@dataclass(frozen=True, slots=True)
class UnmodifiedSince:
    """Remove only what was not written after this moment, in epoch seconds, of which whole ones count (Ceph's own)."""

    moment: float


When: TypeAlias = "_Always | _Absent | Matches"
WhenRemoved: TypeAlias = "_Always | Matches | UnmodifiedSince"


class Stream(Protocol):
    """A request body that is read while it is sent, and again where the request has to be signed before."""

    def __len__(self) -> int:
        """Return the bytes of the whole body."""

    def read(self, size: int = -1, /) -> bytes | None:
        """Return up to so many bytes, none at the end."""

    def readinto(self, buffer: bytearray | memoryview, /) -> int | None:
        """Fill *buffer* as far as possible and return how far; 0 at the end."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to the beginning (0, 0), or say where the end is (0, 2)."""

    def tell(self) -> int:
        """Return the position."""


#: What a single PUT sends.
Body: TypeAlias = "Bytes | Stream"


@dataclass(frozen=True, slots=True)
class Write:
    """One object to write in a single PUT."""

    object_key: str
    body: Body
    metadata: Mapping[str, str]
    when: When = ALWAYS
    #: The object's tags, for lifecycle rules to select by; ``None``: it gets none.
    tags: Mapping[str, str] | None = None


class Head(Protocol):
    """An object's outside: everything but its body. A store may work out a property only when it is asked for."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """Our metadata, names in lower case without ``x-amz-meta-``."""

    @property
    def etag(self) -> str:
        """What names this version of the body, without quotes."""

    @property
    def size(self) -> int:
        """Bytes of the body."""

    @property
    def modified(self) -> float:
        """When it was written, in epoch seconds by the server's clock."""

    @property
    def date(self) -> float | None:
        """The server's clock when it answered, in epoch seconds; ``None`` where the transport cannot tell."""


class PlainHead(NamedTuple):
    """A ``Head`` of which everything is at hand."""

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
    """An object whose headers have arrived: ``read`` its body, or ``close`` it unread."""

    __slots__ = ("head",)
    head: Head

    @abc.abstractmethod
    def read(self) -> Bytes:
        """Return the whole body, within the timeout that the ``get`` was given.

        Raises ``StoreUnreachable`` for a body that ends early, ``StoreTimeout`` for one that does not come in time.
        """

    def pieces(self) -> Iterable[Bytes]:
        """Yield the body as it comes, as ``read`` does: instead of it."""
        yield self.read()

    def close(self) -> None:  # noqa: B027 - most transports have nothing to give back
        """Give the connection back without reading the body."""


class Store(abc.ABC):
    """One bucket. Thread-safe; the constructor does no I/O."""

    @abc.abstractmethod
    def get(self, object_key: str, *, unless: str | None = None, timeout: float) -> Found:
        """Ask for an object.

        unless: an ETag; raises ``NotModified`` when the object still has it (``If-None-Match``). Raises ``NotFound``.
        Cost: 1 GET.
        """

    @abc.abstractmethod
    def get_first(self, object_key: str, length: int, *, timeout: float) -> Found:
        """Ask for the beginning of an object: its outside, with the size of the whole, and its first *length* bytes.

        Raises ``NotFound``. Cost: 1 GET; of an empty object 1 more.
        """

    @abc.abstractmethod
    def get_range(self, object_key: str, start: int, length: int, *, etag: str, timeout: float) -> Sequence[Bytes]:
        """Return *length* bytes from *start* of exactly the version *etag*, in the pieces in which they came.

        Raises ``NotFound``, or ``PreconditionFailed`` when it was rewritten. Cost: 1 GET.
        """

    @abc.abstractmethod
    def head(self, object_key: str, *, timeout: float) -> Head:
        """Return an object's outside. Raises ``NotFound``. Cost: 1 HEAD."""

    @abc.abstractmethod
    def put(self, write: Write, *, timeout: float) -> str:
        """Write an object in a single PUT, and return its ETag.

        Raises ``PreconditionFailed`` when ``write.when`` does not hold (a store may say so for a missing object under
        ``Matches`` too). Any retryable error means that the outcome is unknown. Cost: 1 PUT.
        """

    @abc.abstractmethod
    def create_upload(
        self, object_key: str, metadata: Mapping[str, str], *, tags: Mapping[str, str] | None = None, timeout: float
    ) -> str:
        """Begin to write an object in parts, and return the upload's id. Nothing is seen of it. Cost: 1 POST."""

    @abc.abstractmethod
    def put_part(
        self, object_key: str, upload: str, number: int, body: Bytes, *, sha256: str | None = None, timeout: float
    ) -> str:
        """Send part *number*, from 1 to 10,000, and return its ETag; what had this number is replaced.

        All parts but the last have at least 5 MiB. sha256: of *body*, as hex, where it is known: a store that signs it
        need not hash it again. Cost: 1 PUT.
        """

    @abc.abstractmethod
    def complete_upload(self, object_key: str, upload: str, etags: Sequence[str], *, timeout: float) -> None:
        """Write the object over whatever is there, of the parts 1, 2, ... with these ETags.

        Raises ``StoreRefused`` with the code ``NoSuchUpload`` for an upload that was completed or aborted. Any
        retryable error means that the outcome is unknown. Cost: 1 POST.
        """

    @abc.abstractmethod
    def abort_upload(self, object_key: str, upload: str, *, timeout: float) -> None:
        """Drop the upload and its parts; one that is not there is no error. Cost: 1 DELETE."""

    @abc.abstractmethod
    def delete(self, object_key: str, *, when: WhenRemoved = ALWAYS, timeout: float) -> None:
        """Remove an object; one that is not there is no error. Cost: 1 DELETE.

        Raises ``PreconditionFailed`` when *when* does not hold; stores that do not know the condition remove anyway,
        so only a store that was asked before is to be given one.
        """

    @abc.abstractmethod
    def delete_many(self, object_keys: Iterable[str], *, timeout: float) -> dict[str, StoreError]:
        """Remove up to 1,000 objects at once, and return the error of each that failed. Cost: 1 DeleteObjects."""

    @abc.abstractmethod
    def list(self, prefix: str, *, after: str = "", timeout: float) -> tuple[list[Listed], bool]:
        """Return one page of the objects under *prefix* in byte order, from behind the name *after*.

        The second value says whether there is more. A page has at most 1,000 rows; all there are, where the store can
        only be listed from the beginning to the end. Cost: 1 LIST.
        """

    @property
    def dated(self) -> Store:
        """A store on the same bucket whose answers to ``get`` and ``head`` carry the server's ``date``."""
        return self

    def close(self) -> None:  # noqa: B027 - the memory store has nothing to give back
        """Give connections back. The store may be used again afterwards."""
