"""Deadlines: one place makes them, one comparison ends them."""

from __future__ import annotations

import datetime as dt
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloudcached import ConfigError
from cloudcached.entry.expiry import at_ms, deadline_of, is_expired, seconds_left, seconds_of

NOW = 1_800_000_000.0
#: 9999-12-31T23:59:59Z.
LATEST_MS = 253_402_300_799_000
NUMBERS = st.integers() | st.floats(allow_nan=False) | st.integers(-(10**400), 10**400)
TIMES = NUMBERS | st.timedeltas()


@pytest.mark.parametrize(
    ("time_to_expire", "seconds"),
    [(None, None), (0, 0), (1.5, 1.5), (-3, -3), (dt.timedelta(minutes=1, milliseconds=5), 60.005)],
)
def test_seconds_of(time_to_expire, seconds):
    assert seconds_of(time_to_expire) == seconds


@pytest.mark.parametrize("bad", ["60", b"60", True, False, math.nan, [], 1j, dt.date(2030, 1, 1), dt.time(1)], ids=repr)
def test_what_is_no_time_is_refused_with_advice(bad):
    with pytest.raises(ConfigError, match=r"seconds \(int, float\), a timedelta, or None for never"):
        seconds_of(bad)
    with pytest.raises(ConfigError):
        deadline_of(bad, NOW)


@pytest.mark.parametrize(
    ("time_to_expire", "deadline"),
    [
        (None, None),
        (60, 1_800_000_060_000),
        (0.25, 1_800_000_000_250),
        (0, 1_800_000_000_000),
        (-1, 1_799_999_999_000),
        (dt.timedelta(days=1), 1_800_086_400_000),
        (math.inf, LATEST_MS),
        (10**400, LATEST_MS),
        (dt.timedelta.max, LATEST_MS),
        (-math.inf, 0),
        (-(10**400), 0),
        (dt.timedelta.min, 0),
    ],
)
def test_deadlines_are_epoch_milliseconds(time_to_expire, deadline):
    assert deadline_of(time_to_expire, NOW) == deadline


@given(TIMES)
def test_every_time_makes_a_deadline_that_can_be_stored(time_to_expire):
    deadline = deadline_of(time_to_expire, NOW)
    assert type(deadline) is int
    assert 0 <= deadline <= LATEST_MS


@given(NUMBERS)
def test_every_moment_can_be_stored(moment):
    deadline = at_ms(moment)
    assert type(deadline) is int
    assert 0 <= deadline <= LATEST_MS


ZONES = st.integers(-23, 23).map(lambda hours: dt.timezone(dt.timedelta(hours=hours)))


@given(st.datetimes(timezones=st.none() | ZONES))
@example(dt.datetime.min)  # noqa: DTZ901 - local time
@example(dt.datetime.max)  # noqa: DTZ901 - local time
@example(dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=23))))
@example(dt.datetime.max.replace(tzinfo=dt.timezone(dt.timedelta(hours=-23))))
def test_every_datetime_can_be_stored(moment):
    deadline = at_ms(moment)
    assert type(deadline) is int
    assert 0 <= deadline <= LATEST_MS
    if 1971 < moment.year < 9998:
        assert deadline == math.floor(moment.timestamp() * 1000)


@given(TIMES)
def test_zero_or_less_is_over_at_once_and_a_millisecond_is_not(time_to_expire):
    seconds = seconds_of(time_to_expire)
    if seconds <= 0:
        assert is_expired(deadline_of(time_to_expire, NOW), NOW)
    if seconds >= 0.001:
        assert not is_expired(deadline_of(time_to_expire, NOW), NOW)


@given(st.floats(0, 4e9), st.floats(0, 1e9))
def test_an_entry_never_outlives_its_time_by_more_than_a_rounding(now, seconds):
    deadline = deadline_of(seconds, now)
    assert deadline / 1000 <= now + seconds + 1e-6
    assert deadline / 1000 > now + seconds - 0.0011


def test_now_at_the_deadline_is_expired():
    assert not is_expired(1000, 0.999)
    assert is_expired(1000, 1.0)
    assert is_expired(1000, 1.001)
    assert not is_expired(None, 1e18)
    assert is_expired(0, 0.0)


def test_seconds_left():
    assert seconds_left(None, NOW) is None
    assert seconds_left(1_800_000_060_500, NOW) == 60.5
    assert seconds_left(1_800_000_000_000, NOW) == 0.0
    assert seconds_left(0, NOW) == 0.0


@pytest.mark.parametrize("bad", [None, "1", True, math.nan, dt.timedelta(1)], ids=repr)
def test_what_is_no_moment_is_refused(bad):
    with pytest.raises(ConfigError, match=r"epoch seconds.*or a datetime"):
        at_ms(bad)
