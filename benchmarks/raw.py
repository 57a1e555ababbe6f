"""The lower bound: HTTP over keep-alive connections, with as little work around it as Python allows.

Requests are signed beforehand (in their query), so that the server does the same work as for the others, and the client
none.
"""

from __future__ import annotations

import base64
import hashlib
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

import boto3
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config

from .common import BUCKET

#: Seconds for which signatures are valid: a day.
GOOD_FOR_S = 86400


class Raw:
    """Requests over one connection per thread."""

    def __init__(self, s3: Any) -> None:
        # By default boto3 signs URLs the old way, which costs a server less than the requests of all other subjects.
        self._s3 = boto3.client("s3", endpoint_url=s3.meta.endpoint_url, config=Config(signature_version="s3v4"))
        self._lines = threading.local()

    def signed(self, operation: str, **arguments: Any) -> str:
        """Return the signed URL of an operation without a body, or with a body that is not signed."""
        arguments = {"Bucket": BUCKET, **arguments}
        return str(self._s3.generate_presigned_url(operation, Params=arguments, ExpiresIn=GOOD_FOR_S))

    def get(self, key: str) -> Callable[[], bytes | bytearray]:
        """Return a GET of an object."""
        request = _head("GET", self.signed("get_object", Key=key))
        return lambda: self.ask(request)

    def list(self, prefix: str, after: str) -> Callable[[], bytes | bytearray]:
        """Return a LIST of up to 1,000 objects whose names sort after *after*."""
        behind = {"StartAfter": after} if after else {}
        request = _head("GET", self.signed("list_objects_v2", Prefix=prefix, MaxKeys=1000, **behind))
        return lambda: self.ask(request)

    def delete_many(self, keys: Sequence[str]) -> Callable[[], None]:
        """Return a DeleteObjects of up to 1,000 objects."""
        rows = "".join(f"<Object><Key>{escape(key)}</Key></Object>" for key in keys)
        body = f'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{rows}<Quiet>true</Quiet></Delete>'.encode()
        digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        # boto3 does not sign URLs of operations with a body.
        unsigned = AWSRequest("POST", f"{self._s3.meta.endpoint_url}/{BUCKET}?delete=", {"Content-MD5": digest})
        session = boto3.Session()
        S3SigV4QueryAuth(session.get_credentials(), "s3", self._s3.meta.region_name, GOOD_FOR_S).add_auth(unsigned)
        request = _head("POST", unsigned.url, {"Content-MD5": digest, "Content-Length": str(len(body))}) + body

        def delete() -> None:
            answer = self.ask(request)
            if b"<Error>" in answer:
                raise SystemExit(f"raw DeleteObjects: {bytes(answer[:500])!r}")

        return delete

    def put(
        self, key: str, body: bytes, metadata: Mapping[str, str] = MappingProxyType({})
    ) -> Callable[[], bytes | bytearray]:
        """Return a PUT of an object."""
        url = self.signed("put_object", Key=key, Metadata=dict(metadata))
        headers = {f"x-amz-meta-{name}": value for name, value in metadata.items()}
        request = _head("PUT", url, {**headers, "Content-Length": str(len(body))}) + body
        return lambda: self.ask(request)

    def ask(self, request: bytes) -> bytes | bytearray:
        """Send a request and return the body of its answer."""
        line = getattr(self._lines, "line", None)
        if line is not None:
            try:
                line.sendall(request)
                return _answer(line)
            except ConnectionError:  # the connection was idle for too long
                line.close()
        endpoint = urlsplit(self._s3.meta.endpoint_url)
        line = self._lines.line = socket.create_connection((endpoint.hostname or "", endpoint.port or 80))
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.sendall(request)
        return _answer(line)


def _head(method: str, url: str, headers: Mapping[str, str] = MappingProxyType({})) -> bytes:
    parts = urlsplit(url)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n{lines}\r\n".encode()


def _answer(line: socket.socket) -> bytes | bytearray:
    data = line.recv(1 << 16)
    while (end := data.find(b"\r\n\r\n")) < 0:
        more = line.recv(1 << 16)
        if not more:
            raise ConnectionResetError("the server closed a raw connection")
        data += more
    head = data[:end].lower()
    if head[9:12] != b"200":
        raise SystemExit(f"raw HTTP: {data[:500]!r}")
    if b"\r\ntransfer-encoding: chunked" in head:
        return _chunks(line, data[end + 4 :])
    at = head.find(b"content-length:")
    size = int(head[at + 15 : head.find(b"\r\n", at) if b"\r\n" in head[at:] else None]) if at >= 0 else 0
    body = data[end + 4 :]
    if len(body) < size:
        whole = bytearray(size)
        whole[: len(body)] = body
        view, got = memoryview(whole), len(body)
        while got < size:
            count = line.recv_into(view[got:])
            if not count:
                raise ConnectionResetError("the server closed a raw connection")
            got += count
        return whole
    return body


def _chunks(line: socket.socket, data: bytes) -> bytes:
    """Return a chunked body, as Ceph sends it for a DeleteObjects, undecoded: XML with the chunks' sizes in between."""
    while not data.endswith(b"0\r\n\r\n"):
        more = line.recv(1 << 16)
        if not more:
            raise ConnectionResetError("the server closed a raw connection")
        data += more
    return data


def all_of(requests: Iterable[Callable[[], object]], threads: int) -> None:
    """Send all requests from so many threads; each takes the next request as soon as it is free."""
    source, lock, failed = iter(requests), threading.Lock(), []

    def work() -> None:
        try:
            while True:
                with lock:
                    request = next(source, None)
                if request is None:
                    return
                request()
        except BaseException as error:  # noqa: BLE001 - raised below
            failed.append(error)

    crew = [threading.Thread(target=work) for _ in range(threads)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    if failed:
        raise failed[0]
