"""Counters of what happened inside a client."""

from __future__ import annotations

from collections import Counter

from .forks import PerProcess


class Counters:
    """Named counts; a forked child starts at zero."""

    def __init__(self) -> None:
        self._counts: PerProcess[Counter[str]] = PerProcess(Counter)

    def add(self, name: str, count: int = 1) -> None:
        """Count *name*; threads may lose a count against each other, which is no harm here."""
        self._counts()[name] += count

    def snapshot(self) -> dict[str, int]:
        """Return all counts so far."""
        return dict(self._counts())
