"""Addresses of hosts, found within a deadline.

``getaddrinfo`` knows no timeout, so it runs in a thread of its own where one can be started. Addresses are fresh for 30
seconds; older ones are used while the resolver is late, or fails.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - getaddrinfo would import it, and a child forked meanwhile wait for it for ever
import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from ...errors import StoreTimeout, StoreUnreachable
from ...runtime.forks import PerProcess
from .clock import monotonic
from .signals import is_ours

Address = tuple[int, Any]

_FRESH_SECONDS: Final = 30.0
#: Seconds that a look-up may take before older addresses are used instead: the time is needed for the request.
_LATE_SECONDS: Final = 1.0


class _Known(NamedTuple):
    addresses: tuple[Address, ...]
    #: By the monotonic clock.
    until: float


class _State:
    """What one process knows, and asks now."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.known: dict[tuple[str, int], _Known] = {}
        #: One thread for each host, however many ask: one that hangs would be followed by hundreds.
        self.running: dict[tuple[str, int], _Lookup] = {}


class _Lookup(threading.Thread):
    """Looks an address up."""

    def __init__(self, host: str, port: int, found: Callable[[tuple[Address, ...]], tuple[Address, ...]]) -> None:
        super().__init__(name="cloudcached-dns", daemon=True)
        self.addresses: tuple[Address, ...] = ()
        self.error: Exception | None = None
        self._host, self._port, self._found = host, port, found

    def run(self) -> None:
        try:
            self.addresses = self._found(_look(self._host, self._port))
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            self.error = error


class Resolver:
    """Looks addresses up and remembers them. Thread-safe; a child begins with nothing."""

    def __init__(self) -> None:
        self._state: PerProcess[_State] = PerProcess(_State)

    def addresses(self, host: str, port: int, seconds: float) -> tuple[Address, ...]:
        """Return the addresses of a host, the one that worked last first.

        Raises ``StoreUnreachable`` for a host without any, ``StoreTimeout`` if it takes longer than *seconds*.
        """
        known = self._state().known.get((host, port))
        if known is not None and monotonic() < known.until:
            return known.addresses
        try:
            return self._looked_up(host, port, seconds if known is None else min(seconds / 4, _LATE_SECONDS))
        except (OSError, UnicodeError) as error:  # UnicodeError: what cannot be a name
            if isinstance(error, OSError) and not is_ours(error):
                raise
            if known is not None:
                return known.addresses
            if isinstance(error, StoreTimeout):
                raise
            raise StoreUnreachable(f"the host {host!r} is not known: {error}; check the endpoint") from error

    def worked(self, host: str, port: int, address: Address) -> None:
        """Put an address that accepted a connection before the others."""
        known = self._state().known
        before = known.get((host, port))
        if before is not None and before.addresses[0] != address and address in before.addresses:
            known[host, port] = before._replace(addresses=_with_first(address, before.addresses))

    def _looked_up(self, host: str, port: int, seconds: float) -> tuple[Address, ...]:
        found = partial(self._found, host, port)
        if host.replace(".", "").isdigit() or ":" in host:
            return found(_look(host, port))  # an address: nobody is asked
        state = self._state()
        with state.lock:
            lookup = state.running.get((host, port))
            if lookup is None or not lookup.is_alive():
                lookup = state.running[host, port] = _Lookup(host, port, found)
                try:
                    lookup.start()
                except RuntimeError:  # the process is ending
                    lookup = None
        if lookup is None:
            return found(_look(host, port))
        lookup.join(seconds)
        if lookup.is_alive():
            raise StoreTimeout(f"the address of {host} was not found in time")
        if lookup.error is not None:
            raise lookup.error
        return lookup.addresses

    def _found(self, host: str, port: int, addresses: tuple[Address, ...]) -> tuple[Address, ...]:
        """Remember addresses; return them with the one that worked last before the others."""
        known = self._state().known
        before = known.get((host, port))
        if before is not None and before.addresses[0] in addresses:
            addresses = _with_first(before.addresses[0], addresses)
        if addresses:
            known[host, port] = _Known(addresses, monotonic() + _FRESH_SECONDS)
        return addresses


def _with_first(first: Address, addresses: tuple[Address, ...]) -> tuple[Address, ...]:
    return (first, *(address for address in addresses if address != first))


def _look(host: str, port: int) -> tuple[Address, ...]:
    rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys((family, address) for family, _, _, _, address in rows))


RESOLVER: Final = Resolver()
