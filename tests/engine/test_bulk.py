"""Bulk calls in which something fails: the rest is done, and every failure is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from store_doubles import Bench, Wrapper, fail, lose_answer, wrap

from cloudcached import AccessDenied, Client, OutcomeUnknown, PartialFailure, StoreBusy, StoreError, StoreUnreachable
from cloudcached.entry.format import Place
from cloudcached.stores.port import Write
from cloudcached.testing import FakeClock

VALUES = {f"key {number}": number for number in range(40)}
DENIED = AccessDenied("not this one")


@pytest.fixture
def bench(clock: FakeClock) -> Bench:
    return Bench(clock)


def broken(bench: Bench, *keys: str) -> None:
    """Let every request for these keys fail."""
    for key in keys:
        bench.store.broken[bench.client.engine.place(key).object_key] = DENIED


class TestGetMany:
    def test_the_others_are_in_the_error(self, bench):
        bench.rival.put_many(VALUES)
        broken(bench, "key 3", "key 30")
        with pytest.raises(PartialFailure, match="get_many: 2 keys failed; the first, 'key 3': not this one") as caught:
            bench.client.get_many([*VALUES, "missing"])
        assert caught.value.failures == {"key 3": DENIED, "key 30": DENIED}
        assert caught.value.results == {k: v for k, v in VALUES.items() if k not in ("key 3", "key 30")}

    def test_what_fails_for_now_is_repeated(self, bench):
        bench.rival.put_many(VALUES)
        bench.store.script("get", *[fail(StoreBusy("busy"))] * 10)
        assert bench.client.get_many(VALUES) == VALUES

    def test_a_store_that_is_away_fails_for_every_key(self, bench):
        bench.store.script("get", *[fail(AccessDenied("no"))] * len(VALUES))
        with pytest.raises(PartialFailure) as caught:
            bench.client.get_many(VALUES)
        assert set(caught.value.failures) == set(VALUES)
        assert caught.value.results == {}

    def test_an_error_that_is_not_ours_is_not_hidden(self, bench):
        def break_down(forward: Callable[[], Any]) -> Any:
            raise ZeroDivisionError

        bench.store.script("get", break_down)
        with pytest.raises(ZeroDivisionError):
            bench.client.get_many(VALUES)


class TestPutMany:
    def test_the_others_are_stored(self, bench):
        bench.rival.put("key 5", "old")
        broken(bench, "key 3")
        with pytest.raises(PartialFailure) as caught:
            bench.client.put_many(VALUES)
        assert caught.value.failures == {"key 3": DENIED}
        assert caught.value.results == {k: k != "key 5" for k in VALUES if k != "key 3"}
        assert bench.rival.get_many(VALUES) == {k: v for k, v in {**VALUES, "key 5": "old"}.items() if k != "key 3"}

    def test_lost_answers_are_no_failures(self, bench):
        bench.store.script("put", *[lose_answer()] * 10)
        assert bench.client.put_many(VALUES) == dict.fromkeys(VALUES, True)

    def test_an_unknown_outcome_is_told_for_its_key(self, bench):
        def lose(forward: Callable[[], Any]) -> Any:
            forward()
            bench.rival.put("key 0", "theirs", replace=True)
            raise StoreUnreachable("lost")

        bench.store.script("put", lose)
        with pytest.raises(PartialFailure) as caught:
            bench.client.put_many({"key 0": 0})
        assert isinstance(caught.value.failures["key 0"], OutcomeUnknown)


class TestDeleteMany:
    def test_the_others_are_removed(self, bench):
        bench.rival.put_many(VALUES)
        broken(bench, "key 3")
        with pytest.raises(PartialFailure, match="delete_many: 1 keys failed; the first, 'key 3'") as caught:
            bench.client.delete_many(VALUES)
        assert caught.value.failures == {"key 3": DENIED}
        assert list(bench.rival.keys()) == ["key 3"]

    def test_keys_that_fail_for_now_are_repeated_alone(self, bench):
        bench.rival.put_many(VALUES)
        asked = []

        class Reluctant(Wrapper):
            def delete_many(self, object_keys: Any, *, timeout: float) -> dict[str, StoreError]:
                names = list(object_keys)
                asked.append(len(names))
                busy = names[: len(names) // 2]
                failed = super().delete_many([name for name in names if name not in busy], timeout=timeout)
                return {**failed, **dict.fromkeys(busy, StoreBusy("busy"))}

        wrap(bench.client, Reluctant)
        assert bench.client.delete_many(VALUES) is True
        assert asked == [40, 20, 10, 5, 2, 1]
        assert list(bench.rival.keys()) == []

    def test_a_thousand_keys_have_the_time_of_a_thousand_and_four_requests_are_under_way(self, bench):
        """Else they only wait for each other, and the timeout is over before the store has done its work."""
        seen, running, most = [], [], []

        class Watched(Wrapper):
            def delete_many(self, object_keys: Any, *, timeout: float) -> dict[str, StoreError]:
                running.append(1)
                most.append(len(running))
                seen.append((len(list(object_keys)), timeout))
                time.sleep(0.005)
                running.pop()
                return {}

        wrap(bench.client, Watched)
        bench.client.delete_many([f"{number}" for number in range(10_010)])
        assert sorted(seen) == [(10, 5 + 10 * 0.02), *[(1_000, 5 + 1_000 * 0.02)] * 10]
        assert max(most) <= 4

    def test_keys_that_stay_busy_are_told_in_time(self, bench):
        name = bench.client.engine.place("key 3").object_key
        bench.store.script("delete_many", *[lambda forward: {**forward(), name: StoreBusy("busy")}] * 1_000)
        with pytest.raises(PartialFailure) as caught:
            bench.client.delete_many(VALUES)
        assert list(caught.value.failures) == ["key 3"]
        assert isinstance(caught.value.failures["key 3"], StoreBusy)
        assert bench.clock.monotonic() <= 5 + 0.02 * len(VALUES)

    def test_a_request_that_fails_takes_its_thousand_keys_and_no_others(self, bench):
        keys = [f"{number}" for number in range(2_500)]
        for key in keys:
            bench.store.inner.put(Write(bench.client.engine.place(key).object_key, b"", {}), timeout=1)
        bench.store.script("delete_many", fail(DENIED))
        with pytest.raises(PartialFailure) as caught:
            bench.client.delete_many(keys)
        assert len(caught.value.failures) in (500, 1_000)
        assert sorted(bench.rival.keys()) == sorted(caught.value.failures)


class TestClear:
    def test_what_could_not_be_removed_is_told(self, bench):
        bench.rival.put_many(VALUES)
        broken(bench, "key 3")
        with pytest.raises(PartialFailure, match="clear") as caught:
            bench.client.clear()
        assert list(caught.value.failures.values()) == [DENIED]
        assert caught.value.results == {"removed": 39}
        assert list(bench.rival.keys()) == ["key 3"]

    def test_of_many_pages_with_a_part_that_fails(self, bench):
        for number in range(1_600):
            bench.store.inner.put(Write(bench.client.engine.place(f"{number}").object_key, b"", {}), timeout=1)
        broken(bench, "7")
        with pytest.raises(PartialFailure) as caught:
            bench.client.clear()
        assert caught.value.results == {"removed": 1_599}
        assert list(bench.rival.keys()) == ["7"]

    def test_of_many_pages_with_a_listing_that_fails(self, bench):
        for number in range(1_600):
            bench.store.inner.put(Write(bench.client.engine.place(f"{number}").object_key, b"", {}), timeout=1)
        bench.store.script("list", lambda forward: forward(), fail(DENIED))
        with pytest.raises(PartialFailure) as caught:
            bench.client.clear()
        left = len(list(bench.rival.keys()))
        assert 0 < left < 150
        assert caught.value.results == {"removed": 1_600 - left}

    def test_what_is_written_meanwhile_does_not_keep_it_going(self, bench):
        bench.rival.put_many(VALUES)
        bench.store.script("delete_many", lambda forward: (forward(), bench.rival.put("key 1", "new"))[0])
        assert bench.client.clear() == 40
        assert list(bench.rival.keys()) == ["key 1"]

    def test_progress_tells_how_many_are_gone(self, bench):
        for number in range(2_500):
            bench.store.inner.put(Write(bench.client.engine.place(f"{number}").object_key, b"", {}), timeout=1)
        told: list[int] = []
        assert bench.client.clear(progress=told.append) == 2_500
        assert len(told) == 3
        assert max(told) == 2_500

    def test_an_interruption_waits_for_what_is_under_way_and_begins_nothing(self, bench, monkeypatch):
        for number in range(6_000):
            bench.store.inner.put(Write(bench.client.engine.place(f"{number}").object_key, b"", {}), timeout=1)
        begun = threading.Event()
        bench.store.script("delete_many", *[lambda forward: (begun.set(), time.sleep(0.05), forward())[2]] * 6)
        told: list[int] = []
        doomed, pages = bench.client._bulk._doomed, []

        def interrupted(page: Any, prefix: str) -> Any:
            pages.append(page)
            if len(pages) == 10:
                assert begun.wait(20)
                raise KeyboardInterrupt
            return doomed(page, prefix)

        monkeypatch.setattr(bench.client._bulk, "_doomed", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bench.client.clear(progress=told.append)
        left = len(list(bench.rival.keys()))
        assert left
        assert max(told) == 6_000 - left


class TestPatience:
    """A store that answers nothing takes one timeout of a call, whatever its size, and not one for each key."""

    KEYS = tuple(f"{number}" for number in range(500))

    @pytest.mark.parametrize("silent", [False, True])
    @pytest.mark.parametrize(
        ("verb", "call"),
        [
            ("get_many", lambda client: client.get_many(TestPatience.KEYS)),
            ("put_many", lambda client: client.put_many(dict.fromkeys(TestPatience.KEYS, 1), replace=True)),
            ("delete_many", lambda client: client.delete_many(map(str, range(20_000)))),
        ],
        ids=["get_many", "put_many", "delete_many"],
    )
    def test_ends_with_the_timeout(self, clock, verb, call, silent):
        bench = Bench(clock, fail_silently=silent)
        asked = []

        def busy(_: Callable[[], Any]) -> Any:
            asked.append(clock.monotonic())
            clock.advance(0.01)
            raise StoreBusy("busy")

        bench.store.script(verb if verb == "delete_many" else verb[:3], *[busy] * 100_000)
        if silent:
            assert call(bench.client) == {"get_many": {}, "put_many": dict.fromkeys(self.KEYS, False)}.get(verb, False)
            assert bench.client.stats()["silenced.PartialFailure"] == 1
        else:
            with pytest.raises(PartialFailure) as caught:
                call(bench.client)
            assert len(caught.value.failures) in (500, 20_000)
        bound = 5 + 1_000 * 0.02 if verb == "delete_many" else 5
        assert asked[-1] - asked[0] <= 4 * bound  # not 500 times, or 20; all threads let the one clock go on
        assert bench.client.stats()[f"errors.{verb}"] == 1

    def test_goes_on_as_long_as_something_succeeds(self, bench):
        bench.rival.put_many(dict.fromkeys(self.KEYS, 1))

        def slow(forward: Callable[[], Any]) -> Any:
            bench.clock.advance(0.1)
            return forward()

        def busy(_: Callable[[], Any]) -> Any:
            bench.clock.advance(0.1)
            raise StoreBusy("busy")

        bench.store.script("get", *[busy, slow] * 1_000)
        try:
            found = bench.client.get_many(self.KEYS)
        except PartialFailure as failure:  # the threads share a clock: a few have bad luck
            found = failure.results
        assert bench.clock.monotonic() > 50
        assert len(found) > 400


class TestLongKeys:
    """Names that are hashes: the key is inside, and whoever wrote it there may have lied."""

    LONG = "k" * 2_000

    def forge(self, bench: Bench, inner: str, name: str) -> None:
        """Write an entry that holds the key *inner* under the name of the key *name*, seal and signature included."""
        engine = bench.client.engine
        place = engine.place(name)
        entry = engine.codec.pack(
            Place(inner, place.object_key, True), *engine.codec.encode("v", expires_ms=None, created_ms=0)
        )
        bench.store.inner.put(Write(place.object_key, entry.body, entry.metadata), timeout=1)

    @pytest.mark.parametrize("inner", ["short", "k" * 1_999, "k" * 17_000, ""], ids=len)
    def test_an_entry_that_holds_another_key_is_not_listed(self, bench, inner):
        bench.rival.put("k", 1)
        self.forge(bench, inner, self.LONG)
        assert list(bench.client.keys()) == ["k"]
        assert bench.client.stats()["refused.key"] == 1
        assert bench.client.clear("k") == 1
        assert bench.client.get(self.LONG) is None
        assert bench.client.put(self.LONG, "mine") is True
        assert bench.client.get(self.LONG) == "mine"

    def test_a_damaged_one_is_not_listed_but_cleared(self, bench):
        bench.rival.put(self.LONG, 1)
        name = bench.client.engine.place(self.LONG).object_key
        bench.store.inner.put(Write(name, b"x", {}), timeout=1)
        assert list(bench.client.keys()) == []
        assert bench.client.clear(self.LONG) == 0
        assert bench.client.clear() == 1

    def test_one_that_goes_while_keys_are_listed(self, bench):
        bench.rival.put(self.LONG, 1)
        bench.store.script("get", lambda forward: (bench.rival.delete(self.LONG), forward())[1])
        assert list(bench.client.keys()) == []

    def test_one_that_expired_is_listed_as_others_are(self, bench):
        bench.rival.put_many({self.LONG: 1, "short": 2}, 10)
        bench.clock.advance(10)
        assert sorted(bench.client.keys()) == [self.LONG, "short"]


def test_keys_are_told_by_the_client_that_signed_them(clock):
    """A hashed name tells nothing to who has no key; the others are read from their names."""
    client = Client("memory://", clock=clock, signing_key="a secret")
    client.put_many({"k" * 2_000: 1, "short": 2})
    other = Client("memory://", clock=clock)
    other.engine.wrap_store(lambda _: client.engine.store)
    assert list(other.keys()) == ["short"]
    assert sorted(client.keys()) == sorted(["k" * 2_000, "short"])
