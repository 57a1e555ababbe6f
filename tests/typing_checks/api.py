"""The types that users of the public names see: checked by mypy and pyright, both strict; never run."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from typing_extensions import assert_type

from cloudcached import (
    MISSING,
    Client,
    CloudCachedError,
    ConfigError,
    EntryInfo,
    KeyMissing,
    PartialFailure,
    StoreError,
    StoreTimeout,
)
from cloudcached.testing import FakeClock, Faults, LocalServer, Request, Requests, Watch
from cloudcached_django import S3Cache as DjangoCache
from cloudcached_flask import S3Cache as FlaskCache


def construction() -> None:
    """Options are keyword-only."""
    assert_type(Client("memory://"), Client)
    Client("s3://bucket/prefix", signing_key=["new", "old"], timeout=2.5, transport="boto3", compress_min_bytes=None)
    Client("s3://bucket", "signing-key")  # type: ignore[arg-type, call-arg]
    assert_type(Client.shared("memory://shared"), Client)
    with Client("memory://") as client:
        assert_type(client, Client)
        assert_type(client.url, str)


def verbs(client: Client) -> None:
    """What each verb takes and gives."""
    assert_type(client.put("key", object()), bool)
    client.put("key", 1, 60)
    client.put("key", 1, time_to_expire=dt.timedelta(minutes=1), replace=True)
    client.put("key", 1, time_to_expire=None)
    client.put("key", 1, time_to_expire="60")  # type: ignore[arg-type]
    client.put(b"key", 1)  # type: ignore[arg-type]
    client.get("key")
    client.get("key", default=0)
    assert_type(client.update("key", 1, 0.5), bool)
    assert_type(client.delete("key"), bool)
    assert_type(client.has("key"), bool)
    assert_type("key" in client, bool)
    assert_type(client.touch("key", 60), bool)
    assert_type(client.ttl("key"), float | None)
    assert_type(client.incr("key", 2, initial=0), int)
    assert_type(client.decr("key", time_to_expire=None), int)
    client.incr("key", 1.5)  # type: ignore[arg-type]
    info = client.info("key")
    assert_type(info, EntryInfo | None)
    if info is not None:
        assert_type(info.expires, float | None)
        assert_type(info.size, int)
        info.size = 1  # type: ignore[misc]


def files(client: Client, path: Path, file: BinaryIO) -> None:
    """What the verbs of files take and give."""
    assert_type(client.put_file("key", path, 60, replace=True), bool)
    assert_type(client.get_file("key", file), bool)
    client.put_file("key", "path", progress=print)
    client.put_file("key", b"content")  # type: ignore[arg-type]
    client.get_file("key")  # type: ignore[call-arg]
    assert_type(client.open("key"), BinaryIO)


def bulk(client: Client) -> None:
    """What each bulk call takes and gives."""
    assert_type(client.get_many(iter(["a", "b"])), dict[str, Any])
    assert_type(client.put_many({"a": 1}, replace=True), dict[str, bool])
    assert_type(client.delete_many({"a", "b"}), bool)
    assert_type(client.clear(), int | None)
    assert_type(client.clear(prefix="a"), int | None)
    assert_type(client.keys("a"), Iterator[str])
    client.get_or_put("key", lambda: 1, 60)
    assert_type(client.stats(), dict[str, int])


def item_of(_: object, item: str) -> str:
    """Return what tells the calls apart."""
    return item


class Shop:
    """Something with methods."""

    client = Client("memory://")

    @client.memoize(60, ignore=["self"])
    def price(self, item: str, count: int = 1) -> float:
        """Return the price."""
        return 0.0

    @client.memoize(key=item_of, stale=10, early=1, lock=True, jitter=0.1)
    async def order(self, item: str) -> bool:
        """Order it."""
        return True


async def memoized(client: Client, shop: Shop) -> None:
    """A memoized function is called as the function itself."""

    @client.memoize(version="2b")
    def double(number: int) -> int:
        return 2 * number

    assert_type(double(1), int)
    assert_type(double.uncached(number=1), int)
    assert_type(double.invalidate(1), bool)
    assert_type(double.key_for(1), str)
    double("1")  # type: ignore[arg-type]
    double()  # type: ignore[call-arg]
    assert_type(shop.price("pen", count=2), float)
    assert_type(Shop.price(shop, "pen"), float)
    shop.price(1)  # type: ignore[arg-type]
    assert_type(await shop.order("pen"), bool)
    assert_type(await shop.order.ainvalidate("pen"), bool)
    client.get_or_put("key", 1, lock="yes")  # type: ignore[arg-type]


async def awaited(client: Client) -> None:
    """Each verb has a twin that is awaited."""
    assert_type(await client.aput("key", 1, replace=True), bool)
    await client.aget("key", default=None)
    assert_type(await client.aincr("key", initial=0), int)
    assert_type(await client.ainfo("key"), EntryInfo | None)
    assert_type(await client.aget_many(["a"]), dict[str, Any])
    assert_type(await client.akeys(), list[str])
    await client.aclose()


def missing(value: int | None) -> int | None:
    """``MISSING`` narrows."""
    found = MISSING if value is None else value
    if found is MISSING:
        return None
    return assert_type(found, int)


def failures(client: Client) -> None:
    """Errors are the library's own, and the builtin that a framework expects."""
    try:
        client.get_many(["a"])
    except PartialFailure as failure:
        assert_type(failure.results, dict[str, Any])
        assert_type(failure.failures, dict[str, CloudCachedError])
    except StoreTimeout as timeout:
        assert_type(timeout.retryable, bool)
        as_timeout: TimeoutError = timeout
        del as_timeout
    except StoreError as error:
        assert_type(error.object_key, str)
    wrong_setting: ValueError = ConfigError()
    wrong_key: ValueError = KeyMissing()
    del wrong_setting, wrong_key


async def adapters(django: DjangoCache, flask: FlaskCache) -> None:
    """The adapters are typed too."""
    django.set("key", 1, timeout=None)
    assert_type(django.add("key", 1), bool)
    assert_type(await django.aincr("key"), int)
    assert_type(django.ttl("key"), int | None)
    assert_type(flask.set("key", 1, timeout=60), bool)
    assert_type(flask.inc("key"), int | None)


def tests(server: LocalServer, faults: Faults) -> None:
    """What people's own tests take."""
    clock = FakeClock()
    Client("memory://", clock=clock)
    clock.advance(0.5)
    with Watch(clock).running() as watch:
        assert_type(watch.requests, Requests)
        assert_type(watch.requests["get"], int)
        assert_type(watch.requests.seen, list[Request])
    faults.fail(2, on="put", error=StoreError("away"))
    faults.slow(1.5, times=None)
    faults.fail("2")  # type: ignore[arg-type]
    assert_type(server.env, dict[str, str])
