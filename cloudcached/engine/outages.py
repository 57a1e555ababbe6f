"""The answers of ``Client``'s methods while the store is away, or while the client must not write.

With ``fail_silently`` a method that cannot reach the store answers as if the cache were empty, and with
``read_only="drop"`` a method that would write answers as if the write had failed: it is the same answer, given next to
the method's definition. Methods that coordinate several callers (locks, compare-and-swap) have no such answer and
always raise.

The circuit breaker sends a store that cannot be reached one request every few seconds: without it, each page of a site
would wait for its own timeouts. Connection errors and timeouts open it. A 503 does not, since one hot key may draw it
while the store serves all others; nor does a timeout of a request that got only the last bit of an operation's time,
after 503s had used up the rest.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar, cast

from .._types import Clock
from ..config import Config
from ..errors import (
    AccessDenied,
    BucketMissing,
    CircuitOpen,
    CloudCachedError,
    KeyMissing,
    OutcomeUnknown,
    PartialFailure,
    ReadOnlyError,
    StoreError,
    StoreRefused,
    StoreTimeout,
    StoreUnreachable,
)
from ..runtime.counters import Counters
from ..runtime.forks import PerProcess
from ..runtime.log import Throttle
from ..stores.port import Closed

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")

log = logging.getLogger("cloudcached")

#: Failures in a row that open it. One timeout counts as all of them: it has already cost a page its whole budget.
THRESHOLD: Final = 3
#: Seconds without a request; then one is let through, and its outcome decides.
REST_SECONDS: Final = 5.0

#: These need an operator, so they are logged as errors until fixed.
_LOUD = (AccessDenied, BucketMissing, StoreRefused)
#: The answer of a counter that cannot be reached: ``KeyMissing``, as for a key that is not there.
NO_COUNTER: Final = object()


class Silencer:
    """Turns failures into answers if the options say so, and logs and counts them so that they are not overlooked."""

    def __init__(self, config: Config, clock: Clock, counters: Counters) -> None:
        self._silent = config.fail_silently
        self._read_only = config.read_only
        self._counters = counters
        self.calls = counters.calls
        self.now = clock.monotonic
        self._throttle = Throttle(clock)

    def refuses_write(self, method: str) -> bool:
        """Return whether a write by *method* must be dropped. Raises ``ReadOnlyError`` if it must be refused."""
        if not self._read_only:
            return False
        if self._read_only == "drop":
            self._counters.add("dropped")
            return True
        raise ReadOnlyError(f"{method} would write, and this client is read-only")

    def failed(self, method: str) -> None:
        """Count an error of *method*."""
        self._counters.add(f"errors.{method}")

    def take(self, method: str, error: CloudCachedError) -> None:
        """Log and count *error* if failures are silent, otherwise raise it again.

        An error that only the caller can fix, such as one value of many that cannot be stored, is always raised.
        """
        self.failed(method)
        causes = list(error.failures.values()) if isinstance(error, PartialFailure) else [error]
        if not self._silent or not all(isinstance(cause, (StoreError, OutcomeUnknown)) for cause in causes):
            raise error
        self._counters.add(f"silenced.{type(error).__name__}")
        error = next(iter(causes))
        if isinstance(error, CircuitOpen):
            return  # the circuit breaker has logged the outage
        if self._throttle.allows(type(error)):
            level = logging.ERROR if isinstance(error, _LOUD) else logging.WARNING
            fields = {"event": "silenced", "verb": method, "error": type(error).__name__}
            text = "%s failed and was answered as if the cache were empty: %s: %s"
            log.log(level, text, method, fields["error"], error, extra=fields)


class Silenced(Protocol):
    """The part of a client that the decorators need."""

    _silencer: Silencer


def fallback(
    answer: Any = None, *, writes: bool = False, partial: Callable[[PartialFailure], Any] | None = None
) -> Callable[[F], F]:
    """Decorate a method: give it an answer for when the store cannot be reached, and count and time its calls.

    answer: a value, or a type that is called to make one; ``NO_COUNTER`` raises ``KeyMissing``. writes: whether the
    method writes, so that a read-only client refuses it, or gives *answer*. partial: makes the answer of a bulk method
    some of whose keys failed.
    """

    def decorate(function: F) -> F:
        name = function.__name__

        @functools.wraps(function)
        def call(self: Silenced, *arguments: Any, **options: Any) -> Any:
            if writes and self._silencer.refuses_write(name):
                return _answer(answer, name)
            silencer = self._silencer
            began = silencer.now()
            try:
                return function(self, *arguments, **options)
            except (StoreError, OutcomeUnknown, PartialFailure) as error:
                if answer is NO_COUNTER and isinstance(error, OutcomeUnknown):
                    raise  # it may have counted, so the counter must not be started again
                silencer.take(name, error)
                if partial is not None and isinstance(error, PartialFailure):
                    return partial(error)
                return _answer(answer, name)
            finally:
                silencer.calls[name].add(silencer.now() - began)

        return cast("F", call)

    return decorate


def loud(function: F) -> F:
    """Decorate a method that is never silent: its calls are timed, its errors counted and raised."""
    name = function.__name__

    @functools.wraps(function)
    def call(self: Silenced, *arguments: Any, **options: Any) -> Any:
        silencer = self._silencer
        began = silencer.now()
        try:
            return function(self, *arguments, **options)
        except (StoreError, OutcomeUnknown):
            silencer.failed(name)
            raise
        finally:
            silencer.calls[name].add(silencer.now() - began)

    return cast("F", call)


def _answer(answer: Any, name: str) -> Any:
    if answer is NO_COUNTER:
        raise KeyMissing(f"{name}: the counter cannot be reached or written")
    return answer() if isinstance(answer, type) else answer


class _State:
    """The failures of the store as one process has seen them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.failures = 0
        #: The time until which nothing is sent, by the monotonic clock; ``None``: the breaker is closed.
        self.resting_until: float | None = None


class Breaker:
    """Counts failures in a row, and then lets the store rest. Thread-safe.

    patience: seconds; if a request that was given less than that times out, it says nothing about the store.
    """

    def __init__(self, clock: Clock, counters: Counters, patience: float) -> None:
        self._clock = clock
        self._counters = counters
        self._patience = patience
        self._state = PerProcess(_State)

    def call(self, request: Callable[..., R], *arguments: Any, timeout: float, **options: Any) -> R:
        """Send *request*, or raise ``CircuitOpen``: also for the failure that opens the breaker, which is then logged."""
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
            if not isinstance(error, Closed):
                self._failed(state, error, 1)
            raise
        except StoreError:
            self._answered(state)  # even a refusal is an answer
            raise
        if state.failures:
            self._answered(state)
        return answer

    def _knock(self, state: _State) -> None:
        """Let one caller through when the rest is over. Raises ``CircuitOpen`` for all others."""
        with state.lock:
            now = self._clock.monotonic()
            if state.resting_until is None:
                return
            if now < state.resting_until:
                self._counters.add("not_asked")
                left = state.resting_until - now
                raise CircuitOpen(f"the store could not be reached; no request is sent for another {left:.1f} s")
            state.resting_until = now + REST_SECONDS

    def _failed(self, state: _State, error: StoreError, failures: int) -> None:
        """Count *failures*. Raises ``CircuitOpen`` if there are too many."""
        with state.lock:
            state.failures += failures
            if state.failures < THRESHOLD:
                return
            opens = state.resting_until is None
            state.resting_until = self._clock.monotonic() + REST_SECONDS
        if opens:
            self._counters.add("outages")
            log.warning(
                "the store cannot be reached (%s); it gets one request every %g s, and until it answers the cache"
                " counts as empty",
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
