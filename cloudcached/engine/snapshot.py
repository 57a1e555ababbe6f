"""The state of one key at one moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from .._types import MISSING, Bytes
from ..entry.expiry import is_expired
from ..entry.format import START, Meta


class Snapshot(NamedTuple):
    """The result of a GET or a HEAD of a key; also the token of ``Client.gets``, with which ``cas`` compares.

    Only a GET verifies the body: after a HEAD there is no value, and ``live_at`` judges by the metadata alone. The
    pickle of any snapshot holds only its token.
    """

    #: ``None``: there is no object.
    etag: str | None
    #: ``None``: there is no object, or it was refused.
    meta: Meta | None = None
    #: The encoded value, as it is in the entry; only of a live entry that was read.
    data: Bytes = b""
    #: ``MISSING`` unless a live entry was read and verified.
    value: Any = MISSING
    #: Seconds since the object was written, by the server's clock; only if that was asked for.
    age: float | None = None
    #: The size of the object in bytes.
    size: int = 0
    #: The object's name; only in a token.
    object_key: str = ""
    #: Whether it was refused for its format alone: another version wrote it.
    other_format: bool = False

    @property
    def live(self) -> bool:
        """Whether a live entry was read and verified."""
        return self.value is not MISSING

    def live_at(self, now: float) -> bool:
        """Return whether the metadata is valid and not expired at *now*, in epoch seconds."""
        return self.meta is not None and not is_expired(self.meta.expires_ms, now)

    @property
    def chain(self) -> tuple[str, ...]:
        """The nonces that a conditional write over this entry carries in its ``recent``."""
        return (START,) if self.meta is None else self.meta.chain

    def token(self, object_key: str) -> Snapshot:
        """Return the part of this snapshot that a later ``cas`` needs."""
        return Snapshot(self.etag, self.meta, object_key=object_key)

    def __copy__(self) -> Snapshot:
        return self

    def __deepcopy__(self, _: dict[int, Any]) -> Snapshot:
        return self

    def __reduce__(self) -> tuple[Callable[..., Snapshot], tuple[Any, ...]]:
        return _token, (self.object_key, self.etag, None if self.meta is None else tuple(self.meta))


def _token(object_key: str, etag: str | None, meta: tuple[Any, ...] | None) -> Snapshot:
    """Return a token from its pickled parts."""
    return Snapshot(etag, None if meta is None else Meta(*meta), object_key=object_key)


_token.__module__ = "cloudcached"  # the path that pickles name, which no move of this file breaks


#: There is no object.
NOTHING: Final = Snapshot(None)
#: The value is not known without a request.
UNKNOWN: Final = object()
