"""Single entries on a store: verified reads and conditional writes, repeated within a time budget.

This is the common part of the client's methods. Its heart is ``write_if``: a conditional write whose answer was lost
must not be taken for a "no", and must not be done twice. S3 itself cannot tell, since repeating a write that had
succeeded fails just as a write that lost to a rival does. So every write has a nonce, conditional writes carry the
nonces of the writes before them, and a writer that finds its own nonce under the key, or in that chain, has written.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import lru_cache, partial
from typing import Any, NamedTuple

from .._types import MISSING, Bytes, Clock
from ..config import Config
from ..entry.expiry import is_expired
from ..entry.format import OTHER_FORMAT, Codec, Data, Meta, Packed, Place, too_large
from ..entry.keys import Names
from ..errors import EntryRefused, NotFound, OutcomeUnknown, PreconditionFailed, StoreBusy, StoreError, StoreRefused
from ..runtime.budget import Budget
from ..runtime.clock import SystemClock
from ..runtime.counters import Counters
from ..runtime.forks import PerProcess
from ..runtime.log import Throttle
from ..stores.port import ABSENT, ALWAYS, Found, Head, Matches, Store, When, Write
from .lifetimes import Lifetimes
from .multipart import LARGE_BYTES, Upload, cut
from .outages import Breaker
from .requests import Requests
from .seam import Around
from .snapshot import NOTHING, Snapshot
from .watcher import NOTHING_AROUND, Watcher

log = logging.getLogger("cloudcached")

_MD5 = re.compile(r"[0-9a-f]{32}", re.ASCII)
#: The number of locks over which the threads of a process queue per key for ``incr``.
_QUEUES = 64
#: The number of keys whose places are remembered: working one out costs a twentieth of a ``get``, and most of the traffic
#: is for few keys.
_PLACES = 1024
#: Larger bodies are hashed while they arrive: hashing them takes longer than handling pieces.
_PIECEWISE_BYTES = 1 << 20
#: Seconds between two lines about entries in another format, of which there may be as many as entries.
_FORMATS_INTERVAL = 3600.0
_formats = PerProcess(lambda: Throttle(SystemClock(), _FORMATS_INTERVAL))


class Written(NamedTuple):
    """The result of a conditional write."""

    #: Whether this write was done.
    done: bool
    #: What is under the key now: if the write was done, its entry, or a later one that was written over it. ``None``: a
    #: rival was faster, and the key was not read since.
    now: Snapshot | None


class Engine:
    """Reads and writes the entries of one cache. Thread-safe; the constructor does no I/O."""

    def __init__(self, config: Config, store: Store, clock: Clock, counters: Counters) -> None:
        breaker = Breaker(clock, counters, config.timeout / 2) if config.fail_silently else None
        self.requests = Requests(store, clock, counters, config.timeout, breaker)
        self.clock = clock
        self.counters = counters
        self.names = Names(config.prefix)
        self.codec = Codec(
            signing_key=config.signing_key,
            encryption_key=config.encryption_key,
            compress_min_bytes=config.compress_min_bytes,
            max_value_bytes=config.max_value_bytes,
        )
        #: ``refuse`` or ``drop`` if nothing may be written, otherwise "".
        self.read_only = config.read_only
        self.budget = self.requests.budget
        self._gets = counters.requests["get"]
        self._ask = self._read_once if breaker is None else partial(breaker.call, self._read_once)
        self.lifetimes = Lifetimes(config, clock)
        self._known_place = lru_cache(_PLACES)(self._place)
        self._etags_are_md5 = True
        self._queues = PerProcess(lambda: tuple(threading.Lock() for _ in range(_QUEUES)))
        #: Are told of writes and reads; most clients have none.
        self.watchers: tuple[Watcher, ...] = ()

    @property
    def store(self) -> Store:
        """The store to which requests go."""
        return self.requests.store

    def wrap_store(self, around: Around) -> None:
        """Send requests to ``around(store)`` instead of the store from now on; for tests."""
        self.requests.wrap(around)

    def watch(self, watcher: Watcher) -> None:
        """Tell *watcher* about the writes and reads from now on."""
        self.watchers = (*self.watchers, watcher)

    def now_ms(self) -> int:
        """Return the clock's time in epoch milliseconds."""
        return int(self.clock.time() * 1000)

    def place(self, key: str) -> Place:
        """Return the place of *key*. Raises ``KeyRejected``."""
        return self._known_place(key) if type(key) is str else self._place(key)

    def _place(self, key: str) -> Place:
        object_key, hashed = self.names.object_key(key)
        return Place(key, object_key, hashed)

    # Reading

    # ``get`` of the client goes this way, and ``Requests.call`` does not: after a wait for the network each call of a
    # function costs several times what it does in a loop, and five more of them had made a ``get`` 8 % dearer.

    def read(self, place: Place) -> Any:
        """Return the live value under *place*, or ``MISSING``. Cost: 1 GET."""
        began = self.clock.monotonic()  # looked up each time: tests replace the clock of clients that exist already
        try:
            return self._ask(place, timeout=self.requests.timeout)
        except NotFound:
            return MISSING
        except StoreError as error:
            budget = Budget(self.clock, self.requests.timeout, began)
            self.requests.wait_to_repeat(error, budget)
        found = self.get(place, budget)
        if self.watchers:
            self.note_read(place, found)
        return found.value

    def _read_once(self, place: Place, *, timeout: float) -> Any:
        now = self.clock.monotonic
        began = now()
        try:
            found = self.requests.store.get(place.object_key, timeout=timeout)
            try:
                meta, _, value = self._opened(place, found)
            except EntryRefused as refusal:
                found.close()
                self.refuse(place.object_key, refusal)
                return MISSING
        finally:
            self._gets.add(now() - began)
        if self.watchers and value is not MISSING:
            self.note_hit(place, meta)
        return value

    def get(self, place: Place, budget: Budget | None = None, *, dated: bool = False) -> Snapshot:
        """Return what is under *place*, verified. Cost: 1 GET; the body of an expired entry is not read.

        dated: with the object's age by the server's clock.
        """
        requests = self.requests
        try:
            snapshot = requests.call(budget, "get", self._fetch_once, place, requests.store.get, dated)
        except NotFound:
            snapshot = NOTHING
        if self.watchers:
            self.note_etag(place, snapshot.etag)
        return snapshot

    def fetch(self, place: Place, budget: Budget | None, get: Callable[..., Found]) -> Snapshot:
        """Return what *get*, a store's method, finds under *place*, verified. Raises what *get* raises. Cost: 1 GET."""
        return self.requests.call(budget, "get", self._fetch_once, place, get)

    def _fetch_once(self, place: Place, get: Callable[..., Found], dated: bool = False, *, timeout: float) -> Snapshot:
        found = get(place.object_key, timeout=timeout)
        head = found.head
        try:
            meta, data, value = self._opened(place, found)
        except EntryRefused as refusal:
            found.close()
            return self.refused(place.object_key, refusal, head)
        date = head.date if dated else None  # parsing it takes time
        return Snapshot(head.etag, meta, data, value, None if date is None else date - head.modified, head.size)

    def _opened(self, place: Place, found: Found) -> tuple[Meta, Bytes, Any]:
        """Return an entry's metadata, and its data and value; b"" and ``MISSING`` if it has expired or is too large."""
        head = found.head
        meta = self.codec.check(place.object_key, head.metadata, head.size)
        if is_expired(meta.expires_ms, self.clock.time()):
            found.close()
            return meta, b"", MISSING
        if head.size > self.codec.limit:
            found.close()
            self.refuse(place.object_key, too_large(head.size))
            return meta, b"", MISSING  # not live, but not damaged either: ``add`` leaves it alone
        self.counters.counts["bytes.read"] += head.size
        if head.size < _PIECEWISE_BYTES:
            data = self.codec.open(place, meta, found.read())
        else:
            data = self.codec.open_pieces(place, meta, head.size, found.pieces())
        return meta, data, self.codec.decode(meta, data)

    def head(self, place: Place, budget: Budget) -> Snapshot:
        """Return what is under *place* without its body, which is not verified. Cost: 1 HEAD."""
        try:
            head = self.requests.call(budget, "head", self.requests.store.head, place.object_key)
        except NotFound:
            snapshot = NOTHING
        else:
            try:
                meta = self.codec.check(place.object_key, head.metadata, head.size)
                snapshot = Snapshot(head.etag, meta, size=head.size)
            except EntryRefused as refusal:
                snapshot = self.refused(place.object_key, refusal, head)
        self.note_etag(place, snapshot.etag)
        return snapshot

    def refused(self, object_key: str, refusal: EntryRefused, head: Head) -> Snapshot:
        """Return what is known of an object that is refused, after ``refuse``."""
        self.refuse(object_key, refusal)
        return Snapshot(head.etag, size=head.size, other_format=refusal.reason == OTHER_FORMAT)

    def refuse(self, object_key: str, refusal: EntryRefused) -> None:
        """Log and count an object that is not an entry; one in another format is an ordinary miss."""
        if refusal.reason == OTHER_FORMAT:
            self.counters.add("misses.format")
            if _formats().allows():
                fields = {"event": "other_format", "object_key": object_key}
                log.info(
                    "the entry in %s counts as a miss, and so do all like it: %s", object_key, refusal, extra=fields
                )
            return
        self.counters.add(f"refused.{refusal.reason}")
        fields = {"event": "refused", "object_key": object_key, "reason": refusal.reason}
        log.warning("refused the entry in %s: %s; it counts as a miss", object_key, refusal, extra=fields)

    # Telling the watchers

    def note_etag(self, place: Place, etag: str | None) -> None:
        """Tell the watchers the ETag the store has just reported for *place* (``None``: there is no object)."""
        for watcher in self.watchers:
            watcher.note_etag(place, etag)

    def note_read(self, place: Place, found: Snapshot) -> Snapshot:
        """Tell the watchers about a live entry that a reader is given; return *found* unchanged."""
        if found.value is not MISSING:
            self.note_hit(place, found.meta)
        return found

    def note_hit(self, place: Place, meta: Meta | None) -> None:
        """Tell the watchers about a live entry that a reader is given."""
        for watcher in self.watchers:
            watcher.note_hit(place, meta)

    def writing(self, keys: Sequence[str]) -> AbstractContextManager[None]:
        """Return the context of a write or removal of *keys*, whatever its outcome: it tells the watchers."""
        return self._around(lambda watcher: watcher.writing(keys)) if self.watchers else NOTHING_AROUND

    def clearing(self, prefix: str) -> AbstractContextManager[None]:
        """Return the context of a removal of all keys that begin with *prefix*: it tells the watchers."""
        return self._around(lambda watcher: watcher.clearing(prefix)) if self.watchers else NOTHING_AROUND

    @contextmanager
    def _around(self, of: Callable[[Watcher], AbstractContextManager[None]]) -> Iterator[None]:
        with ExitStack() as stack:
            for watcher in self.watchers:
                stack.enter_context(of(watcher))
            yield

    # Writing

    def write(self, place: Place, meta: Meta, data: Bytes, budget: Budget) -> None:
        """Write over whatever is there. Cost: 1 PUT; for a large value 1 request for each part and 2 more."""
        self.write_packed(place, self.codec.pack(place, meta, data), budget)

    def write_packed(self, place: Place, packed: Packed, budget: Budget) -> None:
        """Write an entry that is already packed, as ``write`` does, at the same cost."""
        if isinstance(packed.body, bytes) and len(packed.body) > LARGE_BYTES:
            upload = self.upload(place, packed)
            with self.writing([place.key]):
                upload.send(cut(packed.body))
            return
        write, put = self._request(place, packed), self.requests.store.put
        with self.writing([place.key]):
            etag = self.requests.call(budget, "put", put, write, sent=len(write.body))
            self._compare(place, packed, etag, budget)

    def upload(self, place: Place, packed: Packed) -> Upload:
        """Return an upload of an entry in parts; its caller must be within ``writing``."""
        tags = self.lifetimes.tags(place.object_key, packed.expires_ms)
        return Upload(self.requests, self.head, place, packed, tags)

    def _request(self, place: Place, packed: Packed, when: When = ALWAYS) -> Write:
        tags = self.lifetimes.tags(place.object_key, packed.expires_ms)
        return Write(place.object_key, packed.body, packed.metadata, when, tags)

    def add(self, place: Place, meta: Meta, data: Bytes, budget: Budget) -> bool:
        """Write unless there is a live entry; return whether this write was done.

        Returns False only after it has seen a live entry of somebody else: a 412 alone may come from a removal under
        way. Cost: that of ``write_if``; + 1 GET for each race lost, and ``write_if`` again.
        """
        base = NOTHING
        while True:
            written = self.write_if(place, meta, data, base, budget)
            if written.done:
                return True
            base = written.now or self.get(place, budget)
            if base.live or base.live_at(self.clock.time()):
                return False
            budget.spend(self.lost(place), lost=True)

    def change(
        self,
        place: Place,
        make: Callable[[Snapshot], tuple[Meta, Bytes] | None],
        budget: Budget,
        *,
        revive: bool = False,
        seen: Snapshot | None = None,
    ) -> bool:
        """Replace the entry under *place* with the one that *make* returns for it; return whether that was done.

        If a rival was faster, this begins again with the rival's entry. If *make* returns ``None``, nothing is written.
        revive: whether to write even if there is no live entry. seen: what is already known to be under *place*. Cost:
        1 GET, or none for *seen*, and that of ``write_if``; both again for each race lost.
        """
        now = seen
        while True:
            seen = now or self.get(place, budget)
            made = make(seen) if seen.live or revive else None
            if made is None:
                return False
            done, now = self.write_if(place, *made, seen, budget)
            if done:
                return True
            if budget.spend(self.lost(place), lost=True):
                now = None  # seen before the wait, so out of date

    def write_if(self, place: Place, meta: Meta, data: Data, base: Snapshot, budget: Budget) -> Written:
        """Write only over *base*, which was seen before. Of all concurrent callers with the same base, exactly one writes.

        ================================ ================================= ==========================================
        answer of the store              what is under the key now         result
        ================================ ================================= ==========================================
        200                              (not read)                        done
        412, the first answer            (not read)                        not done, ``now`` is ``None``
        none (lost), or one that does    base, by its ETag                 the same bytes are sent again
        not say whether it was done:     this write, by its nonce          done
        500, 503, 409; and a 412 after   an entry with this nonce in its   done
        one of these                     chain
        the same                         an entry whose chain follows the  not done
                                         base's nonce
        the same                         anything else                     raises ``OutcomeUnknown``
        any other refusal (403, ...)     (not read)                        raised
        ================================ ================================= ==========================================

        Cost: 1 conditional PUT; + 1 GET (for a file 1 HEAD) if its answer was lost or did not say whether it was done
        (Ceph answers most losers of a race with 500), and both again for each repetition.
        """
        packed = self.codec.pack(place, meta._replace(recent=base.chain), data)
        write = self._request(place, packed, ABSENT if base.etag is None else Matches(base.etag))
        requests = self.requests
        lost: StoreError | None = None
        with self.writing([place.key]):
            while True:
                try:
                    etag = requests.send("put", requests.store.put, write, timeout=budget.left, sent=len(write.body))
                except PreconditionFailed:
                    if lost is None:
                        return Written(False, None)
                except StoreError as error:
                    if not error.retryable:
                        raise
                    lost = error
                    self.counters.add("retries")
                else:
                    self._compare(place, packed, etag, budget)
                    return Written(True, Snapshot(etag, meta._replace(recent=base.chain, nonce=packed.nonce)))
                # Look before waiting: the longer the wait, the more writes the chain would have to remember.
                now = self._after_lost_answer(place, packed, budget, lost)
                if now.etag != base.etag:
                    return Written(self._was_written(place, packed, base, now), now)
                budget.spend(lost)

    def _after_lost_answer(self, place: Place, packed: Packed, budget: Budget, lost: StoreError) -> Snapshot:
        """Return what is there now; for a file by a HEAD, so that it is not read. Raises *lost* if there is no answer."""
        look = self.get if isinstance(packed.body, bytes) else self.head
        try:
            return look(place, budget)
        except StoreError as error:
            if not error.retryable:
                raise
            raise lost from error  # *lost* says more: *error* may only mean that no time was left

    def _was_written(self, place: Place, packed: Packed, base: Snapshot, now: Snapshot) -> bool:
        """Return whether a write with a lost answer was done, judging by what is there now."""
        if now.meta is not None:
            if now.meta.was_written(packed.nonce):
                return True
            if now.meta.follows(None if base.meta is None else base.meta.nonce):
                return False
        self.counters.add("outcome_unknown")
        raise OutcomeUnknown(
            f"the answer to a write of {place.object_key} was lost, and the present state of the key does not show"
            " whether it was done; read the key before you try again"
        )

    def _compare(self, place: Place, packed: Packed, etag: str, budget: Budget) -> None:
        """Compare the ETag that a write returned with the bytes that were sent: on most stores it is their MD5.

        It is not under SSE-KMS, on S3 Express and on some others: at the first mismatch the entry is read back, and if
        that is intact, ETags are no longer compared.
        """
        if not self._etags_are_md5 or not isinstance(packed.body, bytes):
            return
        if etag == hashlib.md5(packed.body, usedforsecurity=False).hexdigest():
            return
        if _MD5.fullmatch(etag):
            now = self.get(place, budget)
            if now.meta is None and now.etag == etag:
                raise StoreRefused(
                    "the store holds other bytes than those that were sent",
                    operation="put",
                    object_key=place.object_key,
                )
            if now.meta is None or now.meta.nonce != packed.nonce:
                return  # already rewritten by somebody else: the next mismatch is settled in the same way
        self._etags_are_md5 = False
        log.info("the ETags of this bucket are not MD5 sums; they are no longer compared with what was written")

    def lost(self, place: Place) -> StoreBusy:
        """Count a lost race, and return the error to raise if no time is left to try again."""
        self.counters.add("cas_retries")
        return StoreBusy("lost to other writers until time ran out", operation="put", object_key=place.object_key)

    @contextmanager
    def queue(self, place: Place, budget: Budget) -> Iterator[None]:
        """Let the threads of this process pass one at a time for each key, so that they lose no races to each other."""
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
        with self.writing([place.key]):
            self.requests.call(budget, "delete", self.requests.store.delete, place.object_key)
