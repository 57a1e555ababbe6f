"""Stores around stores: one that counts requests, one that fails by script.

Put one around a client's store with ``wrap(client, CountingStore)``.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from cloudcached import Client, StoreError, StoreUnreachable
from cloudcached._types import Bytes, Clock
from cloudcached.engine.engine import Engine
from cloudcached.stores.port import Found, Store
from cloudcached.testing.stores import Request, Wrapper

S = TypeVar("S", bound=Wrapper)

#: One step of a script: it gets the request as a function, and returns an answer or raises.
Step = Callable[[Callable[[], Any]], Any]

#: The names of requests in bills, where they differ.
BILLED = {
    "abort_upload": "DELETE upload",
    "complete_upload": "POST complete",
    "create_upload": "POST create",
    "delete_many": "DeleteObjects",
    "get_range": "GET",
    "put_part": "PUT part",
}


class CountingStore(Wrapper):
    """Remembers every request, and whether the body of a GET was read."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self._lock = threading.Lock()
        #: Each request so far, such as "GET", "PUT if absent" or "DeleteObjects".
        self.requests: list[str] = []
        #: How many bodies were read, and how many were closed unread.
        self.bodies = self.closed = 0

    @property
    def counts(self) -> Counter[str]:
        """How often each request was made."""
        return Counter(self.requests)

    def forget(self) -> None:
        """Reset all counts."""
        with self._lock:
            self.requests, self.bodies, self.closed = [], 0, 0

    def _pass(self, request: Request, forward: Callable[[], Any]) -> Any:
        with self._lock:
            condition = request.condition if request.condition != "first" else ""
            self.requests.append(f"{BILLED.get(request.verb, request.verb.upper())} {condition}".rstrip())
        answer = forward()
        return _CountedFound(self, answer) if isinstance(answer, Found) else answer

    def count_body(self, *, read: bool) -> None:
        """Count a body that was read, or closed unread."""
        with self._lock:
            if read:
                self.bodies += 1
            else:
                self.closed += 1


class _CountedFound(Found):
    __slots__ = ("_found", "_store")

    def __init__(self, store: CountingStore, found: Found) -> None:
        self.head = found.head
        self._found = found
        self._store = store

    def read(self) -> Bytes:
        self._store.count_body(read=True)
        return self._found.read()

    def close(self) -> None:
        self._store.count_body(read=False)
        self._found.close()


class FaultyStore(Wrapper):
    """Follows a script: the next request of an operation takes its next step, and without one goes through.

    >>> store = wrap(client, FaultyStore)
    >>> store.script("put", lose_answer(), fail(StoreBusy("busy")))
    """

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self._lock = threading.Lock()
        self._steps: dict[str, deque[Step]] = {}
        #: The error of every request that names one of these objects, by name.
        self.broken: dict[str, StoreError] = {}
        #: The operations of all requests so far.
        self.asked: list[str] = []

    def script(self, operation: str, *steps: Step) -> None:
        """Add *steps* for the next requests of *operation*, a verb of the port."""
        self._steps.setdefault(operation, deque()).extend(steps)

    @property
    def done(self) -> bool:
        """Whether every step was taken."""
        return not any(self._steps.values())

    def _pass(self, request: Request, forward: Callable[[], Any]) -> Any:
        with self._lock:
            self.asked.append(request.verb)
            steps = self._steps.get(request.verb)
            step = steps.popleft() if steps else ok
        for name in request.object_keys:
            if name in self.broken:
                raise self.broken[name]
        return step(forward)

    def delete_many(self, object_keys: Iterable[str], *, timeout: float) -> dict[str, StoreError]:
        names = list(object_keys)
        refused = {name: self.broken[name] for name in names if name in self.broken}
        return {**super().delete_many([n for n in names if n not in refused], timeout=timeout), **refused}


def wrap(client: Client, make: Callable[[Store], S]) -> S:
    """Put a store around the one of *client*, and return it."""
    return wrap_store(client.engine, make)


def wrap_store(engine: Engine, make: Callable[[Store], S]) -> S:
    """Put a store around the one of *engine*, and return it."""
    made: list[S] = []

    def around(store: Store) -> S:
        made.append(make(store))
        return made[-1]

    engine.wrap_store(around)
    return made[0]


class Bench:
    """Two clients of one cache in memory, one of them over a faulty store."""

    def __init__(self, clock: Clock, **options: Any) -> None:
        self.clock = clock
        self.client = Client("memory://", clock=clock, **options)
        self.rival = Client("memory://", clock=clock)
        self.rival.engine.wrap_store(lambda _: self.client.engine.store)
        self.store = wrap(self.client, FaultyStore)
        self.object_key = self.client.engine.place("k").object_key

    @property
    def tries(self) -> list[str]:
        """The operations that the client asked for."""
        return self.store.asked


def ok(forward: Callable[[], Any]) -> Any:
    """Let the request through."""
    return forward()


def fail(error: StoreError) -> Step:
    """Let the request fail before it reaches the store."""

    def step(forward: Callable[[], Any]) -> Any:
        raise error

    return step


def lose_answer(error: StoreError | None = None) -> Step:
    """Let the request through and lose its answer."""

    def step(forward: Callable[[], Any]) -> Any:
        forward()
        raise error or StoreUnreachable("the connection broke before the answer")

    return step


def before(action: Callable[[], Any], then: Step = ok) -> Step:
    """Let a rival do *action* just before the request."""

    def step(forward: Callable[[], Any]) -> Any:
        action()
        return then(forward)

    return step


def after(action: Callable[[], Any], then: Step = ok) -> Step:
    """Let a rival do *action* when the request is done, before its answer or its loss is known."""

    def step(forward: Callable[[], Any]) -> Any:
        def forward_and_act() -> Any:
            answer = forward()
            action()
            return answer

        return then(forward_and_act)

    return step


def answer(value: Any) -> Step:
    """Let the request through, and give another answer instead of its own."""

    def step(forward: Callable[[], Any]) -> Any:
        forward()
        return value

    return step
