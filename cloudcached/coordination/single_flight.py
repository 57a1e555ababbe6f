"""Single flight: of all threads and tasks of a process that miss one key, one computes, and the others wait for it."""

from __future__ import annotations

import math
import threading
from concurrent.futures import Future
from typing import Final, NamedTuple

from .._types import Clock
from ..engine.snapshot import Snapshot

#: Landings are counted for keys that share one of so many slots.
_SLOTS: Final = 256
#: Seconds until what could not be refreshed is tried again.
REST_SECONDS: Final = 5.0
#: Refreshes under way at once: they share the pool with everybody's requests.
MOST_ASIDE: Final = 8


class Landed(NamedTuple):
    """What came of a flight; neither of the two: it was given up (cancelled, interrupted)."""

    seen: Snapshot | None = None
    error: Exception | None = None


class Flight:
    """One computation under way."""

    __slots__ = ("key", "landing", "needs_pool", "patience", "relief")

    def __init__(self, key: str, now: float, patience: float, *, needs_pool: bool) -> None:
        self.key = key
        #: Nobody can cancel it: it counts as running.
        self.landing: Future[Landed] = Future()
        self.landing.set_running_or_notify_cancel()
        #: Seconds after which one of those who wait begins to compute too, and when that is, by the monotonic clock.
        self.patience = patience
        self.relief = now + patience
        #: Whether it takes threads of the pool to land, as one on an event loop does.
        self.needs_pool = needs_pool


class Flights:
    """The flights of one cache in one process. Thread-safe.

    patience: seconds that are waited for a flight before one of those who wait computes too. A leader always lands,
    so this is for computations that hang, and for two that wait for each other.
    """

    def __init__(self, clock: Clock, patience: float) -> None:
        self._now = clock.monotonic
        self._patience = patience
        self._lock = threading.Lock()
        self._under_way: dict[str, Flight] = {}
        self._landings = [0] * _SLOTS
        self._aside = 0
        #: By key: until when no refresh is begun; for ever while one is under way.
        self._resting: dict[str, float] = {}

    def enter(self, key: str, patience: float, *, needs_pool: bool) -> tuple[Flight, bool]:
        """Return the flight of *key*, and whether the caller leads it; then the caller must land it."""
        with self._lock:
            flight = self._under_way.get(key)
            if flight is not None:
                return flight, False
            flight = Flight(key, self._now(), max(patience, self._patience), needs_pool=needs_pool)
            self._under_way[key] = flight
            return flight, True

    def left(self, flight: Flight) -> float:
        """Return the seconds until somebody is to relieve the leader."""
        return max(0.0, flight.relief - self._now())

    def relieve(self, flight: Flight) -> bool:
        """Tell whether the caller is to compute too; one of those who wait is, each time that this was too long."""
        with self._lock:
            if self._under_way.get(flight.key) is not flight or self._now() < flight.relief:
                return False
            flight.relief = self._now() + flight.patience
            return True

    def land(self, flight: Flight, landed: Landed) -> None:
        """Tell all who wait; of several who computed for one flight the first does."""
        with self._lock:
            if self._under_way.get(flight.key) is not flight:
                return
            del self._under_way[flight.key]
            self._landings[hash(flight.key) % _SLOTS] += 1
        flight.landing.set_result(landed)

    def landings(self, key: str) -> int:
        """Return a number that grows with each landing of *key*: who missed it before one looks again."""
        return self._landings[hash(key) % _SLOTS]

    def begin_aside(self, key: str) -> bool:
        """Tell whether the caller is to refresh *key*; then it must call ``end_aside``."""
        with self._lock:
            if self._aside >= MOST_ASIDE or self._now() < self._resting.get(key, -math.inf):
                return False
            self._aside += 1
            self._resting[key] = math.inf
            return True

    def end_aside(self, key: str, *, rest: bool) -> None:
        """End a refresh; with *rest* the next one waits for a while."""
        with self._lock:
            now = self._now()
            self._aside -= 1
            self._resting[key] = now + REST_SECONDS if rest else now
            self._resting = {key: until for key, until in self._resting.items() if until > now}
