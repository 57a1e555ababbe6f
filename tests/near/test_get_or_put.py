"""Computed values of a client that holds entries near."""

from __future__ import annotations

import math

import pytest
from computations import Work, settle, sharing
from store_doubles import CountingStore, wrap

from cloudcached import Client
from cloudcached.testing import FakeClock


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def client(clock: FakeClock) -> Client:
    return Client("memory://", clock=clock, near={"max_bytes": 10**6, "max_age": 100, "negative": 100})


@pytest.fixture
def store(client: Client) -> CountingStore:
    return wrap(client, CountingStore)


def test_what_is_held_costs_nothing(client, work, store):
    for _ in range(3):
        assert client.get_or_put("k", work, stale=20, early=1) == {"call": 1}
    assert store.requests == ["GET", "PUT if absent", "GET"]
    assert client.get_or_put("k", 2) == {"call": 1}
    assert len(store.requests) == 3


def test_what_is_held_as_missing_is_asked_for(client, work):
    assert client.get("k") is None
    sharing(client).put("k", "theirs")
    assert client.get("k") is None
    assert client.get_or_put("k", work) == "theirs"
    assert work.calls == 0


def test_what_has_expired_is_written_over(client, clock, work, store):
    client.get_or_put("k", work, 10)
    client.get("k")
    clock.advance(10)
    store.forget()
    assert client.get_or_put("k", work, 10) == {"call": 2}
    assert client.get("k") == {"call": 2}
    assert client.ttl("k") == 10


def test_a_stale_value_is_refreshed_as_it_is_in_the_store(client, clock, work, store):
    for _ in range(2):
        client.get_or_put("k", work, 10, stale=20)
    clock.advance(15)
    store.forget()
    assert client.get_or_put("k", work, 10, stale=20) == {"call": 1}
    settle(client)
    assert store.requests == ["GET", "PUT if match"]
    assert client.get_or_put("k", work, 10, stale=20) == {"call": 2}
    assert sharing(client).get("k") == {"call": 2}


def test_what_another_process_has_refreshed_is_not_computed(client, clock, work):
    for _ in range(2):
        client.get_or_put("k", work, 10, stale=20)
    clock.advance(15)
    rival = sharing(client)
    rival.get_or_put("k", work, 10, stale=20)
    settle(rival)
    assert client.get_or_put("k", work, 10, stale=20) == {"call": 1}
    settle(client)
    assert client.get_or_put("k", work, 10, stale=20) == {"call": 2}
    assert work.calls == 2


@pytest.mark.parametrize("value", [7, [7]])
def test_early_by_what_is_held(client, clock, store, value):
    def slow() -> object:
        clock.advance(2)
        return value

    for _ in range(2):
        client.get_or_put("k", slow, 60, early=1)
    clock.advance(59)
    store.forget()
    client.fills._draw = lambda: 0
    assert client.get_or_put("k", slow, 60, early=1) == value
    assert store.requests == []
    client.fills._draw = lambda: 1 - math.exp(-1)
    assert client.get_or_put("k", slow, 60, early=1) == value
    assert store.requests == ["GET", "PUT if match"]
    assert client.ttl("k") == 60
