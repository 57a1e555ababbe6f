"""What tests of computed values share: a function that can be held up, and threads that call it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from cloudcached import Client

PATIENCE = 20


class Work:
    """A function that counts its calls, and can be held up, or fail."""

    def __init__(self) -> None:
        self.calls = 0
        #: What calls raise at their end.
        self.error: BaseException | None = None
        #: Set when a call has begun.
        self.began = threading.Event()
        self._may_end = threading.Event()
        self._may_end.set()

    def __call__(self) -> dict[str, int]:
        self.calls += 1
        number = self.calls
        self.began.set()
        assert self._may_end.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        return {"call": number}

    def hold(self) -> None:
        """Let no call end."""
        self.began.clear()
        self._may_end.clear()

    def go_on(self) -> None:
        """Let all calls end."""
        self._may_end.set()


def until(condition: Callable[[], Any]) -> None:
    """Wait for what another thread is about to do."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def settle(client: Client) -> None:
    """Wait until nothing is refreshed any more."""
    until(lambda: not client.fills._flights()._refreshes)


def waiting(client: Client) -> int:
    """Return how often somebody waited for another's computation so far."""
    return client.stats().get("waited", 0)


def background(function: Callable[..., Any], *arguments: Any, **options: Any) -> Callable[[], Any]:
    """Call *function* in a thread; return a function that waits for it and returns what it returned or raised."""
    outcome: list[Any] = []

    def call() -> None:
        try:
            outcome.append(function(*arguments, **options))
        except BaseException as error:  # noqa: BLE001 - handed over
            outcome.append(error)

    thread = threading.Thread(target=call)
    thread.start()

    def join() -> Any:
        thread.join(PATIENCE)
        return outcome[0]

    return join


def sharing(client: Client, **options: Any) -> Client:
    """Return another process's client, as it were, of the same cache in memory."""
    rival = Client("memory://", clock=client.engine.clock, **options)
    rival.engine.wrap_store(lambda _: client.engine.store)
    return rival
