"""The default clock."""

from __future__ import annotations

import time as _time


class SystemClock:
    """The clocks of this machine, as a ``cloudcached._types.Clock``."""

    time = staticmethod(_time.time)
    monotonic = staticmethod(_time.monotonic)
    sleep = staticmethod(_time.sleep)
