"""A store that is away, and a client that must not write: what the methods of ``Client`` answer then.

With ``fail_silently`` a method that cannot ask the store answers as if the cache were empty, and with
``read_only="drop"`` one that would write answers as if that had failed: the same answers, given where the method is
defined. Methods that coordinate several callers (locks, compare-and-swap) have no such answer and always raise.

The circuit breaker asks a store that cannot be reached only every few seconds: without it, each page of a site would
wait for its own timeouts. Connection errors and timeouts open it; a 503 does not, since one hot key may draw it while
the store serves all others, nor does a timeout in the short rest of an operation whose time went by with 503s.
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

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")

log = logging.getLogger("cloudcached")

#: Failures in a row that open it. A timeout counts as all of them: it has cost a page its whole budget already.
THRESHOLD: Final = 3
#: Seconds without a request; then one is let through, whose outcome decides.
REST_SECONDS: Final = 5.0

#: Somebody must mend these: they are errors in the log as long as they last.
_LOUD = (AccessDenied, BucketMissing, StoreRefused)
#: The answer of a counter that cannot be reached: what it answers for a key that is not there.
NO_COUNTER: Final = object()


class Silencer:
    """Turns failures into answers, where the options say so, and keeps them from being overlooked."""

    def __init__(self, config: Config, clock: Clock, counters: Counters) -> None:
        self._silent = config.fail_silently
        self._read_only = config.read_only
        self._counters = counters
        self.calls = counters.calls
        self.now = clock.monotonic
        self._throttle = Throttle(clock)

    def refuses_write(self, verb: str) -> bool:
        """Tell whether a write is to be dropped. Raises ``ReadOnlyError`` where it is to be refused."""
        if not self._read_only:
            return False
        if self._read_only == "drop":
            self._counters.add("dropped")
            return True
        raise ReadOnlyError(f"{verb} would write, and this client is read-only")

    def failed(self, verb: str) -> None:
        """Count an error of *verb*."""
        self._counters.add(f"errors.{verb}")

    def take(self, verb: str, error: CloudCachedError) -> None:
        """Log and count *error* where failures are silent; raise it again where they are not.

        What only the caller can mend, such as a value that cannot be stored among many, is always raised.
        """
        self.failed(verb)
        causes = list(error.failures.values()) if isinstance(error, PartialFailure) else [error]
        if not self._silent or not all(isinstance(cause, (StoreError, OutcomeUnknown)) for cause in causes):
            raise error
        self._counters.add(f"silenced.{type(error).__name__}")
        error = next(iter(causes))
        if isinstance(error, CircuitOpen):
            return  # the circuit breaker writes one line per outage
        if self._throttle.allows(type(error)):
            level = logging.ERROR if isinstance(error, _LOUD) else logging.WARNING
            fields = {"event": "silenced", "verb": verb, "error": type(error).__name__}
            log.log(level, "%s failed and counts as a miss: %s: %s", verb, fields["error"], error, extra=fields)


class Silenced(Protocol):
    """What the decorator needs of a client."""

    _silencer: Silencer


def verb(
    answer: Any = None, *, writes: bool = False, partial: Callable[[PartialFailure], Any] | None = None
) -> Callable[[F], F]:
    """Decorate a verb: what it answers when the store cannot be asked, and whether it writes.

    answer: a value, or a type to make one of; ``NO_COUNTER`` raises ``KeyMissing``. partial: what a bulk verb answers
    when some of its keys failed.
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
                    raise  # it may have counted: nobody must start it again
                silencer.take(name, error)
                if partial is not None and isinstance(error, PartialFailure):
                    return partial(error)
                return _answer(answer, name)
            finally:
                silencer.calls[name].add(silencer.now() - began)

        return cast("F", call)

    return decorate


def loud(function: F) -> F:
    """Decorate a verb that is never silent: its calls are timed, and its errors counted."""
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
