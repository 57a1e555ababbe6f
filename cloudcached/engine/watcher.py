"""What may be hooked into the engine: the near tier, sliding expiry, and whatever comes to need it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from ..entry.format import Meta, Place

_NOTHING: AbstractContextManager[None] = nullcontext()


class Watcher:
    """Is told about the writes and reads of one engine; a subclass overrides what it wants to know.

    All methods are called in the thread that does the work and must not raise.
    """

    def writing(self, keys: Sequence[str]) -> AbstractContextManager[None]:  # noqa: ARG002 - for subclasses, as below
        """Stand around every write and every removal of *keys*, whatever comes of it."""
        return _NOTHING

    def clearing(self, prefix: str) -> AbstractContextManager[None]:  # noqa: ARG002
        """Stand around the removal of all keys that begin with *prefix*."""
        return _NOTHING

    def note_etag(self, place: Place, etag: str | None) -> None:
        """Record the ETag that the store has just reported for *place*; ``None``: there is no object."""

    def note_hit(self, place: Place, meta: Meta | None) -> None:
        """Record that a reader was given the live entry of *place*; what the near tier held has no dates in *meta*."""
