"""Fixtures of the Flask tests: caches whose time is the test's, apps, and what a server was asked."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from flask_caching import Cache

from cloudcached.testing import FakeClock
from cloudcached_flask import S3Cache


@pytest.fixture
def clock(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """Give the clock by which all clients judge expiry."""
    monkeypatch.setattr("cloudcached.runtime.clock.SystemClock.time", staticmethod(clock.time))
    return clock


@pytest.fixture
def make_cache(any_url: str, clock: FakeClock) -> Callable[..., S3Cache]:
    """Give a maker of caches on ``any_url`` that live by ``clock``."""
    return lambda **settings: S3Cache(any_url, **settings)


@pytest.fixture
def cache(make_cache: Callable[..., S3Cache]) -> S3Cache:
    """Give a cache with a prefix."""
    return make_cache(key_prefix="p:")


@pytest.fixture
def make_app(any_url: str, clock: FakeClock) -> Callable[..., tuple[Flask, Cache]]:
    """Give a maker of apps with a Flask-Caching cache on ``any_url``."""

    def make(**config: Any) -> tuple[Flask, Cache]:
        app = Flask(__name__, template_folder=str(Path(__file__).with_name("templates")))
        app.config.update(
            {
                "TESTING": True,
                "SECRET_KEY": "of these tests",
                "CACHE_TYPE": "cloudcached_flask.S3Cache",
                "CACHE_S3_URL": any_url,
                **config,
            }
        )
        return app, Cache(app)

    return make


@pytest.fixture
def asked(s3_url: str, monkeypatch: pytest.MonkeyPatch, server: Any) -> Iterator[list[str]]:
    """Give the list of requests that reach the server of ``s3_url``, through a proxy that writes them down."""
    upstream = urlsplit(server.endpoint)
    requests: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _forward(self) -> None:
            requests.append(_name_of(self.command, self.path))
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            connection = http.client.HTTPConnection(upstream.hostname or "", upstream.port)
            # The signature covers the Host header, so it is passed on as it came.
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
            self.send_response_only(answer.status, answer.reason)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            self.wfile.write(content)
            connection.close()

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _forward  # noqa: N815 - http.server looks for these

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128  # of 32 that connect at once, a queue of 5 makes some wait for seconds

    proxy = Server(("127.0.0.1", 0), Proxy)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.server_port}")
    yield requests
    proxy.shutdown()
    proxy.server_close()


def _name_of(command: str, path: str) -> str:
    query = urlsplit(path).query
    if command == "GET" and "list-type=2" in query:
        return "LIST"
    return "DELETE MANY" if command == "POST" and "delete" in query else command
