"""The near tier: what is held, for how long, and what it costs."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from typing import Any, ClassVar

import fault_proxy
import pytest
from contracts.async_cache import AsyncCacheContract
from contracts.cache import CacheContract
from store_doubles import CountingStore, FaultyStore, wrap

from cloudcached import MISSING, Client, ConfigError, KeyRejected
from cloudcached.config import OPTIONS, Near
from cloudcached.testing import FakeClock

MAX_AGE = 60
NEAR = {"max_bytes": 2**24, "max_age": MAX_AGE}
Open = Callable[..., Client]


class NearContract:
    """What the contract says of what another client has just written comes true ``max_age`` later."""

    test_a_foreign_object_in_the_place_of_an_entry_is_a_miss_that_can_be_replaced = None


class TestMemory(NearContract, CacheContract):
    options: ClassVar[dict[str, Any]] = {"near": NEAR}

    @pytest.fixture
    def url(self) -> str:
        return f"memory://{uuid.uuid4().hex}"


class TestMemoryAwaited(NearContract, AsyncCacheContract):
    options: ClassVar[dict[str, Any]] = {"near": NEAR, "signing_key": "a secret"}

    @pytest.fixture
    def url(self) -> str:
        return f"memory://{uuid.uuid4().hex}"


class TestNegative(TestMemory):
    options: ClassVar[dict[str, Any]] = {"near": {**NEAR, "negative": 30}}

    test_keys_of_old_stay_readable_and_new_entries_use_the_new_one = None


class TestNothingFits(TestMemory):
    options: ClassVar[dict[str, Any]] = {"near": {**NEAR, "max_bytes": 0}}


@pytest.fixture
def opened(any_url: str, clock: FakeClock) -> Open:
    """Give a function that opens a client with a near tier; ``near=None`` is one without."""

    def opened(**options: Any) -> Client:
        return Client(any_url, clock=clock, **{"near": NEAR, "signing_key": "a secret", **options})

    return opened


@pytest.fixture
def cache(opened: Open) -> Client:
    return opened()


@pytest.fixture
def rival(opened: Open) -> Client:
    """Give a client of another process, as far as the near tier knows."""
    return opened(near=None)


@pytest.fixture
def store(cache: Client) -> CountingStore:
    return wrap(cache, CountingStore)


# Hits


def test_a_hit_asks_nobody(cache: Client, store: CountingStore):
    cache.put_many({"a": 1, "b": "two"})
    store.forget()
    for _ in range(3):
        assert cache.get("a") == 1
        assert cache.get_many(["a", "b", "c"]) == {"a": 1, "b": "two"}
        assert cache.get_or_put("b", "other") == "two"
    assert store.counts == {"GET": 5}  # a, b, and c each time
    assert (cache.stats()["near.hits"], cache.stats()["near.misses"]) == (10, 5)


async def test_what_is_held_is_awaited_without_a_thread(cache: Client, store: CountingStore):
    held = {"plain": "text", "none": None, "long": "x" * 100_000, "small": [1], "large": [os.urandom(5000)]}
    cache.put_many(held)
    for key, value in held.items():
        assert await cache.aget(key) == value
    assert await cache.aget("missing", 1) == 1
    store.forget()
    cache.get = None  # the pool would call it
    for key in ("plain", "none", "long", "small"):
        assert await cache.aget(key) == held[key]
    (await cache.aget("small")).append(2)
    assert await cache.aget("small") == [1]
    for key in ("large", "missing"):
        with pytest.raises(TypeError):
            await cache.aget(key)
    assert store.requests == []
    del cache.get
    assert await cache.aget("large") == held["large"]
    assert cache.stats()["near.hits"] == 7
    with pytest.raises(KeyRejected):
        await cache.aget(["no key"])


@pytest.mark.parametrize(
    "value", ["text", b"bytes", 2**70, 1.5, 1j, True, None, "", "compressible " * 1000], ids=lambda v: repr(v)[:12]
)
def test_what_cannot_change_is_returned_as_it_is(cache: Client, store: CountingStore, value: object):
    cache.put("k", value)
    first = cache.get("k", MISSING)
    assert first == value
    assert cache.get("k", MISSING) is first
    assert store.counts["GET"] == 1


@pytest.mark.parametrize("options", [{}, {"compress_min_bytes": 0}, {"encryption_key": "e" * 32}], ids=str)
def test_nobody_changes_what_others_get(opened: Open, options: dict[str, Any]):
    cache = opened(**options)
    values = {"list": [1, [2]], "dict": {"a": [1] * 1000}, "bytearray": bytearray(b"x" * 2000), "tuple": ([],)}
    cache.put_many(values)
    changes: dict[str, Callable[[Any], Any]] = {
        "list": lambda found: found[1].append(7),
        "dict": lambda found: found["a"].clear(),
        "bytearray": lambda found: found.extend(b"7"),
        "tuple": lambda found: found[0].append(7),
    }
    for _ in range(3):
        for key, change in changes.items():
            for found in (cache.get(key), cache.get_many([key])[key], cache.get_or_put(key, None)):
                assert found == values[key]
                change(found)
                assert found != values[key]
    assert cache.stats()["near.misses"] == len(values)


def test_a_str_subclass_is_a_key_like_any_other(cache: Client):
    class Shouting(str):
        __slots__ = ()

        def __hash__(self) -> int:
            return hash(self.upper())

        def __eq__(self, other: object) -> bool:
            return self.upper() == str(other).upper()

    cache.put("k", "old")
    assert (cache.get("k"), cache.get(Shouting("k"))) == ("old", "old")
    cache.put(Shouting("k"), "new", replace=True)
    assert (cache.get("k"), cache.get(Shouting("k"))) == ("new", "new")


@pytest.mark.parametrize("key", [None, 1, b"k", ["k"], {}], ids=repr)
def test_what_is_no_key_is_refused(cache: Client, key: Any):
    with pytest.raises(KeyRejected):
        cache.get(key)


# How long


def test_what_is_old_is_asked_for_and_not_sent_again(cache: Client, store: CountingStore, clock: FakeClock):
    cache.put("k", "x" * 100_000, None)
    for _ in range(4):
        assert cache.get("k") == "x" * 100_000
        clock.advance(MAX_AGE / 2)
    assert store.requests == ["PUT if absent", "GET", "GET unless"]
    assert store.bodies == 1
    assert cache.stats()["near.unchanged"] == 1


def test_the_writes_of_others_are_seen_at_max_age(cache: Client, rival: Client, clock: FakeClock):
    cache.put_many({"changed": 1, "gone": 2, "touched": 3})
    for key in ("changed", "gone", "touched"):
        cache.get(key)
    rival.put("changed", 10, replace=True)
    rival.delete("gone")
    rival.touch("touched", MAX_AGE + 1)
    clock.advance(MAX_AGE - 0.001)
    assert cache.get_many(["changed", "gone", "touched"]) == {"changed": 1, "gone": 2, "touched": 3}
    clock.advance(0.001)
    assert cache.get_many(["changed", "gone", "touched"]) == {"changed": 10, "touched": 3}
    clock.advance(1)
    assert cache.get_many(["changed", "touched"]) == {"changed": 10}


def test_the_age_is_counted_from_before_the_request(cache: Client, rival: Client, clock: FakeClock):
    faulty = wrap(cache, FaultyStore)
    cache.put("k", "old")
    faulty.script("get", lambda forward: (forward(), clock.advance(4))[0])  # the answer takes 4 s
    assert cache.get("k") == "old"
    rival.put("k", "new", replace=True)
    clock.advance(MAX_AGE - 4)
    assert cache.get("k") == "new"


def test_the_deadline_is_looked_at_in_every_hit(cache: Client, store: CountingStore, clock: FakeClock):
    cache.put_many({"a": 1, "b": [2]}, MAX_AGE / 2)
    assert cache.get_many(["a", "b"]) == {"a": 1, "b": [2]}
    clock.advance(MAX_AGE / 2 - 0.001)
    store.forget()
    assert cache.get_many(["a", "b"]) == {"a": 1, "b": [2]}
    assert store.requests == []
    clock.advance(0.001)
    assert cache.get("a", MISSING) is MISSING
    assert cache.get_many(["a", "b"]) == {}
    assert store.bodies == 0


def test_a_deadline_passes_by_the_wall_clock_also_while_the_other_one_stands(any_url: str):
    """As on a machine that was asleep."""

    class Asleep(FakeClock):
        def monotonic(self) -> float:
            return 0.0

    clock = Asleep()
    cache = Client(any_url, clock=clock, near=NEAR)
    cache.put("k", "v", 10)
    assert cache.get("k") == "v"
    clock.advance(10)
    assert cache.get("k") is None


def test_a_clock_set_back_does_not_make_anything_live_longer(any_url: str):
    clock = FakeClock()
    cache, rival = Client(any_url, clock=clock, near=NEAR), Client(any_url, clock=clock)
    cache.put("k", "old", None)
    assert cache.get("k") == "old"
    rival.put("k", "new", None, replace=True)
    clock.advance(MAX_AGE)
    clock._start -= 3600
    assert cache.get("k") == "new"


def test_an_expired_entry_is_not_revived_by_a_304(cache: Client, store: CountingStore, clock: FakeClock):
    cache.put("k", "v", MAX_AGE)
    assert cache.get("k") == "v"
    clock.advance(MAX_AGE)
    store.forget()
    assert cache.get("k") is None
    assert store.requests == ["GET unless"]
    assert cache.get("k") is None
    assert store.requests == ["GET unless", "GET"]
    assert store.bodies == 0


@pytest.mark.parametrize("transport", ["wire", "boto3"])
def test_an_unchanged_page_costs_a_304(server: Any, s3_url: str, clock: FakeClock, transport: str):
    answers = []

    def watch(exchange: fault_proxy.Exchange) -> None:
        answer = exchange.ask()
        answers.append((int(answer.head.split()[1]), len(answer.body)))
        exchange.send(answer.head + answer.body)

    with fault_proxy.FaultProxy(server.endpoint) as proxy:
        s3 = {"endpoint_url": proxy.endpoint}
        cache = Client(s3_url, clock=clock, transport=transport, near=NEAR, compress_min_bytes=None, s3=s3)
        page = "page" * 250_000
        cache.put("k", page)
        proxy.fault = watch
        for _ in range(3):
            assert cache.get("k") == page
            clock.advance(MAX_AGE)
        cache.close()
    assert [status for status, _ in answers] == [200, 304, 304]
    assert [size > 1_000_000 for _, size in answers] == [True, False, False]
    assert all(size < 500 for _, size in answers[1:])


# Misses


def test_misses_are_not_held_unless_that_is_asked_for(cache: Client, store: CountingStore):
    assert cache.get_many(["k", "k2"]) == {}
    assert cache.get("k", MISSING) is MISSING
    assert store.counts == {"GET": 3}
    assert cache.stats()["near.entries"] == 0


def test_a_miss_is_believed_for_so_many_seconds(opened: Open, rival: Client, clock: FakeClock):
    cache = opened(near={**NEAR, "negative": 5})
    store = wrap(cache, CountingStore)
    rival.put("expired", 1, 1)
    clock.advance(1)
    for _ in range(3):
        assert cache.get("k", MISSING) is MISSING
        assert cache.get_many(["k", "expired"]) == {}
    assert store.counts == {"GET": 2}
    rival.put_many({"k": 1, "expired": 2}, replace=True)
    clock.advance(4.999)
    assert cache.get_many(["k", "expired"]) == {}
    clock.advance(0.001)
    assert cache.get_many(["k", "expired"]) == {"k": 1, "expired": 2}
    clock.advance(MAX_AGE - 0.001)
    assert cache.get_many(["k", "expired"]) == {"k": 1, "expired": 2}
    assert store.counts == {"GET": 4}


def test_a_miss_is_forgotten_with_a_write_of_one_s_own(opened: Open):
    cache = opened(near={**NEAR, "negative": 5})
    for write in (
        lambda: cache.put("k", 1),
        lambda: cache.put("k", 1, replace=True),
        lambda: cache.put_many({"k": 1}),
        lambda: cache.incr("k", initial=0),
        lambda: cache.get_or_put("k", 1),
        lambda: cache.get_or_put("k", lambda: 1, lock=True),
        lambda: cache.cas("k", 1, cache.gets("k")[1]),
    ):
        assert cache.get("k", MISSING) is MISSING
        write()
        assert cache.get("k") == 1
        cache.delete("k")


def test_a_value_that_can_no_longer_be_decoded_is_a_miss(cache: Client, monkeypatch: pytest.MonkeyPatch):
    import fractions

    cache.put("k", fractions.Fraction(1, 2))
    assert cache.get("k") == fractions.Fraction(1, 2)
    monkeypatch.delattr(fractions, "Fraction")
    assert cache.get("k", MISSING) is MISSING
    assert cache.get_many(["k"]) == {}
    assert cache.stats()["refused.decode"] == 2


# Options


@pytest.mark.parametrize(
    ("near", "advice"),
    [
        (True, "near is a mapping with 'max_bytes' and 'max_age'"),
        ({}, "known settings: max_bytes, max_age, negative"),
        ({"max_bytes": 1}, "'max_age' \\(seconds\\)"),
        ({**NEAR, "max_ago": 1}, "unknown setting 'max_ago' in near; known settings: max_bytes, max_age, negative"),
        ({**NEAR, 1: 1}, "unknown setting 1 in near"),
        ({**NEAR, "max_bytes": "1M"}, "'max_bytes' in near is a number of bytes"),
        ({**NEAR, "max_bytes": -1}, "'max_bytes' in near is a number of bytes"),
        ({**NEAR, "max_age": 0}, "'max_age' in near is a positive number of seconds"),
        ({**NEAR, "max_age": float("inf")}, "'max_age' in near is a positive number of seconds"),
        ({**NEAR, "negative": -1}, "'negative' in near is a positive number of seconds"),
        ({**NEAR, "negative": "1"}, "'negative' in near is a positive number of seconds"),
    ],
    ids=str,
)
def test_options_that_are_refused(near: Any, advice: str):
    with pytest.raises(ConfigError, match=advice):
        Client("memory://", near=near)


def test_options_that_are_taken():
    assert "near" in OPTIONS
    assert Client("memory://", near=None)._config.near is None
    near = Client("memory://", near={"max_bytes": 1, "max_age": 2, "negative": 0})._config.near
    assert near == Near(1, 2.0, 0.0)
    assert Client("memory://", near=near)._config.near == near


def test_one_tier_per_process_and_configuration():
    url = f"memory://{uuid.uuid4().hex}"
    one, same = Client.shared(url, near=NEAR), Client.shared(f"{url}/", near=dict(reversed(NEAR.items())))
    assert one is same
    assert Client.shared(url, near={**NEAR, "max_age": 1}) is not one
    assert Client.shared(url) is not one
