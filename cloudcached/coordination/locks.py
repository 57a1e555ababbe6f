"""Locks: one holder at a time among all machines, by conditional writes alone.

A lock is an object that is never deleted. Its record says who holds it and for how long, or that it is free, and how
many times it has been acquired. Acquiring, extending and releasing it replace exactly the record that was seen
(``If-Match``). A DELETE could not be made conditional on every store, and would lose the count.
"""

from __future__ import annotations

import datetime as dt
import logging
import math
import os
import secrets
import threading
from dataclasses import dataclass, field, replace
from types import TracebackType

from ..engine.engine import Engine
from ..engine.snapshot import Snapshot
from ..entry.format import Place
from ..errors import ConfigError, LockError, OutcomeUnknown, ReadOnlyError, StoreError
from ..runtime import pool
from ..runtime.budget import Backoff
from ..runtime.effects import Effects, Pause, Request, ado, do
from ..runtime.forks import PerProcess

log = logging.getLogger("cloudcached")

#: Seconds between two looks at a lock that is held, the first wait and the longest: each look is a request.
_FIRST_WAIT = 0.05
_LONGEST_WAIT = 2.0
#: HTTP dates are whole seconds: an age computed from two of them may be off by one.
_DATE_ERROR_SECONDS = 1.0

#: Locks that users hold; the leases of computations are of another kind.
LOCK = "lock"
_FREE = "free"
_NEVER = "never"


@dataclass(frozen=True, slots=True)
class _Record:
    """The content of the lock's object."""

    #: The token of its holder, or ``free``.
    owner: str
    #: Seconds of the holder's lease, counted from when the record was written; ``None`` for ever.
    lease: float | None
    #: How many times the lock has been acquired.
    fencing: int

    @classmethod
    def parse(cls, seen: Snapshot, *, kind: str) -> _Record:
        # Two versions that compute one value do no harm. Two holders of a lock may.
        if seen.etag is None or (seen.other_format and kind != LOCK):
            return cls(_FREE, None, 0)
        try:
            owner, lease, fencing = str(seen.value).split(" ")
            return cls(owner, None if lease == _NEVER else float(lease), int(fencing))
        except ValueError as error:
            raise LockError(
                "the lock's record is damaged, signed with another key, or written by another version of CloudCached;"
                " remove its object"
            ) from error

    def __str__(self) -> str:
        return f"{self.owner} {_NEVER if self.lease is None else self.lease} {self.fencing}"

    def is_held(self, age: float | None) -> bool:
        """Whether somebody holds it, *age* seconds after it was written (``None``: unknown)."""
        if self.owner == _FREE:
            return False
        return self.lease is None or age is None or age < self.lease + _DATE_ERROR_SECONDS


@dataclass(frozen=True, slots=True)
class _Tenure:
    """One owner's hold on a lock, from the attempt to take it to its end; replaced as a whole, never changed."""

    #: The token that this owner writes, or tries to write, into the lock's record.
    owner: str = ""
    #: The process of this owner: a forked child holds nothing of its parent's.
    pid: int = 0
    #: When the lease ends, by the monotonic clock; ``None`` for never.
    ends: float | None = None
    #: How many times the lock has been acquired, the last time by this object included; 0 before the first.
    fencing: int = 0
    #: The record by which this owner holds the lock; ``None``: it does not, no longer, or not as far as it was told.
    record: Snapshot | None = None
    #: Set when the caller that took the lock was cancelled: then nobody uses it.
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def is_ours(self) -> bool:
        """Whether it began in this process."""
        return self.pid == os.getpid()

    @property
    def holds(self) -> bool:
        """Whether this owner, in this process, holds the lock, as far as can be told without a request."""
        return self.record is not None and self.is_ours

    def wrote(self, record: _Record) -> bool:
        """Whether *record* is this owner's, in this process; perhaps of a write whose answer was lost."""
        return self.is_ours and record.owner == self.owner


class Lock:
    """A lock with a lease, for one holder among all threads, processes and machines.

    Made by ``Client.lock``; a context manager, also for ``async with``. It promises that at any moment there is at most
    one owner whose lease runs, by the server's clock, and that a lease ends by itself when its holder dies. It does not
    promise that a holder that was suspended for longer than its lease notices. Where work must not be done twice, protect
    it where it is done: pass on ``fencing``, which grows each time the lock is acquired, and refuse any number below
    one that was already seen.

    An object belongs to one owner: each thread makes its own, and a forked child holds nothing of its parent's. A call
    that raises ``StoreError`` or ``OutcomeUnknown`` may have been done or not; the same call on the same object settles
    it.

    Each method has an async version, its name with an ``a`` before it: ``await lock.aacquire()``.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        *,
        timeout: float | dt.timedelta | None,
        kind: str = LOCK,
        blocking: bool = True,
        blocking_timeout: float | None = None,
    ) -> None:
        lease = None if timeout is None else _seconds("a lock's timeout", timeout, ", or None for ever")
        if blocking_timeout is not None and not isinstance(blocking_timeout, (int, float)):
            raise ConfigError(f"blocking_timeout is seconds, or None for without end; not {blocking_timeout!r}")
        self.name = name
        self._engine = engine
        self._kind = kind
        # With a key of its own: a look at the lock says nothing about the entry of the same name, which may be held near.
        object_key = engine.names.reserved(kind, name)
        self._place = Place(object_key, object_key, hashed=False)
        self._timeout = lease
        self._blocking = blocking
        self._blocking_timeout = blocking_timeout
        self._tenure = _Tenure()
        #: Held during each attempt to take the lock: whether it succeeded is known to a cancelled caller only afterwards.
        self._taking = PerProcess(threading.Lock)

    @property
    def fencing(self) -> int:
        """How many times the lock has been acquired, this owner's time included: grows with each holder; 0 before."""
        return self._tenure.fencing

    def acquire(self, blocking: bool | None = None, blocking_timeout: float | None = None) -> bool:
        """Acquire the lock; return whether it was acquired.

        blocking: False asks once. blocking_timeout: seconds to wait, ``None`` for no limit. Both default to the lock's
        own. A lease that ran out is taken over one second later, the error of HTTP dates. A read-only client acquires
        no lock: it raises ``ReadOnlyError``, or with ``read_only="drop"`` returns False. Raises ``LockError`` if this
        object holds the lock already, or if its record is damaged.

        **Atomicity:** of all concurrent callers one acquires it. **Cost:** 1 GET + 1 conditional PUT; 1 GET for each
        look at a lock that is held, with waits that double up to 2 seconds.
        """
        return do(self._acquire(blocking, blocking_timeout, threading.Event()))

    async def aacquire(self, blocking: bool | None = None, blocking_timeout: float | None = None) -> bool:
        """Async version of ``acquire``; it occupies no thread between two looks.

        A caller that is cancelled does not hold the lock: if it was acquired by then, it is given back in the background.
        """
        import asyncio  # noqa: PLC0415 - importing it takes time, and only callers that await need it

        cancelled = threading.Event()
        try:
            return await ado(self._acquire(blocking, blocking_timeout, cancelled))
        except asyncio.CancelledError:
            cancelled.set()
            pool.start(self._give_back, cancelled)
            raise

    def _give_back(self, cancelled: threading.Event) -> None:
        with self._taking():
            if self._tenure.holds and self._tenure.cancelled is cancelled:  # nobody has called acquire again
                self.release_quietly()

    def _acquire(
        self, blocking: bool | None, blocking_timeout: float | None, cancelled: threading.Event
    ) -> Effects[bool]:
        if self._tenure.holds and not self._tenure.cancelled.is_set():
            raise LockError(f"this object already holds the lock {self.name!r}")
        if self._engine.read_only == "drop":
            return False
        if self._engine.read_only:
            raise ReadOnlyError(f"acquiring the lock {self.name!r} would write, and this client is read-only")
        clock = self._engine.clock
        blocking = self._blocking if blocking is None else blocking
        limit = self._blocking_timeout if blocking_timeout is None else blocking_timeout
        end = None if limit is None else clock.monotonic() + limit
        backoff = Backoff(_FIRST_WAIT, _LONGEST_WAIT)
        while not (yield Request(self._take, cancelled)):
            pause = backoff.wait()
            if not blocking or (end is not None and clock.monotonic() + pause > end):
                return False
            yield Pause(clock, pause)
        return True

    def release(self) -> None:
        """Release the lock, so that the next caller finds it free.

        Raises ``LockError`` if this object does not hold it, or if its lease ran out and another has acquired it.

        **Atomicity:** frees only this owner's own record. **Cost:** 1 conditional PUT; + 1 GET, and perhaps + 1
        conditional PUT, after a call that failed.
        """
        self._swap(_Record(_FREE, None, self.fencing))
        self._tenure = replace(self._tenure, record=None, ends=None)

    async def arelease(self) -> None:
        """Async version of ``release``, run on the shared pool."""
        await pool.run(self.release)

    def release_quietly(self) -> None:
        """Release the lock; log a failure and do not raise it, since the lease ends anyway."""
        try:
            self.release()
        except (LockError, StoreError, OutcomeUnknown) as error:
            log.info("the lock %r was not released: %s", self.name, error)

    def extend(self, additional_time: float | dt.timedelta, replace_ttl: bool = False) -> None:
        """Extend the lease by *additional_time* seconds (or a ``timedelta``); with *replace_ttl* to that long from now.

        Raises ``LockError`` if this object does not hold the lock, holds it for ever, or another has acquired it.

        **Atomicity** and **Cost:** as ``release``.
        """
        seconds = _seconds("additional_time", additional_time)
        tenure = self._tenure
        if tenure.holds and tenure.ends is None:
            raise LockError(f"the lock {self.name!r} is held for ever: there is no lease to extend")
        now = self._engine.clock.monotonic()
        lease = seconds + (0 if replace_ttl or tenure.ends is None else max(0.0, tenure.ends - now))
        record = self._swap(_Record(tenure.owner, lease, tenure.fencing))
        self._tenure = replace(tenure, record=record, ends=now + lease)

    async def aextend(self, additional_time: float | dt.timedelta, replace_ttl: bool = False) -> None:
        """Async version of ``extend``, run on the shared pool."""
        await pool.run(self.extend, additional_time, replace_ttl)

    def locked(self) -> bool:
        """Whether anybody holds the lock. **Cost:** 1 GET."""
        seen, record = self._look()
        return record.is_held(seen.age)

    async def alocked(self) -> bool:
        """Async version of ``locked``, run on the shared pool."""
        return await pool.run(self.locked)

    def owned(self) -> bool:
        """Whether this object holds the lock and its lease still runs. **Cost:** 1 GET; none if it cannot hold it."""
        if not self._tenure.holds:
            return False
        seen, record = self._look()
        return self._tenure.wrote(record) and record.is_held(seen.age)

    async def aowned(self) -> bool:
        """Async version of ``owned``, run on the shared pool."""
        return await pool.run(self.owned)

    def __enter__(self) -> Lock:  # noqa: PYI034 - Self needs Python 3.11
        return self._entered(self.acquire())

    async def __aenter__(self) -> Lock:  # noqa: PYI034
        return self._entered(await self.aacquire())

    def _entered(self, taken: bool) -> Lock:
        if not taken:
            raise LockError(f"the lock {self.name!r} could not be acquired in time")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tenure.is_ours:  # a forked child may leave the block too
            self.release()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tenure.is_ours:
            await self.arelease()

    def _take(self, cancelled: threading.Event) -> bool:
        """Try to take the lock once, for a caller that sets *cancelled* when it no longer wants it."""
        with self._taking():
            seen, now = self._look()
            if not now.is_held(seen.age):
                held = self._claim(now, seen)
            elif self._tenure.wrote(now):  # an earlier attempt took it, and was not told so
                held = replace(self._tenure, record=seen, fencing=now.fencing)
            else:
                held = None
            if held is None:
                self._tenure = replace(self._tenure, record=None)
                return False
            self._tenure = replace(held, cancelled=cancelled)
            if cancelled.is_set():
                self.release_quietly()
            return self._tenure.holds

    def _claim(self, free: _Record, base: Snapshot) -> _Tenure | None:
        """Write a record of a new owner over *base*, the record *free*; return its tenure, ``None`` if a rival won."""
        record = _Record(secrets.token_hex(8), self._timeout, free.fencing + 1)
        # The lease is counted from before the record is written: the holder never believes in it for too long.
        ends = None if self._timeout is None else self._engine.clock.monotonic() + self._timeout
        # Remembered before the write: if its answer is lost, the next attempt recognizes the record.
        self._tenure = _Tenure(record.owner, os.getpid(), ends, self.fencing)
        written = self._write(record, base)
        return None if written is None else replace(self._tenure, record=written, fencing=record.fencing)

    def _swap(self, record: _Record) -> Snapshot:
        """Replace this owner's own record with *record*, whatever an earlier call that failed has made of it."""
        tenure = self._tenure
        if tenure.record is None or not tenure.is_ours:
            raise LockError(f"the lock {self.name!r} is not held by this object")
        held = self._write(record, tenure.record)
        if held is None:
            seen, now = self._look()
            if now == record:
                held = seen
            elif tenure.wrote(now):
                held = self._write(record, seen)
        if held is None:
            self._tenure = replace(tenure, record=None)
            raise LockError(f"the lease of {self.name!r} ran out, and another has taken the lock")
        return held

    def _look(self) -> tuple[Snapshot, _Record]:
        seen = self._engine.get(self._place, self._engine.budget(), dated=True)
        return seen, _Record.parse(seen, kind=self._kind)

    def _write(self, record: _Record, base: Snapshot) -> Snapshot | None:
        """Write *record* over *base*; return what is there then, ``None`` if it is another owner's."""
        engine = self._engine
        meta, data = engine.codec.encode(str(record), expires_ms=None, created_ms=engine.now_ms())
        done, now = engine.write_if(self._place, meta, data, base, engine.budget())
        # If the answer was lost, the record found afterwards may be a later holder's.
        if not done or now is None or (now.live and now.value != str(record)):
            return None
        return now


def _seconds(name: str, value: object, otherwise: str = "") -> float:
    seconds = value.total_seconds() if isinstance(value, dt.timedelta) else value
    if not isinstance(seconds, (int, float)) or not 0 < seconds < math.inf:
        raise ConfigError(f"{name} is a positive number of seconds{otherwise}; not {value!r}")
    return float(seconds)
