"""Real time, whatever a test has made of ``time``.

freezegun replaces ``time.time``, ``time.monotonic`` and every module's references to them, time-machine also the
real-time clock of ``clock_gettime``. Neither touches its monotonic clock, so deadlines go by that, and so does the
time of signatures once a server has told what time it is.
"""

from __future__ import annotations

import time
from typing import Final

from ...runtime.forks import PerProcess

_MONOTONIC: Final[int | None] = getattr(time, "CLOCK_MONOTONIC", None)

if _MONOTONIC is None:  # Windows

    def monotonic() -> float:
        """Return seconds that never go back."""
        return time.monotonic()

else:

    def monotonic() -> float:
        """Return seconds that never go back."""
        return time.clock_gettime(time.CLOCK_MONOTONIC)


class ServerClock:
    """The time of one endpoint, in epoch seconds: this machine's until the server refuses it."""

    def __init__(self) -> None:
        #: What is added to the monotonic clock; ``None``: this machine's time was right so far.
        self._offset: PerProcess[list[float | None]] = PerProcess(lambda: [None])

    def now(self) -> float:
        """Return the time to sign with."""
        offset = self._offset()[0]
        if offset is None:
            return time.clock_gettime(time.CLOCK_REALTIME) if _MONOTONIC is not None else time.time()
        return monotonic() + offset

    def learn(self, date: float) -> None:
        """Take over the server's time from a refusal."""
        self._offset()[0] = date - monotonic()
