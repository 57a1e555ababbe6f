"""One description of work that waits, for callers that block and for callers that await.

What is done about a missing value is the same for both: requests, pauses, a computation. It is written once, as a
generator that yields its effects. ``do`` performs each effect in the calling thread. ``ado`` awaits each one on the
event loop: requests run on the shared pool, and nothing else occupies a thread.

Who may be cancelled: only what runs on an event loop. Two effects start a task of their own, which outlives its caller::

    caller --ado--> Shielded ----> task: effects ----> result
      |                              ^    |
      | cancelled: stops waiting     |    | its loop ends: cancelled
      v                              |    v
    the task goes on           others Wait     has it begun?   yes: the effects' own ``finally`` cleans up
                                                               no:  ``Work.if_never_begun`` cleans up

    caller --ado--> Background --> task: effects       as above, but the caller goes on at once
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Generator
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeAlias, TypeVar

from .._types import Clock
from ..errors import ConfigError
from . import pool

if TYPE_CHECKING:
    import asyncio

R = TypeVar("R")


class Effect(Protocol):
    """Something that work waits for."""

    def do(self) -> Any:
        """Perform it in this thread, and return its result to the work."""

    async def ado(self) -> Any:
        """Perform it on the event loop, and return its result to the work."""


#: Work as a generator: yields effects, is sent their results, and returns an R.
Effects: TypeAlias = "Generator[Effect, Any, R]"


def do(effects: Effects[R]) -> R:
    """Perform all effects in this thread; return what the work returns."""
    try:
        effect = next(effects)
        while True:
            try:
                answer = effect.do()
            except BaseException as error:  # noqa: BLE001 - the work decides
                effect = effects.throw(error)
            else:
                effect = effects.send(answer)
    except StopIteration as end:
        result: R = end.value
        return result


async def ado(effects: Effects[R]) -> R:
    """Await all effects; return what the work returns."""
    try:
        effect = next(effects)
        while True:
            try:
                answer = await effect.ado()
            except BaseException as error:  # noqa: BLE001 - the work decides
                effect = effects.throw(error)
            else:
                effect = effects.send(answer)
    except StopIteration as end:
        result: R = end.value
        return result


def is_on_loop() -> bool:
    """Whether this thread runs an event loop, which stands still while the thread waits."""
    if "asyncio" not in sys.modules:  # an event loop would have imported it
        return False
    import asyncio  # noqa: PLC0415 - as in the pool

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class Request:
    """A call that sends a request to the store."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._function = function
        self._arguments = arguments

    def do(self) -> Any:
        """Call it."""
        return self._function(*self._arguments)

    async def ado(self) -> Any:
        """Call it on the pool."""
        return await pool.run(self._function, *self._arguments)


#: The marks of the computations that this code is part of, its callers' included.
computing: Final[ContextVar[frozenset[object]]] = ContextVar("cloudcached.computing", default=frozenset())


class Compute:
    """A call of the user's function; *mark* is in ``computing`` while it runs."""

    def __init__(self, function: Callable[[], Any], mark: object = None) -> None:
        self._function = function
        self._mark = mark

    def do(self) -> Any:
        """Call it."""
        token = computing.set(computing.get() | {self._mark})
        try:
            value = self._function()
        finally:
            computing.reset(token)
        if inspect.iscoroutine(value):
            value.close()
            raise ConfigError(
                "the function is async: await the async version of this method, with an a before its name"
            )
        return value

    async def ado(self) -> Any:
        """Await it; a plain function is called on the pool."""
        token = computing.set(computing.get() | {self._mark})
        try:
            if inspect.iscoroutinefunction(self._function):
                return await self._function()
            value = await pool.run(self._function)
            return await value if inspect.isawaitable(value) else value
        finally:
            computing.reset(token)


class Pause:
    """A pause of so many seconds between two requests."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds

    def do(self) -> None:
        """Sleep."""
        self._clock.sleep(self._seconds)

    async def ado(self) -> None:
        """Let other tasks run meanwhile."""
        import asyncio  # noqa: PLC0415 - as in the pool

        await asyncio.sleep(self._seconds)


class Wait:
    """A wait of at most so many seconds for *future*, which nobody cancels; the result is whether it was done in time."""

    def __init__(self, future: Future[Any], seconds: float) -> None:
        self._future = future
        self._seconds = seconds

    def do(self) -> bool:
        """Block."""
        return bool(wait_for([self._future], self._seconds).done)

    async def ado(self) -> bool:
        """Let other tasks run meanwhile."""
        import asyncio  # noqa: PLC0415 - as in the pool

        here = asyncio.wrap_future(self._future)
        try:
            return bool((await asyncio.wait([here], timeout=self._seconds))[0])
        finally:
            here.cancel()


@dataclass(frozen=True, slots=True)
class Work(Generic[R]):
    """Effects that may run in a task of their own, and the cleanup for the case that this task never begins."""

    effects: Effects[R]
    #: Called if the event loop ends before the first effect: Python never enters the generator then, nor its ``finally``.
    if_never_begun: Callable[[], None]

    def start(self) -> asyncio.Task[R]:
        """Begin a task of its own on the running event loop."""
        import asyncio  # noqa: PLC0415 - as in the pool

        task = asyncio.get_running_loop().create_task(ado(self.effects))
        _tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[R]) -> None:
        _tasks.discard(task)
        if inspect.getgeneratorstate(self.effects) == inspect.GEN_CREATED:
            self.if_never_begun()
        elif not task.cancelled():
            # Mark its error as retrieved, or asyncio logs it: if the caller was cancelled, nobody awaits this task, and
            # those who wait for the result were told.
            task.exception()


_tasks: Final[set[asyncio.Task[Any]]] = set()  # the event loop itself holds its tasks by weak references only


class Shielded:
    """Work that runs to its end even if the caller is cancelled, since others wait for its result."""

    def __init__(self, work: Work[Any]) -> None:
        self._work = work

    def do(self) -> Any:
        """Perform it in this thread, which nobody cancels."""
        return do(self._work.effects)

    async def ado(self) -> Any:
        """Await it in a task of its own."""
        import asyncio  # noqa: PLC0415 - as in the pool

        return await asyncio.shield(self._work.start())


class Background:
    """Work that is started and not waited for. It must not raise."""

    def __init__(self, work: Work[None]) -> None:
        self._work = work

    def do(self) -> None:
        """Hand it to the pool. Raises ``RuntimeError`` when the process is about to end."""
        pool.start(do, self._work.effects)

    async def ado(self) -> None:
        """Start a task of its own."""
        self._work.start()
