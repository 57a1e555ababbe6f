"""The shared pool: order, parallelism, back-pressure, and no deadlock however deep it is nested."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import itertools
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from cloudcached.runtime import pool
from cloudcached.runtime.pool import WIDTH, awaited, fan_out, read_ahead, run

#: Seconds after which a test that waits has failed.
PATIENCE = 20


@contextmanager
def saturated() -> Iterator[None]:
    """Keep every thread of the pool busy."""
    release = threading.Event()
    busy = threading.Barrier(WIDTH + 1)

    def occupy() -> None:
        busy.wait(PATIENCE)
        release.wait(PATIENCE)

    futures = [pool._executor().submit(occupy) for _ in range(WIDTH)]
    busy.wait(PATIENCE)
    try:
        yield
    finally:
        release.set()
        for future in futures:
            future.result(PATIENCE)


def in_time(work: Callable[[], object]) -> object:
    """Return what *work* returns, or fail: a deadlock must not stop the whole run."""
    executor = ThreadPoolExecutor(1)
    try:
        return executor.submit(work).result(PATIENCE)
    finally:
        executor.shutdown(wait=False)


def test_each_item_comes_with_its_result_in_order():
    """The first ends last."""
    last = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert last.wait(PATIENCE)
        if item == 20:
            last.set()
        return item * 2

    assert list(fan_out(work, range(21))) == [(item, item * 2) for item in range(21)]


def test_as_many_run_at_once_as_the_pool_is_wide():
    together = threading.Barrier(WIDTH)
    for _ in fan_out(lambda _: together.wait(PATIENCE), range(WIDTH)):
        pass
    assert not together.broken


def test_no_more_run_at_once_than_the_pool_is_wide_and_the_caller():
    lock = threading.Lock()
    running = highest = 0
    pause = threading.Event()

    def work(_: int) -> None:
        nonlocal running, highest
        with lock:
            running += 1
            highest = max(highest, running)
        pause.wait(0.001)
        with lock:
            running -= 1

    for _ in fan_out(work, range(300)):
        pass
    assert highest <= WIDTH + 1


def test_nothing_to_do():
    assert list(fan_out(lambda item: item, [])) == []


def test_items_are_taken_as_results_are_consumed():
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in itertools.count():
            taken += 1
            yield number

    results = fan_out(lambda item: item, items())
    assert taken == 0
    for number in range(100):
        assert next(results) == (number, number)
        assert taken <= 2 * WIDTH + number + 1
    results.close()


def test_what_was_not_begun_is_dropped_when_the_consumer_stops():
    started = []
    with saturated():
        results = fan_out(started.append, range(2 * WIDTH))
        next(results)
        results.close()
    list(fan_out(lambda item: item, range(2 * WIDTH)))  # whatever is left in the queue has its turn
    assert started == [0]


def test_an_exception_comes_in_its_turn_and_ends_everything():
    done = []

    def work(item: int) -> int:
        if item == 3:
            raise ZeroDivisionError("three")
        done.append(item)
        return item

    results = fan_out(work, itertools.count())
    assert [next(results)[1] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError, match="three"):
        next(results)
    assert list(results) == []
    assert len(done) <= 2 * WIDTH + 3


def test_an_exception_of_the_items_is_raised():
    def items() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(fan_out(lambda item: item, items()))


def test_a_saturated_pool_lets_the_caller_do_its_work_itself():
    with saturated():
        threads = {thread for _, thread in fan_out(lambda _: threading.current_thread(), range(200))}
    assert threads == {threading.current_thread()}


def test_bulk_work_inside_of_bulk_work_does_not_wait_for_itself():
    """More outer work than threads, each with more inner work than threads, and another floor below."""

    def innermost(item: int) -> int:
        return sum(result for _, result in fan_out(lambda n: n, range(item % 5)))

    def inner(item: int) -> int:
        return sum(result for _, result in fan_out(innermost, range(WIDTH + 10))) + item

    def outer() -> list[int]:
        return [result for _, result in fan_out(inner, range(3 * WIDTH))]

    below = sum(sum(range(item % 5)) for item in range(WIDTH + 10))
    assert in_time(outer) == [below + item for item in range(3 * WIDTH)]


def test_many_callers_share_the_pool():
    def caller(base: int) -> list[int]:
        return [result for _, result in fan_out(lambda n: n + base, range(100))]

    with ThreadPoolExecutor(10) as callers:
        answers = [future.result(PATIENCE) for future in [callers.submit(caller, base) for base in range(10)]]
    assert answers == [list(range(base, base + 100)) for base in range(10)]


def test_a_child_process_has_a_pool_of_its_own():
    """The threads of the parent's are not there: whoever waited for them would wait for ever."""
    script = """
import os, warnings
from cloudcached.runtime.pool import fan_out
assert sum(result for _, result in fan_out(lambda n: n, range(100))) == 4950
warnings.simplefilter("ignore")
child = os.fork()
if not child:
    ok = sum(result for _, result in fan_out(lambda n: n, range(100))) == 4950
    os._exit(0 if ok else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert sum(result for _, result in fan_out(lambda n: n, range(100))) == 4950
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=PATIENCE)


class TestRun:
    """What the async versions of methods do."""

    async def test_the_result_is_awaited(self):
        assert await run(lambda a, b: (a, b), 1, b=2) == (1, 2)

    async def test_an_exception_is_raised(self):
        with pytest.raises(ZeroDivisionError):
            await run(lambda: 1 // 0)

    async def test_it_runs_on_the_pool_and_not_in_the_loop(self):
        thread = await run(threading.current_thread)
        assert thread is not threading.current_thread()
        assert thread.name.startswith("cloudcached")

    async def test_context_variables_are_seen(self):
        variable = contextvars.ContextVar("variable", default="default")
        variable.set("set")
        assert await run(variable.get) == "set"

    async def test_as_many_run_at_once_as_the_pool_is_wide(self):
        together = threading.Barrier(WIDTH)
        await asyncio.gather(*(run(together.wait, PATIENCE) for _ in range(WIDTH)))

    async def test_the_loop_goes_on_meanwhile(self):
        release = threading.Event()
        waiting = asyncio.create_task(run(release.wait, PATIENCE))
        await asyncio.sleep(0)
        assert not waiting.done()
        release.set()
        assert await waiting is True

    async def test_a_call_that_is_given_up_leaves_the_pool_usable(self):
        release = threading.Event()
        waiting = asyncio.create_task(run(release.wait, PATIENCE))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        release.set()
        assert await run(lambda: 1) == 1

    async def test_bulk_work_on_a_pool_full_of_awaited_calls(self):
        def bulk(base: int) -> int:
            return sum(result for _, result in fan_out(lambda n: n + base, range(WIDTH)))

        answers = await asyncio.wait_for(asyncio.gather(*(run(bulk, base) for base in range(3 * WIDTH))), PATIENCE)
        assert answers == [sum(range(WIDTH)) + WIDTH * base for base in range(3 * WIDTH)]


class Shop:
    """A class with an async version of a method."""

    def price(self, name: str, *, pieces: int = 1) -> tuple[str, int, str]:
        """Return the price.

        pieces: how many.
        """
        return name, pieces, threading.current_thread().name

    aprice = awaited(price)


class TestAwaited:
    async def test_it_is_the_method_run_on_the_pool(self):
        name, pieces, thread = await Shop().aprice("tea", pieces=2)
        assert (name, pieces) == ("tea", 2)
        assert thread.startswith("cloudcached")

    async def test_it_runs_an_override(self):
        class Sale(Shop):
            def price(self, name: str, *, pieces: int = 1) -> tuple[str, int, str]:
                return f"half {name}", pieces, ""

        assert await Sale().aprice("tea") == ("half tea", 1, "")

    def test_help_shows_the_signature_and_the_text_of_the_method(self):
        assert inspect.signature(Shop.aprice) == inspect.signature(Shop.price)
        assert inspect.iscoroutinefunction(Shop.aprice)
        assert (Shop.aprice.__name__, Shop.aprice.__qualname__) == ("aprice", "Shop.aprice")
        first, _, rest = (Shop.aprice.__doc__ or "").partition("\n\n")
        assert first == "Async version of ``price``, run on the shared thread pool."
        assert rest == inspect.getdoc(Shop.price)


# One ahead


def test_the_next_one_is_made_while_the_last_one_is_used() -> None:
    made = threading.Semaphore(0)

    def items() -> Iterator[int]:
        for number in range(5):
            made.release()
            yield number

    used = []
    for number in read_ahead(items()):
        assert made.acquire(timeout=PATIENCE)  # this one
        if number < 4:
            assert made.acquire(timeout=PATIENCE)  # and the next
            made.release()
        used.append(number)
    assert used == list(range(5))


def test_one_ahead_needs_no_thread_of_a_full_pool() -> None:
    with saturated():
        assert list(read_ahead(iter(range(100)))) == list(range(100))


def test_what_fails_ahead_fails_in_its_turn() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError

    found = read_ahead(items())
    assert next(found) == 1
    with pytest.raises(ValueError):
        next(found)


def test_who_stops_early_leaves_nothing_behind() -> None:
    found = read_ahead(itertools.count())
    assert next(found) == 0
    found.close()
