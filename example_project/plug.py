"""The plug of the demo's S3 server: a forwarder on loopback that can be pulled out while the sites are running.

While it is out, the kernel refuses new connections, and open ones have been cut, as if the server's machine were gone.
The sites do not know about it: they take its address for that of S3.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterable
from contextlib import closing, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from werkzeug.wrappers import Request, Response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

#: Only the demo's own pages can send it: browsers ask another origin's permission before they send such a header.
HEADER = "X-Plug"


class Plug:
    """Forwards connections to ``address`` while it is in."""

    def __init__(self, upstream: str) -> None:
        """Start with the plug in; *upstream* is the URL of the server."""
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname or "", parts.port or 80)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self._holder = _bound(0)  # never listens: it keeps the port while the plug is out
        self.address = "http://{}:{}".format(*self._holder.getsockname())
        self.put_in()

    @property
    def is_in(self) -> bool:
        """Whether the server can be reached."""
        return self._listener is not None

    def put_in(self) -> None:
        """Accept connections."""
        with self._lock:
            if self._listener is None:
                self._listener = listener = _bound(self._holder.getsockname()[1])
                listener.listen(128)
                threading.Thread(target=self._accept, args=[listener], daemon=True).start()

    def pull(self) -> None:
        """Refuse connections, and cut those that are open."""
        with self._lock:
            listener, self._listener = self._listener, None
            ends, self._open = self._open, set()
        if listener is not None:
            ends.add(listener)
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # wakes the threads that read or accept
        if listener is not None:
            listener.close()

    def close(self) -> None:
        """Pull it for good and release the port."""
        self.pull()
        self._holder.close()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # shut down by pull
            while True:
                client, _ = listener.accept()
                with self._lock:
                    self._open.add(client)
                    late = self._listener is not listener
                if late:
                    client.close()
                    return
                threading.Thread(target=self._forward, args=[client], daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        try:
            with closing(client), suppress(OSError), socket.create_connection(self._upstream) as server:
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                back = threading.Thread(target=_pump, args=[server, client], daemon=True)
                back.start()
                _pump(client, server)
                back.join()
        finally:
            with self._lock:
                self._open.discard(client)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Return the state as JSON; a POST pulls the plug or puts it in."""
        request = Request(environ)
        if request.method == "POST":
            if HEADER not in request.headers:
                return Response(status=HTTPStatus.FORBIDDEN)(environ, start_response)
            switch = {"in": self.put_in, "out": self.pull}.get(request.get_data(as_text=True))
            if switch is None:
                return Response(status=HTTPStatus.BAD_REQUEST)(environ, start_response)
            switch()
        state = {"address": self.address, "in": self.is_in}
        return Response(json.dumps(state), mimetype="application/json")(environ, start_response)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def _bound(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("127.0.0.1", port))
    return made
