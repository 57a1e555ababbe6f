"""Counters of what happened inside a client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from .forks import PerProcess


class Counters:
    """Named counts; a forked child starts at zero."""

    def __init__(self) -> None:
        self._counts: PerProcess[Counter[str]] = PerProcess(Counter)
        self._included: list[Callable[[], Mapping[str, int]]] = []

    def add(self, name: str, count: int = 1) -> None:
        """Count *name*; threads may lose a count against each other, which is no harm here."""
        self._counts()[name] += count

    def include(self, counts: Callable[[], Mapping[str, int]]) -> None:
        """Add what somebody counts himself to every snapshot."""
        self._included.append(counts)

    def snapshot(self) -> dict[str, int]:
        """Return all counts so far."""
        snapshot = dict(self._counts())
        for counts in self._included:
            snapshot.update(counts())
        return snapshot
