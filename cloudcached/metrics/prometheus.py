"""A collector for ``prometheus_client`` (extra ``prometheus``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ..client import Client
from ..runtime.counters import Latency
from . import dollars, events, group, near, near_held


class CacheCollector(Collector):
    """Collects a client's statistics whenever Prometheus scrapes; costs nothing in between.

    client: ``caches["default"].client`` in Django, ``cache.cache.client`` in Flask. cache: the value of the label
    ``cache`` of all series. Register one collector per process: ``REGISTRY.register(CacheCollector(client))``. The
    figures are those of this process; with several workers, scrape each worker separately (``prometheus_client``'s
    multiprocess mode does not support collectors). **Cost:** no requests.
    """

    def __init__(self, client: Client, *, cache: str = "default") -> None:
        self._client = client
        self._cache = cache

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the series are only known at collection."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield all series."""
        stats = self._client.stats()
        yield self._counts("lookups", "Keys that were looked up.", "result", _lookups(stats))
        yield self._counts("calls", "Calls, by method.", "verb", group(stats, "calls."))
        yield self._counts(
            "errors", "Calls that failed because of the store, by method.", "verb", group(stats, "errors.")
        )
        yield self._counts("requests", "Requests to the store.", "kind", group(stats, "requests."))
        yield self._counts("bytes", "Bytes of bodies that were transferred.", "direction", group(stats, "bytes."))
        yield self._counts("events", "Refused entries, retries, outages, computations.", "event", dict(events(stats)))
        yield self._counts("near", "Counts of the near tier.", "what", near(stats))
        yield self._held(stats)
        cost = CounterMetricFamily(
            "cloudcached_cost_dollars", "Dollars that the requests cost on S3.", labels=["cache"]
        )
        cost.add_metric([self._cache], dollars(stats, self._client.url))
        yield cost
        times = {
            of: HistogramMetricFamily(f"cloudcached_{name}_seconds", text, labels=["cache", label])
            for of, name, text, label in _TIMES
        }
        for name, latency in self._client.latencies().items():
            of, _, what = name.rpartition(".")
            times[of].add_metric([self._cache, what], _buckets(latency), latency.seconds)
        yield from times.values()

    def _counts(self, name: str, text: str, label: str, counts: dict[str, int]) -> Metric:
        family = CounterMetricFamily(f"cloudcached_{name}", text, labels=["cache", label])
        for what, count in counts.items():
            family.add_metric([self._cache, what], count)
        return family

    def _held(self, stats: dict[str, int]) -> Metric:
        family = GaugeMetricFamily(
            "cloudcached_near_held", "Current entries and bytes of the near tier.", labels=["cache", "what"]
        )
        for what, count in near_held(stats).items():
            family.add_metric([self._cache, what], count)
        return family


#: Histograms: the group of their names in ``Client.latencies``, the series, its help text, and its label.
_TIMES = (
    ("", "call", "Duration of calls.", "verb"),
    ("store", "request", "Duration of requests.", "kind"),
    ("near", "near_hit", "Duration of near tier hits.", "tier"),
)


def _lookups(stats: dict[str, int]) -> dict[str, int]:
    return {"hit": stats.get("hits", 0), "miss": stats.get("misses", 0)}


def _buckets(latency: Latency) -> list[Any]:
    return [*((f"{bound:g}", below) for bound, below in latency.buckets), ("+Inf", latency.count)]
