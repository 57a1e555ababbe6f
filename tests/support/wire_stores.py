"""Stores on the wire, made by hand, as the tests of the wire need them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from cloudcached.config import Config
from cloudcached.stores.wire.connection import Endpoint
from cloudcached.stores.wire.request import Keys, Place
from cloudcached.stores.wire.store import Line, WireStore

KEYS = Keys("test", "testsecret")


def line_to(url: str, bucket: str, keys: Keys = KEYS, sse: Mapping[str, str] | None = None, **endpoint: Any) -> Line:
    """Return the line to a bucket of the server at *url*."""
    parts = urlsplit(url)
    is_tls = parts.scheme == "https"
    assert parts.hostname is not None
    assert parts.port is not None
    where = Endpoint(is_tls, parts.hostname, parts.port, **endpoint)
    return Line(where, Place(parts.netloc, f"/{bucket}/", "us-east-1", is_tls), lambda _: keys, sse or {})


def wire_store(url: str, bucket: str = "bucket", keys: Keys = KEYS, **endpoint: Any) -> WireStore:
    """Return a store on the wire; *endpoint*: ``ca_bundle`` and other fields of ``Endpoint``."""
    return WireStore(Config.parse(f"s3://{bucket}", {}), lambda: line_to(url, bucket, keys, **endpoint))
