"""The time budget: one repetition at once, then random waits, and never past the end; and the waits by themselves."""

from __future__ import annotations

import itertools

import pytest

from cloudcached import StoreBusy
from cloudcached.runtime.budget import Backoff, Budget
from cloudcached.testing import FakeClock

BUSY = StoreBusy("busy")


class Waits(FakeClock):
    """A clock that remembers how long it slept."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        super().sleep(seconds)


@pytest.fixture
def clock() -> Waits:
    return Waits()


def spend_all(budget: Budget) -> int:
    """Spend until the error comes, and return how many repetitions there were."""
    for count in itertools.count():
        try:
            budget.spend(BUSY)
        except StoreBusy:
            return count
    raise AssertionError


def test_what_is_left_falls_to_zero_and_not_below(clock):
    budget = Budget(clock, 5)
    assert budget.left == 5
    clock.advance(3)
    assert budget.left == 2
    clock.advance(3)
    assert budget.left == 0


def test_the_first_repetition_comes_at_once(clock):
    budget = Budget(clock, 5)
    budget.spend(BUSY)
    assert clock.waits == []
    assert (budget.tries, budget.left) == (1, 5)


def test_later_repetitions_wait_under_a_bound_that_doubles(clock, monkeypatch):
    bounds = []

    def longest(low: float, high: float) -> float:
        assert low == 0
        bounds.append(high)
        return high

    monkeypatch.setattr("random.uniform", longest)
    spend_all(Budget(clock, 5))
    assert bounds[:8] == [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.5, 0.5]
    assert set(bounds[8:]) == {0.5}
    assert clock.waits == bounds[: len(clock.waits)]


def test_waits_are_spread_over_the_whole_range(clock):
    """Workers that lost one race must not meet again in the next."""
    firsts = []
    for _ in range(200):
        budget = Budget(clock, 5)
        budget.spend(BUSY)
        budget.spend(BUSY)
        firsts.append(clock.waits[-1])
    assert min(firsts) < 0.002
    assert max(firsts) > 0.008
    assert len(set(firsts)) > 190


def test_the_error_comes_when_the_wait_would_end_too_late(clock):
    assert spend_all(Budget(clock, 5)) > 10
    assert clock.monotonic() < 5
    assert sum(clock.waits) == pytest.approx(clock.monotonic())


def test_a_budget_that_is_over_allows_no_repetition(clock):
    budget = Budget(clock, 5)
    clock.advance(5)
    with pytest.raises(StoreBusy) as caught:
        budget.spend(BUSY)
    assert caught.value is BUSY
    assert clock.waits == []


def test_no_time_is_lost_to_a_wait_that_would_be_in_vain(clock, monkeypatch):
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    budget = Budget(clock, 0.005)
    budget.spend(BUSY)
    with pytest.raises(StoreBusy):
        budget.spend(BUSY)
    assert clock.waits == []


def test_thousands_of_failures_do_not_overflow(clock, monkeypatch):
    monkeypatch.setattr("random.uniform", lambda low, high: high / 1e6)
    budget = Budget(clock, 5)
    for _ in range(3_000):
        budget.spend(BUSY)
    assert max(clock.waits) <= 0.5


def test_who_slept_for_too_long_tells_what_failed(monkeypatch):
    class Busy(FakeClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(10)

    monkeypatch.setattr("random.uniform", lambda low, high: high)
    budget, error = Budget(Busy(), 5), StoreBusy("busy")
    assert budget.spend(error) is False
    with pytest.raises(StoreBusy) as caught:
        budget.spend(error)
    assert caught.value is error


def test_who_keeps_losing_waits_less_and_less(clock, monkeypatch):
    """No longer than a tenth of the time that is left, so that newcomers are behind."""
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    budget, lefts = Budget(clock, 5), []

    def keep_losing() -> None:
        while True:
            lefts.append(budget.left)
            budget.spend(BUSY, lost=True)

    with pytest.raises(StoreBusy):
        keep_losing()
    assert clock.waits[:6] == [0.01, 0.02, 0.04, 0.08, 0.16, 0.32]
    assert clock.waits[6:] == [pytest.approx(max(0.01, min(0.5, left / 10))) for left in lefts[7:-1]]
    assert clock.waits[-1] == 0.01


class TestBackoff:
    def test_waits_double_up_to_the_longest(self, monkeypatch):
        monkeypatch.setattr("random.uniform", lambda low, high: high)
        backoff = Backoff(0.05, 1)
        assert [backoff.wait() for _ in range(8)] == [0.05, 0.1, 0.2, 0.4, 0.8, 1, 1, 1]

    def test_a_wait_is_at_least_half_its_bound(self):
        firsts = [Backoff(1, 2).wait() for _ in range(300)]
        assert 0.5 <= min(firsts) < 0.55
        assert 0.95 < max(firsts) <= 1

    def test_a_wait_may_be_bounded_once_more(self, monkeypatch):
        monkeypatch.setattr("random.uniform", lambda low, high: high)
        backoff = Backoff(1, 8)
        assert [backoff.wait(most) for most in (2, 1, 9, 3)] == [1, 1, 4, 3]
