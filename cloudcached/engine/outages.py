"""What every verb of the client does around its work: a read-only client, and a store that is away.

With ``fail_silently`` a verb that cannot ask the store answers as if the cache were empty, and with
``read_only="drop"`` one that would write answers as if that had failed: the same answers, given where the verb is
defined. What coordinates several callers (locks, compare-and-swap) has no such answer and always raises.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast

from .._types import Clock
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
)
from ..runtime.counters import Counters

if TYPE_CHECKING:
    from ..config import Config

F = TypeVar("F", bound=Callable[..., Any])

log = logging.getLogger("cloudcached")

#: Seconds between two lines about the same kind of failure.
LOG_INTERVAL: Final = 30.0

#: Somebody must mend these: they are errors in the log as long as they last.
_LOUD = (AccessDenied, BucketMissing, StoreRefused)
#: The answer of a counter that cannot be reached: what it answers for a key that is not there.
NO_COUNTER: Final = object()


class Silencer:
    """Turns failures into answers, where the options say so, and keeps them from being overlooked."""

    def __init__(self, config: Config, clock: Clock, counters: Counters) -> None:
        self._silent = config.fail_silently
        self._read_only = config.read_only
        self._clock = clock
        self._counters = counters
        self.calls = counters.calls
        self.now = clock.monotonic
        self._said: dict[type, float] = {}

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
        now = self._clock.monotonic()
        if now - self._said.get(type(error), float("-inf")) >= LOG_INTERVAL:
            self._said[type(error)] = now
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
