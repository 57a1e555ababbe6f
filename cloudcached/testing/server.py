"""A local S3 server for tests and for development: moto's, on a loopback port. Needs the extra ``testing``.

It is a mock: objects live in its memory and end with it, it does not check credentials, and of two conditional writes
that race both may win. ``running`` starts it in a process of its own, which ends when its standard input closes: a test
run that is killed leaves no server behind.
"""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ..errors import ConfigError

if TYPE_CHECKING:
    from werkzeug.serving import BaseWSGIServer

HOST: Final = "127.0.0.1"
#: The packages it imports.
_NEEDED: Final = ("moto", "flask", "flask_cors")
#: How many ports are tried if the first is in use.
_PORTS: Final = 100
#: Seconds within which it has to answer, and to end.
_END: Final = 10
_CREATED: Final = 200


@dataclass(frozen=True)
class LocalServer:
    """A running server."""

    endpoint: str

    @property
    def env(self) -> dict[str, str]:
        """The environment variables that lead a client to this server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "testsecret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def make_bucket(self, name: str) -> None:
        """Make a bucket, unless it exists already. Raises ``ConfigError`` for a name that the server refuses."""
        address = urlsplit(self.endpoint)
        connection = http.client.HTTPConnection(address.hostname or HOST, address.port, timeout=_END)
        try:
            connection.request("PUT", f"/{name}")
            status = connection.getresponse().status
        finally:
            connection.close()
        if status != _CREATED:
            raise ConfigError(f"the local S3 server refused to make a bucket {name!r}: HTTP {status}")


def check_installed() -> None:
    """Raise ``ConfigError`` if a package that the server needs is missing."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(f"the local S3 server needs {' and '.join(missing)}: pip install 'cloudcached[testing]'")


@contextmanager
def running() -> Iterator[LocalServer]:
    """Yield a server in a process of its own. Raises ``ConfigError`` without the extra."""
    check_installed()
    command = [sys.executable, "-W", "ignore", "-c", f"from {__name__} import main; main()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdin is not None  # noqa: S101 - PIPE, above
        assert process.stdout is not None  # noqa: S101
        try:
            endpoint = process.stdout.readline().strip()
            if not endpoint:
                raise RuntimeError("moto's server did not start")
            yield LocalServer(endpoint)
        finally:
            process.stdin.close()
            try:
                process.wait(_END)
            except subprocess.TimeoutExpired:
                process.kill()


def listen(port: int = 0) -> socket.socket:
    """Return a socket that listens on *port* of loopback, or on the next free port after it; 0 takes any free port.

    Raises ``ConfigError`` if none of the next 100 ports is free.
    """
    for candidate in range(port, min(port + _PORTS, 65536)):
        listener = socket.socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((HOST, candidate))
            listener.listen(128)
        except OSError:  # in use, or reserved
            listener.close()
        else:
            return listener
    raise ConfigError(f"none of the ports from {port} on is free; choose another one")


@contextmanager
def serving(listener: socket.socket) -> Iterator[LocalServer]:
    """Yield a server in threads of this process, on *listener*, which it closes. Raises ``ConfigError`` without the extra."""
    with listener:
        check_installed()
        server = _made(listener)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield LocalServer(f"http://{HOST}:{server.port}")
    finally:
        server.shutdown()
        thread.join()


def _made(listener: socket.socket) -> BaseWSGIServer:
    from moto.moto_server.werkzeug_app import (  # noqa: PLC0415 - takes a second
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server  # noqa: PLC0415

    class Quiet(MotoRequestHandler):
        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Log no requests."""

    app: Any = DomainDispatcherApplication(create_backend_app)
    return make_server(HOST, 0, app, threaded=True, request_handler=Quiet, fd=listener.fileno())


def main() -> None:
    """Print the endpoint once the server listens, and serve until standard input closes."""
    with serving(listen()) as server:
        sys.stdout.write(f"{server.endpoint}\n")
        sys.stdout.flush()
        sys.stdin.read()
