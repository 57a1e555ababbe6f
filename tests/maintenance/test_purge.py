"""Purge: what it removes, what it leaves alone, what it costs, and that it can stop anywhere."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import stub_store
from store_doubles import CountingStore, FaultyStore, before, fail, wrap_store

from cloudcached import (
    AccessDenied,
    BucketMissing,
    Client,
    ConfigError,
    NotFound,
    ReadOnlyError,
    StoreRefused,
    StoreUnreachable,
)
from cloudcached.config import Config
from cloudcached.maintenance.purge import (
    GRACE,
    IF_MATCH,
    PROBE_REQUESTS,
    UNMODIFIED,
    Counts,
    Purge,
    Report,
    Wanted,
    removal_of,
)
from cloudcached.runtime.pool import WIDTH
from cloudcached.stores.port import Write
from cloudcached.testing import FakeClock
from cloudcached.testing.stores import Request

DEAR = ("counter", ":1:django.contrib.sessions.cacheab12", "session:ab12")


def purge_of(url: str, clock: FakeClock, **wanted: Any) -> Purge:
    return Purge(Config.parse(url, {}), Wanted(**wanted), clock=clock)


def under(purge: Purge, make: Callable[[Any], Any]) -> Any:
    """Put a store around the one of *purge*, and return it."""
    return wrap_store(purge._engine, make)


def counted(report: Report) -> dict[str, int]:
    return {name: count for name, count in vars(report.counts).items() if count and name != "requests"}


@pytest.fixture
def url() -> str:
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def client(url: str, clock: FakeClock) -> Client:
    """Give a cache of 30 entries, of which 10 have expired."""
    client = Client(url, clock=clock)
    client.put_many({f"live {number}": "v" for number in range(15)})
    client.put_many({f"never {number}": "v" for number in range(5)}, None)
    client.put_many({f"old {number}": "v" for number in range(10)}, 60)
    clock.advance(100)
    return client


def test_removes_what_has_expired(client: Client, url: str, clock: FakeClock) -> None:
    report = purge_of(url, clock).run()
    assert counted(report) == {"listed": 30, "expired": 10, "removed": 10}
    assert (report.by, report.stopped, report.resume, report.error) == (IF_MATCH, "", "", None)
    assert len(set(client.keys())) == 20
    assert counted(purge_of(url, clock).run()) == {"listed": 20}


def test_a_dry_run_removes_nothing(client: Client, url: str, clock: FakeClock) -> None:
    report = purge_of(url, clock, dry_run=True).run()
    assert counted(report) == {"listed": 30, "expired": 10}
    assert report.by == ""
    assert len(set(client.keys())) == 30


def test_the_cost(client: Client, url: str, clock: FakeClock) -> None:
    purge = purge_of(url, clock)
    store = under(purge, CountingStore)
    report = purge.run()
    assert store.counts == {"LIST": 1, "HEAD": 30, "DELETE if match": 10}
    assert report.counts.requests == 41


def test_pages_are_read_ahead_and_read_once(url: str, clock: FakeClock) -> None:
    client = Client(url, clock=clock)
    client.put_many({f"k{number}": "v" for number in range(2500)}, 60)
    clock.advance(60)
    purge = purge_of(url, clock)
    store = under(purge, CountingStore)
    parts: list[float] = []
    report = purge.run(lambda part, counts: parts.append(part))
    assert counted(report) == {"listed": 2500, "expired": 2500, "removed": 2500}
    assert store.counts["LIST"] == 3
    assert parts == sorted(parts)
    assert 0.9 < parts[-1] <= 1


def test_locks_foreign_objects_and_other_caches_stay(url: str, clock: FakeClock) -> None:
    inner = Client(f"{url}/p", clock=clock)
    others = [Client(f"{url}/{prefix}", clock=clock) for prefix in ("p2", "p/q", "p/ab")]
    for client in (inner, *others):
        client.put("k", "v", 60)
    with inner.lock("l"):
        clock.advance(100)
        inner.engine.store.put(Write("p/foreign", b"", {}), timeout=1)
        assert counted(purge_of(f"{url}/p", clock).run()) == {"listed": 1, "expired": 1, "removed": 1}
    assert [list(client.keys()) for client in others] == [["k"]] * 3
    assert inner.engine.store.head("p/foreign", timeout=1)


@pytest.mark.parametrize(("everything", "left"), [(False, set(DEAR)), (True, set())])
def test_counters_and_sessions_stay_unless_asked_for(
    url: str, clock: FakeClock, everything: bool, left: set[str]
) -> None:
    client = Client(url, clock=clock)
    client.put_many({key: 5 if key == "counter" else "v" for key in (*DEAR, "other")}, 60)
    clock.advance(60)
    report = purge_of(url, clock, everything=everything).run()
    assert set(client.keys()) == left
    assert (report.counts.expired, report.counts.kept, report.counts.removed) == (4, len(left), 4 - len(left))


@pytest.mark.parametrize(("refused", "left"), [(False, 2), (True, 0)])
def test_what_cannot_be_verified_stays_unless_asked_for(url: str, clock: FakeClock, refused: bool, left: int) -> None:
    client = Client(url, clock=clock)
    Client(url, clock=clock, signing_key="other").put("theirs", "v")
    client.engine.store.put(Write(client.engine.place("damaged").object_key, b"x", {}), timeout=1)
    report = purge_of(url, clock, refused=refused).run()
    assert report.counts.refused == 2
    assert len(list(client.keys())) == left


def test_a_read_only_client_purges_nothing(url: str) -> None:
    config = Config.parse(url, {"read_only": True})
    with pytest.raises(ReadOnlyError):
        Purge(config, Wanted())
    Purge(config, Wanted(dry_run=True))


# Rivals


def test_what_is_written_between_look_and_removal_stays(client: Client, url: str, clock: FakeClock) -> None:
    purge = purge_of(url, clock)
    keys = [f"old {number}" for number in range(10)]
    under(purge, partial(Rival, client, keys))
    report = purge.run()
    assert counted(report) == {"listed": 30, "expired": 10, "spared": 10}
    assert client.get_many(keys) == dict.fromkeys(keys, "new")


class Rival(CountingStore):
    """Somebody who writes some keys anew just before they are removed."""

    def __init__(self, client: Client, keys: list[str], inner: Any) -> None:
        super().__init__(inner)
        self.client = client
        self.keys = {client.engine.place(key).object_key: key for key in keys}

    def _pass(self, request: Request, forward: Callable[[], Any]) -> Any:
        if request.verb == "delete" and request.object_keys[0] in self.keys:
            self.client.put(self.keys[request.object_keys[0]], "new", replace=True)
        return super()._pass(request, forward)


def test_an_entry_that_somebody_else_removes_is_no_failure(client: Client, url: str, clock: FakeClock) -> None:
    purge = purge_of(url, clock)
    store = under(purge, FaultyStore)
    store.script("head", fail(NotFound("gone")))
    assert purge.run().counts.listed == 29


@pytest.mark.parametrize(
    ("store", "condition"),
    [
        ((UNMODIFIED, 100), "DELETE if unmodified"),
        ((UNMODIFIED, 0), None),
        ((GRACE, 100), None),
        ((GRACE, 4000), "DELETE"),
        ((IF_MATCH, 0), "DELETE if match"),
    ],
)
def test_the_condition_fits_the_store(
    url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, store: tuple[str, float], condition: str | None
) -> None:
    """By date nothing is removed that was written in these two seconds; without a condition nothing within the hour."""
    by, age = store
    client = Client(url, clock=clock)
    client.put("k", "v", 0.001)
    clock.advance(age + 0.01)
    monkeypatch.setattr("cloudcached.maintenance.purge.removal_of", lambda *_: (by, 0))
    purge = purge_of(url, clock)
    counting = under(purge, CountingStore)
    purge.run()
    assert [request for request in counting.requests if "DELETE" in request] == ([condition] if condition else [])


def test_the_grace_can_be_told(url: str, clock: FakeClock) -> None:
    client = Client(url, clock=clock)
    client.put("k", "v", 60)
    clock.advance(100)
    assert counted(purge_of(url, clock, grace=50).run()) == {"listed": 1}
    assert counted(purge_of(url, clock, grace=40).run()) == {"listed": 1, "expired": 1, "removed": 1}


# Stopping and going on


def test_a_run_ends_with_its_requests_and_the_next_goes_on(url: str, clock: FakeClock) -> None:
    client = Client(url, clock=clock)
    client.put_many({f"k{number}": "v" for number in range(1200)}, 60)
    clock.advance(60)
    resume, runs, listed = "", 0, 0
    while resume or not runs:
        purge = purge_of(url, clock, max_requests=500, resume=resume)
        store = under(purge, CountingStore)
        report = purge.run()
        assert len(store.requests) == report.counts.requests <= 500
        assert (report.stopped, report.resume > resume) in (("requests", True), ("", False))
        resume, runs, listed = report.resume, runs + 1, listed + report.counts.listed
    assert not list(client.keys())
    assert 5 <= runs <= 8
    assert listed >= 1200


def test_so_few_requests_that_nothing_would_be_done_are_refused(s3_url: str, clock: FakeClock) -> None:
    with pytest.raises(ConfigError, match="14 requests would be spent before"):
        purge_of(s3_url, clock, max_requests=14)
    assert purge_of(s3_url, clock, max_requests=14, dry_run=True).run().counts.requests == 1
    Client(s3_url, clock=clock).put_many(dict.fromkeys("abcdefghijklmnopqrst", 1))
    report = purge_of(s3_url, clock, max_requests=20).run()
    assert report.counts.requests <= 20
    assert (report.stopped, bool(report.resume)) == ("requests", True)


def test_a_run_ends_with_its_time(url: str, clock: FakeClock) -> None:
    """After ten requests of half a second; those that were under way then are done."""
    Client(url, clock=clock).put_many({f"k{number}": "v" for number in range(500)})
    purge = purge_of(url, clock, max_seconds=5)
    store = under(purge, FaultyStore)
    store.script("head", *[before(partial(clock.advance, 0.5)) for _ in range(500)])
    report = purge.run()
    assert report.stopped == "seconds"
    assert 10 <= report.counts.listed <= 10 + WIDTH


def test_an_interrupted_run_says_how_far_it_came(client: Client, url: str, clock: FakeClock) -> None:
    seen: list[Counts] = []

    def progress(part: float, counts: Counts) -> None:
        seen.append(counts)
        if len(seen) == 5:
            raise KeyboardInterrupt

    purge = purge_of(url, clock)
    report = purge.run(progress)
    removed = report.counts.removed
    assert (report.stopped, bool(report.resume)) == ("interrupted", True)
    assert len(list(client.keys())) == 30 - removed
    report = purge_of(url, clock, resume=report.resume).run()
    assert report.counts.removed == 10 - removed
    assert report.counts.listed <= 25


def test_single_failures_are_counted_and_the_others_done(client: Client, url: str, clock: FakeClock) -> None:
    purge = purge_of(url, clock)
    store = under(purge, FaultyStore)
    broken = client.engine.place("old 3").object_key
    store.broken[broken] = StoreRefused("no")
    report = purge.run()
    assert (report.counts.removed, report.counts.failed, report.stopped) == (9, 1, "")
    assert str(report.error) == "no"


@pytest.mark.parametrize(("error", "failed"), [(AccessDenied("no"), 64), (StoreRefused("no"), 160)])
def test_a_store_that_fails_all_along_ends_the_run(url: str, clock: FakeClock, error: Exception, failed: int) -> None:
    client = Client(url, clock=clock)
    client.put_many({f"k{number}": "v" for number in range(500)})
    purge = purge_of(url, clock)
    store = under(purge, FaultyStore)
    store.script("head", *[fail(error)] * 500)
    report = purge.run()
    assert report.stopped == "failed"
    assert report.error is error
    assert report.counts.failed <= failed


@pytest.mark.parametrize("error", [BucketMissing("no bucket"), StoreRefused("no")])
def test_a_listing_that_fails_at_once_is_an_error(client: Client, url: str, clock: FakeClock, error: Exception) -> None:
    purge = purge_of(url, clock)
    store = under(purge, FaultyStore)
    store.script("list", fail(error))
    with pytest.raises(type(error)):
        purge.run()


def test_a_failure_is_asked_again(client: Client, url: str, clock: FakeClock) -> None:
    purge = purge_of(url, clock)
    store = under(purge, FaultyStore)
    store.script("head", fail(StoreUnreachable("reset")))
    report = purge.run()
    assert (report.counts.removed, report.counts.failed) == (10, 0)
    assert report.counts.requests == 42


# What the store honours


def test_what_the_server_honours_is_found_out(server: Any, s3_url: str, clock: FakeClock) -> None:
    by, requests = removal_of(Config.parse(s3_url, {}), clock)
    assert by == (UNMODIFIED if server.is_real else IF_MATCH)
    assert requests <= PROBE_REQUESTS
    listed = server.client().list_objects_v2(Bucket=server.bucket, Prefix=s3_url.rpartition("/")[2])
    assert "Contents" not in listed


def test_a_store_without_conditions_gets_a_grace(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    with stub_store.running() as stub:
        for name, value in stub.env.items():
            monkeypatch.setenv(name, value)
        client = Client("s3://stub/p", clock=clock, conditional_writes="best_effort")
        client.put_many({"k": "v", "l": "v"}, 60)
        clock.advance(100)
        assert counted(purge_of("s3://stub/p", clock).run()) == {"listed": 2}
        clock.advance(3600)
        report = purge_of("s3://stub/p", clock).run()
        assert (report.by, report.counts.removed) == (GRACE, 2)
        assert stub.objects == {}


@pytest.mark.parametrize("transport", ["boto3", "wire"])
def test_on_a_server_rewritten_entries_are_spared(server: Any, s3_url: str, clock: FakeClock, transport: str) -> None:
    """Each key is written anew after it was seen expired and before its removal: not one of these writes is lost."""
    keys = [f"k{number}" for number in range(40)]
    with Client(s3_url, clock=clock, transport=transport) as client:
        client.put_many(dict.fromkeys([*keys, *(f"old {number}" for number in range(40))], "v"), 60)
        clock.advance(100)
        wait_for_the_next_second(server)
        purge = Purge(Config.parse(s3_url, {"transport": transport}), Wanted(), clock=clock)
        under(purge, partial(Rival, client, keys))
        report = purge.run()
        assert counted(report) == {"listed": 80, "expired": 80, "removed": 40, "spared": 40}
        assert client.get_many(client.keys()) == dict.fromkeys(keys, "new")


def wait_for_the_next_second(server: Any) -> None:
    """Wait until what is written has another date than what was."""
    if server.is_real:
        time.sleep(1.1)


@pytest.mark.real
@pytest.mark.slow
def test_of_writes_beside_a_purge_only_those_in_the_instant_of_their_removal_are_lost(server: Any, s3_url: str) -> None:
    """Writers race with the purge for every key: a write is lost only if it was under way together with its DELETE."""
    clock, count = FakeClock(time.time()), 400
    keys = [f"k{number}" for number in range(count)]
    with Client(s3_url, clock=clock) as client:
        client.put_many(dict.fromkeys(keys, "old"), 60)
        clock.advance(100)
        wait_for_the_next_second(server)
        purge = Purge(Config.parse(s3_url, {}), Wanted(), clock=clock)
        deletes = spans_of(purge._engine.store, "delete")
        writes: dict[str, tuple[float, float]] = {}

        def write(key: str) -> None:
            began = time.monotonic()
            client.put(key, "new", replace=True)
            writes[client.engine.place(key).object_key] = (began, time.monotonic())

        with ThreadPoolExecutor(8) as writers:
            done = writers.map(write, sorted(keys, key=lambda key: client.engine.place(key).object_key))
            report = purge.run()
            assert len(list(done)) == count
        found = client.get_many(keys)
        lost = [key for key in keys if key not in found]
        assert set(found.values()) <= {"new"}
        assert len(found) + len(lost) == count
        assert report.counts.failed == 0
        for key in lost:
            (began, ended), (first, last) = (spans[client.engine.place(key).object_key] for spans in (writes, deletes))
            assert max(began, first) < min(ended, last), f"{key} was lost outside of the instant of its removal"


def spans_of(store: Any, verb: str) -> dict[str, tuple[float, float]]:
    """Return when each object's *verb* began and ended, as it happens."""
    spans: dict[str, tuple[float, float]] = {}
    send = getattr(store, verb)

    def timed(object_key: str, **options: Any) -> None:
        began = time.monotonic()
        try:
            send(object_key, **options)
        finally:
            spans[object_key] = (began, time.monotonic())

    setattr(store, verb, timed)
    return spans
