"""Values that are computed anew while they are there: early by chance, in the background when they are stale."""

from __future__ import annotations

import datetime as dt
import logging
import math
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from computations import PATIENCE, Work, background, settle, sharing, until
from store_doubles import CountingStore, FaultyStore, fail, wrap

from cloudcached import MISSING, AccessDenied, Client, ConfigError
from cloudcached.coordination.get_or_put import Policy
from cloudcached.coordination.locks import Lock
from cloudcached.coordination.single_flight import MOST_REFRESHES, REST_SECONDS
from cloudcached.entry.format import Meta
from cloudcached.testing import FakeClock


@pytest.fixture
def client(clock: FakeClock) -> Client:
    return Client("memory://", clock=clock)


@pytest.fixture
def work() -> Work:
    return Work()


def draws(client: Client, draw: Callable[[], float]) -> None:
    """Let *draw* be the client's chance: 0 never computes early, what is next to 1 always does."""
    client.fills._draw = draw


def meta_of(client: Client, key: str = "k") -> Meta:
    meta = client.engine.get(client.engine.place(key), client.engine.budget()).meta
    assert meta is not None
    return meta


class TestEarly:
    """XFetch."""

    @pytest.fixture
    def slow(self, clock: FakeClock) -> Callable[[], int]:
        """Give a function that takes 2 seconds and returns when it ended."""

        def slow() -> int:
            clock.advance(2)
            return int(clock.monotonic())

        return slow

    @pytest.mark.parametrize("beta", [0.5, 1, 3])
    @pytest.mark.parametrize("left", [0.1, 1.0, 4.0, 20.0])
    def test_the_chance_is_that_of_the_paper(self, client, clock, beta, left):
        """The gap is distributed exponentially: P(now - cost * beta * ln(u) >= deadline) = exp(-left / (cost * beta))."""
        draws(client, Random(f"{beta} {left}").random)
        meta = Meta("int", "plain", int((clock.time() + left) * 1000), 0, cost_ms=2000)
        policy = Policy.parse(60, lock=False, early=beta, stale=0, jitter=0)
        rounds = 20_000
        share = sum(client.fills._is_due(meta, policy) for _ in range(rounds)) / rounds
        expected = math.exp(-left / (2 * beta))
        assert share == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / rounds) + 1e-9)

    def test_one_computes_before_the_deadline(self, client, clock, slow):
        assert client.get_or_put("k", slow, 10, early=1) == 2
        assert meta_of(client).cost_ms == 2000
        draws(client, lambda: 0)
        clock.advance(9.9)
        assert client.get_or_put("k", slow, 10, early=1) == 2
        draws(client, lambda: 1 - math.exp(-1))  # one cost ahead
        assert client.get_or_put("k", slow, 10, early=1) == 13
        assert client.get_or_put("k", slow, 10, early=1) == client.get("k") == 13
        assert (client.ttl("k"), client.stats()["early"]) == (10, 1)

    def test_without_the_option_nothing_is_measured_and_nobody_is_early(self, client, clock, slow):
        draws(client, lambda: 1 - 1e-9)
        client.get_or_put("k", slow, 10)
        assert meta_of(client).cost_ms is None
        assert client.get_or_put("k", slow, 10, early=1) == 2
        client.get_or_put("measured", slow, 10, early=1)
        assert client.get_or_put("measured", slow, 10) == 4

    def test_what_never_expires_is_never_early(self, client, slow):
        draws(client, lambda: 1 - 1e-9)
        assert [client.get_or_put("k", slow, None, early=1) for _ in range(3)] == [2, 2, 2]

    def test_an_error_leaves_what_is_live(self, client, slow, caplog):
        client.get_or_put("k", slow, 10, early=1)
        draws(client, lambda: 1 - 1e-9)
        assert client.get_or_put("k", lambda: 1 // 0, 10, early=1) == 2
        assert client.stats()["refresh_failed"] == 1
        assert "'k' was not refreshed and is served as it is: ZeroDivisionError" in caplog.text

    def test_while_one_computes_the_others_have_what_is_live(self, client, clock, slow, work):
        client.get_or_put("k", slow, 10, early=1)
        draws(client, lambda: 1 - 1e-9)
        work.hold()
        one = background(client.get_or_put, "k", work, 10, early=1)
        assert work.began.wait(PATIENCE)
        assert client.get_or_put("k", work, 10, early=1) == 2
        work.go_on()
        assert one() == {"call": 1}
        assert client.get("k") == {"call": 1}

    def test_while_another_process_computes_too(self, client, slow, work):
        client.get_or_put("k", slow, 10, early=1)
        draws(client, lambda: 1 - 1e-9)
        Lock(client.engine, "k", kind="fill", timeout=60).acquire()
        assert client.get_or_put("k", work, 10, early=1, lock=True) == 2
        assert work.calls == 0

    def test_touch_moves_the_deadline_that_it_goes_by(self, client, clock, slow):
        client.get_or_put("k", slow, 10, early=1)
        client.touch("k", 1000)
        draws(client, lambda: 1 - math.exp(-4))
        clock.advance(100)
        assert client.get_or_put("k", slow, 10, early=1) == 2


class TestStale:
    def fill(self, client: Client, clock: FakeClock, work: Work) -> None:
        """Leave a value that is stale since 5 seconds, and will be for 15 more."""
        assert client.get_or_put("k", work, 10, stale=20) == {"call": 1}
        clock.advance(15)

    def ask(self, client: Client, work: Callable[[], Any], **options: Any) -> Any:
        return client.get_or_put("k", work, 10, **{"stale": 20, **options})

    def test_is_served_while_one_refreshes_it(self, client, clock, work):
        self.fill(client, clock, work)
        work.hold()
        assert [self.ask(client, work) for _ in range(20)] == [{"call": 1}] * 20
        work.go_on()
        settle(client)
        assert self.ask(client, work) == client.get("k") == {"call": 2}
        assert work.calls == 2
        assert client.stats()["stale"] == 20

    def test_both_deadlines(self, client, clock, work):
        client.get_or_put("k", work, dt.timedelta(seconds=10), stale=dt.timedelta(seconds=20))
        assert client.ttl("k") == 30
        assert meta_of(client).fresh_ms == (clock.time() + 10) * 1000
        clock.advance(9.9)
        assert self.ask(client, work) == {"call": 1}
        clock.advance(0.1)
        assert self.ask(client, work) == {"call": 1}
        settle(client)
        assert self.ask(client, work) == {"call": 2}
        assert client.ttl("k") == 30

    def test_other_verbs_know_the_hard_deadline_only(self, client, clock, work):
        self.fill(client, clock, work)
        assert client.get("k") == client.get_or_put("k", work, 10) == {"call": 1}
        assert client.put("k", "other") is False
        assert client.ttl("k") == 15
        clock.advance(15)
        assert client.get("k", MISSING) is MISSING

    def test_after_the_hard_deadline_it_is_missing(self, client, clock, work):
        self.fill(client, clock, work)
        clock.advance(15)
        work.error = ZeroDivisionError()
        with pytest.raises(ZeroDivisionError):
            self.ask(client, work)
        work.error = None
        assert self.ask(client, work) == {"call": 3}

    def test_is_served_when_the_refresh_fails_and_tried_again_after_a_rest(self, client, clock, work, caplog):
        self.fill(client, clock, work)
        work.error = ZeroDivisionError()
        for _ in range(5):
            assert self.ask(client, work) == {"call": 1}
            settle(client)
        assert (work.calls, client.stats()["refresh_failed"]) == (2, 1)
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        assert "ZeroDivisionError" in caplog.text
        clock.advance(REST_SECONDS)
        work.error = None
        assert self.ask(client, work) == {"call": 1}
        settle(client)
        assert self.ask(client, work) == {"call": 3}

    def test_is_served_when_the_store_refuses_the_new_value(self, client, clock, work):
        self.fill(client, clock, work)
        wrap(client, FaultyStore).script("put", fail(AccessDenied("read only")))
        assert self.ask(client, work) == {"call": 1}
        settle(client)
        assert self.ask(client, work) == {"call": 1}
        assert client.stats()["refresh_failed"] == 1

    @pytest.mark.parametrize("rival", ["delete", "put"])
    def test_a_refresh_replaces_only_what_it_saw(self, rival, client, clock, work):
        self.fill(client, clock, work)
        work.hold()
        self.ask(client, work)
        assert work.began.wait(PATIENCE)
        if rival == "delete":
            client.delete("k")
        else:
            client.put("k", "theirs", replace=True)
        work.go_on()
        settle(client)
        assert client.get("k", "nothing") == ("nothing" if rival == "delete" else "theirs")

    def test_who_misses_it_meanwhile_waits_for_the_refresh(self, client, clock, work):
        self.fill(client, clock, work)
        work.hold()
        self.ask(client, work)
        assert work.began.wait(PATIENCE)
        client.delete("k")
        late = background(self.ask, client, work)
        until(lambda: client.stats().get("waited"))
        work.go_on()
        assert late() == {"call": 2}

    def test_with_a_lease_one_process_refreshes(self, client, clock, work):
        self.fill(client, clock, work)
        rival = sharing(client)
        work.hold()
        self.ask(client, work, lock=True)
        assert work.began.wait(PATIENCE)
        assert self.ask(rival, work, lock=True) == {"call": 1}
        settle(rival)
        work.go_on()
        settle(client)
        assert self.ask(rival, work, lock=True) == {"call": 2}
        assert work.calls == 2

    def test_a_lease_leads_to_another_look(self, client, clock, work):
        """Another process may have refreshed it just before."""
        self.fill(client, clock, work)
        rival = sharing(client)
        store = wrap(client, FaultyStore)

        def refresh(forward: Callable[[], Any]) -> Any:
            answer = forward()
            self.ask(rival, work, lock=True)
            settle(rival)
            return answer

        store.script("get", refresh)
        assert self.ask(client, work, lock=True) == {"call": 1}
        settle(client)
        assert self.ask(client, work) == {"call": 2}
        assert work.calls == 2

    def test_so_many_refreshes_at_once_and_no_more(self, client, clock, work):
        keys = [f"key {number}" for number in range(MOST_REFRESHES + 3)]
        for key in keys:
            client.get_or_put(key, work, 10, stale=20)
        clock.advance(15)
        work.hold()
        before = work.calls
        for key in keys:
            client.get_or_put(key, work, 10, stale=20)
        until(lambda: work.calls == before + MOST_REFRESHES)
        work.go_on()
        settle(client)
        for key in keys:
            client.get_or_put(key, work, 10, stale=20)
        settle(client)
        assert work.calls == before + len(keys)

    def test_costs(self, client, clock, work):
        self.fill(client, clock, work)
        store = wrap(client, CountingStore)
        self.ask(client, work)
        settle(client)
        assert store.requests == ["GET", "PUT if match"]

    def test_touch_ends_it_and_incr_keeps_it(self, client, clock):
        for key in ("touched", "counted"):
            client.get_or_put(key, lambda: 1, 10, stale=20)
        client.touch("touched", 40)
        client.incr("counted")
        assert meta_of(client, "touched").fresh_ms is None
        assert meta_of(client, "counted").fresh_ms == (clock.time() + 10) * 1000
        assert client.ttl("counted") == 30

    def test_what_never_expires_is_never_stale(self, client, work):
        client.get_or_put("k", work, None, stale=20)
        assert (client.ttl("k"), meta_of(client).fresh_ms) == (None, None)

    def test_early_goes_by_the_soft_deadline_and_refreshes_in_the_background(self, client, clock):
        def slow() -> float:
            clock.advance(2)
            return clock.monotonic()

        client.get_or_put("k", slow, 10, stale=20, early=1)
        clock.advance(9)
        draws(client, lambda: 1 - math.exp(-1))
        assert self.ask(client, slow, early=1) == 2
        settle(client)
        assert self.ask(client, slow) == 13


class TestJitter:
    def test_spreads_what_was_written_together(self, client):
        draws(client, Random(4).random)
        for number in range(300):
            client.get_or_put(f"{number}", lambda: 1, 100, jitter=0.1)
        left = sorted(client.ttl(f"{number}") for number in range(300))
        assert 90 < left[0] < 91
        assert 99 < left[-1] <= 100
        assert 94 < left[150] < 96

    def test_of_given_values_and_of_the_soft_deadline(self, client, clock):
        draws(client, lambda: 0.5)
        client.get_or_put("given", 1, 100, jitter=0.1)
        client.get_or_put("stale", lambda: 1, 100, jitter=0.1, stale=50)
        client.get_or_put("never", 1, None, jitter=0.1)
        assert (client.ttl("given"), client.ttl("stale"), client.ttl("never")) == (95, 145, None)
        assert meta_of(client, "stale").fresh_ms == (clock.time() + 95) * 1000


@pytest.mark.parametrize(
    "options",
    [
        {"lock": -1}, {"lock": "yes"}, {"lock": math.inf}, {"early": -1}, {"early": math.nan}, {"early": "1"},
        {"stale": -1}, {"stale": None}, {"stale": dt.timedelta(-1)}, {"jitter": 1}, {"jitter": -0.1},
    ],
    ids=repr,
)  # fmt: skip
def test_options_that_make_no_sense(client, options):
    for default in (1, lambda: 1):
        with pytest.raises(ConfigError, match=next(iter(options))):
            client.get_or_put("k", default, **options)
    with pytest.raises(ConfigError, match=next(iter(options))):
        client.memoize(**options)
    assert list(client.keys()) == []
