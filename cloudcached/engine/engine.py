"""Single entries on a store: read and verified, written under conditions, repeated within a time budget.

What the client's verbs have in common. The interesting part is ``write_if``: a conditional write whose answer was lost
must neither be taken for a "no" nor be done twice, and S3 itself cannot tell, since the repetition of a write that
had succeeded fails like one that lost to a rival. So every write has a nonce, conditional writes carry the nonces of
those before them, and whoever finds its own nonce under the key, or in that chain, has written.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import lru_cache, partial
from typing import Any, TypeVar

from .._types import MISSING, Bytes, Clock
from ..config import Config
from ..entry.expiry import is_expired
from ..entry.format import Codec, Data, Meta, Packed, Place, too_large
from ..entry.keys import Names
from ..errors import EntryRefused, NotFound, OutcomeUnknown, PreconditionFailed, StoreBusy, StoreError, StoreRefused
from ..runtime.budget import Budget
from ..runtime.counters import Counters
from ..runtime.forks import PerProcess
from ..stores.port import ABSENT, Found, Matches, Store, Write
from .breaker import Breaker
from .lifetimes import Lifetimes
from .multipart import LARGE_BYTES, PART_BYTES, Upload, cut
from .requests import Requests
from .snapshot import NOTHING, UNKNOWN, Outside, Seen

R = TypeVar("R")

log = logging.getLogger("cloudcached")

_MD5 = re.compile(r"[0-9a-f]{32}", re.ASCII)
#: Threads of one process queue per key for ``incr``, over this many locks.
_QUEUES = 64
#: Keys whose places are remembered: working one out costs a twentieth of a ``get``, and few keys are most of the traffic.
_PLACES = 1024
#: Larger bodies are hashed while they come: that takes longer than what it costs to look at pieces.
_PIECEWISE_BYTES = 1 << 20


class Engine(Requests):
    """Reads and writes the entries of one cache. Thread-safe; the constructor does no I/O."""

    def __init__(self, config: Config, store: Store, clock: Clock, counters: Counters) -> None:
        breaker = Breaker(clock, counters, config.timeout / 2) if config.fail_silently else None
        super().__init__(store, clock, counters, config.timeout, breaker)
        self.names = Names(config.prefix)
        self._known_place = lru_cache(_PLACES)(self._place)
        self.codec = Codec(
            signing_key=config.signing_key,
            encryption_key=config.encryption_key,
            compress_min_bytes=config.compress_min_bytes,
            max_value_bytes=config.max_value_bytes,
        )
        self.lifetimes = Lifetimes(config, clock)
        #: ``refuse`` or ``drop`` where nothing may be written, "" elsewhere.
        self.read_only = config.read_only
        self._gets = counters.requests["get"]
        #: As ``send`` of ``_value_once``: one call less on the way of every ``get``.
        self._ask = self._value_once if breaker is None else partial(breaker.call, self._value_once)
        self._etags_are_md5 = True
        self._queues = PerProcess(lambda: tuple(threading.Lock() for _ in range(_QUEUES)))

    def now_ms(self) -> int:
        """Return the clock's time in epoch milliseconds."""
        return int(self.clock.time() * 1000)

    def place(self, key: str) -> Place:
        """Return where *key* lives. Raises ``KeyRejected``."""
        return self._known_place(key) if type(key) is str else self._place(key)

    def _place(self, key: str) -> Place:
        object_key, hashed = self.names.object_key(key)
        return Place(key, object_key, hashed)

    # Reading

    def read(self, key: str) -> Any:
        """Return the live value of *key*, or ``MISSING``, from the near tier where there is one. Cost: at most 1 GET."""
        return self.fetch(self.place(key))

    def fetch(self, place: Place) -> Any:
        """Return what ``read`` does, and ask the store. Cost: 1 GET."""
        began = self._now()
        try:
            return self._ask(place, timeout=self._timeout)
        except NotFound:
            return MISSING
        except StoreError as error:
            if not error.retryable:
                raise
            budget = Budget(self.clock, self._timeout, began)
            budget.spend(error)
            self.counters.add("retries")
        return self.look(place, budget).value

    def peek(self, place: Place) -> Seen:
        """Return what ``read`` does and what is known about it; metadata without a nonce was held near. Cost: as it."""
        return self.look(place, self.budget())

    def saw(self, place: Place, etag: str | None) -> None:
        """Take note of the ETag that the store just told of *place*; ``None``: there is no object."""

    def at_once(self, key: str) -> Any:  # noqa: ARG002 - the near tier's
        """Return what ``read`` does, or ``UNKNOWN`` where that takes a request, or longer than an event loop may wait."""
        return UNKNOWN

    def at_hand(self, keys: Iterable[str]) -> dict[str, Any]:  # noqa: ARG002 - the near tier's
        """Return what is known of *keys* without a request."""
        return {}

    def look(self, place: Place, budget: Budget) -> Seen:
        """Return what is under *place*, verified. Cost: 1 GET; the body of an expired entry is not read."""
        try:
            return self.call(budget, self._look_once, self.store.get, place)
        except NotFound:
            return NOTHING

    def look_dated(self, place: Place, budget: Budget) -> Seen:
        """Return what is under *place* with its age by the server's clock, which not every transport can tell."""
        try:
            return self.call(budget, self._look_once, self.store.dated.get, place)
        except NotFound:
            return NOTHING

    def _look_once(self, get: Callable[..., Found], place: Place, *, timeout: float) -> Seen:
        found = get(place.object_key, timeout=timeout)
        head = found.head
        meta, data, value = self._verified(place, found)
        age = None if head.date is None else head.date - head.modified
        return Seen(head.etag, meta, data, value, age)

    def _value_once(self, place: Place, *, timeout: float) -> Any:
        # Leaves alone what only the other verbs need of the headers: working it out takes time.
        began = self._now()
        try:
            return self._verified(place, self.store.get(place.object_key, timeout=timeout))[2]
        finally:
            took, gets = self._now() - began, self._gets
            gets.seconds += took
            gets.buckets[int(took * 1e6).bit_length()] += 1

    def _verified(self, place: Place, found: Found) -> tuple[Meta | None, Bytes, Any]:
        """Return an entry's metadata, ``None`` for a refused one, and its data and value if it is live."""
        head = found.head
        try:
            meta = self.codec.check(place.object_key, head.metadata, head.size)
            if is_expired(meta.expires_ms, self.clock.time()):
                found.close()
                return meta, b"", MISSING
            if head.size > self.codec.limit:
                found.close()
                self.refuse(place.object_key, too_large(head.size))
                return meta, b"", MISSING  # no damage: ``add`` leaves it alone
            self.counters.counts["bytes.read"] += head.size
            if head.size < _PIECEWISE_BYTES:
                data = self.codec.open(place, meta, found.read())
            else:
                data = self.codec.open_pieces(place, meta, head.size, found.pieces())
            return meta, data, self.codec.decode(meta, data)
        except EntryRefused as refusal:
            found.close()
            self.refuse(place.object_key, refusal)
            return None, b"", MISSING

    def outside(self, place: Place, budget: Budget) -> Outside:
        """Return what can be told of *place* without its body, which is not verified. Cost: 1 HEAD."""
        head, meta = self.glance(place, budget)
        return Outside(head, None if meta is None or is_expired(meta.expires_ms, self.clock.time()) else meta)

    def glance(self, place: Place, budget: Budget) -> Outside:
        """Return what ``outside`` does, of an expired entry too. Cost: 1 HEAD."""
        try:
            head = self.call(budget, self.store.head, place.object_key)
        except NotFound:
            return Outside(None)
        try:
            return Outside(head, self.codec.check(place.object_key, head.metadata, head.size))
        except EntryRefused as refusal:
            self.refuse(place.object_key, refusal)
            return Outside(head)

    def inner_key(self, object_key: str, budget: Budget) -> str | None:
        """Return the key that an entry under a hashed name holds. Cost: 1 GET."""
        try:
            return self.call(budget, self._inner_key_once, object_key)
        except NotFound:
            return None
        except EntryRefused as refusal:
            self.refuse(object_key, refusal)
            return None

    def _inner_key_once(self, object_key: str, *, timeout: float) -> str:
        found = self.store.get_first(object_key, PART_BYTES, timeout=timeout)
        with closing(found):
            meta = self.codec.check(object_key, found.head.metadata, found.head.size)
            # Of a large entry the beginning is enough: the caller compares the key's hash with the object's name.
            key = self.codec.inner_key(meta, found.read(), whole=found.head.size <= PART_BYTES)
        if not self.names.is_hash_of(object_key, key):
            raise EntryRefused("key", "the entry belongs to another key")
        return key

    def refuse(self, object_key: str, refusal: EntryRefused) -> None:
        """Log and count an object that is no entry."""
        self.counters.add(f"refused.{refusal.reason}")
        fields = {"event": "refused", "object_key": object_key, "reason": refusal.reason}
        log.warning("refused the entry in %s: %s; it counts as a miss", object_key, refusal, extra=fields)

    # Writing

    @contextmanager
    def writing(self, keys: Iterable[str]) -> Iterator[None]:  # noqa: ARG002 - the near tier's
        """Stand around every write and removal of *keys*, whatever comes of it."""
        yield

    @contextmanager
    def clearing(self, prefix: str) -> Iterator[None]:  # noqa: ARG002 - the near tier's
        """Stand around the removal of all keys that begin with *prefix*."""
        yield

    def write(self, place: Place, meta: Meta, data: Bytes, budget: Budget) -> None:
        """Write over whatever is there. Cost: 1 PUT; for what is large, 1 request for each part and 2 more."""
        self.write_packed(place, self.codec.pack(place, meta, data), budget)

    def write_packed(self, place: Place, packed: Packed, budget: Budget) -> None:
        """Do what ``write`` does with an entry that is packed."""
        if isinstance(packed.body, bytes) and len(packed.body) > LARGE_BYTES:
            Upload(self, self.glance, place, packed, self.tags(place, packed)).send(cut(packed.body))
            return
        write = Write(place.object_key, packed.body, packed.metadata, tags=self.tags(place, packed))
        etag = self.call(budget, self.store.put, write)
        self._compare(place, packed, etag, budget)

    def tags(self, place: Place, packed: Packed) -> Mapping[str, str] | None:
        """Return the tags of an entry's object. Raises ``ConfigError`` for a life that no lifecycle rule lets it have."""
        return self.lifetimes.tags(place.object_key, packed.expires_ms)

    def add(self, place: Place, meta: Meta, data: Bytes, budget: Budget) -> bool:
        """Write where there is nothing live; return whether this write was done.

        False only after a live entry of somebody else was seen: a 412 alone may come from a removal under way.
        """
        base = NOTHING
        while True:
            written, now = self.write_if(place, meta, data, base, budget)
            if written:
                return True
            base = now or self.look(place, budget)
            if base.live or (base.meta is not None and not is_expired(base.meta.expires_ms, self.clock.time())):
                return False
            budget.spend(self.lost(place), lost=True)

    def change(
        self,
        place: Place,
        make: Callable[[Seen], tuple[Meta, Bytes] | None],
        budget: Budget,
        *,
        revive: bool = False,
        seen: Seen | None = None,
    ) -> bool:
        """Replace what is seen by what *make* returns for it, until no rival was faster; return whether it was done.

        revive: also where nothing live is seen. seen: what was seen already. A ``None`` from *make* ends it.
        """
        now = seen
        while True:
            seen = now or self.look(place, budget)
            made = make(seen) if seen.live or revive else None
            if made is None:
                return False
            written, now = self.write_if(place, *made, seen, budget)
            if written:
                return True
            if budget.spend(self.lost(place), lost=True):
                now = None  # what was seen before a wait is old

    def write_if(self, place: Place, meta: Meta, data: Data, base: Seen, budget: Budget) -> tuple[bool, Seen | None]:
        """Write only over *base*, what was seen before.

        Returns whether this write was done, and what is there now as far as it is known. Of any number of concurrent
        callers over one base exactly one has written. Cost: 1 conditional PUT; + 1 GET where its answer was lost, or
        was no answer (Ceph tells most losers of a race 500), and again for each repetition. Raises ``OutcomeUnknown``
        when the bucket can no longer tell.
        """
        packed = self.codec.pack(place, meta._replace(recent=base.chain), data)
        when = ABSENT if base.etag is None else Matches(base.etag)
        write = Write(place.object_key, packed.body, packed.metadata, when, self.tags(place, packed))
        failure: StoreError | None = None
        while True:
            try:
                etag = self.send(self.store.put, write, timeout=budget.left)
            except PreconditionFailed:
                if failure is None:
                    return False, None
            except StoreError as error:
                if not error.retryable:
                    raise
                failure = error
                self.counters.add("retries")
            else:
                self._compare(place, packed, etag, budget)
                return True, Seen(etag, meta._replace(recent=base.chain, nonce=packed.nonce))
            # Looking comes before waiting: the longer the wait, the more writes the chain would have to remember.
            try:
                now = self.look(place, budget) if isinstance(packed.body, bytes) else self.glanced(place, budget)
            except StoreError as error:
                if not error.retryable:
                    raise
                raise failure from error  # it says more: this one may only have come too late
            if now.etag != base.etag:
                return self._was_written(place, packed, base, now), now
            budget.spend(failure)

    def glanced(self, place: Place, budget: Budget) -> Seen:
        """Return what ``glance`` does, as what a write may be based on. Cost: 1 HEAD."""
        head, meta = self.glance(place, budget)
        return NOTHING if head is None else Seen(head.etag, meta)

    def _was_written(self, place: Place, packed: Packed, base: Seen, now: Seen) -> bool:
        """Tell from what is there now whether a write with a lost answer was done."""
        if now.meta is not None:
            if now.meta.was_written(packed.nonce):
                return True
            if now.meta.follows(None if base.meta is None else base.meta.nonce):
                return False
        self.counters.add("outcome_unknown")
        raise OutcomeUnknown(
            f"the answer to a write of {place.object_key} was lost, and what is there now does not tell whether it was"
            " done; read the key before you try again"
        )

    def _compare(self, place: Place, packed: Packed, etag: str, budget: Budget) -> None:
        """Compare the ETag that a write returned with what was sent: an MD5 on most stores.

        Not under SSE-KMS, on S3 Express and some others: the first mismatch is settled by reading the entry back, and
        where that is whole, ETags are no longer compared.
        """
        if not self._etags_are_md5 or not isinstance(packed.body, bytes):
            return
        if etag == hashlib.md5(packed.body, usedforsecurity=False).hexdigest():
            return
        if _MD5.fullmatch(etag):
            now = self.look(place, budget)
            if now.meta is None and now.etag == etag:
                raise StoreRefused(
                    "the store holds other bytes than were sent", operation="put", object_key=place.object_key
                )
            if now.meta is None or now.meta.nonce != packed.nonce:
                return  # already rewritten by somebody else: the next write asks again
        self._etags_are_md5 = False
        log.info("the ETags of this bucket are no MD5 sums; writes are no longer compared with them")

    def lost(self, place: Place) -> StoreBusy:
        """Return the error of an operation that lost every race until its time was over."""
        self.counters.add("cas_retries")
        return StoreBusy("lost to other writers until the time was over", operation="put", object_key=place.object_key)

    @contextmanager
    def queue(self, place: Place, budget: Budget) -> Iterator[None]:
        """Let the threads of this process pass one by one for one key: they need not lose races to each other."""
        locks = self._queues()
        lock = locks[hash(place.object_key) % len(locks)]
        if not lock.acquire(timeout=budget.left):
            raise self.lost(place)
        try:
            yield
        finally:
            lock.release()

    def remove(self, place: Place, budget: Budget) -> None:
        """Remove the object, if there is one. Cost: 1 DELETE."""
        self.call(budget, self.store.delete, place.object_key)
