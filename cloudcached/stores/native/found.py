"""Obstore's answers in the form of the port."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING, Final, NoReturn

from ..._types import Bytes
from ...errors import StoreRefused, StoreTimeout, StoreUnreachable
from ...runtime.budget import allowance
from ..failures import NO_ETAG, made
from ..port import Found
from .errors import failure

if TYPE_CHECKING:
    from obstore import GetResult

#: The headers that obstore mixes with the metadata.
_HEADERS: Final = frozenset(
    ("Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Type", "Storage-Class")
)


class HeadByObstore:
    """The headers of an object. Those that not every ``get`` needs cost microseconds, so they are computed when read."""

    __slots__ = ("metadata", "object_key", "result", "size")
    metadata: dict[str, str]
    object_key: str
    result: GetResult
    size: int
    date: float | None = None

    @property
    def etag(self) -> str:
        """The ETag, without quotes."""
        return etag_of(self.result.meta["e_tag"], "get", self.object_key)

    @property
    def modified(self) -> float:
        """The time of the write, in whole epoch seconds."""
        return self.result.meta["last_modified"].timestamp()


class FoundByObstore(Found):
    """An object whose headers have arrived."""

    __slots__ = ("end", "length")
    head: HeadByObstore
    end: float
    #: The requested bytes of the body: all, or a range's.
    length: int

    def read(self) -> Bytes:
        """Return the whole body."""
        size = self.length
        try:
            coming = self.head.result.stream(1)
            piece = next(coming, b"") if size else b""
            if len(piece) == size:  # mostly so, and without a generator, which costs two microseconds
                return piece
            return b"".join((piece, *self._rest(coming, size - len(piece))))
        except BaseException as exc:  # noqa: BLE001 - raised there
            self._fail(exc)

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it arrives."""
        try:
            yield from self._rest(self.head.result.stream(1), self.length)
        except GeneratorExit:
            raise
        except BaseException as exc:  # noqa: BLE001 - raised there
            self._fail(exc)

    def _rest(self, coming: Iterator[bytes], size: int) -> Iterator[bytes]:
        return pieces_of(coming, size, self.head.object_key, self.end + allowance(self.length))

    def _fail(self, exc: BaseException) -> NoReturn:
        error = failure(exc, "get", self.head.object_key)
        if error is exc:
            raise exc
        raise error from exc


def head_of(result: GetResult, object_key: str, size: int) -> HeadByObstore:
    """Return the headers of an object that was found."""
    # Neither this class nor FoundByObstore has an __init__: the call costs a microsecond.
    head = HeadByObstore()
    head.result = result
    head.object_key = object_key
    head.size = size
    head.metadata = metadata = result.attributes
    metadata.pop("Content-Type", None)
    if not metadata.keys().isdisjoint(_HEADERS):
        head.metadata = {name: value for name, value in metadata.items() if name not in _HEADERS}
    return head


def etag_of(etag: str | None, operation: str, object_key: str) -> str:
    """Return an ETag without its quotes. Raises ``StoreRefused`` if there is none."""
    if not etag:
        raise made(StoreRefused, operation, object_key, NO_ETAG)
    return etag.strip('"')


def pieces_of(coming: Iterator[bytes], size: int, object_key: str, end: float) -> Iterator[bytes]:
    """Yield *size* bytes as they arrive: the deadline can only be checked between pieces."""
    got = 0
    while got < size:
        if monotonic() > end:
            raise made(StoreTimeout, "get", object_key, "the answer was not complete in time")
        piece = next(coming, b"")
        if not piece:
            raise made(StoreUnreachable, "get", object_key, "the answer broke off")
        got += len(piece)
        yield piece
