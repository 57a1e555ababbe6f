"""One connection: opened, written to and read from, each within a deadline.

Every failure of the network is raised as a ``StoreError``. Everything else, such as what a signal handler raises,
passes through, and whoever holds the connection then has to close it.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..._types import Bytes
from ...errors import StoreError, StoreTimeout, StoreUnreachable
from ...runtime.forks import PerProcess
from ..port import Closed
from .answer import head_end, parse_head, without_interim
from .clock import monotonic
from .resolver import RESOLVER

if TYPE_CHECKING:
    import ssl

#: Bytes that are read at once: most answers are complete in one.
READ_BYTES: Final = 1 << 16
#: A body is sent in pieces of this size, so that an answer that comes meanwhile ends the sending. Over TLS a piece
#: that could only be sent in part must be sent again exactly, so pieces are small there.
_PIECE_BYTES: Final = 1 << 18
_TLS_PIECE_BYTES: Final = 1 << 16
#: By how much a step may take longer than its deadline: the kernel's own timeouts are only set anew beyond that.
_SLACK: Final = 1.05
#: Seconds that one address may take to accept a connection.
_CONNECT_SECONDS: Final = 2.0
_SSL_WANTS: Final = ("SSLWantReadError", "SSLWantWriteError")


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
        return f"{'https' if self.is_tls else 'http'}://{self.host}:{self.port}"


class Deadline:
    """When an exchange must be over."""

    __slots__ = ("end",)

    def __init__(self, seconds: float) -> None:
        self.end = monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left. Raises ``StoreTimeout`` when there are none."""
        left = self.end - monotonic()
        if left <= 0:
            raise StoreTimeout("the answer was not complete in time")
        return left


class Connection:
    """A connection to an endpoint. One thread uses it at a time."""

    __slots__ = ("_kernel", "_limits", "_poll", "endpoint", "made", "pid", "reused", "sock", "used")

    def __init__(self, endpoint: Endpoint, sock: Any) -> None:
        self.endpoint = endpoint
        self.sock = sock
        self.pid = os.getpid()
        #: When it was opened, and when it was last given back, by the monotonic clock.
        self.made = self.used = monotonic()
        #: Whether it has served a request already.
        self.reused = False
        # Blocking sockets with the kernel's timeouts let go of Python's lock once a call, those with Python's own
        # three times: with 8 threads that is 20,100 requests a second against 11,700. TLS waits again by itself when
        # the kernel's time is over, and gevent's sockets are not the kernel's.
        self._kernel = not endpoint.is_tls and type(sock).__module__ == "socket"
        self._limits = [0.0, 0.0]
        if self._kernel:
            sock.settimeout(None)
        self._poll: Any = None

    def send(self, head: bytes, body: Bytes | None, more: Callable[[], Bytes], deadline: Deadline) -> bytes:
        """Send a request; return what came back before it was sent as a whole, which ends the sending.

        body: all of it, or ``None`` for what *more* returns, piece by piece, until it returns nothing.
        """
        piece_bytes = _TLS_PIECE_BYTES if self.endpoint.is_tls else _PIECE_BYTES
        try:
            if body is not None and len(head) + len(body) <= piece_bytes:
                self._limit(1, deadline.left())
                self.sock.sendall(b"".join((head, body)) if body else head)
                return b""
            self._limit(1, deadline.left())
            self.sock.sendall(head)
            view, at = memoryview(body or b"").cast("B"), 0
            while True:
                piece = view[at : at + piece_bytes] if body is not None else memoryview(more()).cast("B")
                if not piece:
                    return b""
                early = self._send_piece(piece, deadline)
                if early:
                    return early
                at += len(piece)
        except OSError as error:
            if not is_ours(error):
                raise
            if isinstance(error, (ConnectionResetError, BrokenPipeError)):
                return b""  # the server may have answered before it closed
            raise self._failure(error) from error

    def _send_piece(self, piece: memoryview, deadline: Deadline) -> bytes:
        """Send one piece; return what came back meanwhile instead, if anything did."""
        while piece:
            if self._readable(0.0) and (early := without_interim(self._pending())):
                return early
            self._limit(1, deadline.left())
            try:
                sent = self.sock.send(piece)
            except BlockingIOError:  # the kernel's time is over: nothing was taken
                deadline.left()
                if self._readable(0.0):
                    continue
                raise StoreTimeout("the request could not be sent in time") from None
            piece = piece[sent:]
        return b""

    def recv(self, deadline: Deadline) -> bytes:
        """Return the next bytes; none at the end."""
        self._limit(0, deadline.left())
        try:
            data: bytes = self.sock.recv(READ_BYTES)
        except OSError as error:
            if not is_ours(error):
                raise
            raise self._failure(error) from error
        return data

    def recv_into(self, view: memoryview, deadline: Deadline) -> int:
        """Fill *view* as far as bytes have come, and return how far; 0 at the end."""
        self._limit(0, deadline.left())
        try:
            return int(self.sock.recv_into(view))
        except OSError as error:
            if not is_ours(error):
                raise
            raise self._failure(error) from error

    def wait(self, seconds: float, deadline: Deadline) -> bytes:
        """Return what comes within so many seconds, if anything does."""
        return self.recv(deadline) if self._readable(seconds) else b""

    def is_stale(self) -> bool:
        """Return whether the server has closed it, or has sent what nobody asked for."""
        return self._readable(0.0) and self._pending(closed=b"closed") != b""

    def close(self) -> None:
        """Close it, without a word to the other side: a parent's TLS connection goes on when its child does this."""
        self.sock.close()

    def _pending(self, closed: bytes = b"") -> bytes:
        """Return what has come already; *closed* if the server has closed it.

        A fresh TLS 1.3 connection is readable before anything was asked: session tickets, which give no bytes.
        """
        try:
            self.sock.settimeout(0)
            try:
                data: bytes = self.sock.recv(READ_BYTES)
            finally:
                self.sock.settimeout(None if self._kernel else _CONNECT_SECONDS)
        except (BlockingIOError, InterruptedError):
            return b""
        except OSError as error:
            if type(error).__name__ in _SSL_WANTS:
                return b""
            if not is_ours(error):
                raise
            return closed
        return data or closed

    def _readable(self, seconds: float) -> bool:
        poll = self._poll
        if poll is None:  # made once: each costs as much as what it asks
            poll = self._poll = select.poll()
            poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def _limit(self, direction: int, seconds: float) -> None:
        """Let the next read (0) or write (1) take *seconds*."""
        if not self._kernel:
            self.sock.settimeout(seconds)
            return
        limit = self._limits[direction]
        if not seconds <= limit <= seconds * _SLACK:
            self._limits[direction] = seconds
            whole = int(seconds)
            value = struct.pack("ll", whole, int((seconds - whole) * 1e6) or (not whole))
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO if direction else socket.SO_RCVTIMEO, value)

    def _failure(self, error: OSError) -> StoreError:
        if isinstance(error, (TimeoutError, BlockingIOError)):
            return StoreTimeout("no answer in time")
        if self.reused and isinstance(error, ConnectionError):
            return Closed(f"the connection was closed: {error}")
        return StoreUnreachable(f"the connection to {self.endpoint} broke: {error}")


def is_ours(error: BaseException) -> bool:
    """Return whether a socket raised it; an exception of a signal handler has a frame of its own behind ours."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", ""))
    return module.partition(".")[0] in ("cloudcached", "socket", "ssl", "gevent", "eventlet", "select")


def connect(endpoint: Endpoint, deadline: Deadline) -> Connection:
    """Open a connection. Raises ``NotSent``, or ``StoreTimeout`` if no address has answered in time."""
    host, port = endpoint.proxy or (endpoint.host, endpoint.port)
    addresses = RESOLVER.addresses(host, port, deadline.left())
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
        except OSError as error:
            sock.close()
            if not is_ours(error):
                raise
            if isinstance(error, TimeoutError):
                raise StoreTimeout(f"no TLS connection to {endpoint} in time") from error
            raise NotSent(f"no TLS connection to {endpoint}: {_explained(error)}") from error
        except BaseException:
            sock.close()
            raise
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


def _explained(error: OSError) -> str:
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
        if os.path.isdir(endpoint.ca_bundle):  # noqa: PTH112 - pathlib takes its time to import
            context.load_verify_locations(capath=endpoint.ca_bundle)
        else:
            context.load_verify_locations(cafile=endpoint.ca_bundle)
    if endpoint.client_cert is not None:
        context.load_cert_chain(*endpoint.client_cert)
    log = os.environ.get("SSLKEYLOGFILE")
    if log:
        context.keylog_filename = log
    return context
