"""A client's statistics: counts, and how long its calls and its requests took."""

from __future__ import annotations

import os
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

#: Buckets of a histogram: the last one begins at 2**62 microseconds, longer than anything takes.
_BUCKETS: Final = 64
#: The bounds of the buckets that are shown, as powers of two in microseconds: from 2 us to 67 s.
_SHOWN: Final = range(1, 27)

#: Is called with the name of a count, and by how much it grew.
Listener = Callable[[str, int], None]


class Histogram:
    """A latency histogram: bucket *n* counts durations from 2**(n-1) up to 2**n microseconds.

    Not locked: under CPython's lock an increment is one step. ``Client.get`` writes ``add`` out inline: right after a wait
    for the network code runs cold, and one more call costs more than all the rest of the counting.
    """

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * _BUCKETS
        #: The sum of all durations.
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.buckets[int(seconds * 1e6).bit_length()] += 1
        self.seconds += seconds

    def clear(self) -> None:
        """Start again from zero; references to the histogram stay valid."""
        self.buckets[:] = [0] * _BUCKETS
        self.seconds = 0.0

    def snapshot(self) -> Latency:
        """Return the counts so far, as a value that no longer changes."""
        buckets = list(self.buckets)
        below = [sum(buckets[: end + 1]) for end in _SHOWN]
        bounds = [2**end / 1e6 for end in _SHOWN]
        return Latency(sum(buckets), self.seconds, tuple(zip(bounds, below, strict=True)))


@dataclass(frozen=True, slots=True)
class Latency:
    """How many times something happened, and how long it took."""

    #: How many times it happened.
    count: int
    #: The sum of all durations, in seconds.
    seconds: float
    #: Pairs of an upper bound in seconds and the number of durations below it; the rest are above the last bound.
    buckets: tuple[tuple[float, int], ...]

    def percentile(self, percent: float) -> float:
        """Return the seconds within which *percent* of them were done: a bucket's bound, at most twice the true value.

        0.0 if there were none; infinite beyond the last bound.
        """
        wanted = self.count * percent / 100
        if not self.count:
            return 0.0
        return next((bound for bound, below in self.buckets if below >= wanted), float("inf"))


class Counters:
    """Named counts, and histograms of calls by method, requests by kind, near hits by place; a forked child starts at zero.

    If a server forks without Python's hooks (uWSGI may), a child continues its parent's counts.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        #: By method: the time that callers waited.
        self.calls: defaultdict[str, Histogram] = defaultdict(Histogram)
        #: By kind (``get``, ``put``, ...): requests to the store, reading and verifying the answer included.
        self.requests: defaultdict[str, Histogram] = defaultdict(Histogram)
        #: By place (``memory``, ``disk``): hits of the near tier.
        self.near: defaultdict[str, Histogram] = defaultdict(Histogram)
        self._included: list[Callable[[], Mapping[str, int]]] = []
        self._listeners: tuple[Listener, ...] = ()
        _all.add(self)

    def add(self, name: str, count: int = 1) -> None:
        """Count *name* and tell the listeners; threads may lose a count against each other."""
        self.counts[name] += count
        for listener in self._listeners:
            listener(name, count)

    def listen(self, listener: Listener) -> None:
        """Call *listener* for every count from now on, in the thread where it happens; it must not raise."""
        if listener not in self._listeners:
            self._listeners = (*self._listeners, listener)

    def include(self, counts: Callable[[], Mapping[str, int]]) -> None:
        """Add the result of *counts* to every snapshot: for parts that keep counts of their own."""
        self._included.append(counts)

    def clear(self) -> None:
        """Start again from zero."""
        self.counts.clear()
        for histograms in (self.calls, self.requests, self.near):
            for histogram in list(histograms.values()):
                histogram.clear()

    def snapshot(self) -> dict[str, int]:
        """Return all counts so far; ``hits`` are the reads that neither missed nor failed."""
        counts = Counter(self.counts)
        for group, histograms in (("calls", self.calls), ("requests", self.requests)):
            for name, histogram in list(histograms.items()):
                counts[f"{group}.{name}"] = sum(histogram.buckets)
        looked = counts["calls.get"] + counts.pop("looked", 0)
        counts["hits"] = max(0, looked - counts["misses"] - counts["errors.get"])
        snapshot = {name: count for name, count in counts.items() if count}
        for included in self._included:
            snapshot.update(included())
        return snapshot

    def latencies(self) -> dict[str, Latency]:
        """Return the histograms: calls under their methods' names, requests under ``store.KIND``, hits under ``near.PLACE``."""
        groups = (("", self.calls), ("store.", self.requests), ("near.", self.near))
        found = {
            f"{prefix}{name}": histogram.snapshot()
            for prefix, histograms in groups
            for name, histogram in list(histograms.items())
        }
        return {name: latency for name, latency in found.items() if latency.count}


_all: Final[weakref.WeakSet[Counters]] = weakref.WeakSet()


def _after_fork() -> None:
    for counters in list(_all):
        counters.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
