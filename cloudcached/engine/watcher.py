"""The hook into the engine, for the near tier, sliding expiry, and anything else that needs to know of its work."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from ..entry.format import Meta, Place

#: Does nothing.
NOTHING_AROUND: AbstractContextManager[None] = nullcontext()


class Watcher:
    """Is told about the writes and reads of one engine; a subclass overrides the methods that it needs.

    All methods are called in the thread that does the work, and must not raise.
    """

    def writing(self, keys: Sequence[str]) -> AbstractContextManager[None]:  # noqa: ARG002 - for subclasses, as below
        """Return a context that is entered before every write and removal of *keys*, and left after it, even if it fails."""
        return NOTHING_AROUND

    def clearing(self, prefix: str) -> AbstractContextManager[None]:  # noqa: ARG002
        """Return a context that is entered before a removal of all keys that begin with *prefix*, and left after it."""
        return NOTHING_AROUND

    def note_etag(self, place: Place, etag: str | None) -> None:
        """Record the ETag the store has just reported for *place* (``None``: there is no object)."""

    def note_hit(self, place: Place, meta: Meta | None) -> None:
        """Record that a reader was given the live entry of *place*; without ``created_ms`` if the near tier held it."""
