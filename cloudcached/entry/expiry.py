"""The one place that turns a time to expire into a deadline, and that compares a deadline with a clock.

Deadlines are epoch milliseconds (``int``), or ``None`` for never. An entry is expired when ``now >= deadline``.
"""

from __future__ import annotations

import datetime as dt
import math
from typing import Final

from .._types import TimeToExpire
from ..errors import ConfigError

#: The year 9999: later deadlines are stored as this one, so that they stay within what datetimes can show.
_LATEST_MS = 253_402_300_799_000
_LATEST = _LATEST_MS // 1000

#: Days: lifecycle rules count in no smaller unit, and a bucket has a limited number of them.
CLASSES_DAYS: Final = (1, 3, 7, 14, 30, 90, 365)
DAY_SECONDS: Final = 86_400


def seconds_of(time_to_expire: TimeToExpire) -> float | None:
    """Return *time_to_expire* in seconds, ``None`` for never.

    Raises ``ConfigError`` for anything that is no int, float, timedelta or None, and for nan.
    """
    if time_to_expire is None:
        return None
    if isinstance(time_to_expire, dt.timedelta):
        return time_to_expire.total_seconds()
    if not _is_number(time_to_expire):
        raise ConfigError(
            f"a time to expire is seconds (int, float), a timedelta, or None for never; not {time_to_expire!r}"
        )
    return time_to_expire


def deadline_of(time_to_expire: TimeToExpire, now: float) -> int | None:
    """Return the deadline of an entry written at *now* (epoch seconds)."""
    seconds = seconds_of(time_to_expire)
    if seconds is None:
        return None
    return at_ms(now + max(-_LATEST, min(seconds, _LATEST)))


def at_ms(when: dt.datetime | float) -> int:
    """Return a moment as a deadline, bounded to what can be stored.

    Rounded down, so that a deadline of now has passed now. A datetime without a time zone is local time.
    Raises ``ConfigError`` for anything that is no datetime, int or float, and for nan.
    """
    epoch_seconds = _timestamp(when) if isinstance(when, dt.datetime) else when
    if not _is_number(epoch_seconds):
        raise ConfigError(f"a moment is epoch seconds (int, float) or a datetime; not {when!r}")
    return math.floor(max(0, min(epoch_seconds, _LATEST)) * 1000)


def class_of(deadline_ms: int | None, now: float) -> int | None:
    """Return the class of an entry written at *now*: the least of ``CLASSES_DAYS`` that its life is no longer than.

    A rule that removes what was written that many days ago removes only what has expired. ``None`` for what never
    expires, or later than the last class allows: no rule may touch that.
    """
    if deadline_ms is None:
        return None
    days = (deadline_ms / 1000 - now) / DAY_SECONDS
    return next((limit for limit in CLASSES_DAYS if days <= limit), None)


def _timestamp(moment: dt.datetime) -> float:
    try:
        return moment.timestamp()
    except (OverflowError, ValueError):  # a first or last day that its time zone moves out of all years
        return 0 if moment.year == dt.MINYEAR else _LATEST


def _is_number(value: object) -> bool:
    """Tell whether *value* is an int of any size, or a float that is not nan, which alone differs from itself."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value  # noqa: PLR0124


def is_expired(deadline_ms: int | None, now: float) -> bool:
    """Tell whether a deadline has passed at *now* (epoch seconds)."""
    return deadline_ms is not None and now * 1000 >= deadline_ms


def seconds_left(deadline_ms: int | None, now: float) -> float | None:
    """Return the seconds until a deadline, 0.0 when it has passed, ``None`` for never."""
    if deadline_ms is None:
        return None
    return max(0.0, deadline_ms / 1000 - now)
