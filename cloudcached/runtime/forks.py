"""State that belongs to one process, and is made anew after a fork.

Locks, pools and connections of the parent must not be used in a child: a lock may be held by a thread that the child
does not have. The process id is compared at each use, since not every server runs at-fork hooks (uWSGI).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """A value made by *factory* on first use, once per process.

    Two threads may both make one at the very first use: all get the first that was done, the other is garbage.
    *factory* must not mind.
    """

    __slots__ = ("_factory", "_made")

    def __init__(self, factory: Callable[[], T]) -> None:
        self._factory = factory
        #: By process id: this process's value, and in a child the parent's until then.
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
        """Return this process's value if there is one already."""
        made = self._made.get(os.getpid())
        return None if made is None else made[0]
