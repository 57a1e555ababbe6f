"""An HTTP server on loopback that answers as it is told: with errors, in pieces, too late or not at all.

``server.step`` is what it does with each request until told otherwise; a step is given the request and the socket.
Every connection is closed after one exchange, so that none of a step's effects is met by the next test.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from typing_extensions import Self

REASONS = {200: "OK", 204: "No Content", 206: "Partial Content"}
HEADERS = {"ETag": '"0123456789abcdef0123456789abcdef"', "Last-Modified": "Sun, 22 Nov 2026 20:00:00 GMT"}


@dataclass(frozen=True)
class Request:
    """What was asked."""

    method: str
    path: str
    #: Names in lower case.
    headers: dict[str, str]
    body: bytes


Step = Callable[[Request, socket.socket], None]


class ScriptedServer:
    """The server; ``with`` starts and ends it."""

    def __init__(self) -> None:
        self.step: Step = answer(200, b"hello")
        self.requests: list[Request] = []
        #: Seconds that each MB of a body takes to be read.
        self.pace = 0.0
        #: Set at the end: a step that waits, waits for this.
        self.over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)  # so that a slow reader is felt
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def asked(self) -> list[str]:
        """Return the methods of all requests so far."""
        return [request.method for request in self.requests]

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for each in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(5)

    def _start(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.over.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            request = read_request(connection, self.pace)
            if request is not None:
                self.requests.append(request)
                self.step(request, connection)


def read_request(connection: socket.socket, pace: float = 0.0) -> Request | None:
    """Read one request; ``None`` if the client hangs up or speaks something else."""
    if not isinstance(connection, ssl.SSLSocket) and connection.recv(1, socket.MSG_PEEK) in (b"", b"\x16"):
        return None  # 0x16: TLS
    with connection.makefile("rb") as file:
        words = file.readline().decode("latin-1").split()
        if len(words) != 3:
            return None
        headers: dict[str, str] = {}
        while line := file.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        if headers.get("expect") == "100-continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = bytearray()
        while missing := int(headers.get("content-length", 0)) - len(body):
            body += file.read(min(missing, 1 << 20))
            time.sleep(pace)
        return Request(words[0], words[1], headers, bytes(body))


def head(status: int, length: int | None, headers: dict[str, str] | None = None) -> bytes:
    """Return the first lines of an answer."""
    lines = {**HEADERS, "Connection": "close", **(headers or {})}
    if length is not None:
        lines["Content-Length"] = str(length)
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} {REASONS.get(status, 'Some Reason')}\r\n{text}\r\n".encode("latin-1")


def answer(status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> Step:
    """Answer properly."""

    def step(request: Request, connection: socket.socket) -> None:
        connection.sendall(head(status, len(body), headers) + (b"" if request.method == "HEAD" else body))

    return step


def error(status: int, code: str, message: str = "") -> Step:
    """Answer with an error, as S3 does."""
    xml = (
        f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>'
    )
    return answer(status, xml.encode() if code else b"", {"Content-Type": "application/xml"})


def reset(request: Request, connection: socket.socket) -> None:
    """Send RST instead of an answer."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def hang_up(request: Request, connection: socket.socket) -> None:
    """Close the connection without an answer."""


def nonsense(request: Request, connection: socket.socket) -> None:
    """Speak something else."""
    connection.sendall(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")


def half(size: int = 100, then: Step = hang_up) -> Step:
    """Break off in the middle of a body."""

    def step(request: Request, connection: socket.socket) -> None:
        connection.sendall(head(200, size) + b"x" * (size // 2))
        then(request, connection)

    return step


def silence(server: ScriptedServer) -> Step:
    """Take the request and never answer."""

    def step(request: Request, connection: socket.socket) -> None:
        server.over.wait()

    return step


def trickle(server: ScriptedServer, status: int = 200, *, size: int = 1000, every: float = 0.05) -> Step:
    """Answer with a body of which one byte comes at a time."""

    def step(request: Request, connection: socket.socket) -> None:
        connection.sendall(head(status, size))
        while not server.over.wait(every):
            connection.sendall(b"x")

    return step


def stall(server: ScriptedServer, size: int = 100) -> Step:
    """Begin a body and send no more of it."""

    def step(request: Request, connection: socket.socket) -> None:
        connection.sendall(head(200, size) + b"x" * (size // 2))
        server.over.wait()

    return step


def in_turn(*steps: Step) -> Step:
    """Do one step after the other; the last one again and again."""
    left = list(steps)

    def step(request: Request, connection: socket.socket) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(request, connection)

    return step


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    """Yield an endpoint on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"
