"""The time budget of one operation, and what is done with it when a request fails.

No layer below repeats a request by itself. The first repetition comes at once: most failures are keep-alive
connections that the server had closed. Later ones wait a random time under a bound that doubles ("full jitter",
Marc Brooker, AWS Architecture Blog, 2015), so that workers that lost one race do not meet again in the next.
"""

from __future__ import annotations

import random

from .._types import Clock
from ..errors import CloudCachedError

#: Seconds: the bound of the first wait, and of all.
_FIRST_WAIT = 0.01
_LONGEST_WAIT = 0.5


class Budget:
    """The time left of one operation."""

    __slots__ = ("_clock", "_end", "_now", "tries")

    def __init__(self, clock: Clock, seconds: float, began: float | None = None) -> None:
        self._clock = clock
        self._now = clock.monotonic
        self._end = (self._now() if began is None else began) + seconds
        #: How many failures there were.
        self.tries = 0

    @property
    def left(self) -> float:
        """Return the seconds that are left; never negative."""
        left = self._end - self._now()
        return left if left > 0 else 0.0

    def spend(self, error: CloudCachedError, *, lost: bool = False) -> bool:
        """Wait before the next try; return whether there was a wait.

        lost: the store is well, a rival was faster. Waits get shorter again then as time runs out, so that whoever
        has lost for long comes before those who have just begun.

        Raises *error* instead, when the time would be over after the wait, or is.
        """
        self.tries += 1
        wait = 0.0 if self.tries == 1 else self._jitter(lost)
        if wait >= self.left:
            raise error
        if wait:
            self._clock.sleep(wait)
            if not self.left:  # a busy machine slept for too long: the next try would only say that it had no time
                raise error
        return wait > 0

    def _jitter(self, lost: bool) -> float:
        bound = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(self.tries - 2, 10))
        if lost:
            # Of 16 workers x 50 increments at one key, one or two had lost for all of 5 s before (measured on Ceph).
            bound = min(bound, max(_FIRST_WAIT, self.left / 10))
        return random.uniform(0, bound)  # noqa: S311 - spreads load, protects nothing


class LongBudget(Budget):
    """The time left of an operation that moves much: each of its steps may take no longer than *step* seconds."""

    __slots__ = ("_step",)

    def __init__(self, clock: Clock, seconds: float, step: float) -> None:
        super().__init__(clock, seconds)
        self._step = step

    @property
    def left(self) -> float:
        """Return the seconds that the next step may take; never negative."""
        return min(super().left, self._step)
