"""A proxy on loopback between a client and its S3 server, which does the server's bad days by script.

    with FaultProxy(server.endpoint) as proxy:
        client = Client(url, s3={**keys, "endpoint_url": proxy.endpoint})
        proxy.fault = answers(503, "SlowDown")
        proxy.fault = first(3, only("PUT", loses_answer))
        proxy.fault = None
        proxy.refuse()  # nobody listens
        proxy.listen()

A fault is a function of one ``Exchange``, which it may forward, answer itself, break off or sit out. Requests go on
byte by byte as they came: a signature covers the Host header too, and S3 servers take any in front of a path.
"""

from __future__ import annotations

import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from typing import NamedTuple
from urllib.parse import urlsplit

Fault = Callable[["Exchange"], None]

#: RST instead of FIN when the socket is closed.
_RESET = struct.pack("ii", 1, 0)
_END_OF_HEAD = b"\r\n\r\n"


class Request(NamedTuple):
    """One request as it came."""

    method: str
    #: Path and query.
    target: str
    head: bytes
    body: bytes


class Answer(NamedTuple):
    """One answer of the server as it came."""

    head: bytes
    body: bytes


class Exchange:
    """A request that waits for what its fault makes of it."""

    def __init__(self, proxy: FaultProxy, client: socket.socket, server: _Line, request: Request) -> None:
        self.proxy = proxy
        self.request = request
        #: Nothing more goes over this connection.
        self.over = False
        self._client = client
        self._server = server

    def ask(self) -> Answer:
        """Let the server do the request, and return its answer."""
        return self._server.ask(self.request)

    def forward(self) -> None:
        """Do what a proxy does."""
        answer = self.ask()
        self.send(answer.head + answer.body)

    def send(self, data: bytes) -> None:
        """Send bytes to the client."""
        self._client.sendall(data)

    def send_half(self) -> bool:
        """Pass on the head and half of the body; return whether there was one to cut."""
        answer = self.ask()
        self.send(answer.head + answer.body[: len(answer.body) // 2])
        return bool(answer.body)

    def close(self, *, reset: bool = False) -> None:
        """End the connection when the fault returns, in order or by RST."""
        self.over = True
        if reset:
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def wait(self, seconds: float) -> bool:
        """Wait, but not longer than the proxy is open; return whether it is."""
        return not self.proxy.closed.wait(seconds)

    def wait_for_end(self) -> None:
        """Wait until the client has gone away."""
        self.over = True
        while self._client.recv(1 << 16):
            pass


def loses_answer(exchange: Exchange) -> None:
    """Let the server do it, and reset the connection instead of passing its answer on."""
    exchange.ask()
    exchange.close(reset=True)


def never_answers(exchange: Exchange) -> None:
    """Let the client wait for what no server has seen."""
    exchange.wait_for_end()


def resets_in_body(exchange: Exchange) -> None:
    """Pass on the head and half of the body, then reset."""
    if exchange.send_half():
        exchange.wait(0.05)  # a reset overtakes what the client has not read yet
        exchange.close(reset=True)


def sends_half(exchange: Exchange) -> None:
    """Pass on the head and half of the body, then end the connection as if that were all."""
    if exchange.send_half():
        exchange.close()


def stalls_in_body(exchange: Exchange) -> None:
    """Pass on the head and half of the body, and nothing more."""
    if exchange.send_half():
        exchange.wait_for_end()


def trickles(exchange: Exchange) -> None:
    """Pass the answer's body on byte by byte, ten a second."""
    answer = exchange.ask()
    exchange.send(answer.head)
    for at in range(len(answer.body)):
        exchange.send(answer.body[at : at + 1])
        if not exchange.wait(0.1):
            return


def answers(status: int, code: str) -> Fault:
    """Answer by an error of S3 instead of asking the server."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>a bad day</Message></Error>".encode()

    def fault(exchange: Exchange) -> None:
        head = f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
        exchange.send(head.encode() + (b"" if exchange.request.method == "HEAD" else body))

    return fault


def delays(seconds: float, then: Fault = Exchange.forward) -> Fault:
    """Hold each request back before *then*."""

    def fault(exchange: Exchange) -> None:
        exchange.wait(seconds)
        then(exchange)

    return fault


def overtaken_by(rival: Callable[[], object], then: Fault = Exchange.forward) -> Fault:
    """Let somebody else do something, and *then* the request."""

    def fault(exchange: Exchange) -> None:
        rival()
        then(exchange)

    return fault


def one_by_one() -> Fault:
    """Forward one request at a time, so that each is over at the server before the next one gets there."""
    lock = threading.Lock()

    def fault(exchange: Exchange) -> None:
        with lock:
            answer = exchange.ask()
        exchange.send(answer.head + answer.body)

    return fault


def only(method: str, then: Fault, *, part: str = "") -> Fault:
    """Do *then* to requests of one method ("" for all) whose target has *part* in it; forward the rest."""

    def fault(exchange: Exchange) -> None:
        request = exchange.request
        hit = method in ("", request.method) and part in request.target
        (then if hit else Exchange.forward)(exchange)

    return fault


def first(count: int, then: Fault, after: Fault = Exchange.forward) -> Fault:
    """Do *then* to the first *count* requests, and *after* to the others."""
    lock = threading.Lock()
    left = count

    def fault(exchange: Exchange) -> None:
        nonlocal left
        with lock:
            left -= 1
            hit = left >= 0
        (then if hit else after)(exchange)

    return fault


def sometimes(share: float, then: Fault, *, seed: int) -> Fault:
    """Do *then* to this share of the requests, the same ones in each run with one *seed*."""
    lock = threading.Lock()
    dice = random.Random(seed)

    def fault(exchange: Exchange) -> None:
        with lock:
            hit = dice.random() < share
        (then if hit else Exchange.forward)(exchange)

    return fault


class FaultProxy:
    """A proxy in threads of this process; also a context manager that closes it."""

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self.upstream = (parts.hostname or "127.0.0.1", parts.port or 80)
        #: What happens to every request from now on; ``None`` forwards it.
        self.fault: Fault | None = None
        self.closed = threading.Event()
        self._lock = threading.Lock()
        self._seen: list[Request] = []
        self._lines: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        # Bound and never listening: it keeps the port while the proxy refuses.
        self._holder = _bound(0)
        self.port: int = self._holder.getsockname()[1]
        #: What clients take for the server.
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.listen()

    @property
    def seen(self) -> list[Request]:
        """All requests so far, without their bodies."""
        with self._lock:
            return list(self._seen)

    @property
    def counts(self) -> Counter[str]:
        """How many requests there were of each method."""
        return Counter(request.method for request in self.seen)

    def forget(self) -> None:
        """Begin to count anew."""
        with self._lock:
            self._seen.clear()

    def listen(self) -> None:
        """Take connections, again after ``refuse``."""
        if self._listener is None:
            self._listener = listener = _bound(self.port)
            listener.listen(128)
            threading.Thread(target=self._accept, args=[listener], daemon=True).start()

    def refuse(self) -> None:
        """Listen no longer, and break all connections off: new ones are refused by the kernel."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            listener.close()
        with self._lock:
            lines, self._lines = self._lines, set()
        for line in lines:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End everything."""
        self.closed.set()
        self.refuse()
        self._holder.close()

    def __enter__(self) -> FaultProxy:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                with self._lock:
                    self._lines.add(client)
                threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server = _Line(self.upstream)
        try:
            # A client or server that goes away ends the line; whoever waits at the other end sees it.
            with suppress(OSError), closing(client), closing(server), client.makefile("rb") as reader:
                while not self.closed.is_set():
                    request = _read_request(reader, client)
                    if request is None:
                        return
                    with self._lock:
                        self._seen.append(request._replace(body=b""))
                    exchange = Exchange(self, client, server, request)
                    (self.fault or Exchange.forward)(exchange)
                    if exchange.over:
                        return
        finally:
            with self._lock:
                self._lines.discard(client)


class _Line:
    """The connection to the server that belongs to one of a client."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._socket: socket.socket | None = None
        self._reader: socket.SocketIO | None = None

    def ask(self, request: Request) -> Answer:
        """Send *request* and return the whole answer; on a new connection where the server had closed the old one."""
        while True:
            fresh = self._socket is None
            if self._socket is None:
                self._socket = socket.create_connection(self._address)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._reader = self._socket.makefile("rb")
            try:
                self._socket.sendall(request.head + request.body)
                answer, keep = _read_answer(self._reader, request.method)
            except OSError:
                self.close()
                if fresh:
                    raise
                continue  # nothing of an answer had come
            if not keep:
                self.close()
            return answer

    def close(self) -> None:
        """End the connection."""
        if self._socket is not None:
            self._reader.close()
            self._socket.close()
            self._socket = None


def _bound(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("127.0.0.1", port))
    return made


def _read_head(reader: socket.SocketIO) -> tuple[bytes, dict[str, str]]:
    """Return a head as it came, and its headers by their names in lower case; nothing at the end of a connection."""
    lines = []
    while (line := reader.readline()) not in (b"\r\n", b""):
        lines.append(line)
    if not line:
        if lines:
            raise ConnectionError("the connection ended in a head")
        return b"", {}
    pairs = (line.decode("latin-1").partition(":") for line in lines[1:])
    return b"".join((*lines, b"\r\n")), {name.lower(): value.strip() for name, _, value in pairs}


def _read_exactly(reader: socket.SocketIO, size: int) -> bytes:
    data = reader.read(size)
    if len(data) < size:
        raise ConnectionError("the connection ended in a body")
    return data


def _read_request(reader: socket.SocketIO, client: socket.socket) -> Request | None:
    head, headers = _read_head(reader)
    if not head:
        return None
    if headers.get("expect", "").lower() == "100-continue":
        client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        head = b"".join(line for line in head.splitlines(keepends=True) if not line.lower().startswith(b"expect:"))
    body = _read_exactly(reader, int(headers.get("content-length", 0)))
    method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
    return Request(method, target, head, body)


def _read_answer(reader: socket.SocketIO, method: str) -> tuple[Answer, bool]:
    """Return an answer, and whether the connection may be used again."""
    head, headers = _read_head(reader)
    if not head:
        raise ConnectionError("the connection ended before the answer")
    status = int(head.split(b" ", 2)[1])
    keep = headers.get("connection", "").lower() != "close" and head.startswith(b"HTTP/1.1")
    if method == "HEAD" or status in (204, 304):
        return Answer(head, b""), keep
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return Answer(head, _read_chunks(reader)), keep
    if "content-length" not in headers:
        return Answer(head, reader.read()), False
    return Answer(head, _read_exactly(reader, int(headers["content-length"]))), keep


def _read_chunks(reader: socket.SocketIO) -> bytes:
    """Return a chunked body as it came, the sizes of its chunks included."""
    parts = []
    while True:
        line = reader.readline()
        size = int(line.split(b";")[0], 16)
        parts += [line, _read_exactly(reader, size + 2)]
        if not size:
            return b"".join(parts)
