"""The seam for ``cloudcached.testing``: what stands around the stores of all clients of a process."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import itemgetter
from typing import Final, Protocol

from ..runtime.forks import PerProcess
from ..stores.port import Store

#: A function that wraps a store: it is given the store, and returns the store to ask instead.
Around = Callable[[Store], Store]


class Member(Protocol):
    """Something that sends requests to a store."""

    def refresh(self) -> None:
        """Look up again what stands around the store."""


class EveryStore:
    """The wrappers around the stores of all clients, whether they exist already or are made later. Thread-safe."""

    def __init__(self) -> None:
        #: The innermost first, each with whether it also goes around those added later.
        self.arounds: tuple[tuple[bool, Around], ...] = ()
        self._members: weakref.WeakSet[Member] = weakref.WeakSet()
        # Clients are made in threads and in forked children too, while a test begins or ends to watch.
        self._lock = PerProcess(threading.RLock)
        self._lock()

    def join(self, member: Member) -> None:
        """Add a member, and have it look up what stands around its store."""
        with self._lock():
            self._members.add(member)
            member.refresh()

    def around(self, store: Store) -> Store:
        """Return *store* with all wrappers around it."""
        for _, around in self.arounds:
            store = around(store)
        return store

    @contextmanager
    def wrapped(self, around: Around, *, outermost: bool = False) -> Iterator[None]:
        """Wrap every store in *around* until the block ends.

        It goes around the wrappers that are there already; with *outermost* also around those added later.
        """
        own = (outermost, around)
        try:
            self._change(lambda: [*self.arounds, own])
            yield
        finally:
            self._change(lambda: [other for other in self.arounds if other is not own])

    def _change(self, changed: Callable[[], list[tuple[bool, Around]]]) -> None:
        with self._lock():
            self.arounds = tuple(sorted(changed(), key=itemgetter(0)))
            for member in list(self._members):
                member.refresh()


EVERY_STORE: Final = EveryStore()
