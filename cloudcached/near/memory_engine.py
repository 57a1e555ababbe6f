"""The engine of a client with a near tier: reads through it, writes around it.

What is held is what the store said to a request that began less than ``max_age`` seconds ago, so the writes of others
are hidden for no longer than that. From then on a GET asks whether the object still has the ETag: the nonce in every
entry makes equal ETags mean equal entries, metadata included.

Only ``get``, ``get_many`` and the first look of ``get_or_put`` read what is held. Every other verb asks the store, and
where that says something else, what is held is forgotten. What this process writes is not held before somebody reads
it: it must not push out what is read.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from .._types import MISSING, Clock
from ..config import Config, Near
from ..engine.engine import Engine
from ..engine.snapshot import NOTHING, UNKNOWN, Outside, Seen
from ..entry.expiry import is_expired
from ..entry.format import Data, Meta, Packed, Place
from ..errors import EntryRefused, NotFound, NotModified
from ..runtime.budget import Budget
from ..runtime.counters import Counters
from ..runtime.forks import PerProcess
from ..stores.port import Found, Store
from .memory import ENCODED, Held, Tier

#: Data that is decoded in less time than a thread takes to begin.
_SMALL_BYTES: Final = 4096

#: Those of this process.
_engines: weakref.WeakSet[NearEngine] = weakref.WeakSet()


def _after_fork() -> None:
    """Begin with nothing. Where a server forks without Python's hooks, that is at the first miss or write."""
    for engine in list(_engines):
        engine.tier()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class NearEngine(Engine):
    """An engine that holds entries in this process's memory."""

    def __init__(self, config: Config, near: Near, store: Store, clock: Clock, counters: Counters) -> None:
        super().__init__(config, store, clock, counters)
        self._near = near
        self._tiers = PerProcess(lambda: Tier(near.max_bytes, clock.monotonic))
        #: What hits use: to ask which process this is, a system call, would take as long as all the rest of them.
        self._tier = self._tiers()
        #: How long hits took.
        self._hits = counters.near["memory"]
        self._monotonic = clock.monotonic
        self._time = clock.time
        counters.include(lambda: {"near.hits": sum(self._hits.buckets), **self.tier().counts()})
        _engines.add(self)

    def tier(self) -> Tier:
        """Return this process's tier; a child begins with an empty one."""
        self._tier = tier = self._tiers()
        return tier

    # Reading

    def read(self, key: str) -> Any:
        """Return the live value of *key*, or ``MISSING``. Cost: none, or 1 GET, which a 304 may answer."""
        began = self._monotonic()
        held = self._fresh(key, began)
        return self.fetch(self.place(key)) if held is None else self._hit(key, held, began)

    def at_once(self, key: str) -> Any:
        """Return what ``read`` does, or ``UNKNOWN`` where that takes a request, or much unpickling."""
        began = self._monotonic()
        held = self._fresh(key, began)
        return UNKNOWN if held is None or len(held.data) > _SMALL_BYTES else self._hit(key, held, began)

    def at_hand(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return what is held of *keys* and need not be asked for."""
        hits = {}
        for key in keys:
            began = self._monotonic()
            held = self._fresh(key, began)
            if held is not None:
                hits[key] = self._hit(key, held, began)
        return hits

    def peek(self, place: Place) -> Seen:
        """Return what ``read`` does and what is held of it; asks for what is held as missing. Cost: as ``read``."""
        began = self._monotonic()
        held = self._fresh(place.key, began)
        if held is None or held.value is MISSING:
            return self._fetch(place)
        return Seen(held.etag, held.meta, held.data, self._hit(place.key, held, began))

    def fetch(self, place: Place) -> Any:
        """Return what ``read`` does, and ask the store. Cost: 1 GET, which a 304 may answer."""
        return self._fetch(place).value

    def _fresh(self, key: str, now: float) -> Held | None:
        """Return what is held of *key* and need not be asked for *now*, by the monotonic clock."""
        tier = self._tier
        try:
            held = tier.held.get(key)
            if held is None or now >= held.fresh_until or is_expired(held.expires_ms, self._time()):
                return None
            tier.held.move_to_end(key)
        except KeyError:  # another thread has just dropped it
            return None
        except TypeError:  # unhashable: no key, which ``place`` says better
            return None
        return held

    def _hit(self, key: str, held: Held, began: float) -> Any:
        """Return the value of what is held, and count a hit since *began*."""
        value = held.value if held.value is not ENCODED else self._value(key, held)
        self._hits.add(self._monotonic() - began)
        return value

    def _fetch(self, place: Place) -> Seen:
        """Ask for what is not at hand, and hold it."""
        key, tier = place.key, self.tier()
        ticket, held = tier.ticket(key), tier.held.get(key)
        seen, asked = self._obtain(place, held)
        age = self._near.max_age if seen.live else self._near.negative
        tier.fill(key, Held(key, seen, asked + age) if age else None, ticket)
        return seen

    def _obtain(self, place: Place, held: Held | None) -> tuple[Seen, float]:
        """Return what is under *place*, and when the store was asked, by the monotonic clock."""
        asked = self._monotonic()
        seen = self._ask_unless(None if held is None else held.etag, self.store.get, place)
        return seen or self._unchanged(place.key, held), asked

    def _ask_unless(self, etag: str | None, get: Callable[..., Found], place: Place) -> Seen | None:
        """Return what is under *place* by *get*, or ``None`` if it has this ETag still."""
        try:
            return self.call(self.budget(), self._look_once, get if etag is None else partial(get, unless=etag), place)
        except NotFound:
            return NOTHING
        except NotModified:
            self.tier().unchanged += 1
            return None

    def _unchanged(self, key: str, held: Held | None) -> Seen:
        """Return what is held, if it has not expired."""
        if held is None or is_expired(held.expires_ms, self._time()):
            return NOTHING
        return Seen(held.etag, held.meta, held.data, self._value(key, held))

    def _value(self, key: str, held: Held) -> Any:
        if held.value is not ENCODED or held.meta is None:
            return held.value
        try:
            return self.codec.decode(held.meta, held.data)
        except EntryRefused as refusal:  # as when its class has vanished since
            self.refuse(self.place(key).object_key, refusal)
            return MISSING

    # What else tells or changes what is there

    def look(self, place: Place, budget: Budget) -> Seen:
        """Return what is under *place*, verified. Cost: 1 GET; the body of an expired entry is not read."""
        seen = super().look(place, budget)
        self.saw(place, seen.etag)
        return seen

    def outside(self, place: Place, budget: Budget) -> Outside:
        """Return what can be told of *place* without its body, which is not verified. Cost: 1 HEAD."""
        outside = super().outside(place, budget)
        self.saw(place, None if outside.head is None else outside.head.etag)
        return outside

    def saw(self, place: Place, etag: str | None) -> None:
        """Forget what is held of *place* unless it has this ETag: no later ``get`` goes back to it."""
        tier = self.tier()
        held = tier.held.get(place.key)
        if held is None or held.etag != etag:
            tier.forget([place.key])

    def write_packed(self, place: Place, packed: Packed, budget: Budget) -> None:
        """Write over whatever is there. Cost: as without a near tier."""
        with self.writing([place.key]):
            super().write_packed(place, packed, budget)

    def write_if(self, place: Place, meta: Meta, data: Data, base: Seen, budget: Budget) -> tuple[bool, Seen | None]:
        """Write only over *base*. Cost: as without a near tier."""
        with self.writing([place.key]):
            return super().write_if(place, meta, data, base, budget)

    def remove(self, place: Place, budget: Budget) -> None:
        """Remove the object, if there is one. Cost: 1 DELETE."""
        with self.writing([place.key]):
            super().remove(place, budget)

    @contextmanager
    def writing(self, keys: Iterable[str]) -> Iterator[None]:
        """Hold nothing of *keys* that is from before the end of this block."""
        with self.tier().writing(keys):
            yield

    @contextmanager
    def clearing(self, prefix: str) -> Iterator[None]:
        """Hold nothing of what begins with *prefix* and is from before the end of this block."""
        with self.tier().clearing(prefix):
            yield
