"""A small S3 server in memory that ignores the conditions of writes, or refuses them, as some stores do.

Path-style addresses; requests need no signature. It knows PUT, GET, HEAD, DELETE, DeleteObjects and LIST only.

Run as a script, it serves a bucket named ``stub`` on the given port until it is interrupted.
"""

from __future__ import annotations

import hashlib
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

BUCKET = "stub"
CONDITIONS = ("If-Match", "If-None-Match")


class Stored(NamedTuple):
    body: bytes
    metadata: dict[str, str]
    modified: float

    @property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.body, usedforsecurity=False).hexdigest()}"'


class Stub(ThreadingHTTPServer):
    """The server. ``refuse_with`` is its answer to a condition; with "" it ignores conditions."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, refuse_with: str = "", port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.refuse_with = refuse_with
        self.objects: dict[str, Stored] = {}
        #: Method and name of each request so far; " if" behind those with a condition.
        self.requests: list[str] = []
        #: The methods that are answered 403.
        self.denied: set[str] = set()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def env(self) -> dict[str, str]:
        """What a client of this server needs in its environment."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_DEFAULT_REGION": "us-east-1",
        }


class Handler(BaseHTTPRequestHandler):
    server: Stub
    protocol_version = "HTTP/1.1"
    server_version = "stub"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing about each request."""

    def do_PUT(self) -> None:
        if self.prepare():
            prefix = "x-amz-meta-"
            metadata = {name: value for name, value in self.headers.items() if name.lower().startswith(prefix)}
            stored = self.server.objects[self.key] = Stored(self.body, metadata, time.time())
            self.answer(200, headers={"ETag": stored.etag})

    def do_GET(self) -> None:
        if self.prepare():
            if self.query.get("list-type") == ["2"]:
                self.list()
            elif self.query:
                self.fail(501, "NotImplemented")
            elif not self.key:
                self.answer(200)
            elif stored := self.server.objects.get(self.key):
                date = formatdate(stored.modified, usegmt=True)
                self.answer(200, stored.body, {**stored.metadata, "ETag": stored.etag, "Last-Modified": date})
            else:
                self.fail(404, "NoSuchKey")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        if self.prepare():
            self.server.objects.pop(self.key, None)
            self.answer(204)

    def do_POST(self) -> None:
        if self.prepare():
            if "delete" not in self.query:
                self.fail(501, "NotImplemented")
                return
            for name in re.findall("<Key>(.*?)</Key>", self.body.decode()):
                self.server.objects.pop(unescape(name), None)
            self.answer(200, b"<DeleteResult></DeleteResult>")

    def prepare(self) -> bool:
        """Read the request; answer it where it goes no further."""
        parts = urlsplit(self.path)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        self.key = key
        self.query = parse_qs(parts.query, keep_blank_values=True)
        self.query.pop("x-id", None)
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        conditional = any(name in self.headers for name in CONDITIONS) and self.command == "PUT"
        self.server.requests.append(f"{self.command} {key}{' if' if conditional else ''}")
        if bucket != BUCKET:
            self.fail(404, "NoSuchBucket")
        elif self.command in self.server.denied:
            self.fail(403, "AccessDenied")
        elif conditional and self.server.refuse_with:
            status, _, code = self.server.refuse_with.partition(" ")
            self.fail(int(status), code)
        else:
            return True
        return False

    def list(self) -> None:
        prefix, after = (self.query.get(name, [""])[0] for name in ("prefix", "start-after"))
        objects = sorted(self.server.objects.items())
        rows = "".join(
            f"<Contents><Key>{escape(name)}</Key><LastModified>{time.strftime('%FT%TZ', time.gmtime(stored.modified))}"
            f"</LastModified><ETag>{stored.etag}</ETag><Size>{len(stored.body)}</Size></Contents>"
            for name, stored in objects
            if name.startswith(prefix) and name > after
        )
        body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>"
        self.answer(200, body.encode(), {"Content-Type": "application/xml"})

    def fail(self, status: int, code: str) -> None:
        self.answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode() if code else b"")

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def running(refuse_with: str = "") -> Iterator[Stub]:
    """Yield a server that listens."""
    with Stub(refuse_with) as stub:
        thread = threading.Thread(target=stub.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield stub
        finally:
            stub.shutdown()
            thread.join()


if __name__ == "__main__":
    Stub(port=int(sys.argv[1])).serve_forever()
