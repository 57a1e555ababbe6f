"""Single flight: of all threads and tasks of a process that miss a key, one computes, and the others wait for its result.

A *flight* is one such computation under way: its leader must *land* it, with a value or an error for those who wait.
"""

from __future__ import annotations

import math
import threading
from concurrent.futures import Future
from typing import Final, NamedTuple

from .._types import Clock
from ..engine.snapshot import Snapshot

#: Landings are counted in this many slots, which keys share.
_SLOTS: Final = 256
#: Seconds until a refresh that failed is tried again.
REST_SECONDS: Final = 5.0
#: Background refreshes under way at once: they share the pool with everybody's requests.
MOST_REFRESHES: Final = 8


class Landed(NamedTuple):
    """The result of a flight: a value or an error, or neither where there is nothing that others could use."""

    seen: Snapshot | None = None
    error: Exception | None = None

    @property
    def is_empty(self) -> bool:
        """Whether those who wait have to try again: the leader was cancelled or interrupted, or made nothing new."""
        return self.seen is None and self.error is None


class Flight:
    """One computation under way."""

    __slots__ = ("key", "landing", "needs_pool", "patience", "relief")

    def __init__(self, key: str, now: float, patience: float, *, needs_pool: bool) -> None:
        self.key = key
        #: Nobody can cancel it: it counts as running.
        self.landing: Future[Landed] = Future()
        self.landing.set_running_or_notify_cancel()
        #: Seconds after which one of those who wait starts computing too.
        self.patience = patience
        #: When the next one does, by the monotonic clock.
        self.relief = now + patience
        #: Whether it needs threads of the pool to land, as a flight on an event loop does.
        self.needs_pool = needs_pool


class Flights:
    """The flights of one cache in one process. Thread-safe.

    patience: seconds to wait for a flight before one of those who wait starts computing too. A leader always lands its
    flight, so this is for computations that hang, and for two that wait for each other.
    """

    def __init__(self, clock: Clock, patience: float) -> None:
        self._now = clock.monotonic
        self._patience = patience
        self._lock = threading.Lock()
        self._under_way: dict[str, Flight] = {}
        self._landings = [0] * _SLOTS
        #: The number of background refreshes under way.
        self._refreshes = 0
        #: By key: the time before which no refresh begins; infinite while one is under way.
        self._resting: dict[str, float] = {}

    def enter(self, key: str, patience: float, *, needs_pool: bool) -> tuple[Flight, bool]:
        """Return the flight of *key*, and whether the caller leads it; a leader must land it."""
        with self._lock:
            flight = self._under_way.get(key)
            if flight is not None:
                return flight, False
            flight = Flight(key, self._now(), max(patience, self._patience), needs_pool=needs_pool)
            self._under_way[key] = flight
            return flight, True

    def left(self, flight: Flight) -> float:
        """Return the seconds until one of those who wait is to relieve the leader."""
        return max(0.0, flight.relief - self._now())

    def relieve(self, flight: Flight) -> bool:
        """Whether the caller is to compute too: one of those who wait is, each time that *patience* has run out."""
        with self._lock:
            if self._under_way.get(flight.key) is not flight or self._now() < flight.relief:
                return False
            flight.relief = self._now() + flight.patience
            return True

    def land(self, flight: Flight, landed: Landed) -> None:
        """End *flight* and tell all who wait; if several have computed for it, only the first one to land counts."""
        with self._lock:
            if self._under_way.get(flight.key) is not flight:
                return
            del self._under_way[flight.key]
            self._landings[hash(flight.key) % _SLOTS] += 1
        flight.landing.set_result(landed)

    def landings(self, key: str) -> int:
        """Return a number that grows with each landing of *key*: if it grew since a miss, the value may be there now."""
        return self._landings[hash(key) % _SLOTS]

    def begin_refresh(self, key: str) -> bool:
        """Whether the caller is to refresh *key* in the background; then it must call ``end_refresh``."""
        with self._lock:
            if self._refreshes >= MOST_REFRESHES or self._now() < self._resting.get(key, -math.inf):
                return False
            self._refreshes += 1
            self._resting[key] = math.inf
            return True

    def end_refresh(self, key: str, *, failed: bool) -> None:
        """End a background refresh; after one that *failed*, the next begins ``REST_SECONDS`` later at the earliest."""
        with self._lock:
            now = self._now()
            self._refreshes -= 1
            self._resting[key] = now + REST_SECONDS if failed else now
            self._resting = {key: until for key, until in self._resting.items() if until > now}
