"""Values that are computed when they are missing, without a stampede of all who miss them.

What keeps callers from computing the same at once:

* Single flight: of all threads and tasks of a process one computes, the others get what it got (``flights``).
* A lease: of all processes in the world one computes, the others look for its value (``lock=``).
* Early recomputation (``early=``) by XFetch: Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede
  Prevention", PVLDB 8(8), 2015. Each caller recomputes before the deadline with a probability that grows towards it,
  the sooner the longer the computation took: when ``now - cost * early * ln(random) >= deadline``.
* Stale values (``stale=``): beyond its time to expire a value is still served for so many seconds, while one caller
  refreshes it in the background; so also when that fails.
* Jitter (``jitter=``): what was written together does not expire together.
"""

from __future__ import annotations

import datetime as dt
import logging
import math
import random
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from .._types import TimeToExpire
from ..engine.engine import Engine
from ..engine.outages import Silencer
from ..engine.reader import Reader
from ..engine.snapshot import NOTHING, Snapshot
from ..entry.expiry import deadline_of, is_expired, seconds_of
from ..entry.format import Meta, Place
from ..entry.values import PICKLE, Encoded
from ..errors import ConfigError, EntryRefused, LockError, OutcomeUnknown, StoreError
from ..runtime.budget import Backoff
from ..runtime.counters import Counters
from ..runtime.effects import Background, Compute, Effects, Pause, Request, Shielded, Wait, Work, computing, is_on_loop
from ..runtime.forks import PerProcess
from ..runtime.pool import is_inside
from .locks import Lock
from .single_flight import Flight, Flights, Landed

log = logging.getLogger("cloudcached")

#: Seconds of the lease of ``lock=True``, and until one of those who wait for a flight computes too.
PATIENCE = 60.0
#: Seconds between two looks for the value that another process computes: the first, and the longest.
_FIRST_WAIT = 0.05
_LONGEST_WAIT = 1.0

_VERB = "get_or_put"


class Policy(NamedTuple):
    """The options of one call, checked."""

    #: Seconds; ``None`` for never.
    time_to_expire: float | None
    #: Seconds of the lease; 0 for none.
    lease: float = 0.0
    early: float = 0.0
    stale: float = 0.0
    jitter: float = 0.0

    @classmethod
    def parse(
        cls, time_to_expire: TimeToExpire, lock: bool | float, early: float, stale: float | dt.timedelta, jitter: float
    ) -> Policy:
        """Raise ``ConfigError`` for what makes no sense."""
        lease = PATIENCE if lock is True else _number("lock", lock)
        stale = _number("stale", stale.total_seconds() if isinstance(stale, dt.timedelta) else stale)
        jitter = _number("jitter", jitter)
        if jitter >= 1:
            raise ConfigError(f"jitter is a part of the time to expire, 0 <= jitter < 1; not {jitter!r}")
        return cls(seconds_of(time_to_expire), lease, _number("early", early), stale, jitter)

    def deadlines(self, now: float, draw: Callable[[], float]) -> tuple[int | None, int | None]:
        """Return the soft deadline, ``None`` where there is none, and the hard one, for an entry written at *now*."""
        seconds = self.time_to_expire
        if seconds is None:
            return None, None
        if self.jitter:
            seconds *= 1 - self.jitter * draw()
        if not self.stale:
            return None, deadline_of(seconds, now)
        return deadline_of(seconds, now), deadline_of(seconds + self.stale, now)


def _number(name: str, value: object) -> float:
    if not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ConfigError(f"{name} is a number, zero or more; not {value!r}")
    return float(value)


class Call(NamedTuple):
    """One caller's wish."""

    place: Place
    compute: Callable[[], Any]
    policy: Policy
    #: Whether it runs on an event loop.
    awaited: bool


class Fills:
    """Computes what is missing in one cache. Thread-safe; does no I/O when made. *draw* is for tests."""

    def __init__(
        self,
        engine: Engine,
        reader: Reader,
        silencer: Silencer,
        counters: Counters,
        *,
        draw: Callable[[], float] = random.random,
        patience: float = PATIENCE,
    ) -> None:
        self._engine = engine
        self._reader = reader
        self._silencer = silencer
        self._counters = counters
        self._draw = draw
        self._flights = PerProcess(lambda: Flights(engine.clock, patience))

    def place(self, key: str) -> Place:
        """Return where *key* lives. Raises ``KeyRejected``."""
        return self._engine.place(key)

    def given(self, place: Place, value: Any, policy: Policy) -> Any:
        """Return the live value, or store *value*, which nobody can compute anew, and return what is stored."""
        policy = policy._replace(early=0.0, stale=0.0)
        seen = self._peek(place)
        if seen.live:
            return seen.value
        drops = self._silencer.refuses_write(_VERB)
        return (self._encode(value, policy) if drops else self._store(place, value, policy, seen)).value

    def computed(self, call: Call) -> Effects[Any]:
        """Return the live value, or compute and store it, and return what is stored."""
        now = self._engine.clock.monotonic
        began = now()
        try:
            return (yield from self._computed(call))
        finally:
            self._counters.calls[_VERB].add(now() - began)

    def _computed(self, call: Call) -> Effects[Any]:
        flights, key = self._flights(), call.place.object_key
        landings = flights.landings(key)
        seen = yield Request(self._peek, call.place)
        self._counters.counts["looked"] += 1
        if not seen.live:
            self._counters.counts["misses"] += 1
            return (yield from self._missed(call, seen, landings))
        if not self._is_due(seen.meta, call.policy):
            return seen.value
        if not call.policy.stale:
            return (yield from self._refreshed(call, seen))
        if flights.begin_aside(key):
            given_up = partial(flights.end_aside, key, rest=True)
            try:
                yield Background(Work(self._refresh_aside(call, seen), given_up))
            except RuntimeError as error:  # the process is about to end
                given_up()
                self._not_refreshed(call, error)
        self._counters.add("stale")
        return seen.value

    def _is_due(self, meta: Meta | None, policy: Policy) -> bool:
        """Tell whether somebody should compute a live entry anew, and this caller is to be the one."""
        if meta is None or not (policy.stale or policy.early) or self._engine.read_only:
            return False
        now = self._engine.clock.time()
        if policy.stale and is_expired(meta.fresh_ms, now):
            return True
        if not policy.early or not meta.cost_ms:
            return False
        ahead = -math.log(1 - self._draw()) * policy.early * meta.cost_ms / 1000
        return is_expired(meta.expires_ms if meta.fresh_ms is None else meta.fresh_ms, now + ahead)

    # Who computes

    def _missed(self, call: Call, seen: Snapshot, landings: int) -> Effects[Any]:
        """Lead a flight, or wait for it."""
        flights, key = self._flights(), call.place.object_key
        while True:
            flight, leads = flights.enter(key, call.policy.lease, needs_pool=call.awaited)
            if leads:
                # What landed between the look and here may be what is missing.
                again = flights.landings(key) != landings
                return (yield from self._led(flight, self._lead(call, flight, seen, again=again)))
            if self._must_not_wait(flight, call):
                return (yield Compute(call.compute))
            self._counters.add("waited")
            if (yield Wait(flight.landing, flights.left(flight))):
                seen_there, error = flight.landing.result()
                if error is not None:
                    raise error
                if seen_there is None:
                    continue
                try:
                    return (yield Request(self._own, seen_there))
                except EntryRefused:  # what can be encoded and not decoded is a miss for everybody
                    return (yield Compute(call.compute))
            if flights.relieve(flight):
                return (yield from self._led(flight, self._lead(call, flight, seen)))

    def _led(self, flight: Flight, effects: Effects[Snapshot]) -> Effects[Any]:
        made: Snapshot = yield Shielded(Work(effects, partial(self._flights().land, flight, Landed())))
        return made.value

    @staticmethod
    def _must_not_wait(flight: Flight, call: Call) -> bool:
        """Tell whether a wait for *flight* could be a wait for oneself, or for a thread or loop that it holds up."""
        if flight in computing.get():
            return True
        return flight.needs_pool and not call.awaited and (is_inside() or is_on_loop())

    def _own(self, seen: Snapshot) -> Any:
        """Return a value of one's own: a caller must not change what others get."""
        if seen.meta is None or seen.meta.type != PICKLE:
            return seen.value
        return self._engine.codec.decode(seen.meta, seen.data)

    def _refreshed(self, call: Call, seen: Snapshot) -> Effects[Any]:
        """Compute anew what is still live; whatever prevents that, the live value is there."""
        flight, leads = self._flights().enter(call.place.object_key, call.policy.lease, needs_pool=call.awaited)
        if not leads:
            return seen.value
        self._counters.add("early")
        try:
            return (yield from self._led(flight, self._lead(call, flight, seen, again=_is_near(seen), patient=False)))
        except Exception as error:  # noqa: BLE001 - logged and counted
            self._not_refreshed(call, error)
            return seen.value

    def _refresh_aside(self, call: Call, seen: Snapshot) -> Effects[None]:
        """Compute anew in the background what is served stale meanwhile."""
        flights, key, failed = self._flights(), call.place.object_key, True
        try:
            flight, leads = flights.enter(key, call.policy.lease, needs_pool=call.awaited)
            if leads:
                yield from self._lead(call, flight, seen, again=_is_near(seen), patient=False)
            failed = False
        except Exception as error:  # noqa: BLE001 - logged and counted
            self._not_refreshed(call, error)
        finally:
            flights.end_aside(key, rest=failed)

    def _not_refreshed(self, call: Call, error: Exception) -> None:
        self._counters.add("refresh_failed")
        fields = {"event": "refresh_failed", "key": call.place.key, "error": type(error).__name__}
        log.warning(
            "%r was not refreshed and is served as it is: %r", call.place.key, error, exc_info=error, extra=fields
        )

    # Computing

    def _lead(
        self, call: Call, flight: Flight, base: Snapshot, *, again: bool = False, patient: bool = True
    ) -> Effects[Snapshot]:
        """Make the value, and land *flight* with it, or with what came instead."""
        flights = self._flights()
        try:
            made = yield from self._made(call, flight, base, again=again, patient=patient)
        except BaseException as error:
            flights.land(flight, Landed(error=error if isinstance(error, Exception) else None))
            raise
        # What was seen before was not made: nobody else is to get it, late as it may be.
        flights.land(flight, Landed(None if made is base else made))
        return made

    def _made(self, call: Call, flight: Flight, base: Snapshot, *, again: bool, patient: bool) -> Effects[Snapshot]:
        """Compute and store the value, unless somebody else does or has; under a lease where *call* asks for one."""
        drops = self._silencer.refuses_write(_VERB)
        if drops or not call.policy.lease:
            return (yield from self._fresh(call, flight, base, again=again, drops=drops))
        lock, seen = yield from self._turn(call, base, patient=patient)
        if seen is not None:
            return seen
        try:
            made = yield from self._fresh(call, flight, base, again=True)
        except GeneratorExit:  # nobody is left to send a request; the lease ends by itself
            raise
        except BaseException:
            yield from self._release(lock)
            raise
        yield from self._release(lock)
        return made

    def _fresh(
        self, call: Call, flight: Flight, base: Snapshot, *, again: bool, drops: bool = False
    ) -> Effects[Snapshot]:
        """Compute and store the value; with *again* only after another look."""
        if again:
            seen: Snapshot = yield Request(self._look, call.place)
            if _is_new(seen, base):
                return seen
            base = seen
        clock = self._engine.clock
        began = clock.monotonic()
        value = yield Compute(call.compute, flight)
        cost = clock.monotonic() - began
        self._counters.add("computed")
        made: Snapshot
        if drops:
            made = yield Request(self._encode, value, call.policy)
        else:
            made = yield Request(self._store, call.place, value, call.policy, base, cost)
        return made

    @staticmethod
    def _release(lock: Lock | None) -> Effects[None]:
        if lock is not None:
            yield Request(lock.release_quietly)

    def _turn(self, call: Call, base: Snapshot, *, patient: bool) -> Effects[tuple[Lock | None, Snapshot | None]]:
        """Take the lease of *call*'s key, or wait for the value of the one who has it.

        Returns the lock that is to be released, if it was taken; and the value, where nothing is to be computed.
        """
        clock, lease, backoff = self._engine.clock, call.policy.lease, Backoff(_FIRST_WAIT, _LONGEST_WAIT)
        lock = Lock(self._engine, call.place.key, kind="fill", timeout=lease, blocking=False)
        end = clock.monotonic() + lease
        while True:
            taken = yield Request(self._take, lock)
            if taken is not False:
                return (lock if taken else None), None
            if not patient:
                return None, base
            pause = backoff.wait()
            if clock.monotonic() + pause > end:
                return None, None
            yield Pause(clock, pause)
            seen = yield Request(self._look, call.place)
            if _is_new(seen, base):
                return None, seen

    def _take(self, lock: Lock) -> bool | None:
        """Tell whether *lock* was taken; ``None`` where that cannot be told: then it goes without."""
        try:
            return lock.acquire()
        except StoreError as error:
            self._silencer.take(_VERB, error)
        except (LockError, OutcomeUnknown) as error:
            log.warning("%r is computed without a lease: %s", lock.name, error)
        return None

    # The store

    def _peek(self, place: Place) -> Snapshot:
        """Return what is there, from the near tier where there is one."""
        try:
            return self._reader.snapshot(place)
        except StoreError as error:
            self._silencer.take(_VERB, error)
            return NOTHING

    def _look(self, place: Place) -> Snapshot:
        try:
            return self._engine.get(place, self._engine.budget())
        except StoreError as error:
            self._silencer.take(_VERB, error)
            return NOTHING

    def _encode(self, value: Any, policy: Policy, cost: float = 0.0) -> Snapshot:
        """Return *value* as an entry that was seen."""
        engine = self._engine
        now = engine.clock.time()
        fresh, deadline = policy.deadlines(now, self._draw)
        meta, data = engine.codec.encode(value, expires_ms=deadline, created_ms=int(now * 1000))
        if type(value) is Encoded:
            value = engine.codec.decode(meta, data)
        cost_ms = math.ceil(cost * 1000) if policy.early and cost else None
        return Snapshot(None, meta._replace(fresh_ms=fresh, cost_ms=cost_ms), data, value)

    def _store(self, place: Place, value: Any, policy: Policy, base: Snapshot, cost: float = 0.0) -> Snapshot:
        """Store *value* over *base*; return what is there afterwards, which may be a rival's."""
        engine = self._engine
        stored = made = self._encode(value, policy, cost)

        def over(seen: Snapshot) -> tuple[Meta, Any] | None:
            nonlocal stored
            if _is_new(seen, base):
                stored = seen
                return None
            if made.meta is None or (base.live and seen.etag != base.etag):
                return None  # what was removed while it was computed anew is not revived
            return made.meta, made.data

        if made.meta is None or is_expired(made.meta.expires_ms, engine.clock.time()):
            return made
        try:
            engine.change(place, over, engine.budget(), revive=True, seen=base)
        except (StoreError, OutcomeUnknown) as error:
            self._silencer.take(_VERB, error)
        return stored


def _is_near(seen: Snapshot) -> bool:
    """Tell whether the near tier had it: it may be old, and cannot be written over as it is."""
    return seen.meta is not None and not seen.meta.nonce


def _is_new(seen: Snapshot, base: Snapshot) -> bool:
    """Tell whether somebody has stored a value since *base* was seen."""
    return seen.live and seen.etag != base.etag
