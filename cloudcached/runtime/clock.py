"""The clock that is used where none is passed in."""

from __future__ import annotations

import time as _time


class SystemClock:
    """The machine's own clocks (``cloudcached._types.Clock``)."""

    time = staticmethod(_time.time)
    monotonic = staticmethod(_time.monotonic)
    sleep = staticmethod(_time.sleep)
