"""The cache as its users see it."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, cast

from ._async import AsyncTwins
from ._types import MISSING, Clock, TimeToExpire
from .computed import ComputedVerbs
from .config import Config
from .coordination.get_or_put import Fills
from .coordination.locks import Lock
from .engine.bulk import Bulk
from .engine.outages import NO_COUNTER, Silencer, loud, verb
from .engine.snapshot import UNKNOWN, Outside, Seen, Token
from .entry.expiry import at_ms, deadline_of, is_expired, seconds_left
from .entry.format import EntryInfo, Meta
from .errors import ConfigError, KeyMissing, NotACounter, StoreError
from .files.verbs import FileVerbs
from .near import open_engine
from .observed import Observed
from .runtime.clock import SystemClock
from .runtime.counters import Counters
from .runtime.forks import PerProcess
from .stores import open_store


class Client(AsyncTwins, ComputedVerbs, FileVerbs, Observed):
    """A cache whose entries are objects in an S3 bucket.

    url: ``s3://bucket`` or ``s3://bucket/prefix``; ``memory://`` for a private store in this process's memory,
    ``memory://name`` for one that is shared by name. Endpoint, region, profile and credentials come from where boto3
    takes them. Options (keyword-only) are those of the documentation's table; an unknown one is a ``ConfigError``
    that lists the known ones. *clock* is for tests.

    The constructor does no I/O. A client is thread-safe and may be used after a fork. Each verb but ``open`` has a twin
    that is awaited, its name with an ``a`` before it: ``await client.aget(key)``; locks take ``async with``.

    Everywhere, *time_to_expire* is seconds (int, float) or a ``timedelta``; ``None`` is never, zero or negative gone
    at once. Every verb may raise ``StoreError`` when the bucket cannot be asked within the ``timeout`` option, and
    ``KeyRejected`` for a key that is not a ``str`` or is over 16 KB. A ``StoreError`` from a write means that the
    write may or may not have happened.
    """

    def __init__(self, url: str, *, clock: Clock | None = None, **options: Any) -> None:
        self._config = config = Config.parse(url, options)
        clock = clock or SystemClock()
        self._counters = Counters()
        self._gets = self._counters.calls["get"]
        self._now = clock.monotonic
        self._silencer = Silencer(config, clock, self._counters)
        self._engine = open_engine(config, open_store(config, clock), clock, self._counters)
        self._bulk = Bulk(self._engine)
        self._fills = Fills(self._engine, self._silencer, self._counters)

    @classmethod
    def shared(cls, url: str, **options: Any) -> Client:
        """Return this process's one client of this configuration, made at the first call.

        What framework adapters use: their many short-lived cache objects share connections. Do not close it.
        """
        config = Config.parse(url, options)
        lock, clients = _shared()
        with lock:
            client = clients.get(config)
            if client is None:
                client = clients[config] = cls(url, **options)
        return client

    @property
    def url(self) -> str:
        """The URL in its normal form."""
        return self._config.url

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def get(self, key: str, default: Any = None) -> Any:
        """Return the live value of *key*, or *default*.

        A missing, expired, damaged or unsigned entry gives *default*; a stored ``None`` is a value (pass ``MISSING``
        as *default* to tell the two apart).

        **Atomicity:** one consistent entry, never a torn or unverified one. **Cost:** 1 GET.
        """
        began = self._now()
        try:
            value = self._engine.read(key)
        except StoreError as error:  # as the decorator of the other verbs does, which this one is too hot for
            self._gets.add(self._now() - began)
            self._silencer.take("get", error)
            return default
        took, gets = self._now() - began, self._gets
        gets.seconds += took
        gets.buckets[int(took * 1e6).bit_length()] += 1
        if value is MISSING:
            self._counters.counts["misses"] += 1
            return default
        return value

    async def aget(self, key: str, default: Any = None) -> Any:
        """Await ``get`` on the shared pool; what the near tier has ready is returned at once."""
        began = self._now()
        value = self._engine.at_once(key)
        if value is UNKNOWN:
            return await super().aget(key, default)
        self._gets.add(self._now() - began)
        if value is MISSING:
            self._counters.counts["misses"] += 1
            return default
        return value

    @verb(False, writes=True)
    def put(self, key: str, value: Any, time_to_expire: TimeToExpire = 3600, replace: bool = False) -> bool:
        """Store *value* under *key*; return whether it was stored.

        replace: False leaves a live entry alone (what Django calls ``add``), True overwrites it (``set``).
        Raises ``ValueRejected`` for a value that cannot be stored, before anything is sent.

        **Atomicity:** with ``replace=False``, of any number of concurrent callers exactly one is told True, also over
        an expired or damaged entry; ``OutcomeUnknown`` where a lost answer cannot be decided. With ``replace=True``
        the last writer wins. **Cost:** 1 PUT; over an entry with ``replace=False`` + 1 GET, and + 1 PUT if it is not
        live.
        """
        engine = self._engine
        place, budget = engine.place(key), engine.budget()
        meta, data, gone = self._encode(value, time_to_expire)
        if gone and replace:
            engine.remove(place, budget)
        elif gone:
            return not engine.look(place, budget).live
        elif replace:
            engine.write(place, meta, data, budget)
        else:
            return engine.add(place, meta, data, budget)
        return True

    def encode(self, value: Any) -> Any:
        """Return *value* pickled in the calling thread, to be put in its place. Raises ``ValueRejected``."""
        return self._engine.codec.serialize(value)

    @verb(False, writes=True)
    def update(self, key: str, value: Any, time_to_expire: TimeToExpire = 3600) -> bool:
        """Replace the value of *key* if there is a live entry; return whether it was replaced.

        **Atomicity:** replaces only the entry that was seen live, and never revives one that was deleted or had
        expired. **Cost:** 1 GET + 1 conditional PUT, again for each race lost.
        """
        engine = self._engine
        place, budget = engine.place(key), engine.budget()
        meta, data, _ = self._encode(value, time_to_expire)
        return engine.change(place, lambda _: (meta, data), budget)

    @verb(False, writes=True)
    def delete(self, key: str) -> bool:
        """Remove *key*; return whether it was live when looked at.

        **Atomicity:** it is gone afterwards; two concurrent callers may both be told True. **Cost:** 1 HEAD, + 1
        DELETE if there is an object.
        """
        engine = self._engine
        place, budget = engine.place(key), engine.budget()
        outside = engine.outside(place, budget)
        if outside.head is not None:
            engine.remove(place, budget)
        return outside.meta is not None

    @verb(False)
    def has(self, key: str) -> bool:
        """Tell whether *key* has a live entry, by its metadata: a damaged body is not noticed. **Cost:** 1 HEAD."""
        return self._outside(key).meta is not None

    def __contains__(self, key: object) -> bool:
        return self.has(key)  # type: ignore[arg-type] # anything but a str is KeyRejected

    @verb(False, writes=True)
    def touch(self, key: str, time_to_expire: TimeToExpire = 3600) -> bool:
        """Give a live entry a new time to expire, counted from now; return whether there was one.

        **Atomicity:** rewrites only the entry that was seen (a copy in place, which S3 offers, would keep the ETag,
        and on stores that ignore its condition destroy a concurrent write). **Cost:** 1 GET + 1 conditional PUT,
        again for each race lost.
        """
        deadline = deadline_of(time_to_expire, self._engine.clock.time())
        return self._set_deadline(key, deadline)

    @verb(False, writes=True)
    def persist(self, key: str) -> bool:
        """Let a live entry never expire; return whether there was one. **Atomicity** and **Cost:** as ``touch``."""
        return self._set_deadline(key, None)

    @verb(False, writes=True)
    def expire_at(self, key: str, when: dt.datetime | float) -> bool:
        """Let a live entry expire at *when*, a datetime or epoch seconds; return whether there was one.

        A datetime without a time zone is local time. **Atomicity** and **Cost:** as ``touch``.
        """
        return self._set_deadline(key, at_ms(when))

    @verb(0)
    def ttl(self, key: str) -> float | None:
        """Return the seconds until *key* expires: 0 for a missing key, ``None`` for never. **Cost:** 1 HEAD."""
        meta = self._outside(key).meta
        return 0 if meta is None else seconds_left(meta.expires_ms, self._engine.clock.time())

    @verb()
    def info(self, key: str) -> EntryInfo | None:
        """Return what the metadata of a live entry says, or ``None``. **Cost:** 1 HEAD."""
        head, meta = self._outside(key)
        if head is None or meta is None:
            return None
        return EntryInfo(
            key=key,
            object_key=self._engine.place(key).object_key,
            type=meta.type,
            encoding=meta.encoding,
            size=head.size,
            created=meta.created_ms / 1000,
            expires=None if meta.expires_ms is None else meta.expires_ms / 1000,
            etag=head.etag,
            key_id=meta.key_id,
        )

    @verb(NO_COUNTER, writes=True)
    def incr(self, key: str, delta: int = 1, *, initial: int | None = None, time_to_expire: TimeToExpire = 3600) -> int:
        """Add *delta* to the ``int`` under *key* and return the sum; the expiry is kept.

        initial: what a missing key counts from, stored with *time_to_expire*; without it a missing key raises
        ``KeyMissing`` (a ``ValueError``). Raises ``NotACounter`` for a value that is not an ``int``.

        **Atomicity:** every increment counts exactly once, lost answers included; ``OutcomeUnknown`` where that cannot
        be decided. **Cost:** 1 GET + 1 conditional PUT, again for each race lost; the threads of one process queue.
        """
        if type(delta) is not int or (initial is not None and type(initial) is not int):
            raise NotACounter(f"counters count in int, not by {delta!r} from {initial!r}")
        engine = self._engine
        place, budget = engine.place(key), engine.budget()
        total = 0

        def count(seen: Seen) -> tuple[Meta, bytes] | None:
            nonlocal total
            if seen.live and type(seen.value) is not int:
                raise NotACounter(f"{key!r} holds a {type(seen.value).__qualname__}, not an int")
            counted = seen.value if seen.live else initial
            if counted is None:
                return None
            total = counted + delta
            meta, data, _ = self._encode(total, time_to_expire)
            if seen.live and seen.meta is not None:
                was = seen.meta
                meta = meta._replace(expires_ms=was.expires_ms, created_ms=was.created_ms, fresh_ms=was.fresh_ms)
            return meta, bytes(data)

        with engine.queue(place, budget):
            if not engine.change(place, count, budget, revive=initial is not None):
                raise KeyMissing(f"{key!r} has no live entry to count on; put one first, or pass initial")
        return total

    def decr(self, key: str, delta: int = 1, *, initial: int | None = None, time_to_expire: TimeToExpire = 3600) -> int:
        """Subtract *delta*; the rest as ``incr``."""
        if type(delta) is not int:
            raise NotACounter(f"counters count in int, not by {delta!r}")
        return self.incr(key, -delta, initial=initial, time_to_expire=time_to_expire)

    @verb(dict, partial=lambda failure: failure.results)
    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the live values of *keys*, by key.

        Raises ``PartialFailure``, which holds the values of the others, when some keys could not be asked for.

        **Atomicity:** each entry for itself. **Cost:** 1 GET a key, in parallel.
        """
        return self._bulk.get_many(keys)

    @verb(dict, writes=True, partial=lambda failure: {**failure.results, **dict.fromkeys(failure.failures, False)})
    def put_many(
        self, mapping: Mapping[str, Any], time_to_expire: TimeToExpire = 3600, replace: bool = False
    ) -> dict[str, bool]:
        """Store all of *mapping*; return per key whether it was stored, as ``put`` does.

        Raises ``PartialFailure``, which holds the answers of the others, when some keys failed.

        **Atomicity:** each entry for itself. **Cost:** as ``put`` for each key, in parallel.
        """
        return self._bulk.put_many(mapping, lambda key, value: _put(self, key, value, time_to_expire, replace))

    @verb(False, writes=True)
    def delete_many(self, keys: Iterable[str]) -> bool:
        """Remove all of *keys*; return True, and False only where failures are silent.

        Raises ``PartialFailure`` with the error of each key that could not be removed.

        **Atomicity:** each entry for itself. **Cost:** 1 DeleteObjects per 1,000 keys, in parallel.
        """
        self._bulk.delete_many(keys)
        return True

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Yield the keys that begin with *prefix*, in no order; the listing goes on as they are consumed.

        A listing shows no metadata: keys that have expired and were not removed yet are among them.

        **Cost:** 1 LIST per 1,000 entries of the whole cache (names are spread by a hash, so a prefix does not narrow
        the listing), over 16 name prefixes in parallel where there is more than a page; + 1 GET for each key of over
        about 900 bytes.
        """
        try:
            yield from (key for _, key in self._bulk.listed(prefix))
        except StoreError as error:
            self._silencer.take("keys", error)

    @verb(writes=True)
    def clear(self, prefix: str = "", *, progress: Callable[[int], None] | None = None) -> int | None:
        """Remove every entry whose key begins with *prefix*; return how many there were, expired ones included.

        progress: is told how many are removed so far, after each DeleteObjects, in threads of the library's pool.
        Locks, other caches of the bucket and foreign objects stay. Raises ``PartialFailure`` when some could not be
        removed; ``None`` where failures are silent.

        **Atomicity:** removes what was there when it began; entries written meanwhile may stay or go. **Cost:** 1
        LIST and 1 DeleteObjects per 1,000 entries, over 16 name prefixes in parallel when there is more than a page.
        """
        return self._bulk.clear(prefix, progress)

    @loud
    def gets(self, key: str, default: Any = None) -> tuple[Any, Token]:
        """Return the live value of *key*, or *default*, with a token for ``cas``.

        Never silent: raises ``StoreError`` also with ``fail_silently``. **Cost:** 1 GET.
        """
        engine = self._engine
        place = engine.place(key)
        seen = engine.look(place, engine.budget())
        value = seen.value if seen.live else default
        return value, Token(place.object_key, seen.etag, seen.meta)

    @loud
    def cas(self, key: str, value: Any, token: Token, time_to_expire: TimeToExpire = 3600) -> bool:
        """Store *value* only if *key* is as it was when ``gets`` gave *token*; return whether it was stored.

        A token of a missing key stores only if it is still missing. Never silent.

        **Atomicity:** of all concurrent callers with tokens of one state exactly one is told True; ``OutcomeUnknown``
        where a lost answer cannot be decided. **Cost:** 1 conditional PUT.
        """
        if self._silencer.refuses_write("cas"):
            return False
        engine = self._engine
        place = engine.place(key)
        if not isinstance(token, Token) or token.object_key != place.object_key:
            raise ConfigError("cas takes the token that gets returned for the same key")
        meta, data, _ = self._encode(value, time_to_expire)
        return engine.write_if(place, meta, data, Seen(token.etag, token.meta), engine.budget())[0]

    def lock(
        self,
        name: str,
        timeout: float | dt.timedelta | None = 60.0,
        *,
        blocking: bool = True,
        blocking_timeout: float | None = None,
    ) -> Lock:
        """Return a lock with a lease, a context manager, also for ``async with``; nothing is sent before it is acquired.

        timeout: seconds of the lease, or a ``timedelta``, after which another may take the lock; ``None`` holds it
        until it is released, also when its holder has died. blocking: False asks once. blocking_timeout: seconds to
        wait for it, ``None`` without end. Never silent: raises ``LockError`` or ``StoreError``.

        **Atomicity** and **Cost:** see ``Lock``.
        """
        self._engine.place(name)  # refuses what is no key
        return Lock(self._engine, name, timeout=timeout, blocking=blocking, blocking_timeout=blocking_timeout)

    def close(self) -> None:
        """Give connections back; the client may be used again afterwards."""
        self._engine.store.close()

    def __enter__(self) -> Client:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _encode(self, value: Any, time_to_expire: TimeToExpire) -> tuple[Meta, Any, bool]:
        """Return an entry's metadata and data, and whether it would be gone at once."""
        now = self._engine.clock.time()
        deadline = deadline_of(time_to_expire, now)
        meta, data = self._engine.codec.encode(value, expires_ms=deadline, created_ms=int(now * 1000))
        return meta, data, is_expired(deadline, now)

    def _outside(self, key: str) -> Outside:
        return self._engine.outside(self._engine.place(key), self._engine.budget())

    def _set_deadline(self, key: str, deadline: int | None) -> bool:
        engine = self._engine
        place, budget = engine.place(key), engine.budget()

        def renew(seen: Seen) -> tuple[Meta, Any] | None:
            return None if seen.meta is None else (seen.meta._replace(expires_ms=deadline, fresh_ms=None), seen.data)

        return engine.change(place, renew, budget)


#: ``put`` as one of many: counted, and never silent, for that is up to ``put_many``.
_put: Callable[..., bool] = loud(cast("Any", Client.put).__wrapped__)
_shared: PerProcess[tuple[threading.Lock, dict[Config, Client]]] = PerProcess(lambda: (threading.Lock(), {}))
