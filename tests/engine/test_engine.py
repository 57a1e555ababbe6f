"""Requests that fail, ETags that are none, listings in pages: what the engine makes of its store."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from computations import until
from store_doubles import Bench, CountingStore, FaultyStore, Wrapper, after, answer, before, fail, lose_answer, wrap

from cloudcached import (
    MISSING,
    AccessDenied,
    BucketMissing,
    Client,
    PartialFailure,
    StoreBusy,
    StoreRefused,
    StoreTimeout,
    StoreUnreachable,
)
from cloudcached.engine.seam import EVERY_STORE
from cloudcached.stores.memory import MemoryStore
from cloudcached.stores.port import Closed, Found, Store, Write
from cloudcached.testing import FakeClock

KEY = "k"
RETRYABLE = [StoreBusy, StoreUnreachable, StoreTimeout]
FINAL = [AccessDenied, BucketMissing, StoreRefused]


@pytest.fixture
def bench(clock: FakeClock) -> Bench:
    return Bench(clock)


VERBS: dict[str, Callable[[Client], Any]] = {
    "get": lambda c: c.get(KEY),
    "put": lambda c: c.put(KEY, 2),
    "set": lambda c: c.put(KEY, 2, replace=True),
    "update": lambda c: c.update(KEY, 2),
    "touch": lambda c: c.touch(KEY),
    "delete": lambda c: c.delete(KEY),
    "has": lambda c: c.has(KEY),
    "ttl": lambda c: c.ttl(KEY),
    "incr": lambda c: c.incr(KEY),
    "keys": lambda c: list(c.keys()),
    "clear": lambda c: c.clear(),
}
#: The requests of each verb on a live entry that may be repeated as they are; on the PUT of ``put`` see ``TestAdd``.
STEPS = {
    "get": ["get"],
    "put": ["get"],
    "set": ["put"],
    "update": ["get", "put"],
    "touch": ["get", "put"],
    "delete": ["head", "delete"],
    "has": ["head"],
    "ttl": ["head"],
    "incr": ["get", "put"],
    "keys": ["list"],
    "clear": ["list", "delete_many"],
}
EACH_STEP = [(verb, step) for verb, steps in STEPS.items() for step in steps]


class TestFailures:
    """What is tried again, and for how long."""

    @pytest.mark.parametrize("error", RETRYABLE)
    @pytest.mark.parametrize(("verb", "step"), EACH_STEP)
    def test_a_request_that_fails_for_now_is_repeated(self, bench, verb, step, error):
        bench.rival.put(KEY, 1, None)
        expected = VERBS[verb](bench.client)
        bench.rival.put(KEY, 1, None, replace=True)
        bench.store.script(step, *[fail(error("for now"))] * 4)
        assert VERBS[verb](bench.client) == expected
        assert bench.store.done
        assert 0 < bench.clock.monotonic() < 1

    @pytest.mark.parametrize("error", FINAL)
    @pytest.mark.parametrize(("verb", "step"), EACH_STEP)
    def test_a_request_that_is_refused_is_not_repeated(self, bench, verb, step, error):
        """And above all is no miss: a missing bucket is not an empty cache."""
        bench.rival.put(KEY, 1)
        bench.store.script(step, fail(error("for good")))
        with pytest.raises((error, PartialFailure), match="for good"):
            VERBS[verb](bench.client)
        assert bench.tries.count(step) == 1
        assert bench.clock.monotonic() == 0

    @pytest.mark.parametrize(("verb", "step"), EACH_STEP)
    def test_the_error_comes_before_the_time_is_over(self, bench, verb, step):
        bench.rival.put(KEY, 1)
        bench.store.script(step, *[fail(StoreBusy(f"{number}")) for number in range(10_000)])
        with pytest.raises((StoreBusy, PartialFailure)):
            VERBS[verb](bench.client)
        # DeleteObjects has a little more than the timeout: 20 ms a key.
        assert 3 < bench.clock.monotonic() <= 5 + 0.02 * (step == "delete_many")
        assert 10 < bench.tries.count(step) < 60

    def test_the_timeout_option_is_the_budget(self, clock):
        client = Client("memory://", clock=clock, timeout=0.5)
        wrap(client, FaultyStore).script("get", *[fail(StoreBusy("busy"))] * 1_000)
        with pytest.raises(StoreBusy):
            client.get(KEY)
        assert clock.monotonic() <= 0.5

    def test_each_request_gets_what_is_left_of_the_time(self, clock):
        timeouts = []

        class Slow(Wrapper):
            def get(self, object_key: str, *, timeout: float) -> Found:
                timeouts.append(timeout)
                clock.advance(min(timeout, 2))
                raise StoreTimeout("slow")

        client = Client("memory://", clock=clock)
        wrap(client, Slow)
        with pytest.raises(StoreTimeout):
            client.get(KEY)
        assert timeouts[:2] == [5, 3]
        assert 0 < timeouts[2] <= 1
        assert clock.monotonic() <= 5

    def test_a_body_that_breaks_off_is_asked_for_again(self, bench):
        class Broken(Found):
            def __init__(self, found: Found) -> None:
                self.head = found.head

            def read(self) -> bytes:
                raise StoreUnreachable("half a body")

        bench.rival.put(KEY, "whole")
        bench.store.script("get", lambda forward: Broken(forward()), lambda forward: Broken(forward()))
        assert bench.client.get(KEY) == "whole"
        assert bench.tries == ["get"] * 3

    def test_one_failing_operation_takes_no_time_from_the_next(self, bench):
        bench.store.script("get", *[fail(StoreBusy("busy"))] * 100)
        with pytest.raises(StoreBusy):
            bench.client.get(KEY)
        bench.store._steps.clear()
        assert bench.client.get(KEY) is None

    def test_what_is_deleted_twice_by_a_repetition_was_still_live(self, bench):
        bench.rival.put(KEY, 1)
        bench.store.script("delete", lose_answer())
        assert bench.client.delete(KEY) is True
        assert bench.rival.get(KEY) is None

    def test_a_plain_write_with_a_lost_answer_is_repeated(self, bench):
        bench.store.script("put", lose_answer(), fail(StoreBusy("busy")))
        assert bench.client.put(KEY, "v", replace=True) is True
        assert bench.rival.get(KEY) == "v"


class TestEtags:
    """The ETag that a write returns is compared with what was sent, where it is an MD5."""

    RANDOM = hashlib.md5(b"something else").hexdigest()

    @pytest.fixture
    def counted(self, bench: Bench) -> CountingStore:
        return wrap(bench.client, CountingStore)

    def put(self, bench: Bench) -> bool:
        return bench.client.put(KEY, "v", replace=True)

    def test_an_md5_that_fits_costs_nothing(self, bench, counted):
        assert self.put(bench)
        assert counted.requests == ["PUT"]

    @pytest.mark.parametrize("etag", [f"{RANDOM}-1", "", "0x8D4BCC2E4835CD0", RANDOM.upper(), RANDOM[:31]])
    def test_what_is_no_md5_is_not_compared(self, bench, counted, etag):
        bench.store.script("put", answer(etag))
        assert self.put(bench)
        assert counted.requests == ["PUT"]

    def test_a_bucket_whose_etags_are_no_md5_is_asked_once(self, bench, counted):
        """As under SSE-KMS."""
        bench.store.script("put", *[answer(self.RANDOM)] * 5)
        assert [self.put(bench) for _ in range(5)] == [True] * 5
        assert counted.requests == ["PUT", "GET", "PUT", "PUT", "PUT", "PUT"]
        assert bench.rival.get(KEY) == "v"

    @pytest.mark.parametrize("write", ["set", "put", "update", "incr"])
    def test_other_bytes_than_were_sent_are_an_error(self, bench, write):
        """Whatever changed them on the way, the caller must not believe that the value is stored."""
        if write in ("update", "incr"):
            bench.rival.put(KEY, 1)

        def damage(forward: Callable[[], Any]) -> Any:
            forward()
            found = bench.store.inner.get(bench.object_key, timeout=1)
            return bench.store.inner.put(
                Write(bench.object_key, b"x" + bytes(found.read())[1:], found.head.metadata), timeout=1
            )

        bench.store.script("put", damage)
        with pytest.raises(StoreRefused, match="other bytes"):
            VERBS[write](bench.client)
        assert bench.client.get(KEY, MISSING) is MISSING

    def test_after_damage_the_next_write_is_compared_again(self, bench, counted):
        self.test_other_bytes_than_were_sent_are_an_error(bench, "set")
        counted.forget()
        bench.store.script("put", answer(self.RANDOM))
        self.put(bench)
        assert counted.requests == ["PUT", "GET"]

    def test_a_rival_that_wrote_meanwhile_settles_nothing(self, bench, counted):
        bench.store.script("put", after(lambda: bench.rival.put(KEY, "theirs", replace=True), answer(self.RANDOM)))
        assert self.put(bench)
        bench.store.script("put", answer(self.RANDOM))
        assert self.put(bench)
        self.put(bench)
        assert counted.requests == ["PUT", "GET", "PUT", "GET", "PUT"]

    def test_a_conditional_write_is_compared_too(self, bench, counted):
        bench.store.script("put", answer(self.RANDOM))
        assert bench.client.put(KEY, "v") is True
        assert counted.requests == ["PUT if absent", "GET"]


class TestListings:
    """Pages are asked for until there are no more."""

    @pytest.mark.parametrize("rows", [1, 3, 7])
    def test_a_store_may_give_short_pages(self, bench, rows):
        class ShortPages(Wrapper):
            def list(self, prefix: str, *, after: str = "", timeout: float) -> Any:
                page, more = self.inner.list(prefix, after=after, timeout=timeout)
                return page[:rows], more or len(page) > rows

        bench.client.put_many({f"{number}": number for number in range(20)})
        wrap(bench.client, ShortPages)
        assert sorted(bench.client.keys(), key=int) == [f"{number}" for number in range(20)]
        assert bench.client.clear("1") == 11
        assert bench.client.clear() == 9
        assert list(bench.rival.keys()) == []

    def test_an_empty_page_that_promises_more_ends_the_listing(self, bench):
        """Otherwise it would never end."""
        bench.store.script("list", *[lambda forward: ([], True)] * 3)
        assert list(bench.client.keys()) == []

    def test_each_page_has_a_budget_of_its_own(self, bench):
        for number in range(2_500):
            bench.store.inner.put(Write(bench.client.engine.place(f"{number}").object_key, b"", {}), timeout=1)

        def slow(forward: Callable[[], Any]) -> Any:
            bench.clock.advance(4)
            return forward()

        bench.store.script("list", slow, slow, slow)
        assert len(list(bench.client.keys())) == 2_500


def test_the_doubles_pass_everything_on(clock: FakeClock):
    """A wrapper that swallowed something would make these tests prove nothing."""
    client = Client("memory://", clock=clock)
    inner: Store = client.engine.store
    for make in (Wrapper, CountingStore, FaultyStore):
        store = make(inner)
        etag = store.put(Write("a", b"body", {"cc-x": "y"}), timeout=1)
        assert store.head("a", timeout=1).etag == etag
        assert store.get("a", timeout=1).read() == b"body"
        assert b"".join(store.get_range("a", 1, 2, etag=etag, timeout=1)) == b"od"
        assert [row.object_key for row in store.list("", timeout=1)[0]] == ["a"]
        assert store.delete_many(["a"], timeout=1) == {}
        store.put(Write("a", b"body", {}), timeout=1)
        store.delete("a", timeout=1)
        assert store.list("", timeout=1) == ([], False)
        store.close()


class TestClosedConnections:
    """A server closes kept connections as it likes: that is no failure of the store."""

    def test_a_read_is_sent_again_at_once(self, clock: FakeClock) -> None:
        bench = Bench(clock)
        bench.client.put("k", 1)
        began = clock.monotonic()
        bench.store.script("get", fail(Closed("closed")))
        assert bench.client.get("k") == 1
        assert bench.tries[-2:] == ["get", "get"]
        assert "retries" not in bench.client.stats()
        assert bench.client.stats()["reconnects"] == 1
        assert clock.monotonic() == began

    def test_the_second_is_a_failure_like_others(self, clock: FakeClock) -> None:
        bench = Bench(clock)
        bench.client.put("k", 1)
        bench.store.script("get", *[fail(Closed("closed"))] * 2)
        assert bench.client.get("k") == 1
        assert bench.client.stats()["retries"] == 1

    def test_a_conditional_write_looks_first(self, clock: FakeClock) -> None:
        """It may have been done: nobody knows what the server had read when it closed."""
        bench = Bench(clock)
        bench.client.put("n", 1)
        bench.store.script("put", lose_answer(Closed("closed")))
        assert bench.client.incr("n") == 2
        assert bench.client.get("n") == 2

    def test_the_breaker_stays_closed(self, clock: FakeClock) -> None:
        bench = Bench(clock, fail_silently=True)
        bench.client.put("k", 1)
        bench.store.script("get", *[fail(Closed("closed"))] * 8)
        for _ in range(4):
            assert bench.client.get("k") == 1
        assert "outages" not in bench.client.stats()


def test_delete_tells_what_was_there_when_it_looked(clock: FakeClock) -> None:
    bench = Bench(clock)
    bench.client.put("k", 1, 10)
    bench.store.script("delete", before(lambda: clock.advance(60)))
    assert bench.client.delete("k") is True


def test_clients_made_while_stores_are_watched_are_watched_too(clock: FakeClock) -> None:
    """In other threads, too: one that is left out would escape the guard of a test run."""
    stop, made = threading.Event(), []

    def make() -> None:
        while not stop.is_set():
            made.append(Client("memory://", clock=clock).engine.store)

    with ThreadPoolExecutor(2) as threads:
        for _ in range(2):
            threads.submit(make)
        try:
            for _ in range(200):
                with EVERY_STORE.wrapped(CountingStore):
                    assert type(Client("memory://", clock=clock).engine.store) is CountingStore
        finally:
            stop.set()
    assert made
    assert EVERY_STORE.arounds == ()
    assert type(Client("memory://").engine.store) is MemoryStore


def test_a_refresh_begins_after_a_retry_too(clock: FakeClock) -> None:
    bench = Bench(clock, refresh_after=10)
    bench.client.put("k", "v", 60)
    clock.advance(30)
    bench.store.script("get", fail(StoreBusy("busy")))
    assert bench.client.get("k") == "v"
    until(lambda: bench.client.stats().get("refreshed") == 1)
    assert bench.client.ttl("k") == 60
