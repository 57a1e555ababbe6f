"""A client's statistics for monitoring systems: ``metrics.prometheus`` and ``metrics.opentelemetry``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TypeVar

from ..config import EXPRESS
from ..prices import PRICES, ObjectStore

T = TypeVar("T")

#: The kinds of requests that S3 bills as reads, and those that are free; all others are billed as writes.
_READS: Final = frozenset(("get", "get_first", "get_range", "head"))
_FREE: Final = frozenset(("delete", "delete_many", "abort_upload"))
_GB: Final = 2**30
#: The counts of ``stats`` that are not events.
_GROUPS: Final = ("calls.", "errors.", "requests.", "bytes.", "near.")
_PLAIN: Final = frozenset(("hits", "misses"))
#: The figures of the near tier that show its current contents; the others are counts.
_HELD: Final = ("entries", "bytes")


def group(stats: Mapping[str, T], prefix: str) -> dict[str, T]:
    """Return the figures of *stats* whose names begin with *prefix*, such as ``calls.``, under the rest of the name."""
    return {name.removeprefix(prefix): count for name, count in stats.items() if name.startswith(prefix)}


def near(stats: Mapping[str, int]) -> dict[str, int]:
    """Return the near tier's counts."""
    return {what: count for what, count in group(stats, "near.").items() if what not in _HELD}


def near_held(stats: Mapping[str, int]) -> dict[str, int]:
    """Return the near tier's current contents: its entries and bytes."""
    return {what: count for what, count in group(stats, "near.").items() if what in _HELD}


def events(stats: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Yield the counts of other events: refused entries, outages, retries, computations, ..."""
    for name, count in stats.items():
        if name not in _PLAIN and not name.startswith(_GROUPS):
            yield name, count


def hit_rate(stats: Mapping[str, int]) -> float | None:
    """Return the hits divided by all lookups; ``None`` if there were no lookups."""
    looked = stats.get("hits", 0) + stats.get("misses", 0)
    return stats.get("hits", 0) / looked if looked else None


def storage_class(url: str) -> ObjectStore:
    """Return the prices of the bucket in *url*: buckets of S3 Express One Zone are recognised by their names."""
    bucket = url.partition("://")[2].partition("/")[0]
    standard, express = (service for service in PRICES if isinstance(service, ObjectStore))
    return express if bucket.endswith(EXPRESS) else standard


def dollars(stats: Mapping[str, int], url: str = "") -> float:
    """Return the dollars of the requests in *stats* in the bucket of *url*, at the prices of ``cloudcached.prices``.

    Storage and transfer out of the region are not included. For a cache in memory, return the dollars on S3 Standard.
    """
    prices = storage_class(url)
    moved = stats.get("bytes.read", 0) * prices.retrieval_gb + stats.get("bytes.written", 0) * prices.upload_gb
    total = moved / _GB
    for kind, count in group(stats, "requests.").items():
        if kind not in _FREE:
            total += count / 1000 * (prices.get_1000 if kind in _READS else prices.put_1000)
    return total
