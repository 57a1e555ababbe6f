"""What one visit cost, told truthfully: whether anything was computed for it, and how long it took.

The line about it must not come out of the cache with the rest of the page. So pages hold a mark in its place, and the
outermost layer of each site puts the line there for every visit anew.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

MARK = b"<!-- told at every visit -->"


@dataclass
class Visit:
    """One request, from its begin on."""

    begun: float = field(default_factory=time.perf_counter)
    computing: float = 0.0  # seconds
    note: str = ""

    def server_timing(self) -> str:
        """Return the header that browsers show beside the request."""
        parts = [f"total;dur={1000 * (time.perf_counter() - self.begun):.1f}"]
        if self.computing:
            parts.insert(0, f"compute;dur={1000 * self.computing:.1f}")
        return ", ".join(parts)

    def line(self) -> bytes:
        """Return what stands on the page in place of ``MARK``."""
        total = time.perf_counter() - self.begun
        if self.computing:
            kind, text = "computed", f"Computed for this visit in {self.computing:.2f} s"
        else:
            kind, text = "cached", f"Served from the cache in {1000 * total:.1f} ms"
        note = f" <span>{self.note}</span>" if self.note else ""
        return f'<p class="told {kind}"><b>{text}</b>{note}</p>'.encode()


_current: ContextVar[Visit | None] = ContextVar("visit", default=None)


@contextmanager
def computing(note: str = "") -> Iterator[None]:
    """Count the time inside as computing for the current visit."""
    begun = time.perf_counter()
    yield
    tell(note, computing=time.perf_counter() - begun)


def tell(note: str, *, computing: float = 0.0) -> None:
    """Add to what is told of the current visit."""
    visit = _current.get()
    if visit is not None:
        visit.computing += computing
        visit.note = note or visit.note


def begin() -> Visit:
    """Start a visit in this thread or task."""
    visit = Visit()
    _current.set(visit)
    return visit
