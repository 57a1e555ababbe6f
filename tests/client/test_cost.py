"""What each verb costs: the requests that it makes, and no other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from store_doubles import CountingStore, FaultyStore, before, wrap

from cloudcached import Client, CloudCachedError, KeyMissing, PartialFailure, StoreBusy, ValueRejected
from cloudcached.stores.port import Write
from cloudcached.testing import FakeClock

#: Before the verb, "k" is ...
STATES = ("missing", "live", "expired", "damaged", "foreign")

ADD, MATCH, SET = "PUT if absent", "PUT if match", "PUT"


def always(*requests: str) -> dict[str, list[str]]:
    """Return the same requests for every state."""
    return {state: list(requests) for state in STATES}


#: A conditional PUT first; a GET tells why it failed; a second one replaces what is not live.
ADDING = {
    "missing": [ADD],
    "live": [ADD, "GET"],
    "expired": [ADD, "GET", MATCH],
    "damaged": [ADD, "GET", MATCH],
    "foreign": [ADD, "GET", MATCH],
}
CHANGING = {**always("GET"), "live": ["GET", MATCH]}
REMOVING = {**always("HEAD", "DELETE"), "missing": ["HEAD"]}

Verb = Callable[[Client, FakeClock], Any]
COSTS: dict[str, tuple[Verb, dict[str, list[str]]]] = {
    "get": (lambda c, _: c.get("k"), always("GET")),
    "put": (lambda c, _: c.put("k", 2), ADDING),
    "put, replacing": (lambda c, _: c.put("k", 2, replace=True), always(SET)),
    "put, gone at once": (lambda c, _: c.put("k", 2, 0), always("GET")),
    "put, gone at once, replacing": (lambda c, _: c.put("k", 2, 0, replace=True), always("DELETE")),
    "update": (lambda c, _: c.update("k", 2), CHANGING),
    "touch": (lambda c, _: c.touch("k"), CHANGING),
    "persist": (lambda c, _: c.persist("k"), CHANGING),
    "expire_at": (lambda c, clock: c.expire_at("k", clock.time() + 60), CHANGING),
    "incr": (lambda c, _: c.incr("k"), CHANGING),
    "decr": (lambda c, _: c.decr("k"), CHANGING),
    "incr from an initial value": (
        lambda c, _: c.incr("k", initial=0),
        {**always("GET", MATCH), "missing": ["GET", ADD]},
    ),
    "delete": (lambda c, _: c.delete("k"), REMOVING),
    "has": (lambda c, _: c.has("k"), always("HEAD")),
    "in": (lambda c, _: "k" in c, always("HEAD")),
    "ttl": (lambda c, _: c.ttl("k"), always("HEAD")),
    "info": (lambda c, _: c.info("k"), always("HEAD")),
    "get_many": (lambda c, _: c.get_many(["k"]), always("GET")),
    "put_many": (lambda c, _: c.put_many({"k": 2}), ADDING),
    "put_many, replacing": (lambda c, _: c.put_many({"k": 2}, replace=True), always(SET)),
    "delete_many": (lambda c, _: c.delete_many(["k"]), always("DeleteObjects")),
    "get_or_put": (
        lambda c, _: c.get_or_put("k", 2),
        {**always("GET", MATCH), "missing": ["GET", ADD], "live": ["GET"]},  # it knows what it writes over
    ),
    "keys": (lambda c, _: list(c.keys()), always("LIST")),
    "clear": (
        lambda c, _: c.clear(),
        {**always("LIST", "DeleteObjects"), "missing": ["LIST"]},
    ),
    "close": (lambda c, _: c.close(), always()),
    "stats": (lambda c, _: c.stats(), always()),
    "repr": (lambda c, _: (repr(c), c.url), always()),
}


@pytest.fixture
def client(clock: FakeClock) -> Client:
    return Client("memory://", clock=clock)


@pytest.fixture
def store(client: Client) -> CountingStore:
    return wrap(client, CountingStore)


def prepare(client: Client, clock: FakeClock, state: str) -> None:
    """Bring "k" into a state."""
    if state != "missing":
        client.put("k", 1, 10)
    inner, name = client.engine.store, client.engine.place("k").object_key
    if state == "expired":
        clock.advance(10)
    elif state == "damaged":
        found = inner.get(name, timeout=1)
        inner.put(Write(name, b"x" * found.head.size, found.head.metadata), timeout=1)
    elif state == "foreign":
        inner.put(Write(name, b"not an entry", {}), timeout=1)


@pytest.mark.parametrize(
    ("verb", "state", "requests"),
    [(verb, state, requests) for verb, (_, by_state) in COSTS.items() for state, requests in by_state.items()],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_requests_per_call(store, client, verb, state, requests):
    clock = client.engine.clock
    prepare(client, clock, state)
    store.forget()
    try:
        COSTS[verb][0](client, clock)
    except KeyMissing:
        assert state != "live"
    assert store.requests == requests


@pytest.mark.parametrize("state", ["expired", "foreign"])
@pytest.mark.parametrize("verb", ["get", "put", "update", "touch", "incr", "get_many"])
def test_the_body_of_what_is_not_live_is_not_read_but_closed(client, store, clock, verb, state):
    prepare(client, clock, state)
    store.forget()
    try:
        COSTS[verb][0](client, clock)
    except KeyMissing:
        assert verb == "incr"
    assert (store.bodies, store.closed) == (0, 1)


@pytest.mark.parametrize("verb", ["has", "in", "ttl", "info", "delete"])
def test_no_body_is_read_to_look_at_the_outside(client, store, clock, verb):
    prepare(client, clock, "live")
    store.forget()
    COSTS[verb][0](client, clock)
    assert store.bodies == 0


def test_nothing_is_asked_when_a_client_is_made(monkeypatch):
    seen = []
    real = Client.__init__

    def counted(self: Client, *arguments: Any, **options: Any) -> None:
        real(self, *arguments, **options)
        seen.append(wrap(self, CountingStore))

    monkeypatch.setattr(Client, "__init__", counted)
    Client("memory://counted", signing_key="a")
    assert seen[0].requests == []


def test_what_is_refused_costs_nothing(client, store):
    for call in (
        lambda: client.get(1),
        lambda: client.put("k", lambda: 0),
        lambda: client.put("k", 1, "soon"),
        lambda: client.update("k", lambda: 0),
        lambda: client.incr("k", 1.5),
        lambda: client.get_many(["k", 1]),
        lambda: client.put_many({"k": 1, 1: 1}),
        lambda: client.delete_many(["k", 1]),
    ):
        with pytest.raises(CloudCachedError):
            call()
    with pytest.raises((PartialFailure, ValueRejected)):
        client.put_many({"k": lambda: 0})
    assert store.requests == []


def test_get_or_put_that_a_rival_was_faster_than(client, store):
    def compute() -> str:
        rival = store.inner
        place = client.engine.place("k")
        entry = client.engine.codec.pack(place, *client.engine.codec.encode("theirs", expires_ms=None, created_ms=0))
        rival.put(Write(place.object_key, entry.body, entry.metadata), timeout=1)
        return "ours"

    assert client.get_or_put("k", compute) == "theirs"
    assert store.requests == ["GET", ADD, "GET"]


def test_a_race_that_was_lost_costs_a_get_and_a_put_more(client, clock):
    client.put("n", 0)
    rival = Client("memory://", clock=clock)
    rival.engine.wrap_store(lambda _: client.engine.store)
    faulty = wrap(client, FaultyStore)
    faulty.script("put", before(lambda: rival.incr("n")))
    store = wrap(client, CountingStore)
    assert client.incr("n") == 2
    assert store.requests == ["GET", MATCH, "GET", MATCH]


class TestBulk:
    """Bulk calls: 1 request a key, or 1 for 1,000."""

    def test_get_many_is_one_get_a_key(self, client, store):
        client.put_many({f"{number}": number for number in range(150)})
        store.forget()
        client.get_many([f"{number}" for number in range(0, 300, 2)])
        assert store.counts == {"GET": 150}
        assert store.bodies == 75

    def test_put_many_is_one_put_a_key(self, client, store):
        client.put_many({f"{number}": number for number in range(100)})
        assert store.counts == {ADD: 100}
        store.forget()
        client.put_many({f"{number}": number for number in range(100)}, replace=True)
        assert store.counts == {SET: 100}

    @pytest.mark.parametrize(("keys", "requests"), [(0, 0), (1, 1), (1000, 1), (1001, 2), (2500, 3)])
    def test_delete_many_is_one_request_for_a_thousand(self, client, store, keys, requests):
        client.delete_many(f"{number}" for number in range(keys))
        assert store.counts == Counter({"DeleteObjects": requests} if requests else {})

    @pytest.mark.parametrize(("entries", "pages"), [(0, 1), (999, 1), (1000, 1), (1001, 2), (2100, 10), (20_000, 32)])
    def test_keys_is_one_list_for_a_thousand_and_goes_over_16_prefixes(self, client, store, entries, pages):
        fill(client, entries)
        store.forget()
        assert len(list(client.keys())) == entries
        assert store.counts == {"LIST": pages}

    def test_keys_lists_as_it_is_consumed(self, client, store):
        fill(client, 1_500)
        store.forget()
        keys = client.keys()
        assert store.requests == []
        next(keys)
        assert store.requests == ["LIST"]

    def test_keys_costs_a_get_for_each_key_too_long_for_a_name(self, client, store):
        client.put_many({"short": 1, "k" * 2_000: 2, "l" * 2_000: 3})
        store.forget()
        assert len(list(client.keys())) == 3
        assert store.requests == ["LIST", "GET", "GET"]

    def test_clear_asks_for_no_key_that_it_need_not_know(self, client, store):
        client.put_many({"short": 1, "k" * 2_000: 2})
        store.forget()
        assert client.clear() == 2
        assert store.requests == ["LIST", "DeleteObjects"]

    def test_clear_of_a_prefix(self, client, store):
        client.put_many({"a1": 1, "a2": 1, "b": 1})
        store.forget()
        assert client.clear("a") == 2
        assert client.clear("c") == 0
        assert store.requests == ["LIST", "DeleteObjects", "LIST"]

    @pytest.mark.parametrize(("entries", "lists", "deletes"), [(1_000, 1, 1), (1_500, 7, 2), (20_000, 32, 20)])
    def test_clear_of_more_than_a_page_goes_over_16_prefixes(self, client, store, entries, lists, deletes):
        fill(client, entries)
        store.forget()
        assert client.clear() == entries
        assert store.counts == {"LIST": lists, "DeleteObjects": deletes}
        assert list(client.keys()) == []


def fill(client: Client, entries: int) -> None:
    """Put objects where entries would be."""
    for number in range(entries):
        place = client.engine.place(f"{number}")
        client.engine.store.put(Write(place.object_key, b"", {}), timeout=1)


def test_repetitions_are_counted_in_stats(client):
    store = wrap(client, FaultyStore)

    def busy(forward: Callable[[], Any]) -> Any:
        raise StoreBusy("busy")

    store.script("get", busy, busy)
    client.get("k")
    assert client.stats()["retries"] == 2
