"""What a cache costs on S3, beside a Redis node and a serverless Redis: a small calculator.

Prices are those of AWS, US East (N. Virginia), on demand, without free tiers and without transfer, which is free between
a bucket and machines of its region. They change: ``PRICES`` is the one table of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

_MONTH_HOURS: Final = 730.0
_MONTH_SECONDS: Final = _MONTH_HOURS * 3600
_GB: Final = 2**30
#: What an entry's object has besides its value: seal, metadata, name.
ENTRY_OVERHEAD_BYTES: Final = 512

#: When the prices were looked up.
PRICES_DATE: Final = "2026-11"


@dataclass(frozen=True)
class ObjectStore:
    """Prices of an S3 storage class, in dollars."""

    name: str
    gb_month: float
    put_1000: float
    get_1000: float
    upload_gb: float = 0.0
    retrieval_gb: float = 0.0


@dataclass(frozen=True)
class Node:
    """Prices of a cache that is paid by the hour, in dollars."""

    name: str
    hour: float
    #: What it holds; a quarter of a node's memory is reserved.
    gb: float


@dataclass(frozen=True)
class Serverless:
    """Prices of a cache that is paid by what it holds and does, in dollars."""

    name: str
    gb_hour: float
    #: Per million units; a unit is a request of up to 1 KB.
    units_million: float
    least_gb: float


Service = ObjectStore | Node | Serverless

PRICES: Final[tuple[Service, ...]] = (
    ObjectStore("S3 Standard", gb_month=0.023, put_1000=0.005, get_1000=0.0004),
    ObjectStore(
        "S3 Express One Zone",
        gb_month=0.11,
        put_1000=0.00113,
        get_1000=0.00003,
        upload_gb=0.0032,
        retrieval_gb=0.0006,
    ),
    Node("ElastiCache cache.r7g.large (Redis), per node", hour=0.219, gb=13.07 * 0.75),
    Serverless("ElastiCache Serverless (Valkey)", gb_hour=0.084, units_million=0.0023, least_gb=0.1),
)


@dataclass(frozen=True)
class Workload:
    """What is asked of a cache: live entries, bytes of each, gets and puts a second."""

    entries: int
    size_bytes: int
    gets_s: float
    puts_s: float

    @property
    def gb(self) -> float:
        """The size of all entries."""
        return self.entries * (self.size_bytes + ENTRY_OVERHEAD_BYTES) / _GB


def month(service: Service, load: Workload) -> float:
    """Return the dollars of a month."""
    gets, puts = load.gets_s * _MONTH_SECONDS, load.puts_s * _MONTH_SECONDS
    if isinstance(service, Node):
        return math.ceil(load.gb / service.gb or 1) * service.hour * _MONTH_HOURS
    if isinstance(service, Serverless):
        units = (gets + puts) * max(1.0, load.size_bytes / 1024)
        return max(load.gb, service.least_gb) * service.gb_hour * _MONTH_HOURS + units / 1e6 * service.units_million
    size_gb = load.size_bytes / _GB
    return (
        load.gb * service.gb_month
        + gets * (service.get_1000 / 1000 + size_gb * service.retrieval_gb)
        + puts * (service.put_1000 / 1000 + size_gb * service.upload_gb)
    )


def million(service: ObjectStore, size_bytes: int) -> tuple[float, float]:
    """Return the dollars of a million gets and of a million puts."""
    once = Workload(0, size_bytes, 1e6 / _MONTH_SECONDS, 0), Workload(0, size_bytes, 0, 1e6 / _MONTH_SECONDS)
    return month(service, once[0]), month(service, once[1])


def break_even_gets_s(store: ObjectStore, other: Service, load: Workload) -> float:
    """Return the gets a second at which *store* costs as much as *other*, 0 where it always costs more.

    Puts keep their share of the gets; *other* is taken as it stands for *load*.
    """
    share = load.puts_s / load.gets_s if load.gets_s else 0.0
    idle = month(store, Workload(load.entries, load.size_bytes, 0, 0))
    one = month(store, Workload(0, load.size_bytes, 1, share))
    return max(0.0, (month(other, load) - idle) / one)
