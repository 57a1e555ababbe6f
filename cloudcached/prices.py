"""What a cache costs on S3, beside a Redis node and a serverless Redis: a small calculator.

Prices are those of AWS, US East (N. Virginia), on demand, without free tiers and without transfer, which is free between
a bucket and machines of its region. They change: ``PRICES`` is the one table of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
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

    def requests(self, names: Iterable[str]) -> float:
        """Return the dollars of requests, by their names in bills; deletes are free."""
        thousand = {
            **dict.fromkeys(("GET", "HEAD"), self.get_1000),
            **dict.fromkeys(("PUT", "LIST"), self.put_1000),
            **dict.fromkeys(("DELETE", "DeleteObjects"), 0.0),
        }
        return sum(thousand[name] for name in names) / 1000


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
class Operation:
    """What one operation asks of S3.

    requests: by their names in bills, in their order. down, up: how many of them carry the value.
    """

    name: str
    requests: tuple[str, ...]
    down: int = 0
    up: int = 0


#: What the verbs of a client cost, by their docstrings; a test compares it with what a client sends. A PUT that is answered
#: "there is one already" is billed, and has carried the value. Counters, records of locks and what has expired count no bytes.
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

#: Entries in one LIST, and in one DeleteObjects.
_PAGE: Final = 1000
#: A cache of more than a page is listed under as many beginnings of names at once.
_LISTED_UNDER: Final = 16

#: What S3 Standard gives at least, a second, to the names of one beginning. Source:
#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html
PREFIX_READS_S: Final = 5500
PREFIX_WRITES_S: Final = 3500
#: How many beginnings the names of entries have behind the cache's prefix: two hex digits.
PREFIXES: Final = 256


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


def millions(store: ObjectStore, size_bytes: int) -> dict[str, float]:
    """Return the dollars of a million of each of ``OPERATIONS``, on values of so many bytes."""
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
    """Return the dollars of a million operations when everything that *load* pays in a month is shared out among them.

    ``nan`` where it has none.
    """
    operations = (load.gets_s + load.puts_s) * _MONTH_SECONDS
    return month(service, load) / operations * 1e6 if operations else math.nan


def everything(entries: int) -> dict[str, dict[str, int]]:
    """Return the requests of what goes over all entries; of ``purge``, when none has expired."""
    pages = max(1, math.ceil(entries / _PAGE))
    lists = {"LIST": listings(entries)}
    removals = {"DeleteObjects": math.ceil(entries / _PAGE)}
    return {"keys": lists, "clear": {**lists, **removals}, "purge": {"LIST": pages, "HEAD": entries}}


def listings(entries: int) -> int:
    """Return the LISTs of ``keys``: one page, and where that is not all, the pages under each beginning that is left."""
    share = entries / _LISTED_UNDER
    left = (min(share, share * number - _PAGE) for number in range(1, _LISTED_UNDER + 1))
    return 1 + sum(math.ceil(rest / _PAGE) for rest in left if rest > 0)


def break_even_gets_s(store: ObjectStore, other: Service, load: Workload) -> float:
    """Return the gets a second at which *store* costs as much as *other*, 0 where it always costs more.

    Puts keep their share of the gets; *other* is taken as it stands for *load*.
    """
    share = load.puts_s / load.gets_s if load.gets_s else 0.0
    idle = month(store, Workload(load.entries, load.size_bytes, 0, 0))
    one = month(store, Workload(0, load.size_bytes, 1, share))
    return max(0.0, (month(other, load) - idle) / one)


def break_even_gb(store: ObjectStore, other: Node | Serverless, load: Workload) -> float:
    """Return from how many GB on *store* costs less than *other*, at the rates of *load*; ``inf`` where it never does.

    More or fewer entries of the same size; 0 where it costs less at any size. Nodes come whole, so it is a multiple of
    what one holds.
    """
    rates = Workload(0, load.size_bytes, load.gets_s, load.puts_s)
    requests = month(store, rates)
    if isinstance(other, Node):
        gained = other.hour * _MONTH_HOURS - other.gb * store.gb_month
        nodes = math.ceil(requests / gained) if gained > 0 else math.inf
        return max(0, nodes - 1) * other.gb
    gained = other.gb_hour * _MONTH_HOURS - store.gb_month
    # Where it holds nearly nothing it bills the least that it bills, so S3 is cheaper there or not at all.
    units = month(other, rates) - other.least_gb * other.gb_hour * _MONTH_HOURS
    gb = (requests - units) / gained if gained > 0 else math.inf
    return gb if gb > other.least_gb else 0.0
