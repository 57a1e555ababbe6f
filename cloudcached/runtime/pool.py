"""The one bounded thread pool of a process: bulk calls fan out over it, and async versions of methods run on it."""

from __future__ import annotations

import contextvars
import functools
import inspect
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

#: Threads of the pool: requests under way at once, per process.
WIDTH: Final = 32

_thread = threading.local()


def _enter() -> None:
    _thread.is_ours = True


_executor: PerProcess[ThreadPoolExecutor] = PerProcess(
    lambda: ThreadPoolExecutor(WIDTH, thread_name_prefix="cloudcached", initializer=_enter)
)


def is_inside() -> bool:
    """Whether the calling thread is one of the pool's: these must not wait for each other."""
    return getattr(_thread, "is_ours", False)


def start(function: Callable[..., object], *arguments: Any) -> None:
    """Start *function* on the pool and do not wait for it; it must not raise.

    Raises ``RuntimeError`` when the process is about to end.
    """
    _executor().submit(contextvars.copy_context().run, function, *arguments)


def fan_out(
    function: Callable[[T], R], items: Iterable[T], *, ahead: int = 2 * WIDTH, settle: bool = False
) -> Iterator[tuple[T, R]]:
    """Yield each item with the result of *function* for it, in order.

    Items are taken as they are needed, and at most *ahead* are waiting or done, so neither a long input nor a slow
    consumer fills the memory. A call that no thread has begun when its turn comes is made by the caller itself: in a
    full pool, bulk work goes on inline, where waiting would be waiting for itself. An exception of *function* ends
    everything and is raised. settle: if the iteration ends early, wait for the calls under way.
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
    """Yield the items of *items*; the next one is made on the pool while the current one is used."""
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
    """Run *function* on the pool and await its result; it sees the caller's context variables."""
    import asyncio  # noqa: PLC0415 - importing it takes time, and only callers that await need it

    context = contextvars.copy_context()
    work = functools.partial(context.run, function, *arguments, **options)
    return await asyncio.get_running_loop().run_in_executor(_executor(), work)


def awaited(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]:
    """Return the async version of *method*: the same signature, run on the shared pool.

    It calls the method by its name, so that it also runs an override or a wrapper that was put in its place.
    """
    name = method.__name__

    @functools.wraps(method)
    async def async_version(self: S, /, *arguments: P.args, **options: P.kwargs) -> R:
        answer: R = await run(getattr(self, name), *arguments, **options)
        return answer

    async_version.__name__ = f"a{name}"
    async_version.__qualname__ = f"{method.__qualname__.rpartition('.')[0]}.a{name}"
    async_version.__doc__ = (
        f"Async version of ``{name}``, run on the shared thread pool.\n\n{inspect.getdoc(method) or ''}"
    )
    return async_version
