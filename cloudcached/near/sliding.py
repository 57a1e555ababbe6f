"""Expiry by last access: an entry that is read lives on.

If a ``get`` finds an entry that was written longer ago than ``refresh_after``, the entry is rewritten in the background,
and its lifetime, the one with which it was written, starts again. Entries that nobody reads expire as usual. Counters
are left alone: reading a rate limiter's counter must not extend its window.
"""

from __future__ import annotations

import logging
import threading
from typing import Final

from ..engine.engine import Engine
from ..engine.snapshot import Snapshot
from ..engine.watcher import Watcher
from ..entry.format import Meta, Place
from ..errors import CloudCachedError
from ..runtime import pool
from ..runtime.forks import PerProcess

log = logging.getLogger("cloudcached")

#: The number of keys whose last try is remembered.
_TRIES: Final = 4096
#: Seconds by which the server's dates, which are whole seconds, and the writer's clock may differ for one write.
_SAME_SECONDS: Final = 2.0


class Sliding(Watcher):
    """Refreshes those entries of one cache that are read; it watches their hits.

    after: the age in seconds, counted from an entry's write, from which a hit refreshes it.
    """

    def __init__(self, engine: Engine, after: float) -> None:
        self._engine = engine
        self._clock = engine.clock
        self._after = after
        self._tries_lock = PerProcess(threading.Lock)
        self._tries_lock()  # made now, so that no two threads make one each
        #: When the refresh of an object was last tried, by the monotonic clock, the oldest first.
        self._tries: dict[str, float] = {}

    def note_hit(self, place: Place, meta: Meta | None) -> None:
        """Start a refresh if one is due and none was tried within the interval."""
        if meta is None or meta.type == "int" or not self._may_be_due(meta) or not self._is_first_try(place):
            return
        try:
            pool.start(self._refresh, place)
        except RuntimeError as error:  # because the process is about to end
            log.debug("%s is not refreshed: %s", place.object_key, error)

    def _may_be_due(self, meta: Meta) -> bool:
        """Return whether an entry may have been written longer ago than the interval.

        The near tier does not remember when entries were written: the refresh looks that up, once per interval.
        """
        if not meta.created_ms:
            return True
        return meta.expires_ms is not None and self._clock.time() * 1000 - meta.created_ms >= self._after * 1000

    def _is_first_try(self, place: Place) -> bool:
        """Return whether no refresh was tried within the interval; if so, remember this one."""
        now = self._clock.monotonic()
        with self._tries_lock():
            last = self._tries.pop(place.object_key, None)
            if last is not None and now - last < self._after:
                self._tries[place.object_key] = last
                return False
            self._tries[place.object_key] = now
            while len(self._tries) > _TRIES:
                del self._tries[next(iter(self._tries))]
        return True

    def _refresh(self, place: Place) -> None:
        """Rewrite an entry if it is as old as it seemed. Cost: 1 GET, + 1 conditional PUT."""
        engine = self._engine
        try:
            budget = engine.budget()
            seen = engine.get(place, budget, dated=True)
            renewed = self._renewed(seen)
            if renewed is not None and engine.write_if(place, renewed, seen.data, seen, budget).done:
                engine.counters.add("refreshed")
        except CloudCachedError as error:
            engine.counters.add("refresh_failed")
            log.info("%s was not refreshed, and expires when it would have: %s", place.object_key, error)

    def _renewed(self, seen: Snapshot) -> Meta | None:
        """Return the metadata with which an entry begins its life again; ``None`` if it need not or must not."""
        meta = seen.meta
        if not seen.live or meta is None or meta.expires_ms is None or meta.type == "int":
            return None
        now = self._engine.now_ms()
        # A touched entry was created long before its present life began, so the server is asked when it was written.
        written = now - (seen.age or 0.0) * 1000 if seen.age is not None else meta.created_ms
        if abs(written - meta.created_ms) <= _SAME_SECONDS * 1000:
            written = meta.created_ms
        passed = int(now - written)
        if passed < self._after * 1000:
            return None
        fresh = None if meta.fresh_ms is None else meta.fresh_ms + passed
        return meta._replace(created_ms=now, expires_ms=meta.expires_ms + passed, fresh_ms=fresh)
