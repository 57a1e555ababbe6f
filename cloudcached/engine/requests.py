"""One request to the store: timed, counted, and repeated as long as that may help and there is time."""

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

#: Wraps a store: is given the store, and returns the one to which requests go instead.
Around = Callable[[Store], Store]


class Requests:
    """Sends the requests of one cache. Thread-safe; the constructor does no I/O.

    breaker: lets a store that cannot be reached rest; ``None`` if failures are not silent.
    """

    def __init__(
        self, store: Store, clock: Clock, counters: Counters, timeout: float, breaker: Breaker | None = None
    ) -> None:
        self.clock = clock
        self.counters = counters
        self.timeout = timeout
        self._own = store
        #: The store to which requests go.
        self.store = EVERY_STORE.join(self, store)
        #: ``send(kind, request, *arguments, timeout=..., sent=0)``: one request, unless the breaker lets the store rest.
        self.send: Callable[..., Any] = self._sent if breaker is None else partial(breaker.call, self._sent)

    def wrap(self, around: Around) -> None:
        """Send requests to ``around(store)`` from now on: the seam at which tests count and disturb them."""
        self._own = around(self._own)
        self.refresh()

    def refresh(self) -> None:
        """Wrap the store in the current wrappers of every store of this process."""
        self.store = EVERY_STORE.around(self._own)

    def budget(self, more: float = 0.0) -> Budget:
        """Return a fresh time budget for one operation: the timeout and *more* seconds."""
        return Budget(self.clock, self.timeout + more)

    def long_budget(self, size: int) -> Budget:
        """Return a fresh time budget for an operation in which one request moves *size* bytes."""
        return LongBudget(self.clock, self.timeout + 2 * allowance(size), self.timeout)

    def call(self, budget: Budget | None, kind: str, request: Callable[..., R], *arguments: Any, sent: int = 0) -> R:
        """Send *request*, and repeat it as long as that may help and the budget lasts; only for repeatable requests.

        budget: ``None`` for a fresh one, which is made only if the first try fails. kind: the name under which the
        request is counted (``get``, ``put``, ...). sent: the size of its body in bytes.
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
        """Send one request; the bytes of its answer are counted where they are read."""
        if sent:
            self.counters.counts["bytes.written"] += sent
        now = self.clock.monotonic
        began = now()
        try:
            return request(*arguments, timeout=timeout)
        finally:
            self.counters.requests[kind].add(now() - began)


class _EveryStore:
    """The wrappers around the stores of all clients of this process, whether they exist already or are made later."""

    def __init__(self) -> None:
        #: The innermost first, each with whether it also goes around those added later.
        self.arounds: tuple[tuple[bool, Around], ...] = ()
        self._members: weakref.WeakSet[Requests] = weakref.WeakSet()

    def join(self, requests: Requests, store: Store) -> Store:
        """Add a member; return the store to which its requests go instead of *store*."""
        self._members.add(requests)
        return self.around(store)

    def around(self, store: Store) -> Store:
        """Return *store* with all wrappers around it."""
        for _, around in self.arounds:
            store = around(store)
        return store

    @contextmanager
    def wrapped(self, around: Around, *, outermost: bool = False) -> Iterator[None]:
        """Wrap every store in *around* until the block ends.

        It goes around the wrappers that are there already; with *outermost* also around those added later.
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


#: The seam for ``cloudcached.testing``, whose fixtures also see the clients that a site has made already.
EVERY_STORE: Final = _EveryStore()
