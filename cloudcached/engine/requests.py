"""One request to the store: timed and counted, and repeated while that may help and its time lasts."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from operator import itemgetter
from typing import Any, Final, TypeVar

from .._types import Clock
from ..errors import StoreError
from ..runtime.budget import Budget, LongBudget, allowance
from ..runtime.counters import Counters
from ..stores.port import Store
from .outages import Breaker

R = TypeVar("R")

#: What is put around a store: it is given the store, and returns the one that is asked instead.
Around = Callable[[Store], Store]


class Requests:
    """Sends the requests of one cache. Thread-safe; the constructor does no I/O.

    breaker: rests a store that cannot be reached; ``None`` where failures are not silent.
    """

    def __init__(
        self, store: Store, clock: Clock, counters: Counters, timeout: float, breaker: Breaker | None = None
    ) -> None:
        self.clock = clock
        self.counters = counters
        self.timeout = timeout
        self._own = store
        #: The store that is asked.
        self.store = EVERY_STORE.join(self, store)
        #: ``send(kind, request, *arguments, timeout=..., sent=0)``: one request, unless the breaker lets the store rest.
        self.send: Callable[..., Any] = self._sent if breaker is None else partial(breaker.call, self._sent)

    def wrap(self, around: Around) -> None:
        """Ask ``around(store)`` from now on instead of the store: the seam at which tests count and disturb requests."""
        self._own = around(self._own)
        self.refresh()

    def refresh(self) -> None:
        """Look up again what stands around every store of this process."""
        self.store = EVERY_STORE.around(self._own)

    def budget(self, more: float = 0.0) -> Budget:
        """Return a fresh time budget for one operation: the timeout and *more* seconds."""
        return Budget(self.clock, self.timeout + more)

    def long_budget(self, size: int) -> Budget:
        """Return a fresh time budget for an operation in which one request has *size* bytes to move."""
        return LongBudget(self.clock, self.timeout + 2 * allowance(size), self.timeout)

    def call(self, budget: Budget | None, kind: str, request: Callable[..., R], *arguments: Any, sent: int = 0) -> R:
        """Send *request*, and repeat it while that may help and the budget lasts: only what may be repeated.

        budget: ``None`` for a fresh one, made when the first try has failed. kind: under which name the request is
        counted (``get``, ``put``, ...). sent: the bytes of its body.
        """
        began = self.clock.monotonic() if budget is None else None
        left = self.timeout if budget is None else budget.left
        while True:
            try:
                answer: R = self.send(kind, request, *arguments, timeout=left, sent=sent)
            except StoreError as error:
                if not error.retryable:
                    raise
                budget = budget or Budget(self.clock, self.timeout, began)
                budget.spend(error)
                self.counters.add("retries")
                left = budget.left
            else:
                return answer

    def _sent(self, kind: str, request: Callable[..., R], *arguments: Any, timeout: float, sent: int = 0) -> R:
        """Send one request; what is read is counted where it is read."""
        if sent:
            self.counters.counts["bytes.written"] += sent
        now = self.clock.monotonic
        began = now()
        try:
            return request(*arguments, timeout=timeout)
        finally:
            self.counters.requests[kind].add(now() - began)


class _EveryStore:
    """What stands around the stores of all clients of this process, made before or after."""

    def __init__(self) -> None:
        #: The innermost first, each with whether it stays around what comes later too.
        self.arounds: tuple[tuple[bool, Around], ...] = ()
        self._members: weakref.WeakSet[Requests] = weakref.WeakSet()

    def join(self, requests: Requests, store: Store) -> Store:
        """Take in a new member; return what it asks instead of *store*."""
        self._members.add(requests)
        return self.around(store)

    def around(self, store: Store) -> Store:
        """Return *store* with everything around it."""
        for _, around in self.arounds:
            store = around(store)
        return store

    @contextmanager
    def wrapped(self, around: Around, *, outermost: bool = False) -> Iterator[None]:
        """Put *around* around every store until the block ends.

        It stands around what is there already; with *outermost* also around what comes later.
        """
        own = (outermost, around)
        self._set([*self.arounds, own])
        try:
            yield
        finally:
            self._set([other for other in self.arounds if other is not own])

    def _set(self, arounds: list[tuple[bool, Around]]) -> None:
        self.arounds = tuple(sorted(arounds, key=itemgetter(0)))
        for requests in list(self._members):
            requests.refresh()


#: The seam of ``cloudcached.testing``, whose fixtures see the clients that a site has made already.
EVERY_STORE: Final = _EveryStore()
