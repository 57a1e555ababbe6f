"""State that belongs to one process, and is made again after a fork.

A child must not use its parent's locks, pools and connections: a lock may be held by a thread that the child does not
have. The process id is compared at each use, since not every server runs Python's at-fork hooks (uWSGI may not).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """A value made by *factory* on first use, once per process.

    Two threads may both make one at the very first use; then all get the one that was done first, and the other is
    dropped, so *factory* must have no side effects.
    """

    __slots__ = ("_factory", "_made")

    def __init__(self, factory: Callable[[], T]) -> None:
        self._factory = factory
        #: By process id: this process's value; in a child, until it makes its own, the parent's.
        self._made: dict[int, tuple[T]] = {}

    def __call__(self) -> T:
        """Return this process's value."""
        made = self._made.get(os.getpid())
        return self._make() if made is None else made[0]

    def _make(self) -> T:
        pid = os.getpid()
        made = self._made.setdefault(pid, (self._factory(),))
        for other in set(self._made) - {pid}:
            self._made.pop(other, None)
        return made[0]

    def peek(self) -> T | None:
        """Return this process's value, or ``None`` if it was not made yet."""
        made = self._made.get(os.getpid())
        return None if made is None else made[0]
