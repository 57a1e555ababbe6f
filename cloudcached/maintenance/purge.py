"""Removes expired entries one by one, concurrently with writers.

A listing does not show metadata, so each entry costs a HEAD. Between that and its DELETE somebody may rewrite the key,
and an expired key is likely to be rewritten. So the DELETE carries the strongest condition that the store honours,
which is tested once, before anything is removed:

================== ====================================================================================================
``if-match``       ``If-Match`` with the ETag: a rewritten entry stays. AWS since 2025, and the memory store
``unmodified``     Ceph's ``x-amz-delete-if-unmodified-since``, in whole seconds: an object of the last two seconds is
                   left for the next run; an entry written at the very moment of the DELETE can be lost
``grace``          no condition: an entry is removed only once it has been expired for an hour; one that is rewritten
                   between HEAD and DELETE is lost, which costs an avoidable miss
================== ====================================================================================================

Names are spread by a hash and listed in order, so the last name that is finished shows how far a run came, and where
the next run can resume.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from .._types import Clock
from ..config import Config
from ..doctor import conditions
from ..doctor.site import Reply, Site
from ..engine.engine import Engine
from ..entry.expiry import is_expired
from ..entry.format import Meta
from ..errors import (
    AccessDenied,
    BucketMissing,
    ConfigError,
    EntryRefused,
    NotFound,
    PreconditionFailed,
    ReadOnlyError,
    StoreError,
)
from ..runtime.clock import SystemClock
from ..runtime.counters import Counters
from ..runtime.pool import fan_out, read_ahead
from ..stores import open_store
from ..stores.port import ALWAYS, Head, Listed, Matches, UnmodifiedSince, WhenRemoved

R = TypeVar("R")

IF_MATCH: Final = "if-match"
UNMODIFIED: Final = "unmodified"
GRACE: Final = "grace"

#: The most requests that it takes to find out which condition the store honours.
PROBE_REQUESTS: Final = 14
#: Seconds that an entry must have been expired for if removals cannot be conditional.
GRACE_SECONDS: Final = 3600.0
#: Seconds. Dates have whole seconds, so two writes in the same second have the same date.
_YOUNG_SECONDS: Final = 2.0
#: After so many consecutive failures the rest is not tried.
_GIVE_UP: Final = 64
#: The keys of Django's and of Flask-Session's sessions contain one of these, after any prefix.
_SESSIONS: Final = ("django.contrib.sessions.", "session:")
#: The name of an entry's object, below the cache's prefix.
_NAME: Final = re.compile(r"[0-9a-f]{2}/\S+")


@dataclass(frozen=True)
class Wanted:
    """The options of a run."""

    #: Count entries, and remove none.
    dry_run: bool = False
    #: Remove counters and sessions too.
    everything: bool = False
    #: Also remove entries that are damaged, unsigned, signed with another key, or in another format.
    refused: bool = False
    #: Seconds that an entry must have been expired for; ``None``: 0 if removals are conditional, else an hour.
    grace: float | None = None
    #: The name after which to resume; "" begins at the beginning.
    resume: str = ""
    max_requests: int | None = None
    max_seconds: float | None = None


@dataclass
class Counts:
    """The entries and requests that a run has counted."""

    #: Entries of this cache.
    listed: int = 0
    #: Of those, entries that have expired.
    expired: int = 0
    #: Expired counters and sessions, which were kept.
    kept: int = 0
    #: Damaged, unsigned, signed with another key, or in another format.
    refused: int = 0
    removed: int = 0
    #: Expired at first, but rewritten before they were removed.
    spared: int = 0
    #: Could not be examined or removed.
    failed: int = 0
    #: All requests that were sent, including those of the probe.
    requests: int = 0


@dataclass
class Report:
    """The result of a run."""

    counts: Counts = field(default_factory=Counts)
    #: The condition of removals, as in the table above; "" for a dry run.
    by: str = ""
    #: Why the run ended early: ``requests``, ``seconds``, ``interrupted`` or ``failed``; "" if it did not.
    stopped: str = ""
    #: The name at which to resume; "" if the run is complete, or has done nothing.
    resume: str = ""
    #: The first failure.
    error: StoreError | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the report in plain types, for JSON."""
        error = None if self.error is None else str(self.error)
        return {**asdict(self.counts), "by": self.by, "stopped": self.stopped, "resume": self.resume, "error": error}


class _Stop(Exception):
    """No more requests are to be sent."""


class Purge:
    """One run over one cache. The constructor does no I/O.

    Raises ``ReadOnlyError`` for a read-only configuration, and ``ConfigError`` for an invalid name to resume at, or for
    a request limit so low that a run would do nothing.
    """

    def __init__(self, config: Config, wanted: Wanted, *, clock: Clock | None = None) -> None:
        if config.read_only and not wanted.dry_run:
            raise ReadOnlyError("purge would remove entries, and this client is read-only")
        if wanted.resume and not _NAME.fullmatch(wanted.resume):
            raise ConfigError(f"cannot resume at {wanted.resume!r}; give the name that a run has printed, like 3f/name")
        probes = 0 if wanted.dry_run or config.scheme == "memory" else PROBE_REQUESTS
        if wanted.max_requests is not None and wanted.max_requests <= probes:
            raise ConfigError(
                f"{wanted.max_requests} requests would be spent before the first entry is looked at: testing which"
                f" conditions this store honours takes up to {probes}; allow more, or only count (dry run)"
            )
        self._config = config
        self._wanted = wanted
        self._clock = clock or SystemClock()
        self._engine = Engine(config, open_store(config, self._clock), self._clock, Counters())
        self._end = float("inf")
        self._grace = wanted.grace or 0.0
        self._failures_in_a_row = 0
        self._busy = 0
        self._state = threading.Condition()
        self.report = Report(resume=wanted.resume)

    def run(self, progress: Callable[[float, Counts], None] | None = None) -> Report:
        """Remove expired entries, and return a report.

        progress: called now and then with the part that is done, 0 to 1, and the counts so far. A
        ``KeyboardInterrupt`` ends the run, after the requests that are under way. Entries that could not be removed are
        counted; a bucket that denies access, or fails for many entries in a row, ends the run. Raises ``StoreError`` if
        not even the first page can be listed.

        **Atomicity:** per entry; see the table above. **Cost:** 1 LIST per 1,000 entries, 1 HEAD for each, 1 DELETE for
        each that has expired; before that up to ``PROBE_REQUESTS`` requests to test which condition the store honours.
        """
        report, counts = self.report, self.report.counts
        self._end = self._clock.monotonic() + (self._wanted.max_seconds or float("inf"))
        try:
            if not self._wanted.dry_run:
                self._choose()
            unbroken = True
            for row, done in fan_out(self._look_after, self._rows()):
                unbroken = unbroken and done
                if unbroken:
                    report.resume = row.object_key[len(self._engine.names.root) :]
                    if progress is not None:
                        progress(int(report.resume[:2], 16) / 256, counts)
        except KeyboardInterrupt:
            report.stopped = "interrupted"
        except _Stop:
            pass  # not even the first page was listed
        with self._state:
            while self._busy:
                self._state.wait()
        if not report.stopped:
            report.resume = ""
        return report

    def _rows(self) -> Iterator[Listed]:
        """Yield the entries of this cache, in order; the next page is requested while the current one is processed."""
        for page in read_ahead(self._pages()):
            for row in page:
                if self.report.stopped:
                    return
                if self._engine.names.is_ours(row.object_key):
                    yield row

    def _pages(self) -> Iterator[list[Listed]]:
        root = self._engine.names.root
        after, more = root + self._wanted.resume if self._wanted.resume else "", True
        while more:
            try:
                page, more = self._ask("list", partial(self._engine.store.list, root, after=after))
            except _Stop:
                return
            except StoreError as error:
                if not self.report.counts.listed:
                    raise
                self._stop("failed", error)
                return
            yield page
            if not page:
                return
            after = page[-1].object_key

    # One entry

    def _look_after(self, row: Listed) -> bool:
        """Look at an entry, and remove it if it has expired; return whether it is finished."""
        with self._working():
            try:
                self._purge(row.object_key)
            except _Stop:
                return False
            except StoreError as error:
                self._failed(error)
            else:
                self._failures_in_a_row = 0
            return True

    def _purge(self, object_key: str) -> None:
        try:
            head: Head = self._ask("head", self._engine.store.head, object_key)
        except NotFound:
            return  # somebody else has removed the object
        self._count("listed")
        if not self._is_doomed(object_key, head) or self._wanted.dry_run:
            return
        when = self._condition(head)
        if when is None:
            self._count("spared")
            return
        try:
            self._ask("delete", partial(self._engine.store.delete, when=when), object_key)
        except PreconditionFailed:
            self._count("spared")
        else:
            self._count("removed")

    def _is_doomed(self, object_key: str, head: Head) -> bool:
        now = self._clock.time() - self._grace
        try:
            meta = self._engine.codec.check(object_key, head.metadata, head.size)
        except EntryRefused:
            self._count("refused")
            return self._wanted.refused and head.modified <= now
        if not is_expired(meta.expires_ms, now):
            return False
        self._count("expired")
        if not self._wanted.everything and self._is_counter_or_session(object_key, meta):
            self._count("kept")
            return False
        return True

    def _is_counter_or_session(self, object_key: str, meta: Meta) -> bool:
        """Return whether an entry is a counter or a session."""
        if meta.type == "int":
            return True
        key = self._engine.names.key_of(object_key) or ""
        return any(mark in key for mark in _SESSIONS)

    def _condition(self, head: Head) -> WhenRemoved | None:
        """Return the condition of a removal; ``None`` if no condition could tell the object from a later write."""
        if self.report.by == IF_MATCH:
            return Matches(head.etag)
        if self.report.by == GRACE:
            return ALWAYS
        young = head.modified > self._clock.time() - _YOUNG_SECONDS
        return None if young else UnmodifiedSince(head.modified)

    # The condition that the store honours

    def _choose(self) -> None:
        self.report.by, requests = removal_of(self._config, self._clock)
        self.report.counts.requests += requests
        if self.report.by == GRACE and self._wanted.grace is None:
            self._grace = GRACE_SECONDS

    # Requests and failures

    def _ask(self, kind: str, request: Callable[..., R], *arguments: Any) -> R:
        """Send *request*, and repeat it while that may help; raise ``_Stop`` if no more may be sent."""

        def metered(*arguments: Any, timeout: float) -> R:
            with self._state:
                counts, limit = self.report.counts, self._wanted.max_requests
                if not self.report.stopped and limit is not None and counts.requests >= limit:
                    self.report.stopped = "requests"
                if not self.report.stopped and self._clock.monotonic() >= self._end:
                    self.report.stopped = "seconds"
                if self.report.stopped:
                    raise _Stop
                counts.requests += 1
            return request(*arguments, timeout=timeout)

        return self._engine.requests.call(self._engine.budget(), kind, metered, *arguments)

    def _failed(self, error: StoreError) -> None:
        self._count("failed")
        self._failures_in_a_row += 1
        if isinstance(error, (AccessDenied, BucketMissing)) or self._failures_in_a_row >= _GIVE_UP:
            self._stop("failed", error)
        self.report.error = self.report.error or error

    def _stop(self, reason: str, error: StoreError) -> None:
        with self._state:
            self.report.stopped = self.report.stopped or reason
            self.report.error = self.report.error or error

    def _count(self, name: str) -> None:
        with self._state:
            counts = self.report.counts
            setattr(counts, name, getattr(counts, name) + 1)

    @contextmanager
    def _working(self) -> Iterator[None]:
        with self._state:
            self._busy += 1
        try:
            yield
        finally:
            with self._state:
                self._busy -= 1
                self._state.notify_all()


class _CountedSite(Site):
    """A site that counts its requests."""

    def __init__(self, config: Config, clock: Clock) -> None:
        super().__init__(config, clock)
        self.requests = 0

    def __enter__(self) -> _CountedSite:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def ask(self, method: str, **arguments: Any) -> Reply:
        """Send one request."""
        self.requests += 1
        return super().ask(method, **arguments)


def removal_of(config: Config, clock: Clock) -> tuple[str, int]:
    """Return the strongest condition of removals that the bucket of *config* honours, and the requests that this took.

    Writes only under ``prefix/_cloudcached/doctor/``, and removes what it wrote. **Cost:** up to ``PROBE_REQUESTS``.
    """
    if config.scheme == "memory":
        return IF_MATCH, 0
    with _CountedSite(config, clock) as site:
        by = GRACE
        if conditions.delete_if_match(site).answer == "yes":
            by = IF_MATCH
        elif conditions.delete_if_unmodified_since(site).answer == "yes":
            by = UNMODIFIED
        site.clear()
        return by, site.requests
