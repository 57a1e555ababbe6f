"""The keys of a container on ECS or EKS, asked for without botocore: one small HTTP request over the wire.

By botocore's rules: the same variables and hosts, no proxy, three attempts. What is not plain (TLS, another host) is
left to botocore. Importing it takes 0.3 s of the first ``get`` of a process, and it keeps to no deadline.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ...errors import AccessDenied, StoreError, StoreTimeout, StoreUnreachable
from ..wire.answer import Bad
from ..wire.clock import monotonic
from ..wire.connection import Deadline, Endpoint
from ..wire.exchange import exchange
from ..wire.request import Ask, Keys
from .keys import Lease, fault_of

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
_WHEN: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|([+-]\d\d):?(\d\d))")
#: Seconds: what one attempt may take, and the rest before the next.
_ATTEMPT: Final = 2.0
_REST: Final = 0.3
_ATTEMPTS: Final = 3
_LIMIT_BYTES: Final = 1 << 16
#: Statuses below 500 that say nothing about rights.
_BUSY: Final = (408, 429)


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
        end = monotonic() + seconds
        for left in reversed(range(_ATTEMPTS)):
            try:
                return self._asked(Deadline(min(_ATTEMPT, end - monotonic())))
            except StoreError:
                if not left or monotonic() + _REST >= end:
                    raise
            time.sleep(_REST)
        raise AssertionError  # the last attempt returned or raised

    def _asked(self, deadline: Deadline) -> Lease:
        request = self._request()
        try:
            reply = exchange(Endpoint(False, self.host, self.port), request, Ask("GET"), deadline)
            if (reply.head.length or 0) > _LIMIT_BYTES:
                reply.close()
                raise Bad(f"an answer of {reply.head.length:,} bytes")
            body = bytes(reply.read(_LIMIT_BYTES))
        except StoreTimeout:
            raise StoreTimeout(f"{self}: no answer in time") from None
        except StoreError as exc:  # of the kinds that the wire tells apart, none matters here
            raise StoreUnreachable(f"{self}: {exc}") from None
        status = reply.head.status
        if status != 200:  # noqa: PLR2004 - the one good answer
            kind = AccessDenied if 400 <= status < 500 and status not in _BUSY else StoreUnreachable  # noqa: PLR2004
            raise kind(f"{self}: {status} {body[:200].decode('utf-8', 'replace')}".rstrip())
        try:
            found = json.loads(body)
            keys = Keys(*[_text(found[name]) for name in ("AccessKeyId", "SecretAccessKey", "Token")])
            expires = _epoch(found["Expiration"])
        except (ValueError, KeyError, TypeError) as exc:
            raise AccessDenied(f"{self}: the answer holds no credentials ({type(exc).__name__}: {exc})") from None
        if fault := fault_of(keys):
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
