"""What was found under a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from .._types import MISSING, Bytes
from ..entry.format import START, Meta
from ..stores.port import Head


class Seen(NamedTuple):
    """What a verifying GET found under a key."""

    #: ``None``: no object at all.
    etag: str | None
    #: ``None``: no object, or one that was refused.
    meta: Meta | None = None
    #: The encoded value, as the entry holds it; only of a live entry.
    data: Bytes = b""
    value: Any = MISSING
    #: Seconds since it was written, by the server's clock; only where it was asked for.
    age: float | None = None

    @property
    def live(self) -> bool:
        """Tell whether there is an entry that is neither expired nor refused."""
        return self.value is not MISSING

    @property
    def chain(self) -> tuple[str, ...]:
        """Return what a conditional write over this carries as ``recent``."""
        return (START,) if self.meta is None else self.meta.chain


NOTHING = Seen(None)
#: Not known without asking the store.
UNKNOWN: Final = object()


@dataclass(frozen=True, slots=True)
class Token:
    """What ``Client.gets`` saw, for ``Client.cas``; opaque."""

    object_key: str
    etag: str | None
    meta: Meta | None


class Outside(NamedTuple):
    """What a HEAD told of a key."""

    #: ``None``: no object at all.
    head: Head | None
    #: ``None``: nothing live.
    meta: Meta | None = None
