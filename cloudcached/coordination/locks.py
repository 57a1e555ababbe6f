"""Locks: one holder at a time among all machines, by conditional writes alone.

A lock is an object that is never deleted: its record says who holds it for how long, or that it is free, and how
often it was taken. Taking, extending and releasing replace exactly the record that was seen (``If-Match``); a DELETE
could not be tied to it on every store, and would lose the count.
"""

from __future__ import annotations

import datetime as dt
import logging
import math
import os
import secrets
import threading
from dataclasses import dataclass
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

#: Seconds between two looks at a lock that somebody holds: each is a request, so the wait doubles from one to the next.
_FIRST_WAIT = 0.05
_LONGEST_WAIT = 2.0
#: HTTP dates are whole seconds: an age read off two of them may be off by one.
_DATE_ERROR_SECONDS = 1.0

_FREE = "free"
_NEVER = "never"


@dataclass(frozen=True, slots=True)
class _Record:
    """What the lock's object says."""

    #: Who holds it, ``free`` if nobody does.
    owner: str
    #: Seconds that the holder has it for, counted from when the record was written; ``None`` for ever.
    lease: float | None
    #: How often the lock was taken.
    fencing: int

    @classmethod
    def parse(cls, seen: Snapshot) -> _Record:
        if seen.etag is None:
            return cls(_FREE, None, 0)
        try:
            owner, lease, fencing = str(seen.value).split(" ")
            return cls(owner, None if lease == _NEVER else float(lease), int(fencing))
        except ValueError as error:
            raise LockError("the lock's record is damaged, or signed with another key; remove its object") from error

    def __str__(self) -> str:
        return f"{self.owner} {_NEVER if self.lease is None else self.lease} {self.fencing}"

    def is_held(self, age: float | None) -> bool:
        """Tell whether somebody holds it, *age* seconds after it was written."""
        if self.owner == _FREE:
            return False
        return self.lease is None or age is None or age < self.lease + _DATE_ERROR_SECONDS


class Lock:
    """A lock with a lease, for one holder among all threads, processes and machines.

    Made by ``Client.lock``; a context manager. What it promises: at any moment at most one owner whose lease runs, by
    the server's clock; a lease ends by itself when its holder dies. What it does not promise: a holder that is
    suspended for longer than its lease does not notice. What must not be done twice has to be protected where it is
    done: pass on ``fencing``, which grows each time the lock is taken, and refuse any number below one already seen.

    An object belongs to one owner: threads make their own, and a forked child holds nothing of its parent's. A call that
    raises ``StoreError`` or ``OutcomeUnknown`` may have been done or not; the same call on the same object settles it.

    ``async with`` works too; each method has a twin that is awaited, its name with an ``a`` before it.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        *,
        timeout: float | dt.timedelta | None,
        kind: str = "lock",
        blocking: bool = True,
        blocking_timeout: float | None = None,
    ) -> None:
        lease = None if timeout is None else _seconds("a lock's timeout", timeout, ", or None for ever")
        if blocking_timeout is not None and not isinstance(blocking_timeout, (int, float)):
            raise ConfigError(f"blocking_timeout is seconds, or None for without end; not {blocking_timeout!r}")
        self.name = name
        self._engine = engine
        self._place = Place(name, engine.names.reserved(kind, name), hashed=False)
        self._timeout = lease
        self._blocking = blocking
        self._blocking_timeout = blocking_timeout
        self._owner = ""
        self._record: Snapshot | None = None
        self._pid = 0
        self._ends: float | None = None
        #: Held while the lock is being taken, so that who is cancelled meanwhile can tell whether it was.
        self._taking = PerProcess(threading.Lock)
        #: The call that has taken it last; set when its caller was cancelled.
        self._taken_by = threading.Event()
        #: How often the lock had been taken when this owner took it: grows with each holder. 0 before the first.
        self.fencing = 0

    def acquire(self, blocking: bool | None = None, blocking_timeout: float | None = None) -> bool:
        """Take the lock; return whether it was taken.

        blocking: False asks once. blocking_timeout: seconds to wait, ``None`` without end. Both default to what
        the lock was made with. A lease that ran out is taken over one second later, the error of HTTP dates. A
        read-only client takes none: it raises ``ReadOnlyError``, and returns False with ``read_only="drop"``.

        **Atomicity:** of all callers one takes it. **Cost:** 1 GET + 1 conditional PUT; 1 GET for each look at a lock
        that is held, with waits that double up to 2 seconds.
        """
        return do(self._acquired(blocking, blocking_timeout, threading.Event()))

    async def aacquire(self, blocking: bool | None = None, blocking_timeout: float | None = None) -> bool:
        """Await what ``acquire`` does; no thread is held between two looks.

        Who is cancelled meanwhile does not hold the lock: what was taken by then is given back in the background.
        """
        import asyncio  # noqa: PLC0415 - it takes its time, and only those who await need it

        given_up = threading.Event()
        try:
            return await ado(self._acquired(blocking, blocking_timeout, given_up))
        except asyncio.CancelledError:
            given_up.set()
            pool.start(self._give_back, given_up)
            raise

    def _give_back(self, given_up: threading.Event) -> None:
        with self._taking():
            if self._held is not None and self._taken_by is given_up:  # and nobody has called acquire again
                self.release_quietly()

    def _acquired(
        self, blocking: bool | None, blocking_timeout: float | None, given_up: threading.Event
    ) -> Effects[bool]:
        if self._held is not None and not self._taken_by.is_set():
            raise LockError(f"this object holds the lock {self.name!r} already")
        if self._engine.read_only == "drop":
            return False
        if self._engine.read_only:
            raise ReadOnlyError(f"taking the lock {self.name!r} would write, and this client is read-only")
        clock = self._engine.clock
        blocking = self._blocking if blocking is None else blocking
        limit = self._blocking_timeout if blocking_timeout is None else blocking_timeout
        end = None if limit is None else clock.monotonic() + limit
        backoff = Backoff(_FIRST_WAIT, _LONGEST_WAIT)
        while not (yield Request(self._take, given_up)):
            pause = backoff.wait()
            if not blocking or (end is not None and clock.monotonic() + pause > end):
                return False
            yield Pause(clock, pause)
        return True

    def release(self) -> None:
        """Give the lock back, so that the next one finds it free.

        Raises ``LockError`` if this object does not hold it, or its lease ran out and another has taken it.

        **Atomicity:** frees only this owner's own record. **Cost:** 1 conditional PUT; + 1 GET, and perhaps + 1
        conditional PUT, after a call that failed.
        """
        self._swap(_Record(_FREE, None, self.fencing))
        self._held, self._ends = None, None

    async def arelease(self) -> None:
        """Await ``release`` on the shared pool."""
        await pool.run(self.release)

    def release_quietly(self) -> None:
        """Give the lock back if that can be done: its lease ends anyway."""
        try:
            self.release()
        except (LockError, StoreError, OutcomeUnknown) as error:
            log.info("the lock %r was not released: %s", self.name, error)

    def extend(self, additional_time: float | dt.timedelta, replace_ttl: bool = False) -> None:
        """Lengthen the lease by *additional_time* seconds; with *replace_ttl* to that many from now.

        Raises ``LockError`` if this object does not hold the lock, holds it for ever, or another has taken it.

        **Atomicity** and **Cost:** as ``release``.
        """
        seconds = _seconds("additional_time", additional_time)
        if self._held is not None and self._ends is None:
            raise LockError(f"the lock {self.name!r} is held for ever: there is no lease to extend")
        now = self._engine.clock.monotonic()
        lease = seconds + (0 if replace_ttl or self._ends is None else max(0.0, self._ends - now))
        self._held = self._swap(_Record(self._owner, lease, self.fencing))
        self._ends = now + lease

    async def aextend(self, additional_time: float | dt.timedelta, replace_ttl: bool = False) -> None:
        """Await ``extend`` on the shared pool."""
        await pool.run(self.extend, additional_time, replace_ttl)

    def locked(self) -> bool:
        """Tell whether anybody holds the lock. **Cost:** 1 GET."""
        seen, record = self._look()
        return record.is_held(seen.age)

    async def alocked(self) -> bool:
        """Await ``locked`` on the shared pool."""
        return await pool.run(self.locked)

    def owned(self) -> bool:
        """Tell whether this object holds the lock and its lease still runs. **Cost:** 1 GET if it may."""
        if self._held is None:
            return False
        seen, record = self._look()
        return record.owner == self._owner and record.is_held(seen.age)

    async def aowned(self) -> bool:
        """Await ``owned`` on the shared pool."""
        return await pool.run(self.owned)

    def __enter__(self) -> Lock:  # noqa: PYI034 - Self needs Python 3.11
        return self._entered(self.acquire())

    async def __aenter__(self) -> Lock:  # noqa: PYI034
        return self._entered(await self.aacquire())

    def _entered(self, taken: bool) -> Lock:
        if not taken:
            raise LockError(f"the lock {self.name!r} could not be taken in time")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pid == os.getpid():  # a forked child may leave the block too
            self.release()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pid == os.getpid():
            await self.arelease()

    @property
    def _held(self) -> Snapshot | None:
        """The record by which this owner, in this process, holds the lock."""
        return self._record if self._pid == os.getpid() else None

    @_held.setter
    def _held(self, record: Snapshot | None) -> None:
        self._record, self._pid = record, os.getpid()

    def _look(self) -> tuple[Snapshot, _Record]:
        seen = self._engine.get(self._place, self._engine.budget(), dated=True)
        return seen, _Record.parse(seen)

    def _take(self, given_up: threading.Event) -> bool:
        with self._taking():
            seen, record = self._look()
            held: Snapshot | None = seen
            if not record.is_held(seen.age):
                record = _Record(secrets.token_hex(8), self._timeout, record.fencing + 1)
                # The lease is counted from before the record was written: the holder never believes in it for too long.
                began = self._engine.clock.monotonic()
                self._held, self._owner = None, record.owner
                self._ends = None if self._timeout is None else began + self._timeout
                held = self._write(record, seen)
            elif self._pid != os.getpid() or record.owner != self._owner:
                held = None  # else it is held by an earlier try of this owner, which was not told so
            self._held = held
            if held is None:
                return False
            self._taken_by, self.fencing = given_up, record.fencing
            if given_up.is_set():
                self.release_quietly()
            return self._held is not None

    def _swap(self, record: _Record) -> Snapshot:
        """Replace this owner's own record by *record*; also what a call that failed has made of it."""
        if self._held is None:
            raise LockError(f"the lock {self.name!r} is not held by this object")
        held = self._write(record, self._held)
        if held is None:
            seen, now = self._look()
            if now == record:
                held = seen
            elif now.owner == self._owner:
                held = self._write(record, seen)
        if held is None:
            self._held = None
            raise LockError(f"the lease of {self.name!r} ran out, and another has taken the lock")
        return held

    def _write(self, record: _Record, base: Snapshot) -> Snapshot | None:
        engine = self._engine
        meta, data = engine.codec.encode(str(record), expires_ms=None, created_ms=engine.now_ms())
        written, now = engine.write_if(self._place, meta, data, base, engine.budget())
        # Where an answer was lost, what was found may be a later holder's record.
        if not written or now is None or (now.live and now.value != str(record)):
            return None
        return now


def _seconds(name: str, value: object, otherwise: str = "") -> float:
    seconds = value.total_seconds() if isinstance(value, dt.timedelta) else value
    if not isinstance(seconds, (int, float)) or not 0 < seconds < math.inf:
        raise ConfigError(f"{name} is a positive number of seconds{otherwise}; not {value!r}")
    return float(seconds)
