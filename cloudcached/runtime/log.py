"""Log lines at intervals: a failure that lasts must neither be overlooked nor fill the log."""

from __future__ import annotations

from typing import Final

from .._types import Clock

#: Seconds between two lines about the same kind of failure.
LOG_INTERVAL: Final = 30.0


class Throttle:
    """Lets one log line of each kind through per *interval* seconds.

    Not locked: of two threads that fail at the same moment both may log, and no call waits for another.
    """

    def __init__(self, clock: Clock, interval: float = LOG_INTERVAL) -> None:
        self._clock = clock
        self._interval = interval
        #: By kind: when its last line was let through.
        self._last: dict[object, float] = {}

    def allows(self, kind: object = None) -> bool:
        """Whether a line of this *kind* is due; if so, the next one is due an interval later."""
        now = self._clock.monotonic()
        if now - self._last.get(kind, float("-inf")) < self._interval:
            return False
        self._last[kind] = now
        return True
