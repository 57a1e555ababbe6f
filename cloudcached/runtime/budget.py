"""The time budget of one operation, and the waits between its requests.

No layer below the engine repeats a request by itself. The first repetition comes at once: most failures are keep-alive
connections that the server had closed. Later ones wait a random time under a bound that doubles ("full jitter",
Marc Brooker, AWS Architecture Blog, 2015), so that workers that lost one race do not meet again in the next.
"""

from __future__ import annotations

import math
import random
from typing import Final

from .._types import Clock
from ..errors import CloudCachedError

#: Seconds: the bound of the first wait before a repetition, and of the longest.
_FIRST_WAIT = 0.01
_LONGEST_WAIT = 0.5


class Backoff:
    """Random waits under a bound that doubles from *first* to *longest* seconds; no wait is below *least* of its bound."""

    __slots__ = ("_bound", "_least", "_longest")

    def __init__(self, first: float, longest: float, least: float = 0.5) -> None:
        self._bound = first
        self._longest = longest
        self._least = least

    def wait(self, most: float = math.inf) -> float:
        """Return the seconds of the next wait, at most *most*."""
        bound = min(self._bound, most)
        self._bound = min(self._bound * 2, self._longest)
        return random.uniform(self._least * bound, bound)  # noqa: S311 - spreads load, protects nothing


class Budget:
    """The time left of one operation."""

    __slots__ = ("_backoff", "_clock", "_end", "_now", "_reconnected", "tries")

    def __init__(self, clock: Clock, seconds: float, began: float | None = None) -> None:
        self._clock = clock
        self._now = clock.monotonic
        self._end = (self._now() if began is None else began) + seconds
        self._backoff = Backoff(_FIRST_WAIT, _LONGEST_WAIT, least=0)
        self._reconnected = False
        #: The number of failures so far.
        self.tries = 0

    @property
    def left(self) -> float:
        """The seconds that are left; never negative."""
        left = self._end - self._now()
        return left if left > 0 else 0.0

    def reconnect(self) -> bool:
        """Return whether a request may be sent again at once over a fresh connection: once in an operation."""
        first, self._reconnected = not self._reconnected, True
        return first

    def spend(self, error: CloudCachedError, *, lost: bool = False) -> bool:
        """Wait before the next try; return whether there was a wait.

        lost: the store is well, but another writer was faster. Then waits get shorter again as time runs out, so that a
        caller that keeps losing gets ahead of newcomers.

        Raises *error* instead if the time is over, or would be after the wait.
        """
        self.tries += 1
        if self.tries == 1:
            wait = 0.0
        elif lost:
            # Without this, of 16 workers x 50 increments of one key, one or two lost for all of 5 s (measured on Ceph).
            wait = self._backoff.wait(max(_FIRST_WAIT, self.left / 10))
        else:
            wait = self._backoff.wait()
        if wait >= self.left:
            raise error
        if wait:
            self._clock.sleep(wait)
            if not self.left:  # a busy machine slept too long: the next try would only report that it had no time
                raise error
        return wait > 0


class LongBudget(Budget):
    """The time left of an operation that moves a lot of data: each request may take at most *step* seconds."""

    __slots__ = ("_step",)

    def __init__(self, clock: Clock, seconds: float, step: float) -> None:
        super().__init__(clock, seconds)
        self._step = step

    @property
    def left(self) -> float:
        """The seconds that the next request may take; never negative."""
        return min(super().left, self._step)


#: Bytes. A larger body gets time of its own on top of the operation's timeout ...
FREE_BYTES: Final = 1 << 20
#: ... at this rate, in bytes per second, as long as it flows.
FLOW_BYTES_PER_S: Final = 1 << 20


def allowance(size: int) -> float:
    """Return the seconds that a body of *size* bytes may take on top of the timeout."""
    return max(0, size - FREE_BYTES) / FLOW_BYTES_PER_S
