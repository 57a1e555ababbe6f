"""Expiry by last access: an entry that is read lives on.

A ``get`` that finds an entry written longer ago than ``refresh_after`` has it written anew in the background, with the
life that it was written with counted from now. What nobody reads expires as before. Counters are left alone: who
limits a rate by one must not have it prolonged by looking.

These engines are made where the option is set, so that a ``get`` without it is not even asked.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Final

from .._types import MISSING, Clock
from ..config import Config
from ..engine.engine import Engine
from ..engine.snapshot import Seen
from ..entry.format import Meta, Place
from ..errors import CloudCachedError
from ..runtime import pool
from ..runtime.counters import Counters
from ..runtime.forks import PerProcess
from ..stores.port import Store
from .disk_engine import NearDiskEngine
from .memory_engine import NearEngine

log = logging.getLogger("cloudcached")

#: Keys whose last try is remembered.
_TRIES: Final = 4096
#: Seconds that the server's dates, whole ones, and the writer's clock may differ by for one write.
_SAME_SECONDS: Final = 2.0


class Refreshing(Engine):
    """An engine that lets what is read live on."""

    def __init__(self, config: Config, store: Store, clock: Clock, counters: Counters) -> None:
        super().__init__(config, store, clock, counters)
        self._begin_refreshing(config)

    def _begin_refreshing(self, config: Config) -> None:
        self._after = config.refresh_after
        self._tries_lock = PerProcess(threading.Lock)
        self._tries_lock()  # now, so that no two threads make one each
        #: When the refresh of an object was last tried, by the monotonic clock, the oldest first.
        self._tries: dict[str, float] = {}

    def _value_once(self, place: Place, *, timeout: float) -> Any:
        began = self._now()
        try:
            meta, _, value = self._verified(place, self.store.get(place.object_key, timeout=timeout))
        finally:
            self._gets.add(self._now() - began)
        if value is not MISSING:
            self._note(place, meta)
        return value

    def peek(self, place: Place) -> Seen:
        """Return what ``read`` does and what is known about it. Cost: as it."""
        seen = super().peek(place)
        if seen.live:
            self._note(place, seen.meta)
        return seen

    def _note(self, place: Place, meta: Meta | None) -> None:
        """Begin a refresh, if one is due and was not tried within the interval."""
        if meta is None or meta.type == "int" or not self._may_be_due(meta):
            return
        now = self.clock.monotonic()
        with self._tries_lock():
            last = self._tries.pop(place.object_key, None)
            if last is not None and now - last < self._after:
                self._tries[place.object_key] = last
                return
            self._tries[place.object_key] = now
            while len(self._tries) > _TRIES:
                del self._tries[next(iter(self._tries))]
        try:
            pool.start(self._refresh, place)
        except RuntimeError as error:  # the process is about to end
            log.debug("%s is not refreshed: %s", place.object_key, error)

    def _may_be_due(self, meta: Meta) -> bool:
        """Tell whether an entry may have been written longer ago than the interval."""
        return meta.expires_ms is not None and self.clock.time() * 1000 - meta.created_ms >= self._after * 1000

    def _refresh(self, place: Place) -> None:
        """Write an entry anew, if it is as old as it seemed. Cost: 1 GET, + 1 conditional PUT."""
        try:
            budget = self.budget()
            seen = self.look_dated(place, budget)
            renewed = self._renewed(seen)
            if renewed is not None and self.write_if(place, renewed, seen.data, seen, budget)[0]:
                self.counters.add("refreshed")
        except CloudCachedError as error:
            self.counters.add("refresh_failed")
            log.info("%s was not refreshed and expires as it would have: %s", place.object_key, error)

    def _renewed(self, seen: Seen) -> Meta | None:
        """Return the metadata of an entry that begins its life anew; ``None`` where it need not or must not."""
        meta = seen.meta
        if not seen.live or meta is None or meta.expires_ms is None or meta.type == "int":
            return None
        now = self.now_ms()
        # What was touched was created long before its present life began: the server knows when it was written.
        written = now - (seen.age or 0.0) * 1000 if seen.age is not None else meta.created_ms
        if abs(written - meta.created_ms) <= _SAME_SECONDS * 1000:
            written = meta.created_ms
        passed = int(now - written)
        if passed < self._after * 1000:
            return None
        fresh = None if meta.fresh_ms is None else meta.fresh_ms + passed
        return meta._replace(created_ms=now, expires_ms=meta.expires_ms + passed, fresh_ms=fresh)


class _Near(Refreshing, NearEngine):
    """The same with a near tier, which remembers no dates: the background looks them up, once in an interval."""

    def __init__(self, config: Config, store: Store, clock: Clock, counters: Counters) -> None:
        assert config.near is not None  # noqa: S101 - told apart by the caller
        NearEngine.__init__(self, config, config.near, store, clock, counters)
        self._begin_refreshing(config)

    def fetch(self, place: Place) -> Any:
        """Return what ``read`` does, and ask the store. Cost: 1 GET, which a 304 may answer."""
        seen = self._fetch(place)
        if seen.live:
            self._note(place, seen.meta)
        return seen.value

    def _may_be_due(self, meta: Meta) -> bool:
        return not meta.created_ms or super()._may_be_due(meta)


class _NearDisk(_Near, NearDiskEngine):
    """The same with a near tier on disk."""

    def __init__(self, config: Config, store: Store, clock: Clock, counters: Counters) -> None:
        assert config.near is not None  # noqa: S101
        NearDiskEngine.__init__(self, config, config.near, store, clock, counters)
        self._begin_refreshing(config)


def open_refreshing(config: Config, store: Store, clock: Clock, counters: Counters) -> Engine:
    """Return the engine that *config* asks for, one that refreshes. Does no I/O."""
    if config.near is None:
        return Refreshing(config, store, clock, counters)
    return (_NearDisk if config.near.disk else _Near)(config, store, clock, counters)
