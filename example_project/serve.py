"""Serve one part of the demonstration: ``python -m example_project.serve s3|plug|django|flask FD``.

FD is a listening socket that the parent has opened, so that it knows the address before this process is ready. This
process ends when its standard input closes, which happens when its parent ends, in any way. Requests to the S3 server
are written to standard output, one line each.
"""

# ruff: noqa: PLC0415 each process imports only its own server
from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from werkzeug.serving import BaseWSGIServer, ThreadedWSGIServer, WSGIRequestHandler, make_server

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class Quiet(WSGIRequestHandler):
    """A handler that logs no requests."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Do nothing."""


class Sharing(ThreadedWSGIServer):
    """Leave connections to the site's other workers: the more are under way here, the longer it waits."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._under_way: set[int] = set()

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection; if another worker is faster, wait for the next one."""
        time.sleep(min(0.05, 0.003 * len(self._under_way)))
        return super().get_request()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer in this thread."""
        self._under_way.add(threading.get_ident())
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._under_way.discard(threading.get_ident())


def s3() -> tuple[WSGIApplication, type[WSGIRequestHandler]]:
    """Return moto's S3, and a handler that logs the requests to it."""
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )

    class Counting(MotoRequestHandler):
        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:  # noqa: ARG002 the base's name
            # Before the response is sent: a caller that has the response finds its line.
            os.write(1, f"{self.command} {self.path} {code}\n".encode())

    moto = DomainDispatcherApplication(create_backend_app)
    writing = threading.Lock()

    def one_writer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # S3 lets one of two conditional puts win. moto checks and then writes, so it may let both.
        with writing if environ["REQUEST_METHOD"] == "PUT" else nullcontext():
            return moto(environ, start_response)

    return one_writer, Counting


def plug() -> tuple[WSGIApplication, type[WSGIRequestHandler]]:
    """Return the switch of a plug in front of the S3 server that the environment names."""
    from .plug import Plug

    return Plug(os.environ["S3_ADDRESS"]), Quiet


def django() -> tuple[WSGIApplication, type[WSGIRequestHandler]]:
    """Return the Django site, with its own settings whatever the environment names."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "example_project.settings"
    from .wsgi import application

    return application, Quiet


def flask() -> tuple[WSGIApplication, type[WSGIRequestHandler]]:
    """Return the Flask app."""
    from .flask_app import app

    return app, Quiet


def _end_with_parent() -> None:
    os.read(0, 1)
    os._exit(0)


def main(name: str, fd: str) -> None:
    """Serve until the parent ends or terminates this process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    application, handler = {"s3": s3, "plug": plug, "django": django, "flask": flask}[name]()
    if name in ("django", "flask"):
        server: BaseWSGIServer = Sharing("127.0.0.1", 0, application, handler, fd=int(fd))
    else:
        server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=handler, fd=int(fd))
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
