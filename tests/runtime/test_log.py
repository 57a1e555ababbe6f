"""Log lines at intervals: the first one at once, each kind for itself."""

from __future__ import annotations

import pytest

from cloudcached.runtime.log import LOG_INTERVAL, Throttle
from cloudcached.testing import FakeClock


@pytest.fixture
def throttle(clock: FakeClock) -> Throttle:
    return Throttle(clock)


def test_the_first_line_comes_at_once_and_the_next_after_an_interval(throttle: Throttle, clock: FakeClock):
    assert throttle.allows()
    clock.advance(LOG_INTERVAL - 1)
    assert not throttle.allows()
    clock.advance(1)
    assert throttle.allows()
    assert not throttle.allows()


def test_a_line_that_is_held_back_does_not_put_off_the_next(throttle: Throttle, clock: FakeClock):
    lines = 0
    for _ in range(100):
        lines += throttle.allows()
        clock.advance(LOG_INTERVAL / 10)
    assert lines == 10


def test_each_kind_has_an_interval_of_its_own(throttle: Throttle, clock: FakeClock):
    assert throttle.allows(ValueError)
    clock.advance(LOG_INTERVAL / 2)
    assert throttle.allows(KeyError)
    clock.advance(LOG_INTERVAL / 2)
    assert throttle.allows(ValueError)
    assert not throttle.allows(KeyError)


def test_another_interval(clock: FakeClock):
    throttle = Throttle(clock, 5)
    assert throttle.allows()
    clock.advance(5)
    assert throttle.allows()
