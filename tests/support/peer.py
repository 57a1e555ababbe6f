"""A server on loopback of which each connection is played by a function: for what no S3 server does.

    def play(peer):
        request = peer.request()
        peer.send(b"HTTP/1.1 200 OK\\r\\n...")

    with Stage(play) as stage:
        ...  # at stage.endpoint

A connection is closed when its function returns, and stays open while that waits for ``peer.stage.over``.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

ETAG = "0123456789abcdef0123456789abcdef"
DATE = "Sun, 22 Nov 2026 20:00:00 GMT"


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    #: Path and query.
    target: str
    #: Names in lower case.
    headers: dict[str, str]
    body: bytes = b""


class Peer:
    """The server's end of one connection."""

    def __init__(self, stage: Stage, sock: socket.socket, number: int) -> None:
        self.stage = stage
        self.sock = sock
        #: The first one is 1.
        self.number = number
        self._file = sock.makefile("rb")

    def head(self) -> Asked | None:
        """Read the head of a request; ``None`` if the client has gone."""
        words = self._file.readline().decode("latin-1").split()
        if len(words) != 3:
            return None
        headers: dict[str, str] = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        asked = Asked(words[0], words[1], headers)
        self.stage.asked.append(asked)
        return asked

    def body(self, asked: Asked) -> bytes:
        """Read the body of a request."""
        return self._file.read(int(asked.headers.get("content-length", 0)))

    def request(self) -> Asked | None:
        """Read a whole request; ``None`` if the client has gone."""
        asked = self.head()
        if asked is None:
            return None
        if asked.headers.get("expect"):
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return Asked(asked.method, asked.target, asked.headers, self.body(asked))

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.sock.sendall(data)

    def reset(self) -> None:
        """Let the connection end by RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def close(self) -> None:
        """End the connection."""
        self._file.close()
        self.sock.close()


Play = Callable[[Peer], None]


class Stage:
    """The server; ``with`` starts and ends it."""

    def __init__(self, play: Play, context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.play = play
        self.asked: list[Asked] = []
        #: How many connections there have been.
        self.connections = 0
        #: Set at the end: what waits, waits for this.
        self.over = threading.Event()
        self._context = context
        self._host = host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=128)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)  # so that who does not read is felt
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    @property
    def port(self) -> int:
        """The port."""
        return int(self._listener.getsockname()[1])

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'http' if self._context is None else 'https'}://{host}:{self.port}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for each in [self._listener, *self._sockets]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                self._sockets.append(sock)
                self._start(self._serve, sock, self.connections)

    def _serve(self, sock: socket.socket, number: int) -> None:
        with suppress(OSError, ValueError):  # ValueError: a file that was closed meanwhile
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
                self._sockets.append(sock)
            peer = Peer(self, sock, number)
            try:
                self.play(peer)
            finally:
                peer.close()
        sock.close()


def headed(status: int, headers: dict[str, str], body: bytes = b"", *, version: str = "1.1") -> bytes:
    """Return an answer with these headers alone."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/{version} {status} Some Reason\r\n{lines}\r\n".encode("latin-1") + body


def answered(asked: Asked, body: bytes = b"", status: int = 200, **more: str) -> bytes:
    """Return a proper answer; names of headers are written with underscores."""
    headers = {"ETag": f'"{ETAG}"', "Last-Modified": DATE, "Date": DATE, "Content-Length": str(len(body))}
    headers.update({name.replace("_", "-"): value for name, value in more.items()})
    return headed(status, headers, b"" if asked.method == "HEAD" else body)


def refused(asked: Asked, status: int, code: str) -> bytes:
    """Return an error as S3 answers it."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    return headed(status, {"Date": DATE, "Content-Length": str(len(body))}, b"" if asked.method == "HEAD" else body)


def echo(peer: Peer) -> None:
    """Answer each request with its own name, on one connection."""
    while asked := peer.request():
        peer.send(answered(asked, b"" if asked.method == "PUT" else asked.target.encode()))
