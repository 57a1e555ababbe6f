"""What a client counts: exactly, by verb and by request, and what Prometheus and OpenTelemetry are shown of it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from store_doubles import FaultyStore, fail, wrap

from cloudcached import Client, StoreBusy, StoreError, StoreUnreachable
from cloudcached.metrics import dollars, hit_rate
from cloudcached.runtime.counters import Histogram
from cloudcached.stores.port import Write
from cloudcached.testing import FakeClock

NEAR = {"max_bytes": 100_000, "max_age": 60}

#: Each verb on "k", which holds 1: its call, and what it counts beside ``calls.VERB``.
VERBS: dict[str, tuple[Callable[[Client], Any], dict[str, int]]] = {
    "get": (lambda c: c.get("k"), {"hits": 1, "requests.get": 1}),
    "get ": (lambda c: c.get("none"), {"misses": 1, "requests.get": 1}),
    "get_many": (lambda c: c.get_many(["k", "none", "other"]), {"hits": 1, "misses": 2, "requests.get": 3}),
    "get_or_put": (lambda c: c.get_or_put("k", lambda: 2), {"hits": 1, "requests.get": 1}),
    "get_or_put ": (
        lambda c: c.get_or_put("none", lambda: 2),
        {"misses": 1, "computed": 1, "requests.get": 1, "requests.put": 1},
    ),
    "put": (lambda c: c.put("k", 2, replace=True), {"requests.put": 1}),
    "update": (lambda c: c.update("k", 2), {"requests.get": 1, "requests.put": 1}),
    "delete": (lambda c: c.delete("k"), {"requests.head": 1, "requests.delete": 1}),
    "delete ": (lambda c: c.delete("none"), {"requests.head": 1}),
    "has": (lambda c: c.has("k"), {"requests.head": 1}),
    "ttl": (lambda c: c.ttl("k"), {"requests.head": 1}),
    "info": (lambda c: c.info("k"), {"requests.head": 1}),
    "touch": (lambda c: c.touch("k"), {"requests.get": 1, "requests.put": 1}),
    "persist": (lambda c: c.persist("k"), {"requests.get": 1, "requests.put": 1}),
    "expire_at": (lambda c: c.expire_at("k", 2e9), {"requests.get": 1, "requests.put": 1}),
    "incr": (lambda c: c.incr("k"), {"requests.get": 1, "requests.put": 1}),
    "delete_many": (lambda c: c.delete_many(["k", "none"]), {"requests.delete_many": 1}),
    "clear": (lambda c: c.clear(), {"requests.list": 1, "requests.delete_many": 1}),
    "gets": (lambda c: c.gets("k"), {"requests.get": 1}),
    "cas": (lambda c: c.cas("k", 2, TOKENS[c]), {"requests.put": 1}),
    "get_file": (lambda c: c.get_file("file", BytesIO()), {"requests.get": 1}),
    "put_file": (lambda c: c.put_file("f", BytesIO(b"x")), {"requests.put": 1}),
}


TOKENS: dict[Client, Any] = {}


@pytest.fixture
def client(clock: FakeClock) -> Client:
    return Client("memory://", clock=clock)


@pytest.fixture
def faulty(client: Client) -> FaultyStore:
    return wrap(client, FaultyStore)


def since(client: Client, call: Callable[[Client], Any]) -> dict[str, int]:
    """Return what *call* counts, without bytes."""
    before = client.stats()
    call(client)
    after = client.stats()
    counted = {name: count - before.get(name, 0) for name, count in after.items()}
    return {name: count for name, count in counted.items() if count and not name.startswith("bytes.")}


@pytest.mark.parametrize("name", VERBS)
def test_counts_of_a_verb(client: Client, name: str) -> None:
    call, counts = VERBS[name]
    client.put("k", 1)
    if name == "get_file":
        client.put("file", b"x")
    TOKENS[client] = client.gets("k")[1]
    assert since(client, call) == {f"calls.{name.strip()}": 1, **counts}


def test_put_many_counts_itself_and_each_put(client: Client) -> None:
    counts = since(client, lambda c: c.put_many({"a": 1, "b": 2}))
    assert counts == {"calls.put_many": 1, "calls.put": 2, "requests.put": 2}


def test_decr_counts_as_incr(client: Client) -> None:
    client.put("k", 1)
    assert since(client, lambda c: c.decr("k"))["calls.incr"] == 1


async def test_awaited_twins_count_as_the_others(client: Client) -> None:
    await client.aput("k", 1)
    assert (await client.aget("k"), await client.aget("none")) == (1, None)
    stats = client.stats()
    assert (stats["calls.put"], stats["calls.get"], stats["hits"], stats["misses"]) == (1, 2, 1, 1)


async def test_what_is_held_near_is_a_hit_without_a_request(clock: FakeClock) -> None:
    client = Client("memory://", clock=clock, near=NEAR)
    client.put("k", 1)
    assert [client.get("k") for _ in range(3)] == [1, 1, 1]
    assert await client.aget("k") == 1
    stats = client.stats()
    assert (stats["hits"], stats["near.hits"], stats["requests.get"]) == (4, 3, 1)
    assert "misses" not in stats


def test_an_expired_and_a_refused_entry_are_misses(client: Client, clock: FakeClock) -> None:
    client.put("k", 1, 10)
    clock.advance(10)
    assert client.get("k") is None
    engine = client.engine
    engine.store.put(Write(engine.place("bad").object_key, b"no entry", {}), timeout=1)
    assert client.get("bad") is None
    stats = client.stats()
    assert (stats["misses"], stats.get("hits"), stats["refused.format"]) == (2, None, 1)


def test_errors_are_neither_hits_nor_misses(client: Client, faulty: FaultyStore) -> None:
    client.put("k", 1)
    faulty.broken[client.engine.place("k").object_key] = StoreUnreachable("away")
    with pytest.raises(StoreError):
        client.get("k")
    with pytest.raises(StoreError):
        client.has("k")
    with pytest.raises(StoreError):
        client.gets("k")
    stats = client.stats()
    assert (stats["errors.get"], stats["errors.has"], stats["errors.gets"]) == (1, 1, 1)
    assert (stats["calls.get"], stats["calls.has"], stats["calls.gets"]) == (1, 1, 1)
    assert stats["retries"] >= 2
    assert not {"hits", "misses"} & stats.keys()


def test_each_try_is_a_request(client: Client, faulty: FaultyStore) -> None:
    client.put("k", 1)
    faulty.script("get", fail(StoreBusy("busy")), fail(StoreBusy("busy")))
    assert since(client, lambda c: c.get("k")) == {"calls.get": 1, "hits": 1, "requests.get": 3, "retries": 2}


def test_bytes_of_bodies(client: Client) -> None:
    client.put("k", os.urandom(1000))
    size = client.info("k").size
    client.get("k")
    client.get("k")
    stats = client.stats()
    assert size > 1000
    assert (stats["bytes.written"], stats["bytes.read"]) == (size, 2 * size)


# Times


def test_a_histogram_counts_by_powers_of_two_of_a_microsecond() -> None:
    histogram = Histogram()
    for seconds in (0.0, 0.000_9, 0.001, 0.001, 0.1):
        histogram.add(seconds)
    latency = histogram.snapshot()
    below = dict(latency.buckets)
    assert (latency.count, latency.seconds) == (5, pytest.approx(0.1029))
    assert (below[16e-6], below[1024e-6], below[131072e-6]) == (1, 4, 5)
    assert (latency.percentile(50), latency.percentile(99)) == (1024e-6, 131072e-6)


def test_what_takes_longer_than_the_last_bound() -> None:
    histogram = Histogram()
    histogram.add(1e6)
    assert histogram.snapshot().percentile(50) == float("inf")
    assert Histogram().snapshot().percentile(50) == 0.0


def test_times_are_those_of_the_clock(client: Client, faulty: FaultyStore, clock: FakeClock) -> None:
    client.put("k", 1)
    faulty.script("get", lambda forward: (clock.advance(0.25), forward())[1])
    client.get("k")
    latencies = client.latencies()
    assert latencies["get"].seconds == latencies["store.get"].seconds == 0.25
    assert (latencies["get"].count, latencies["put"].count, latencies["put"].seconds) == (1, 1, 0.0)


async def test_hits_of_the_near_tier_have_times_of_their_own(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client("memory://", clock=clock, near=NEAR)
    client.put("k", [1])
    client.get("k")
    codec = client.engine.codec
    decode = codec.decode
    monkeypatch.setattr(codec, "decode", lambda *entry: (clock.advance(0.25), decode(*entry))[1])
    assert (client.get("k"), await client.aget("k"), client.get_many(["k"])) == ([1], [1], {"k": [1]})
    assert client.get_or_put("k", lambda: 2) == [1]
    near = client.latencies()["near.memory"]
    assert (near.count, near.seconds) == (4, 1.0)
    assert client.latencies()["store.get"].count == 1


# Cost


def test_cost_is_that_of_requests() -> None:
    stats = {"requests.get": 1_000_000, "requests.head": 1_000_000, "requests.delete": 7, "requests.delete_many": 7}
    assert dollars(stats) == pytest.approx(0.8)
    assert dollars({"requests.put": 1000, "requests.list": 1000}) == pytest.approx(0.01)


def test_cost_on_express_is_its_own() -> None:
    url = "s3://name--use1-az5--x-s3/prefix"
    gigabyte = {"bytes.read": 2**30, "bytes.written": 2**30}
    assert dollars({"requests.get": 1000, "requests.put": 1000}, url) == pytest.approx(0.00003 + 0.00113)
    assert dollars(gigabyte, url) == pytest.approx(0.0006 + 0.0032)
    assert dollars(gigabyte, "s3://name/--x-s3") == 0


def test_hit_rate() -> None:
    assert hit_rate({}) is None
    assert hit_rate({"hits": 3, "misses": 1}) == 0.75
    assert hit_rate({"misses": 1}) == 0.0


# Listeners, logs, forks


def test_a_listener_is_told_of_events_and_not_of_calls(client: Client, faulty: FaultyStore) -> None:
    told: list[tuple[str, int]] = []
    listener = lambda name, count: told.append((name, count))  # noqa: E731
    client.listen(listener)
    client.listen(listener)
    client.put("k", 1)
    faulty.script("get", fail(StoreBusy("busy")))
    client.get("k")
    assert told == [("retries", 1)]


def test_log_records_have_fields(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    engine = client.engine
    name = engine.place("bad").object_key
    engine.store.put(Write(name, b"no entry", {}), timeout=1)
    with caplog.at_level(logging.WARNING, "cloudcached"):
        client.get("bad")
    (record,) = caplog.records
    assert (record.event, record.object_key, record.reason) == ("refused", name, "format")


def test_log_records_of_silenced_errors_have_fields(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    client = Client("memory://", clock=clock, fail_silently=True)
    store = wrap(client, FaultyStore)
    store.broken[client.engine.place("k").object_key] = StoreBusy("busy")
    with caplog.at_level(logging.WARNING, "cloudcached"):
        assert client.has("k") is False
    fields = [(r.event, r.verb, r.error) for r in caplog.records if getattr(r, "event", "") == "silenced"]
    assert fields == [("silenced", "has", "StoreBusy")]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_starts_at_zero() -> None:
    script = """
import json, os
from cloudcached import Client
client = Client("memory://", near={"max_bytes": 10_000, "max_age": 60})
client.put("k", 1)
client.get("k")
client.get("k")
read, write = os.pipe()
if not os.fork():
    client.get("k")
    os.write(write, json.dumps({**client.stats(), "timed": sorted(client.latencies())}).encode())
    os._exit(0)
os.wait()
print(json.dumps([client.stats(), json.loads(os.read(read, 10_000))]))
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    parent, child = json.loads(done.stdout)
    assert (parent["calls.get"], parent["calls.put"], parent["near.hits"]) == (2, 1, 1)
    assert (child["calls.get"], child["hits"], child.get("calls.put"), child["near.hits"]) == (1, 1, None, 0)
    assert child["timed"] == ["get", "store.get"]


# Prometheus


def test_prometheus_reads_all_of_it(client: Client) -> None:
    from prometheus_client import CollectorRegistry, generate_latest

    from cloudcached.metrics.prometheus import CacheCollector

    registry = CollectorRegistry(auto_describe=True)
    registry.register(CacheCollector(client, cache="pages"))
    client.put("k", 1)
    client.get("k")
    client.get("none")
    value = registry.get_sample_value
    assert value("cloudcached_lookups_total", {"cache": "pages", "result": "hit"}) == 1
    assert value("cloudcached_lookups_total", {"cache": "pages", "result": "miss"}) == 1
    assert value("cloudcached_calls_total", {"cache": "pages", "verb": "get"}) == 2
    assert value("cloudcached_requests_total", {"cache": "pages", "kind": "put"}) == 1
    assert value("cloudcached_bytes_total", {"cache": "pages", "direction": "read"}) > 0
    assert value("cloudcached_call_seconds_count", {"cache": "pages", "verb": "get"}) == 2
    assert value("cloudcached_call_seconds_bucket", {"cache": "pages", "verb": "get", "le": "+Inf"}) == 2
    assert value("cloudcached_request_seconds_count", {"cache": "pages", "kind": "get"}) == 2
    assert value("cloudcached_cost_dollars_total", {"cache": "pages"}) == pytest.approx(0.005e-3 + 2 * 0.0004e-3)
    client.get("k")
    assert value("cloudcached_calls_total", {"cache": "pages", "verb": "get"}) == 3
    assert b"cloudcached_call_seconds_bucket" in generate_latest(registry)


def test_prometheus_takes_several_caches(clock: FakeClock) -> None:
    from prometheus_client import CollectorRegistry

    from cloudcached.metrics.prometheus import CacheCollector

    registry = CollectorRegistry(auto_describe=True)
    for name in ("one", "two"):
        client = Client("memory://", clock=clock, near=NEAR)
        client.put(name, 1)
        for _ in range(3):
            client.get(name)
        registry.register(CacheCollector(client, cache=name))
    value = registry.get_sample_value
    for name in ("one", "two"):
        assert value("cloudcached_near_held", {"cache": name, "what": "entries"}) == 1
        assert value("cloudcached_near_total", {"cache": name, "what": "hits"}) == 2
        assert value("cloudcached_near_hit_seconds_count", {"cache": name, "tier": "memory"}) == 2
