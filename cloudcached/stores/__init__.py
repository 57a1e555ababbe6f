"""Stores: where entries live."""

from __future__ import annotations

from .._types import Clock
from ..config import Config
from .boto3.store import S3Store
from .conditions import Conditions
from .native.store import FastS3Store
from .port import Store


def open_store(config: Config, clock: Clock) -> Store:
    """Return the store that *config* names. Does no I/O."""
    if config.scheme == "memory":
        from .memory import MemoryStore, objects_named  # noqa: PLC0415 - a cache in a bucket does not need it

        return MemoryStore(objects_named(config.bucket), clock)
    if config.transport == "wire":
        from .transport import Transport  # noqa: PLC0415 - chosen by name only, so far

        wire = Transport(config)
        return Conditions(wire, config, wire.sessions)
    inner = S3Store(config)
    store = inner if config.transport == "boto3" else FastS3Store(config, inner)
    return Conditions(store, config, inner.sessions)
