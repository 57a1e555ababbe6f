"""The only place that turns a time to expire into a deadline and compares a deadline with a clock.

Deadlines are epoch milliseconds (``int``), or ``None`` for never. An entry is expired when ``now >= deadline``.
"""

from __future__ import annotations

import datetime as dt
import math
from typing import Final

from .._types import TimeToExpire
from ..errors import ConfigError

#: The end of the year 9999: later deadlines are stored as this one, so that a datetime can represent them.
_LATEST_MS = 253_402_300_799_000
_LATEST = _LATEST_MS // 1000

#: Days: lifecycle rules have no smaller unit, and a bucket takes a limited number of rules.
CLASSES_DAYS: Final = (1, 3, 7, 14, 30, 90, 365)
DAY_SECONDS: Final = 86_400


def seconds_of(time_to_expire: TimeToExpire) -> float | None:
    """Return *time_to_expire* in seconds, ``None`` for never.

    Raises ``ConfigError`` for anything but an int, float, timedelta or None, and for nan.
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
    """Return a moment as a deadline, limited to the range that can be stored.

    Rounded down, so that a deadline of now has passed now. A datetime without a time zone is local time.
    Raises ``ConfigError`` for anything but a datetime, int or float, and for nan.
    """
    epoch_seconds = _timestamp(when) if isinstance(when, dt.datetime) else when
    if not _is_number(epoch_seconds):
        raise ConfigError(f"a moment is epoch seconds (int, float) or a datetime; not {when!r}")
    return math.floor(max(0, min(epoch_seconds, _LATEST)) * 1000)


def class_of(deadline_ms: int | None, now: float) -> int | None:
    """Return the lifecycle class of an entry written at *now*: its lifetime rounded up to one of ``CLASSES_DAYS``.

    A rule that removes objects written that many days ago removes expired entries only. ``None`` for an entry that
    never expires, or lives longer than the last class: no rule may touch it.
    """
    if deadline_ms is None:
        return None
    days = (deadline_ms / 1000 - now) / DAY_SECONDS
    return next((limit for limit in CLASSES_DAYS if days <= limit), None)


def _timestamp(moment: dt.datetime) -> float:
    try:
        return moment.timestamp()
    except (OverflowError, ValueError):  # its time zone moves the first or last day out of range
        return 0 if moment.year == dt.MINYEAR else _LATEST


def _is_number(value: object) -> bool:
    """Whether *value* is an int of any size, or a float other than nan, which alone differs from itself."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value  # noqa: PLR0124


def is_expired(deadline_ms: int | None, now: float) -> bool:
    """Whether a deadline has passed at *now* (epoch seconds)."""
    return deadline_ms is not None and now * 1000 >= deadline_ms


def seconds_left(deadline_ms: int | None, now: float) -> float | None:
    """Return the seconds until a deadline: 0.0 if it has passed, ``None`` for never."""
    if deadline_ms is None:
        return None
    return max(0.0, deadline_ms / 1000 - now)
