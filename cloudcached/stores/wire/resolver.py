"""Addresses of hosts, found within a deadline.

``getaddrinfo`` knows no timeout, so it runs in a thread of its own where one can be started. Addresses are fresh for 30
seconds; older ones are used while the resolver is late, or fails.
"""

from __future__ import annotations

import socket
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from typing import Any, Final, NamedTuple

from ...errors import StoreTimeout, StoreUnreachable
from ...runtime.forks import PerProcess
from .clock import monotonic

Address = tuple[int, Any]

_FRESH_SECONDS: Final = 30.0


class _Known(NamedTuple):
    addresses: tuple[Address, ...]
    #: By the monotonic clock.
    until: float


class Resolver:
    """Looks addresses up and remembers them. Thread-safe; a child begins with nothing."""

    def __init__(self) -> None:
        self._known: PerProcess[dict[tuple[str, int], _Known]] = PerProcess(dict)

    def addresses(self, host: str, port: int, seconds: float) -> tuple[Address, ...]:
        """Return the addresses of a host, the one that worked last first.

        Raises ``StoreUnreachable`` for a host without any, ``StoreTimeout`` if it takes longer than *seconds*.
        """
        known = self._known().get((host, port))
        if known is not None and monotonic() < known.until:
            return known.addresses
        try:
            found = self._looked_up(host, port, seconds)
        except (OSError, StoreTimeout) as error:
            if known is not None:
                return known.addresses
            if isinstance(error, StoreTimeout):
                raise
            raise StoreUnreachable(f"the host {host!r} is not known: {error}; check the endpoint") from error
        if known is not None and known.addresses[0] in found:
            found = (known.addresses[0], *(address for address in found if address != known.addresses[0]))
        self._known()[host, port] = _Known(found, monotonic() + _FRESH_SECONDS)
        return found

    def worked(self, host: str, port: int, address: Address) -> None:
        """Put an address that accepted a connection before the others."""
        known = self._known().get((host, port))
        if known is not None and known.addresses[0] != address and address in known.addresses:
            others = (other for other in known.addresses if other != address)
            self._known()[host, port] = known._replace(addresses=(address, *others))

    def _looked_up(self, host: str, port: int, seconds: float) -> tuple[Address, ...]:
        answer: Future[tuple[Address, ...]] = Future()

        def look() -> None:
            try:
                answer.set_result(_look(host, port))
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                answer.set_exception(error)

        if host.replace(".", "").isdigit() or ":" in host:
            return _look(host, port)  # an address: nobody is asked
        try:
            threading.Thread(target=look, name="cloudcached-dns", daemon=True).start()
        except RuntimeError:  # the process is ending
            return _look(host, port)
        try:
            return answer.result(seconds)
        except Late:
            raise StoreTimeout(f"the address of {host} was not found in time") from None


def _look(host: str, port: int) -> tuple[Address, ...]:
    rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys((family, address) for family, _, _, _, address in rows))


RESOLVER: Final = Resolver()
