"""A small calculator: the cost of a cache on S3, compared with a Redis node and a serverless Redis.

Prices are AWS on-demand prices for US East (N. Virginia), without free tiers. Transfer is not counted: it is free
between a bucket and machines in its region. Prices change; ``PRICES`` is the only table of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_MONTH_HOURS: Final = 730.0
_MONTH_SECONDS: Final = _MONTH_HOURS * 3600
_GB: Final = 2**30
#: Bytes of an entry's object besides its value: seal, metadata, name.
ENTRY_OVERHEAD_BYTES: Final = 512

#: When the prices were looked up.
PRICES_DATE: Final = "2026-11"


@dataclass(frozen=True)
class ObjectStore:
    """Prices of an S3 storage class, in dollars; GB are 2**30 bytes."""

    name: str
    gb_month: float
    put_1000: float
    get_1000: float
    upload_gb: float = 0.0
    retrieval_gb: float = 0.0

    def requests(self, names: Iterable[str]) -> float:
        """Return the dollars of requests, given by their names, such as ``GET``; deletes are free."""
        thousand = {
            **dict.fromkeys(("GET", "HEAD"), self.get_1000),
            **dict.fromkeys(("PUT", "LIST"), self.put_1000),
            **dict.fromkeys(("DELETE", "DeleteObjects"), 0.0),
        }
        return sum(thousand[name] for name in names) / 1000


@dataclass(frozen=True)
class Node:
    """The price of a cache that is billed by the hour, in dollars."""

    name: str
    hour: float
    #: Its capacity; a quarter of a node's memory is reserved.
    gb: float


@dataclass(frozen=True)
class Serverless:
    """Prices of a cache that is billed by storage and requests, in dollars."""

    name: str
    gb_hour: float
    #: Per million units; a request is one unit for each 1 KB, and at least one.
    units_million: float
    #: Storage is billed as at least so many GB.
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
class Operation:
    """The S3 requests of one operation.

    requests: their names, in order. down, up: the number of these that carry the value down or up.
    """

    name: str
    requests: tuple[str, ...]
    down: int = 0
    up: int = 0


#: The cost of a client's methods, as in their docstrings; a test compares it with the requests that a client sends. A PUT
#: that is refused because there is an entry already is billed, and has carried the value. No bytes are counted for
#: counters, for records of locks and for expired entries.
OPERATIONS: Final[tuple[Operation, ...]] = (
    Operation("get", ("GET",), down=1),
    Operation("get_many, each key", ("GET",), down=1),
    Operation("has, ttl, info", ("HEAD",)),
    Operation("put", ("PUT",), up=1),
    Operation("put over a live entry", ("PUT", "GET"), down=1, up=1),
    Operation("put over an expired entry", ("PUT", "GET", "PUT"), up=2),
    Operation("put_many, each key", ("PUT",), up=1),
    Operation("get_or_put of a missing key", ("GET", "PUT"), up=1),
    Operation("update", ("GET", "PUT"), down=1, up=1),
    Operation("touch", ("GET", "PUT"), down=1, up=1),
    Operation("incr", ("GET", "PUT")),
    Operation("delete", ("HEAD", "DELETE")),
    Operation("delete_many of 1,000 keys", ("DeleteObjects",)),
    Operation("lock, acquire and release", ("GET", "PUT", "PUT")),
)

#: Entries per LIST, and per DeleteObjects.
_PAGE: Final = 1000
#: A cache of more than one page is listed under this many name prefixes in parallel.
_LISTED_UNDER: Final = 16

#: The rates per second that S3 Standard sustains at least for each name prefix. Source:
#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html
PREFIX_READS_S: Final = 5500
PREFIX_WRITES_S: Final = 3500
#: The number of name prefixes of entries: two hex digits follow the cache's own prefix.
PREFIXES: Final = 256


@dataclass(frozen=True)
class Workload:
    """The load on a cache: live entries, bytes per value, gets and puts a second."""

    entries: int
    size_bytes: int
    gets_s: float
    puts_s: float

    @property
    def gb(self) -> float:
        """The size of all entries, in GB (2**30 bytes)."""
        return self.entries * (self.size_bytes + ENTRY_OVERHEAD_BYTES) / _GB


def month(service: Service, load: Workload) -> float:
    """Return the dollars of one month (730 hours)."""
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


def millions(store: ObjectStore, size_bytes: int) -> dict[str, float]:
    """Return the dollars of a million of each of ``OPERATIONS``, for values of *size_bytes*."""
    size_gb = size_bytes / _GB
    return {
        operation.name: 1e6
        * (
            store.requests(operation.requests)
            + operation.down * size_gb * store.retrieval_gb
            + operation.up * size_gb * store.upload_gb
        )
        for operation in OPERATIONS
    }


def per_million(service: Service, load: Workload) -> float:
    """Return the total dollars of a month divided by its millions of operations; ``nan`` if there are none."""
    operations = (load.gets_s + load.puts_s) * _MONTH_SECONDS
    return month(service, load) / operations * 1e6 if operations else math.nan


def everything(entries: int) -> dict[str, dict[str, int]]:
    """Return the requests of each operation that goes over all entries; of ``purge``, if none has expired."""
    pages = max(1, math.ceil(entries / _PAGE))
    lists = {"LIST": listings(entries)}
    removals = {"DeleteObjects": math.ceil(entries / _PAGE)}
    return {"keys": lists, "clear": {**lists, **removals}, "purge": {"LIST": pages, "HEAD": entries}}


def listings(entries: int) -> int:
    """Return the number of LISTs of ``keys``: one page, and if there are more, the rest under each name prefix."""
    share = entries / _LISTED_UNDER
    left = (min(share, share * number - _PAGE) for number in range(1, _LISTED_UNDER + 1))
    return 1 + sum(math.ceil(rest / _PAGE) for rest in left if rest > 0)


def break_even_gets_s(store: ObjectStore, other: Service, load: Workload) -> float:
    """Return the gets a second at which *store* costs as much as *other*; 0 if it always costs more.

    Puts keep their ratio to gets. The cost of *other* is that of *load*, whatever the rate.
    """
    share = load.puts_s / load.gets_s if load.gets_s else 0.0
    idle = month(store, Workload(load.entries, load.size_bytes, 0, 0))
    one = month(store, Workload(0, load.size_bytes, 1, share))
    return max(0.0, (month(other, load) - idle) / one)


def break_even_gb(store: ObjectStore, other: Node | Serverless, load: Workload) -> float:
    """Return the GB above which *store* costs less than *other*, at the rates of *load*.

    Assumes more or fewer entries of the same size. 0: *store* costs less at any size; ``inf``: it never does. Nodes
    come whole, so for a node it is a multiple of its capacity.
    """
    rates = Workload(0, load.size_bytes, load.gets_s, load.puts_s)
    requests = month(store, rates)
    if isinstance(other, Node):
        gained = other.hour * _MONTH_HOURS - other.gb * store.gb_month
        nodes = math.ceil(requests / gained) if gained > 0 else math.inf
        return max(0, nodes - 1) * other.gb
    gained = other.gb_hour * _MONTH_HOURS - store.gb_month
    # Below least_gb the other's storage costs the same and S3's costs less, so S3 stays cheaper if it is at least_gb.
    units = month(other, rates) - other.least_gb * other.gb_hour * _MONTH_HOURS
    gb = (requests - units) / gained if gained > 0 else math.inf
    return gb if gb > other.least_gb else 0.0
