"""The one bounded thread pool of a process: bulk calls fan out over it, ``a...`` calls run on it.

Threads beat native async here: obstore's async calls cost twice the CPU time of its sync ones, and reach less than
half of their rate.
"""

from __future__ import annotations

import contextvars
import functools
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from .forks import PerProcess

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")
S = TypeVar("S")

#: Requests that are under way at once, per process.
WIDTH: Final = 32

_thread = threading.local()


def _enter() -> None:
    _thread.is_ours = True


_executor: PerProcess[ThreadPoolExecutor] = PerProcess(
    lambda: ThreadPoolExecutor(WIDTH, thread_name_prefix="cloudcached", initializer=_enter)
)


def is_inside() -> bool:
    """Tell whether the calling thread is one of the pool's, which must not wait for others of them."""
    return getattr(_thread, "is_ours", False)


def start(function: Callable[..., object], *arguments: Any) -> None:
    """Begin *function* on the pool and do not wait for it; it may raise nothing.

    Raises ``RuntimeError`` when the process is about to end.
    """
    _executor().submit(contextvars.copy_context().run, function, *arguments)


def fan_out(
    function: Callable[[T], R], items: Iterable[T], *, ahead: int = 2 * WIDTH, settle: bool = False
) -> Iterator[tuple[T, R]]:
    """Yield each item with what *function* returned for it, in order.

    Items are taken as they are needed and at most *ahead* are waiting or done, so neither a long input nor a
    slow consumer fills the memory. What no thread has begun when its turn comes is run by the caller: bulk work
    inside a full pool goes on inline, where waiting would be waiting for itself. An exception of *function* ends
    everything and is raised. settle: when it ends early, wait for what is under way.
    """
    source = iter(items)
    executor = _executor()
    pending: deque[tuple[T, Future[R]]] = deque()

    def submit(count: int) -> None:
        pending.extend((item, executor.submit(function, item)) for item in islice(source, count))

    try:
        submit(ahead)
        while pending:
            item, future = pending.popleft()
            result = function(item) if future.cancel() else future.result()
            submit(1)
            yield item, result
    finally:
        begun = [future for _, future in pending if not future.cancel()]
        if settle:
            wait(begun)


def read_ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield what *items* yields; the next one is made on the pool while the last one is used."""
    executor = _executor()
    nothing: Any = object()
    future = executor.submit(next, items, nothing)
    try:
        while True:
            item = next(items, nothing) if future.cancel() else future.result()
            if item is nothing:
                return
            future = executor.submit(next, items, nothing)
            yield item
    finally:
        future.cancel()


async def run(function: Callable[..., R], *arguments: Any, **options: Any) -> R:
    """Await *function* on the pool, with the context variables of the caller."""
    import asyncio  # noqa: PLC0415 - it takes its time, and only those who await need it

    context = contextvars.copy_context()
    work = functools.partial(context.run, function, *arguments, **options)
    return await asyncio.get_running_loop().run_in_executor(_executor(), work)


def awaited(verb: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]:
    """Return the async version of a method: same arguments, run on the shared pool."""
    name = verb.__name__

    @functools.wraps(verb)
    async def twin(self: S, /, *arguments: P.args, **options: P.kwargs) -> R:
        answer: R = await run(getattr(self, name), *arguments, **options)
        return answer

    twin.__name__, twin.__qualname__ = f"a{name}", f"{verb.__qualname__.rpartition('.')[0]}.a{name}"
    twin.__doc__ = f"Await ``{name}``, run on the shared pool."
    return twin
