"""The twins that are awaited: each verb has one, and they run side by side."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable
from typing import Any

import pytest
from store_doubles import FaultyStore, wrap

from cloudcached import Client, KeyMissing, KeyRejected, StoreUnreachable
from cloudcached.runtime.pool import WIDTH

PATIENCE = 20
#: These do no I/O, are properties, or have no twin: ``memoize`` decorates functions of both kinds, and what ``open``
#: returns is no awaitable file.
LEFT_OUT = {"encode", "latencies", "listen", "lock", "memoize", "open", "shared", "stats", "url"}
VERBS = [
    name
    for name, member in inspect.getmembers(Client, inspect.isfunction)
    if not name.startswith("_") and name not in LEFT_OUT and not inspect.iscoroutinefunction(member)
]


@pytest.fixture
def client() -> Client:
    return Client("memory://")


def test_the_client_is_one_class():
    assert Client.__mro__ == (Client, object)


@pytest.mark.parametrize("name", VERBS)
def test_each_verb_has_a_twin_that_is_called_alike(name):
    verb, twin = getattr(Client, name), getattr(Client, f"a{name}")
    assert inspect.iscoroutinefunction(twin)
    plain, awaited = inspect.signature(verb), inspect.signature(twin)
    assert list(awaited.parameters.values()) == list(plain.parameters.values())
    returns = str(plain.return_annotation).replace("Iterator[", "list[")
    assert str(awaited.return_annotation) == returns


def test_the_verbs_are_what_they_are_thought_to_be():
    assert {"get", "put", "update", "delete", "incr", "keys", "clear", "get_many", "close"} <= set(VERBS)


async def test_twins_run_side_by_side(client):
    """None of them could go on if they came one after the other."""
    together = threading.Barrier(WIDTH)
    store = wrap(client, FaultyStore)

    def meet(forward: Callable[[], Any]) -> Any:
        together.wait(PATIENCE)
        return forward()

    store.script("get", *[meet] * WIDTH)
    client.put_many({f"{number}": number for number in range(WIDTH)})
    assert await asyncio.gather(*(client.aget(f"{number}") for number in range(WIDTH))) == list(range(WIDTH))


async def test_bulk_twins_side_by_side_end(client):
    """Each fans out over the pool that it runs on itself."""
    values = {f"{number}": number for number in range(50)}
    await client.aput_many(values)
    calls = [client.aget_many(values) for _ in range(2 * WIDTH)]
    assert await asyncio.wait_for(asyncio.gather(*calls), PATIENCE) == [values] * (2 * WIDTH)


async def test_increments_side_by_side_all_count(client):
    await client.aput("n", 0)
    totals = await asyncio.gather(*(client.aincr("n") for _ in range(3 * WIDTH)))
    assert sorted(totals) == list(range(1, 3 * WIDTH + 1))


async def test_one_of_many_adds_wins(client):
    assert sorted(await asyncio.gather(*(client.aput("k", "same") for _ in range(WIDTH)))) == [False] * (WIDTH - 1) + [
        True
    ]


async def test_errors_are_raised_where_they_are_awaited(client):
    with pytest.raises(KeyRejected):
        await client.aget(1)
    with pytest.raises(KeyMissing):
        await client.aincr("n")


async def test_keys_is_a_list(client):
    await client.aput_many({"a1": 1, "a2": 2, "b": 3})
    assert sorted(await client.akeys("a")) == ["a1", "a2"]
    assert type(await client.akeys()) is list


async def test_a_function_for_a_miss_runs_in_the_callers_context(client):
    user = contextvars.ContextVar("user")
    user.set("somebody")
    assert await client.aget_or_put("k", user.get) == "somebody"


async def test_a_call_that_is_given_up_leaves_the_client_usable(client):
    release = threading.Event()
    store = wrap(client, FaultyStore)

    def hang(forward: Callable[[], Any]) -> Any:
        release.wait(PATIENCE)
        raise StoreUnreachable("gone")

    store.script("get", hang)
    call = asyncio.create_task(client.aget("k"))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    release.set()
    await client.aput("k", 1)
    assert await client.aget("k") == 1


def test_one_client_serves_several_loops(client):
    asyncio.run(client.aput("k", 1))
    assert asyncio.run(client.aget("k")) == 1
    assert client.get("k") == 1
