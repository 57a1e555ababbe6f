"""The keys of a container on ECS or EKS, asked for without botocore: one small HTTP request.

By botocore's rules: the same variables and hosts, no proxy, three attempts. What is not plain (TLS, another host) is
left to botocore. Importing it takes 0.3 s of the first ``get`` of a process, and it keeps to no deadline.
"""

from __future__ import annotations

import functools
import io
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from ...errors import AccessDenied, StoreError, StoreTimeout, StoreUnreachable
from .keys import Keys, Lease
from .session import IMPORTING

_RELATIVE: Final = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
_FULL: Final = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
_TOKEN: Final = "AWS_CONTAINER_AUTHORIZATION_TOKEN"  # noqa: S105 - the name of a variable
_TOKEN_FILE: Final = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"  # noqa: S105 - as above
_ECS: Final = "http://169.254.170.2"
#: The hosts that keys may come from without TLS: ECS's, EKS's, and this machine's.
_URL: Final = re.compile(
    r"http://(169\.254\.170\.2|169\.254\.170\.23|localhost|127(?:\.\d{1,3}){3}|\[(?:fd00:ec2::23|::1)\])"
    r"(?::(\d{1,5}))?(/[!-~]*)?"
)
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r\n", re.IGNORECASE)
_WHEN: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|([+-]\d\d):?(\d\d))")
#: Seconds: what one attempt may take, and the rest before the next.
_ATTEMPT: Final = 2.0
_REST: Final = 0.3
_ATTEMPTS: Final = 3
_LIMIT_BYTES: Final = 1 << 16
#: Statuses below 500 that say nothing about rights.
_BUSY: Final = (408, 429)
#: Taken now: libraries that freeze the time for tests replace ``time.monotonic`` wherever they find it.
_monotonic: Final[Callable[[], float]] = (
    functools.partial(time.clock_gettime, time.CLOCK_MONOTONIC) if hasattr(time, "clock_gettime") else time.monotonic
)


@dataclass(frozen=True)
class Container:
    """The endpoint that gives a container its keys, as a ``keys.Source``."""

    host: str
    port: int
    path: str
    #: The value of the header ``Authorization``, or the file that holds it and is rewritten now and then.
    token: str | None = None
    token_file: str | None = None

    @classmethod
    def in_environment(cls, environ: Mapping[str, str]) -> Container | None:
        """Return the endpoint that the environment names; ``None`` where there is none, or one for botocore to ask."""
        url = _ECS + environ[_RELATIVE] if _RELATIVE in environ else environ.get(_FULL, "")
        found = _URL.fullmatch(url)
        if found is None:
            return None
        host, port, path = found.groups()
        return cls(
            host.strip("[]"),
            int(port or 80),
            (path or "/").partition("#")[0],
            environ.get(_TOKEN),
            environ.get(_TOKEN_FILE),
        )

    def __call__(self, seconds: float) -> Lease:
        """Return the container's keys. Raises ``AccessDenied``, ``StoreUnreachable`` and ``StoreTimeout``."""
        end = _monotonic() + seconds
        for left in reversed(range(_ATTEMPTS)):
            try:
                return self._asked(min(end, _monotonic() + _ATTEMPT))
            except StoreError:
                if not left or _monotonic() + _REST >= end:
                    raise
            time.sleep(_REST)
        raise AssertionError  # the last attempt returned or raised

    def _asked(self, end: float) -> Lease:
        status, body = self._exchanged(end)
        if status != 200:  # noqa: PLR2004 - the one good answer
            kind = AccessDenied if 400 <= status < 500 and status not in _BUSY else StoreUnreachable  # noqa: PLR2004
            raise kind(f"{self}: {status} {body[:200].decode('utf-8', 'replace')}".rstrip())
        try:
            found = json.loads(body)
            keys = Keys(*[_text(found[name]) for name in ("AccessKeyId", "SecretAccessKey", "Token")])
            expires = _epoch(found["Expiration"])
        except (ValueError, KeyError, TypeError) as exc:
            raise AccessDenied(f"{self}: the answer holds no credentials ({type(exc).__name__}: {exc})") from None
        fault = keys.fault()
        if fault is not None:
            raise AccessDenied(f"{self}: {fault}")
        return Lease.until(keys, expires)

    def __str__(self) -> str:
        return f"the credentials of the container, from {self.host}"

    def _request(self) -> bytes:
        host = f"[{self.host}]" if ":" in self.host else self.host
        host = host if self.port == 80 else f"{host}:{self.port}"  # noqa: PLR2004 - the scheme's own
        lines = [f"GET {self.path} HTTP/1.1", f"Host: {host}", "Accept: application/json", "Connection: close"]
        token = self.token
        if self.token_file is not None:
            try:
                with open(self.token_file, encoding="ascii") as file:  # noqa: PTH123 - pathlib takes time to import
                    token = file.read()
            except (OSError, ValueError) as exc:
                raise AccessDenied(f"{self}: {_TOKEN_FILE} cannot be read: {exc}") from None
        if token is not None:
            if not token.isascii() or not token.isprintable():
                raise AccessDenied(f"{self}: the authorization token holds a newline, or what a header cannot carry")
            lines.append(f"Authorization: {token}")
        return "\r\n".join([*lines, "", ""]).encode("ascii")

    def _exchanged(self, end: float) -> tuple[int, bytes]:
        """Send the request and return the status and the body of the answer."""
        with IMPORTING:  # see there
            import encodings.idna  # noqa: F401, PLC0415 - otherwise connecting imports it
            import socket  # noqa: PLC0415 - the transport needs it too, but not before the first request
            from http.client import HTTPException, HTTPResponse  # noqa: PLC0415 - as above

        request = self._request()
        received = bytearray()
        try:
            with socket.create_connection((self.host, self.port), _left(end)) as connection:
                connection.settimeout(_left(end))
                connection.sendall(request)
                while not _is_whole(received) and len(received) < _LIMIT_BYTES:
                    connection.settimeout(_left(end))
                    piece = connection.recv(_LIMIT_BYTES)
                    if not piece:
                        break
                    received += piece
            response = HTTPResponse(_Received(bytes(received)), method="GET")  # type: ignore[arg-type]
            response.begin()
            return response.status, response.read()
        except TimeoutError:
            raise StoreTimeout(f"{self}: no answer in time") from None
        except (OSError, HTTPException, ValueError) as exc:
            raise StoreUnreachable(f"{self}: {type(exc).__name__}: {exc}") from None


class _Received:
    """An answer that has arrived, in the place of the socket that ``HTTPResponse`` reads from."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: Any) -> io.BytesIO:
        return io.BytesIO(self._data)


def _left(end: float) -> float:
    left = end - _monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _is_whole(received: bytearray) -> bool:
    """Whether an answer that says its length is complete; one that does not ends with the connection."""
    head, gap, body = received.partition(b"\r\n\r\n")
    length = _LENGTH.search(head + b"\r\n")
    return bool(gap) and length is not None and len(body) >= int(length[1])


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a value is not a text")
    return value


def _epoch(text: str) -> float:
    found = _WHEN.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a time")
    moment, hours, minutes = found.groups()
    return datetime.fromisoformat(f"{moment}{hours or '+00'}:{minutes or '00'}").timestamp()
