"""The near tier: the entries that a process holds in memory, so that it need not ask for them again.

Bounded by bytes; least recently used entries go first. A fill needs a ticket that was drawn before its request was
sent, and is dropped if this process has written the key since, or was writing it then: so nobody reads what was there
before their own write.
"""

from __future__ import annotations

import functools
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from sys import getsizeof
from typing import Final

from ..engine.snapshot import Snapshot
from ..entry.format import Meta
from ..entry.values import PICKLE

#: Stands for a value that is decoded at each hit: a caller must not be able to change what others get.
ENCODED: Final = object()
#: Bytes that an entry takes in addition to the objects whose sizes are added up, by ``tracemalloc``: the ``Held``, its
#: numbers, and its share of the dictionary, which grows by doubling.
OVERHEAD_BYTES: Final = 290

#: The number of counters of writes. Keys share them, so a fill that meets a write of another key may be dropped for
#: nothing, which costs one request.
_STRIPES = 1024


class Held:
    """An entry, or the knowledge that there is none, in this process's memory."""

    __slots__ = ("cost", "data", "etag", "expires_ms", "fresh_until", "meta", "value")

    def __init__(self, key: str, seen: Snapshot, fresh_until: float) -> None:
        #: ``None`` if nothing is live; not the ETag of an expired entry, since the clock may be corrected.
        self.etag: str | None = None
        #: How to decode ``data``, and when to recompute the value; without a nonce, since nothing is written over it.
        self.meta: Meta | None = None
        self.expires_ms: int | None = None
        #: By the monotonic clock; from then on the store is asked whether the entry was rewritten.
        self.fresh_until = fresh_until
        #: ``MISSING`` for no live entry, ``ENCODED`` if ``data`` must be decoded.
        self.value = seen.value
        self.data = b""
        own: tuple[object, ...] = ()
        if seen.live and seen.meta is not None:
            meta = seen.meta
            self.etag, self.expires_ms = seen.etag, meta.expires_ms
            self.meta = _recipe(meta.type, meta.encoding)
            if meta.fresh_ms is not None or meta.cost_ms is not None:
                own = self.meta = self.meta._replace(
                    expires_ms=meta.expires_ms, fresh_ms=meta.fresh_ms, cost_ms=meta.cost_ms
                )
            if meta.type == PICKLE:
                self.value, self.data = ENCODED, bytes(seen.data)
        #: Bytes of memory.
        self.cost = OVERHEAD_BYTES + sum(map(getsizeof, (key, self.etag, self.value, self.data)))
        if own:
            self.cost += sum(map(getsizeof, (own, *own[-2:])))


@functools.cache  # there are few types and encodings
def _recipe(tag: str, encoding: str) -> Meta:
    return Meta(tag, encoding, None, 0)


class Tier:
    """A bounded dictionary of what is held, least recently used first. Thread-safe; belongs to one process."""

    def __init__(self, max_bytes: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        #: Read and reordered without the lock, changed under it.
        self.held: OrderedDict[str, Held] = OrderedDict()
        self.bytes = 0
        #: Counts of misses, of fills that were dropped, and of entries that were unchanged; threads may lose a count.
        self.misses = self.late = self.unchanged = 0
        self._max_bytes = max_bytes
        self._lock = threading.RLock()  # a signal handler may use the cache too
        #: By stripe: the number of writes that have begun, and that have ended, whatever their outcome.
        self._begun = [0] * _STRIPES
        self._ended = [0] * _STRIPES
        self._monotonic = monotonic
        #: By stripe: when the last write began or ended.
        self._written = [-math.inf] * _STRIPES

    def ticket(self, key: str) -> int | None:
        """Return the ticket for filling in the answer to a request that begins now; ``None`` while a write is under way."""
        if type(key) is not str:  # a subclass may hash and compare in ways of its own
            return None
        stripe = hash(key) % _STRIPES
        with self._lock:
            self.misses += 1
            begun = self._begun[stripe]
            return begun if begun == self._ended[stripe] else None

    def last_write(self, key: str) -> float:
        """Return when this process last wrote *key*, by the monotonic clock; ``inf`` while it is writing it."""
        stripe = hash(str.__str__(key)) % _STRIPES
        with self._lock:
            return self._written[stripe] if self._begun[stripe] == self._ended[stripe] else math.inf

    def fill(self, key: str, held: Held | None, ticket: int | None) -> None:
        """Hold *held* instead of what is held of *key*; nothing if *key* was written since *ticket* was drawn."""
        with self._lock:
            self._drop(key)
            if ticket != self._begun[hash(key) % _STRIPES]:
                self.late += 1
                return
            if held is not None and held.cost <= self._max_bytes:
                while self.bytes + held.cost > self._max_bytes:
                    _, oldest = self.held.popitem(last=False)
                    self.bytes -= oldest.cost
                self.held[key] = held
                self.bytes += held.cost

    def forget(self, keys: Iterable[str]) -> None:
        """Forget *keys*; the answers to requests under way are not held either."""
        with self.writing(keys):
            pass

    @contextmanager
    def writing(self, keys: Iterable[str]) -> Iterator[None]:
        """Forget *keys*, and hold nothing of them that is from before the end of this block."""
        keys = [str.__str__(key) for key in keys]  # as above
        self._count(self._begun, keys)
        try:
            yield
        finally:
            self._count(self._ended, keys)

    @contextmanager
    def clearing(self, prefix: str) -> Iterator[None]:
        """Forget the keys that begin with *prefix*, and hold nothing of them that is from before the end of this block."""
        self._count_all(self._begun, prefix)
        try:
            yield
        finally:
            self._count_all(self._ended, prefix)

    def counts(self) -> dict[str, int]:
        """Return the counts of this tier, except its hits, which are counted with their times."""
        return {
            "near.bytes": self.bytes,
            "near.entries": len(self.held),
            "near.late": self.late,
            "near.misses": self.misses,
            "near.unchanged": self.unchanged,
        }

    def _count(self, writes: list[int], keys: list[str]) -> None:
        with self._lock:
            now = self._monotonic()
            for key in keys:
                stripe = hash(key) % _STRIPES
                writes[stripe] += 1
                self._written[stripe] = now
                self._drop(key)

    def _count_all(self, writes: list[int], prefix: str) -> None:
        with self._lock:
            self._written = [self._monotonic()] * _STRIPES
            for stripe in range(_STRIPES):
                writes[stripe] += 1
            for key in [key for key in self.held if key.startswith(prefix)]:
                self._drop(key)

    def _drop(self, key: str) -> None:
        held = self.held.pop(key, None)
        if held is not None:
            self.bytes -= held.cost
