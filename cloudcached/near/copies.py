"""Copies of entries on this machine's disk, verified like answers of the store.

The rules are those for memory: a copy is as old as the request that the store answered with it, whichever process sent
that request, and after ``max_age`` the store is asked again. A copy from before this process's last write of its key is
not used, so that no other process can bring back what this one has overwritten.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from .._types import Bytes
from ..config import Config, Near
from ..engine.engine import Engine
from ..engine.snapshot import NOTHING, Snapshot
from ..entry.expiry import is_expired
from ..entry.format import OTHER_FORMAT, Place
from ..errors import EntryRefused
from ..stores.port import Found, Store
from .disk import DiskTier, Kept

log = logging.getLogger("cloudcached")


class Copy(NamedTuple):
    """A copy on the disk."""

    #: The rows as they were found.
    kept: Kept
    #: The state that they hold, without a value if it has expired; ``None`` if it must not be used.
    snapshot: Snapshot | None

    @property
    def etag(self) -> str:
        """The ETag of the object that this is a copy of."""
        return self.kept.etag


class Copies:
    """The copies of one cache. Thread-safe; does no I/O when made."""

    def __init__(self, engine: Engine, near: Near, config: Config) -> None:
        self._engine = engine
        self._max_age = near.max_age
        self._clock = engine.clock
        self._counters = engine.counters
        self._disk = DiskTier(near, config, engine.clock, engine.counters)

    def load(self, place: Place, *, after: float) -> Copy | None:
        """Return the copy of *place*; one from before *after*, by the monotonic clock, must not be used."""
        kept = self._disk.load(place.object_key)
        if kept is None:
            return None
        return Copy(kept, None if kept.monotonic <= after else self._opened(place, kept))

    def _opened(self, place: Place, kept: Kept) -> Snapshot | None:
        codec = self._engine.codec
        try:
            meta = codec.check(place.object_key, kept.metadata, len(kept.body))
            if is_expired(meta.expires_ms, self._clock.time()):
                return Snapshot(kept.etag, meta)
            data = codec.open(place, meta, kept.body)
            return Snapshot(kept.etag, meta, data, codec.decode(meta, data))
        except EntryRefused as refusal:
            if refusal.reason == OTHER_FORMAT:  # as if there were none: the store's answer is kept in its place
                return None
            self._counters.add("near.disk_refused")
            log.warning(
                "refused the copy of %s on this machine's disk: %s; asking the store", place.object_key, refusal
            )
            return None

    def is_fresh(self, copy: Copy) -> bool:
        """Return whether a copy is live, and was the store's answer less than ``max_age`` ago.

        By both clocks, since each may jump.
        """
        if copy.snapshot is None or not copy.snapshot.live:
            return False
        ages = (self._clock.time() - copy.kept.wall, self._clock.monotonic() - copy.kept.monotonic)
        return all(0 <= age < self._max_age for age in ages)

    def count_hit(self, began: float) -> None:
        """Count a copy that was served; *began*: the time at which the look-up began, by the monotonic clock."""
        self._counters.near["disk"].add(self._clock.monotonic() - began)
        self._counters.add("near.disk_hits")

    def confirm(self, place: Place, copy: Copy, wall: float, asked: float) -> Snapshot:
        """Record that the store, asked at these times, still has the same entry; return it, if it is live."""
        snapshot = copy.snapshot or NOTHING
        self._disk.renew(place.object_key, copy.kept._replace(wall=wall, monotonic=asked), _deadline(snapshot))
        return snapshot if snapshot.live else NOTHING

    def replace(self, place: Place, copy: Copy | None, kept: Kept | None, found: Snapshot) -> None:
        """Keep *kept*, the store's answer, instead of *copy*; ``None``: the store has nothing live."""
        if kept is not None:
            self._disk.keep(place.object_key, kept, _deadline(found))
        elif copy is not None:
            self._disk.drop([place.object_key])

    def drop(self, keys: Sequence[str]) -> None:
        """Remove the copies of *keys*."""
        self._disk.drop([self._engine.place(key).object_key for key in keys])

    def clear(self, prefix: str) -> None:
        """Remove the copies of all keys that begin with *prefix*."""
        if not prefix:
            self._disk.clear()
            return
        names = self._engine.names

        def doomed(object_key: str) -> bool:
            key = names.key_of(object_key)
            return key is None or key.startswith(prefix)

        self._disk.drop_where(doomed)


def _deadline(snapshot: Snapshot) -> float | None:
    return None if snapshot.meta is None or snapshot.meta.expires_ms is None else snapshot.meta.expires_ms / 1000


class Recorder:
    """A store's ``get`` that remembers what it found."""

    def __init__(self, store: Store) -> None:
        self._get = store.get
        self._found: _Recorded | None = None

    def get(self, object_key: str, *, unless: str | None = None, timeout: float) -> Found:
        """Request an object, as the store's own ``get`` does. **Cost:** 1 GET."""
        self._found = found = _Recorded(self._get(object_key, unless=unless, timeout=timeout))
        return found

    def kept(self, wall: float, asked: float) -> Kept | None:
        """Return the object that was found last, for the disk; the store was asked for it at these times."""
        if self._found is None:
            return None
        head = self._found.head
        return Kept(head.etag, head.metadata, wall, asked, self._found.body)


class _Recorded(Found):
    """An object that was found, with its body once that was read."""

    __slots__ = ("_found", "body")

    def __init__(self, found: Found) -> None:
        self.head = found.head
        self._found = found
        self.body: Bytes = b""

    def read(self) -> Bytes:
        self.body = body = self._found.read()
        return body

    def close(self) -> None:
        self._found.close()
