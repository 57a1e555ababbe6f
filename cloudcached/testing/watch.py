"""The requests of a site's caches, counted and disturbed for its tests.

This hooks in where clients send requests to their stores, so it covers clients that a site has made already, those of
Django and Flask, and those inside ``mock_aws``, whatever their store.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .._types import Clock
from ..engine.seam import EVERY_STORE
from ..errors import StoreError, StoreTimeout, StoreUnreachable
from ..stores.port import Store
from .stores import VERBS, Request, Wrapper

#: Decides what happens to one request: is given the request, and a function that carries it out.
Fault = Callable[[Request, Callable[[], Any]], Any]


class Requests(Counter[str]):
    """The number of requests of each kind: ``{"get": 1}``. ``clear()`` starts again from zero."""

    def __init__(self, counts: Mapping[str, int] | None = None) -> None:
        super().__init__(counts)
        #: Every request, in order, with the names of its objects.
        self.seen: list[Request] = []

    def clear(self) -> None:
        """Forget all requests so far."""
        super().clear()
        self.seen.clear()


@dataclass
class _Rule:
    fault: Fault
    left: int | None
    on: str


class Faults:
    """Failures of the store, for the next requests of all clients. Waits use *clock*, so that no test really waits."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._rules: list[_Rule] = []

    def fail(self, times: int | None = 1, *, on: str = "", error: StoreError | None = None) -> None:
        """Make the next requests fail before they reach the store.

        times: the number of requests; ``None`` for all until ``heal``. A client repeats requests as long as its
        ``timeout`` lasts, so an operation fails only if all of its requests do. on: the kind of request (``get``,
        ``head``, ``put``, ...), "" for any. error: ``StoreUnreachable`` by default. Raises ``ValueError`` for a kind
        that does not exist.
        """
        failure = error or StoreUnreachable("a fault of this test: no answer")

        def fault(*_: object) -> Any:
            raise failure

        self._add(fault, times, on)

    def lose_answers(self, times: int | None = 1, *, on: str = "") -> None:
        """Let the store carry out the next requests, but lose its answers. times, on: as for ``fail``."""

        def fault(request: Request, forward: Callable[[], Any]) -> Any:
            forward()
            raise StoreUnreachable(f"a fault of this test: the answer to {request.verb} was lost")

        self._add(fault, times, on)

    def slow(self, seconds: float, times: int | None = 1, *, on: str = "") -> None:
        """Make the answers to the next requests take *seconds* of the fake clock.

        If that is as long as the operation has left, or longer, it ends in ``StoreTimeout`` at that time, although the
        store has carried out the request. times, on: as for ``fail``.
        """

        def fault(request: Request, forward: Callable[[], Any]) -> Any:
            answer = forward()
            self._clock.sleep(min(seconds, request.timeout))
            if seconds >= request.timeout:
                raise StoreTimeout(f"a fault of this test: {request.verb} takes {seconds:g} s")
            return answer

        self._add(fault, times, on)

    def heal(self) -> None:
        """End all faults."""
        with self._lock:
            self._rules.clear()

    @property
    def pending(self) -> int:
        """The number of faults that have not happened yet, not counting those that last until ``heal``."""
        return sum(rule.left or 0 for rule in self._rules)

    def take(self, verb: str) -> Fault | None:
        """Return the fault for the next request, of kind *verb*, and count it; ``None`` if there is none."""
        with self._lock:
            for rule in self._rules:
                if rule.on in ("", verb) and rule.left != 0:
                    if rule.left is not None:
                        rule.left -= 1
                    return rule.fault
        return None

    def _add(self, fault: Fault, times: int | None, on: str) -> None:
        if on and on not in VERBS:
            raise ValueError(f"a store has no {on!r} request; the kinds are {', '.join(VERBS)}")
        with self._lock:
            self._rules.append(_Rule(fault, times, on))


class Watch:
    """Counts the requests of all clients of this process, and makes them fail, within ``with watch.running():``."""

    def __init__(self, clock: Clock) -> None:
        self.requests = Requests()
        self.faults = Faults(clock)
        self._lock = threading.Lock()

    @contextmanager
    def running(self) -> Iterator[Watch]:
        """Watch until the block ends."""
        with EVERY_STORE.wrapped(lambda store: _Watched(store, self)):
            yield self

    def do(self, request: Request, forward: Callable[[], Any]) -> Any:
        """Count one request and carry it out, or let a fault decide what happens to it."""
        with self._lock:
            self.requests[request.verb] += 1
            self.requests.seen.append(request)
        fault = self.faults.take(request.verb)
        return forward() if fault is None else fault(request, forward)


class _Watched(Wrapper):
    """A store that is watched."""

    def __init__(self, inner: Store, watch: Watch) -> None:
        super().__init__(inner)
        self._watch = watch

    def _pass(self, request: Request, forward: Callable[[], Any]) -> Any:
        return self._watch.do(request, forward)
