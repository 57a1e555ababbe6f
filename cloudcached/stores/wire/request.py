"""Requests as bytes, signed by AWS Signature Version 4. Pure: no I/O, no clock.

Source: AWS, "Signature Calculations for the Authorization Header: Transferring Payload in a Single Chunk (AWS Signature
Version 4)". S3 does not normalise paths, so the path that is sent is the one that is signed.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import quote

from ..._types import Bytes
from ...errors import StoreRefused
from ..port import Body

EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()
#: What stands for the hash where TLS protects the body: hashing 8 MB takes longer than sending them.
UNSIGNED: Final = "UNSIGNED-PAYLOAD"

_NONE: Final[Mapping[str, str]] = {}


class Ask(NamedTuple):
    """One request to a bucket, not signed yet."""

    method: str
    #: The object's name; ``None`` for the bucket itself. An empty name must not become the bucket.
    object_key: str | None = None
    #: Names and values, not encoded.
    query: Sequence[tuple[str, str]] = ()
    #: Names in lower case. Signed on writes, so that nobody in between can drop a condition; on reads only ``x-amz-``
    #: ones are: caches in between take conditions and ranges out, which does no harm there.
    headers: Mapping[str, str] = _NONE
    body: Body = b""


class Keys(NamedTuple):
    """What requests are signed with."""

    access_key: str
    secret_key: str
    #: ``None`` for keys that belong to no session.
    token: str | None = None


class Place(NamedTuple):
    """The bucket, as it stands in requests."""

    #: As it is sent and signed: without the port where that is the scheme's own.
    host: str
    #: Stands before every object's name, and ends with a slash: ``/bucket/``, or ``/`` where the host names the bucket.
    path: str
    region: str
    #: Whether bodies go unhashed, since TLS protects them.
    is_tls: bool


def head_of(ask: Ask, place: Place, keys: Keys, now: float) -> bytes:
    """Return the request's head, up to the blank line; the body follows it as it is.

    now: the time of the signature in epoch seconds, by the server's clock.
    """
    moment, day = _moment(int(now))
    # quote() is both the encoding that is sent and the canonical one: S3 encodes once and keeps every slash and dot.
    bucket = place.path.rstrip("/") or "/"
    path = quote(bucket if ask.object_key is None else place.path + ask.object_key, safe="/~")
    query = _query(ask.query) if ask.query else ""
    size = len(ask.body)
    payload = EMPTY_SHA256 if not size else UNSIGNED if place.is_tls else hashed(ask.body)
    signed = {"host": place.host, "x-amz-content-sha256": payload, "x-amz-date": moment}
    if keys.token:
        signed["x-amz-security-token"] = keys.token
    plain = ""
    if ask.headers:
        values = "".join(ask.headers.values())
        if not (values.isascii() and values.isprintable()):  # a line break would begin a header of the caller's
            raise StoreRefused("a header of a request must be printable ASCII")
        reads = ask.method in ("GET", "HEAD")
        for name, value in ask.headers.items():
            # Proxies in between answer "expect" themselves, and do not pass it on.
            if (reads and not name.startswith("x-amz-")) or name == "expect":
                plain += f"{name}: {value}\r\n"
            else:
                signed[name] = value
    names = sorted(signed)
    listed = ";".join(names)
    # A canonical value has single blanks; ours have outer ones never, inner ones in metadata.
    canonical = "".join([f"{name}:{' '.join(signed[name].split())}\n" for name in names])
    scope = f"{day}/{place.region}/s3/aws4_request"
    text = f"{ask.method}\n{path}\n{query}\n{canonical}\n{listed}\n{payload}"
    to_sign = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(text.encode()).hexdigest()}"
    signature = _mac(_signing_key(keys.secret_key, day, place.region), to_sign).hex()
    if size or ask.method in ("PUT", "POST"):
        plain += f"content-length: {size}\r\n"
    sent = "".join([f"{name}: {value}\r\n" for name, value in signed.items()])
    head = (
        f"{ask.method} {path}{'?' + query if query else ''} HTTP/1.1\r\n{sent}{plain}accept-encoding: identity\r\n"
        f"authorization: AWS4-HMAC-SHA256 Credential={keys.access_key}/{scope}, SignedHeaders={listed},"
        f" Signature={signature}\r\n\r\n"
    )
    return head.encode("latin-1")


def hashed(body: Body) -> str:
    """Return the SHA-256 of a body in hex; a stream is read once for this, and begins again."""
    if isinstance(body, (bytes, bytearray, memoryview)):
        return hashlib.sha256(body).hexdigest()
    digest, buffer = hashlib.sha256(), bytearray(1 << 18)
    view = memoryview(buffer)
    body.seek(0)
    while count := body.readinto(view):
        digest.update(view[:count])
    body.seek(0)
    return digest.hexdigest()


def pieces_of(body: Bytes, size: int) -> Iterator[memoryview]:
    """Yield a body in pieces of *size* bytes, without a copy."""
    view = memoryview(body).cast("B")
    return (view[start : start + size] for start in range(0, len(view), size))


def _query(pairs: Sequence[tuple[str, str]]) -> str:
    quoted = sorted([(quote(name, safe="~"), quote(value, safe="~")) for name, value in pairs])
    return "&".join([f"{name}={value}" for name, value in quoted])


@lru_cache(4)
def _moment(second: int) -> tuple[str, str]:
    """Return a time as signatures have it, and its day."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
    return moment, moment[:8]


@lru_cache(64)
def _signing_key(secret: str, day: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = _mac(key, part)
    return key


def _mac(key: bytes, text: str) -> bytes:
    # Not hmac.digest, which lets go of Python's lock and takes OpenSSL's: a child forked meanwhile waits for it for ever.
    return hmac.new(key, text.encode(), "sha256").digest()
