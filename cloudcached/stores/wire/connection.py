"""One connection: opened, written to and read from, each within a deadline.

Every failure of the network is raised as a ``StoreError``. Everything else, such as what a signal handler raises,
passes through, and whoever holds the connection then has to close it.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
import threading
from collections.abc import Callable
from threading import get_ident, main_thread
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..._types import Bytes
from ...errors import CloudCachedError, ConfigError, StoreError, StoreTimeout, StoreUnreachable
from ...runtime.budget import allowance
from ...runtime.forks import PerProcess
from .answer import head_end, parse_head
from .clock import monotonic
from .resolver import RESOLVER
from .signals import is_ours

if TYPE_CHECKING:
    import ssl

#: Bytes that are read at once: most answers are complete in one.
READ_BYTES: Final = 1 << 16
#: By how much a step may take longer than its deadline: the kernel's own timeouts are only set anew beyond that.
_SLACK: Final = 1.05
#: Seconds that one address may take to accept a connection.
_CONNECT_SECONDS: Final = 2.0
#: What sockets that do not wait raise, besides ``BlockingIOError``; by name, since plain http imports no TLS.
_WANTS_READ: Final = "SSLWantReadError"
_WANTS: Final = (_WANTS_READ, "SSLWantWriteError")
#: Windows has no poll, and eventlet takes it away.
_HAS_POLL: Final = hasattr(select, "poll")


class NotSent(StoreUnreachable):
    """Nothing was sent: there was no connection."""


class Endpoint(NamedTuple):
    """Where connections lead, and how they are secured: those of one endpoint can serve each other's requests."""

    is_tls: bool
    host: str
    port: int
    #: A file of certificates to trust; "" over plain http.
    ca_bundle: str = ""
    client_cert: tuple[str, str | None] | None = None
    verifies: bool = True
    #: The host and port of a proxy that is asked to CONNECT.
    proxy: tuple[str, int] | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.is_tls else 'http'}://{host}:{self.port}"


class Deadline:
    """When an exchange must be over, and how long each step of it may take.

    size: bytes of a body, which may take time of its own as long as it flows.
    """

    __slots__ = ("_end", "_patience")

    def __init__(self, seconds: float, size: int = 0) -> None:
        self._patience = seconds
        self._end = monotonic() + seconds + allowance(size)

    def extend(self, size: int) -> None:
        """Add the time that a body of *size* bytes may take."""
        self._end += allowance(size)

    @property
    def remaining(self) -> float:
        """The seconds that are left; none, or less, when it is over."""
        return self._end - monotonic()

    def left(self) -> float:
        """Return the seconds that the next step may take. Raises ``StoreTimeout`` when there are none."""
        left = self._end - monotonic()
        if left <= 0:
            raise StoreTimeout("the answer was not complete in time")
        patience = self._patience
        return patience if patience < left else left  # noqa: FURB136 - min() is a call, and this is asked for each step


class Connection:
    """A connection to an endpoint. One thread uses it at a time. One that is forgotten closes itself."""

    __slots__ = ("_kernel", "_limits", "_main", "_poll", "endpoint", "made", "pid", "reused", "sock", "used")

    def __init__(self, endpoint: Endpoint, sock: Any) -> None:
        self.sock = sock
        self.endpoint = endpoint
        self.pid = os.getpid()
        #: When it was opened, and when it was last given back, by the monotonic clock.
        self.made = self.used = monotonic()
        #: Whether it has served a request already.
        self.reused = False
        # Blocking sockets with the kernel's timeouts let go of Python's lock once a call, those with Python's own
        # three times: with 8 threads that is 20,100 requests a second against 11,700. TLS waits again by itself when
        # the kernel's time is over, and gevent's sockets are not the kernel's.
        self._kernel = _HAS_POLL and not endpoint.is_tls and type(sock).__module__ == "socket"
        #: The thread that gets the signals.
        self._main = main_thread().ident
        self._limits = [0.0, 0.0]
        self._poll: Any = None

    def __del__(self) -> None:
        if not sys.is_finalizing():  # gevent's modules are gone by then
            self.sock.close()

    def send(self, data: Bytes, deadline: Deadline, heard: Callable[[bytes], bool]) -> bool:
        """Send bytes that the kernel takes as a whole, as a rule; returns and raises what ``send_piece`` does."""
        limit = deadline.left()
        try:
            self._limit(1, limit)
            sent = self.sock.send(data)
        except OSError as error:
            return self._is_over(error)
        return sent == len(data) or self.send_piece(memoryview(data).cast("B")[sent:], deadline, heard)

    def send_piece(self, piece: memoryview, deadline: Deadline, heard: Callable[[bytes], bool]) -> bool:
        """Send a piece of a body; return whether the server goes on to read.

        It does not when it has closed the connection, or when *heard*, which is given what it says meanwhile, returns
        ``True``: a server that has refused a body need not read the rest of it.
        """
        reads = self._readable(0.0)
        while True:
            if reads:
                data = self._pending()
                if data is not None and (not data or heard(data)):
                    return False
            if not piece:
                return True
            writes = True
            try:
                self.sock.settimeout(0)
                # Over TLS a piece that could not be sent as a whole must be sent again exactly, as it is.
                piece = piece[self.sock.send(piece) :]
            except OSError as error:
                writes = type(error).__name__ != _WANTS_READ
                if not _would_wait(error):
                    return self._is_over(error)
            if not piece:
                return True
            reads = self._ready(deadline.left(), writes=writes)

    def recv(self, deadline: Deadline) -> bytes:
        """Return the next bytes; none at the end."""
        limit = deadline.left()
        try:
            self._limit(0, limit)
            data: bytes = self.sock.recv(READ_BYTES)
        except OSError as error:
            if not is_ours(error):
                raise
            raise self._failure(error) from error
        return data

    def recv_into(self, view: memoryview, deadline: Deadline) -> int:
        """Fill *view* as far as bytes have come, and return how far; 0 at the end."""
        limit = deadline.left()
        try:
            self._limit(0, limit)
            return int(self.sock.recv_into(view))
        except OSError as error:
            if not is_ours(error):
                raise
            raise self._failure(error) from error

    def listen(self, seconds: float) -> bytes | None:
        """Return what comes within so many seconds: no bytes if the server closes the connection, ``None`` for nothing.

        A fresh TLS 1.3 connection is readable before anything was asked: session tickets, which give no bytes.
        """
        end = monotonic() + seconds
        while (left := end - monotonic()) > 0 and self._readable(left):
            data = self._pending()
            if data is not None:
                return data
        return None

    def is_stale(self) -> bool:
        """Return whether the server has closed it, or has sent what nobody asked for."""
        # What TLS has decrypted already, behind a body that was read to its exact end, is nothing that poll sees.
        return (self.endpoint.is_tls and self.sock.pending() > 0) or (
            self._readable(0.0) and self._pending() is not None
        )

    def close(self) -> None:
        """Close it, without a word to the other side: a parent's TLS connection goes on when its child does this."""
        self.sock.close()

    def _pending(self) -> bytes | None:
        """Return what has come already: no bytes if the server has closed the connection, ``None`` for nothing."""
        try:
            self.sock.settimeout(0)
            data: bytes = self.sock.recv(READ_BYTES)
        except OSError as error:
            if _would_wait(error):
                return None
            if not is_ours(error):
                raise
            return b""
        return data

    def _readable(self, seconds: float) -> bool:
        if not _HAS_POLL:
            return bool(select.select([self.sock], [], [], seconds)[0])
        poll = self._poll
        if poll is None:  # made once: each costs as much as what it asks
            poll = self._poll = select.poll()
            poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def _ready(self, seconds: float, *, writes: bool) -> bool:
        """Wait until the socket can be read, or written if *writes*; return whether it can be read.

        Raises ``StoreTimeout`` if neither happens within so many seconds.
        """
        if _HAS_POLL:
            poll = select.poll()
            poll.register(self.sock, select.POLLIN | (select.POLLOUT if writes else 0))
            events = [event & ~select.POLLOUT for _, event in poll.poll(seconds * 1000)]
        else:
            readable, writable, _ = select.select([self.sock], [self.sock] if writes else [], [], seconds)
            events = [len(readable)] if readable or writable else []
        if not events:
            raise StoreTimeout("the request could not be sent in time")
        return bool(events[0])

    def _limit(self, direction: int, seconds: float) -> None:
        """Let the next read (0) or write (1) take *seconds*."""
        current = self.sock.gettimeout()
        # The kernel's time begins anew after each signal, and Python's does not. Signals are the main thread's business.
        if not self._kernel or get_ident() == self._main:
            if not current or not seconds <= current <= seconds * _SLACK:
                self.sock.settimeout(seconds)
            return
        if current is not None:
            self.sock.settimeout(None)
        limit = self._limits[direction]
        if not seconds <= limit <= seconds * _SLACK:
            self._limits[direction] = seconds
            whole = int(seconds)
            value = struct.pack("ll", whole, int((seconds - whole) * 1e6) or (not whole))
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO if direction else socket.SO_RCVTIMEO, value)

    def _is_over(self, error: OSError) -> bool:
        """Return ``False`` for a failure to send: the server may have answered before it closed the connection.

        Raises ``StoreTimeout`` if it did not read in time, and *error* if it is not the socket's.
        """
        if not is_ours(error):
            raise error
        if _is_late(error):
            raise StoreTimeout("the request could not be sent in time") from error
        return False

    def _failure(self, error: OSError) -> StoreError:
        if _is_late(error):
            return StoreTimeout("no answer in time")
        return StoreUnreachable(f"the connection to {self.endpoint} broke: {error}")


def _is_late(error: OSError) -> bool:
    return isinstance(error, (TimeoutError, BlockingIOError))


def _would_wait(error: OSError) -> bool:
    return isinstance(error, BlockingIOError) or type(error).__name__ in _WANTS


def connect(endpoint: Endpoint, deadline: Deadline) -> Connection:
    """Open a connection. Raises ``NotSent``, or ``StoreTimeout`` if no address has answered in time."""
    host, port = endpoint.proxy or (endpoint.host, endpoint.port)
    try:
        addresses = RESOLVER.addresses(host, port, deadline.left())
    except StoreUnreachable as error:
        raise NotSent(str(error)) from error
    failure: StoreError = NotSent(f"{host} has no address")
    for number, (family, address) in enumerate(addresses):
        left = deadline.left()
        patience = min(_CONNECT_SECONDS, left / 2 if number + 1 < len(addresses) else left)
        try:
            sock = _opened(family, address, patience)
        except OSError as error:
            if not is_ours(error):
                raise
            late = isinstance(error, TimeoutError)
            failure = (StoreTimeout if late else NotSent)(f"no connection to {host}:{port}: {error}")
            continue
        RESOLVER.worked(host, port, (family, address))
        try:
            if endpoint.proxy is not None:
                _tunnel(sock, endpoint, deadline)
            return Connection(endpoint, _secured(sock, endpoint, deadline) if endpoint.is_tls else sock)
        except BaseException as error:
            sock.close()
            if isinstance(error, CloudCachedError) or not isinstance(error, (OSError, UnicodeError)):
                raise
            if isinstance(error, OSError) and not is_ours(error):
                raise
            if isinstance(error, TimeoutError):
                raise StoreTimeout(f"no TLS connection to {endpoint} in time") from error
            raise NotSent(f"no TLS connection to {endpoint}: {_explained(error)}") from error
    raise failure


def _opened(family: int, address: Any, seconds: float) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(seconds)
        sock.connect(address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def _tunnel(sock: socket.socket, endpoint: Endpoint, deadline: Deadline) -> None:
    """Ask a proxy for a connection to the endpoint."""
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    sock.settimeout(deadline.left())
    sock.sendall(f"CONNECT {host}:{endpoint.port} HTTP/1.1\r\nhost: {host}:{endpoint.port}\r\n\r\n".encode())
    data = b""
    while not (end := head_end(data)):
        sock.settimeout(deadline.left())
        more = sock.recv(READ_BYTES)
        if not more:
            raise NotSent("the proxy closed the connection")
        data += more
    head = parse_head(data, end, "HEAD")
    if not 200 <= head.status < 300 or data[end:]:  # noqa: PLR2004
        raise NotSent(f"the proxy answered {head.status} when it was asked for {endpoint}")


def _explained(error: Exception) -> str:
    text = str(getattr(error, "verify_message", "") or error)
    hint = (
        "; AWS_CA_BUNDLE names the certificates to trust" if "ertificate" in text or "CERTIFICATE" in str(error) else ""
    )
    return f"{text}{hint}"


class _Contexts:
    """The TLS contexts of one process, and the last session of each endpoint: a resumed one costs three quarters."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.by_trust: dict[Any, ssl.SSLContext] = {}
        self.sessions: dict[Endpoint, Any] = {}


#: Made at the first connection over TLS, never at import: gevent patches TLS afterwards, and it takes 20 ms.
_contexts: Final = PerProcess(_Contexts)


def _secured(sock: socket.socket, endpoint: Endpoint, deadline: Deadline) -> ssl.SSLSocket:
    contexts = _contexts()
    trust = (endpoint.ca_bundle, endpoint.client_cert, endpoint.verifies)
    context = contexts.by_trust.get(trust)
    if context is None:
        with contexts.lock:
            context = contexts.by_trust.get(trust) or contexts.by_trust.setdefault(trust, _context(endpoint))
    sock.settimeout(deadline.left())
    return context.wrap_socket(sock, server_hostname=endpoint.host, session=contexts.sessions.get(endpoint))


def keep_session(connection: Connection) -> None:
    """Remember the TLS session of a connection that has answered, so that the next one need not begin at zero."""
    _contexts().sessions[connection.endpoint] = connection.sock.session


def _context(endpoint: Endpoint) -> ssl.SSLContext:
    """Return a context built as botocore builds its own: Python 3.13's default is stricter about old certificates."""
    import ssl  # noqa: PLC0415 - 14 ms that plain http need not spend

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION
    if not endpoint.verifies:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif endpoint.ca_bundle:
        try:
            if os.path.isdir(endpoint.ca_bundle):  # noqa: PTH112 - pathlib takes its time to import
                context.load_verify_locations(capath=endpoint.ca_bundle)
            else:
                context.load_verify_locations(cafile=endpoint.ca_bundle)
        except OSError as error:
            if not is_ours(error):
                raise
            raise ConfigError(f"no certificates to trust in {endpoint.ca_bundle}: {error}") from error
    if endpoint.client_cert is not None:
        try:
            context.load_cert_chain(*endpoint.client_cert)
        except OSError as error:
            if not is_ours(error):
                raise
            raise ConfigError(f"no client certificate in {endpoint.client_cert[0]}: {error}") from error
    log = os.environ.get("SSLKEYLOGFILE")
    if log:
        context.keylog_filename = log
    return context
