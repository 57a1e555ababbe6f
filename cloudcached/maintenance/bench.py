"""The benchmark behind ``cloudcached bench``: how fast a bucket is from this machine, measured through the cache.

The number of requests is known before the first one is sent, so their cost can be shown first.
"""

from __future__ import annotations

import os
import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from ..client import Client
from ..errors import StoreError
from ..prices import PRICES, ObjectStore, millions

#: Number of entries that many threads read, and that bulk calls read and write.
MANY: Final = 100
#: The size of each of these, and of the smallest value by default.
SMALL_BYTES: Final = 32
#: Entries are removed at the end; those of a run that was killed expire.
_EXPIRE_S: Final = 3600

#: The kinds under which a client counts these requests.
_KINDS: Final = {"PUT": "put", "GET": "get", "DeleteObjects": "delete_many"}

#: Called with the part that is done, from 0 to 1, and the name of the next step.
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Plan:
    """The measurements to make.

    sizes: bytes of the values. runs: puts and gets per size, and gets per thread. threads: numbers of concurrent
    threads.
    """

    sizes: Sequence[int] = (SMALL_BYTES, 32 * 1024, 512 * 1024)
    runs: int = 20
    threads: Sequence[int] = (1, 8, 32)

    def calls(self) -> dict[str, dict[int, int]]:
        """Return the number of puts and gets by size. Each size has one more than its runs: the first is not timed."""
        by_size = dict.fromkeys(self.sizes, self.runs + 1)
        puts, gets = dict(by_size), dict(by_size)
        puts[SMALL_BYTES] = puts.get(SMALL_BYTES, 0) + MANY
        gets[SMALL_BYTES] = gets.get(SMALL_BYTES, 0) + MANY + sum(self.threads) * self.runs
        return {"PUT": puts, "GET": gets}

    def requests(self) -> dict[str, int]:
        """Return the number of requests, if none has to be repeated."""
        return {**{method: sum(calls.values()) for method, calls in self.calls().items()}, "DeleteObjects": 1}

    def bytes_sent(self) -> int:
        """Return the total bytes of the values that are put."""
        return sum(size * count for size, count in self.calls()["PUT"].items())

    def dollars(self, sent: Mapping[str, int] | None = None) -> dict[str, float]:
        """Return the dollars of the planned requests, or of those that were *sent*, by S3 storage class.

        Deletes are free.
        """
        planned = self.requests()
        shares = {method: (sent or planned)[method] / planned[method] for method in ("GET", "PUT")}
        found = {}
        for store in PRICES:
            if isinstance(store, ObjectStore):
                each = {size: millions(store, size) for size in self._all_sizes()}
                found[store.name] = sum(
                    shares[method] * count * each[size][method.lower()] / 1e6
                    for method, by_size in self.calls().items()
                    for size, count in by_size.items()
                )
        return found

    def _all_sizes(self) -> set[int]:
        return {*self.sizes, SMALL_BYTES}


def measure(client: Client, plan: Plan, progress: Progress) -> dict[str, Any]:
    """Measure a cache as planned, and remove what was written, also when interrupted.

    client: should not have a near tier, which would answer instead of the store. Returns milliseconds of puts and gets
    by size, gets a second by number of threads, entries a second of bulk calls, and the requests that the client
    counted. Raises the errors of the client's methods.

    **Cost:** ``plan.requests()``, and requests that have to be repeated.
    """
    work = _Work(client, plan, progress)
    before = client.stats()
    try:
        figures = {"values": work.values(), "many": work.many(), "threads": work.threads()}
    finally:
        client.delete_many(work.keys)
    progress(1.0, "")
    after = client.stats()
    sent = {name: after.get(f"requests.{kind}", 0) - before.get(f"requests.{kind}", 0) for name, kind in _KINDS.items()}
    return {**figures, "requests": sent}


class _Work:
    """One run."""

    def __init__(self, client: Client, plan: Plan, progress: Progress) -> None:
        self._client = client
        self._plan = plan
        self._progress = progress
        self._total, self._done = sum(plan.requests().values()), 0
        run = secrets.token_hex(8)
        self._small = [f"bench-{run}-{number}" for number in range(MANY)]
        self._single = f"bench-{run}"
        #: All keys that may have been written.
        self.keys = [self._single, *self._small]

    def values(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return the milliseconds of puts and gets, by size."""
        found = {}
        for size in self._plan.sizes:
            value = os.urandom(size)
            puts = self._timed(f"put of {size:,} bytes", partial(self._put, value))
            gets = self._timed(f"get of {size:,} bytes", partial(self._get, value))
            found[str(size)] = {"put": puts, "get": gets}
        return found

    def many(self) -> dict[str, float]:
        """Return the entries a second of the bulk calls."""
        client, values = self._client, {key: os.urandom(SMALL_BYTES) for key in self._small}
        began = time.perf_counter()
        client.put_many(values, _EXPIRE_S, replace=True)
        put = time.perf_counter()
        self._advance(MANY, "get_many")
        found = client.get_many(values)
        got = time.perf_counter()
        self._advance(MANY, "threads")
        if found != values:
            raise _lost()
        return {"put_many_per_s": MANY / (put - began), "get_many_per_s": MANY / (got - put)}

    def threads(self) -> dict[str, float]:
        """Return the gets a second, by number of threads."""
        found = {}
        for count in self._plan.threads:
            with ThreadPoolExecutor(count) as pool:
                began = time.perf_counter()
                for _ in pool.map(self._gets, range(count)):
                    self._advance(self._plan.runs, f"{count} threads")
                found[str(count)] = count * self._plan.runs / (time.perf_counter() - began)
        return found

    def _gets(self, seed: int) -> None:
        dice = random.Random(seed)  # noqa: S311 - which entry is next
        for _ in range(self._plan.runs):
            if self._client.get(dice.choice(self._small)) is None:
                raise _lost()

    def _timed(self, title: str, call: Callable[[], None]) -> dict[str, float]:
        taken = []
        for _ in range(self._plan.runs + 1):
            began = time.perf_counter()
            call()
            taken.append(time.perf_counter() - began)
            self._advance(1, title)
        ordered = sorted(taken[1:])  # the first one opens connections and imports modules
        last = len(ordered) - 1
        found = {"p50": ordered[last // 2], "p95": ordered[round(last * 0.95)], "average": sum(ordered) / len(ordered)}
        return {f"{name}_ms": seconds * 1e3 for name, seconds in found.items()}

    def _put(self, value: bytes) -> None:
        self._client.put(self._single, value, _EXPIRE_S, replace=True)

    def _get(self, value: bytes) -> None:
        if self._client.get(self._single) != value:
            raise _lost()

    def _advance(self, count: int, title: str) -> None:
        self._done += count
        self._progress(self._done / self._total, title)


def _lost() -> StoreError:
    return StoreError("an entry did not come back unchanged; is somebody else clearing this cache?")
