"""Kept connections: of one process, by endpoint, and not by client, of which frameworks make many."""

from __future__ import annotations

import atexit
import os
from collections import deque
from typing import Final

from .clock import monotonic
from .connection import Connection, Deadline, Endpoint, connect

#: Connections of an endpoint that are kept while nobody uses them.
_KEPT: Final = 64
#: Seconds: one that was idle for longer may have been dropped by a firewall, and one that is older would keep a name's
#: old address.
_IDLE_SECONDS: Final = 30.0
_AGE_SECONDS: Final = 300.0


class Pool:
    """Thread-safe. A child closes its copies of the parent's connections, which go on in the parent."""

    def __init__(self) -> None:
        # Not a PerProcess, which takes two more calls for each request.
        self._pid = os.getpid()
        self._idle: dict[Endpoint, deque[Connection]] = {}

    def take(self, endpoint: Endpoint, deadline: Deadline) -> Connection:
        """Return a connection that nobody uses, the one used last first, or open one."""
        if self._pid != os.getpid():
            self._forget()
        idle = self._idle.get(endpoint)
        while idle:
            try:
                connection = idle.pop()
            except IndexError:  # another thread was faster
                break
            now = monotonic()
            is_young = now - connection.used < _IDLE_SECONDS and now - connection.made < _AGE_SECONDS
            # Looked at before every use: bytes behind the last answer would be taken for the next one.
            if is_young and not connection.is_stale():
                return connection
            connection.close()
        return connect(endpoint, deadline)

    def give(self, connection: Connection) -> None:
        """Keep a connection whose answer was read to its end."""
        if connection.pid != os.getpid():
            connection.close()
            return
        connection.used = monotonic()
        connection.reused = True
        idle = self._idle.get(connection.endpoint)
        if idle is None:
            idle = self._idle.setdefault(connection.endpoint, deque())
        if len(idle) < _KEPT:
            idle.append(connection)
        else:
            connection.close()

    def close(self, endpoint: Endpoint | None = None) -> None:
        """Close the connections that nobody uses: to an endpoint, or all of them."""
        if self._pid != os.getpid():
            self._forget()
        kept = self._idle
        for idle in list(kept.values()) if endpoint is None else [kept.get(endpoint)]:
            while idle:
                try:
                    idle.pop().close()
                except IndexError:
                    break

    def _forget(self) -> None:
        """Begin anew in a child: its copies of the parent's connections close themselves, one that is in use does not."""
        self._idle, self._pid = {}, os.getpid()


POOL: Final = Pool()
atexit.register(POOL.close)
