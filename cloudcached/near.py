"""The near tier: what a process holds of its cache, so that it need not ask for it again.

Bounded by bytes; what was not used for longest goes first. A fill is only taken with a ticket that was drawn before
its request was sent, and is dropped where this process has written the key since, or was writing it then: so nobody
finds what was there before his own write.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from .engine import Seen
from .entry import Meta
from .serializers import PICKLE

#: The value of what is decoded anew at each hit: a caller must not change what others get.
ENCODED: Final = object()
#: Bytes that an entry takes beside its key and its value, by ``tracemalloc``: the ``Held``, its numbers and its ETag,
#: and its part of the dictionary, which grows by doubling.
OVERHEAD_BYTES: Final = 350

#: Keys are told apart by this many counters of writes: a fill that meets a write of another key is dropped for
#: nothing, which costs one request.
_STRIPES = 1024


class Held:
    """An entry, or the knowledge that there is none, in this process's memory."""

    __slots__ = ("cost", "data", "etag", "expires_ms", "fresh_until", "meta", "value")

    def __init__(self, key: str, seen: Seen) -> None:
        #: ``None``: no object.
        self.etag = seen.etag
        #: By the monotonic clock; from then on the store is asked whether it was rewritten.
        self.fresh_until = 0.0
        #: The deadline of a live entry.
        self.expires_ms: int | None = None
        #: ``MISSING`` for no live entry, ``ENCODED`` where ``data`` is to be decoded.
        self.value = seen.value
        #: How to decode ``data``, and by what the entry is refreshed.
        self.meta: Meta | None = None
        self.data = b""
        if seen.live and seen.meta is not None:
            meta = seen.meta
            self.expires_ms = meta.expires_ms
            self.meta = _recipe(meta.type, meta.encoding)
            if meta.fresh_ms is not None or meta.cost_ms is not None:
                self.meta = meta._replace(created_ms=0, nonce="", key_id="", recent=())
            if meta.type == PICKLE:
                self.value, self.data = ENCODED, bytes(seen.data)
        #: Bytes of memory.
        self.cost = OVERHEAD_BYTES + sys.getsizeof(key) + sys.getsizeof(self.data) + sys.getsizeof(self.value)


@functools.cache  # decoding takes nothing else of the metadata, and there are few encodings
def _recipe(tag: str, encoding: str) -> Meta:
    return Meta(tag, encoding, None, 0)


class Tier:
    """A bounded dictionary of what is held, least recently used first. Thread-safe; belongs to one process."""

    def __init__(self, max_bytes: int) -> None:
        #: Read and reordered without the lock, changed under it.
        self.held: OrderedDict[str, Held] = OrderedDict()
        self.bytes = 0
        #: How often something held was returned; threads may lose a count against each other.
        self.hits = 0
        #: How many fills were dropped.
        self.late = 0
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        #: By stripe: how many writes were begun, and how many have ended, whatever their outcome.
        self._begun = [0] * _STRIPES
        self._ended = [0] * _STRIPES

    def ticket(self, key: str) -> int | None:
        """Return what lets the answer to a request that begins now be filled in; ``None`` while a write is under way."""
        stripe = hash(key) % _STRIPES
        with self._lock:
            begun = self._begun[stripe]
            return begun if begun == self._ended[stripe] else None

    def fill(self, key: str, held: Held | None, ticket: int | None) -> None:
        """Hold *held* instead of what is there, unless *key* was written since the ticket was drawn."""
        with self._lock:
            if ticket != self._begun[hash(key) % _STRIPES]:
                self.late += 1
                return
            self._drop(key)
            if held is not None and held.cost <= self._max_bytes:
                self.held[key] = held
                self.bytes += held.cost
                while self.bytes > self._max_bytes:
                    _, oldest = self.held.popitem(last=False)
                    self.bytes -= oldest.cost

    def forget(self, keys: Iterable[str]) -> None:
        """Hold nothing of *keys*, also not what requests under way will answer."""
        with self.writing(keys):
            pass

    @contextmanager
    def writing(self, keys: Iterable[str]) -> Iterator[None]:
        """Hold nothing of *keys* that is from before the end of this block."""
        keys = list(keys)
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

    def _count(self, writes: list[int], keys: list[str]) -> None:
        with self._lock:
            for key in keys:
                writes[hash(key) % _STRIPES] += 1
                self._drop(key)

    def _count_all(self, writes: list[int], prefix: str) -> None:
        with self._lock:
            for stripe in range(_STRIPES):
                writes[stripe] += 1
            for key in [key for key in self.held if key.startswith(prefix)]:
                self._drop(key)

    def _drop(self, key: str) -> None:
        held = self.held.pop(key, None)
        if held is not None:
            self.bytes -= held.cost
