"""The cache: every method on one page, its async version in the line below it."""

from __future__ import annotations

import datetime as dt
import io
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, BinaryIO, ParamSpec, TypeVar, cast

from ._types import MISSING, Clock, FileSource, FileTarget, Progress, TimeToExpire
from .config import Config
from .coordination.get_or_put import Call, Fills, Policy
from .coordination.locks import Lock
from .coordination.memoize import Memoized
from .engine.bulk import Bulk
from .engine.engine import Engine
from .engine.listing import Listing
from .engine.outages import NO_COUNTER, Silencer, fallback, loud
from .engine.snapshot import NOTHING, UNKNOWN, Snapshot
from .entry.expiry import at_ms, deadline_of, is_expired, seconds_left
from .entry.format import BYTES, EntryInfo, Meta
from .errors import ConfigError, KeyMissing, NotACounter, StoreError
from .files.local import Nowhere, Spool
from .files.transfers import Files
from .files.writer import Writer
from .near import open_reader
from .runtime import pool
from .runtime.clock import SystemClock
from .runtime.counters import Counters, Latency
from .runtime.effects import ado, do
from .runtime.forks import PerProcess
from .runtime.pool import awaited, run
from .stores import open_store

P = ParamSpec("P")
R = TypeVar("R")


class Client:
    """A cache whose entries are objects in an S3 bucket.

    url: ``s3://bucket`` or ``s3://bucket/prefix``; ``memory://`` for a private store in this process's memory,
    ``memory://name`` for one that is shared by name. Endpoint, region, profile and credentials come from where boto3
    takes them. The options (keyword-only) are listed in the documentation's table; an unknown one raises
    ``ConfigError``, whose message lists the known ones. *clock* is for tests.

    The constructor does no I/O. A client is thread-safe and may be used after a fork. Every method that sends requests,
    except ``open``, has an async version with an ``a`` before its name: ``await client.aget(key)``; locks take
    ``async with``.

    Everywhere, *time_to_expire* is a number of seconds (int, float) or a ``timedelta``; ``None`` means never, zero or
    negative means gone at once. Every method that sends requests may raise ``StoreError`` if the bucket does not answer
    within the ``timeout`` option, or refuses the request, and ``KeyRejected`` for a key that is not a ``str`` or is
    over 16 KB. A ``StoreError`` from a write means that the write may or may not have happened.
    """

    def __init__(self, url: str, *, clock: Clock | None = None, **options: Any) -> None:
        self._config = config = Config.parse(url, options)
        clock = clock or SystemClock()
        self._counters = Counters()
        self._gets = self._counters.calls["get"]
        self._now = clock.monotonic
        self._silencer = Silencer(config, clock, self._counters)
        #: For the other rooms of this library, which work on entries; not part of the public interface.
        self.engine = Engine(config, open_store(config, clock), clock, self._counters)
        #: As ``engine``: internal.
        self.reader = open_reader(config, self.engine)
        #: As ``engine``: internal.
        self.fills = Fills(self.engine, self.reader, self._silencer, self._counters)
        self._read = self.reader.read
        self._bulk = Bulk(self.engine, self.reader)
        self._listing = Listing(self.engine)

    @classmethod
    def shared(cls, url: str, **options: Any) -> Client:
        """Return this process's one client for this configuration; the first call makes it.

        For framework adapters, whose many short-lived cache objects share its connections. Do not close it.
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
        """The URL, normalized."""
        return self._config.url

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    # Reading

    def get(self, key: str, default: Any = None) -> Any:
        """Return the live value of *key*, or *default*.

        A missing, expired, damaged or unsigned entry gives *default*; a stored ``None`` is a value (pass ``MISSING``
        as *default* to tell the two apart).

        **Atomicity:** one consistent entry, never a torn or unverified one. **Cost:** 1 GET.
        """
        began = self._now()
        try:
            value = self._read(key)
        except StoreError as error:  # as the decorator of the other methods does, which cannot return this default
            self._gets.add(self._now() - began)
            self._silencer.take("get", error)
            return default
        # ``self._gets.add``, written out: one more call costs a tenth of a near hit.
        took, gets = self._now() - began, self._gets
        gets.seconds += took
        gets.buckets[int(took * 1e6).bit_length()] += 1
        if value is MISSING:
            self._counters.counts["misses"] += 1
            return default
        return value

    async def aget(self, key: str, default: Any = None) -> Any:
        """Async version of ``get``, run on the shared thread pool; a value that the near tier has ready returns at once."""
        began = self._now()
        value = self.reader.near_value(key)
        if value is UNKNOWN:
            return await run(self.get, key, default)
        self._gets.add(self._now() - began)
        if value is MISSING:
            self._counters.counts["misses"] += 1
            return default
        return value

    @fallback(False)
    def has(self, key: str) -> bool:
        """Return whether *key* has a live entry, judging by its metadata: a damaged body goes unnoticed.

        **Cost:** 1 HEAD.
        """
        return self._head(key).meta is not None

    ahas = awaited(has)

    def __contains__(self, key: object) -> bool:
        return self.has(key)  # type: ignore[arg-type] # anything but a str raises KeyRejected

    @fallback(0)
    def ttl(self, key: str) -> float | None:
        """Return the seconds until *key* expires: 0 for a missing key, ``None`` if it never expires. **Cost:** 1 HEAD."""
        meta = self._head(key).meta
        return 0 if meta is None else seconds_left(meta.expires_ms, self.engine.clock.time())

    attl = awaited(ttl)

    @fallback()
    def info(self, key: str) -> EntryInfo | None:
        """Return the metadata of a live entry, or ``None`` if there is none. **Cost:** 1 HEAD."""
        found = self._head(key)
        meta = found.meta
        if found.etag is None or meta is None:
            return None
        return EntryInfo(
            key=key,
            object_key=self.engine.place(key).object_key,
            type=meta.type,
            encoding=meta.encoding,
            size=found.size,
            created=meta.created_ms / 1000,
            expires=None if meta.expires_ms is None else meta.expires_ms / 1000,
            etag=found.etag,
            key_id=meta.key_id,
        )

    ainfo = awaited(info)

    # Writing

    @fallback(False, writes=True)
    def put(self, key: str, value: Any, time_to_expire: TimeToExpire = 3600, replace: bool = False) -> bool:
        """Store *value* under *key*; return whether it was stored.

        replace: False leaves a live entry alone (what Django calls ``add``), True overwrites it (``set``).
        Raises ``ValueRejected`` for a value that cannot be stored, before anything is sent.

        **Atomicity:** with ``replace=False``, exactly one of any number of concurrent callers gets True, also over an
        expired or damaged entry; raises ``OutcomeUnknown`` if an answer was lost and the outcome cannot be determined.
        With ``replace=True`` the last writer wins. **Cost:** 1 PUT; with ``replace=False``, over an entry + 1 GET, and
        + 1 PUT if that entry is not live.
        """
        engine = self.engine
        place, budget = engine.place(key), engine.budget()
        meta, data, gone = self._encode(value, time_to_expire)
        if gone and replace:
            engine.remove(place, budget)
        elif gone:
            return not engine.get(place, budget).live
        elif replace:
            engine.write(place, meta, data, budget)
        else:
            return engine.add(place, meta, data, budget)
        return True

    aput = awaited(put)

    def encode(self, value: Any) -> Any:
        """Return *value*, pickled by the calling thread, in a form that can be put in its place.

        Raises ``ValueRejected``. **Cost:** no request.
        """
        return self.engine.codec.serialize(value)

    @fallback(False, writes=True)
    def update(self, key: str, value: Any, time_to_expire: TimeToExpire = 3600) -> bool:
        """Replace the value of *key* if there is a live entry; return whether it was replaced.

        **Atomicity:** replaces only the entry that was seen live, and never revives one that was deleted or had
        expired. **Cost:** 1 GET + 1 conditional PUT, repeated for each race lost.
        """
        engine = self.engine
        place, budget = engine.place(key), engine.budget()
        meta, data, _ = self._encode(value, time_to_expire)
        return engine.change(place, lambda _: (meta, data), budget)

    aupdate = awaited(update)

    @fallback(False, writes=True)
    def touch(self, key: str, time_to_expire: TimeToExpire = 3600) -> bool:
        """Give a live entry a new time to expire, counted from now; return whether there was one.

        **Atomicity:** rewrites only the entry that was seen (S3 could also copy it in place, but a copy keeps the ETag,
        and destroys a concurrent write on stores that ignore its condition). **Cost:** 1 GET + 1 conditional PUT,
        repeated for each race lost.
        """
        deadline = deadline_of(time_to_expire, self.engine.clock.time())
        return self._set_deadline(key, deadline)

    atouch = awaited(touch)

    @fallback(False, writes=True)
    def persist(self, key: str) -> bool:
        """Make a live entry never expire; return whether there was one. **Atomicity** and **Cost:** as ``touch``."""
        return self._set_deadline(key, None)

    apersist = awaited(persist)

    @fallback(False, writes=True)
    def expire_at(self, key: str, when: dt.datetime | float) -> bool:
        """Make a live entry expire at *when*, a datetime or epoch seconds; return whether there was one.

        A datetime without a time zone is in local time. **Atomicity** and **Cost:** as ``touch``.
        """
        return self._set_deadline(key, at_ms(when))

    aexpire_at = awaited(expire_at)

    @fallback(False, writes=True)
    def delete(self, key: str) -> bool:
        """Remove *key*; return whether it was live when checked.

        **Atomicity:** it is gone afterwards; two concurrent callers may both get True. **Cost:** 1 HEAD, + 1 DELETE if
        there is an object.
        """
        engine = self.engine
        place, budget = engine.place(key), engine.budget()
        found = engine.head(place, budget)
        was_live = found.live_at(engine.clock.time())
        if found.etag is not None:
            engine.remove(place, budget)
        return was_live

    adelete = awaited(delete)

    # Counting

    @fallback(NO_COUNTER, writes=True)
    def incr(self, key: str, delta: int = 1, *, initial: int | None = None, time_to_expire: TimeToExpire = 3600) -> int:
        """Add *delta* to the ``int`` under *key* and return the sum; the expiry is kept.

        initial: the value from which a missing key counts, stored with *time_to_expire*; without it a missing key
        raises ``KeyMissing`` (a ``ValueError``). Raises ``NotACounter`` for a value that is not an ``int``.

        **Atomicity:** every increment counts exactly once, even if its answer is lost; raises ``OutcomeUnknown`` if
        that cannot be determined. **Cost:** 1 GET + 1 conditional PUT, repeated for each race lost; the threads of a
        process queue per key, and lose no races to each other.
        """
        if type(delta) is not int or (initial is not None and type(initial) is not int):
            raise NotACounter(f"incr counts in int; it got delta={delta!r} and initial={initial!r}")
        engine = self.engine
        place, budget = engine.place(key), engine.budget()
        total = 0

        def count(seen: Snapshot) -> tuple[Meta, bytes] | None:
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
                raise KeyMissing(f"there is no live entry for {key!r} to increment; put one first or pass initial=")
        return total

    aincr = awaited(incr)

    def decr(self, key: str, delta: int = 1, *, initial: int | None = None, time_to_expire: TimeToExpire = 3600) -> int:
        """Subtract *delta*; the rest as ``incr``."""
        if type(delta) is not int:
            raise NotACounter(f"decr counts in int; it got delta={delta!r}")
        return self.incr(key, -delta, initial=initial, time_to_expire=time_to_expire)

    adecr = awaited(decr)

    # Many entries

    @fallback(dict, partial=lambda failure: failure.results)
    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the live values of *keys*, by key.

        Raises ``PartialFailure``, which holds the values of the others, if some keys could not be read.

        **Atomicity:** of each entry alone. **Cost:** 1 GET per key, in parallel.
        """
        return self._bulk.get_many(keys)

    aget_many = awaited(get_many)

    @fallback(dict, writes=True, partial=lambda failure: {**failure.results, **dict.fromkeys(failure.failures, False)})
    def put_many(
        self, mapping: Mapping[str, Any], time_to_expire: TimeToExpire = 3600, replace: bool = False
    ) -> dict[str, bool]:
        """Store all of *mapping*; return for each key whether it was stored, as ``put`` does.

        Raises ``PartialFailure``, which holds the results of the others, if some keys failed.

        **Atomicity:** of each entry alone. **Cost:** as ``put`` for each key, in parallel.
        """
        return self._bulk.put_many(mapping, lambda key, value: _put(self, key, value, time_to_expire, replace))

    aput_many = awaited(put_many)

    @fallback(False, writes=True)
    def delete_many(self, keys: Iterable[str]) -> bool:
        """Remove all of *keys*; return True, or False if that failed and failures are silent.

        Raises ``PartialFailure`` with the error of each key that could not be removed.

        **Atomicity:** of each entry alone. **Cost:** 1 DeleteObjects per 1,000 keys, in parallel.
        """
        self._bulk.delete_many(keys)
        return True

    adelete_many = awaited(delete_many)

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Yield the keys that begin with *prefix*, in no particular order; the listing continues as they are consumed.

        A listing shows no metadata, so keys that have expired but were not removed yet are included.

        **Cost:** 1 LIST per 1,000 entries of the whole cache (a hash spreads the names, so *prefix* does not narrow
        the listing), over 16 name prefixes in parallel if there is more than one page; + 1 GET for each key of over
        about 900 bytes.
        """
        try:
            yield from (key for _, key in self._listing.entries(prefix))
        except StoreError as error:
            self._silencer.take("keys", error)

    async def akeys(self, prefix: str = "") -> list[str]:
        """Return the keys that ``keys`` yields, as a list; run on the shared thread pool."""
        return await run(lambda: list(self.keys(prefix)))

    @fallback(writes=True)
    def clear(self, prefix: str = "", *, progress: Callable[[int], None] | None = None) -> int | None:
        """Remove every entry whose key begins with *prefix*; return how many there were, expired ones included.

        progress: called after each DeleteObjects with the number removed so far, in threads of the library's pool.
        Locks, other caches in the bucket and foreign objects stay. Raises ``PartialFailure`` if some entries could not
        be removed; returns ``None`` instead if failures are silent.

        **Atomicity:** removes what was there when it began; entries written meanwhile may stay or go. **Cost:** 1
        LIST and 1 DeleteObjects per 1,000 entries, over 16 name prefixes in parallel if there is more than one page.
        """
        return self._bulk.clear(prefix, progress)

    aclear = awaited(clear)

    # Compare-and-swap

    @loud
    def gets(self, key: str, default: Any = None) -> tuple[Any, Snapshot]:
        """Return the live value of *key*, or *default*, and a token for ``cas``.

        Never silent: raises ``StoreError`` even with ``fail_silently``. **Cost:** 1 GET.
        """
        engine = self.engine
        place = engine.place(key)
        seen = engine.get(place, engine.budget())
        value = seen.value if seen.live else default
        return value, seen.token(place.object_key)

    agets = awaited(gets)

    @loud
    def cas(self, key: str, value: Any, token: Snapshot, time_to_expire: TimeToExpire = 3600) -> bool:
        """Store *value* only if *key* is unchanged since ``gets`` returned *token*; return whether it was stored.

        The token of a missing key stores only if the key is still missing. Never silent, as ``gets``.

        **Atomicity:** of all concurrent callers with tokens of the same state, exactly one gets True; raises
        ``OutcomeUnknown`` if an answer was lost and the outcome cannot be determined. **Cost:** 1 conditional PUT.
        """
        if self._silencer.refuses_write("cas"):
            return False
        engine = self.engine
        place = engine.place(key)
        if not isinstance(token, Snapshot) or token.object_key != place.object_key:
            raise ConfigError("cas() needs the token that gets() returned for the same key")
        meta, data, _ = self._encode(value, time_to_expire)
        return engine.write_if(place, meta, data, token, engine.budget()).done

    acas = awaited(cas)

    # Computed values

    def get_or_put(
        self,
        key: str,
        default: Any,
        time_to_expire: TimeToExpire = 3600,
        *,
        lock: bool | float = False,
        early: float = 0.0,
        stale: float | dt.timedelta = 0.0,
        jitter: float = 0.0,
    ) -> Any:
        """Return the live value of *key*; if there is none, store *default*, or the result of calling it, and return that.

        Of the threads of this process that miss a key at once, one calls *default*; the others wait, and each gets its
        own copy of the result, or the exception. If another process stored a value meanwhile, all get that one. If the
        call takes longer than 60 seconds, or the lease if that is longer, one of the waiting callers calls it too.

        lock: True, or the seconds of a lease (True: 60). Of all callers in the world one computes; the others look for
        its value, for as long as the lease, and then compute it themselves. early: above 0, usually 1: recompute before
        the deadline, with a probability that grows towards it (XFetch), the sooner the longer the computation takes.
        stale: serve the value for so many seconds, or a ``timedelta``, beyond its time to expire, while one caller of
        this process recomputes it in the background, and also if that fails; ``get`` and ``ttl`` know only this later
        deadline. jitter: cut up to this fraction of the time to expire off at random. If *default* is a value and not a
        function, only jitter has an effect.

        **Atomicity:** all concurrent callers return the one value that was stored; a recomputed value replaces only
        the entry that was seen, and does not revive one that was removed meanwhile. **Cost:** 1 GET; for a miss + 1
        PUT, + 1 GET if another caller was faster; with *lock* + 2 GET + 2 conditional PUT, or polling while another
        caller computes.
        """
        policy = Policy.parse(time_to_expire, lock, early, stale, jitter)
        place = self.fills.place(key)
        if not callable(default):
            return self.fills.given(place, default, policy)
        return do(self.fills.computed(Call(place, default, policy, awaited=False)))

    async def aget_or_put(
        self,
        key: str,
        default: Any,
        time_to_expire: TimeToExpire = 3600,
        *,
        lock: bool | float = False,
        early: float = 0.0,
        stale: float | dt.timedelta = 0.0,
        jitter: float = 0.0,
    ) -> Any:
        """Async version of ``get_or_put``; *default* may be async, and runs on the shared thread pool if it is not.

        Callers that wait for another one's value do not occupy a thread. Cancelling a caller does not end a
        computation that others wait for.
        """
        policy = Policy.parse(time_to_expire, lock, early, stale, jitter)
        place = self.fills.place(key)
        if not callable(default):
            return await pool.run(self.fills.given, place, default, policy)
        return await ado(self.fills.computed(Call(place, default, policy, awaited=True)))

    def memoize(
        self,
        time_to_expire: TimeToExpire = 3600,
        *,
        key: Callable[..., str] | None = None,
        ignore: Iterable[str] = (),
        version: int | str = 1,
        lock: bool | float = False,
        early: float = 0.0,
        stale: float | dt.timedelta = 0.0,
        jitter: float = 0.0,
    ) -> Callable[[Callable[P, R]], Memoized[P, R]]:
        """Decorate a function, sync or async, to cache its results by its arguments, with the options of ``get_or_put``.

        The key consists of the function's module and qualified name, *version*, and a hash of the arguments: by name,
        with defaults applied, and by exact type (1 and 1.0 differ). Arguments may be of the base types, dates,
        ``Decimal``, ``Fraction``, ``UUID``, members of enums, and lists, tuples, dicts and sets of these. Any other
        type raises ``KeyRejected`` when the function is called, unless *ignore*, a list of names, leaves the argument
        out (``["self"]`` for a method that does not depend on its object), or *key* makes a str from the arguments of
        the call. ``None`` is cached like any other result, exceptions are not. Raise *version* when the meaning of the
        function changes: the key does not depend on its code, nor on the free variables of a nested function.

        The decorated function has ``invalidate(...)`` (and ``ainvalidate``), ``key_for(...)`` and ``uncached``; on
        an object they are bound to it, as the method is.

        **Atomicity** and **Cost:** those of ``get_or_put``.
        """
        policy = Policy.parse(time_to_expire, lock, early, stale, jitter)

        # Looked up at each call: OpenTelemetry may stand in front of them by then.
        removal = (lambda key: self.delete(key), lambda key: self.adelete(key))  # noqa: PLW0108

        def decorate(function: Callable[P, R]) -> Memoized[P, R]:
            return Memoized(
                function,
                self.fills,
                removal,
                policy,
                key=key,
                ignore=ignore,
                version=version,
            )

        return decorate

    # Files

    @fallback(False, writes=True)
    def put_file(
        self,
        key: str,
        source: FileSource,
        time_to_expire: TimeToExpire = 3600,
        replace: bool = False,
        *,
        progress: Progress | None = None,
    ) -> bool:
        """Store the content of *source* under *key*, as ``bytes``; return whether it was stored.

        source: a path, or a binary file, which is read from its current position to its end. It is not loaded into
        memory, and ``max_value_bytes`` does not limit it; it is not compressed or changed, but encrypted if an
        ``encryption_key`` is set. replace: False leaves a live entry alone, and takes up to 5 GiB; True overwrites it,
        in parallel parts, and takes as much as S3 does (from a source of unknown size: 160 GiB). progress: called in
        this thread with the bytes done so far and their total (``None``: unknown). Raises ``OSError`` if the source
        cannot be read.

        **Atomicity:** as ``put``; nobody sees a part of a file. An upload that fails or is interrupted leaves no parts
        behind, provided that the store can be reached. **Cost:** up to 8 MiB 1 PUT; above that, with ``replace=True``
        1 request per 8 MiB and 2 more, with ``replace=False`` 1 HEAD and, unless there is a live entry, 1 PUT. With
        ``replace=False`` a live entry is read too, as by ``get_file``: a damaged one must not block its key.
        """
        engine = self.engine
        place, now = engine.place(key), engine.clock.time()
        deadline = deadline_of(time_to_expire, now)
        files = Files(engine)
        if is_expired(deadline, now):
            if not replace:
                return not files.read(place, Nowhere()).live
            engine.remove(place, engine.budget())
            return True
        meta = engine.codec.content(expires_ms=deadline, created_ms=int(now * 1000))
        return files.put(place, source, meta, progress, replace=replace)

    aput_file = awaited(put_file)

    @fallback(False)
    def get_file(self, key: str, target: FileTarget, *, progress: Progress | None = None) -> bool:
        """Write the content of a live entry of ``bytes`` to *target*; return whether there was one.

        target: a path, where the file appears or is replaced once its content is verified, and is left alone otherwise;
        or a binary file, which is written to once the content is verified. The content is not loaded into memory, and
        ``max_value_bytes`` does not limit it. progress: called in this thread with the bytes done so far and their
        total. Raises ``ValueRejected`` for a value of another type, ``OSError`` if the target cannot be written.

        **Atomicity:** one consistent entry, never a torn or unverified one; if the file is rewritten meanwhile, reading
        starts again, up to 5 times, and then raises ``StoreBusy``. **Cost:** 1 GET per 8 MiB, in parallel; 1 for a
        missing or expired entry.
        """
        return Files(self.engine).get(self.engine.place(key), target, progress)

    aget_file = awaited(get_file)

    def open(self, key: str, mode: str = "rb", time_to_expire: TimeToExpire = 3600) -> BinaryIO:
        """Return a binary file from which to read the entry *key* ("rb"), or to which to write it ("wb").

        To read: a copy in a temporary file, verified before it is returned. Raises ``KeyMissing`` if there is no live
        entry. To write: the content goes into a temporary file; ``close`` stores it over whatever is there, and raises
        what ``put_file`` does. A ``with`` block that ends in an exception stores nothing, and neither does a file that
        is never closed. Afterwards the file's ``stored`` says whether it was stored.

        **Atomicity** and **Cost:** those of ``get_file``, and of ``put_file`` with ``replace=True``.
        """
        if mode == "wb":
            deadline_of(time_to_expire, self.engine.clock.time())  # refused now, and not after everything is written
            self.engine.place(key)
            return cast("BinaryIO", Writer(lambda file: self.put_file(key, file, time_to_expire, replace=True)))
        if mode != "rb":
            raise ConfigError(f"mode must be 'rb' or 'wb', not {mode!r}")
        place = self.engine.place(key)
        with ExitStack() as stack:
            import tempfile  # noqa: PLC0415 - its import takes time, and few processes move files

            file = stack.enter_context(tempfile.TemporaryFile(buffering=0))
            try:
                live = Files(self.engine).read(place, Spool(file), wanted=BYTES).live
            except StoreError as error:
                self._silencer.take("open", error)
                live = False
            if not live:
                raise KeyMissing(f"there is no live entry for {key!r} to read")
            file.seek(0)
            stack.pop_all()  # the caller's to close
        return io.BufferedReader(file)

    # Locks

    def lock(
        self,
        name: str,
        timeout: float | dt.timedelta | None = 60.0,
        *,
        blocking: bool = True,
        blocking_timeout: float | None = None,
    ) -> Lock:
        """Return a lock with a lease: a context manager, also for ``async with``. Acquiring it sends the first request.

        timeout: seconds of the lease, or a ``timedelta``, after which another owner may take the lock; ``None`` holds
        it until it is released, even if its holder has died. blocking: False tries once. blocking_timeout: seconds to
        wait for the lock; ``None`` waits for ever. Never silent: raises ``LockError`` or ``StoreError``.

        **Atomicity** and **Cost:** see ``Lock``.
        """
        self.engine.place(name)  # refuses a name that is not a valid key
        return Lock(self.engine, name, timeout=timeout, blocking=blocking, blocking_timeout=blocking_timeout)

    # Statistics

    def stats(self) -> dict[str, int]:
        """Return this client's counts since it was made, or the process was forked.

        ``hits`` and ``misses`` of reads, ``calls.METHOD`` and ``errors.METHOD``, ``requests.KIND``, ``bytes.read``
        and ``bytes.written`` (of bodies), retries, lost races, refused entries by reason, the near tier's counts.
        """
        return self._counters.snapshot()

    def latencies(self) -> dict[str, Latency]:
        """Return histograms of how long things took, since this client was made or the process was forked.

        ``get``, ``put``, ...: the time that callers of the method waited. ``store.KIND``: the time that requests took.
        ``near.memory``, ``near.disk``: the time that hits of the near tier took.
        """
        return self._counters.latencies()

    def listen(self, listener: Callable[[str, int], None]) -> None:
        """Call *listener* for each event: ``refused.signature``, ``misses.format``, ``outages``, ``retries``, ``computed``, ...

        Its arguments are the name under which ``stats`` counts the event, and by how much. It runs in the thread where
        the event happens, so it should be quick, and must not raise. Hits, calls and requests are not events.
        """
        self._counters.listen(listener)

    # Closing

    def close(self) -> None:
        """Close the connections; the client may be used again afterwards."""
        self.engine.store.close()

    aclose = awaited(close)

    def __enter__(self) -> Client:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _encode(self, value: Any, time_to_expire: TimeToExpire) -> tuple[Meta, Any, bool]:
        """Return an entry's metadata and data, and whether it would be expired from the start."""
        now = self.engine.clock.time()
        deadline = deadline_of(time_to_expire, now)
        meta, data = self.engine.codec.encode(value, expires_ms=deadline, created_ms=int(now * 1000))
        return meta, data, is_expired(deadline, now)

    def _head(self, key: str) -> Snapshot:
        """Return what a HEAD reports for *key*; ``NOTHING`` for an entry that has expired."""
        engine = self.engine
        found = engine.head(engine.place(key), engine.budget())
        return found if found.live_at(engine.clock.time()) else NOTHING

    def _set_deadline(self, key: str, deadline: int | None) -> bool:
        engine = self.engine
        place, budget = engine.place(key), engine.budget()

        def renew(seen: Snapshot) -> tuple[Meta, Any] | None:
            return None if seen.meta is None else (seen.meta._replace(expires_ms=deadline, fresh_ms=None), seen.data)

        return engine.change(place, renew, budget)


#: ``put`` as a part of ``put_many``: counted, but never silent, which is up to ``put_many``.
_put: Callable[..., bool] = loud(cast("Any", Client.put).__wrapped__)
_shared: PerProcess[tuple[threading.Lock, dict[Config, Client]]] = PerProcess(lambda: (threading.Lock(), {}))
