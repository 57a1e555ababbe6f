"""What happened inside a client: counts, and how long its calls and its requests took."""

from __future__ import annotations

import os
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

#: Buckets of a histogram: the last one begins at 2**62 microseconds, which nothing takes.
_BUCKETS: Final = 64
#: The lower end of the buckets that are shown, as a power of two of a microsecond, and the upper one (67 s).
_SHOWN: Final = range(1, 27)

#: Is told the name of what was counted, and how often it happened.
Listener = Callable[[str, int], None]


class Histogram:
    """How often something took how long: bucket *n* is for less than 2**n microseconds, from the one before on.

    Not locked: under CPython's lock an increment is one step. ``Client.get`` and ``Engine`` write ``add`` out, since
    a call in code that runs cold, after a wait for the network, costs more than all the rest.
    """

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * _BUCKETS
        #: The sum.
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count one that took so long."""
        self.buckets[int(seconds * 1e6).bit_length()] += 1
        self.seconds += seconds

    def clear(self) -> None:
        """Begin anew; whoever holds the histogram keeps it."""
        self.buckets[:] = [0] * _BUCKETS
        self.seconds = 0.0

    def snapshot(self) -> Latency:
        """Return what was counted so far."""
        buckets = list(self.buckets)
        below = [sum(buckets[: end + 1]) for end in _SHOWN]
        bounds = [2**end / 1e6 for end in _SHOWN]
        return Latency(sum(buckets), self.seconds, tuple(zip(bounds, below, strict=True)))


@dataclass(frozen=True, slots=True)
class Latency:
    """How long something took, how often."""

    #: How often it happened.
    count: int
    #: Seconds that all of them took.
    seconds: float
    #: Pairs of an upper bound in seconds, and how many took less; the rest took more than the last bound.
    buckets: tuple[tuple[float, int], ...]

    def percentile(self, percent: float) -> float:
        """Return the seconds within which so many percent of them were done: a bucket's bound, at most twice too much.

        0.0 where there were none; infinite beyond the last bound.
        """
        wanted = self.count * percent / 100
        if not self.count:
            return 0.0
        return next((bound for bound, below in self.buckets if below >= wanted), float("inf"))


class Counters:
    """Named counts, and histograms of calls by verb, requests by kind and near hits by place; a forked child starts at zero.

    Where a server forks without Python's hooks (uWSGI may), a child goes on from its parent's counts.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        #: By verb: what callers waited for.
        self.calls: defaultdict[str, Histogram] = defaultdict(Histogram)
        #: By kind (``get``, ``put``, ...): what was asked of the store, its answer read and verified.
        self.requests: defaultdict[str, Histogram] = defaultdict(Histogram)
        #: By place (``memory``, ``disk``): hits of the near tier.
        self.near: defaultdict[str, Histogram] = defaultdict(Histogram)
        self._included: list[Callable[[], Mapping[str, int]]] = []
        self._listeners: tuple[Listener, ...] = ()
        _all.add(self)

    def add(self, name: str, count: int = 1) -> None:
        """Count *name*, and tell those who listen; threads may lose a count against each other."""
        self.counts[name] += count
        for listener in self._listeners:
            listener(name, count)

    def listen(self, listener: Listener) -> None:
        """Tell *listener* of every count from now on, in the thread where it happens; it may raise nothing."""
        if listener not in self._listeners:
            self._listeners = (*self._listeners, listener)

    def include(self, counts: Callable[[], Mapping[str, int]]) -> None:
        """Add what somebody counts himself to every snapshot."""
        self._included.append(counts)

    def clear(self) -> None:
        """Begin anew."""
        self.counts.clear()
        for histograms in (self.calls, self.requests, self.near):
            for histogram in list(histograms.values()):
                histogram.clear()

    def snapshot(self) -> dict[str, int]:
        """Return all counts so far; ``hits`` are what was looked for and not missed."""
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
        """Return the histograms: calls under their verbs, requests under ``store.KIND``, hits under ``near.PLACE``."""
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
