"""The clock that is used where none is passed in."""

from __future__ import annotations

import time


class SystemClock:
    """The machine's own clocks (``cloudcached._types.Clock``)."""

    time = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)
