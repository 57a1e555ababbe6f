"""The one bounded thread pool of a process: bulk calls fan out over it, ``a...`` calls run on it.

Threads beat native async here: obstore's async calls cost twice the CPU time of its sync ones, and reach less than
half of their rate.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

from .forks import PerProcess

T = TypeVar("T")
R = TypeVar("R")

#: Requests that are under way at once, per process.
WIDTH: Final = 32

_executor: PerProcess[ThreadPoolExecutor] = PerProcess(
    lambda: ThreadPoolExecutor(WIDTH, thread_name_prefix="cloudcached")
)
_here = threading.local()


def fan_out(function: Callable[[T], R], items: Iterable[T], width: int = WIDTH) -> Iterator[tuple[T, R]]:
    """Yield each item with what *function* returned for it, in the order they finish in.

    The items are taken as they are needed, at most *width* are under way, and finished ones wait for the consumer:
    neither a long input nor a slow consumer fills the memory. Inside a worker of the pool all runs inline, since a
    full pool that waits for itself never ends. The first exception of *function* ends everything and is raised.
    """
    if getattr(_here, "busy", False):
        for item in items:
            yield item, function(item)
        return
    source = iter(items)
    executor = _executor()
    pending: dict[Future[R], T] = {}
    finished = threading.Semaphore(0)
    done: list[Future[R]] = []

    def note(future: Future[R]) -> None:
        done.append(future)
        finished.release()

    def start() -> bool:
        for item in source:
            future = executor.submit(_work, function, item)
            pending[future] = item
            future.add_done_callback(note)
            return True
        return False

    try:
        while len(pending) < width and start():
            pass
        while pending:
            finished.acquire()
            future = done.pop()
            item = pending.pop(future)
            start()
            yield item, future.result()
    finally:
        for future in pending:
            future.cancel()


def _work(function: Callable[..., R], *arguments: Any, **options: Any) -> R:
    _here.busy = True
    try:
        return function(*arguments, **options)
    finally:
        _here.busy = False


async def run(function: Callable[..., R], *arguments: Any, **options: Any) -> R:
    """Await *function* on the pool, with the context variables of the caller."""
    context = contextvars.copy_context()
    work = functools.partial(context.run, function, *arguments, **options)
    return await asyncio.get_running_loop().run_in_executor(_executor(), work)
