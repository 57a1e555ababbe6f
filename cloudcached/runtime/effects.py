"""One description of a piece of work, for callers that block and for callers that await.

What is done about a missing value is the same for both: requests, waits, a computation. It is written once, as a
generator of steps. ``do`` takes each step in the calling thread; ``ado`` awaits it on the event loop, where requests
go to the shared pool and nothing else holds a thread.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Generator
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar

from .._types import Clock
from ..errors import ConfigError
from . import pool

if TYPE_CHECKING:
    import asyncio

R = TypeVar("R")


class Step(Protocol):
    """What a piece of work waits for."""

    def do(self) -> Any:
        """Take the step, and return what the work goes on with."""

    async def ado(self) -> Any:
        """Await the step."""


Steps: TypeAlias = "Generator[Step, Any, R]"


def do(steps: Steps[R]) -> R:
    """Take all steps in this thread; return what the work returns."""
    try:
        step = next(steps)
        while True:
            try:
                answer = step.do()
            except BaseException as error:  # noqa: BLE001 - the work decides
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as end:
        result: R = end.value
        return result


async def ado(steps: Steps[R]) -> R:
    """Await all steps; return what the work returns."""
    try:
        step = next(steps)
        while True:
            try:
                answer = await step.ado()
            except BaseException as error:  # noqa: BLE001 - the work decides
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as end:
        result: R = end.value
        return result


def is_on_loop() -> bool:
    """Tell whether an event loop is running in this thread, which waits for what this thread does."""
    if "asyncio" not in sys.modules:  # an event loop would have imported it
        return False
    import asyncio  # noqa: PLC0415 - as in the pool

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class Request:
    """A call that asks the store."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._function = function
        self._arguments = arguments

    def do(self) -> Any:
        """Ask."""
        return self._function(*self._arguments)

    async def ado(self) -> Any:
        """Ask on the pool."""
        return await pool.run(self._function, *self._arguments)


#: What the caller, or whoever called it, is computing already.
computing: Final[ContextVar[frozenset[object]]] = ContextVar("cloudcached.computing", default=frozenset())


class Compute:
    """The caller's own function; *mark* is in ``computing`` meanwhile."""

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
            raise ConfigError("the function is async: await the twin of this call, whose name has an a before it")
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
    """A wait between two requests."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds

    def do(self) -> None:
        """Sleep."""
        self._clock.sleep(self._seconds)

    async def ado(self) -> None:
        """Let others run."""
        import asyncio  # noqa: PLC0415 - as in the pool

        await asyncio.sleep(self._seconds)


class Wait:
    """A wait for *future*, which nobody cancels, for so many seconds; goes on with whether it was done by then."""

    def __init__(self, future: Future[Any], seconds: float) -> None:
        self._future = future
        self._seconds = seconds

    def do(self) -> bool:
        """Block."""
        return bool(wait_for([self._future], self._seconds).done)

    async def ado(self) -> bool:
        """Let others run."""
        import asyncio  # noqa: PLC0415 - as in the pool

        here = asyncio.wrap_future(self._future)
        try:
            return bool((await asyncio.wait([here], timeout=self._seconds))[0])
        finally:
            here.cancel()


class Together:
    """Other steps, to be taken to their end also where the caller is cancelled: others wait for what they give.

    *given_up* is called where none of them was taken, since the event loop ended.
    """

    def __init__(self, steps: Steps[Any], given_up: Callable[[], None]) -> None:
        self._steps = steps
        self._given_up = given_up

    def do(self) -> Any:
        """Take them."""
        return do(self._steps)

    async def ado(self) -> Any:
        """Await them in a task of their own."""
        import asyncio  # noqa: PLC0415 - as in the pool

        return await asyncio.shield(_task(self._steps, self._given_up))


class Aside:
    """Other steps, begun and not waited for. They may raise nothing. *given_up* as for ``Together``."""

    def __init__(self, steps: Steps[None], given_up: Callable[[], None]) -> None:
        self._steps = steps
        self._given_up = given_up

    def do(self) -> None:
        """Hand them to the pool. Raises ``RuntimeError`` when the process is about to end."""
        pool.start(do, self._steps)

    async def ado(self) -> None:
        """Hand them to the event loop."""
        _task(self._steps, self._given_up)


_tasks: Final[set[asyncio.Task[Any]]] = set()  # the event loop itself holds its tasks by weak references only


def _task(steps: Steps[R], given_up: Callable[[], None]) -> asyncio.Task[R]:
    import asyncio  # noqa: PLC0415 - as in the pool

    def end(task: asyncio.Task[R]) -> None:
        _tasks.discard(task)
        if inspect.getgeneratorstate(steps) == inspect.GEN_CREATED:  # what had begun has cleaned up after itself
            given_up()
        elif not task.cancelled():
            task.exception()  # told to those who wait, of whom the caller, if he was cancelled, is none

    task = asyncio.get_running_loop().create_task(ado(steps))
    _tasks.add(task)
    task.add_done_callback(end)
    return task
