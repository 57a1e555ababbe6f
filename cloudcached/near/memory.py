"""The near tier: what a process holds of its cache, so that it need not ask for it again.

Bounded by bytes; what was not used for longest goes first. A fill is only taken with a ticket that was drawn before
its request was sent, and is dropped where this process has written the key since, or was writing it then: so nobody
finds what was there before his own write.
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

#: The value of what is decoded anew at each hit: a caller must not change what others get.
ENCODED: Final = object()
#: Bytes that an entry takes beside what is asked for its size, by ``tracemalloc``: the ``Held``, its numbers, and its
#: part of the dictionary, which grows by doubling.
OVERHEAD_BYTES: Final = 290

#: Keys are told apart by this many counters of writes: a fill that meets a write of another key is dropped for
#: nothing, which costs one request.
_STRIPES = 1024


class Held:
    """An entry, or the knowledge that there is none, in this process's memory."""

    __slots__ = ("cost", "data", "etag", "expires_ms", "fresh_until", "meta", "value")

    def __init__(self, key: str, seen: Snapshot, fresh_until: float) -> None:
        #: ``None`` where nothing is live; not the ETag of what has expired, since a clock may be set right.
        self.etag: str | None = None
        #: How to decode ``data``, and when to compute the value anew; without a nonce, for nothing is written over it.
        self.meta: Meta | None = None
        self.expires_ms: int | None = None
        #: By the monotonic clock; from then on the store is asked whether it was rewritten.
        self.fresh_until = fresh_until
        #: ``MISSING`` for no live entry, ``ENCODED`` where ``data`` is to be decoded.
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
        #: How often the store was asked, a fill was dropped, and what is held was unchanged; threads may lose a count.
        self.misses = self.late = self.unchanged = 0
        self._max_bytes = max_bytes
        self._lock = threading.RLock()  # a signal handler may use the cache too
        #: By stripe: how many writes were begun, and how many have ended, whatever their outcome.
        self._begun = [0] * _STRIPES
        self._ended = [0] * _STRIPES
        self._monotonic = monotonic
        #: By stripe: when the last one began or ended.
        self._written = [-math.inf] * _STRIPES

    def ticket(self, key: str) -> int | None:
        """Return what lets the answer to a request that begins now be filled in; ``None`` while a write is under way."""
        if type(key) is not str:  # a subclass may hash and compare in ways of its own
            return None
        stripe = hash(key) % _STRIPES
        with self._lock:
            self.misses += 1
            begun = self._begun[stripe]
            return begun if begun == self._ended[stripe] else None

    def last_write(self, key: str) -> float:
        """Return when this process last wrote *key*, by the monotonic clock; ``inf`` while it does."""
        stripe = hash(str.__str__(key)) % _STRIPES
        with self._lock:
            return self._written[stripe] if self._begun[stripe] == self._ended[stripe] else math.inf

    def fill(self, key: str, held: Held | None, ticket: int | None) -> None:
        """Hold *held*, or nothing, unless *key* was written since the ticket was drawn."""
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
        """Hold nothing of *keys*, also not what requests under way will answer."""
        with self.writing(keys):
            pass

    @contextmanager
    def writing(self, keys: Iterable[str]) -> Iterator[None]:
        """Hold nothing of *keys* that is from before the end of this block."""
        keys = [str.__str__(key) for key in keys]  # as above
        self._count(self._begun, keys)
        try:
            yield
        finally:
            self._count(self._ended, keys)

    @contextmanager
    def clearing(self, prefix: str) -> Iterator[None]:
        """Hold nothing of what begins with *prefix* and is from before the end of this block."""
        self._count_all(self._begun, prefix)
        try:
            yield
        finally:
            self._count_all(self._ended, prefix)

    def counts(self) -> dict[str, int]:
        """Return the figures of this tier; its hits are counted with their times."""
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
