"""Single-flight for Flask-Caching: one request computes a value that many miss, and the others wait for it.

Flask-Caching has no place for such a wait: ``cached``, ``memoize`` and the template tag call the backend's ``get``,
then the view, then its ``set``. So a ``get`` that misses within a request takes the key's turn, which ends with the
``set`` of the key, or else with the request. The other requests that miss the key, in all processes, wait for the
value.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from flask import g, has_request_context

from cloudcached import MISSING, Client, Lock, LockError, OutcomeUnknown, StoreError

log = logging.getLogger("cloudcached.flask")

#: Seconds between two looks for the value that another process computes: the first wait, and the longest. The waits are
#: those of the core's ``Backoff``, which is not a public name.
_FIRST_WAIT: Final = 0.05
_LONGEST_WAIT: Final = 1.0


class _Turn:
    """One request's turn to compute a key: among the requests of this process, and by its lease among all."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.lease: Lock | None = None


class Turns:
    """The turns of one cache. Thread-safe.

    client: returns the cache's client. seconds: the length of a lease, and how long a request waits before it computes
    the value itself.
    """

    def __init__(self, client: Callable[[], Client], seconds: float) -> None:
        self._client = client
        self._seconds = seconds
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._taken: dict[str, _Turn] = {}
        self._lock = threading.Lock()

    def wait(self, name: str) -> Any:
        """Return the value of the missing key *name* when another request has set it, or ``None`` to compute it.

        **Atomicity:** only one of all requests that miss a key computes it, as long as that takes no longer than the
        lease and the store can be reached. **Cost:** for the request that computes, 2 GETs and 2 conditional PUTs
        besides the ``set``; for one that waits, 1 GET, or 2 per attempt if another process computes.
        """
        if not has_request_context() or self._mine():
            return None  # a request that holds one turn and waited for another could cause a deadlock
        end = time.monotonic() + self._seconds
        while True:
            turn = self._take(name)
            if turn is not None:
                break
            other = self._taken.get(name)
            if other is not None and not other.over.wait(max(0.0, end - time.monotonic())):
                return None
            value = self._client().get(name, MISSING)
            if value is not MISSING:
                return value
        self._mine()[name] = turn
        value = self._lead(name, turn, end)
        if value is MISSING:
            return None
        self.end(name)
        return value

    def _take(self, name: str) -> _Turn | None:
        if self._pid != os.getpid():  # a forked child has neither its parent's requests nor its locks
            self._begin()
        with self._lock:
            if name in self._taken:
                return None
            turn = self._taken[name] = _Turn()
            return turn

    def _lead(self, name: str, turn: _Turn, end: float) -> Any:
        """Take the lease, or wait for the value of who has it; return the value, ``MISSING`` where it is our turn."""
        client, wait = self._client(), _FIRST_WAIT
        lease = client.lock(f"flask {name}", timeout=self._seconds, blocking=False)
        while True:
            try:
                if lease.acquire():
                    turn.lease = lease
                    return client.get(name, MISSING)  # who had the lease before may have set it
            except (StoreError, LockError, OutcomeUnknown) as error:
                log.warning("%r is computed without a lease: %s", name, error)
                return MISSING
            pause = wait * random.uniform(0.5, 1)  # noqa: S311 - spreads load, protects nothing
            if time.monotonic() + pause > end:
                return MISSING
            time.sleep(pause)
            wait = min(2 * wait, _LONGEST_WAIT)
            value = client.get(name, MISSING)
            if value is not MISSING:
                return value

    def _mine(self) -> dict[str, _Turn]:
        """Return the turns of this request."""
        mine: dict[str, _Turn] = g.setdefault(f"_cloudcached_turns_{id(self)}", {})
        return mine

    def end(self, name: str) -> None:
        """End this request's turn of *name*, if it has one: the key was set."""
        turn = self._mine().pop(name, None) if has_request_context() else None
        if turn is None:
            return
        try:
            if turn.lease is not None:
                turn.lease.release()
        except (StoreError, LockError, OutcomeUnknown) as error:
            log.warning("the lease of %r was not released and will run out: %s", name, error)
        finally:
            with self._lock:
                self._taken.pop(name, None)
            turn.over.set()

    def end_all(self, _: BaseException | None = None) -> None:
        """End all turns of this request. Flask calls this when the request is over."""
        for name in list(self._mine()):
            self.end(name)
