"""Reads through the near tier: from this process's memory, then from this machine's disk, then from the store.

A held entry is the store's answer to a request sent within the last ``max_age`` seconds, so another process's write
stays invisible for at most that long. After that, a GET asks whether the object still has the same ETag: the nonce in
every entry makes equal ETags mean equal entries, metadata included.

Only ``get``, ``get_many`` and the first look of ``get_or_put`` use what is held. Every other method asks the store, and
if that reports another ETag, the held entry is forgotten. An entry that this process writes is not held until somebody
reads it: it must not push out entries that are read.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from .._types import MISSING
from ..config import Near
from ..engine.engine import Engine
from ..engine.snapshot import NOTHING, UNKNOWN, Snapshot
from ..engine.watcher import Watcher
from ..entry.expiry import is_expired
from ..entry.format import Place
from ..errors import EntryRefused, NotFound, NotModified
from ..runtime.forks import PerProcess
from .copies import Copies, Copy, Recorder
from .memory import ENCODED, Held, Tier

#: Data of this size or less is decoded in less time than a thread takes to start.
_SMALL_BYTES: Final = 4096

#: The readers of this process.
_readers: weakref.WeakSet[NearReader] = weakref.WeakSet()


def _after_fork() -> None:
    """Begin with empty tiers. If a server forks without Python's hooks, that happens at the first miss or write."""
    for reader in list(_readers):
        reader.tier()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class NearReader(Watcher):
    """Holds entries of one cache in this process's memory, and in *copies* on disk where there are any."""

    def __init__(self, engine: Engine, near: Near, copies: Copies | None = None) -> None:
        clock = engine.clock
        self._engine = engine
        self._near = near
        self._copies = copies
        self._tiers = PerProcess(lambda: Tier(near.max_bytes, clock.monotonic))
        #: The tier that hits use: asking which process this is, a system call, would take as long as the rest of a hit.
        self._tier = self._tiers()
        #: The durations of hits.
        self._hits = engine.counters.near["memory"]
        self._monotonic = clock.monotonic
        self._time = clock.time
        engine.counters.include(lambda: {"near.hits": sum(self._hits.buckets), **self.tier().counts()})
        engine.watch(self)
        _readers.add(self)

    def tier(self) -> Tier:
        """Return this process's tier; a child begins with an empty one."""
        self._tier = tier = self._tiers()
        return tier

    # Reading

    def read(self, key: str) -> Any:
        """Return the live value of *key*, or ``MISSING``. Cost: no request, or 1 GET, which a 304 may answer."""
        began = self._monotonic()
        held = self._fresh(key, began)
        return self.fetch(self._engine.place(key)) if held is None else self._hit(key, held, began)

    def near_value(self, key: str) -> Any:
        """Return what ``read`` would, or ``UNKNOWN`` if that needs the disk, a request, or a lot of unpickling."""
        began = self._monotonic()
        held = self._fresh(key, began)
        return UNKNOWN if held is None or len(held.data) > _SMALL_BYTES else self._hit(key, held, began)

    def near_values(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values of those *keys* that are held and fresh, by key."""
        hits = {}
        for key in keys:
            began = self._monotonic()
            held = self._fresh(key, began)
            if held is not None:
                hits[key] = self._hit(key, held, began)
        return hits

    def snapshot(self, place: Place) -> Snapshot:
        """Return the state of *place*, held or from the store; a key that is held as missing is asked for again.

        Cost: as ``read``.
        """
        began = self._monotonic()
        held = self._fresh(place.key, began)
        if held is None or held.value is MISSING:
            found = self._fetched(place)
        else:
            found = Snapshot(held.etag, held.meta, held.data, self._hit(place.key, held, began))
        return self._engine.note_read(place, found)

    def fetch(self, place: Place) -> Any:
        """Return the live value of *place*, or ``MISSING``, from the disk or the store. Cost: as ``read``."""
        return self._engine.note_read(place, self._fetched(place)).value

    def _fresh(self, key: str, now: float) -> Held | None:
        """Return the held entry of *key* if it is fresh *now*, by the monotonic clock."""
        tier = self._tier
        try:
            held = tier.held.get(key)
            if held is None or now >= held.fresh_until or is_expired(held.expires_ms, self._time()):
                return None
            tier.held.move_to_end(key)
        except KeyError:  # another thread has just dropped it
            return None
        except TypeError:  # unhashable: ``place`` refuses such a key with a better message
            return None
        return held

    def _hit(self, key: str, held: Held, began: float) -> Any:
        """Return the value of a held entry, and count a hit that began at *began*."""
        value = held.value if held.value is not ENCODED else self._value(key, held)
        self._hits.add(self._monotonic() - began)
        return value

    def _value(self, key: str, held: Held) -> Any:
        if held.value is not ENCODED or held.meta is None:
            return held.value
        try:
            return self._engine.codec.decode(held.meta, held.data)
        except EntryRefused as refusal:  # for example because its class no longer exists
            self._engine.refuse(self._engine.place(key).object_key, refusal)
            return MISSING

    # Asking

    def _fetched(self, place: Place) -> Snapshot:
        """Fetch an entry that is not fresh in memory, from the disk or the store, and hold it."""
        key, tier, copies = place.key, self.tier(), self._copies
        ticket, held = tier.ticket(key), tier.held.get(key)
        began = self._monotonic()
        copy = None if copies is None else copies.load(place, after=tier.last_write(key))
        if copies is not None and copy is not None and copies.is_fresh(copy):
            copies.count_hit(began)
            found, asked = copy.snapshot or NOTHING, copy.kept.monotonic
        else:
            asked = self._monotonic()
            found = self._asked(place, held, copy, asked)
        age = self._near.max_age if found.live else self._near.negative
        tier.fill(key, Held(key, found, asked + age) if age else None, ticket)
        return found

    def _asked(self, place: Place, held: Held | None, copy: Copy | None, asked: float) -> Snapshot:
        """Ask the store; by a 304 it confirms the entry that this machine holds, on disk or else in memory."""
        engine, copies = self._engine, self._copies
        candidate = copy if copy is not None and copy.snapshot is not None else held
        recorder = None if copies is None else Recorder(engine.store)
        get = engine.store.get if recorder is None else recorder.get
        if candidate is not None and candidate.etag is not None:
            get = partial(get, unless=candidate.etag)
        wall = self._time()
        try:
            found = engine.fetch(place, engine.budget(), get)
        except NotFound:
            found = NOTHING
        except NotModified:
            self.tier().unchanged += 1
            if copies is not None and isinstance(candidate, Copy):
                return copies.confirm(place, candidate, wall, asked)
            return self._unchanged(place.key, held)
        if copies is not None and recorder is not None:
            copies.replace(place, copy, recorder.kept(wall, asked) if found.live else None, found)
        return found

    def _unchanged(self, key: str, held: Held | None) -> Snapshot:
        """Return the entry held in memory, if it has not expired."""
        if held is None or is_expired(held.expires_ms, self._time()):
            return NOTHING
        return Snapshot(held.etag, held.meta, held.data, self._value(key, held))

    # Watching the engine

    def note_etag(self, place: Place, etag: str | None) -> None:
        """Forget the held entry of *place* unless it has this ETag, so that no later ``get`` returns an older one."""
        tier = self.tier()
        held = tier.held.get(place.key)
        if held is None or held.etag != etag:
            tier.forget([place.key])

    @contextmanager
    def writing(self, keys: Sequence[str]) -> Iterator[None]:
        """Forget *keys*, and hold nothing of them that is from before the end of this block."""
        with self.tier().writing(keys):
            try:
                yield
            finally:
                if self._copies is not None:
                    self._copies.drop(keys)

    @contextmanager
    def clearing(self, prefix: str) -> Iterator[None]:
        """Forget the keys that begin with *prefix*, and hold nothing of them that is from before the end of this block."""
        with self.tier().clearing(prefix):
            try:
                yield
            finally:
                if self._copies is not None:
                    self._copies.clear(prefix)
