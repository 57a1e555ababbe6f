"""What OpenTelemetry is told: counts, durations, and spans of every call."""

from __future__ import annotations

from typing import Any

import pytest
from store_doubles import FaultyStore, wrap

from cloudcached import MISSING, Client, StoreError, StoreUnreachable
from cloudcached.stores.port import Write
from cloudcached.testing import FakeClock

NEAR = {"max_bytes": 100_000, "max_age": 60}


@pytest.fixture
def client(clock: FakeClock) -> Client:
    return Client("memory://", clock=clock)


@pytest.fixture
def faulty(client: Client) -> FaultyStore:
    return wrap(client, FaultyStore)


def points(reader: Any, name: str) -> dict[frozenset[tuple[str, str]], Any]:
    """Return the points of a metric by their attributes."""
    data = reader.get_metrics_data()
    metrics = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics if m.name == name]
    return {frozenset(point.attributes.items()): point for metric in metrics for point in metric.data.data_points}


@pytest.fixture
def telemetry(client: Client) -> Any:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from cloudcached.metrics.opentelemetry import instrument

    reader, exporter = InMemoryMetricReader(), InMemorySpanExporter()
    meters, tracers = MeterProvider([reader], shutdown_on_exit=False), TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    done = instrument(client, cache="pages", meter_provider=meters, tracer_provider=tracers)
    yield reader, exporter, done
    done.remove()
    meters.shutdown()
    tracers.shutdown()


def test_counts(client: Client, telemetry: Any) -> None:
    reader, _, _ = telemetry
    client.put("k", 1)
    client.get("k")
    pages = ("cloudcached.cache", "pages")
    assert points(reader, "cloudcached.calls")[frozenset([pages, ("cloudcached.verb", "get")])].value == 1
    assert points(reader, "cloudcached.lookups")[frozenset([pages, ("cloudcached.result", "hit")])].value == 1
    assert points(reader, "cloudcached.requests")[frozenset([pages, ("cloudcached.kind", "put")])].value == 1
    assert points(reader, "cloudcached.call.duration")[frozenset([pages, ("cloudcached.verb", "get")])].count == 1


def test_shows_the_near_tier(clock: FakeClock) -> None:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    from cloudcached.metrics.opentelemetry import instrument

    client, reader = Client("memory://", clock=clock, near=NEAR), InMemoryMetricReader()
    meters = MeterProvider([reader], shutdown_on_exit=False)
    instrument(client, meter_provider=meters)
    client.put("k", 1)
    for _ in range(3):
        client.get("k")
    default = ("cloudcached.cache", "default")
    assert points(reader, "cloudcached.near")[frozenset([default, ("cloudcached.what", "hits")])].value == 2
    assert points(reader, "cloudcached.near.held")[frozenset([default, ("cloudcached.what", "entries")])].value == 1
    meters.shutdown()


def test_shows_entries_in_another_format(client: Client, telemetry: Any) -> None:
    reader, _, _ = telemetry
    client.engine.store.put(Write(client.engine.place("k").object_key, b"", {"cc-format": "1"}), timeout=1)
    assert client.get("k") is None
    event = ("cloudcached.event", "misses.format")
    assert points(reader, "cloudcached.events")[frozenset([("cloudcached.cache", "pages"), event])].value == 1


def test_spans(client: Client, telemetry: Any, faulty: FaultyStore) -> None:
    _, exporter, done = telemetry
    client.put("k", None)
    assert client.get("k", "default") is None
    assert client.get("none", "default") == "default"
    assert client.get("none", MISSING) is MISSING
    faulty.broken[client.engine.place("k").object_key] = StoreUnreachable("away")
    with pytest.raises(StoreError):
        client.has("k")
    spans = exporter.get_finished_spans()
    assert [span.name for span in spans] == ["cache put", "cache get", "cache get", "cache get", "cache has"]
    assert [span.attributes.get("cloudcached.hit") for span in spans] == [None, True, False, False, None]
    assert [span.status.is_ok for span in spans] == [True, True, True, True, False]
    assert not [value for span in spans for value in span.attributes.values() if value in ("k", "none")]
    done.remove()
    client.get("none")
    assert len(exporter.get_finished_spans()) == 5


async def test_spans_of_awaited_calls_lie_in_their_callers(client: Client, telemetry: Any) -> None:
    from opentelemetry.sdk.trace import TracerProvider

    _, exporter, _ = telemetry
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    with tracer.start_as_current_span("page") as page:
        await client.aget("k")
    (span,) = exporter.get_finished_spans()
    assert span.parent.span_id == page.get_span_context().span_id


def named(exporter: Any) -> list[str]:
    names = [span.name for span in exporter.get_finished_spans()]
    exporter.clear()
    return names


async def test_spans_of_what_is_computed(client: Client, telemetry: Any) -> None:
    """Also of memoized functions, and of an outer call whose inner one is in it."""
    reader, exporter, done = telemetry

    @client.memoize()
    def double(number: int) -> int:
        return 2 * number

    @client.memoize()
    async def triple(number: int) -> int:
        return 3 * number + double(number)

    assert (double(1), double(1), await triple(1), await triple(1)) == (2, 2, 5, 5)
    outer, inner = exporter.get_finished_spans()[3], exporter.get_finished_spans()[2]
    assert inner.parent.span_id == outer.context.span_id
    assert "cache get_or_put" in {outer.name, inner.name}
    exporter.clear()
    assert client.get_or_put("k", 1) == await client.aget_or_put("k", 2) == 1
    assert await client.aget_or_put("l", lambda: 3) == 3
    assert named(exporter) == ["cache get_or_put"] * 3
    pages = frozenset([("cloudcached.cache", "pages"), ("cloudcached.verb", "get_or_put")])
    assert points(reader, "cloudcached.call.duration")[pages].count == 8
    with pytest.raises(ZeroDivisionError):
        client.get_or_put("none", lambda: 1 // 0)
    assert not exporter.get_finished_spans()[0].status.is_ok
    exporter.clear()
    done.remove()
    double(1)
    await client.aget_or_put("k", 2)
    assert named(exporter) == []


def test_a_function_memoized_before_has_a_span_for_its_invalidation(client: Client, clock: FakeClock) -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from cloudcached.metrics.opentelemetry import instrument

    @client.memoize(60)
    def double(number: int) -> int:
        return 2 * number

    exporter, tracers = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentation = instrument(client, tracer_provider=tracers)
    assert double(1) == 2
    double.invalidate(1)
    assert [span.name for span in exporter.get_finished_spans()] == ["cache get_or_put", "cache delete"]
    instrumentation.remove()
    double.invalidate(1)
    assert len(exporter.get_finished_spans()) == 2


async def test_spans_of_what_is_awaited_near(clock: FakeClock) -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from cloudcached.metrics.opentelemetry import instrument

    client, exporter = Client("memory://", clock=clock, near=NEAR), InMemorySpanExporter()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentation = instrument(client, tracer_provider=tracers)
    await client.aput("k", 1)
    assert [await client.aget("k"), await client.aget("k")] == [1, 1]
    assert [span.attributes.get("cloudcached.hit") for span in exporter.get_finished_spans()] == [None, True, True]
    assert named(exporter) == ["cache put", "cache get", "cache get"]
    instrumentation.remove()
    assert await client.aget("k") == 1
    assert named(exporter) == []
    tracers.shutdown()
