"""One request to the store: timed, counted, and repeated as long as that may help and there is time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from .._types import Clock
from ..errors import StoreError
from ..runtime.budget import Budget, LongBudget, allowance
from ..runtime.counters import Counters
from ..stores.port import Closed, Store
from .outages import Breaker
from .seam import EVERY_STORE, Around

R = TypeVar("R")


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
        self.store = store
        EVERY_STORE.join(self)
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
                budget = budget or Budget(self.clock, self.timeout, began)
                self.wait_to_repeat(error, budget)
                left = budget.left
            else:
                return answer

    def wait_to_repeat(self, error: StoreError, budget: Budget) -> None:
        """Wait until the request that failed with *error* may be sent again; raise *error* if it must not be."""
        if not error.retryable:
            raise error
        if isinstance(error, Closed) and budget.reconnect():
            self.counters.add("reconnects")
            return  # not a failure of the store
        budget.spend(error)
        self.counters.add("retries")

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
