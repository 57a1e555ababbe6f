"""One request to the store: timed and counted, and repeated while that may help and its time lasts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from .._types import Clock
from ..entry.streams import SealedStream
from ..errors import StoreError
from ..runtime.budget import Budget, LongBudget
from ..runtime.counters import Counters, kind_of
from ..stores.boto3.deadlines import allowance
from ..stores.port import Store, Write
from .breaker import Breaker

R = TypeVar("R")

#: What the bytes of a request are among its arguments.
_BODIES = (bytes, bytearray, memoryview, SealedStream)


class Requests:
    """Sends the requests of one cache. Thread-safe; the constructor does no I/O."""

    def __init__(
        self, store: Store, clock: Clock, counters: Counters, timeout: float, breaker: Breaker | None = None
    ) -> None:
        self.store = store
        self.clock = clock
        self.counters = counters
        self._timeout = timeout
        self._now = clock.monotonic
        #: Sends one request, unless the circuit breaker says to let the store rest.
        self.send: Callable[..., Any] = self._sent if breaker is None else partial(breaker.call, self._sent)

    def budget(self, more: float = 0.0) -> Budget:
        """Return a fresh time budget for one operation, *more* seconds beside the timeout."""
        return Budget(self.clock, self._timeout + more)

    def long_budget(self, size: int) -> Budget:
        """Return a fresh time budget for an operation in which one request has *size* bytes to move."""
        return LongBudget(self.clock, self._timeout + 2 * allowance(size), self._timeout)

    def call(self, budget: Budget, request: Callable[..., R], *arguments: Any) -> R:
        """Send *request* and repeat it while that may help and the budget lasts; for requests that may be repeated."""
        while True:
            try:
                answer: R = self.send(request, *arguments, timeout=budget.left)
            except StoreError as error:
                if not error.retryable:
                    raise
                budget.spend(error)
                self.counters.add("retries")
            else:
                return answer

    def _sent(self, request: Callable[..., R], *arguments: Any, **options: Any) -> R:
        """Send one request, and count how long it took and what it sent; what is read is counted where it is read."""
        counts, began = self.counters.counts, self._now()
        for argument in arguments:
            body = argument.body if isinstance(argument, Write) else argument
            if isinstance(body, _BODIES):
                counts["bytes.written"] += len(body)
        try:
            return request(*arguments, **options)
        finally:
            self.counters.requests[kind_of(request)].add(self._now() - began)
