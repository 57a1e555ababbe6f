"""Computed values on an event loop: the same promises, and no thread that waits."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest
from computations import PATIENCE, Work, background, settle, sharing, until, waiting

from cloudcached import Client
from cloudcached.runtime import effects, pool
from cloudcached.runtime.effects import Background, Compute, Shielded
from cloudcached.testing import FakeClock


@pytest.fixture
def client() -> Client:
    return Client("memory://")


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def calls() -> list[int]:
    """Give a list of what was computed."""
    return []


def awaited(work: Work) -> Any:
    """Return *work* as an async function."""

    async def compute() -> Any:
        await asyncio.sleep(0)
        return work()

    return compute


async def crowd(client: Client, default: Any, count: int = 100) -> list[Any]:
    calls = (client.aget_or_put("k", default) for _ in range(count))
    return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), PATIENCE)


@pytest.mark.parametrize("kind", ["async", "plain", "returns one"])
async def test_one_computes_for_all(kind, client, work):
    default = {"async": awaited(work), "plain": work, "returns one": lambda: awaited(work)()}[kind]  # noqa: PLW0108
    values = await crowd(client, default)
    assert values == [{"call": 1}] * 100
    values[0]["call"] = 0
    assert values[1] == await client.aget("k") == {"call": 1}
    assert work.calls == 1


async def test_all_get_the_error(client, work):
    work.error = ZeroDivisionError()

    async def compute() -> Any:
        await asyncio.to_thread(until, lambda: waiting(client) == 99)
        return work()

    assert await crowd(client, compute) == [work.error] * 100
    assert work.calls == 1


async def test_a_value_is_stored_as_it_is(client):
    assert await client.aget_or_put("k", 1, 60) == await client.aget_or_put("k", 2) == 1


async def test_whoever_goes_does_not_take_the_computation_with_him(client):
    began, may_end = asyncio.Event(), asyncio.Event()

    async def compute() -> int:
        began.set()
        await may_end.wait()
        return 7

    first = asyncio.create_task(client.aget_or_put("k", compute))
    await began.wait()
    second = asyncio.create_task(client.aget_or_put("k", compute))
    third = asyncio.create_task(client.aget_or_put("k", compute))
    await asyncio.to_thread(until, lambda: waiting(client) == 2)
    first.cancel()
    second.cancel()
    may_end.set()
    assert await third == await client.aget("k") == 7
    assert first.cancelled()
    assert second.cancelled()
    assert client.stats()["computed"] == 1


async def test_an_error_after_that_is_told_to_those_who_are_left(client, work, caplog):
    work.error = ZeroDivisionError()
    began, may_end = asyncio.Event(), asyncio.Event()

    async def compute() -> Any:
        began.set()
        await may_end.wait()
        return work()

    for left in (1, 0):
        first, *others = [asyncio.create_task(client.aget_or_put("k", compute)) for _ in range(1 + left)]
        await began.wait()
        await asyncio.to_thread(until, lambda: waiting(client) == 1)
        first.cancel()
        may_end.set()
        assert await asyncio.gather(*others, return_exceptions=True) == [work.error] * left
        await asyncio.to_thread(until, lambda: not client.fills._flights()._under_way)
        del first
        gc.collect()
        await asyncio.sleep(0)
        began.clear()
        may_end.clear()
    assert caplog.text == ""


async def test_nobody_waits_for_himself(client):
    async def outer() -> str:
        inner = client.aget_or_put("k", lambda: "inner")
        return (await asyncio.gather(inner))[0] + " and outer"

    assert await asyncio.wait_for(client.aget_or_put("k", outer), PATIENCE) == "inner and outer"


async def test_a_blocking_call_does_not_wait_for_its_own_loop(client):
    async def compute() -> str:
        return client.get_or_put("other", lambda: "other") + client.get_or_put("k", lambda: " inner")

    assert await client.aget_or_put("k", compute) == "other inner"

    began, may_end = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        began.set()
        await may_end.wait()
        return "awaited"

    task = asyncio.create_task(client.aget_or_put("z", slow))
    await began.wait()
    assert client.get_or_put("z", lambda: "blocking") == "blocking"
    may_end.set()
    assert await task == await client.aget("z") == "awaited"


async def test_threads_wait_for_a_task_and_tasks_for_a_thread(client, work):
    work.hold()
    thread = background(client.get_or_put, "k", work)
    assert work.began.wait(PATIENCE)
    tasks = asyncio.gather(*(client.aget_or_put("k", awaited(work)) for _ in range(10)))
    await asyncio.to_thread(until, lambda: waiting(client) == 10)
    work.go_on()
    assert await tasks == [{"call": 1}] * 10
    assert thread() == {"call": 1}

    began, may_end = asyncio.Event(), asyncio.Event()

    async def compute() -> str:
        began.set()
        await may_end.wait()
        return "of a task"

    task = asyncio.create_task(client.aget_or_put("other", compute))
    await began.wait()
    threads = [background(client.get_or_put, "other", work) for _ in range(5)]
    await asyncio.to_thread(until, lambda: waiting(client) == 15)
    may_end.set()
    assert await task == "of a task"
    assert [thread() for thread in threads] == ["of a task"] * 5


async def test_a_full_pool_does_not_wait_for_itself(client):
    """Every thread of it wants what a task computes, which needs one of them to end."""
    full = threading.Barrier(pool.WIDTH + 1, timeout=PATIENCE)

    def want() -> str:
        full.wait()
        return client.get_or_put("k", lambda: "thread")

    async def compute() -> str:
        threads = asyncio.gather(*(pool.run(want) for _ in range(pool.WIDTH)))
        await asyncio.to_thread(full.wait)
        answers.extend(await threads)
        return "task"

    answers: list[str] = []
    assert await asyncio.wait_for(client.aget_or_put("k", compute), PATIENCE) == "task"
    assert set(answers) == {"thread"}


async def test_nested_functions_do_not_fill_the_pool(client):
    @client.memoize()
    def inner(number: int) -> int:
        return number

    @client.memoize()
    async def middle(number: int) -> int:
        return inner(number % 3) + await client.aget_or_put(f"key {number % 5}", lambda: inner(7))

    def outer(number: int) -> int:
        return inner(number % 7) + 1

    async def both(number: int) -> int:
        return await client.aget_or_put(f"outer {number}", lambda: outer(number)) + await middle(number)

    expected = [number % 7 + 1 + number % 3 + 7 for number in range(4 * pool.WIDTH)]
    calls = asyncio.gather(*(both(number) for number in range(4 * pool.WIDTH)))
    assert await asyncio.wait_for(calls, PATIENCE) == expected


async def test_stale_values_are_refreshed_on_the_loop(work):
    client = Client("memory://", clock=(clock := FakeClock()))
    loops = set()
    may_refresh = asyncio.Event()

    async def compute() -> Any:
        await may_refresh.wait()
        loops.add(asyncio.get_running_loop())
        return work()

    async def crowd_stale() -> list[Any]:
        """Ask often before the refresh is done: whoever asks after it gets the new value."""
        may_refresh.clear()
        values = await asyncio.gather(*(client.aget_or_put("k", compute, 10, stale=20) for _ in range(20)))
        may_refresh.set()
        return values

    may_refresh.set()
    await client.aget_or_put("k", compute, 10, stale=20)
    clock.advance(15)
    assert await crowd_stale() == [{"call": 1}] * 20
    await asyncio.to_thread(settle, client)
    assert await client.aget_or_put("k", compute, 10, stale=20) == {"call": 2}
    assert loops == {asyncio.get_running_loop()}
    clock.advance(15)
    work.error = ZeroDivisionError()
    assert await crowd_stale() == [{"call": 2}] * 20
    await asyncio.to_thread(settle, client)
    assert client.stats()["refresh_failed"] == 1


async def test_one_per_world(client, work):
    rival = sharing(client)
    values = await asyncio.gather(
        *(each.aget_or_put("k", awaited(work), lock=True) for each in (client, rival) for _ in range(20))
    )
    assert values == [{"call": 1}] * 40
    work.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await client.aget_or_put("failed", awaited(work), lock=True)
    work.error = None
    assert await asyncio.wait_for(rival.aget_or_put("failed", awaited(work), lock=True), 1) == {"call": 3}


def test_a_loop_that_ends_leaves_no_flight(client, work):
    async def never() -> None:
        await asyncio.sleep(3600)

    async def go_away() -> None:
        asyncio.create_task(client.aget_or_put("k", never))  # noqa: RUF006
        await asyncio.to_thread(until, lambda: client.fills._flights()._under_way)

    asyncio.run(go_away())
    until(lambda: not client.fills._flights()._under_way)
    assert client.get_or_put("k", work) == {"call": 1}


def test_a_loop_that_ends_before_it_begins_leaves_none_either(work):
    client = Client("memory://", clock=(clock := FakeClock()))
    flights = client.fills._flights()

    async def one_turn(loops: int) -> None:
        """Go away after so many turns of the loop, at some of which a task is made and not begun."""
        asyncio.create_task(client.aget_or_put("k", awaited(work), 10, stale=20))  # noqa: RUF006
        for _ in range(loops):
            await asyncio.sleep(0.0005)

    for loops in range(20):
        asyncio.run(one_turn(loops))
        until(lambda: not flights._under_way and not flights._refreshes)
        clock.advance(11 if loops % 3 else 40)
    assert client.get_or_put("k", work, 10)


async def test_what_is_cancelled_before_it_begins_is_given_up():
    ended: list[str] = []
    for kind in (Shielded, Background):
        work: effects.Work[Any] = effects.Work((each for each in [Compute(int)]), lambda: ended.append("given up"))
        waiting = asyncio.create_task(kind(work).ado())
        await asyncio.sleep(0)
        (task,) = effects._tasks
        task.cancel()
        await asyncio.wait([waiting])
        await asyncio.sleep(0)
        assert not effects._tasks
    await Shielded(effects.Work((each for each in [Compute(int)]), lambda: ended.append("begun"))).ado()
    assert ended == ["given up"] * 2


class TestMemoized:
    async def test_one_computes_for_all(self, client, calls):
        @client.memoize(10)
        async def function(number: int) -> list[int]:
            calls.append(number)
            await asyncio.sleep(0.01)
            return [number]

        results = await asyncio.wait_for(asyncio.gather(*(function(number % 3) for number in range(60))), PATIENCE)
        assert results == [[number % 3] for number in range(60)]
        assert sorted(calls) == [0, 1, 2]
        results[0].append("changed")
        assert await function(0) == [0]
        assert await function.uncached(7) == [7]
        assert await function.ainvalidate(0) is True

    async def test_wait_without_threads(self, client):
        """However many wait, the pool's threads are free."""
        may_end = asyncio.Event()

        @client.memoize(lock=True)
        async def function() -> int:
            await may_end.wait()
            return await client.aget("other", 7)

        crowd = asyncio.gather(*(function() for _ in range(200)))
        await asyncio.to_thread(until, lambda: waiting(client) == 199)
        may_end.set()
        assert await asyncio.wait_for(crowd, PATIENCE) == [7] * 200

    async def test_exceptions_are_not_kept(self, client, calls):
        @client.memoize()
        async def function() -> None:
            calls.append(1)
            raise ZeroDivisionError

        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await function()
        assert calls == [1, 1]
