"""Stores around stores: one that counts requests, one that fails by script.

Put one around a client's store with ``wrap(client, CountingStore)``.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from cloudcached import Client, StoreError, StoreUnreachable
from cloudcached._types import Bytes, Clock
from cloudcached.stores.base import (
    ABSENT,
    ALWAYS,
    Body,
    Found,
    Head,
    Listed,
    Matches,
    Store,
    UnmodifiedSince,
    When,
    WhenRemoved,
)

S = TypeVar("S", bound="Wrapper")

#: What one request does in a script: it is given the request as a function, and returns its answer or raises.
Step = Callable[[Callable[[], Any]], Any]


class Wrapper(Store):
    """A store that hands every request to another one, by way of ``_pass``."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner

    def _pass(self, operation: str, label: str, names: list[str], forward: Callable[[], Any]) -> Any:
        """Do one request; *operation* is the port's verb, *label* what it is called in bills."""
        return forward()

    def get(self, object_key: str, *, unless: str | None = None, timeout: float) -> Found:
        def forward() -> Found:
            return self.inner.get(object_key, unless=unless, timeout=timeout)

        return self._pass("get", "GET" if unless is None else "GET unless", [object_key], forward)

    def get_first(self, object_key: str, length: int, *, timeout: float) -> Found:
        def forward() -> Found:
            return self.inner.get_first(object_key, length, timeout=timeout)

        return self._pass("get", "GET", [object_key], forward)

    def get_range(self, object_key: str, start: int, length: int, *, etag: str, timeout: float) -> Sequence[Bytes]:
        def forward() -> Sequence[Bytes]:
            return self.inner.get_range(object_key, start, length, etag=etag, timeout=timeout)

        return self._pass("get_range", "GET", [object_key], forward)

    def head(self, object_key: str, *, timeout: float) -> Head:
        return self._pass("head", "HEAD", [object_key], lambda: self.inner.head(object_key, timeout=timeout))

    def put(
        self,
        object_key: str,
        body: Body,
        metadata: Mapping[str, str],
        *,
        when: When = ALWAYS,
        tags: Mapping[str, str] | None = None,
        timeout: float,
    ) -> str:
        label = "PUT" if when is ALWAYS else "PUT if absent" if when is ABSENT else "PUT if match"

        def forward() -> str:
            return self.inner.put(object_key, body, metadata, when=when, tags=tags, timeout=timeout)

        return self._pass("put", label, [object_key], forward)

    def create_upload(
        self, object_key: str, metadata: Mapping[str, str], *, tags: Mapping[str, str] | None = None, timeout: float
    ) -> str:
        def forward() -> str:
            return self.inner.create_upload(object_key, metadata, tags=tags, timeout=timeout)

        return self._pass("create_upload", "POST create", [object_key], forward)

    def put_part(self, object_key: str, upload: str, number: int, body: Bytes, *, timeout: float) -> str:
        def forward() -> str:
            return self.inner.put_part(object_key, upload, number, body, timeout=timeout)

        return self._pass("put_part", "PUT part", [object_key], forward)

    def complete_upload(self, object_key: str, upload: str, etags: Sequence[str], *, timeout: float) -> None:
        def forward() -> None:
            self.inner.complete_upload(object_key, upload, etags, timeout=timeout)

        self._pass("complete_upload", "POST complete", [object_key], forward)

    def abort_upload(self, object_key: str, upload: str, *, timeout: float) -> None:
        def forward() -> None:
            self.inner.abort_upload(object_key, upload, timeout=timeout)

        self._pass("abort_upload", "DELETE upload", [object_key], forward)

    def delete(self, object_key: str, *, when: WhenRemoved = ALWAYS, timeout: float) -> None:
        label = {Matches: "DELETE if match", UnmodifiedSince: "DELETE if unmodified"}.get(type(when), "DELETE")

        def forward() -> None:
            self.inner.delete(object_key, when=when, timeout=timeout)

        return self._pass("delete", label, [object_key], forward)

    def delete_many(self, object_keys: Iterable[str], *, timeout: float) -> dict[str, StoreError]:
        names = list(object_keys)
        return self._pass("delete_many", "DeleteObjects", names, lambda: self.inner.delete_many(names, timeout=timeout))

    def list(self, prefix: str, *, after: str = "", timeout: float) -> tuple[list[Listed], bool]:
        return self._pass("list", "LIST", [prefix], lambda: self.inner.list(prefix, after=after, timeout=timeout))

    def close(self) -> None:
        self.inner.close()


class CountingStore(Wrapper):
    """Remembers every request, and whether the body of a GET was read."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self._lock = threading.Lock()
        #: Each request so far, such as "GET", "PUT if absent" or "DeleteObjects".
        self.requests: list[str] = []
        #: How many bodies were read, and how many connections given back without.
        self.bodies = self.closed = 0

    @property
    def counts(self) -> Counter[str]:
        """How often each request was made."""
        return Counter(self.requests)

    def forget(self) -> None:
        """Begin to count anew."""
        with self._lock:
            self.requests, self.bodies, self.closed = [], 0, 0

    def _pass(self, operation: str, label: str, names: list[str], forward: Callable[[], Any]) -> Any:
        with self._lock:
            self.requests.append(label)
        answer = forward()
        return _CountedFound(self, answer) if isinstance(answer, Found) else answer

    def count_body(self, *, read: bool) -> None:
        """Take note of what became of a body."""
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
        #: What every request that names one of these objects fails with, for ever.
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

    def _pass(self, operation: str, label: str, names: list[str], forward: Callable[[], Any]) -> Any:
        with self._lock:
            self.asked.append(operation)
            steps = self._steps.get(operation)
            step = steps.popleft() if steps else ok
        for name in names:
            if name in self.broken:
                raise self.broken[name]
        return step(forward)

    def delete_many(self, object_keys: Iterable[str], *, timeout: float) -> dict[str, StoreError]:
        names = list(object_keys)
        refused = {name: self.broken[name] for name in names if name in self.broken}
        return {**super().delete_many([n for n in names if n not in refused], timeout=timeout), **refused}


def wrap(client: Client, make: Callable[[Store], S]) -> S:
    """Put a store around the one of *client*, and return it."""
    store = make(client._engine.store)
    client._engine.store = store
    return store


class Bench:
    """Two clients of one cache in memory, of which one goes by a faulty store."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.client = Client("memory://", clock=clock)
        self.rival = Client("memory://", clock=clock)
        self.rival._engine.store = self.client._engine.store
        self.store = wrap(self.client, FaultyStore)
        self.object_key = self.client._engine.place("k").object_key

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
