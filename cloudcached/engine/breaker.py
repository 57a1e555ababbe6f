"""The circuit breaker: ask a store that cannot be reached only every few seconds.

Without it, each page of a site would wait for its own timeouts. Connection errors and timeouts open it; a 503 does
not, since one hot key may draw it while the store serves all others, nor does a timeout in the short rest of an
operation whose time went by with 503s.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

from .._types import Clock
from ..errors import CircuitOpen, StoreError, StoreTimeout, StoreUnreachable
from ..runtime.counters import Counters
from ..runtime.forks import PerProcess

R = TypeVar("R")

log = logging.getLogger("cloudcached")

#: Failures in a row that open it. A timeout counts as all of them: it has cost a page its whole budget already.
THRESHOLD: Final = 3
#: Seconds without a request; then one is let through, whose outcome decides.
REST_SECONDS: Final = 5.0


class _State:
    """What is known of the store; one per process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.failures = 0
        #: Until when nothing is sent, by the monotonic clock; ``None``: closed.
        self.resting_until: float | None = None


class Breaker:
    """Counts failures in a row and lets the store rest. Thread-safe.

    patience: seconds; the timeout of a request that was given less says nothing of the store.
    """

    def __init__(self, clock: Clock, counters: Counters, patience: float) -> None:
        self._clock = clock
        self._counters = counters
        self._patience = patience
        self._state = PerProcess(_State)

    def call(self, request: Callable[..., R], *arguments: Any, timeout: float, **options: Any) -> R:
        """Send *request*, or raise ``CircuitOpen``; also for the failure that opens it, which is in the log then."""
        state = self._state()
        if state.resting_until is not None:
            self._knock(state)
        try:
            answer = request(*arguments, timeout=timeout, **options)
        except StoreTimeout as error:
            if timeout >= self._patience:
                self._failed(state, error, THRESHOLD)
            raise
        except StoreUnreachable as error:
            self._failed(state, error, 1)
            raise
        except StoreError:
            self._answered(state)  # even a refusal is an answer
            raise
        if state.failures:
            self._answered(state)
        return answer

    def _knock(self, state: _State) -> None:
        """Let one caller through when the rest is over, and send all others away."""
        with state.lock:
            now = self._clock.monotonic()
            if state.resting_until is None:
                return
            if now < state.resting_until:
                self._counters.add("not_asked")
                raise CircuitOpen(f"the store could not be reached; asked again in {state.resting_until - now:.1f} s")
            state.resting_until = now + REST_SECONDS

    def _failed(self, state: _State, error: StoreError, failures: int) -> None:
        """Count what failed. Raises ``CircuitOpen`` if that is too much."""
        with state.lock:
            state.failures += failures
            if state.failures < THRESHOLD:
                return
            opens = state.resting_until is None
            state.resting_until = self._clock.monotonic() + REST_SECONDS
        if opens:
            self._counters.add("outages")
            log.warning(
                "the store cannot be reached (%s); it is asked again every %g s, and the cache counts as empty until"
                " it answers",
                error,
                REST_SECONDS,
                extra={"event": "outage", "error": type(error).__name__},
            )
        raise CircuitOpen(f"the store cannot be reached: {error}") from error

    def _answered(self, state: _State) -> None:
        with state.lock:
            closes = state.resting_until is not None
            state.failures, state.resting_until = 0, None
        if closes:
            log.warning("the store answers again", extra={"event": "recovery"})
