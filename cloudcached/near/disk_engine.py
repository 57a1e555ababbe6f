"""The engine of a client whose near tier goes on on disk: what is not in memory is looked for there, then in the store.

The rules are those of memory: an entry is as old as the request that the store answered by it, whichever process sent
it, and is asked for again after ``max_age``. An entry from before this process's last write of its key is not used, so
that no other process can bring back what this one has written over.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from .._types import Bytes, Clock
from ..config import Config, Near
from ..engine.snapshot import NOTHING, Seen
from ..entry.expiry import is_expired
from ..entry.format import Place
from ..errors import EntryRefused
from ..runtime.counters import Counters
from ..stores.port import Found, Store
from .disk import DiskTier, Kept
from .memory import Held
from .memory_engine import NearEngine

log = logging.getLogger("cloudcached")


class NearDiskEngine(NearEngine):
    """An engine that holds entries in this process's memory and on this machine's disk."""

    def __init__(self, config: Config, near: Near, store: Store, clock: Clock, counters: Counters) -> None:
        super().__init__(config, near, store, clock, counters)
        self._disk = DiskTier(near, config, clock, counters)

    def _obtain(self, place: Place, held: Held | None) -> tuple[Seen, float]:
        """Return what is under *place*, and when the store was asked, by the monotonic clock."""
        began = self._monotonic()
        kept = self._disk.load(place.object_key)
        old = self._opened(place, kept)
        if kept is not None and old is not None and old.live and self._is_fresh(kept):
            self.counters.near["disk"].add(self._monotonic() - began)
            self.counters.add("near.disk_hits")
            return old, kept.monotonic
        etag = held.etag if held is not None else None
        asked, wall = self._monotonic(), self._time()
        copy = _Copying(self.store)
        seen = self._ask_unless(etag if old is None else old.etag, copy.get, place)
        if seen is None and kept is not None and old is not None:
            self._disk.renew(place.object_key, kept._replace(wall=wall, monotonic=asked), _deadline(old))
            seen = old if old.live else NOTHING
        elif seen is None:
            seen = self._unchanged(place.key, held)
        elif seen.live and copy.found is not None:
            head = copy.found.head
            entry = Kept(head.etag, head.metadata, wall, asked, copy.found.body)
            self._disk.keep(place.object_key, entry, _deadline(seen))
        elif kept is not None:
            self._disk.drop([place.object_key])
        return seen, asked

    def _opened(self, place: Place, kept: Kept | None) -> Seen | None:
        """Return what a copy on the disk holds, without a value if it has expired; ``None`` for none that is whole."""
        if kept is None or kept.monotonic <= self.tier().last_write(place.key):
            return None
        try:
            meta = self.codec.check(place.object_key, kept.metadata, len(kept.body))
            if is_expired(meta.expires_ms, self._time()):
                return Seen(kept.etag, meta)
            data = self.codec.open(place, meta, kept.body)
            return Seen(kept.etag, meta, data, self.codec.decode(meta, data))
        except EntryRefused as refusal:
            self.counters.add("near.disk_refused")
            log.warning(
                "refused the copy of %s on this machine's disk: %s; the store is asked", place.object_key, refusal
            )
            return None

    def _is_fresh(self, kept: Kept) -> bool:
        """Tell whether the store was asked less than ``max_age`` ago: by both clocks, since each may jump."""
        ages = (self._time() - kept.wall, self._monotonic() - kept.monotonic)
        return all(0 <= age < self._near.max_age for age in ages)

    @contextmanager
    def writing(self, keys: Iterable[str]) -> Iterator[None]:
        """Hold nothing of *keys* that is from before the end of this block."""
        keys = list(keys)
        with super().writing(keys):
            try:
                yield
            finally:
                self._disk.drop([self.place(key).object_key for key in keys])

    @contextmanager
    def clearing(self, prefix: str) -> Iterator[None]:
        """Hold nothing of what begins with *prefix* and is from before the end of this block."""

        def doomed(object_key: str) -> bool:
            key = self.names.key_of(object_key)
            return key is None or key.startswith(prefix)

        with super().clearing(prefix):
            try:
                yield
            finally:
                if prefix:
                    self._disk.drop_where(doomed)
                else:
                    self._disk.clear()


def _deadline(seen: Seen) -> float | None:
    return None if seen.meta is None or seen.meta.expires_ms is None else seen.meta.expires_ms / 1000


class _Copying:
    """A store's ``get`` that keeps what was found."""

    def __init__(self, store: Store) -> None:
        self._get = store.get
        self.found: _Copy | None = None

    def get(self, object_key: str, *, unless: str | None = None, timeout: float) -> Found:
        """Do what the store does."""
        self.found = found = _Copy(self._get(object_key, unless=unless, timeout=timeout))
        return found


class _Copy(Found):
    """What was found, with its body once that was read."""

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
