"""What one visit cost: whether anything was computed for it, how long it took, and which requests went to S3.

The line that says so must not come out of the cache with the rest of the page. So pages hold a mark in its place, which
the outermost layer of each site replaces by a fresh line for every visit.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

MARK = b"<!-- what this visit cost -->"

Stats = Callable[[], Mapping[str, int]]


@dataclass(eq=False)
class Visit:
    """One request to the site, from its beginning."""

    #: Returns the counters of this process's cache.
    stats: Stats
    begun: float = field(default_factory=time.perf_counter)
    computing: float = 0.0  # seconds
    note: str = ""
    #: Whether no other visit was under way in this process: its requests to S3 would be counted as ours.
    alone: bool = True
    before: Mapping[str, int] = field(default_factory=dict)

    def asked(self) -> dict[str, int]:
        """Return the number of requests to S3 since the beginning, by kind."""
        now = self.stats()
        kinds = [name for name in now if name.startswith("requests.")]
        counts = {name.removeprefix("requests."): now[name] - self.before.get(name, 0) for name in kinds}
        return {kind.upper(): count for kind, count in counts.items() if count}

    def server_timing(self) -> str:
        """Return the ``Server-Timing`` header, which browsers show next to the request."""
        parts = [f"total;dur={1000 * (time.perf_counter() - self.begun):.1f}"]
        if self.computing:
            parts.insert(0, f"compute;dur={1000 * self.computing:.1f}")
        return ", ".join(parts)

    def line(self) -> bytes:
        """Return the line that replaces ``MARK`` on the page."""
        total, asked = time.perf_counter() - self.begun, self.asked()
        if self.computing:
            kind, text = "computed", f"Computed for this visit in {self.computing:.2f} s"
        elif asked:
            kind, text = "cached", f"Served from the cache in {1000 * total:.1f} ms"
        else:
            kind, text = "made", f"Made for this visit in {1000 * total:.1f} ms"
        counts = ", ".join(f"{count} {kind}" for kind, count in asked.items()) or "none"
        asked_for = f"Requests to S3: {counts}" if self.alone else "requests not counted: other visits were under way"
        note = f" <span>{self.note}</span>" if self.note else ""
        return f'<p class="told {kind}"><b>{text}</b> <span class="asked">{asked_for}</span>{note}</p>'.encode()

    def end(self) -> None:
        """Mark the visit as over."""
        with _lock:
            _under_way.discard(self)


_current: ContextVar[Visit | None] = ContextVar("visit", default=None)
_lock = threading.Lock()
_under_way: set[Visit] = set()


@contextmanager
def computing(note: str = "") -> Iterator[None]:
    """Count the time spent inside as computing for the current visit."""
    begun = time.perf_counter()
    yield
    tell(note, computing=time.perf_counter() - begun)


def tell(note: str, *, computing: float = 0.0) -> None:
    """Add a note and computing time (seconds) to the current visit."""
    visit = _current.get()
    if visit is not None:
        visit.computing += computing
        visit.note = note or visit.note


def begin(stats: Stats) -> Visit:
    """Start a visit in this thread or task; *stats* returns the counters of this process's cache."""
    visit = Visit(stats, before=stats())
    with _lock:
        for other in _under_way:
            visit.alone = other.alone = False
        _under_way.add(visit)
    _current.set(visit)
    return visit
