"""What the near tier takes of a process's memory, and what a child process gets of it."""

from __future__ import annotations

import gc
import os
import threading
import tracemalloc
from typing import Any

import pytest
from store_doubles import CountingStore, wrap

from cloudcached import Client
from cloudcached.near.memory import Held, Tier
from cloudcached.testing import FakeClock

NEAR = {"max_bytes": 2**24, "max_age": 60}


@pytest.fixture
def cache(clock: FakeClock) -> Client:
    """Give a client that holds "k"."""
    cache = Client("memory://", clock=clock, near=NEAR)
    cache.put("k", 1)
    cache.get("k")
    return cache


def held(cache: Client) -> list[str]:
    return list(cache.reader.tier().held)


def test_what_was_not_used_for_longest_goes_first():
    cache = Client("memory://", near={**NEAR, "max_bytes": 100_000}, compress_min_bytes=None)
    store = wrap(cache, CountingStore)
    cache.put_many({key: key * 30_000 for key in "abcd"})
    for key in "abca":  # a is used again, b is the oldest now
        cache.get(key)
    cache.get("d")
    store.forget()
    for key in "acd":
        cache.get(key)
    assert store.requests == []
    cache.get("b")
    assert store.requests == ["GET"]
    cache.put("huge", b"x" * 100_000)
    assert len(cache.get("huge")) == 100_000
    assert len(cache.get("huge")) == 100_000  # it does not fit, and pushes nothing out
    store.forget()
    for key in "bcd":
        cache.get(key)
    assert store.requests == []


def test_what_is_held_never_takes_more_than_it_may():
    limit = 50_000
    cache = Client("memory://", near={**NEAR, "max_bytes": limit, "negative": 1})
    keys = [f"key-{number}" for number in range(200)]
    cache.put_many({key: key * (number % 40) for number, key in enumerate(keys)})
    tier, over, done = cache.reader.tier(), [], threading.Event()

    def watch() -> None:
        while not done.is_set():
            if tier.bytes > limit:
                over.append(tier.bytes)

    def work(number: int) -> None:
        for turn in range(30):
            key = keys[(number * 7 + turn * 13) % len(keys)]
            assert cache.get(key) in (key * (keys.index(key) % 40), None)
            if turn % 10 == number % 10:
                cache.delete(key)

    threads = [threading.Thread(target=work, args=[number]) for number in range(64)]
    watcher = threading.Thread(target=watch)
    watcher.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    watcher.join()
    assert over == []
    assert 0 < tier.bytes == sum(held.cost for held in tier.held.values()) <= limit


def test_a_child_begins_with_nothing(cache: Client):
    assert held(cache) == ["k"]
    child = os.fork()
    if not child:
        tier = cache.reader._tier
        os._exit(bool(tier.held) + 2 * (tier is not cache.reader.tier()))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert held(cache) == ["k"]


def test_a_child_without_hooks_begins_with_nothing_at_its_first_miss(cache: Client, monkeypatch: pytest.MonkeyPatch):
    """As under uWSGI, which need not run Python's at-fork hooks."""
    parents = cache.reader.tier()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert cache.get("other") is None
    assert cache.reader._tier is not parents
    assert held(cache) == []


@pytest.mark.parametrize("fresh_ms", [None, 1_800_000_000_000])
@pytest.mark.parametrize("value", [None, "x" * 32, "x" * 3000, [1]], ids=lambda value: repr(value)[:9])
def test_the_cost_that_is_counted_is_the_memory_that_is_taken(value: Any, fresh_ms: int | None):
    count = 1_000
    cache = Client("memory://")
    cache.put("k", value)
    tier, place = Tier(2**40), cache.engine.place("k")
    looks = [cache.engine.get(place, cache.engine.budget()) for _ in range(100)]
    tracemalloc.start()
    try:
        for number in range(count):
            key, seen = f"key-{number:09}", looks[number % 100]
            meta = seen.meta._replace(
                type="".join([*seen.meta.type]),  # as parsed: another object each time
                expires_ms=seen.meta.expires_ms + number,
                created_ms=seen.meta.created_ms + number,
                nonce=f"{number:043}",
                recent=tuple(f"{number:011}" for _ in range(number % 3)),
                fresh_ms=fresh_ms and fresh_ms + number,
            )
            fresh = seen._replace(etag=f"{number:032}", meta=meta)
            if isinstance(value, str):
                fresh = fresh._replace(value=value[:-9] + f"{number:09}")
            tier.fill(key, Held(key, fresh, number / 7), tier.ticket(key))
        gc.collect()  # empties Python's lists of free tuples too
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(tier.held) == count
    assert 0.75 < taken / tier.bytes <= 1.02
