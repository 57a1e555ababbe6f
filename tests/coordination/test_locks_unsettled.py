"""Locks after calls that failed, and locks that are awaited."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from collections.abc import Callable
from typing import Any

import pytest
from store_doubles import Bench, Step

from cloudcached import ConfigError, Lock, LockError, StoreError, StoreUnreachable
from cloudcached.testing import FakeClock

AWAY = StoreUnreachable("away")


@pytest.fixture
def bench(clock: FakeClock) -> Bench:
    return Bench(clock)


@pytest.fixture
def lock(bench: Bench) -> Lock:
    """Give a lock that is held for ever if nobody gives it back."""
    return bench.client.lock("name", timeout=None, blocking=False)


@pytest.fixture
def rival(bench: Bench) -> Lock:
    return bench.rival.lock("name", blocking=False)


def goes_away(bench: Bench, lock: Lock, *, landed: bool) -> Step:
    """Let the store be away from this request on, which is done or not."""

    def step(forward: Callable[[], Any]) -> Any:
        if landed:
            forward()
        bench.store.broken[lock._place.object_key] = AWAY
        raise AWAY

    return step


def failing(bench: Bench, lock: Lock, call: Callable[[], Any], *, landed: bool) -> None:
    """Have *call* fail, done or not."""
    bench.store.script("put", goes_away(bench, lock, landed=landed))
    with pytest.raises(StoreError):
        call()
    bench.store.broken.clear()


@pytest.mark.parametrize("landed", [True, False])
class TestAfterAFailure:
    """The same call on the same object settles what the first one did."""

    def test_of_acquire(self, bench: Bench, lock: Lock, rival: Lock, landed: bool):
        failing(bench, lock, lock.acquire, landed=landed)
        assert rival.locked() is landed
        assert lock.acquire() is True
        assert lock.fencing == 1
        assert rival.acquire() is False
        lock.release()
        assert rival.acquire() is True

    def test_of_release(self, bench: Bench, lock: Lock, rival: Lock, landed: bool):
        lock.acquire()
        failing(bench, lock, lock.release, landed=landed)
        lock.release()
        assert rival.acquire() is True
        with pytest.raises(LockError, match="not held by this object"):
            lock.release()

    def test_of_release_that_another_took_over(self, bench: Bench, lock: Lock, rival: Lock, landed: bool):
        lock.acquire()
        failing(bench, lock, lock.release, landed=landed)
        assert rival.acquire() is landed
        if landed:
            with pytest.raises(LockError, match="another has taken"):
                lock.release()
            assert rival.owned()

    def test_of_extend(self, bench: Bench, clock: FakeClock, rival: Lock, landed: bool):
        lock = bench.client.lock("name", timeout=100)
        lock.acquire()
        failing(bench, lock, lambda: lock.extend(1000), landed=landed)
        assert lock.owned()
        lock.extend(1000, replace_ttl=True)
        clock.advance(900)
        assert rival.acquire() is False
        failing(bench, lock, lambda: lock.extend(1000), landed=landed)
        lock.release()
        assert rival.acquire() is True


class TestLease:
    def test_there_is_none_to_extend_where_it_is_held_for_ever(self, lock: Lock, rival: Lock, clock: FakeClock):
        lock.acquire()
        with pytest.raises(LockError, match="no lease to extend"):
            lock.extend(10)
        clock.advance(100)
        assert rival.acquire() is False

    @pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "5", None, dt.timedelta(0)])
    def test_is_extended_by_seconds(self, bench: Bench, seconds: Any):
        with bench.client.lock("name", timeout=dt.timedelta(seconds=60)) as lock:
            with pytest.raises(ConfigError, match="additional_time is a positive number of seconds"):
                lock.extend(seconds)
            lock.extend(dt.timedelta(seconds=10))
            assert lock.owned()

    @pytest.mark.parametrize(
        "options", [{"timeout": "5"}, {"timeout": float("inf")}, {"blocking_timeout": "5"}], ids=str
    )
    def test_mistakes(self, bench: Bench, options: dict[str, Any]):
        with pytest.raises(ConfigError):
            bench.client.lock("name", **options)


class TestAwaited:
    async def test_all_of_it(self, bench: Bench, clock: FakeClock):
        async with bench.client.lock("name", timeout=10) as lock:
            assert await lock.aowned()
            assert await lock.alocked()
            other = bench.rival.lock("name")
            assert await other.aacquire(blocking=False) is False
            with pytest.raises(LockError, match="in time"):
                async with bench.rival.lock("name", blocking=False):
                    pytest.fail("two holders")
            await lock.aextend(10)
        assert not await lock.alocked()
        assert await other.aacquire() is True
        await other.arelease()

    async def test_others_run_while_one_waits(self, bench: Bench, rival: Lock):
        rival.acquire()
        waiting = asyncio.create_task(bench.client.lock("name").aacquire())
        await asyncio.sleep(0.01)
        assert not waiting.done()
        await rival.arelease()
        assert await asyncio.wait_for(waiting, 20) is True

    @pytest.mark.parametrize("when", ["before it is taken", "while it is taken"])
    async def test_who_is_cancelled_does_not_hold_it(self, bench: Bench, lock: Lock, rival: Lock, when: str):
        begun, go_on = threading.Event(), threading.Event()

        def slow(forward: Callable[[], Any]) -> Any:
            begun.set()
            assert go_on.wait(20)
            return forward()

        bench.store.script("get" if when == "before it is taken" else "put", slow)
        waiting = asyncio.create_task(lock.aacquire())
        assert await asyncio.to_thread(begun.wait, 20)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        go_on.set()
        end = asyncio.get_running_loop().time() + 20
        while bench.store.asked.count("put") < 2 or await rival.alocked():  # taken, and given back
            assert asyncio.get_running_loop().time() < end
            await asyncio.sleep(0.001)
        assert await rival.aacquire() is True
        assert await lock.aacquire() is False

    async def test_who_is_cancelled_may_call_again(self, bench: Bench, lock: Lock, monkeypatch: pytest.MonkeyPatch):
        """As a loop with ``wait_for`` does: what was to be given back is the second call's."""
        begun, go_on, late = threading.Event(), threading.Event(), []
        monkeypatch.setattr("cloudcached.runtime.pool.start", lambda *call: late.append(call))

        def slow(forward: Callable[[], Any]) -> Any:
            begun.set()
            assert go_on.wait(20)
            return forward()

        bench.store.script("put", slow)
        waiting = asyncio.create_task(lock.aacquire())
        assert await asyncio.to_thread(begun.wait, 20)
        again = asyncio.create_task(lock.aacquire())
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        go_on.set()
        assert await again is True
        for give_back, *arguments in late:
            give_back(*arguments)
        assert await lock.aowned()
        with pytest.raises(LockError, match="already"):
            await lock.aacquire()
