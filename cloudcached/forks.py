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

    Two threads may both make one at the very first use: the later one stays, the other is garbage. *factory* must
    not mind.
    """

    __slots__ = ("_factory", "_made")

    def __init__(self, factory: Callable[[], T]) -> None:
        self._factory = factory
        self._made: tuple[int, T] | None = None

    def __call__(self) -> T:
        """Return this process's value."""
        made = self._made
        pid = os.getpid()
        if made is None or made[0] != pid:
            self._made = made = (pid, self._factory())
        return made[1]

    def peek(self) -> T | None:
        """Return this process's value if there is one already."""
        made = self._made
        return made[1] if made is not None and made[0] == os.getpid() else None
