"""Values that are computed when they are missing, without a stampede of all callers that miss them.

What keeps callers from computing the same value at once:

* Single flight: of all threads and tasks of a process one computes; the others get its result (``single_flight``).
* A lease (``lock=``): of all processes in the world one computes; the others poll for its value.
* Early recomputation (``early=``) by XFetch: Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede
  Prevention", PVLDB 8(8), 2015. Each caller recomputes before the deadline with a probability that grows towards it,
  and the earlier the longer the computation took: when ``now - cost * early * ln(random) >= deadline``.
* Stale values (``stale=``): for so many seconds after its time to expire a value is still served, while one caller
  refreshes it in the background; also if the refresh fails.
* Jitter (``jitter=``): entries that were written together do not expire together.

A caller that misses a key has one of three parts, first in its process (a flight), then in the world (a lease):

* It **leads**: it computes, and the others get its value.
* It **waits** for the leader's value.
* It goes **alone**: it computes although another one does. In its process, if waiting could be a wait for itself, or if
  the shared value cannot be decoded; such a value is returned and not stored. In the world, if no lease can be had, or
  if the holder takes longer than the lease; such a value is stored, unless the holder's came first.
"""

from __future__ import annotations

import datetime as dt
import logging
import math
import random
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

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

#: Seconds of the lease of ``lock=True``, and until one of those who wait for a flight starts computing too.
PATIENCE = 60.0
#: Seconds between two looks for the value that another process computes: the first wait, and the longest.
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
    #: Seconds.
    stale: float = 0.0
    #: A fraction of the time to expire.
    jitter: float = 0.0

    @classmethod
    def parse(
        cls, time_to_expire: TimeToExpire, lock: bool | float, early: float, stale: float | dt.timedelta, jitter: float
    ) -> Policy:
        """Check the options. Raises ``ConfigError`` for values that make no sense."""
        lease = PATIENCE if lock is True else _number("lock", lock)
        stale = _number("stale", stale.total_seconds() if isinstance(stale, dt.timedelta) else stale)
        jitter = _number("jitter", jitter)
        if jitter >= 1:
            raise ConfigError(f"jitter is a fraction of the time to expire, 0 <= jitter < 1; not {jitter!r}")
        return cls(seconds_of(time_to_expire), lease, _number("early", early), stale, jitter)

    def deadlines(self, now: float, draw: Callable[[], float]) -> tuple[int | None, int | None]:
        """Return the soft deadline (``None`` if there is none) and the hard one of an entry written at *now*."""
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
    """One caller's request."""

    place: Place
    compute: Callable[[], Any]
    policy: Policy
    #: Whether it runs on an event loop.
    awaited: bool


class _Job(NamedTuple):
    """A leader's task: to make a value, and to land the flight with it."""

    call: Call
    flight: Flight
    #: What the caller found. The new value replaces this entry only. If it is live, the job is a refresh.
    base: Snapshot
    #: Whether to look once more before computing: somebody may have stored the value since *base* was found.
    recheck: bool = False
    #: Whether the value is stored; a read-only client only returns it.
    stores: bool = True


# The outcome of asking for a key's lease is one of three.


class _Lead(NamedTuple):
    """Compute, then release the lease."""

    lease: Lock


class _Waited(NamedTuple):
    """Compute nothing: this is another process's value, or the live one that was to be refreshed."""

    seen: Snapshot


class _Alone(NamedTuple):
    """Compute without a lease: none can be had, or its holder takes too long."""


_Turn: TypeAlias = "_Lead | _Waited | _Alone"


class Fills:
    """Computes the missing values of one cache. Thread-safe; the constructor does no I/O. *draw* is for tests."""

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
        """Return the place of *key*. Raises ``KeyRejected``."""
        return self._engine.place(key)

    def given(self, place: Place, value: Any, policy: Policy) -> Any:
        """Return the live value, or store *value* (a constant: there is nothing to recompute) and return what is stored."""
        policy = policy._replace(early=0.0, stale=0.0)
        seen = self._find(place)
        if seen.live:
            return seen.value
        drops = self._silencer.refuses_write(_VERB)
        return (self._encode(value, policy) if drops else self._store(place, value, policy, seen)).value

    def computed(self, call: Call) -> Effects[Any]:
        """Return the live value, or compute and store one, and return what is stored."""
        now = self._engine.clock.monotonic
        began = now()
        try:
            return (yield from self._find_or_compute(call))
        finally:
            self._counters.calls[_VERB].add(now() - began)

    def _find_or_compute(self, call: Call) -> Effects[Any]:
        flights, key = self._flights(), call.place.object_key
        landings = flights.landings(key)
        seen = yield Request(self._find, call.place)
        self._counters.counts["looked"] += 1
        if not seen.live:
            self._counters.counts["misses"] += 1
            return (yield from self._fill(call, seen, landings))
        if not self._is_due(seen.meta, call.policy):
            return seen.value
        if not call.policy.stale:
            return (yield from self._refresh_early(call, seen))
        if flights.begin_refresh(key):
            given_up = partial(flights.end_refresh, key, failed=True)
            try:
                yield Background(Work(self._refresh_in_background(call, seen), given_up))
            except RuntimeError as error:  # the process is about to end
                given_up()
                self._not_refreshed(call, error)
        self._counters.add("stale")
        return seen.value

    def _is_due(self, meta: Meta | None, policy: Policy) -> bool:
        """Whether a live entry is to be recomputed, by this caller."""
        if meta is None or not (policy.stale or policy.early) or self._engine.read_only:
            return False
        now = self._engine.clock.time()
        if policy.stale and is_expired(meta.fresh_ms, now):
            return True
        if not policy.early or not meta.cost_ms:
            return False
        ahead = -math.log(1 - self._draw()) * policy.early * meta.cost_ms / 1000
        return is_expired(meta.expires_ms if meta.fresh_ms is None else meta.fresh_ms, now + ahead)

    # In this process: who computes

    def _fill(self, call: Call, seen: Snapshot, landings: int) -> Effects[Any]:
        """Return the value of a key that *seen* has none of: lead its flight, wait for it, or compute alone."""
        flights, key = self._flights(), call.place.object_key
        while True:
            flight, leads = flights.enter(key, call.policy.lease, needs_pool=call.awaited)
            if leads:
                # What landed since this caller looked may be the value that it misses.
                recheck = flights.landings(key) != landings
                return (yield from self._lead(_Job(call, flight, seen, recheck)))
            if self._must_not_wait(flight, call):
                return (yield Compute(call.compute))
            self._counters.add("waited")
            if (yield Wait(flight.landing, flights.left(flight))):
                landed = flight.landing.result()
                if not landed.is_empty:
                    return (yield from self._share(call, landed))
            elif flights.relieve(flight):  # its leader seems to hang: this caller leads too
                return (yield from self._lead(_Job(call, flight, seen)))

    def _lead(self, job: _Job) -> Effects[Any]:
        """Make the value, even if this caller is cancelled: others wait for it."""
        given_up = partial(self._flights().land, job.flight, Landed())
        made: Snapshot = yield Shielded(Work(self._fly(job), given_up))
        return made.value

    @staticmethod
    def _must_not_wait(flight: Flight, call: Call) -> bool:
        """Whether to wait for *flight* could be to wait for oneself, or to block a thread or an event loop that it needs."""
        if flight in computing.get():
            return True
        return flight.needs_pool and not call.awaited and (is_inside() or is_on_loop())

    def _share(self, call: Call, landed: Landed) -> Effects[Any]:
        """Return the leader's value, or raise its error."""
        if landed.error is not None:
            raise landed.error
        try:
            return (yield Request(self._copy, landed.seen))
        except EntryRefused:  # a value that can be encoded but not decoded is a miss for everybody
            return (yield Compute(call.compute))

    def _copy(self, seen: Snapshot) -> Any:
        """Return a value of the caller's own: changing it must not change what others get."""
        if seen.meta is None or seen.meta.type != PICKLE:
            return seen.value
        return self._engine.codec.decode(seen.meta, seen.data)

    def _refresh_early(self, call: Call, seen: Snapshot) -> Effects[Any]:
        """Recompute a value that is still live; if anything prevents that, return the live one."""
        flight, leads = self._flights().enter(call.place.object_key, call.policy.lease, needs_pool=call.awaited)
        if not leads:
            return seen.value
        self._counters.add("early")
        try:
            return (yield from self._lead(_Job(call, flight, seen, recheck=_is_near(seen))))
        except Exception as error:  # noqa: BLE001 - logged and counted
            self._not_refreshed(call, error)
            return seen.value

    def _refresh_in_background(self, call: Call, seen: Snapshot) -> Effects[None]:
        """Recompute a value that is served stale meanwhile."""
        flights, key, failed = self._flights(), call.place.object_key, True
        try:
            flight, leads = flights.enter(key, call.policy.lease, needs_pool=call.awaited)
            if leads:
                yield from self._fly(_Job(call, flight, seen, recheck=_is_near(seen)))
            failed = False
        except Exception as error:  # noqa: BLE001 - logged and counted
            self._not_refreshed(call, error)
        finally:
            flights.end_refresh(key, failed=failed)

    def _not_refreshed(self, call: Call, error: Exception) -> None:
        self._counters.add("refresh_failed")
        fields = {"event": "refresh_failed", "key": call.place.key, "error": type(error).__name__}
        log.warning(
            "%r was not refreshed and is served as it is: %r", call.place.key, error, exc_info=error, extra=fields
        )

    # In the world: the leader's work

    def _fly(self, job: _Job) -> Effects[Snapshot]:
        """Make the value, and land the flight with it, or with the error."""
        flights = self._flights()
        try:
            made = yield from self._make(job)
        except BaseException as error:
            flights.land(job.flight, Landed(error=error if isinstance(error, Exception) else None))
            raise
        # The entry that was to be refreshed is not a new value: nobody else should get it, as late as it may be.
        flights.land(job.flight, Landed(None if made is job.base else made))
        return made

    def _make(self, job: _Job) -> Effects[Snapshot]:
        """Compute the value and store it, unless somebody else has; under a lease if the call asks for one."""
        if self._silencer.refuses_write(_VERB):
            return (yield from self._compute(job._replace(stores=False)))
        if not job.call.policy.lease:
            return (yield from self._compute(job))
        turn = yield from self._turn(job)
        if isinstance(turn, _Waited):
            return turn.seen
        job = job._replace(recheck=True)  # the last holder may have stored the value just before
        if isinstance(turn, _Alone):
            return (yield from self._compute(job))
        try:
            made = yield from self._compute(job)
        except GeneratorExit:  # nobody is left to send a request; the lease ends by itself
            raise
        except BaseException:
            yield Request(turn.lease.release_quietly)
            raise
        yield Request(turn.lease.release_quietly)
        return made

    def _turn(self, job: _Job) -> Effects[_Turn]:
        """Ask for the key's lease, and look for its holder's value, until one of the three outcomes is clear."""
        clock, seconds, backoff = self._engine.clock, job.call.policy.lease, Backoff(_FIRST_WAIT, _LONGEST_WAIT)
        lease = Lock(self._engine, job.call.place.key, kind="fill", timeout=seconds, blocking=False)
        end = clock.monotonic() + seconds
        while True:
            turn: _Turn | None = yield Request(self._take, lease)
            if turn is not None:
                return turn
            if job.base.live:  # nobody waits for a refresh
                return _Waited(job.base)
            pause = backoff.wait()
            if clock.monotonic() + pause > end:
                return _Alone()
            yield Pause(clock, pause)
            seen = yield Request(self._look, job.call.place)
            if _is_new(seen, job.base):
                return _Waited(seen)

    def _take(self, lease: Lock) -> _Lead | _Alone | None:
        """Take *lease*; ``None`` if another process holds it."""
        try:
            return _Lead(lease) if lease.acquire() else None
        except StoreError as error:
            self._silencer.take(_VERB, error)
        except (LockError, OutcomeUnknown) as error:
            log.warning("%r is computed without a lease: %s", lease.name, error)
        return _Alone()

    def _compute(self, job: _Job) -> Effects[Snapshot]:
        """Compute the value and store it; if the job says so, look first, and compute only if there is no new value."""
        call, base = job.call, job.base
        if job.recheck:
            seen: Snapshot = yield Request(self._look, call.place)
            if _is_new(seen, base):
                return seen
            base = seen
        clock = self._engine.clock
        began = clock.monotonic()
        value = yield Compute(call.compute, job.flight)
        cost = clock.monotonic() - began
        self._counters.add("computed")
        made: Snapshot
        if job.stores:
            made = yield Request(self._store, call.place, value, call.policy, base, cost)
        else:
            made = yield Request(self._encode, value, call.policy)
        return made

    # The store

    def _find(self, place: Place) -> Snapshot:
        """Return what is under *place*, from the near tier if there is one. Cost: at most 1 GET."""
        try:
            return self._reader.snapshot(place)
        except StoreError as error:
            self._silencer.take(_VERB, error)
            return NOTHING

    def _look(self, place: Place) -> Snapshot:
        """Return what is under *place* in the store. Cost: 1 GET."""
        try:
            return self._engine.get(place, self._engine.budget())
        except StoreError as error:
            self._silencer.take(_VERB, error)
            return NOTHING

    def _encode(self, value: Any, policy: Policy, cost: float = 0.0) -> Snapshot:
        """Return *value* as the entry that would be stored; *cost*: the seconds that computing it took."""
        engine = self._engine
        now = engine.clock.time()
        fresh, deadline = policy.deadlines(now, self._draw)
        meta, data = engine.codec.encode(value, expires_ms=deadline, created_ms=int(now * 1000))
        if type(value) is Encoded:
            value = engine.codec.decode(meta, data)
        cost_ms = math.ceil(cost * 1000) if policy.early and cost else None
        return Snapshot(None, meta._replace(fresh_ms=fresh, cost_ms=cost_ms), data, value)

    def _store(self, place: Place, value: Any, policy: Policy, base: Snapshot, cost: float = 0.0) -> Snapshot:
        """Store *value* over *base*; return what is there afterwards, which may be another writer's.

        Cost: 1 conditional PUT; + 1 GET if another writer was faster, and again for each race lost.
        """
        engine = self._engine
        stored = made = self._encode(value, policy, cost)

        def over(seen: Snapshot) -> tuple[Meta, Any] | None:
            nonlocal stored
            if _is_new(seen, base):
                stored = seen
                return None
            if made.meta is None or (base.live and seen.etag != base.etag):
                return None  # an entry that was removed while it was recomputed is not revived
            return made.meta, made.data

        if made.meta is None or is_expired(made.meta.expires_ms, engine.clock.time()):
            return made
        try:
            engine.change(place, over, engine.budget(), revive=True, seen=base)
        except (StoreError, OutcomeUnknown) as error:
            self._silencer.take(_VERB, error)
        return stored


def _is_near(seen: Snapshot) -> bool:
    """Whether it comes from the near tier: then it may be old, and no conditional write can be based on it."""
    return seen.meta is not None and not seen.meta.nonce


def _is_new(seen: Snapshot, base: Snapshot) -> bool:
    """Whether somebody has stored a value since *base* was found."""
    return seen.live and seen.etag != base.etag
