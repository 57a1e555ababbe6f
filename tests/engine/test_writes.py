"""Conditional writes whose answers are lost, and rivals that come between: step by step, in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from store_doubles import Bench, FaultyStore, after, before, fail, lose_answer, ok, wrap

from cloudcached import (
    MISSING,
    AccessDenied,
    Client,
    ConfigError,
    OutcomeUnknown,
    PreconditionFailed,
    StoreBusy,
    StoreTimeout,
    StoreUnreachable,
)
from cloudcached.stores.port import Write
from cloudcached.testing import FakeClock

KEY = "k"
RETRYABLE = [StoreBusy, StoreUnreachable, StoreTimeout]


@pytest.fixture
def bench(clock: FakeClock) -> Bench:
    return Bench(clock)


REPLACING: dict[str, Callable[[Client], Any]] = {
    "update": lambda c: c.update(KEY, 2),
    "touch": lambda c: c.touch(KEY),
}


class TestAdd:
    """``put`` without ``replace``."""

    def put(self, bench: Bench) -> bool:
        return bench.client.put(KEY, "ours")

    def test_a_lost_answer_is_no_no(self, bench):
        bench.store.script("put", lose_answer())
        assert self.put(bench) is True
        assert bench.rival.get(KEY) == "ours"
        assert bench.store.done

    @pytest.mark.parametrize("error", RETRYABLE)
    def test_a_request_that_never_arrived_is_sent_again(self, bench, error):
        bench.store.script("put", fail(error("lost")), fail(error("lost again")))
        assert self.put(bench) is True
        assert bench.rival.get(KEY) == "ours"

    def test_several_lost_answers(self, bench):
        bench.store.script("put", lose_answer(), lose_answer(), lose_answer())
        assert self.put(bench) is True

    def test_lost_to_a_rival_while_the_answer_was_lost(self, bench):
        bench.store.script("put", before(lambda: bench.rival.put(KEY, "theirs"), fail(StoreUnreachable("lost"))))
        assert self.put(bench) is False
        assert bench.rival.get(KEY) == "theirs"

    def test_won_and_then_counted_on_by_a_rival(self, bench):
        def count() -> None:
            assert bench.rival.touch(KEY, 10)

        bench.store.script("put", after(count, lose_answer()))
        assert self.put(bench) is True

    def test_what_cannot_be_told_is_said(self, bench):
        """Ours may have been there before theirs, which knows nothing of others."""
        bench.store.script("put", after(lambda: bench.rival.put(KEY, "theirs", replace=True), lose_answer()))
        with pytest.raises(OutcomeUnknown, match="read the key"):
            self.put(bench)
        assert bench.client.stats()["outcome_unknown"] == 1
        assert bench.rival.get(KEY) == "theirs"

    def test_an_entry_that_goes_while_we_look_is_no_reason_to_say_no(self, bench):
        bench.rival.put(KEY, "theirs")
        bench.store.script("get", before(lambda: bench.rival.delete(KEY)))
        assert self.put(bench) is True
        assert bench.rival.get(KEY) == "ours"

    def test_an_entry_that_expires_while_we_look(self, bench):
        bench.rival.put(KEY, "theirs", 1)
        bench.store.script("get", before(lambda: bench.clock.advance(1)))
        assert self.put(bench) is True
        assert bench.rival.get(KEY) == "ours"

    @pytest.mark.parametrize("state", ["missing", "expired", "damaged"])
    @pytest.mark.parametrize("value", ["ours", "theirs"])
    def test_one_of_two_wins(self, bench, state, value):
        """Also with the same value over the same expired entry: only the nonce tells their bytes apart."""
        if state != "missing":
            bench.rival.put(KEY, value, 10)
        if state == "expired":
            bench.clock.advance(10)
        elif state == "damaged":
            bench.store.inner.put(Write(bench.object_key, b"x" * 40, {}), timeout=1)
        won = []

        def overtake() -> None:
            won.append(bench.rival.put(KEY, value))

        bench.store.script("put", *([before(overtake)] if state == "missing" else [ok, before(overtake)]))
        assert self.put(bench) is False
        assert won == [True]
        assert bench.rival.get(KEY) == value

    def test_over_an_expired_entry_with_a_lost_answer(self, bench):
        bench.rival.put(KEY, "old", 10)
        bench.clock.advance(10)
        bench.store.script("put", ok, lose_answer())
        assert self.put(bench) is True
        assert bench.rival.get(KEY) == "ours"

    def test_a_look_that_is_refused_after_a_lost_answer(self, bench):
        bench.store.script("put", lose_answer())
        bench.store.script("get", fail(AccessDenied("may write, but not read")))
        with pytest.raises(AccessDenied, match="not read"):
            self.put(bench)

    def test_a_look_that_comes_too_late_after_a_lost_answer(self, bench):
        """What happened to the write says more."""
        bench.store.script("put", lose_answer(StoreTimeout("the write")))
        bench.store.script("get", *[fail(StoreBusy("the look"))] * 1_000)
        with pytest.raises(StoreTimeout, match="the write"):
            self.put(bench)

    def test_races_that_are_lost_for_ever_end_in_time(self, bench):
        """Somebody writes and removes all the time."""

        def come_and_go(forward: Callable[[], Any]) -> Any:
            raise PreconditionFailed("again")

        bench.store.script("put", *[come_and_go] * 1_000)
        with pytest.raises(StoreBusy, match="other writers"):
            self.put(bench)
        assert bench.clock.monotonic() <= 5
        assert bench.client.stats()["cas_retries"] > 10


class TestIncr:
    """Every increment counts once."""

    @pytest.fixture(autouse=True)
    def _counter(self, bench: Bench) -> None:
        bench.rival.put(KEY, 0, 1_000)

    @pytest.mark.parametrize("error", RETRYABLE)
    @pytest.mark.parametrize("losses", [1, 2, 5])
    def test_a_lost_answer_counts_once(self, bench, error, losses):
        bench.store.script("put", *[lose_answer(error("lost"))] * losses)
        assert [bench.client.incr(KEY) for _ in range(losses)] == list(range(1, losses + 1))
        assert bench.rival.get(KEY) == losses
        assert bench.store.done

    @pytest.mark.parametrize("error", RETRYABLE)
    def test_a_request_that_never_arrived_counts_once(self, bench, error):
        bench.store.script("put", fail(error("lost")), fail(error("lost")), fail(error("lost")))
        assert bench.client.incr(KEY) == 1
        assert bench.rival.get(KEY) == 1

    def test_a_request_that_is_under_way_twice_counts_once(self, bench):
        """The first one was slow, and arrives behind the second."""
        late: list[Callable[[], Any]] = []

        def slow(forward: Callable[[], Any]) -> Any:
            late.append(forward)
            raise StoreTimeout("slow")

        bench.store.script("put", slow)
        assert bench.client.incr(KEY) == 1
        with pytest.raises(PreconditionFailed):
            late[0]()
        assert bench.rival.get(KEY) == 1

    def test_overtaken_before_the_request_arrived(self, bench):
        bench.store.script("put", before(lambda: bench.rival.incr(KEY, 10), fail(StoreUnreachable("lost"))))
        assert bench.client.incr(KEY) == 11
        assert bench.rival.get(KEY) == 11

    @pytest.mark.parametrize("followers", [1, 5, 32])
    def test_counted_on_by_others_before_we_knew(self, bench, followers):
        bench.store.script("put", after(lambda: [bench.rival.incr(KEY) for _ in range(followers)], lose_answer()))
        assert bench.client.incr(KEY) == 1
        assert bench.rival.get(KEY) == 1 + followers

    def test_counted_on_by_more_than_an_entry_remembers(self, bench):
        """33 writes later nobody can tell any more: it is said, and not counted twice."""
        bench.store.script("put", after(lambda: [bench.rival.incr(KEY) for _ in range(33)], lose_answer()))
        with pytest.raises(OutcomeUnknown):
            bench.client.incr(KEY)
        assert bench.rival.get(KEY) == 34

    @pytest.mark.parametrize(
        "rival",
        [lambda c: c.delete(KEY), lambda c: c.put(KEY, 7, replace=True), lambda c: c.delete(KEY) and c.put(KEY, 7)],
        ids=["deleted", "put", "deleted and put"],
    )
    def test_removed_or_put_anew_before_we_knew(self, bench, rival):
        bench.store.script("put", after(lambda: rival(bench.rival), lose_answer()))
        with pytest.raises(OutcomeUnknown):
            bench.client.incr(KEY)
        assert bench.rival.get(KEY) in (None, 7)

    def test_never_written_and_put_anew(self, bench):
        """The bucket looks as it does in the test above."""
        bench.store.script("put", before(lambda: bench.rival.put(KEY, 7, replace=True), fail(StoreBusy("lost"))))
        with pytest.raises(OutcomeUnknown):
            bench.client.incr(KEY)
        assert bench.rival.get(KEY) == 7

    def test_a_lost_race_is_run_again(self, bench):
        bench.store.script("put", *[before(lambda: bench.rival.incr(KEY, 10))] * 3)
        assert bench.client.incr(KEY) == 31
        assert bench.client.stats()["cas_retries"] == 3

    def test_the_expiry_that_a_rival_set_is_kept(self, bench):
        bench.store.script("put", before(lambda: bench.rival.touch(KEY, 50)))
        assert bench.client.incr(KEY) == 1
        assert bench.rival.ttl(KEY) == 50

    def test_from_an_initial_value_with_a_lost_answer(self, bench):
        bench.rival.delete(KEY)
        bench.store.script("put", lose_answer())
        assert bench.client.incr(KEY, initial=10) == 11
        assert bench.rival.get(KEY) == 11

    def test_from_an_initial_value_while_a_rival_begins(self, bench):
        bench.rival.delete(KEY)
        bench.store.script("put", before(lambda: bench.rival.incr(KEY, initial=10)))
        assert bench.client.incr(KEY, initial=10) == 12

    def test_the_threads_of_a_client_queue(self, bench):
        """They lose no races to each other."""
        threads = [threading.Thread(target=lambda: [bench.client.incr(KEY) for _ in range(20)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert bench.rival.get(KEY) == 160
        assert "cas_retries" not in bench.client.stats()

    def test_the_queue_is_waited_in_no_longer_than_the_time_lasts(self):
        client = Client("memory://", timeout=0.05)
        client.put(KEY, 0)
        locks = client.engine._queues()
        for lock in locks:
            assert lock.acquire()
        with pytest.raises(StoreBusy, match="other writers"):
            client.incr(KEY)
        for lock in locks:
            lock.release()
        assert client.incr(KEY) == 1

    def test_every_tenth_answer_lost_among_contending_clients(self):
        """In real time: their waits are what lets them pass each other."""
        first = Client("memory://", timeout=30)
        first.put(KEY, 0)
        totals: list[int] = []

        def count(number: int) -> None:
            client = Client("memory://", timeout=30)
            client.engine.wrap_store(lambda _: first.engine.store)
            store = wrap(client, FaultyStore)
            store.script("put", *([ok] * number + [lose_answer()] + [ok] * (9 - number)) * 20)
            totals.extend(client.incr(KEY) for _ in range(25))

        threads = [threading.Thread(target=count, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert first.get(KEY) == 100
        assert sorted(totals) == list(range(1, 101))


class TestReplacing:
    """``update`` and ``touch`` replace only what they saw."""

    @pytest.fixture(autouse=True)
    def _entry(self, bench: Bench) -> None:
        bench.rival.put(KEY, "old", 100)

    @pytest.mark.parametrize("verb", ["update", "touch", "incr"])
    def test_what_was_deleted_meanwhile_stays_deleted(self, bench, verb):
        bench.rival.put(KEY, 1, replace=True)
        bench.store.script("put", before(lambda: bench.rival.delete(KEY)))
        if verb == "incr":
            with pytest.raises(ValueError, match="no live entry"):
                bench.client.incr(KEY)
        else:
            assert REPLACING[verb](bench.client) is False
        assert bench.rival.get(KEY, MISSING) is MISSING

    def test_touch_never_brings_an_old_value_back(self, bench):
        bench.store.script("put", before(lambda: bench.rival.put(KEY, "new", 7, replace=True)))
        assert bench.client.touch(KEY, 50) is True
        assert bench.rival.get(KEY) == "new"
        assert bench.rival.ttl(KEY) == 50

    def test_update_over_what_was_put_meanwhile(self, bench):
        bench.store.script("put", before(lambda: bench.rival.put(KEY, "new", 7, replace=True)))
        assert bench.client.update(KEY, "ours", 60) is True
        assert bench.rival.get(KEY) == "ours"

    def test_what_expired_between_the_look_and_the_write_of_a_rival(self, bench):
        bench.store.script("put", before(lambda: (bench.rival.touch(KEY, 1), bench.clock.advance(1))))
        assert bench.client.touch(KEY) is False
        assert bench.rival.get(KEY) is None

    @pytest.mark.parametrize("verb", ["update", "touch"])
    def test_a_lost_answer_is_no_no(self, bench, verb):
        bench.store.script("put", lose_answer())
        assert REPLACING[verb](bench.client) is True
        assert bench.rival.get(KEY) == (2 if verb == "update" else "old")

    @pytest.mark.parametrize("verb", ["update", "touch"])
    def test_a_lost_answer_and_a_delete_cannot_be_told(self, bench, verb):
        bench.store.script("put", after(lambda: bench.rival.delete(KEY), lose_answer()))
        with pytest.raises(OutcomeUnknown):
            REPLACING[verb](bench.client)
        assert bench.rival.get(KEY, MISSING) is MISSING


class TestCas:
    """``gets`` and ``cas``."""

    def test_a_lost_answer_is_no_no(self, bench):
        _, token = bench.client.gets(KEY)
        bench.store.script("put", lose_answer())
        assert bench.client.cas(KEY, "ours", token) is True
        value, token = bench.client.gets(KEY)
        bench.store.script("put", fail(StoreBusy("busy")), lose_answer())
        assert bench.client.cas(KEY, value + "!", token) is True
        assert bench.rival.get(KEY) == "ours!"

    def test_a_rival_in_between_is_a_no(self, bench):
        _, token = bench.client.gets(KEY)
        bench.store.script("put", before(lambda: bench.rival.put(KEY, "theirs"), fail(StoreBusy("busy"))))
        assert bench.client.cas(KEY, "ours", token) is False
        assert bench.rival.get(KEY) == "theirs"

    def test_a_token_is_of_one_state(self, bench):
        bench.rival.put(KEY, "v")
        _, token = bench.client.gets(KEY)
        bench.rival.touch(KEY)
        assert bench.client.cas(KEY, "ours", token) is False
        _, token = bench.client.gets(KEY)
        bench.rival.put(KEY, "v", replace=True)
        assert bench.client.cas(KEY, "ours", token) is False

    def test_a_token_is_of_one_key_and_comes_from_gets(self, bench):
        _, token = bench.client.gets("another key")
        for wrong in (token, None, "token", ("k", None, None)):
            with pytest.raises(ConfigError, match=r"the token that gets\(\) returned for the same key"):
                bench.client.cas(KEY, "ours", wrong)
        assert not bench.rival.has(KEY)
