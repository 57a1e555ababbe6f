"""Expiry by last access: what is read lives on, what is not expires."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from disks import Machine, unclosed
from store_doubles import CountingStore, FaultyStore, before, fail, wrap

from cloudcached import Client, StoreRefused, StoreUnreachable
from cloudcached.engine.engine import Engine
from cloudcached.testing import FakeClock

HOUR = 3600


@pytest.fixture
def background(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Give what waits for the work that was begun in the background, and raises what that has raised."""
    from cloudcached.runtime import pool

    begun: list[Future[Any]] = []
    lock = threading.Lock()

    def start(function: Callable[..., object], *arguments: Any) -> None:
        with lock:
            begun.append(pool._executor().submit(function, *arguments))

    monkeypatch.setattr(pool, "start", start)

    def wait() -> None:
        while begun:
            begun.pop(0).result()

    yield wait
    wait()


@pytest.fixture(params=[{}, {"near": {"max_bytes": 10**6, "max_age": 60}}], ids=["far", "near"])
def client(request: pytest.FixtureRequest, clock: FakeClock) -> Client:
    """Give a client, with and without a near tier, whose entry "k" lives an hour and is refreshed after ten minutes."""
    client = Client("memory://", clock=clock, refresh_after=600, **request.param)
    client.put("k", "v", HOUR)
    return client


def test_what_is_read_lives_on(client: Client, clock: FakeClock, background: Callable[[], None]) -> None:
    for _ in range(20):
        clock.advance(1000)
        assert client.get("k") == "v"
        background()
    assert client.ttl("k") == HOUR
    assert client.info("k").created == clock.time()
    clock.advance(HOUR)
    assert client.get("k") is None
    background()
    assert client.get("k") is None


@unclosed
def test_beside_a_disk(
    tmp_path: Path, clock: FakeClock, background: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Machine(tmp_path / "near", clock, monkeypatch) as machine:
        client = machine.process(refresh_after=600)
        client.put("k", "v", HOUR)
        for _ in range(10):
            clock.advance(1000)
            assert client.get("k") == "v"
            background()
        assert client.ttl("k") == HOUR


@pytest.mark.parametrize("read", [lambda c: c.get_many(["k"])["k"], lambda c: c.get_or_put("k", lambda: "new")])
def test_other_reads_count_too(
    client: Client, clock: FakeClock, background: Callable[[], None], read: Callable[[Client], Any]
) -> None:
    clock.advance(1000)
    assert read(client) == "v"
    background()
    assert client.ttl("k") == HOUR


def test_once_in_an_interval(clock: FakeClock, background: Callable[[], None]) -> None:
    client = Client("memory://", clock=clock, refresh_after=600)
    client.put("k", "v", HOUR)
    store = wrap(client, CountingStore)
    clock.advance(599)
    client.get("k")
    background()
    assert store.requests == ["GET"]
    store.forget()
    clock.advance(1)
    for _ in range(5):
        client.get("k")
    background()
    assert sorted(store.requests) == ["GET"] * 6 + ["PUT if match"]
    store.forget()
    clock.advance(599)
    client.get("k")
    background()
    assert store.requests == ["GET"]


def test_two_processes_refresh_once(clock: FakeClock, background: Callable[[], None]) -> None:
    url = f"memory://{uuid.uuid4().hex}"
    one, two = (Client(url, clock=clock, refresh_after=600) for _ in range(2))
    one.put("k", "v", HOUR)
    clock.advance(1000)
    for client in (one, two, one, two):
        assert client.get("k") == "v"
        background()
    assert (one.stats().get("refreshed", 0), two.stats().get("refreshed", 0)) == (1, 0)


@pytest.mark.parametrize(("value", "time_to_expire"), [(5, HOUR), ("v", None)])
def test_counters_and_what_never_expires_are_left_alone(
    clock: FakeClock, background: Callable[[], None], value: Any, time_to_expire: float | None
) -> None:
    client = Client("memory://", clock=clock, refresh_after=600)
    client.put("k", value, time_to_expire)
    store = wrap(client, CountingStore)
    clock.advance(1000)
    client.get("k")
    background()
    assert store.requests == ["GET"]


def test_what_was_touched_lives_as_long_as_it_was_told(clock: FakeClock, background: Callable[[], None]) -> None:
    """Its life began with the touch, not when it was created."""
    client = Client("memory://", clock=clock, refresh_after=600)
    client.put("k", "v", HOUR)
    for _ in range(5):
        clock.advance(3000)
        assert client.touch("k", HOUR)
        clock.advance(500)
        client.get("k")
        background()
        assert client.ttl("k") == HOUR - 500
    clock.advance(500)
    client.get("k")  # tried within the interval
    background()
    clock.advance(600)
    client.get("k")
    background()
    assert client.ttl("k") == HOUR


def test_a_stale_value_keeps_its_two_deadlines(clock: FakeClock, background: Callable[[], None]) -> None:
    client = Client("memory://", clock=clock, refresh_after=600)
    client.get_or_put("k", lambda: "v", HOUR, stale=HOUR)
    clock.advance(1000)
    assert client.get("k") == "v"
    background()
    meta = client.gets("k")[1].meta
    assert (meta.fresh_ms - meta.created_ms, meta.expires_ms - meta.created_ms) == (HOUR * 1000, 2 * HOUR * 1000)


def test_a_write_meanwhile_wins(clock: FakeClock, background: Callable[[], None]) -> None:
    client = Client("memory://", clock=clock, refresh_after=600)
    client.put("k", "v", HOUR)
    store = wrap(client, FaultyStore)
    store.script("put", before(lambda: store.inner.delete(client.engine.place("k").object_key, timeout=1)))
    clock.advance(1000)
    assert client.get("k") == "v"
    background()
    assert client.get("k") is None
    assert "refreshed" not in client.stats()


@pytest.mark.parametrize("error", [StoreRefused("no"), StoreUnreachable("no")])
def test_a_refresh_that_fails_is_counted_and_rests(
    clock: FakeClock, background: Callable[[], None], error: Exception
) -> None:
    client = Client("memory://", clock=clock, refresh_after=600)
    client.put("k", "v", HOUR)
    store = wrap(client, FaultyStore)
    store.script("put", *[fail(error)] * 100)
    clock.advance(1000)
    for _ in range(3):
        assert client.get("k") == "v"
        background()
    assert client.stats()["refresh_failed"] == 1


def test_a_read_only_client_refreshes_nothing(clock: FakeClock, background: Callable[[], None]) -> None:
    url = f"memory://{uuid.uuid4().hex}"
    Client(url, clock=clock).put("k", "v", HOUR)
    client = Client(url, clock=clock, refresh_after=600, read_only=True)
    store = wrap(client, CountingStore)
    clock.advance(1000)
    assert client.get("k") == "v"
    background()
    assert store.requests == ["GET"]


def test_without_the_option_the_engine_is_the_plain_one() -> None:
    assert type(Client("memory://").engine) is Engine
    assert type(Client("memory://", refresh_after=0).engine) is Engine


def test_on_a_server(server: Any, s3_url: str, clock: FakeClock, background: Callable[[], None]) -> None:
    """Its dates are not this clock's: what counts then is when the writer says that it was written."""
    with Client(s3_url, clock=clock, refresh_after=600, expiry_tags=True) as client:
        client.put("k", "v", HOUR)
        clock.advance(1000)
        assert client.get("k") == "v"
        background()
        assert client.stats().get("refreshed") is None  # by the server's clock it was written just now
        assert client.ttl("k") == HOUR - 1000


@pytest.mark.slow
def test_on_a_server_the_age_is_the_servers(server: Any, s3_url: str, background: Callable[[], None]) -> None:
    with Client(s3_url, refresh_after=1, expiry_tags=True) as client:
        client.put("k", "v", HOUR)
        created = client.info("k").created
        time.sleep(2.1)
        assert client.get("k") == "v"
        background()
        info = client.info("k")
        assert client.stats()["refreshed"] == 1
        assert info.created - created > 2
        assert abs(info.expires - info.created - HOUR) < 0.01
