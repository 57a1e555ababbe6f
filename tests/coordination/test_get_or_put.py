"""Of all who miss a key at once, one computes: of the threads of a process, and of all processes under a lease."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
from computations import PATIENCE, Work, background, sharing, until, waiting
from crew import Crew, settings_for, together
from store_doubles import CountingStore, FaultyStore, fail, wrap

from cloudcached import Client, ReadOnlyError, StoreBusy, StoreUnreachable, ValueRejected
from cloudcached.coordination.get_or_put import Fills
from cloudcached.coordination.locks import Lock
from cloudcached.stores.port import Write
from cloudcached.testing import FakeClock


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def client(clock: FakeClock) -> Client:
    return Client("memory://", clock=clock)


def crowd(client: Client, work: Work, count: int = 30) -> list[Any]:
    """Let *count* threads miss one key while the first of them computes."""
    work.hold()
    calls = [background(client.get_or_put, "k", work) for _ in range(count)]
    until(lambda: waiting(client) == count - 1)
    work.go_on()
    return [call() for call in calls]


class TestSingleFlight:
    def test_one_computes_for_all(self, client, work):
        assert crowd(client, work) == [{"call": 1}] * 30
        assert client.get_or_put("k", work) == {"call": 1}
        assert work.calls == client.stats()["computed"] == 1

    def test_each_gets_a_value_of_his_own(self, client, work):
        values = crowd(client, work, 5)
        values[0]["call"] = values[1]["call"] = "changed"
        assert values[2:] == [{"call": 1}] * 3
        assert client.get("k") == {"call": 1}

    def test_all_get_the_error_and_nobody_keeps_it(self, client, work):
        work.error = ZeroDivisionError("no")
        assert crowd(client, work) == [work.error] * 30
        assert work.calls == 1
        work.error = None
        assert client.get_or_put("k", work) == {"call": 2}

    def test_what_cannot_be_stored_is_told_to_all(self, client):
        calls = together(8, client.get_or_put, "k", threading.Lock)
        assert [type(call) for call in calls] == [ValueRejected] * 8

    def test_a_leader_that_was_interrupted_is_followed_by_another(self, client, work):
        work.hold()
        work.error = KeyboardInterrupt()
        first = background(client.get_or_put, "k", work)
        assert work.began.wait(PATIENCE)
        others = [background(client.get_or_put, "k", lambda: "second") for _ in range(5)]
        until(lambda: waiting(client) == 5)
        work.go_on()
        assert first() is work.error
        assert [call() for call in others] == ["second"] * 5
        assert client.stats()["computed"] == 1

    def test_who_missed_it_before_it_landed_looks_again(self, client, work):
        """Between a miss and the flight that it leads to, another flight may have come and gone."""

        def miss_slowly(forward: Callable[[], Any]) -> Any:
            try:
                return forward()
            finally:
                background(client.get_or_put, "k", work)()

        wrap(client, FaultyStore).script("get", miss_slowly)
        assert client.get_or_put("k", work) == {"call": 1}
        assert work.calls == 1

    def test_keys_do_not_wait_for_each_other(self, client):
        barrier = threading.Barrier(4, timeout=PATIENCE)
        calls = [background(client.get_or_put, f"key {number}", lambda: barrier.wait() >= 0) for number in range(4)]
        assert [call() for call in calls] == [True] * 4

    def test_nobody_waits_for_himself(self, client):
        def outer() -> str:
            return client.get_or_put("k", lambda: "inner") + " and outer"

        assert client.get_or_put("k", outer) == client.get("k") == "inner and outer"

    def test_one_of_those_who_wait_relieves_a_leader_that_hangs(self, work):
        client = Client("memory://")
        client.fills = Fills(client.engine, client.reader, client._silencer, client._counters, patience=0.05)
        work.hold()
        first = background(client.get_or_put, "k", work)
        assert work.began.wait(PATIENCE)
        reliefs: list[str] = []
        others = [background(client.get_or_put, "k", lambda: reliefs.append("") or "relief") for _ in range(10)]
        assert [call() for call in others] == ["relief"] * 10
        assert len(reliefs) == 1
        work.go_on()
        assert first() == client.get("k") == "relief"  # what was stored first

    @pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
    def test_a_child_does_not_wait_for_its_parents_threads(self, client, work):
        work.hold()
        first = background(client.get_or_put, "k", work)
        assert work.began.wait(PATIENCE)
        child = os.fork()
        if not child:
            signal.alarm(PATIENCE)
            os._exit(client.get_or_put("k", lambda: 7))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        work.go_on()
        assert first() == {"call": 1}

    def test_an_async_function_is_to_be_awaited(self, client):
        async def compute() -> int:
            return 1

        with pytest.raises(ValueError, match="await the async version"):
            client.get_or_put("k", compute)


class TestTheStoreMeanwhile:
    def test_a_store_that_is_away_is_computed_for(self, clock, work):
        client = Client("memory://", clock=clock, fail_silently=True)
        store = wrap(client, FaultyStore)
        store.broken[client.engine.place("k").object_key] = StoreUnreachable("away")
        assert crowd(client, work, 8) == [{"call": 1}] * 8

    def test_its_failures_are_raised_where_nothing_is_silent(self, client, work):
        wrap(client, FaultyStore).script("put", *[fail(StoreBusy("busy"))] * 100)
        with pytest.raises(StoreBusy):
            client.get_or_put("k", work)

    def test_the_time_of_the_computation_is_not_taken_from_the_stores(self, client, clock):
        store = wrap(client, FaultyStore)
        store.script("put", *[fail(StoreBusy("busy"))] * 3)
        assert client.get_or_put("k", lambda: clock.advance(1000), 60) is None
        assert client.ttl("k") == pytest.approx(60, abs=1)

    def test_what_a_rival_stored_meanwhile_is_everybodys(self, client):
        def compute() -> str:
            until(lambda: waiting(client) == 3)
            sharing(client).put("k", "theirs")
            return "ours"

        assert together(4, client.get_or_put, "k", compute) == ["theirs"] * 4

    def test_a_client_that_only_reads(self, client, clock, work):
        client.get_or_put("live", work, 10, stale=100)
        clock.advance(50)
        for mode in ("refuse", "drop"):
            reader = sharing(client, read_only=mode)
            assert reader.get_or_put("live", work, 10, stale=100, lock=True) == {"call": 1}
        assert reader.get_or_put("k", work, lock=True) == {"call": 2}
        with pytest.raises(ReadOnlyError):
            sharing(client, read_only="refuse").get_or_put("k", work, lock=True)
        assert work.calls == 2
        assert list(client.keys()) == ["live"]


class SleepyClock(FakeClock):
    """Tells of the first sleep, and lets nobody sleep through before ``awake``."""

    def __init__(self) -> None:
        super().__init__()
        self.slept = threading.Event()
        self.awake = threading.Event()

    def sleep(self, seconds: float) -> None:
        self.slept.set()
        assert self.awake.wait(PATIENCE)
        super().sleep(seconds)


def lease(client: Client, seconds: float) -> Lock:
    """Return the lease of a computation of "k"."""
    return Lock(client.engine, "k", kind="fill", timeout=seconds, blocking=False)


class TestOnePerWorld:
    def test_costs(self, client, work):
        store = wrap(client, CountingStore)
        assert client.get_or_put("k", work, lock=True) == {"call": 1}
        assert store.requests == ["GET", *["GET", "PUT if absent"] * 2, "PUT if match"]
        store.forget()
        client.get_or_put("k", work, lock=True)
        assert store.requests == ["GET"]

    def test_a_given_value_needs_no_lease(self, client):
        store = wrap(client, CountingStore)
        assert client.get_or_put("k", 1, 60, lock=True, early=1, stale=60) == 1
        assert store.requests == ["GET", "PUT if absent"]
        assert client.ttl("k") == 60

    def test_another_process_waits_for_the_value(self, work):
        client = Client("memory://", clock=(clock := SleepyClock()))
        work.hold()
        first = background(client.get_or_put, "k", work, lock=True)
        assert work.began.wait(PATIENCE)
        second = background(sharing(client).get_or_put, "k", work, lock=True)
        assert clock.slept.wait(PATIENCE)
        work.go_on()
        assert first() == {"call": 1}
        clock.awake.set()
        assert second() == {"call": 1}
        assert work.calls == 1

    def test_a_holder_that_died_is_waited_for_as_long_as_ones_own_lease(self, client, clock, work):
        assert lease(client, 5).acquire()
        assert sharing(client).get_or_put("k", work, lock=3) == {"call": 1}
        assert 2 < clock.monotonic() <= 3

    def test_a_lease_that_ran_out_is_taken_over(self, client, clock, work):
        assert lease(client, 5).acquire()
        assert sharing(client).get_or_put("k", work, lock=True) == {"call": 1}
        assert 5 < clock.monotonic() < 8

    def test_the_lease_is_given_back_after_an_error(self, client, clock, work):
        work.error = ZeroDivisionError()
        with pytest.raises(ZeroDivisionError):
            client.get_or_put("k", work, lock=True)
        work.error = None
        assert sharing(client).get_or_put("k", work, lock=True) == {"call": 2}
        assert clock.monotonic() == 0

    def test_a_damaged_lease_is_done_without(self, client, work, caplog):
        client.engine.store.put(Write(lease(client, 5)._place.object_key, b"", {}), timeout=1)
        assert client.get_or_put("k", work, lock=True) == {"call": 1}
        assert "'k' is computed without a lease" in caplog.text

    def test_leases_are_neither_entries_nor_locks(self, client, work):
        client.get_or_put("k", lambda: client.lock("k").acquire(blocking=False), lock=True)
        assert client.get("k") is True
        assert list(client.keys()) == ["k"]

    @pytest.mark.real
    @pytest.mark.slow
    def test_200_threads_in_4_processes(self, s3_url, server, tmp_path):
        log = tmp_path / "computations"
        with Crew(4) as crew:
            crew.open(s3_url, s3=settings_for(server), timeout=30.0)
            for number in range(5):
                log.write_text("")
                answers = crew.each("compute_once", f"key {number}", str(log), 50)
                assert answers == [[42] * 50] * 4
                assert len(log.read_text().split()) == 1
