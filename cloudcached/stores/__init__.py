"""Stores: where entries live."""

from __future__ import annotations

from .._types import Clock
from ..config import Config
from .boto3.store import S3Store
from .conditions import Conditions
from .port import Store
from .transport import Transport


def open_store(config: Config, clock: Clock) -> Store:
    """Return the store that *config* names. Does no I/O."""
    if config.scheme == "memory":
        from .memory import MemoryStore, objects_named  # noqa: PLC0415 - a cache in a bucket does not need it

        return MemoryStore(objects_named(config.bucket), clock)
    store = S3Store(config) if config.transport == "boto3" else Transport(config)
    return Conditions(store, config, store.sessions)
