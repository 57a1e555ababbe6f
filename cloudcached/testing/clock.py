"""A clock that stands still until a test moves it."""

from __future__ import annotations

import threading


class FakeClock:
    """A ``Clock`` whose time passes only by ``advance`` and ``sleep``."""

    def __init__(self, start: float = 1_800_000_000.0, *, monotonic: float = 0.0) -> None:
        self._lock = threading.Lock()
        self._start = start
        self._monotonic = monotonic
        self._passed = 0.0

    def time(self) -> float:
        """Return seconds since the epoch."""
        return self._start + self._passed

    def monotonic(self) -> float:
        """Return the seconds that have passed, counted from *monotonic*."""
        return self._monotonic + self._passed

    def sleep(self, seconds: float) -> None:
        """Let *seconds* pass without waiting."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move both clocks forward by *seconds*."""
        with self._lock:
            self._passed += seconds
